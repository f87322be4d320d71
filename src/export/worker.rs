//! The worker thread: empties the outboxes, fills batches, sends them when they are full or old, answers flushes.
//!
//! One OS thread with its own current-thread runtime; no host runtime is needed, used or blocked.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc;

use super::{Exporter, SCHEMA_URL};
use crate::{
    clock::{Keeper, now},
    console,
    delivery::{Delivery, LaneConfig, Watermark},
    layer::{self, core::Core},
    ledger::{Lost, Signal},
    metrics::Meters,
};

/// Where a signal goes.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Otlp(LaneConfig),
    Console,
    Nowhere,
}

/// How often, how much, and to where.
pub(crate) struct WorkerConfig {
    pub(crate) resource: Resource,
    /// Exceptions, logs, spans, metrics.
    pub(crate) destinations: [Destination; 4],
    pub(crate) log_delay: Duration,
    pub(crate) span_delay: Duration,
    pub(crate) metric_interval: Duration,
    /// Records in one request at most: logs, spans.
    pub(crate) max_batch: [u64; 2],
}

/// A request to the worker.
pub(crate) enum Command {
    /// Send everything recorded so far; answer when it is delivered or the time is up.
    Flush { deadline: Instant, reply: std::sync::mpsc::SyncSender<Settled> },
    /// The same, then end.
    Shutdown { deadline: Instant, reply: std::sync::mpsc::SyncSender<Settled> },
}

/// The answer to a flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settled {
    /// Records still on their way at the deadline (for a shutdown: lost).
    pub(crate) undelivered: u64,
}

/// How long records may lie in an outbox that is not filling up.
const POLL: Duration = Duration::from_millis(100);

/// Exceptions made in one turn at most.
const EXCEPTIONS_A_TURN: usize = 64;
/// Bytes that the buffer of taken records keeps.
const KEEP_TAKEN: usize = 4 << 20;

/// Starts the thread. An error means that the operating system refused it.
pub(crate) fn spawn(
    core: Arc<Core>,
    exporter: Exporter,
    meters: Meters,
    config: WorkerConfig,
    commands: mpsc::UnboundedReceiver<Command>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("crumbtrail".to_owned()).spawn(move || {
        layer::mark_own_thread();
        let _ended = Ended(core.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(layer::mark_own_thread).build();
        match runtime {
            Ok(runtime) => {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime, async {
                    Worker::new(core, exporter, meters, config, commands).run().await;
                });
                // A blocking look-up of a name may be under way; it must not hold up the process.
                runtime.shutdown_background();
            }
            Err(error) => crate::diagnose(format_args!("the worker could not start, nothing is exported: {error}")),
        }
    })
}

/// However the thread ends: nothing is recorded that nobody would send.
struct Ended(Arc<Core>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.close();
        self.0.outboxes.close();
    }
}

struct Worker {
    core: Arc<Core>,
    exporter: Exporter,
    meters: Meters,
    config: WorkerConfig,
    commands: mpsc::UnboundedReceiver<Command>,
    delivery: Delivery,
    /// Bytes taken from the outboxes; reused.
    taken: Vec<u8>,
    /// When the oldest record of a batch came: logs, spans.
    since: [Option<Instant>; 2],
    next_metrics: Instant,
    flushes: Vec<Flush>,
    clock: Keeper,
}

struct Flush {
    deadline: Instant,
    watermark: Watermark,
    reply: std::sync::mpsc::SyncSender<Settled>,
    last: bool,
}

impl Worker {
    fn new(core: Arc<Core>, exporter: Exporter, meters: Meters, config: WorkerConfig, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        let lane = |destination: &Destination| match destination {
            Destination::Otlp(lane) => Some(lane.clone()),
            Destination::Console | Destination::Nowhere => None,
        };
        let delivery = Delivery::new(core.clone(), config.destinations.each_ref().map(lane));
        let next_metrics = Instant::now() + config.metric_interval;
        Self {
            core,
            exporter,
            meters,
            config,
            commands,
            delivery,
            taken: Vec::new(),
            since: [None; 2],
            next_metrics,
            flushes: Vec::new(),
            clock: Keeper::new(),
        }
    }

    async fn run(mut self) {
        let mut housekeeping = Instant::now();
        loop {
            let wake = self.flushes.iter().map(|flush| flush.deadline).fold(Instant::now() + POLL, Instant::min);
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    // Every handle is gone without a shutdown: send what there is, briefly.
                    None => return self.abandon().await,
                },
                () = self.core.waker.woken() => self.drain(),
                () = self.delivery.progress() => {}
                () = tokio::time::sleep_until(wake.into()) => self.drain(),
            }
            if self.core.express.len() > 0 {
                self.core.waker.wake();
            }
            // Callers that never rest must not keep the lanes from sending.
            tokio::task::yield_now().await;
            self.send_due();
            self.clock.keep();
            if self.settle() {
                return;
            }
            if housekeeping.elapsed() > Duration::from_secs(10) {
                housekeeping = Instant::now();
                self.exporter.housekeeping();
            }
        }
    }

    fn command(&mut self, command: Command) {
        let (deadline, reply, last) = match command {
            Command::Flush { deadline, reply } => (deadline, reply, false),
            Command::Shutdown { deadline, reply } => (deadline, reply, true),
        };
        self.take_all();
        self.flushes.push(Flush { deadline, watermark: self.delivery.watermark(), reply, last });
    }

    /// Takes what is in the outboxes, and a share of the exceptions: more may come faster than they can be made.
    fn drain(&mut self) {
        self.take(EXCEPTIONS_A_TURN);
    }

    fn take(&mut self, exceptions: usize) {
        // Outboxes first, exceptions after: so the exception of a span that has left is already here. (In a storm, of which this takes a share, a span may go without its event; the record comes.)
        self.taken.clear();
        self.taken.shrink_to(KEEP_TAKEN);
        self.core.outboxes.drain(&mut self.taken);
        for _ in 0..exceptions {
            let Some(draft) = self.core.express.pop() else { break };
            // A panic in here is ours: it costs the record it met, and is counted.
            if catch_unwind(AssertUnwindSafe(|| self.exporter.exception(&draft))).is_err() {
                self.core.ledger.lost(Signal::Exceptions, Lost::InternalError, 1);
            }
            if self.exporter.exceptions.is_full(u64::MAX) {
                self.send_exceptions();
            }
        }
        self.send_exceptions();
        let observed = now();
        let taken = std::mem::take(&mut self.taken);
        let mut rest = &taken[..];
        while !rest.is_empty() {
            let before = rest.len();
            rest = self.exporter.records(rest, observed, &self.config.max_batch);
            if rest.len() == before {
                // Not a record: cannot be, and must not keep us here.
                self.core.ledger.lost(Signal::Logs, Lost::InternalError, 1);
                break;
            }
            if self.exporter.logs.is_full(self.config.max_batch[0]) {
                self.send_logs();
            }
            if self.exporter.spans.is_full(self.config.max_batch[1]) {
                self.send_spans();
            }
        }
        self.taken = taken;
    }

    /// Everything that is here now.
    fn take_all(&mut self) {
        self.take(self.core.express.len());
        self.send_all();
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        let due = |since: &mut Option<Instant>, count: u64, delay: Duration| {
            if count == 0 {
                *since = None;
                return false;
            }
            now.duration_since(*since.get_or_insert(now)) >= delay
        };
        if due(&mut self.since[0], self.exporter.logs.count(), self.config.log_delay) {
            self.send_logs();
        }
        if due(&mut self.since[1], self.exporter.spans.count(), self.config.span_delay) {
            self.send_spans();
        }
        if now >= self.next_metrics {
            self.next_metrics = now + self.config.metric_interval;
            self.send_metrics();
        }
    }

    fn send_all(&mut self) {
        self.send_exceptions();
        self.send_logs();
        self.send_spans();
        self.send_metrics();
    }

    fn send_exceptions(&mut self) {
        let count = self.exporter.exceptions.count();
        if count > 0 {
            let request = self.exporter.exceptions.request(&self.config.resource, SCHEMA_URL);
            self.send(Signal::Exceptions, count, &request, console::print_logs);
        }
    }

    fn send_logs(&mut self) {
        let count = self.exporter.logs.count();
        if count > 0 {
            self.since[0] = None;
            let request = self.exporter.logs.request(&self.config.resource, SCHEMA_URL);
            self.send(Signal::Logs, count, &request, console::print_logs);
        }
    }

    fn send_spans(&mut self) {
        let count = self.exporter.spans.count();
        if count > 0 {
            self.since[1] = None;
            let request = self.exporter.spans.request(&self.config.resource, SCHEMA_URL);
            self.send(Signal::Spans, count, &request, console::print_spans);
        }
    }

    fn send_metrics(&mut self) {
        if let Some((count, request)) = self.meters.collect(&self.config.resource, SCHEMA_URL) {
            self.core.ledger.accepted(Signal::Metrics, count);
            self.send(Signal::Metrics, count, &request, console::print_metrics);
        }
    }

    fn send<T: Message>(&self, signal: Signal, count: u64, request: &T, print: impl FnOnce(&T)) {
        match &self.config.destinations[signal as usize] {
            Destination::Otlp(_) => self.delivery.submit(signal, request.encode_to_vec().into(), count),
            Destination::Console => {
                print(request);
                self.core.ledger.delivered(signal, count);
            }
            Destination::Nowhere => self.core.ledger.delivered(signal, count),
        }
    }

    /// Answers the flushes that are done or out of time. `true`: the last one was a shutdown.
    fn settle(&mut self) -> bool {
        let now = Instant::now();
        let mut ended = false;
        if self.flushes.iter().any(|flush| flush.last && now >= flush.deadline) {
            // What raced the closing is accounted for, too.
            self.take_all();
        }
        let delivery = &self.delivery;
        self.flushes.retain(|flush| {
            let undelivered = delivery.undelivered(&flush.watermark);
            if undelivered > 0 && now < flush.deadline {
                return true;
            }
            if flush.last {
                delivery.give_up();
                ended = true;
            }
            // Nobody waits any more: fine.
            let _ = flush.reply.try_send(Settled { undelivered });
            false
        });
        ended
    }

    async fn abandon(&mut self) {
        self.take_all();
        let watermark = self.delivery.watermark();
        let patience = tokio::time::sleep(Duration::from_secs(2));
        tokio::pin!(patience);
        while self.delivery.undelivered(&watermark) > 0 {
            tokio::select! {
                () = self.delivery.progress() => {}
                () = &mut patience => break,
            }
        }
        self.delivery.give_up();
    }
}
