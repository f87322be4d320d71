//! Delivery: encoded requests reach the receiver. Comes in: bytes, and how many records they hold. Goes out: HTTP or gRPC requests; lines in the ledger.
//!
//! Each signal has its own lane: a queue bounded in bytes and one request under way. A request is retried with jittered backoff while it is young; what is given up is counted.

#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    layer::core::Core,
    ledger::{Lost, Signal},
};

/// As the OTLP specification wants it: the distribution, then the exporter.
#[cfg(any(feature = "http", feature = "grpc"))]
const USER_AGENT: &str = concat!("crumbtrail/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/0.33");

/// How a lane reaches its receiver.
#[derive(Clone)]
pub(crate) struct LaneConfig {
    pub(crate) protocol: Protocol,
    /// The whole address of an HTTP request; for gRPC only its origin is used.
    pub(crate) endpoint: ::http::Uri,
    pub(crate) headers: Vec<(::http::HeaderName, ::http::HeaderValue)>,
    /// Of one attempt. Zero: none.
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

impl std::fmt::Debug for LaneConfig {
    /// Without the values of headers: they hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneConfig")
            .field("protocol", &self.protocol)
            .field("endpoint", &shown(&self.endpoint))
            .field("headers", &self.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .finish()
    }
}

/// An address as it may be shown: without credentials and query.
pub(crate) fn shown(endpoint: &::http::Uri) -> String {
    let scheme = endpoint.scheme_str().unwrap_or("http");
    let port = endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}{}", endpoint.host().unwrap_or_default(), endpoint.path())
}

/// The wire protocol (`OTEL_EXPORTER_OTLP_PROTOCOL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// OTLP over HTTP, binary protobuf. Needs the `http` feature, which is on by default.
    HttpProtobuf,
    /// OTLP over gRPC. Needs the `grpc` feature.
    Grpc,
}

/// What a receiver said.
pub(crate) struct Accepted {
    /// Records it refused (partial success); never sent again.
    pub(crate) rejected: u64,
    pub(crate) message: String,
}

/// Why an attempt failed.
#[derive(Debug)]
#[cfg_attr(not(any(feature = "http", feature = "grpc")), expect(dead_code, reason = "without a transport nothing is worth another try"))]
pub(crate) enum Failure {
    /// Worth another try, not before the given time.
    Retry { after: Option<Duration>, why: String },
    /// Refused for good.
    Permanent { why: String },
}

/// A queue this large is full. Exceptions get more room: they are what this is for.
const fn queue_limit(signal: Signal) -> usize {
    match signal {
        Signal::Exceptions => 32 << 20,
        _ => 8 << 20,
    }
}

/// A request is given up after this long.
const fn patience(signal: Signal) -> Duration {
    match signal {
        Signal::Exceptions => Duration::from_secs(3600),
        _ => Duration::from_secs(300),
    }
}

/// First and longest pause between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The lanes. Lives on the worker's thread.
pub(crate) struct Delivery {
    lanes: [Option<Rc<Lane>>; 4],
    progress: Rc<Notify>,
    core: Arc<Core>,
}

/// How far each lane had been filled at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermark([u64; 4]);

struct Lane {
    signal: Signal,
    config: LaneConfig,
    queue: RefCell<VecDeque<Parcel>>,
    bytes: Cell<usize>,
    /// Parcels taken in, parcels done with.
    submitted: Cell<u64>,
    done: Cell<u64>,
    filled: Notify,
    progress: Rc<Notify>,
    core: Arc<Core>,
}

#[derive(Clone)]
struct Parcel {
    body: Bytes,
    records: u64,
    since: Instant,
}

impl Delivery {
    pub(crate) fn new(core: Arc<Core>, lanes: [Option<LaneConfig>; 4]) -> Self {
        let progress = Rc::new(Notify::new());
        let mut index = 0;
        let lanes = lanes.map(|config| {
            let signal = Signal::ALL[index];
            index += 1;
            let lane = Rc::new(Lane {
                signal,
                config: config?,
                queue: RefCell::default(),
                bytes: Cell::new(0),
                submitted: Cell::new(0),
                done: Cell::new(0),
                filled: Notify::new(),
                progress: progress.clone(),
                core: core.clone(),
            });
            tokio::task::spawn_local(lane.clone().run());
            Some(lane)
        });
        Self { lanes, progress, core }
    }

    /// Takes a request in. If the queue is full the oldest of it goes, and is counted.
    pub(crate) fn submit(&self, signal: Signal, body: Bytes, records: u64) {
        match &self.lanes[signal as usize] {
            Some(lane) => lane.submit(body, records),
            None => self.core.ledger.lost(signal, Lost::InternalError, records),
        }
    }

    pub(crate) fn watermark(&self) -> Watermark {
        Watermark(self.lanes.each_ref().map(|lane| lane.as_ref().map_or(0, |lane| lane.submitted.get())))
    }

    /// Records taken in before the watermark that are neither delivered nor lost.
    pub(crate) fn undelivered(&self, watermark: &Watermark) -> u64 {
        self.lanes.iter().flatten().map(|lane| lane.undelivered(watermark.0[lane.signal as usize])).sum()
    }

    /// Something was delivered or lost since the last call.
    pub(crate) async fn progress(&self) {
        self.progress.notified().await;
    }

    /// Counts everything that is still here as lost to the shutdown.
    pub(crate) fn give_up(&self) {
        for lane in self.lanes.iter().flatten() {
            for parcel in lane.queue.borrow_mut().drain(..) {
                self.core.ledger.lost(lane.signal, Lost::Shutdown, parcel.records);
            }
        }
    }
}

impl Lane {
    fn submit(&self, body: Bytes, records: u64) {
        let mut queue = self.queue.borrow_mut();
        self.submitted.set(self.submitted.get() + 1);
        self.bytes.set(self.bytes.get() + body.len());
        queue.push_back(Parcel { body, records, since: Instant::now() });
        // The first is under way; the oldest behind it makes room.
        while self.bytes.get() > queue_limit(self.signal) && queue.len() > 2 {
            if let Some(oldest) = queue.remove(1) {
                self.bytes.set(self.bytes.get() - oldest.body.len());
                self.done.set(self.done.get() + 1);
                self.core.ledger.lost_after_acceptance(self.signal, oldest.records);
            }
        }
        drop(queue);
        self.filled.notify_one();
    }

    fn undelivered(&self, submitted: u64) -> u64 {
        let ahead = submitted.saturating_sub(self.done.get()) as usize;
        self.queue.borrow().iter().take(ahead).map(|parcel| parcel.records).sum()
    }

    async fn run(self: Rc<Self>) {
        let transport = match Transport::new(&self.config, self.signal) {
            Ok(transport) => transport,
            Err(why) => {
                crate::diagnose(format_args!("{} are not sent: {why}", self.signal.as_str()));
                Transport::Unusable
            }
        };
        let mut unreachable = false;
        loop {
            let Some(parcel) = self.queue.borrow().front().cloned() else {
                self.filled.notified().await;
                continue;
            };
            self.deliver(&transport, &parcel, &mut unreachable).await;
            self.queue.borrow_mut().pop_front();
            self.bytes.set(self.bytes.get().saturating_sub(parcel.body.len()));
            self.done.set(self.done.get() + 1);
            self.progress.notify_one();
        }
    }

    async fn deliver(&self, transport: &Transport, parcel: &Parcel, unreachable: &mut bool) {
        let ledger = &self.core.ledger;
        let mut pause = BACKOFF.0;
        loop {
            match transport.send(parcel.body.clone()).await {
                Ok(accepted) => {
                    if std::mem::take(unreachable) {
                        crate::diagnose(format_args!("{} are delivered again to {}", self.signal.as_str(), shown(&self.config.endpoint)));
                    }
                    let rejected = accepted.rejected.min(parcel.records);
                    ledger.delivered(self.signal, parcel.records - rejected);
                    ledger.lost(self.signal, Lost::Rejected, rejected);
                    if rejected > 0 || !accepted.message.is_empty() {
                        self.complain(unreachable, &format!("the receiver refused {rejected} of {}: {}", parcel.records, accepted.message));
                        *unreachable = false;
                    }
                    return;
                }
                Err(Failure::Permanent { why }) => {
                    self.complain(unreachable, &why);
                    return ledger.lost(self.signal, Lost::Rejected, parcel.records);
                }
                Err(Failure::Retry { after, why }) => {
                    self.complain(unreachable, &why);
                    let wait = after.unwrap_or_else(|| jittered(pause));
                    if parcel.since.elapsed() + wait > patience(self.signal) {
                        return ledger.lost(self.signal, Lost::NetworkError, parcel.records);
                    }
                    tokio::time::sleep(wait).await;
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Says once what is wrong, until it is well again.
    fn complain(&self, unreachable: &mut bool, why: &str) {
        if !std::mem::replace(unreachable, true) {
            let (signal, endpoint) = (self.signal.as_str(), shown(&self.config.endpoint));
            crate::diagnose(format_args!("cannot deliver {signal} to {endpoint}: {why}"));
        }
    }
}

/// Between half of the pause and the whole of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

enum Transport {
    #[cfg(feature = "http")]
    Http(http::Http),
    #[cfg(feature = "grpc")]
    Grpc(Box<grpc::Grpc>),
    /// It could not be set up; what comes is lost, and counted.
    Unusable,
}

impl Transport {
    fn new(config: &LaneConfig, signal: Signal) -> Result<Self, String> {
        let _ = signal;
        if config.endpoint.scheme_str() == Some("https") {
            return Err(
                "https endpoints need TLS, which this version of crumbtrail does not have yet; send to a local collector over http"
                    .to_owned(),
            );
        }
        match config.protocol {
            #[cfg(feature = "http")]
            Protocol::HttpProtobuf => Ok(Self::Http(http::Http::new(config)?)),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => Ok(Self::Grpc(Box::new(grpc::Grpc::new(config, signal)?))),
            #[cfg(not(all(feature = "http", feature = "grpc")))]
            other => Err(format!("crumbtrail was built without support for {other:?}; enable its feature")),
        }
    }

    async fn send(&self, body: Bytes) -> Result<Accepted, Failure> {
        match self {
            #[cfg(feature = "http")]
            Self::Http(http) => http.send(body).await,
            #[cfg(feature = "grpc")]
            Self::Grpc(grpc) => grpc.send(body).await,
            Self::Unusable => {
                let _ = body;
                Err(Failure::Permanent { why: "no usable transport".to_owned() })
            }
        }
    }
}

/// An error with its causes: the clients' own texts name none.
#[cfg(any(feature = "http", feature = "grpc"))]
fn describe(error: &dyn std::error::Error) -> String {
    crate::exception::chain::links(error).iter().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The answer of a receiver, read for a partial success. All three services answer in the same shape.
#[cfg(any(feature = "http", feature = "grpc"))]
fn accepted(response: &[u8]) -> Accepted {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    // What cannot be read is no refusal: the status said success.
    let partial = <ExportLogsServiceResponse as prost::Message>::decode(response).ok().and_then(|response| response.partial_success);
    partial.map_or(Accepted { rejected: 0, message: String::new() }, |partial| Accepted {
        rejected: u64::try_from(partial.rejected_log_records).unwrap_or(0),
        message: partial.error_message,
    })
}
