//! An OTLP receiver on loopback: HTTP with binary protobuf and gRPC, all three signals, gzip. Keeps what arrives and lets a test or an example look at it.
//!
//! Its own threads, its own runtime: it works beside whatever the code under test does to its runtime.

mod server;
mod view;

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

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
    /// HTTP status to answer with instead of 200.
    status: Mutex<Option<u16>>,
}

impl Shared {
    pub(crate) fn add(&self, change: impl FnOnce(&mut Received)) {
        change(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_all();
    }

    pub(crate) fn status(&self) -> Option<u16> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}
