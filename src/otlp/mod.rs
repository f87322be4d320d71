//! What has to be known of OTLP messages to send them: their form as JSON, how one is divided, what
//! an answer says. Comes in: bytes. Goes out: bytes, and counts.

#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod split;

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};

/// What a receiver said.
pub(crate) struct Accepted {
    /// Records it refused (partial success); never sent again.
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// The answer of a receiver, read for a partial success. All three services answer in the same
/// shape.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(crate) fn accepted(response: &[u8]) -> Accepted {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    // What cannot be read is no refusal: the status said success.
    let partial = <ExportLogsServiceResponse as prost::Message>::decode(response).ok().and_then(|response| response.partial_success);
    partial.map_or(Accepted { rejected: 0, message: String::new() }, |partial| Accepted {
        rejected: u64::try_from(partial.rejected_log_records).unwrap_or(0),
        message: partial.error_message,
    })
}

/// Data points of a metric.
pub(crate) fn data_points(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    points as u64
}
