//! Overload: leaves out the least while more is recorded than is sent. Comes in: how full the
//! outbox is. Goes out: whether the next request, or the next log outside of requests, is left out.

use std::cell::RefCell;

use rand::{RngExt as _, SeedableRng, rngs::SmallRng};

/// Above this level some are left out. The share grows from none here to all at [`ALL`], so the
/// outbox settles where just as much is left out as cannot be sent.
const FIRST: f32 = 0.5;
/// From this level on all are left out: the rest is for requests under way, and for what is never
/// left out.
const ALL: f32 = 0.75;

/// Leaves out a share, each request with the same probability: a count would always hit the same
/// one of two kinds of requests that take turns.
pub(super) struct OverloadControl(RefCell<SmallRng>);

impl Default for OverloadControl {
    fn default() -> Self {
        // Nobody need be kept from predicting it.
        Self(RefCell::new(SmallRng::seed_from_u64(0)))
    }
}

/// Whether some are left out at this level, 0 to 1.
#[inline]
pub(super) fn leaves_some_out(level: f32) -> bool {
    level > FIRST
}

impl OverloadControl {
    /// Whether the next is left out, where the outbox is so full, 0 to 1.
    #[inline]
    pub(super) fn leaves_out(&self, level: f32) -> bool {
        leaves_some_out(level) && self.0.borrow_mut().random::<f32>() < (level - FIRST) / (ALL - FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report 15: kinds of requests that take turns are left out equally often, at every level.
    #[test]
    fn every_kind_loses_the_share_that_the_level_asks_for() {
        const EACH: usize = 5_000;
        let control = OverloadControl::default();
        for (level, share) in [(0.0, 0.0), (0.5, 0.0), (0.51, 0.04), (0.625, 0.5), (0.74, 0.96), (0.75, 1.0), (1.0, 1.0)] {
            for kinds in 1..5 {
                let mut left_out = vec![0; kinds];
                for number in 0..EACH * kinds {
                    left_out[number % kinds] += usize::from(control.leaves_out(level));
                }
                let expected = (EACH as f64 * share) as usize;
                // Six standard deviations.
                let most = (6.0 * (EACH as f64 * share * (1.0 - share)).sqrt()) as usize;
                assert!(left_out.iter().all(|count| count.abs_diff(expected) <= most), "{left_out:?} instead of {expected} at {level}");
            }
        }
    }
}
