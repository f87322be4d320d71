//! What the worker works by: where each signal goes, how often, how much at a time. Comes in: from the builder. Goes out: to the worker and its thread.

#[cfg(feature = "testing")]
use std::sync::Arc;
use std::{path::PathBuf, time::Duration};

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::SpanLimits;
use crate::{delivery::LaneConfig, hooks::Hooks, ledger::RecordKind, spool, stack::in_app::OwnCrates};

/// Where a signal goes (`OTEL_{TRACES,METRICS,LOGS}_EXPORTER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exporter {
    /// To a collector, over OTLP. The default.
    Otlp,
    /// To standard output, a line each, for a look while developing.
    Console,
    /// Nowhere.
    None,
}

/// Where a signal goes.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Otlp(Box<LaneConfig>),
    Console,
    Nowhere,
}

/// How often, how much, and to where.
pub(crate) struct WorkerConfig {
    pub(crate) own: OwnCrates,
    pub(crate) span_limits: SpanLimits,
    /// Of the worker's thread, on top of the program's, where the system has such a thing for threads.
    pub(crate) niceness: i32,
    /// Of all processors, where they are short.
    pub(crate) share: f64,
    pub(crate) exception_span_events: bool,
    pub(crate) hooks: Hooks,
    /// Prints exceptions that were no events.
    #[cfg(feature = "console")]
    pub(crate) printer: Option<crate::console::Printer>,
    /// Takes everything instead of the destinations.
    #[cfg(feature = "testing")]
    pub(crate) sink: Option<Arc<crate::testing::Sink>>,
    pub(crate) spool: Option<SpoolConfig>,
    pub(crate) resource: Resource,
    /// Exceptions, logs, spans, metrics.
    pub(crate) destinations: [Destination; 4],
    pub(crate) log_delay: Duration,
    pub(crate) span_delay: Duration,
    pub(crate) metric_interval: Duration,
    /// Records in one request at most: logs, spans.
    pub(crate) max_batch: [u64; 2],
}

/// Where undelivered requests wait.
pub(crate) struct SpoolConfig {
    pub(crate) path: PathBuf,
    pub(crate) limits: spool::Limits,
    pub(crate) signals: [bool; RecordKind::ALL.len()],
}
