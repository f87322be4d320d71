//! How a request reaches its receiver, and what the receiver's answer means (OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC Response").

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{credentials::Credentials, tls::Tls};
use crate::ledger::Signal;

/// As the OTLP specification wants it: the distribution, then the exporter.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) const USER_AGENT: &str = concat!("crumbtrail/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/0.33");

/// Bytes of a response that are read at most (OTLP: 4 MiB).
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) const MAX_RESPONSE: usize = 4 << 20;

/// How a lane reaches its receiver.
#[derive(Clone)]
pub(crate) struct LaneConfig {
    pub(crate) protocol: Protocol,
    /// The whole address of an HTTP request; for gRPC only its origin is used.
    pub(crate) endpoint: Uri,
    /// The Unix socket to go through.
    pub(crate) socket: Option<std::path::PathBuf>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Of one attempt. Zero: none.
    pub(crate) timeout: Duration,
    pub(crate) compression: Compression,
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<Proxy>,
    /// Headers that the program gives when it is asked.
    pub(crate) credentials: Option<Credentials>,
}

impl fmt::Debug for LaneConfig {
    /// Without the values of headers: they hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneConfig")
            .field("protocol", &self.protocol)
            .field("endpoint", &shown(&self.endpoint))
            .field("socket", &self.socket)
            .field("headers", &self.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .field("tls", &self.tls)
            .field("proxy", &self.proxy)
            .finish()
    }
}

/// An address as it may be shown: without credentials and query.
pub(crate) fn shown(endpoint: &Uri) -> String {
    format!("{}{}", origin(endpoint), endpoint.path())
}

/// The same without its path: what all signals of a receiver have in common.
pub(super) fn origin(endpoint: &Uri) -> String {
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let port = endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}", endpoint.host().unwrap_or_default())
}

/// The wire protocol (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP over HTTP, binary protobuf. Needs the `http` feature, which is on by default.
    HttpProtobuf,
    /// OTLP over HTTP, JSON. Needs the `json` feature.
    HttpJson,
    /// OTLP over gRPC. Needs the `grpc` feature.
    Grpc,
}

/// How requests are compressed (`OTEL_EXPORTER_OTLP_COMPRESSION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all. The default.
    #[default]
    None,
    /// gzip, level 1, by zlib-rs: a sixth to a fifth of the bytes, at some 550 MB a second. Needs the `gzip` feature, which is on by default.
    Gzip,
    /// Zstandard, level 1: an eighth to a sixth, at some 1,100 MB a second. Needs the `zstd` feature.
    Zstd,
}

/// An HTTP proxy, and what it wants to be told. Shows neither that nor credentials in its address.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: Uri,
    #[cfg_attr(not(any(feature = "http", feature = "grpc")), expect(dead_code, reason = "there is nobody to tell"))]
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.address))
    }
}

/// What a receiver said.
pub(super) struct Accepted {
    /// Records it refused (partial success); never sent again.
    pub(super) rejected: u64,
    pub(super) message: String,
}

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
    /// The same, from a code that the specification calls worth another try: a part is tried only if another try has the same answer.
    RetryThenContent { why: String },
    /// Refused for good, whatever is in it.
    Permanent { why: String },
    /// Refused for who sends it (401, 403; gRPC's like).
    Unauthorized { why: String },
}

pub(super) enum Transport {
    #[cfg(feature = "http")]
    Http(Box<super::http::Http>),
    #[cfg(feature = "grpc")]
    Grpc(Box<super::grpc::Grpc>),
    #[cfg(not(any(feature = "http", feature = "grpc")))]
    #[expect(dead_code, reason = "there is none")]
    None(std::convert::Infallible),
}

impl Transport {
    /// # Errors
    /// What is wrong with the configuration or the machine, in words.
    pub(super) fn new(config: &LaneConfig, signal: Signal) -> Result<Self, String> {
        let _ = signal;
        match config.protocol {
            #[cfg(feature = "http")]
            Protocol::HttpProtobuf => Ok(Self::Http(Box::new(super::http::Http::new(config, None)?))),
            #[cfg(feature = "json")]
            Protocol::HttpJson => Ok(Self::Http(Box::new(super::http::Http::new(config, Some(signal))?))),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => Ok(Self::Grpc(Box::new(super::grpc::Grpc::new(config, signal)?))),
            #[cfg(not(all(feature = "json", feature = "grpc")))]
            other => Err(format!("crumbtrail was built without support for {other:?}; enable its feature")),
        }
    }

    /// What is sent for an encoded request; made once for all its attempts.
    pub(super) fn prepare(&self, body: Bytes) -> Result<Bytes, Failure> {
        match self {
            #[cfg(feature = "http")]
            Self::Http(http) => http.prepare(body),
            #[cfg(feature = "grpc")]
            Self::Grpc(_) => Ok(body),
            #[cfg(not(any(feature = "http", feature = "grpc")))]
            Self::None(never) => {
                let _ = body;
                match *never {}
            }
        }
    }

    /// One attempt, within `limit`, with `headers` besides those that every request has.
    pub(super) async fn send(&self, prepared: Bytes, limit: Option<Duration>, headers: HeaderMap) -> Result<Accepted, Failure> {
        match self {
            #[cfg(feature = "http")]
            Self::Http(http) => http.send(prepared, limit, headers).await,
            #[cfg(feature = "grpc")]
            Self::Grpc(grpc) => grpc.send(prepared, limit, headers).await,
            #[cfg(not(any(feature = "http", feature = "grpc")))]
            Self::None(never) => {
                let _ = (prepared, limit, headers);
                match *never {}
            }
        }
    }
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

/// The answer of a receiver, read for a partial success. All three services answer in the same shape.
#[cfg(any(feature = "http", feature = "grpc"))]
pub(super) fn accepted(response: &[u8]) -> Accepted {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    // What cannot be read is no refusal: the status said success.
    let partial = <ExportLogsServiceResponse as prost::Message>::decode(response).ok().and_then(|response| response.partial_success);
    partial.map_or(Accepted { rejected: 0, message: String::new() }, |partial| Accepted {
        rejected: u64::try_from(partial.rejected_log_records).unwrap_or(0),
        message: partial.error_message,
    })
}
