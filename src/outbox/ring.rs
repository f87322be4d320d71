//! A single-producer, single-consumer ring of words: one thread's way to the worker.
//!
//! The producer owns `head`, the consumer `tail`; `head - tail` never exceeds the capacity. Records are whole words and are pushed whole or not at all. `tests/model` runs this under loom. No `unsafe`: the words are atomics.

use super::sync::{AtomicU64, Ordering};

/// The words and the two positions, which only grow.
pub(crate) struct SpscRing {
    words: Box<[AtomicU64]>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl SpscRing {
    /// A ring of `words`, a power of two.
    pub(crate) fn new(words: usize) -> Self {
        Self {
            words: (0..words.next_power_of_two()).map(|_| AtomicU64::new(0)).collect(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    /// Adds a record of whole little-endian words, or says `None` if there is no room. Returns how many words are now in use. Only the producer calls this.
    #[inline]
    pub(crate) fn push(&self, record: &[[u8; 8]]) -> Option<usize> {
        let head = self.head.load(Ordering::Relaxed);
        let used = (head - self.tail.load(Ordering::Acquire)) as usize;
        if used + record.len() > self.words.len() {
            return None;
        }
        let start = head as usize & (self.words.len() - 1);
        let (before_wrap, after_wrap) = record.split_at(record.len().min(self.words.len() - start));
        for (slot, word) in self.words[start..].iter().zip(before_wrap) {
            slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        for (slot, word) in self.words.iter().zip(after_wrap) {
            slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        self.head.store(head + record.len() as u64, Ordering::Release);
        Some(used + record.len())
    }

    /// Moves everything that is in the ring to `out`. Only the consumer calls this.
    pub(crate) fn drain(&self, out: &mut Vec<u8>) {
        let tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Acquire);
        let (start, count) = (tail as usize & (self.words.len() - 1), (head - tail) as usize);
        let before_wrap = count.min(self.words.len() - start);
        let words = self.words[start..start + before_wrap].iter().chain(&self.words[..count - before_wrap]);
        let taken = out.len();
        out.resize(taken + count * 8, 0);
        for (bytes, word) in out[taken..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        self.tail.store(head, Ordering::Release);
    }

    /// Words in use, or more: the consumer may have taken some meanwhile. Only the producer calls this.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        (self.head.load(Ordering::Relaxed) - self.tail.load(Ordering::Relaxed)) as usize
    }

    /// Words it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.words.len()
    }
}
