//! The console exporter (`OTEL_*_EXPORTER=console`): what would be sent, a line each, on standard
//! output.

use std::io::Write as _;

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
};

/// Log records: severity, text, attributes.
pub(crate) fn print_logs(request: &ExportLogsServiceRequest) {
    let records = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs).flat_map(|scope| &scope.log_records);
    for record in records {
        let body = record.body.as_ref().map(shown).unwrap_or_default();
        line(&format!("{:<5} {body} {}", record.severity_text, attributes(&record.attributes)));
    }
}

/// Spans: name, duration, attributes.
pub(crate) fn print_spans(request: &ExportTraceServiceRequest) {
    let spans = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    for span in spans {
        let micros = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) / 1_000;
        line(&format!("SPAN  {} {micros} µs {}", span.name, attributes(&span.attributes)));
    }
}

/// Metrics: a line for each data point.
pub(crate) fn print_metrics(request: &ExportMetricsServiceRequest) {
    let metrics = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics);
    for metric in metrics {
        let numbers = match &metric.data {
            Some(Data::Sum(sum)) => sum.data_points.as_slice(),
            Some(Data::Gauge(gauge)) => gauge.data_points.as_slice(),
            _ => &[],
        };
        for point in numbers {
            let value = match point.value {
                Some(number_data_point::Value::AsInt(value)) => value.to_string(),
                Some(number_data_point::Value::AsDouble(value)) => value.to_string(),
                None => "-".to_owned(),
            };
            line(&format!("METER {} {value} {} {}", metric.name, metric.unit, attributes(&point.attributes)));
        }
        if let Some(Data::Histogram(histogram)) = &metric.data {
            for point in &histogram.data_points {
                let sum = point.sum.unwrap_or_default();
                line(&format!("METER {} count={} sum={sum} {} {}", metric.name, point.count, metric.unit, attributes(&point.attributes)));
            }
        }
    }
}

fn attributes(attributes: &[KeyValue]) -> String {
    let pairs = attributes.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value.as_ref().map(shown).unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(" ")
}

fn shown(value: &AnyValue) -> String {
    match &value.value {
        // Quoted and escaped: a value must not be able to move the cursor.
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::BytesValue(bytes)) => format!("{} bytes", bytes.len()),
        Some(Value::ArrayValue(array)) => format!("[{}]", array.values.iter().map(shown).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}

/// A closed standard output is not our trouble.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
}
