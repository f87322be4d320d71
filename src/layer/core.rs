//! What every thread and the worker share: configuration, the callsite table, the pool, the lanes to the worker, the ledger.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    exception::Draft,
    layer::{route::Routes, spans::OpenSpans},
    ledger::Ledger,
    outbox::{Express, Outboxes, Waker},
    sampling::Sampler,
    trail::{callsite::CallsiteTable, encode::Limits, pool::Pool},
};

/// Shared by the layer, the panic hook and the worker.
pub(crate) struct Core {
    /// Unique in the process; addresses are reused, this is not.
    pub(crate) id: u64,
    pub(crate) routes: Routes,
    pub(crate) sampler: Sampler,
    pub(crate) event_limits: Limits,
    pub(crate) span_limits: Limits,
    /// Remote parents are followed, and the current span is told.
    pub(crate) propagates: bool,
    pub(crate) stacktraces: bool,
    pub(crate) exports_spans: bool,
    pub(crate) callsites: CallsiteTable,
    pub(crate) spans: OpenSpans,
    pub(crate) pool: Arc<Pool>,
    pub(crate) outboxes: Outboxes,
    pub(crate) express: Express<Draft>,
    pub(crate) waker: Waker,
    pub(crate) ledger: Ledger,
    /// Counts an exception in the metrics. On the caller, so that no limit of any queue hides one.
    pub(crate) count_exception: Box<dyn Fn(&Draft) + Send + Sync>,
    /// After shutdown nothing is recorded any more.
    pub(crate) closed: AtomicBool,
}

/// What a [`Core`] is made from.
pub(crate) struct CoreConfig {
    pub(crate) routes: Routes,
    pub(crate) sampler: Sampler,
    pub(crate) event_limits: Limits,
    pub(crate) span_limits: Limits,
    /// Remote parents are followed, and the current span is told.
    pub(crate) propagates: bool,
    pub(crate) stacktraces: bool,
    pub(crate) exports_spans: bool,
    pub(crate) trail_bytes: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) count_exception: Box<dyn Fn(&Draft) + Send + Sync>,
}

/// Exceptions that may wait for the worker, in number and in bytes.
const EXPRESS: (usize, usize) = (1024, 16 << 20);

impl Core {
    pub(crate) fn new(config: CoreConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            routes: config.routes,
            sampler: config.sampler,
            event_limits: config.event_limits,
            span_limits: config.span_limits,
            propagates: config.propagates,
            exports_spans: config.exports_spans,
            stacktraces: config.stacktraces,
            callsites: CallsiteTable::new(),
            spans: OpenSpans::new(),
            pool: Arc::new(Pool::new(config.trail_bytes)),
            outboxes: Outboxes::new(config.outbox_bytes),
            express: Express::new(EXPRESS.0, EXPRESS.1),
            waker: Waker::default(),
            ledger: Ledger::default(),
            count_exception: config.count_exception,
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}
