//! How a request reaches its receiver, and what the receiver's answer means (OTLP specification,
//! "OTLP/HTTP Response" and "OTLP/gRPC Response").

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::{config::LaneConfig, failure::Failure};
use crate::{ledger::RecordKind, otlp::Accepted};

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
    pub(super) fn new(config: &LaneConfig, signal: RecordKind) -> Result<Self, String> {
        let _ = signal;
        match config.protocol {
            #[cfg(feature = "http")]
            super::Protocol::HttpProtobuf => Ok(Self::Http(Box::new(super::http::Http::new(config, None)?))),
            #[cfg(feature = "json")]
            super::Protocol::HttpJson => Ok(Self::Http(Box::new(super::http::Http::new(config, Some(signal))?))),
            #[cfg(feature = "grpc")]
            super::Protocol::Grpc => Ok(Self::Grpc(Box::new(super::grpc::Grpc::new(config, signal)?))),
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
