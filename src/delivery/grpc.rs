//! OTLP over gRPC: the same encoded bytes in a unary call.

use std::{cell::RefCell, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{KeyAndValueRef, MetadataMap},
    transport::{Channel, Endpoint},
};

use super::{Accepted, Failure, LaneConfig, accepted, describe};
use crate::ledger::Signal;

/// A channel for one signal's service. Connects when first used, again when lost.
pub(super) struct Grpc {
    client: RefCell<tonic::client::Grpc<Channel>>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Grpc {
    pub(super) fn new(config: &LaneConfig, signal: Signal) -> Result<Self, String> {
        let mut endpoint = Endpoint::from(config.endpoint.clone())
            .user_agent(super::USER_AGENT)
            .map_err(|error| error.to_string())?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(30));
        if !config.timeout.is_zero() {
            endpoint = endpoint.timeout(config.timeout);
        }
        let client = tonic::client::Grpc::new(endpoint.connect_lazy());
        #[cfg(feature = "gzip")]
        let client = if config.gzip { client.send_compressed(tonic::codec::CompressionEncoding::Gzip) } else { client };
        let headers: http::HeaderMap = config.headers.iter().cloned().collect();
        let path = PathAndQuery::from_static(match signal {
            Signal::Exceptions | Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        });
        Ok(Self { client: RefCell::new(client), path, metadata: MetadataMap::from_headers(headers) })
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

/// Which codes are worth another try (OTLP specification, "Failures").
fn failure(status: &Status) -> Failure {
    let why = format!("gRPC status {:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::OutOfRange | Code::Unavailable | Code::DataLoss => {
            Failure::Retry { after: None, why }
        }
        // A connection that broke within the call surfaces as Unknown with a transport source.
        Code::Unknown if std::error::Error::source(status).is_some() => Failure::Retry { after: None, why },
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
