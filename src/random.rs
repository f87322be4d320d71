//! Random numbers for ids, from a generator of the thread's own. Never all zero; a forked child
//! draws others than its parent.

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

/// A random UUID (RFC 9562, version 4), as 32 hexadecimal digits in five groups.
pub(crate) fn uuid() -> String {
    let id = random_id() & !(0xF << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{id:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// 64 random bits, not all zero. Seeded from the system once per thread and process; the 256-bit
/// state keeps two processes apart.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let ids: Vec<String> = (0..1_000).map(|_| uuid()).collect();
        for id in &ids {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12]);
            assert!(&id[14..15] == "4" && matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        }
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), ids.len());
    }
}
