//! An OTLP receiver on loopback: HTTP with protobuf or JSON, and gRPC; all three signals; gzip and
//! zstd. Keeps what arrives and lets a test or an example look at it. It can be told how to answer;
//! a [`Proxy`] before it misbehaves as networks do.
//!
//! Its own threads, its own runtime: it works beside whatever the code under test does to its
//! runtime.

mod peer;
#[cfg(feature = "proxy")]
mod proxy;
mod script;
mod server;
mod view;

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

pub use peer::Peer;
#[cfg(feature = "proxy")]
pub use proxy::{Mode, Proxy};
pub use script::{Answer, Arrival};
#[cfg(feature = "proxy")]
pub use tokio_rustls::rustls;
pub use view::{Attributes, Log, Metric, Point, Received, Span, Value};

/// A running receiver. Ends with its last handle.
#[derive(Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
    http: SocketAddr,
    grpc: SocketAddr,
    _running: Arc<tokio::sync::oneshot::Sender<()>>,
}

#[derive(Default)]
pub(crate) struct Shared {
    received: Mutex<Received>,
    arrived: Condvar,
    arrivals: Mutex<Vec<Arrival>>,
    script: Mutex<Option<Arc<script::Script>>>,
}

impl Shared {
    pub(crate) fn add(&self, change: impl FnOnce(&mut Received)) {
        change(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_all();
    }

    /// How to answer a request; it is kept if that is to accept it.
    pub(crate) fn judge(&self, arrival: Arrival) -> Answer {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = script.map_or(Answer::Accept, |script| script(&arrival));
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.push(arrival);
        drop(arrivals);
        self.arrived.notify_all();
        answer
    }
}

impl Receiver {
    /// Starts on two free ports of 127.0.0.1.
    ///
    /// # Errors
    /// No port or no thread is to be had.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (http, grpc) = server::spawn(shared.clone(), stopped)?;
        Ok(Self { shared, http, grpc, _running: Arc::new(stop) })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT` with HTTP.
    pub fn http_endpoint(&self) -> String {
        format!("http://{}", self.http)
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT` with gRPC.
    pub fn grpc_endpoint(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// What has arrived so far.
    pub fn received(&self) -> Received {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what has arrived satisfies `done`; `None` after `patience`.
    pub fn wait_for(&self, patience: Duration, done: impl Fn(&Received) -> bool) -> Option<Received> {
        let deadline = Instant::now() + patience;
        let mut received = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        while !done(&received) {
            let left = deadline.checked_duration_since(Instant::now())?;
            received = self.shared.arrived.wait_timeout(received, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(received.clone())
    }

    /// Answers HTTP requests with a status from now on; `None` accepts again.
    pub fn answer_with(&self, status: Option<u16>) {
        match status {
            Some(status) => self.answer_by(move |_| Answer::Status { status, headers: Vec::new() }),
            None => *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = None,
        }
    }

    /// Decides about every request from now on.
    pub fn answer_by(&self, script: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(script));
    }

    /// Every request so far, accepted or not.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
