//! How much is left out while more is recorded than is sent: the least. Comes in: how full the outbox is. Goes out: whether the next request, or log outside of requests, is left out.

use std::cell::RefCell;

use rand::{RngExt as _, SeedableRng, rngs::SmallRng};

/// From here on some are left out: as large a share of them as the outbox is fuller than this.
const FIRST: f32 = 0.5;
/// From here on all are: the rest is for requests under way, and for what is never left out. So the outbox fills to where just that is left out which cannot be sent.
const ALL: f32 = 0.75;

/// Leaves out a share: each with the same probability, so that of kinds that take turns none is spared and none singled out.
pub(super) struct Shedding(RefCell<SmallRng>);

impl Default for Shedding {
    fn default() -> Self {
        // Which are left out may be known.
        Self(RefCell::new(SmallRng::seed_from_u64(0)))
    }
}

/// Whether anything is left out at this level, 0 to 1.
#[inline]
pub(super) fn is_due(level: f32) -> bool {
    level > FIRST
}

impl Shedding {
    /// Whether the next is left out, where the outbox is so full, 0 to 1.
    #[inline]
    pub(super) fn sheds(&self, level: f32) -> bool {
        is_due(level) && self.0.borrow_mut().random::<f32>() < (level - FIRST) / (ALL - FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report 15: at every level, whatever comes every so often is left out as often as all others.
    #[test]
    fn as_many_are_left_out_as_the_outbox_is_full_of_every_kind() {
        const EACH: usize = 5_000;
        let shedding = Shedding::default();
        for (level, share) in [(0.0, 0.0), (0.5, 0.0), (0.51, 0.04), (0.625, 0.5), (0.74, 0.96), (0.75, 1.0), (1.0, 1.0)] {
            for kinds in 1..5 {
                let mut left_out = vec![0; kinds];
                for number in 0..EACH * kinds {
                    left_out[number % kinds] += usize::from(shedding.sheds(level));
                }
                let expected = (EACH as f64 * share) as usize;
                // Six standard deviations.
                let most = (6.0 * (EACH as f64 * share * (1.0 - share)).sqrt()) as usize;
                assert!(left_out.iter().all(|count| count.abs_diff(expected) <= most), "{left_out:?} instead of {expected} at {level}");
            }
        }
    }
}
