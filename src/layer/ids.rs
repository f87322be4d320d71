//! Trace and span ids: random, never zero, from a generator of the thread's own.

use std::cell::RefCell;

use rand::{Rng, SeedableRng, rngs::SmallRng};

thread_local! {
    static RNG: RefCell<Option<SmallRng>> = const { RefCell::new(None) };
}

/// A new trace id.
pub(crate) fn trace_id() -> u128 {
    (u128::from(next()) << 64) | u128::from(next())
}

/// A new span id.
pub(crate) fn span_id() -> u64 {
    next()
}

/// 64 random bits, not all zero. Seeded from the system once per thread; the 256-bit state keeps two processes apart.
fn next() -> u64 {
    let drawn = RNG.try_with(|rng| {
        let mut rng = rng.try_borrow_mut().ok()?;
        Some(rng.get_or_insert_with(|| SmallRng::from_rng(&mut rand::rng())).next_u64())
    });
    // A thread that is being torn down has no generator of its own any more.
    let drawn = drawn.ok().flatten().unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1u8));
    drawn.max(1)
}
