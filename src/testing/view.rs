//! What was captured, typed.

use std::fmt;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::LogRecord,
    metrics::v1::{self as otlp, metric::Data, number_data_point},
    trace::v1 as trace,
};

use crate::{AttributeValue, Exception};

/// Everything that a scope would have sent. Its `Debug` is for people; [`to_text`](Self::to_text)
/// and [`to_json`](Self::to_json) are for snapshots.
#[derive(Default)]
pub struct Collected {
    pub(super) exceptions: Vec<Exception>,
    pub(super) logs: Vec<Log>,
    pub(super) spans: Vec<Span>,
    pub(super) metrics: Vec<Metric>,
}

impl Collected {
    /// The exceptions, in the order they were raised.
    pub fn exceptions(&self) -> &[Exception] {
        &self.exceptions
    }

    /// The only exception whose type, message or body contains a text.
    ///
    /// # Panics
    /// There is none, or there are several; the message shows what there is.
    #[track_caller]
    pub fn exception(&self, containing: &str) -> &Exception {
        let is_it = |exception: &&Exception| {
            [exception.type_name(), exception.message(), exception.body().unwrap_or_default()].iter().any(|text| text.contains(containing))
        };
        let found: Vec<&Exception> = self.exceptions.iter().filter(is_it).collect();
        match found[..] {
            [exception] => exception,
            [] => panic!("no exception contains {containing:?}; captured was:\n{self:?}"),
            _ => panic!("{} exceptions contain {containing:?}; captured was:\n{self:?}", found.len()),
        }
    }

    /// Asserts that nothing failed.
    ///
    /// # Panics
    /// Something did; the message shows it.
    #[track_caller]
    pub fn assert_no_exceptions(&self) {
        assert!(self.exceptions.is_empty(), "there were exceptions:\n{self:?}");
    }

    /// The log records, in the order they were written; exceptions are not among them.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The only log record whose body contains a text.
    ///
    /// # Panics
    /// There is none, or there are several; the message shows what there is.
    #[track_caller]
    pub fn log(&self, containing: &str) -> &Log {
        let found: Vec<&Log> = self.logs.iter().filter(|log| log.body.contains(containing)).collect();
        let [log] = found[..] else { panic!("{} log records contain {containing:?}; captured was:\n{self:?}", found.len()) };
        log
    }

    /// The spans, in the order they were opened.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The only span of this name.
    ///
    /// # Panics
    /// There is none, or there are several; the message shows what there is.
    #[track_caller]
    pub fn span(&self, name: &str) -> &Span {
        let found: Vec<&Span> = self.spans.iter().filter(|span| span.name == name).collect();
        let [span] = found[..] else { panic!("{} spans are called {name:?}; captured was:\n{self:?}", found.len()) };
        span
    }

    /// The metrics as they were at the end, by name.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The metric of this name.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    pub(super) fn sort(&mut self) {
        self.exceptions.sort_by_key(|exception| exception.time);
        self.logs.sort_by_key(|log| log.time);
        self.spans.sort_by_key(|span| span.start);
        self.metrics.sort_by(|left, right| left.name.cmp(&right.name));
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exceptions.iter().try_for_each(|exception| write!(f, "{exception:?}"))?;
        self.logs.iter().try_for_each(|log| writeln!(f, "{log:?}"))?;
        self.spans.iter().try_for_each(|span| writeln!(f, "{span:?}"))?;
        self.metrics.iter().try_for_each(|metric| writeln!(f, "{metric:?}"))
    }
}

type Attributes = Vec<(String, AttributeValue)>;

/// A log record.
#[derive(Clone)]
pub struct Log {
    pub(super) target: String,
    pub(super) event_name: String,
    pub(super) severity: String,
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) trace_id: Option<u128>,
    pub(super) span_id: Option<u64>,
    time: u64,
}

impl Log {
    pub(super) fn new(target: String, record: LogRecord) -> Self {
        Self {
            target,
            event_name: record.event_name,
            severity: record.severity_text,
            body: record.body.map(|body| value_of(body).to_string()).unwrap_or_default(),
            attributes: attributes_of(record.attributes),
            trace_id: number(&record.trace_id),
            span_id: number(&record.span_id).map(|id| id as u64),
            time: record.time_unix_nano,
        }
    }

    /// The target: its instrumentation scope.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The event's own name; empty for most.
    pub fn event_name(&self) -> &str {
        &self.event_name
    }

    /// The severity as text: `INFO`, `WARN`, …
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// The message.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The value of a field.
    pub fn attribute(&self, key: &str) -> Option<&AttributeValue> {
        find(&self.attributes, key)
    }

    /// All attributes of the log record.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.iter().map(|(key, value)| (&**key, value))
    }

    /// The trace it belongs to; `None` outside of spans.
    pub fn trace_id(&self) -> Option<u128> {
        self.trace_id
    }

    /// The span it was written in; `None` outside of spans.
    pub fn span_id(&self) -> Option<u64> {
        self.span_id
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.target, self.body)?;
        show(f, &self.attributes)
    }
}

/// A finished span.
#[derive(Clone)]
pub struct Span {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) attributes: Attributes,
    pub(super) failure: Option<String>,
    pub(super) events: Vec<String>,
    trace_id: Option<u128>,
    span_id: Option<u64>,
    parent_id: Option<u64>,
    start: u64,
}

impl Span {
    pub(super) fn new(span: trace::Span) -> Self {
        let kind = match trace::span::SpanKind::try_from(span.kind) {
            Ok(trace::span::SpanKind::Server) => "server",
            Ok(trace::span::SpanKind::Client) => "client",
            Ok(trace::span::SpanKind::Producer) => "producer",
            Ok(trace::span::SpanKind::Consumer) => "consumer",
            _ => "internal",
        };
        Self {
            name: span.name,
            kind,
            attributes: attributes_of(span.attributes),
            failure: span.status.filter(|status| status.code == trace::status::StatusCode::Error as i32).map(|status| status.message),
            events: span.events.into_iter().map(|event| event.name).collect(),
            trace_id: number(&span.trace_id),
            span_id: number(&span.span_id).map(|id| id as u64),
            parent_id: number(&span.parent_span_id).map(|id| id as u64),
            start: span.start_time_unix_nano,
        }
    }

    /// The name of the item.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub fn kind(&self) -> &str {
        self.kind
    }

    /// The value of a field.
    pub fn attribute(&self, key: &str) -> Option<&AttributeValue> {
        find(&self.attributes, key)
    }

    /// All attributes of the log record.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.iter().map(|(key, value)| (&**key, value))
    }

    /// The text of the span's status, if that is Error.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The names of its span events.
    pub fn events(&self) -> &[String] {
        &self.events
    }

    /// The trace it belongs to.
    pub fn trace_id(&self) -> Option<u128> {
        self.trace_id
    }

    /// The span's own id.
    pub fn span_id(&self) -> Option<u64> {
        self.span_id
    }

    /// The span it was opened in.
    pub fn parent_id(&self) -> Option<u64> {
        self.parent_id
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SPAN {}", self.name)?;
        if let Some(failure) = &self.failure {
            write!(f, " failed: {failure}")?;
        }
        show(f, &self.attributes)
    }
}

/// A metric.
#[derive(Clone)]
pub struct Metric {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) points: Vec<Point>,
}

/// One time series of a metric.
#[derive(Clone)]
pub struct Point {
    pub(super) attributes: Attributes,
    pub(super) value: f64,
    pub(super) count: u64,
}

impl Metric {
    pub(super) fn new(metric: otlp::Metric) -> Self {
        let numbers = |points: Vec<otlp::NumberDataPoint>| points.into_iter().map(Point::of_number).collect();
        let points = match metric.data {
            Some(Data::Gauge(gauge)) => numbers(gauge.data_points),
            Some(Data::Sum(sum)) => numbers(sum.data_points),
            Some(Data::Histogram(histogram)) => {
                let point = |point: otlp::HistogramDataPoint| Point {
                    attributes: attributes_of(point.attributes),
                    value: point.sum.unwrap_or_default(),
                    count: point.count,
                };
                histogram.data_points.into_iter().map(point).collect()
            }
            _ => Vec::new(),
        };
        Self { name: metric.name, unit: metric.unit, points }
    }

    /// The name of the item.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The unit of the metric (UCUM).
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The time series of the metric.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The sum of all time series.
    pub fn total(&self) -> f64 {
        self.points.iter().map(|point| point.value).sum()
    }
}

impl Point {
    fn of_number(point: otlp::NumberDataPoint) -> Self {
        let value = match point.value {
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => f64::NAN,
        };
        Self { attributes: attributes_of(point.attributes), value, count: 1 }
    }

    /// The value of a label.
    pub fn attribute(&self, key: &str) -> Option<&AttributeValue> {
        find(&self.attributes, key)
    }

    /// The value; a histogram's sum.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// How many measurements a histogram has; 1 for others.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "METRIC {} {}", self.name, self.unit)?;
        self.points.iter().try_for_each(|point| write!(f, "\n  {point:?}"))
    }
}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value)?;
        show(f, &self.attributes)
    }
}

fn show(f: &mut fmt::Formatter<'_>, attributes: &Attributes) -> fmt::Result {
    attributes.iter().try_for_each(|(key, value)| write!(f, " {key}={value:?}"))
}

fn find<'a>(attributes: &'a Attributes, key: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

fn attributes_of(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().map(|attribute| (attribute.key, attribute.value.map_or_else(|| "".into(), value_of))).collect()
}

fn value_of(value: AnyValue) -> AttributeValue {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(value)) => value.into(),
        Some(any_value::Value::IntValue(value)) => value.into(),
        Some(any_value::Value::DoubleValue(value)) => value.into(),
        Some(any_value::Value::BytesValue(bytes)) => String::from_utf8_lossy(&bytes).into(),
        Some(any_value::Value::ArrayValue(array)) => AttributeValue::Array(array.values.into_iter().map(value_of).collect()),
        _ => "".into(),
    }
}

/// An id, big-endian; `None`: there is none.
fn number(id: &[u8]) -> Option<u128> {
    (!id.is_empty()).then(|| id.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}
