//! The ledger: every record that was accepted ends as delivered or as lost under a reason. Nothing is dropped without a line here.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Exception records.
    Exceptions,
    /// Log records.
    Logs,
    /// Spans.
    Spans,
    /// Metric data points.
    Metrics,
}

impl Signal {
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
pub enum Lost {
    /// A bounded queue was full: more was recorded than could be sent.
    QueueOverflow,
    /// The receiver could not be reached, or kept asking for a retry, for too long.
    NetworkError,
    /// The receiver said no for good: a status that is not retried, or a partial success.
    Rejected,
    /// It was still unsent when the time for shutdown was up.
    Shutdown,
    /// Logged from within the formatting of an event that was itself logged from the formatting of an event.
    Reentrant,
    /// Recorded by the destructor of a thread-local value, when the thread's own state was gone already.
    ThreadEnding,
    /// A fault of ours; please report it.
    InternalError,
}

impl Lost {
    pub(crate) const ALL: [Self; 7] =
        [Self::QueueOverflow, Self::NetworkError, Self::Rejected, Self::Shutdown, Self::Reentrant, Self::ThreadEnding, Self::InternalError];

    /// The reason's name: `queue_overflow`, `network_error`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueOverflow => "queue_overflow",
            Self::NetworkError => "network_error",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
            Self::Reentrant => "reentrant",
            Self::ThreadEnding => "thread_ending",
            Self::InternalError => "internal_error",
        }
    }
}

/// Running totals, one line a signal.
#[derive(Default)]
pub(crate) struct Ledger {
    lines: [Line; Signal::ALL.len()],
}

#[derive(Default)]
struct Line {
    accepted: AtomicU64,
    delivered: AtomicU64,
    lost: [AtomicU64; Lost::ALL.len()],
}

impl Ledger {
    /// Records that reached the worker.
    pub(crate) fn accepted(&self, signal: Signal, count: u64) {
        self.lines[signal as usize].accepted.fetch_add(count, Ordering::Relaxed);
    }

    /// Records a receiver acknowledged.
    pub(crate) fn delivered(&self, signal: Signal, count: u64) {
        self.lines[signal as usize].delivered.fetch_add(count, Ordering::Relaxed);
    }

    /// Records that are gone. Those that never reached the worker count as accepted too: the program emitted them.
    pub(crate) fn lost(&self, signal: Signal, reason: Lost, count: u64) {
        let line = &self.lines[signal as usize];
        line.lost[reason as usize].fetch_add(count, Ordering::Relaxed);
        if matches!(reason, Lost::QueueOverflow | Lost::Reentrant | Lost::ThreadEnding) {
            line.accepted.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Records that had been accepted and could not be queued for delivery.
    pub(crate) fn lost_after_acceptance(&self, signal: Signal, count: u64) {
        self.lines[signal as usize].lost[Lost::QueueOverflow as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self, starved_trails: u64) -> Stats {
        Stats {
            lines: Signal::ALL.map(|signal| {
                let line = &self.lines[signal as usize];
                SignalStats {
                    // Read in this order, a record in between shows as pending, never as delivered twice.
                    lost: Lost::ALL.map(|reason| line.lost[reason as usize].load(Ordering::Relaxed)),
                    delivered: line.delivered.load(Ordering::Relaxed),
                    accepted: line.accepted.load(Ordering::Relaxed),
                }
            }),
            starved_trails,
        }
    }
}

/// What became of everything recorded so far. A snapshot; see [`Telemetry::stats`](crate::Telemetry::stats).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    lines: [SignalStats; Signal::ALL.len()],
    starved_trails: u64,
}

impl Stats {
    /// The totals of one signal.
    pub fn signal(&self, signal: Signal) -> &SignalStats {
        &self.lines[signal as usize]
    }

    /// How often a trail could not grow because the memory of all trails was in use. Breadcrumbs are missing then; nothing else is.
    pub fn starved_trails(&self) -> u64 {
        self.starved_trails
    }
}

impl fmt::Display for Stats {
    /// A line for each signal: `exceptions  3 accepted, 3 delivered`, then what was lost and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            let line = self.signal(signal);
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{:<11}{} accepted, {} delivered", signal.as_str(), line.accepted(), line.delivered())?;
            if line.pending() > 0 {
                write!(f, ", {} pending", line.pending())?;
            }
            for reason in Lost::ALL.into_iter().filter(|reason| line.lost_to(*reason) > 0) {
                write!(f, ", {} lost to {}", line.lost_to(reason), reason.as_str())?;
            }
        }
        Ok(())
    }
}

/// The totals of one signal. `accepted == delivered + lost + pending`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalStats {
    accepted: u64,
    delivered: u64,
    lost: [u64; Lost::ALL.len()],
}

impl SignalStats {
    /// Records taken so far; those still in a thread's outbox are not yet counted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Records a receiver acknowledged.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Records lost, for whatever reason.
    pub fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Records lost for one reason.
    pub fn lost_to(&self, reason: Lost) -> u64 {
        self.lost[reason as usize]
    }

    /// Records on their way.
    pub fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.delivered + self.lost())
    }
}
