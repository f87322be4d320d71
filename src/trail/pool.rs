//! The bounded memory of all trails. A trail takes a chunk when it needs one; when memory gets
//! short new trails get small chunks, and when the bound is reached none, which is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::ring::CHUNK_WORDS;
use crate::fork::Mutex;

/// A part of a trail: 4 KiB, or 512 bytes where memory is short. Shared with readers, who may look
/// at it for a moment longer than its trail has it.
pub(crate) type Chunk = triomphe::Arc<[AtomicU64]>;

/// Words in a small chunk: 512 bytes, some five events.
pub(crate) const SMALL_WORDS: usize = 64;

/// Hands out chunks up to a bound. The lock is held for a push or a pop, never waited for, and
/// taken only when a thread's own stock of trails does not serve.
pub(crate) struct Pool {
    /// Words.
    limit: usize,
    /// Words that only small first chunks may take, and as many that only first chunks may: many
    /// requests are to have some breadcrumbs, rather than a few all.
    reserve: usize,
    in_use: AtomicUsize,
    /// If another thread has it, a chunk is allocated, or let go of.
    free: Mutex<Vec<Chunk>>,
    starved: AtomicU64,
}

impl Pool {
    /// A pool of at most `bytes`, allocated as needed. A quarter is for small chunks, if there is
    /// enough to divide.
    pub(crate) fn new(bytes: usize) -> Self {
        let limit = bytes / (CHUNK_WORDS * 8) * CHUNK_WORDS;
        let reserve = if limit >= 16 * CHUNK_WORDS { limit / 4 } else { 0 };
        Self { limit, reserve, in_use: AtomicUsize::new(0), free: Mutex::new(Vec::new()), starved: AtomicU64::new(0) }
    }

    /// A trail's first chunk: a small one if there is not enough for all to have large ones.
    pub(crate) fn take_first(&self) -> Option<Chunk> {
        self.take(CHUNK_WORDS, self.limit - self.reserve).or_else(|| self.take(SMALL_WORDS, self.limit))
    }

    /// One more, of this many words, as the trail's first has.
    pub(crate) fn take_more(&self, words: usize) -> Option<Chunk> {
        self.take(words, self.limit - 2 * self.reserve)
    }

    fn take(&self, words: usize, limit: usize) -> Option<Chunk> {
        let taken = self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used + words <= limit).then_some(used + words));
        taken.ok()?;
        let free = if words == CHUNK_WORDS { self.free.try_lock().and_then(|mut free| free.pop()) } else { None };
        Some(free.unwrap_or_else(|| (0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Takes a chunk back. One that a reader still looks at is let go of instead of being used
    /// again.
    pub(crate) fn give_back(&self, mut chunk: Chunk) {
        let words = chunk.len();
        if words == CHUNK_WORDS
            && Chunk::get_mut(&mut chunk).is_some()
            && let Some(mut free) = self.free.try_lock()
        {
            free.push(chunk);
        }
        self.in_use.fetch_sub(words, Ordering::Relaxed);
    }

    /// More than an eighth is taken: threads should not keep spares. What idle threads have is
    /// nobody's use.
    pub(crate) fn is_scarce(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) * 8 > self.limit
    }

    pub(crate) fn count_starved(&self) {
        self.starved.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a trail was cut short, or a record left out, because the pool was dry.
    pub(crate) fn starved(&self) -> u64 {
        self.starved.load(Ordering::Relaxed)
    }

    /// Words with trails now.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }
}
