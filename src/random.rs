//! Random numbers for ids, from a generator of the thread's own. Never all zero; a forked child draws others than its parent.

use std::cell::RefCell;

use rand::{
    Rng, SeedableRng,
    rngs::{SmallRng, SysRng},
};

use crate::fork;

/// 128 random bits, not all zero.
pub(crate) fn random_id() -> u128 {
    (u128::from(random()) << 64) | u128::from(random())
}

/// 64 random bits, not all zero. Seeded from the system once per thread and process; the 256-bit state keeps two processes apart.
pub(crate) fn random() -> u64 {
    let drawn = RNG.try_with(|rng| {
        let mut rng = rng.try_borrow_mut().ok()?;
        if let Some((rng, generation)) = rng.as_mut()
            && *generation == fork::generation()
        {
            return Some(rng.next_u64());
        }
        let fresh = SmallRng::try_from_rng(&mut SysRng).ok()?;
        Some(rng.insert((fresh, fork::generation())).0.next_u64())
    });
    // A thread that is being torn down has no generator of its own any more; and the system may refuse to seed one.
    let drawn = drawn.ok().flatten().unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1u8));
    drawn.max(1)
}

thread_local! {
    /// And the process it was seeded in: a child would draw the numbers that its parent draws next.
    static RNG: RefCell<Option<(SmallRng, u32)>> = const { RefCell::new(None) };
}
