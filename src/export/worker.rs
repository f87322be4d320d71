//! The worker. Comes in: records from the outboxes, exceptions, commands. Goes out: batches, to
//! delivery, when they are full or old; answers to flushes.

mod flush;
mod send;
mod take;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc::UnboundedReceiver;

use self::flush::Flush;
use super::{
    Exporter,
    config::{Destination, WorkerParts},
    cpu_share::CpuShare,
    overload::Overload,
    symbol_queue::{Next, SymbolQueue},
    thread::Alive,
};
use crate::{
    clock::{AnchorWriter, now},
    console::exporter,
    delivery::{Delivery, Host},
    exception::{Draft, ErrorId},
    failpoint::step,
    ledger::{Ledger, LossReason, RecordKind, Stats},
    outbox::Outbox,
    scrub::Scrubber,
    spool::Spool,
    stack::resolve::ModuleMap,
    state::{Command, Core, WorkerLink},
    trail::record::{Kind, Record},
};

/// How long records may lie in an outbox that is not filling up.
const POLL: Duration = Duration::from_millis(100);

/// How often files that are not needed are closed.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How often the state directory is searched.
const ADOPTION: Duration = Duration::from_secs(60);
/// Records are not held back for longer than this by an exception that waits for names.
const HOLD: Duration = Duration::from_secs(1);
/// Bytes of records that wait for an exception's names at most.
const MAX_HELD: usize = 4 << 20;

/// What one process's worker works with.
pub(super) struct ProcessParts {
    pub(super) link: Arc<WorkerLink>,
    pub(super) commands: UnboundedReceiver<Command>,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) resource: Resource,
    pub(super) modules: Arc<ModuleMap>,
}

pub(super) struct Worker {
    core: Arc<Core>,
    link: Arc<WorkerLink>,
    exporter: Exporter,
    parts: Arc<WorkerParts>,
    resource: Resource,
    /// The same, encoded.
    of_resource: Vec<u8>,
    commands: UnboundedReceiver<Command>,
    delivery: Delivery,
    spool: Option<Arc<Spool>>,
    alive: Weak<Alive>,
    symbols: SymbolQueue,
    cpu_share: CpuShare,
    overload: Overload,
    /// Outboxes that are still to be emptied in this round, and how many rounds have begun.
    round: Vec<Arc<Outbox>>,
    rounds: u64,
    /// An outbox of this round had more than was taken from it.
    has_more: bool,
    /// Bytes taken from the outboxes; reused.
    taken: Vec<u8>,
    /// Spans whose exception waits for names: both are to say the same.
    held: Vec<u8>,
    /// When the oldest record of a batch came: logs, spans.
    since: [Option<Instant>; 2],
    next_metrics: Instant,
    /// When to look for what processes that are gone have left.
    next_adoption: Instant,
    next_housekeeping: Instant,
    flushes: Vec<Flush>,
    clock: AnchorWriter,
}

impl Worker {
    pub(super) fn new(core: Arc<Core>, of_process: ProcessParts, parts: Arc<WorkerParts>, alive: Weak<Alive>) -> Self {
        let config = &parts.config;
        let lane = |destination: &Destination| match destination {
            Destination::Otlp(lane) => Some((**lane).clone()),
            Destination::Console | Destination::Nowhere => None,
        };
        let delivery = Delivery::new(core.clone(), RecordKind::ALL.map(|kind| lane(config.destination(kind))), of_process.spool.as_deref());
        let (own, hooks) = (parts.own.clone(), parts.hooks.clone());
        #[cfg_attr(not(any(feature = "console", feature = "testing")), expect(unused_mut))]
        let mut exporter = Exporter::new(core.clone(), own, of_process.modules, hooks, config.span_limits, config.exception_span_events);
        #[cfg(feature = "console")]
        {
            exporter.printer = parts.printer;
        }
        #[cfg(feature = "testing")]
        if parts.sink.is_some() {
            exporter.share_names();
        }
        let now = Instant::now();
        Self {
            core,
            link: of_process.link,
            exporter,
            of_resource: of_process.resource.encode_to_vec(),
            resource: of_process.resource,
            delivery,
            spool: of_process.spool,
            alive,
            commands: of_process.commands,
            symbols: SymbolQueue::default(),
            overload: Overload::default(),
            cpu_share: CpuShare::new(config.share),
            round: Vec::new(),
            rounds: 0,
            has_more: false,
            taken: Vec::new(),
            held: Vec::new(),
            since: [None; 2],
            next_metrics: now + config.metric_interval,
            next_adoption: now,
            next_housekeeping: now + HOUSEKEEPING,
            flushes: Vec::new(),
            clock: AnchorWriter::new(),
            parts,
        }
    }

    /// Runs until a shutdown, or until nobody is left. May be called again after a panic.
    pub(super) async fn run(&mut self) {
        // First of all what others have left: it is the oldest.
        self.housekeeping();
        // Whoever has called before a panic does not call again.
        self.link.waker.wake();
        loop {
            let due = |flush: &Flush| if flush.watermark.is_none() { flush.at_once } else { flush.deadline };
            let poll = Instant::now() + POLL;
            let wake = self.flushes.iter().map(due).chain(self.cpu_share.rests_until()).fold(poll, Instant::min);
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => self.command(command),
                // Before what may be ready in every turn.
                resolver = self.symbols.done() => {
                    self.exporter.resolver_returns(resolver);
                    self.make(false);
                }
                // There is room again.
                () = self.delivery.progress() => self.drain(),
                () = self.link.waker.woken() => self.drain(),
                () = tokio::time::sleep_until(wake.into()) => self.drain(),
            }
            step("worker::turn");
            if self.link.express.len() > 0 {
                self.link.waker.wake();
            }
            // Callers that never rest must not keep the lanes from sending.
            tokio::task::yield_now().await;
            self.send_due();
            self.clock.renew();
            if self.answer() {
                return self.finish_overload();
            }
            if self.alive.strong_count() == 0 && self.flushes.is_empty() {
                // Every handle is gone without a shutdown: send what there is, briefly.
                return self.abandon().await;
            }
            self.housekeeping();
        }
    }

    /// Begins to send anew, on another runtime.
    pub(super) fn restart(&self) {
        self.delivery.restart();
    }

    /// What is to be done now and then.
    fn housekeeping(&mut self) {
        let now = Instant::now();
        self.exporter.tidy();
        self.core.ask_what_is_hidden();
        self.look_at_overload(now);
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING;
            self.exporter.housekeeping();
            self.link.outboxes.give_back();
            if self.taken.is_empty() {
                self.taken = Vec::new();
            }
        }
        if now >= self.next_adoption {
            self.next_adoption = now + ADOPTION;
            if let Some(spool) = &self.spool {
                self.delivery.recover(spool);
            }
        }
        // Not at the end: nobody would send it.
        if !self.core.is_closed()
            && let Some(outage) = self.delivery.ended_outage()
        {
            self.link.ledger.accepted(RecordKind::Logs, 1);
            self.exporter.outage(&outage);
        }
    }

    fn look_at_overload(&mut self, now: Instant) {
        let is_full = self.delivery.is_full();
        if is_full {
            // Nothing is taken, and so nothing told.
            self.link.outboxes.report_losses(&self.link.ledger);
        }
        let said = self.overload.look(self.link.ledger.left_out(), is_full, now);
        self.diagnose_overload(said);
    }

    /// Nothing is taken any more.
    fn finish_overload(&mut self) {
        self.link.outboxes.report_losses(&self.link.ledger);
        let said = self.overload.finish(self.link.ledger.left_out(), Instant::now());
        self.diagnose_overload(said);
    }

    fn diagnose_overload(&self, said: Option<String>) {
        self.link.ledger.set_overloaded(self.overload.is_now());
        said.into_iter().for_each(|said| crate::diagnose(format_args!("{said}")));
    }

    /// Makes the requests of exceptions that need not wait for names, and then of the records that
    /// were taken with them. `at_once`: none may wait.
    fn make(&mut self, at_once: bool) {
        self.make_known(at_once);
        if !self.symbols.begin(&mut self.exporter.resolver) {
            self.exporter.resolver_returns(None);
            self.make_known(at_once);
        }
        let held_enough = self.taken.len() >= MAX_HELD || self.symbols.waited() > HOLD || self.is_flushing();
        if self.symbols.is_empty() || (held_enough && !self.taken.is_empty()) {
            if self.held.len() > MAX_HELD {
                // More than can be held: they carry their exception without names.
                for draft in self.symbols.without_event() {
                    let _ = catch_unwind(AssertUnwindSafe(|| self.exporter.first_form(draft, &self.resource)));
                }
            }
            self.convert(at_once);
        }
    }

    fn make_known(&mut self, at_once: bool) {
        loop {
            let (draft, named) = match self.symbols.next(self.exporter.resolver.as_ref(), at_once, |id| self.core.is_fatal(id)) {
                Next::Named(draft) => (draft, true),
                Next::Bare(draft) => (draft, false),
                Next::Nothing => return,
            };
            self.exception(*draft, named);
        }
    }

    /// Records become log records and spans, as far as there is room for them; `at_once`: all of
    /// them.
    fn convert(&mut self, at_once: bool) {
        let is_held_up = !self.symbols.is_empty();
        if self.taken.is_empty() && (self.held.is_empty() || is_held_up) {
            return;
        }
        let observed = now();
        let mut taken = std::mem::take(&mut self.taken);
        let holds = is_held_up && self.held.len() <= MAX_HELD;
        if !holds && !self.held.is_empty() {
            // They are older.
            let held = std::mem::take(&mut self.held);
            taken.splice(..0, held);
        }
        let mut rest = &taken[..];
        while !rest.is_empty() && (at_once || !self.delivery.is_full()) {
            let before = rest.len();
            let (symbols, held) = (&self.symbols, &mut self.held);
            let hold = |record: &Record<'_>| {
                let waits = holds && record.kind == Kind::Span && record.exceptions().any(|id| symbols.waits(ErrorId::from_bytes(id)));
                if waits {
                    held.extend_from_slice(record.as_bytes());
                }
                waits
            };
            rest = self.exporter.records(rest, observed, [self.parts.config.logs.max, self.parts.config.spans.max], hold);
            if rest.len() == before {
                // Not a record: cannot be, and must not keep us here.
                self.link.ledger.dropped(RecordKind::Logs, LossReason::InternalError, 1);
                rest = &[];
                break;
            }
            if self.exporter.logs.is_full(self.parts.config.logs.max) {
                self.send_logs();
            }
            if self.exporter.spans.is_full(self.parts.config.spans.max) {
                self.send_spans();
            }
        }
        let done = taken.len() - rest.len();
        taken.drain(..done);
        taken.shrink_to(MAX_HELD);
        self.taken = taken;
        self.cpu_share.turn_ends();
    }

    /// What is to survive us goes to disk before it waits for names.
    fn write_ahead(&mut self, draft: &mut Draft) {
        let waits = !self.symbols.is_empty()
            || !self.exporter.resolver.as_ref().is_some_and(|resolver| resolver.knows(&draft.frames, &draft.types()));
        if self.spool.is_some() && draft.ticket.is_none() && waits {
            let bare = catch_unwind(AssertUnwindSafe(|| self.exporter.first_form(draft, &self.resource).encode_to_vec()));
            draft.ticket = bare.ok().and_then(|bare| self.delivery.write_ahead(RecordKind::Exceptions, &bare, 1));
        }
        if draft.ticket.is_some() {
            self.link.ledger.spooled(RecordKind::Exceptions, 1);
        }
    }

    /// A panic in here is ours: it costs the record it met, and is counted.
    fn exception(&mut self, mut draft: Draft, named: bool) {
        let earlier = draft.ticket.take();
        draft.fatal |= self.core.is_fatal(draft.id);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let exception = self.exporter.exception(&draft, named)?;
            let request = self.exporter.request(&exception, &self.resource);
            Ok((exception, request))
        }));
        let made = made.unwrap_or_else(|_| {
            self.core.fault("making an exception record");
            Err(LossReason::InternalError)
        });
        match made {
            Ok((exception, request)) => {
                #[cfg(feature = "testing")]
                if let Some(sink) = &self.parts.sink {
                    sink.exception(exception);
                    return self.link.ledger.delivered(RecordKind::Exceptions, 1);
                }
                drop(exception);
                let request = request.encode_to_vec().into();
                match self.parts.config.destination(RecordKind::Exceptions) {
                    Destination::Otlp(_) => self.delivery.submit(RecordKind::Exceptions, request, 1, earlier),
                    Destination::Console | Destination::Nowhere => self.send(RecordKind::Exceptions, 1, request, exporter::print_logs),
                }
            }
            Err(reason) => {
                if let Some(earlier) = earlier {
                    self.link.ledger.unspooled(RecordKind::Exceptions, 1);
                    earlier.acknowledge();
                }
                self.link.ledger.lost(RecordKind::Exceptions, reason, 1);
            }
        }
    }

    async fn abandon(&mut self) {
        self.core.close();
        self.take_all();
        self.send_all();
        let watermark = self.delivery.watermark();
        let patience = tokio::time::sleep(Duration::from_secs(2));
        tokio::pin!(patience);
        while self.delivery.waiting(&watermark).all > 0 {
            tokio::select! {
                () = self.delivery.progress() => {}
                () = &mut patience => break,
            }
        }
        self.delivery.give_up();
        self.finish_overload();
    }
}

impl Host for Core {
    fn ledger(&self) -> &Ledger {
        self.ledger()
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    fn scrubber(&self) -> &Scrubber {
        &self.scrubber
    }

    fn fault(&self, at: &str) {
        self.fault(at);
    }
}
