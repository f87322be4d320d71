//! OTLP over gRPC: the same encoded bytes in a unary call.

use std::{cell::RefCell, error::Error as _, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{KeyAndValueRef, MetadataMap},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::transport::{Accepted, Failure, LaneConfig, MAX_RESPONSE, USER_AGENT, accepted, describe};
use crate::ledger::Signal;

/// A channel for one signal's service. Connects when first used, again when lost.
pub(super) struct Grpc {
    endpoint: Endpoint,
    client: RefCell<tonic::client::Grpc<Channel>>,
    compression: Option<CompressionEncoding>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Grpc {
    pub(super) fn new(config: &LaneConfig, signal: Signal) -> Result<Self, String> {
        if config.proxy.is_some() {
            return Err("a proxy is supported for HTTP only; use the protocol http/protobuf, or let a collector forward gRPC".to_owned());
        }
        let endpoint = Endpoint::from(config.endpoint.clone())
            .user_agent(USER_AGENT)
            .map_err(|error| error.to_string())?
            .connect_timeout(Duration::from_secs(5))
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(30));
        #[cfg(feature = "tls")]
        let endpoint = match config.endpoint.scheme_str() {
            Some("https") => endpoint.tls_config(config.tls.channel()).map_err(|error| describe(&error))?,
            _ => endpoint,
        };
        let headers: http::HeaderMap = config.headers.iter().cloned().collect();
        let path = PathAndQuery::from_static(match signal {
            Signal::Exceptions | Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        });
        let compression = match config.compression {
            #[cfg(feature = "gzip")]
            super::Compression::Gzip => Some(CompressionEncoding::Gzip),
            #[cfg(feature = "zstd")]
            super::Compression::Zstd => Some(CompressionEncoding::Zstd),
            _ => None,
        };
        let client = RefCell::new(client(&endpoint, compression));
        Ok(Self { endpoint, client, compression, path, metadata: MetadataMap::from_headers(headers) })
    }

    /// The next call opens a new connection.
    pub(super) fn reconnect(&self) {
        *self.client.borrow_mut() = client(&self.endpoint, self.compression);
    }

    pub(super) async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        let mut client = self.client.borrow().clone();
        client.ready().await.map_err(|error| Failure::Retry { after: None, why: describe(&error) })?;
        let mut request = Request::new(body);
        for entry in self.metadata.iter() {
            match entry {
                KeyAndValueRef::Ascii(key, value) => _ = request.metadata_mut().insert(key, value.clone()),
                KeyAndValueRef::Binary(key, value) => _ = request.metadata_mut().insert_bin(key, value.clone()),
            }
        }
        match client.unary(request, self.path.clone(), Raw).await {
            Ok(response) => Ok(accepted(response.get_ref())),
            Err(status) => Err(failure(&status)),
        }
    }
}

fn client(endpoint: &Endpoint, compression: Option<CompressionEncoding>) -> tonic::client::Grpc<Channel> {
    let client = tonic::client::Grpc::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_RESPONSE);
    match compression {
        Some(encoding) => client.send_compressed(encoding),
        None => client,
    }
}

/// What a status means for the request (OTLP specification, "Failures").
fn failure(status: &Status) -> Failure {
    let why = format!("gRPC status {:?}: {}", status.code(), status.message());
    // An answer came if there is anything of it; a status of our own client has no metadata.
    let remote = !status.metadata().is_empty();
    let after = || status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::Unavailable | Code::DataLoss => {
            Failure::Retry { after: after(), why }
        }
        // Receivers say it of a request beyond their size, too, and then another try helps nobody.
        Code::OutOfRange if remote => Failure::RetryThenContent { why },
        Code::ResourceExhausted => match after() {
            Some(after) => Failure::Retry { after: Some(after), why },
            None => Failure::Content { why, too_large: true },
        },
        Code::InvalidArgument => Failure::Content { why, too_large: false },
        // A connection that broke within the call surfaces as one of these, with the transport's error as source.
        Code::Unknown | Code::Internal if status.source().is_some() => Failure::Retry { after: None, why },
        Code::Unauthenticated | Code::PermissionDenied => Failure::Permanent { why: format!("{why}: are the headers right?") },
        _ => Failure::Permanent { why },
    }
}

/// Passes bytes through: the request is encoded already, the response is read by [`accepted`].
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}
