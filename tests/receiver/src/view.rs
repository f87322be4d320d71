//! What arrived, flat and readable.

use std::{collections::BTreeMap, fmt};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, exemplar, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

/// Everything that has arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub logs: Vec<Log>,
    pub spans: Vec<Span>,
    pub metrics: Vec<Metric>,
    pub requests: usize,
    /// Bytes of the largest request, decompressed.
    pub largest_request: usize,
}

/// Attributes by key.
pub type Attributes = BTreeMap<String, Value>;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Other(String),
}

impl Value {
    /// The text of a string value; empty for others.
    pub fn as_str(&self) -> &str {
        match self {
            Self::String(text) => text,
            _ => "",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) | Self::Other(text) => f.write_str(text),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// A log record with its resource.
#[derive(Clone, Debug)]
pub struct Log {
    pub resource: Attributes,
    pub scope: String,
    pub scope_attributes: Attributes,
    pub event_name: String,
    pub time: u64,
    pub severity: i32,
    pub severity_text: String,
    pub body: String,
    pub attributes: Attributes,
    pub dropped_attributes: u32,
    pub trace_id: String,
    pub span_id: String,
    pub flags: u32,
}

impl Log {
    /// An exception record.
    pub fn is_exception(&self) -> bool {
        self.event_name == "exception"
    }

    /// An attribute's text; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", Value::as_str)
    }
}

/// A span with its resource.
#[derive(Clone, Debug)]
pub struct Span {
    pub resource: Attributes,
    pub scope: String,
    pub scope_attributes: Attributes,
    pub name: String,
    pub kind: i32,
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: String,
    pub trace_state: String,
    pub flags: u32,
    pub start: u64,
    pub end: u64,
    pub attributes: Attributes,
    pub dropped_attributes: u32,
    /// Name and attributes of each span event.
    pub events: Vec<(String, Attributes)>,
    /// Trace and span id of each link.
    pub links: Vec<(String, String)>,
    pub dropped_links: u32,
    /// Code (0 unset, 1 ok, 2 error) and message.
    pub status: (i32, String),
}

/// A metric with its points.
#[derive(Clone, Debug)]
pub struct Metric {
    pub resource: Attributes,
    pub name: String,
    pub unit: String,
    pub description: String,
    pub points: Vec<Point>,
}

/// A data point.
#[derive(Clone, Debug)]
pub struct Point {
    pub attributes: Attributes,
    /// Since when it counts, nanoseconds since the Unix epoch.
    pub start: u64,
    /// A number, or a histogram's sum.
    pub value: f64,
    /// A histogram's count; 1 otherwise.
    pub count: u64,
    /// A histogram's boundaries.
    pub bounds: Vec<f64>,
    pub buckets: Vec<u64>,
    /// The scale of exponential buckets.
    pub scale: Option<i32>,
    /// Value and trace id of each exemplar.
    pub exemplars: Vec<(f64, String)>,
}

impl Point {
    fn of(of: Vec<KeyValue>, start: u64, value: f64, count: u64, examples: Vec<Exemplar>) -> Self {
        Self {
            attributes: attributes(of),
            start,
            value,
            count,
            bounds: Vec::new(),
            buckets: Vec::new(),
            scale: None,
            exemplars: exemplars(examples),
        }
    }
}

impl Received {
    /// The exception records among the logs.
    pub fn exceptions(&self) -> impl Iterator<Item = &Log> {
        self.logs.iter().filter(|log| log.is_exception())
    }

    /// The newest state of a metric.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().rev().find(|metric| metric.name == name)
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.logs.extend(other.logs);
        self.spans.extend(other.spans);
        self.metrics.extend(other.metrics);
        self.requests += other.requests;
        self.largest_request = self.largest_request.max(other.largest_request);
    }

    pub(crate) fn add_logs(&mut self, request: ExportLogsServiceRequest) {
        self.requests += 1;
        for resource in request.resource_logs {
            let of = resource_attributes(resource.resource);
            for scope in resource.scope_logs {
                let named = scope.scope.unwrap_or_default();
                let (name, of_scope) = (named.name, attributes(named.attributes));
                self.logs.extend(scope.log_records.into_iter().map(|log| Log {
                    resource: of.clone(),
                    scope: name.clone(),
                    scope_attributes: of_scope.clone(),
                    event_name: log.event_name,
                    time: log.time_unix_nano,
                    severity: log.severity_number,
                    severity_text: log.severity_text,
                    body: log.body.map(value).map(|body| body.to_string()).unwrap_or_default(),
                    attributes: attributes(log.attributes),
                    dropped_attributes: log.dropped_attributes_count,
                    trace_id: hex(&log.trace_id),
                    span_id: hex(&log.span_id),
                    flags: log.flags,
                }));
            }
        }
    }

    pub(crate) fn add_traces(&mut self, request: ExportTraceServiceRequest) {
        self.requests += 1;
        for resource in request.resource_spans {
            let of = resource_attributes(resource.resource);
            for scope in resource.scope_spans {
                let named = scope.scope.unwrap_or_default();
                let (name, of_scope) = (named.name, attributes(named.attributes));
                self.spans.extend(scope.spans.into_iter().map(|span| Span {
                    resource: of.clone(),
                    scope: name.clone(),
                    scope_attributes: of_scope.clone(),
                    name: span.name,
                    kind: span.kind,
                    trace_state: span.trace_state,
                    trace_id: hex(&span.trace_id),
                    span_id: hex(&span.span_id),
                    parent_span_id: hex(&span.parent_span_id),
                    flags: span.flags,
                    start: span.start_time_unix_nano,
                    end: span.end_time_unix_nano,
                    attributes: attributes(span.attributes),
                    dropped_attributes: span.dropped_attributes_count,
                    dropped_links: span.dropped_links_count,
                    events: span.events.into_iter().map(|event| (event.name, attributes(event.attributes))).collect(),
                    links: span.links.into_iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                    status: span.status.map(|status| (status.code, status.message)).unwrap_or_default(),
                }));
            }
        }
    }

    pub(crate) fn add_metrics(&mut self, request: ExportMetricsServiceRequest) {
        self.requests += 1;
        let metrics = request.resource_metrics.into_iter().flat_map(|resource| {
            let of = resource_attributes(resource.resource);
            resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics).map(move |metric| (of.clone(), metric))
        });
        for (resource, metric) in metrics {
            let numbers = |points: Vec<NumberDataPoint>| {
                let number = |value| match value {
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    Some(number_data_point::Value::AsInt(value)) => value as f64,
                    None => f64::NAN,
                };
                let point = |point: NumberDataPoint| {
                    Point::of(point.attributes, point.start_time_unix_nano, number(point.value), 1, point.exemplars)
                };
                points.into_iter().map(point).collect()
            };
            let sum = |sum: Option<f64>| sum.unwrap_or_default();
            let points = match metric.data {
                Some(Data::Sum(sum)) => numbers(sum.data_points),
                Some(Data::Gauge(gauge)) => numbers(gauge.data_points),
                Some(Data::Histogram(histogram)) => {
                    let point = |point: HistogramDataPoint| Point {
                        bounds: point.explicit_bounds,
                        buckets: point.bucket_counts,
                        ..Point::of(point.attributes, point.start_time_unix_nano, sum(point.sum), point.count, point.exemplars)
                    };
                    histogram.data_points.into_iter().map(point).collect()
                }
                Some(Data::ExponentialHistogram(histogram)) => {
                    let point = |point: ExponentialHistogramDataPoint| Point {
                        buckets: point.positive.map(|buckets| buckets.bucket_counts).unwrap_or_default(),
                        scale: Some(point.scale),
                        ..Point::of(point.attributes, point.start_time_unix_nano, sum(point.sum), point.count, point.exemplars)
                    };
                    histogram.data_points.into_iter().map(point).collect()
                }
                _ => Vec::new(),
            };
            self.metrics.push(Metric { resource, name: metric.name, unit: metric.unit, description: metric.description, points });
        }
    }
}

fn exemplars(exemplars: Vec<Exemplar>) -> Vec<(f64, String)> {
    let value = |value| match value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    };
    exemplars.into_iter().map(|exemplar| (value(exemplar.value), hex(&exemplar.trace_id))).collect()
}

fn resource_attributes(resource: Option<Resource>) -> Attributes {
    attributes(resource.map(|resource| resource.attributes).unwrap_or_default())
}

fn attributes(attributes: Vec<KeyValue>) -> Attributes {
    attributes.into_iter().filter_map(|attribute| Some((attribute.key, value(attribute.value?)))).collect()
}

fn value(any: AnyValue) -> Value {
    match any.value {
        Some(any_value::Value::StringValue(text)) => Value::String(text),
        Some(any_value::Value::BoolValue(value)) => Value::Bool(value),
        Some(any_value::Value::IntValue(value)) => Value::Int(value),
        Some(any_value::Value::DoubleValue(value)) => Value::Double(value),
        Some(any_value::Value::BytesValue(bytes)) => Value::Bytes(bytes),
        other => Value::Other(format!("{other:?}")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
