//! Why an attempt failed, and what both transports need to find out.

use std::time::Duration;

/// As the OTLP specification wants it: the distribution, then the exporter.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) const USER_AGENT: &str = concat!("crumbtrail/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/0.33");

/// Bytes of a response that are read at most (OTLP: 4 MiB).
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) const MAX_RESPONSE: usize = 4 << 20;

/// Why an attempt failed.
#[derive(Debug)]
#[cfg_attr(not(all(feature = "http", feature = "grpc")), allow(dead_code, reason = "each transport has its own"))]
pub(super) enum Failure {
    /// Worth another try, not before the given time.
    Retry { after: Option<Duration>, why: String },
    /// No answer within the time.
    Silent { why: String },
    /// The receiver dislikes what is in it, or how much: a part of it may be accepted.
    Content { why: String, too_large: bool },
    /// The same, from a code that the specification calls worth another try: a part is tried only
    /// if another try has the same answer.
    RetryThenContent { why: String },
    /// Refused for good, whatever is in it.
    Permanent { why: String },
    /// Refused for who sends it (401, 403; gRPC's like).
    Unauthorized { why: String },
}

/// Waits for an answer, not for ever. `Err`: there was none, in words.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) async fn within<T>(limit: Option<Duration>, answer: impl Future<Output = T>) -> Result<T, String> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, answer).await.map_err(|_| format!("no answer within {limit:?}")),
        None => Ok(answer.await),
    }
}

/// An error with its causes: the clients' own texts name none.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    crate::exception::chain::links(error).iter().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
