//! How much it takes: of memory, of time, of the processors. Comes in: what the program allows.
//! Goes out: limits for threads, worker and delivery.

use std::time::Duration;

use super::Builder;
use crate::config::LimitSettings;

impl Builder {
    /// The memory of all trails together, in bytes; 16 MiB by default, taken as needed. A request's
    /// trail takes 4 KiB, and up to 16 KiB if it is long. When half is taken no trail grows any
    /// more; when three quarters are, new requests get 512 bytes, the newest few breadcrumbs; what
    /// finds nothing is counted
    /// ([`Stats::trail_pool_exhausted`](crate::stats::Stats::trail_pool_exhausted)) and said once
    /// on stderr.
    pub fn with_trail_memory(mut self, bytes: usize) -> Self {
        self.code.trail_memory = Some(bytes);
        self
    }

    /// The most memory of each thread's outbox, in bytes, rounded down to a power of two, 64 KiB at
    /// least; 1 MiB by default. It is taken 16 KiB at a time, when more waits for the worker than
    /// before, and given back when the thread falls silent. More lets a burst wait instead of being
    /// [left out](crate#overload).
    pub fn with_outbox_memory(mut self, bytes: usize) -> Self {
        self.code.outbox_memory = Some(bytes);
        self
    }

    /// How long a log record may wait for others to share its request (`OTEL_BLRP_SCHEDULE_DELAY`);
    /// 1 s by default. Exceptions do not wait.
    pub fn with_log_schedule_delay(mut self, delay: Duration) -> Self {
        self.code.signals.logs.delay = Some(delay);
        self
    }

    /// How long a span may wait for others to share its request (`OTEL_BSP_SCHEDULE_DELAY`); 5 s by
    /// default.
    pub fn with_span_schedule_delay(mut self, delay: Duration) -> Self {
        self.code.signals.traces.delay = Some(delay);
        self
    }

    /// Log records in one request at most (`OTEL_BLRP_MAX_EXPORT_BATCH_SIZE`); 4,096 by default, 1
    /// at least. A request is also sent before it grows beyond 1 MB.
    pub fn with_max_log_batch_size(mut self, records: u64) -> Self {
        self.code.signals.logs.max_batch = Some(records.max(1));
        self
    }

    /// Spans in one request at most (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`); 4,096 by default, 1 at
    /// least. A request is also sent before it grows beyond 1 MB.
    pub fn with_max_span_batch_size(mut self, spans: u64) -> Self {
        self.code.signals.traces.max_batch = Some(spans.max(1));
        self
    }

    /// Attributes of a log record at most, 128 by default, `code.*` among them; and characters of
    /// one text, by default as many as 8 KiB hold, which is also the most. What is over is dropped
    /// and counted in the record, or cut, which `crumbtrail.truncated` says. The body is no
    /// attribute. Exceptions keep to 128 attributes and 32 KiB.
    pub fn with_log_attribute_limits(mut self, count: usize, value_characters: usize) -> Self {
        self.code.signals.logs.limits = LimitSettings { count: Some(count), length: Some(value_characters) };
        self
    }

    /// Attributes of a span at most, and characters of one text, as [of a log
    /// record](Self::with_log_attribute_limits). Names, kinds and statuses are no attributes.
    pub fn with_span_attribute_limits(mut self, count: usize, value_characters: usize) -> Self {
        self.code.signals.traces.limits = LimitSettings { count: Some(count), length: Some(value_characters) };
        self
    }

    /// A ceiling on what the worker takes of all processors together for logs and spans; 1, none,
    /// by default. On Unix.
    ///
    /// It counts its thread's own time, and rests after each turn until it is within its share, a
    /// second at most, whether others need the processors or not. What does not fit is left out,
    /// see [Overload](crate#overload): a hello-world service that is saturated loses nine in ten of
    /// its logs and spans to a share of 0.01 on two processors. Exceptions, metrics and flushes do
    /// not wait.
    pub fn with_worker_share(mut self, share: f64) -> Self {
        self.code.worker_share = Some(share);
        self
    }

    /// What `nice` adds for the worker's thread to the niceness of the program, from 0 to 19; 0 by
    /// default, as important as any thread. On Linux.
    ///
    /// Others go first then, and an exception takes longer to arrive where processors are short;
    /// what waits for too long is left out, see [Overload](crate#overload).
    pub fn with_worker_niceness(mut self, niceness: u8) -> Self {
        self.code.worker_niceness = Some(i32::from(niceness));
        self
    }

    /// How long dropping the [`TelemetryGuard`](crate::TelemetryGuard) may wait for delivery; 2 s
    /// by default.
    pub fn with_shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.code.shutdown_timeout = Some(timeout);
        self
    }

    /// How long the end of the process may wait for what was recorded last, where no guard is
    /// dropped: `std::process::exit`, a panic where panics abort, a panic while another unwinds. 2
    /// s by default; zero waits for nothing. The panic hook, or a handler of the C library's
    /// `atexit`, blocks the ending thread for so long at most. See [Ending](crate#ending).
    pub fn with_exit_timeout(mut self, timeout: Duration) -> Self {
        self.code.exit_timeout = Some(timeout);
        self
    }
}
