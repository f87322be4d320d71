//! How many records a thread did not hand over, and why. Comes in: one at a time, from the thread.
//! Goes out: sums, to the ledger, by way of the worker.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::{Ledger, LossReason, RecordKind};

/// The signals and reasons there are.
const LINES: [(RecordKind, LossReason); 4] = [
    (RecordKind::Logs, LossReason::QueueOverflow),
    (RecordKind::Logs, LossReason::Overload),
    (RecordKind::Spans, LossReason::QueueOverflow),
    (RecordKind::Spans, LossReason::Overload),
];

/// Written by the thread that owns the outbox and by no other, so that counting takes no atomic
/// operation: where most is lost, there is the least time.
#[derive(Default)]
pub(super) struct Losses {
    counted: [AtomicU64; LINES.len()],
    /// How much of it the ledger knows.
    reported: [AtomicU64; LINES.len()],
}

impl Losses {
    /// Only the owning thread calls this.
    #[inline]
    pub(super) fn count(&self, signal: RecordKind, reason: LossReason, count: u64) {
        let line = usize::from(signal == RecordKind::Spans) * 2 + usize::from(reason == LossReason::Overload);
        let counted = &self.counted[line];
        counted.store(counted.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Tells the ledger what it does not know yet.
    pub(super) fn report(&self, ledger: &Ledger) {
        for ((counted, reported), (signal, reason)) in self.counted.iter().zip(&self.reported).zip(LINES) {
            let count = counted.load(Ordering::Relaxed);
            // Two may be at it; who comes late finds nothing new.
            let new = count.saturating_sub(reported.fetch_max(count, Ordering::Relaxed));
            if new > 0 {
                ledger.dropped(signal, reason, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_reported_once() {
        let (losses, ledger) = (Losses::default(), Ledger::default());
        for (number, (signal, reason)) in (1..).zip(LINES) {
            losses.count(signal, reason, number);
        }
        for _ in 0..2 {
            losses.report(&ledger);
            let stats = ledger.stats(0, 0, 0);
            for (number, (signal, reason)) in (1..).zip(LINES) {
                assert_eq!(stats.of(signal).lost_to(reason), number);
            }
            assert_eq!((stats.of(RecordKind::Logs).accepted(), stats.of(RecordKind::Spans).accepted()), (3, 7));
        }
        losses.count(RecordKind::Spans, LossReason::Overload, 6);
        losses.report(&ledger);
        assert_eq!(ledger.stats(0, 0, 0).of(RecordKind::Spans).lost_to(LossReason::Overload), 10);
    }
}
