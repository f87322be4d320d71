//! What every thread and the worker share: configuration, the callsite table, the pool, the lanes
//! to the worker, the ledger.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{CallerConfig, other_api::OtherApi};
use crate::{
    exception::{
        ErrorId,
        storm::{ExceptionRate, Storm},
    },
    filter::hidden::Unasked,
    fork::{Mutex, Once},
    ledger::{Ledger, Stats},
    metrics::Meters,
    sampling::RemoteBudget,
    scope::ScopeCell,
    scrub::Scrubber,
    stack::read_only::ReadOnlyRanges,
    state::{WorkerLink, link::Links, open_spans::OpenSpans},
    trail::{callsite::CallsiteTable, pool::Pool},
};

/// Shared by the layer, the panic hook and the worker.
pub(crate) struct Core {
    /// Unique in the process; addresses are reused, this is not.
    pub(crate) id: u64,
    pub(crate) config: CallerConfig,
    pub(crate) remote_budget: RemoteBudget,
    pub(crate) callsites: CallsiteTable,
    pub(crate) spans: OpenSpans,
    pub(crate) unasked: Unasked,
    pub(crate) pool: Arc<Pool>,
    pub(crate) links: Links,
    /// Starts a worker at the other end of a link.
    pub(crate) start: Start,
    /// Panics of ours that were caught.
    faults: AtomicU64,
    pub(crate) scrubber: Arc<Scrubber>,
    /// The addresses of clients may be told.
    #[cfg(feature = "tower")]
    pub(crate) tells_clients: bool,
    #[cfg(feature = "tower")]
    writes_requests: std::sync::OnceLock<bool>,
    pub(crate) literals: ReadOnlyRanges,
    pub(crate) meters: Arc<Meters>,
    #[cfg(feature = "tower")]
    pub(crate) requests: crate::metrics::requests::RequestMetrics,
    #[cfg(feature = "tower")]
    pub(crate) rpc_methods: super::rpc_methods::RpcMethods,
    /// Another API beside `tracing`.
    pub(crate) other_api: Option<Box<dyn OtherApi>>,
    /// What is known of the whole process.
    pub(crate) process_scope: ScopeCell,
    /// Counts exceptions and limits their records.
    pub(crate) storm: Storm,
    /// The program has code of its own that sees exceptions before they leave.
    pub(crate) has_hooks: bool,
    /// The last exceptions that it dropped.
    dropped: Mutex<VecDeque<ErrorId>>,
    /// Panics that happen while this layer is the scoped one are its own.
    #[cfg(feature = "testing")]
    pub(crate) takes_scoped_panics: bool,
    no_request: Once,
    pub(crate) after_its_end: Once,
    /// There was a shutdown.
    has_ended: AtomicBool,
    after_end: Once,
    /// The last panic of the main thread, and those that end the process.
    main_panic: Mutex<Option<ErrorId>>,
    fatal: Mutex<Vec<ErrorId>>,
    /// Our panic hook was installed; it may be another's by now.
    pub(crate) has_panic_hook: AtomicBool,
    #[cfg(feature = "tower")]
    hook_replaced: Once,
    /// After shutdown nothing is recorded any more.
    pub(crate) closed: AtomicBool,
}

/// Starts a worker. Fails where the operating system refuses a thread or what its runtime needs.
pub(crate) type Start = Box<dyn Fn(&Arc<Core>, &Arc<WorkerLink>) -> io::Result<()> + Send + Sync>;

/// Makes what looks spans up in a [`Core`].
pub(crate) type MakeOtherApi = Box<dyn FnOnce(&Weak<Core>) -> Box<dyn OtherApi>>;

/// What a [`Core`] works with, besides its [configuration](CallerConfig).
pub(crate) struct CoreParts {
    pub(crate) scrubber: Arc<Scrubber>,
    pub(crate) rate: ExceptionRate,
    pub(crate) has_hooks: bool,
    #[cfg(feature = "testing")]
    pub(crate) takes_scoped_panics: bool,
    pub(crate) meters: Arc<Meters>,
    pub(crate) other_api: Option<MakeOtherApi>,
    pub(crate) start: Start,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}

impl Core {
    /// `this`: what it will be shared by.
    pub(crate) fn new(config: CallerConfig, parts: CoreParts, this: &Weak<Self>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            remote_budget: RemoteBudget::default(),
            callsites: CallsiteTable::new(parts.scrubber.clone()),
            spans: OpenSpans::new(),
            unasked: Unasked::default(),
            pool: Arc::new(Pool::new(config.trail_memory)),
            links: Links::new(WorkerLink::new(config.outbox_memory)),
            start: parts.start,
            faults: AtomicU64::new(0),
            #[cfg(feature = "tower")]
            tells_clients: parts.scrubber.key("client.address") == crate::scrub::Treatment::Keep,
            #[cfg(feature = "tower")]
            writes_requests: std::sync::OnceLock::new(),
            scrubber: parts.scrubber,
            literals: ReadOnlyRanges::of_this_process(),
            meters: parts.meters,
            #[cfg(feature = "tower")]
            requests: Default::default(),
            #[cfg(feature = "tower")]
            rpc_methods: Default::default(),
            other_api: parts.other_api.map(|make| make(this)),
            process_scope: ScopeCell::default(),
            storm: Storm::new(parts.rate),
            has_hooks: parts.has_hooks,
            dropped: Mutex::default(),
            #[cfg(feature = "testing")]
            takes_scoped_panics: parts.takes_scoped_panics,
            no_request: Once::new(),
            after_its_end: Once::new(),
            has_ended: AtomicBool::new(false),
            after_end: Once::new(),
            main_panic: Mutex::default(),
            fatal: Mutex::default(),
            has_panic_hook: AtomicBool::new(false),
            #[cfg(feature = "tower")]
            hook_replaced: Once::new(),
            closed: AtomicBool::new(false),
            config,
        }
    }

    /// Whether nothing is to be done to the fields of a request's span but what an encoder does.
    /// Asked for the same names every time.
    #[cfg(feature = "tower")]
    pub(crate) fn writes_requests(&self, fields: &[&str]) -> bool {
        let keeps = |name: &&str| self.scrubber.key(name) == crate::scrub::Treatment::Keep;
        *self
            .writes_requests
            .get_or_init(|| self.config.span_limits.are_default() && !self.scrubber.has_rules() && fields.iter().all(keeps))
    }

    /// Stops recording. What is in the lanes is still exported.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.links.newest().ledger
    }

    pub(crate) fn stats(&self) -> Stats {
        let link = self.links.newest();
        link.outboxes.report_losses(&link.ledger);
        link.ledger.stats(self.pool.starved(), self.storm.suppressed(), self.faults.load(Ordering::Relaxed))
    }

    /// A hook has dropped an exception: what seems to be an echo of it is not.
    pub(crate) fn has_dropped(&self, id: ErrorId) {
        const MAX: usize = 256;
        let mut dropped = self.dropped.lock();
        if dropped.len() >= MAX {
            dropped.pop_front();
        }
        dropped.push_back(id);
    }

    pub(crate) fn is_dropped(&self, id: ErrorId) -> bool {
        self.has_hooks && self.dropped.lock().contains(&id)
    }

    /// From now on what fails is not told.
    pub(crate) fn ends(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// An exception after the end, of which there will be no record whatever id it has. That is
    /// said once.
    #[cold]
    pub(crate) fn lost_after_end(&self) {
        if self.has_ended.load(Ordering::Relaxed) {
            self.after_end.call_once(|| {
                crate::diagnose(format_args!(
                    "an error happened after the telemetry was shut down and is not reported; keep the guard until the end of main"
                ));
            });
        }
    }

    /// The main thread panics. Whether that is the end is not known yet.
    pub(crate) fn main_panics(&self, id: ErrorId) {
        *self.main_panic.lock() = Some(id);
    }

    /// The main thread unwinds through its last function: the process ends.
    pub(crate) fn main_ends(&self) {
        let last = *self.main_panic.lock();
        self.fatal.lock().extend(last);
    }

    /// The process ends with this one.
    pub(crate) fn is_the_end(&self, id: ErrorId) {
        self.fatal.lock().push(id);
    }

    pub(crate) fn is_fatal(&self, id: ErrorId) -> bool {
        self.fatal.lock().contains(&id)
    }

    /// A panic was caught of which our hook has not heard, although it was installed.
    #[cfg(feature = "tower")]
    pub(crate) fn diagnose_hook_replaced(&self) {
        if self.has_panic_hook.load(Ordering::Relaxed) {
            self.hook_replaced.call_once(|| {
                crate::diagnose(format_args!(
                    "another panic hook has replaced crumbtrail's, so panics are reported only where the middleware catches them; set the other hook before crumbtrail is installed, or let it call the one that `std::panic::take_hook` gives it"
                ));
            });
        }
    }

    /// Whether a filter over all layers hides what our filters ask for is looked at once for each
    /// subscriber, and said.
    pub(crate) fn ask_what_is_hidden(&self) {
        self.unasked.ask(&self.config.filters);
    }

    /// Something was said of a request where there is none.
    pub(crate) fn diagnose_no_request(&self) {
        self.no_request.call_once(|| {
            crate::diagnose(format_args!(
                "what was set outside of any span belongs to no request and is dropped; Scope::process() sets it for the whole process"
            ));
        });
    }

    /// The other API, where traces are its own.
    #[inline]
    pub(crate) fn owner_of_traces(&self) -> Option<&dyn OtherApi> {
        self.other_api.as_deref().filter(|other| other.owns_traces())
    }

    /// A rule of the program's own panicked over a span's fields, which are left out.
    pub(crate) fn fault_of_rule(&self) {
        static SAID: Once = Once::new();
        SAID.call_once(|| crate::diagnose(format_args!("a rule of the scrubber panicked; what it was to clean is left out")));
    }

    /// A panic of ours was caught.
    pub(crate) fn fault(&self, at: &str) {
        if self.faults.fetch_add(1, Ordering::Relaxed) == 0 {
            crate::diagnose(format_args!("a fault of ours while {at}, please report it; it goes on"));
        }
    }
}
