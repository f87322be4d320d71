//! What the worker works by: where each signal goes, how often, how much at a time. Comes in: from
//! the builder. Goes out: to the worker and its thread.

#[cfg(feature = "testing")]
use std::sync::Arc;
use std::{path::PathBuf, time::Duration};

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::SpanLimits;
use crate::{config::per_signal::PerSignal, delivery::LaneConfig, hooks::Hooks, ledger::RecordKind, spool, stack::in_app::OwnCrates};

/// Where a signal goes.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Otlp(Box<LaneConfig>),
    Console,
    Nowhere,
}

/// How often, how much, and to where. The callers' is [`CallerConfig`](crate::state::CallerConfig).
pub(crate) struct WorkerConfig {
    pub(crate) span_limits: SpanLimits,
    /// Of the worker's thread, on top of the program's, where the system has such a thing for
    /// threads.
    pub(crate) niceness: i32,
    /// Of all processors, where they are short.
    pub(crate) share: f64,
    pub(crate) exception_span_events: bool,
    pub(crate) spool: Option<SpoolConfig>,
    /// Exceptions go where logs go.
    pub(crate) destinations: PerSignal<Destination>,
    pub(crate) logs: Batching,
    pub(crate) spans: Batching,
    pub(crate) metric_interval: Duration,
}

/// What every process's worker works with, besides its configuration.
pub(crate) struct WorkerParts {
    pub(crate) own: OwnCrates,
    pub(crate) hooks: Hooks,
    /// Prints exceptions that were no events.
    #[cfg(feature = "console")]
    pub(crate) printer: Option<crate::console::Printer>,
    /// Takes everything instead of the destinations.
    #[cfg(feature = "testing")]
    pub(crate) sink: Option<Arc<crate::testing::Sink>>,
    pub(crate) resource: Resource,
    pub(crate) config: WorkerConfig,
}

impl WorkerConfig {
    pub(crate) fn destination(&self, kind: RecordKind) -> &Destination {
        match kind {
            RecordKind::Exceptions | RecordKind::Logs => &self.destinations.logs,
            RecordKind::Spans => &self.destinations.traces,
            RecordKind::Metrics => &self.destinations.metrics,
        }
    }
}

/// How records share a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// How long one may wait for others.
    pub(crate) delay: Duration,
    /// Records in one request at most.
    pub(crate) max: u64,
}

/// Where undelivered requests wait.
pub(crate) struct SpoolConfig {
    pub(crate) path: PathBuf,
    pub(crate) limits: spool::Limits,
    /// What goes there besides exceptions.
    pub(crate) signals: PerSignal<bool>,
}

impl SpoolConfig {
    pub(crate) fn takes(&self, kind: RecordKind) -> bool {
        match kind {
            RecordKind::Exceptions => true,
            RecordKind::Logs => self.signals.logs,
            RecordKind::Spans => self.signals.traces,
            RecordKind::Metrics => self.signals.metrics,
        }
    }
}
