//! A single-producer, single-consumer ring of words: one thread's way to the worker.
//!
//! The producer owns `head`, the consumer `tail`; `head - tail` never exceeds the capacity. Records are whole words and are pushed whole or not at all. `tests/model` runs this under loom. No `unsafe`: the words are atomics.
//!
//! A thread that says little uses little memory, and the same of it again and again: the ring is allocated in parts, when they are first used, and where it is empty the producer moves both positions on to the beginning of its first part. While it is empty the consumer leaves `tail` alone; and it looks at `head` first, so that it sees either neither of the two moved, or `tail`, which is moved first, at or beyond `head`.

use std::sync::OnceLock;

use super::sync::{AtomicU64, Ordering};

/// The words and the two positions, which only grow.
pub(crate) struct SpscRing {
    parts: Box<[OnceLock<Box<[AtomicU64]>>]>,
    /// Words of one part, as the power of two.
    part_bits: u32,
    head: AtomicU64,
    tail: AtomicU64,
}

/// Parts of a ring.
const PARTS: usize = 32;

impl SpscRing {
    /// A ring of so many words, or the next power of two.
    pub(crate) fn new(words: usize) -> Self {
        let words = words.next_power_of_two();
        let parts = words.min(PARTS);
        Self {
            parts: (0..parts).map(|_| OnceLock::new()).collect(),
            part_bits: (words / parts).trailing_zeros(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    /// Adds a record of whole little-endian words, or says `None` if there is no room. Returns how many words are now in use. Allocates a part that is used for the first time. Only the producer calls this.
    #[inline]
    pub(crate) fn push(&self, record: &[[u8; 8]]) -> Option<usize> {
        let mut head = self.head.load(Ordering::Relaxed);
        let used = (head - self.tail.load(Ordering::Acquire)) as usize;
        if used + record.len() > self.capacity() {
            return None;
        }
        if used == 0 && self.place(head).0 > 0 {
            head = head.next_multiple_of(self.capacity() as u64);
            // The release of `head` below carries it along.
            self.tail.store(head, Ordering::Relaxed);
        }
        let (mut at, mut rest) = (head, record);
        while !rest.is_empty() {
            let (part, from) = self.place(at);
            let (here, later) = rest.split_at(rest.len().min(self.part() - from));
            let words = self.parts[part].get_or_init(|| (0..self.part()).map(|_| AtomicU64::new(0)).collect());
            for (slot, word) in words[from..].iter().zip(here) {
                slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
            }
            (at, rest) = (at + here.len() as u64, later);
        }
        self.head.store(at, Ordering::Release);
        Some(used + record.len())
    }

    /// Moves everything that is in the ring to `out`. Only the consumer calls this.
    pub(crate) fn drain(&self, out: &mut Vec<u8>) {
        let head = self.head.load(Ordering::Acquire);
        let mut tail = self.tail.load(Ordering::Relaxed);
        if tail >= head {
            return;
        }
        out.reserve((head - tail) as usize * 8);
        while tail < head {
            let (part, from) = self.place(tail);
            let count = (self.part() - from).min((head - tail) as usize);
            // What the producer has written has a part.
            let words = self.parts[part].get().map_or(&[][..], |words| &words[from..from + count]);
            let taken = out.len();
            out.resize(taken + count * 8, 0);
            for (bytes, word) in out[taken..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *bytes = word.load(Ordering::Relaxed).to_le_bytes();
            }
            tail += count as u64;
        }
        self.tail.store(head, Ordering::Release);
    }

    /// Words in use, or more: the consumer may have taken some meanwhile. Only the producer calls this.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        (self.head.load(Ordering::Relaxed) - self.tail.load(Ordering::Relaxed)) as usize
    }

    /// Words it can hold.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.parts.len() << self.part_bits
    }

    /// Words of a part.
    #[inline]
    fn part(&self) -> usize {
        1 << self.part_bits
    }

    /// Of a position: the part it is in, and where in that.
    #[inline]
    fn place(&self, position: u64) -> (usize, usize) {
        let at = position as usize & (self.capacity() - 1);
        (at >> self.part_bits, at & (self.part() - 1))
    }
}
