//! The ledger: every record that was accepted ends as delivered, as spooled, or as lost under a
//! reason. Nothing is dropped without a line here.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordKind {
    /// Exception records.
    Exceptions,
    /// Log records.
    Logs,
    /// Spans.
    Spans,
    /// Metric data points.
    Metrics,
}

impl RecordKind {
    pub(crate) const ALL: [Self; 4] = [Self::Exceptions, Self::Logs, Self::Spans, Self::Metrics];

    /// The signal's name in messages: `exceptions`, `logs`, `spans`, `metrics`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exceptions => "exceptions",
            Self::Logs => "logs",
            Self::Spans => "spans",
            Self::Metrics => "metrics",
        }
    }
}

/// Why a record was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// A bounded queue in memory was full: more was recorded than could be sent.
    QueueOverflow,
    /// A log record or span of a request that was left out whole, because more was recorded than
    /// could be exported when it began; or a log record outside of requests. See
    /// [Overload](crate#overload).
    Overload,
    /// The spool on disk was full: the oldest made room.
    SpoolOverflow,
    /// The receiver could not be reached, or kept asking for a retry, for as long as a record is
    /// kept in memory.
    NetworkError,
    /// It lay in the spool for longer than it is of use.
    Expired,
    /// The receiver said no for good: a status that is not retried, or a partial success.
    Rejected,
    /// The receiver refused it for its size, or for its content, and it could not be divided
    /// further.
    TooLarge,
    /// Its place in the spool was damaged.
    Damaged,
    /// It was still unsent when the time for shutdown was up.
    Shutdown,
    /// Logged from within the formatting of an event that was itself logged from the formatting of
    /// an event.
    Reentrant,
    /// Recorded by the destructor of a thread-local value, when the thread's own state was gone
    /// already.
    ThreadEnding,
    /// A rule of the [`Scrubber`](crate::Scrubber) panicked, so what it was to clean is not told.
    ScrubberFailed,
    /// A hook of the program's own dropped it. That is no loss to a flush.
    Filtered,
    /// A hook of the program's own panicked.
    CallbackError,
    /// A fault of ours; please report it.
    InternalError,
}

impl LossReason {
    pub(crate) const ALL: [Self; 15] = [
        Self::QueueOverflow,
        Self::Overload,
        Self::SpoolOverflow,
        Self::NetworkError,
        Self::Expired,
        Self::Rejected,
        Self::TooLarge,
        Self::Damaged,
        Self::Shutdown,
        Self::Reentrant,
        Self::ThreadEnding,
        Self::ScrubberFailed,
        Self::Filtered,
        Self::CallbackError,
        Self::InternalError,
    ];

    /// The reason's name: `queue_overflow`, `network_error`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueOverflow => "queue_overflow",
            Self::Overload => "overload",
            Self::SpoolOverflow => "spool_overflow",
            Self::NetworkError => "network_error",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Damaged => "damaged",
            Self::Shutdown => "shutdown",
            Self::Reentrant => "reentrant",
            Self::ThreadEnding => "thread_ending",
            Self::ScrubberFailed => "scrubber_failed",
            Self::Filtered => "filtered",
            Self::CallbackError => "callback_error",
            Self::InternalError => "internal_error",
        }
    }
}

/// Running totals, one line a signal. Every record accepted is pending until it is delivered,
/// spooled or lost; a spooled one may still be delivered or lost.
#[derive(Default)]
pub(crate) struct Ledger {
    lines: [Line; RecordKind::ALL.len()],
    is_overloaded: AtomicBool,
}

#[derive(Default)]
struct Line {
    accepted: AtomicU64,
    recovered: AtomicU64,
    delivered: AtomicU64,
    spooled: AtomicU64,
    lost: [AtomicU64; LossReason::ALL.len()],
}

impl Ledger {
    /// Records that reached the worker.
    pub(crate) fn accepted(&self, signal: RecordKind, count: u64) {
        self.lines[signal as usize].accepted.fetch_add(count, Ordering::Relaxed);
    }

    /// Records that never reached the worker: the program emitted them, so they count as accepted,
    /// too.
    pub(crate) fn dropped(&self, signal: RecordKind, reason: LossReason, count: u64) {
        self.accepted(signal, count);
        self.lost(signal, reason, count);
    }

    /// Records found in the spool of a process that is gone.
    pub(crate) fn recovered(&self, signal: RecordKind, count: u64) {
        let line = &self.lines[signal as usize];
        line.accepted.fetch_add(count, Ordering::Relaxed);
        line.recovered.fetch_add(count, Ordering::Relaxed);
        line.spooled.fetch_add(count, Ordering::Relaxed);
    }

    /// Accepted records that are on disk now.
    pub(crate) fn spooled(&self, signal: RecordKind, count: u64) {
        self.lines[signal as usize].spooled.fetch_add(count, Ordering::Relaxed);
    }

    /// Spooled records about to be delivered or lost, or in memory only again.
    pub(crate) fn unspooled(&self, signal: RecordKind, count: u64) {
        self.lines[signal as usize].spooled.fetch_sub(count, Ordering::Relaxed);
    }

    /// Records a receiver acknowledged.
    pub(crate) fn delivered(&self, signal: RecordKind, count: u64) {
        self.lines[signal as usize].delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// Accepted records that are gone.
    pub(crate) fn lost(&self, signal: RecordKind, reason: LossReason, count: u64) {
        self.lines[signal as usize].lost[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Logs and spans that were left out for want of room.
    pub(crate) fn left_out(&self) -> [u64; 2] {
        [RecordKind::Logs, RecordKind::Spans]
            .map(|signal| self.lines[signal as usize].lost[LossReason::Overload as usize].load(Ordering::Relaxed))
    }

    /// Some are, or have been just now.
    pub(crate) fn set_overloaded(&self, is_overloaded: bool) {
        self.is_overloaded.store(is_overloaded, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, trail_pool_exhausted: u64, suppressed: u64, faults: u64) -> Stats {
        Stats {
            lines: RecordKind::ALL.map(|signal| {
                let line = &self.lines[signal as usize];
                RecordStats {
                    // Read in this order, a record on its way from one state to the next shows as pending, never twice.
                    lost: LossReason::ALL.map(|reason| line.lost[reason as usize].load(Ordering::Relaxed)),
                    delivered: line.delivered.load(Ordering::Relaxed),
                    spooled: line.spooled.load(Ordering::Relaxed),
                    recovered: line.recovered.load(Ordering::Relaxed),
                    accepted: line.accepted.load(Ordering::Relaxed),
                }
            }),
            trail_pool_exhausted,
            suppressed,
            faults,
            is_overloaded: self.is_overloaded.load(Ordering::Relaxed),
        }
    }
}

/// What became of everything recorded so far. A snapshot; see
/// [`Telemetry::stats`](crate::Telemetry::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    lines: [RecordStats; RecordKind::ALL.len()],
    trail_pool_exhausted: u64,
    suppressed: u64,
    faults: u64,
    is_overloaded: bool,
}

impl Stats {
    /// The totals of one signal.
    pub fn of(&self, signal: RecordKind) -> &RecordStats {
        &self.lines[signal as usize]
    }

    /// How often a trail could not grow because the memory of all trails was in use. Breadcrumbs
    /// are missing then; nothing else is.
    pub fn trail_pool_exhausted(&self) -> u64 {
        self.trail_pool_exhausted
    }

    /// Exceptions of which no record was made, because their group had [its
    /// share](crate::config::ExceptionRate). The metric `crumbtrail.exceptions` has counted them.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// Requests are left out because more is recorded than can be exported, or were within the last
    /// five seconds, or were and there is no room yet. See [Overload](crate#overload).
    pub fn is_overloaded(&self) -> bool {
        self.is_overloaded
    }

    /// Panics of our own that were caught. What they cost is among the
    /// [`LossReason::InternalError`]; please report them.
    pub fn internal_panics(&self) -> u64 {
        self.faults
    }
}

impl fmt::Display for Stats {
    /// A line for each signal: `exceptions  3 accepted, 3 delivered`, then what was lost and why.
    /// One more while there is an [overload](Self::is_overloaded).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, signal) in RecordKind::ALL.into_iter().enumerate() {
            let line = self.of(signal);
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{:<11}{} accepted, {} delivered", signal.as_str(), line.accepted(), line.delivered())?;
            if line.recovered() > 0 {
                write!(f, ", {} recovered", line.recovered())?;
            }
            if line.spooled() > 0 {
                write!(f, ", {} spooled", line.spooled())?;
            }
            if line.pending() > 0 {
                write!(f, ", {} pending", line.pending())?;
            }
            for reason in LossReason::ALL.into_iter().filter(|reason| line.lost_to(*reason) > 0) {
                write!(f, ", {} lost to {}", line.lost_to(reason), reason.as_str())?;
            }
            if signal == RecordKind::Exceptions && self.suppressed > 0 {
                write!(f, "; {} more were only counted", self.suppressed)?;
            }
        }
        if self.is_overloaded {
            write!(f, "\noverloaded: more is recorded than can be exported")?;
        }
        Ok(())
    }
}

/// The totals of one signal. `accepted == delivered + spooled + lost + pending`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordStats {
    accepted: u64,
    recovered: u64,
    delivered: u64,
    spooled: u64,
    lost: [u64; LossReason::ALL.len()],
}

impl RecordStats {
    /// Records taken so far; those still in a thread's outbox are not yet counted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of accepted records that another process had spooled and could not deliver.
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// The number of records that a receiver has acknowledged.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Records that wait on disk. If this process ends before they are delivered, the next one
    /// delivers them.
    pub fn spooled(&self) -> u64 {
        self.spooled
    }

    /// Records lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Records lost for one reason.
    pub fn lost_to(&self, reason: LossReason) -> u64 {
        self.lost[reason as usize]
    }

    /// Records on their way, in memory only.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.delivered + self.spooled + self.lost())
    }
}

/// What became of records while a [`flush`](crate::Telemetry::flush) or
/// [`shutdown`](crate::Telemetry::shutdown) waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    delivered: u64,
    spooled: u64,
    lost: u64,
}

impl FlushReport {
    pub(crate) fn between(before: &Stats, after: &Stats) -> Self {
        let sum = |stats: &Stats, of: fn(&RecordStats) -> u64| RecordKind::ALL.iter().map(|signal| of(stats.of(*signal))).sum::<u64>();
        Self {
            delivered: sum(after, RecordStats::delivered).saturating_sub(sum(before, RecordStats::delivered)),
            spooled: sum(after, RecordStats::spooled),
            lost: sum(after, lost_unasked).saturating_sub(sum(before, lost_unasked)),
        }
    }

    /// Records of all signals that were delivered meanwhile.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Records of all signals that wait on disk now, undelivered.
    pub fn spooled(&self) -> u64 {
        self.spooled
    }

    /// Records of all signals that were lost meanwhile: refused by the receiver, given up, or
    /// without room.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// What the program dropped itself is no loss.
fn lost_unasked(line: &RecordStats) -> u64 {
    line.lost() - line.lost_to(LossReason::Filtered)
}

impl fmt::Display for FlushReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records delivered, {} spooled, {} lost", self.delivered, self.spooled, self.lost)
    }
}
