//! OTLP as JSON (OTLP specification, "JSON Protobuf Encoding"), from the encoded request.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde::Serialize;

use super::transport::Accepted;
use crate::ledger::Signal;

/// The request as one line of JSON.
pub(crate) fn from_protobuf(signal: Signal, body: &[u8]) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    match signal {
        Signal::Exceptions | Signal::Logs => written::<ExportLogsServiceRequest>(body),
        Signal::Spans => written::<ExportTraceServiceRequest>(body),
        Signal::Metrics => written::<ExportMetricsServiceRequest>(body),
    }
}

fn written<T: Message + Serialize + Default>(body: &[u8]) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::to_vec(&T::decode(body)?)?.into())
}

/// The receiver's answer, read for a partial success.
pub(super) fn accepted(answer: &[u8]) -> Accepted {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    // A 64-bit integer is a string in this encoding; a number is accepted, too.
    let count = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let rejected = ["rejectedLogRecords", "rejectedSpans", "rejectedDataPoints"].into_iter().find_map(|key| count(&partial[key]));
    Accepted { rejected: rejected.unwrap_or(0), message: partial["errorMessage"].as_str().unwrap_or_default().to_owned() }
}
