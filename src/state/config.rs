//! What the program's own threads go by. Comes in: from what code, the environment or a file say.
//! Goes out: to whoever records.

use std::time::Duration;

use super::Enrichment;
use crate::{filter::Filters, propagation::Propagators, sampling::Sampler, trail::encode::Limits};

/// See the [module](self). The worker's is [`WorkerConfig`](crate::export::config::WorkerConfig).
pub(crate) struct CallerConfig {
    pub(crate) filters: Filters,
    pub(crate) sampler: Sampler,
    pub(crate) event_limits: Limits,
    pub(crate) span_limits: Limits,
    /// How remote parents are followed and the current span is told.
    pub(crate) propagators: Propagators,
    pub(crate) stacktraces: bool,
    pub(crate) exports_spans: bool,
    /// Bytes of all trails.
    pub(crate) trail_memory: usize,
    /// Bytes of one thread's outbox.
    pub(crate) outbox_memory: usize,
    /// Baggage entries that become tags.
    pub(crate) baggage: Vec<String>,
    /// Logs, or spans, say who they are for.
    pub(crate) user_on_logs: bool,
    pub(crate) user_on_spans: bool,
    pub(crate) enrichment: Enrichment,
    /// How long the end of the process may wait for what is left.
    pub(crate) exit_timeout: Duration,
}
