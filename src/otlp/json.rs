//! OTLP as JSON (OTLP specification, "JSON Protobuf Encoding"), from the encoded request.
//!
//! `serde_json` writes `null` for a number that JSON has none for. Protobuf's JSON writes `"NaN"`,
//! `"Infinity"` and `"-Infinity"`, and receivers refuse a whole request for a `null`. So such
//! numbers travel to the writer as three finite ones that nobody has, and the writer puts the
//! words.

use std::io;

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
};
use prost::Message;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::{ledger::RecordKind, otlp::Accepted};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The request as one line of JSON.
pub(crate) fn from_protobuf(signal: RecordKind, body: &[u8]) -> Result<Bytes, Error> {
    match signal {
        RecordKind::Exceptions | RecordKind::Logs => {
            let mut request = ExportLogsServiceRequest::decode(body)?;
            for of in &mut request.resource_logs {
                of.resource.iter_mut().for_each(|resource| attributes(&mut resource.attributes));
                for record in of.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records) {
                    record.body.iter_mut().for_each(any);
                    attributes(&mut record.attributes);
                }
            }
            written(&request)
        }
        RecordKind::Spans => {
            let mut request = ExportTraceServiceRequest::decode(body)?;
            for of in &mut request.resource_spans {
                of.resource.iter_mut().for_each(|resource| attributes(&mut resource.attributes));
                for span in of.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                    attributes(&mut span.attributes);
                    span.events.iter_mut().for_each(|event| attributes(&mut event.attributes));
                    span.links.iter_mut().for_each(|link| attributes(&mut link.attributes));
                }
            }
            written(&request)
        }
        RecordKind::Metrics => {
            let mut request = ExportMetricsServiceRequest::decode(body)?;
            for resource in request.resource_metrics.iter_mut().filter_map(|of| of.resource.as_mut()) {
                attributes(&mut resource.attributes);
            }
            for metric in request.resource_metrics.iter_mut().flat_map(|of| &mut of.scope_metrics).flat_map(|scope| &mut scope.metrics) {
                let points = match &mut metric.data {
                    Some(Data::Gauge(gauge)) => &mut gauge.data_points,
                    Some(Data::Sum(sum)) => &mut sum.data_points,
                    Some(Data::Histogram(histogram)) => {
                        for point in &mut histogram.data_points {
                            attributes(&mut point.attributes);
                            [&mut point.sum, &mut point.min, &mut point.max].into_iter().flatten().for_each(number);
                        }
                        continue;
                    }
                    Some(Data::ExponentialHistogram(histogram)) => {
                        for point in &mut histogram.data_points {
                            attributes(&mut point.attributes);
                            [&mut point.sum, &mut point.min, &mut point.max].into_iter().flatten().for_each(number);
                        }
                        continue;
                    }
                    _ => continue,
                };
                for point in points {
                    attributes(&mut point.attributes);
                    if let Some(number_data_point::Value::AsDouble(value)) = &mut point.value {
                        number(value);
                    }
                }
            }
            written(&request)
        }
    }
}

/// Which values are no numbers of JSON's, the one that stands for them on their way to the writer,
/// and their word.
type Word = (fn(f64) -> bool, f64, &'static str);

const WORDS: [Word; 3] = [
    (|value| value.is_nan(), 1.230_456_078_901_234_5e307, "\"NaN\""),
    (|value| value == f64::INFINITY, 1.230_456_078_901_234_6e306, "\"Infinity\""),
    (|value| value == f64::NEG_INFINITY, 1.230_456_078_901_234_7e305, "\"-Infinity\""),
];

fn number(value: &mut f64) {
    if let Some((_, stands, _)) = WORDS.iter().find(|(is, ..)| is(*value)) {
        *value = *stands;
    }
}

fn attributes(attributes: &mut [KeyValue]) {
    attributes.iter_mut().filter_map(|attribute| attribute.value.as_mut()).for_each(any);
}

fn any(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::DoubleValue(value)) => number(value),
        Some(Value::ArrayValue(values)) => values.values.iter_mut().for_each(any),
        Some(Value::KvlistValue(values)) => attributes(&mut values.values),
        _ => {}
    }
}

/// Writes the words.
struct Words(CompactFormatter);

impl Formatter for Words {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        match WORDS.iter().find(|(_, stands, _)| stands.to_bits() == value.to_bits()) {
            Some((.., word)) => writer.write_all(word.as_bytes()),
            None => self.0.write_f64(writer, value),
        }
    }
}

fn written(request: &impl Serialize) -> Result<Bytes, Error> {
    let mut text = Vec::new();
    request.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Words(CompactFormatter)))?;
    Ok(text.into())
}

/// The receiver's answer, read for a partial success.
pub(crate) fn accepted(answer: &[u8]) -> Accepted {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    // A 64-bit integer is a string in this encoding; a number is accepted, too.
    let count = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let rejected = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"].into_iter().find_map(|key| count(&partial[key]));
    Accepted { rejected: rejected.unwrap_or(0), message: partial["errorMessage"].as_str().unwrap_or_default().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::{
        common::v1::ArrayValue,
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    };

    /// Report B2.
    #[test]
    fn what_is_no_number_of_jsons_is_a_word() {
        let value = |value: f64| AnyValue { value: Some(Value::DoubleValue(value)) };
        let list = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value(f64::INFINITY), value(0.5)] })) };
        let record = LogRecord {
            body: Some(value(f64::NAN)),
            attributes: vec![
                KeyValue { key: "list".to_owned(), value: Some(list), ..Default::default() },
                KeyValue { key: "low".to_owned(), value: Some(value(f64::NEG_INFINITY)), ..Default::default() },
            ],
            ..Default::default()
        };
        let scope = ScopeLogs { log_records: vec![record], ..Default::default() };
        let request = ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs: vec![scope], ..Default::default() }] };
        let text = String::from_utf8(from_protobuf(RecordKind::Logs, &request.encode_to_vec()).unwrap().to_vec()).unwrap();
        for word in [r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":"Infinity"},{"doubleValue":0.5}"#, r#"{"doubleValue":"-Infinity"}"#] {
            assert!(text.contains(word), "{text}");
        }
    }
}
