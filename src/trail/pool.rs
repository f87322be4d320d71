//! The bounded memory of all trails. A trail takes a chunk when it needs one; when the bound is reached there is none, and that is counted.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::ring::CHUNK_WORDS;

/// 4 KiB of a trail.
pub(crate) type Chunk = Box<[AtomicU64; CHUNK_WORDS]>;

/// Hands out chunks up to a bound. The lock is held for a push or a pop, and taken only when a thread's own stock of trails does not serve.
pub(crate) struct Pool {
    limit: usize,
    in_use: AtomicUsize,
    free: Mutex<Vec<Chunk>>,
    starved: AtomicU64,
}

impl Pool {
    /// A pool of at most `bytes`, allocated as needed.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { limit: bytes / (CHUNK_WORDS * 8), in_use: AtomicUsize::new(0), free: Mutex::new(Vec::new()), starved: AtomicU64::new(0) }
    }

    pub(crate) fn take(&self) -> Option<Chunk> {
        let taken = self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.limit).then_some(used + 1));
        taken.ok()?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Some(free.unwrap_or_else(|| Box::new([const { AtomicU64::new(0) }; CHUNK_WORDS])))
    }

    pub(crate) fn give_back(&self, chunk: Chunk) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
        self.in_use.fetch_sub(1, Ordering::Relaxed);
    }

    /// More than half is taken: threads should not keep spares.
    pub(crate) fn is_scarce(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) * 2 > self.limit
    }

    pub(crate) fn count_starved(&self) {
        self.starved.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a trail was cut short, or a record left out, because the pool was dry.
    pub(crate) fn starved(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }

    /// Chunks with trails now.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }
}
