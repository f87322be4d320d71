//! What of a request is left out for want of room. Comes in: that it is, when its root opens; spans
//! that end. Goes out: how many of them are to be counted as missing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// By default nothing is.
#[derive(Default)]
pub(crate) struct LeftOut {
    /// The logs.
    logs: AtomicBool,
    /// The spans, too: the trace was sampled, and is not any more.
    spans: AtomicBool,
    /// Spans that have ended, and are sent if the trace is kept; else they are missing.
    held: AtomicU64,
    /// The root has ended: the trace is not kept any more.
    is_final: AtomicBool,
}

impl LeftOut {
    pub(crate) fn set(&self, was_sampled: bool) {
        self.logs.store(true, Ordering::Relaxed);
        self.spans.store(was_sampled, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.logs.load(Ordering::Relaxed)
    }

    /// How many spans are missing when one ends: one, or none if nobody would have had it anyway.
    #[inline]
    pub(crate) fn of_one(&self) -> u64 {
        u64::from(self.spans.load(Ordering::Relaxed))
    }

    /// A span has ended and waits for whether its trace is kept.
    pub(super) fn hold(&self) {
        if self.is_set() {
            self.held.fetch_add(self.of_one(), Ordering::Relaxed);
        }
    }

    /// The root has ended, and the trace is not kept. Returns how many spans are missing, itself
    /// among them.
    pub(super) fn finish(&self) -> u64 {
        self.is_final.store(self.is_set(), Ordering::Relaxed);
        self.held.load(Ordering::Relaxed) + self.of_one()
    }

    /// It is left out for good: a span that ends is missing.
    pub(super) fn is_final(&self) -> bool {
        self.is_final.load(Ordering::Relaxed)
    }
}
