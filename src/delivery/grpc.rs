//! OTLP over gRPC: the same encoded bytes in a unary call.

use std::{
    cell::RefCell,
    error::Error as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use http_body_util::BodyExt as _;
use tonic::{
    Code, Request, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{KeyAndValueRef, MetadataMap},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use super::{
    config::LaneConfig,
    connect::Connector,
    failure::{Failure, MAX_RESPONSE, USER_AGENT, describe, within},
};
use crate::{
    ledger::RecordKind,
    otlp::{Accepted, accepted},
};

/// tonic says of an answer that is too large what receivers say of a request, and by the same code;
/// the text names the limit, and this one is nobody else's.
const OWN_LIMIT: usize = MAX_RESPONSE + 1;

/// A channel for one signal's service. Connects when first used, again when lost.
pub(super) struct Grpc {
    endpoint: Endpoint,
    connector: Connector,
    client: RefCell<Client>,
    compression: Option<CompressionEncoding>,
    path: PathAndQuery,
    metadata: MetadataMap,
}

impl Grpc {
    pub(super) fn new(config: &LaneConfig, signal: RecordKind) -> Result<Self, String> {
        let connector = Connector::new(config)?;
        // TLS is the connector's. tonic has its own, if some crate of the program wants that, and then refuses what is called https and not done by it.
        let mut plain = config.endpoint.clone().into_parts();
        plain.scheme = Some(http::uri::Scheme::HTTP);
        let plain = http::Uri::from_parts(plain).map_err(|error| error.to_string())?;
        let endpoint = Endpoint::from(plain)
            .origin(config.endpoint.clone())
            .user_agent(USER_AGENT)
            .map_err(|error| error.to_string())?
            .http2_keep_alive_interval(Duration::from_secs(30));
        let headers: http::HeaderMap = config.headers.iter().cloned().collect();
        let path = PathAndQuery::from_static(match signal {
            RecordKind::Exceptions | RecordKind::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            RecordKind::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            RecordKind::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        });
        let compression = match config.compression {
            #[cfg(feature = "gzip")]
            super::Compression::Gzip => Some(CompressionEncoding::Gzip),
            #[cfg(feature = "zstd")]
            super::Compression::Zstd => Some(CompressionEncoding::Zstd),
            _ => None,
        };
        let client = RefCell::new(client(&endpoint, &connector, compression));
        Ok(Self { endpoint, connector, client, compression, path, metadata: MetadataMap::from_headers(headers) })
    }

    /// One attempt, within `limit`.
    pub(super) async fn send(&self, body: Bytes, limit: Option<Duration>, headers: http::HeaderMap) -> Result<Accepted, Failure> {
        match within(limit, self.call(body, headers)).await {
            Ok(outcome) => outcome,
            Err(why) => {
                // The connection may be dead without knowing it: the next call opens another.
                *self.client.borrow_mut() = client(&self.endpoint, &self.connector, self.compression);
                Err(Failure::Silent { why })
            }
        }
    }

    async fn call(&self, body: Bytes, headers: http::HeaderMap) -> Result<Accepted, Failure> {
        let mut client = self.client.borrow().clone();
        client.ready().await.map_err(|error| Failure::Retry { after: None, why: describe(&error) })?;
        let mut request = Request::new(body);
        let given = MetadataMap::from_headers(headers);
        for entry in self.metadata.iter().chain(given.iter()) {
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

fn is_our_own_limit(status: &Status) -> bool {
    status.message().contains(&format!("limit is: {OWN_LIMIT} bytes"))
}

type Client = tonic::client::Grpc<Careful>;

fn client(endpoint: &Endpoint, connector: &Connector, compression: Option<CompressionEncoding>) -> Client {
    let channel = endpoint.connect_with_connector_lazy(connector.clone());
    let client = tonic::client::Grpc::new(Careful(channel)).max_decoding_message_size(OWN_LIMIT);
    match compression {
        Some(encoding) => client.send_compressed(encoding),
        None => client,
    }
}

/// What a status means for the request (OTLP specification, "Failures").
fn failure(status: &Status) -> Failure {
    let why = format!("gRPC status {:?}: {}", status.code(), status.message());
    let after = || status.get_details_retry_info().and_then(|info| info.retry_delay);
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded | Code::Aborted | Code::Unavailable | Code::DataLoss => {
            Failure::Retry { after: after(), why }
        }
        // Receivers say it of a request beyond their size, too, and then another try helps nobody.
        Code::OutOfRange if is_our_own_limit(status) => {
            Failure::Permanent { why: format!("the answer is larger than {MAX_RESPONSE} bytes") }
        }
        Code::OutOfRange => Failure::RetryThenContent { why },
        Code::ResourceExhausted => match after() {
            Some(after) => Failure::Retry { after: Some(after), why },
            None => Failure::Content { why, too_large: true },
        },
        Code::InvalidArgument => Failure::Content { why, too_large: false },
        // A connection that broke within the call surfaces as one of these, with the transport's error as source.
        Code::Unknown | Code::Internal if status.source().is_some() => Failure::Retry { after: None, why },
        Code::Unauthenticated | Code::PermissionDenied => Failure::Unauthorized { why: format!("{why}: are the headers right?") },
        _ => Failure::Permanent { why },
    }
}

/// A channel whose answers do no harm: tonic panics at `grpc-status-details-bin` that is not
/// base64, and what is in an answer is the receiver's word.
#[derive(Clone)]
struct Careful(Channel);

impl tower_service::Service<http::Request<Body>> for Careful {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            drop_unreadable_details(answer.headers_mut());
            Ok(answer.map(|body| {
                Body::new(body.map_frame(|mut frame| {
                    frame.trailers_mut().into_iter().for_each(drop_unreadable_details);
                    frame
                }))
            }))
        })
    }
}

fn drop_unreadable_details(headers: &mut http::HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    if let Some(value) = headers.get(DETAILS) {
        let alone = MetadataMap::from_headers(http::HeaderMap::from_iter([(http::HeaderName::from_static(DETAILS), value.clone())]));
        if alone.get_bin(DETAILS).is_none_or(|value| value.to_bytes().is_err()) {
            headers.remove(DETAILS);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_that_cannot_be_read_are_dropped() {
        for (value, kept) in [("AAAA", true), ("AAA=", true), ("", true), ("%%%", false), ("A", false)] {
            let mut headers =
                http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status-details-bin"), value.parse().unwrap())]);
            drop_unreadable_details(&mut headers);
            assert_eq!(headers.len(), usize::from(kept), "{value:?}");
            // What is left is safe to read.
            headers.insert("grpc-status", "8".parse().unwrap());
            assert!(Status::from_header_map(&headers).is_some());
        }
    }
}
