//! A rate limit in one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds.
const MINUTE: u64 = 60_000_000_000;

/// Takes `cost` from a bucket of `burst` that gets `per_minute` back, if it is in there.
pub(crate) fn take(bucket: &AtomicU64, (burst, per_minute): (u32, u32), cost: u64, now: u64) -> bool {
    if burst == 0 {
        return false;
    }
    // Nanoseconds for one; with no rate at all, a burst lasts for ever.
    let each = if per_minute == 0 { u64::MAX / 4 / u64::from(burst) } else { MINUTE / u64::from(per_minute) };
    let (cost, capacity) = (each.saturating_mul(cost).min(u64::MAX / 4), each.saturating_mul(burst.into()).min(u64::MAX / 4));
    let mut known = bucket.load(Ordering::Relaxed);
    loop {
        let full_again = known.max(now).saturating_add(cost);
        // More than the whole bucket is taken from a full one.
        if full_again > now.saturating_add(capacity) && known > now {
            return false;
        }
        match bucket.compare_exchange_weak(known, full_again.min(now.saturating_add(capacity)), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(other) => known = other,
        }
    }
}
