//! A single-producer, single-consumer ring of words: one thread's way to the worker.
//!
//! The producer owns `head`, the consumer `tail`; `head - tail` never exceeds the capacity. Records
//! are whole words and are pushed whole or not at all. `tests/model` runs this under loom. No
//! `unsafe`: the words are atomics.
//!
//! A thread that says little uses little memory, and the same of it again and again: the ring is
//! allocated in parts, when they are first used, and where it is empty the producer moves both
//! positions on to the beginning of its first part. While it is empty the consumer leaves `tail`
//! alone; and it looks at `head` first, so that it sees either neither of the two moved, or `tail`,
//! which is moved first, at or beyond `head`.
//!
//! The parts are behind a lock. The producer keeps the part that it writes to, [`Near`], and takes
//! the lock only to go on to another part; a record that reaches into one is written whole under
//! it. So a part that only the list holds is not being written to, and the consumer may [free
//! it](SpscRing::give_back) while the ring is empty.

use std::sync::PoisonError;

use super::sync::{self, Arc, AtomicU64, Mutex, MutexGuard, Ordering, Part};

/// The words and the two positions, which only grow.
pub(crate) struct SpscRing {
    parts: Mutex<Vec<Option<Part>>>,
    /// Words of all parts, and of one, as powers of two.
    bits: u32,
    part_bits: u32,
    head: AtomicU64,
    tail: AtomicU64,
}

/// The part that the producer of a ring writes to. It holds `words` from position `begin` on, until
/// the ring comes around.
#[derive(Default)]
pub(crate) struct Near {
    words: Option<Part>,
    begin: u64,
}

/// Parts of a ring.
const PARTS: usize = 64;

impl SpscRing {
    /// A ring of so many words, or of the power of two below.
    pub(crate) fn new(words: usize) -> Self {
        let words = 1 << words.max(1).ilog2();
        let parts = words.min(PARTS);
        Self {
            parts: Mutex::new((0..parts).map(|_| None).collect()),
            bits: words.trailing_zeros(),
            part_bits: (words / parts).trailing_zeros(),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
        }
    }

    /// Adds a record of whole little-endian words, or says `None` if there is no room. Returns how
    /// many words are now in use. Allocates a part that is used for the first time. Only the
    /// producer calls this, always with the same `near`.
    #[inline]
    pub(crate) fn push(&self, near: &mut Near, record: &[[u8; 8]]) -> Option<usize> {
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
        // Where it would lie if it is in that part.
        let from = (head - near.begin) as usize;
        match near.words.as_ref().and_then(|words| words.get(from..from + record.len())) {
            Some(words) => {
                write(words, record);
                self.head.store(head + record.len() as u64, Ordering::Release);
            }
            None => self.push_far(near, head, record),
        }
        Some(used + record.len())
    }

    /// Adds a record that is not, or not wholly, in the part at hand.
    #[cold]
    fn push_far(&self, near: &mut Near, head: u64, record: &[[u8; 8]]) {
        let mut parts = self.parts();
        let (mut at, mut rest) = (head, record);
        while !rest.is_empty() {
            let (part, from) = self.place(at);
            let (here, later) = rest.split_at(rest.len().min(self.part() - from));
            let words = parts[part].get_or_insert_with(|| sync::part(self.part()));
            write(&words[from..], here);
            *near = Near { words: Some(words.clone()), begin: at - from as u64 };
            (at, rest) = (at + here.len() as u64, later);
        }
        // Under the lock, so that it is not given back unread.
        self.head.store(at, Ordering::Release);
    }

    /// Moves what is in the ring to `out`: all of it, or as many whole records as make `most` words
    /// or a little more. Returns how many words are left. Only the consumer calls this.
    pub(crate) fn take(&self, most: usize, out: &mut Vec<u8>) -> usize {
        let head = self.head.load(Ordering::Acquire);
        let begin = self.tail.load(Ordering::Relaxed);
        if begin >= head {
            return 0;
        }
        let end = if (head - begin) as usize <= most { head } else { self.end_of_records(begin, most, head) };
        out.reserve((end - begin) as usize * 8);
        let mut tail = begin;
        while tail < end {
            let (words, from) = self.words(tail);
            let count = (self.part() - from).min((end - tail) as usize);
            let words = words.as_ref().map_or(&[][..], |words| &words[from..from + count]);
            read(words, out);
            tail += count as u64;
        }
        self.tail.store(end, Ordering::Release);
        (head - end) as usize
    }

    /// Where the record ends with which there are `most` words.
    fn end_of_records(&self, begin: u64, most: usize, head: u64) -> u64 {
        let (mut end, mut part) = (begin, None);
        while end < head && ((end - begin) as usize) < most {
            let (number, from) = self.place(end);
            let (_, words) = part.take_if(|(known, _)| *known == number).unwrap_or_else(|| (number, self.words(end).0));
            // A record begins with its length in words.
            let length = words.as_ref().map_or(0, |words| words[from].load(Ordering::Relaxed) & 0xFFFF);
            if length == 0 {
                // Not a record: whoever reads it decides.
                return head;
            }
            end += length;
            part = Some((number, words));
        }
        end.min(head)
    }

    /// The part that a position is in, which has one if there is something to read; and where in
    /// that.
    fn words(&self, position: u64) -> (Option<Part>, usize) {
        let (part, from) = self.place(position);
        (self.parts()[part].clone(), from)
    }

    /// Frees what an empty ring has grown by: all parts but the first, and the one its producer
    /// writes to. Only the consumer calls this.
    pub(crate) fn give_back(&self) {
        let mut parts = self.parts();
        if self.tail.load(Ordering::Relaxed) >= self.head.load(Ordering::Acquire) {
            for part in parts.iter_mut().skip(1) {
                part.take_if(|words| Arc::strong_count(words) == 1);
            }
        }
    }

    /// How many parts it has by now.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.parts().iter().flatten().count()
    }

    /// Words in use, as far as either side knows: the other may have moved on meanwhile.
    #[inline]
    pub(crate) fn used(&self) -> usize {
        // An empty ring's tail is moved first.
        self.head.load(Ordering::Relaxed).saturating_sub(self.tail.load(Ordering::Relaxed)) as usize
    }

    /// Words it can hold.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        1 << self.bits
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

    fn parts(&self) -> MutexGuard<'_, Vec<Option<Part>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends words' bytes, several words in one go.
fn read(words: &[AtomicU64], out: &mut Vec<u8>) {
    let (chunks, rest) = words.as_chunks::<8>();
    for chunk in chunks {
        let mut bytes = [0; 64];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(chunk) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        out.extend_from_slice(&bytes);
    }
    for word in rest {
        out.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
}

#[inline]
fn write(words: &[AtomicU64], record: &[[u8; 8]]) {
    for (slot, word) in words.iter().zip(record) {
        slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
}
