//! How a lane reaches its receiver.

use std::{fmt, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{credentials::Credentials, tls::Tls};

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
    /// gzip, level 1, by zlib-rs: a sixth to a fifth of the bytes, at some 550 MB a second. Needs
    /// the `gzip` feature, which is on by default.
    Gzip,
    /// Zstandard, level 1: an eighth to a sixth, at some 1,100 MB a second. Needs the `zstd`
    /// feature.
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
