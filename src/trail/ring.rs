//! The ring of words behind a trail: one writer at a time, readers at any moment, and at any
//! instant `[tail, head)` is whole.
//!
//! Positions count words and only grow; a position's place is `position % CAPACITY`. The commit
//! protocol, in this order:
//!
//! 1. `tail` moves past every record the new one will overwrite,
//! 2. release fence, then the body is written,
//! 3. `head` moves, with release.
//!
//! So a process that dies at any instruction leaves whole records, and a reader that copies `[tail,
//! head)` and then reads `tail` again, after an acquire fence, knows which of its copies were
//! overwritten meanwhile: those before the second `tail`. Both fences together give the proof: a
//! reader that saw one new body word also sees the `tail` stored before it. `tests/model` runs this
//! under loom.
//!
//! All words are atomics, so a torn read is a wrong value and never undefined behaviour; there is
//! no `unsafe` here.

use super::sync::{AtomicU64, Ordering, fence};

/// Words in one chunk: 4 KiB.
pub(crate) const CHUNK_WORDS: usize = 512;
/// Chunks in one trail at most: 16 KiB.
pub(crate) const MAX_CHUNKS: usize = 4;

/// The ring's memory, as a reader sees it.
pub(crate) trait Chunks {
    /// The words of chunk `index`, if it is there already.
    fn get(&self, index: usize) -> Option<&[AtomicU64]>;
    /// Words in one chunk, as the power of two.
    fn chunk_bits(&self) -> u32;
    /// Chunks at most; a power of two.
    fn max_chunks(&self) -> usize;
}

/// The same for the writer: chunks are asked for in order, each once, and stay until the ring is
/// [emptied](Ring::empty).
pub(crate) trait Grow: Chunks {
    /// Makes chunk `index` present; `false` when the pool is dry.
    fn grow(&mut self, index: usize) -> bool;
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the ring.
    Kept,
    /// It is in the ring, and older records made way although the ring had not reached its full
    /// size: the pool is dry.
    Starved,
    /// It is not in the ring: larger than the ring, or there is no chunk at all.
    Refused,
}

/// The ring's two positions; its [`Chunks`] are the caller's.
pub(crate) struct Ring {
    head: AtomicU64,
    tail: AtomicU64,
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(0), tail: AtomicU64::new(0) }
    }

    /// Begins anew. Needs exclusive access, so no reader can be in it.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Empties the ring, whose chunks are to go. The caller is its writer; a reader finds nothing,
    /// or no chunk.
    pub(crate) fn empty(&self) {
        self.tail.store(self.head.load(Ordering::Relaxed), Ordering::Release);
    }

    /// Whether older records have made way for newer ones.
    pub(crate) fn has_overwritten(&self) -> bool {
        self.tail.load(Ordering::Relaxed) > 0
    }

    /// Writes one record of whole little-endian words. The caller holds the trail's lock: there is
    /// one writer at a time.
    #[inline]
    pub(crate) fn push(&self, chunks: &mut impl Grow, record: &[[u8; 8]]) -> Written {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        let shape = Shape::of(chunks);
        let (index, within) = shape.place(head);
        let end = head + record.len() as u64;
        // Mostly it fits into the chunk that was written last.
        let chunk = chunks.get(index).filter(|_| !record.is_empty());
        match chunk.and_then(|chunk| chunk.get(within..within + record.len())) {
            Some(words) => {
                if end - tail > shape.capacity() {
                    self.make_way(chunks, shape, end);
                }
                // Also for what another thread has moved before: step 2.
                fence(Ordering::Release);
                write(words, record);
                self.head.store(end, Ordering::Release);
                Written::Kept
            }
            None => self.push_far(chunks, record),
        }
    }

    /// Adds a record for which there has to be room first, or that lies in more than one chunk.
    #[cold]
    fn push_far(&self, chunks: &mut impl Grow, record: &[[u8; 8]]) -> Written {
        // How large its chunks are is known when there is one.
        if record.is_empty() || (chunks.get(0).is_none() && !chunks.grow(0)) {
            return Written::Refused;
        }
        let shape = Shape::of(chunks);
        let (size, capacity) = (1 << shape.bits, shape.capacity());
        if record.len() as u64 > capacity {
            return Written::Refused;
        }
        let mut outcome = Written::Kept;
        let mut head = self.head.load(Ordering::Relaxed);
        if !make_room(chunks, shape, head, record.len()) {
            // The pool is dry. Start again at the first chunk, if this record fits into what is there.
            let owned = (0..chunks.max_chunks()).take_while(|&index| chunks.get(index).is_some()).count();
            if record.len() > owned * size {
                return Written::Refused;
            }
            head = head.next_multiple_of(capacity);
            self.tail.store(head, Ordering::Relaxed);
            // An empty ring is what a reader may see between the two stores: tail past head.
            self.head.store(head, Ordering::Release);
            outcome = Written::Starved;
        }
        self.make_way(chunks, shape, head + record.len() as u64);
        fence(Ordering::Release);
        let mut position = head;
        let mut rest = record;
        while !rest.is_empty() {
            let (index, within) = shape.place(position);
            let run = rest.len().min(size - within);
            let Some(chunk) = chunks.get(index) else { return Written::Refused };
            write(&chunk[within..within + run], rest);
            position += run as u64;
            rest = &rest[run..];
        }
        self.head.store(position, Ordering::Release);
        outcome
    }

    /// Moves `tail` past the records that lie where the ring is to reach up to `end`.
    #[inline]
    fn make_way(&self, chunks: &impl Chunks, shape: Shape, end: u64) {
        let (head, mut tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while end - tail > shape.capacity() {
            let length = word(chunks, shape, tail) & 0xFFFF;
            // A length of zero cannot be; should it be read, give everything up rather than spin.
            tail = if length == 0 { head } else { (tail + length).min(head) };
        }
        self.tail.store(tail, Ordering::Relaxed);
    }

    /// Copies every whole record, oldest first, at most `limit` words of the newest. Safe beside a
    /// writer. `chunks` is called when it is known how far to read: every chunk up to there is
    /// present then, or all of them are gone.
    pub(crate) fn read<C: Chunks>(&self, chunks: impl FnOnce() -> C, limit: usize, out: &mut Vec<u64>) {
        // Tail first: a writer in between then costs the copy its oldest records, not its newest.
        let tail = self.tail.load(Ordering::Acquire);
        let head = self.head.load(Ordering::Acquire);
        out.clear();
        let chunks = chunks();
        let shape = Shape::of(&chunks);
        let mut position = tail;
        while position < head {
            let (index, within) = shape.place(position);
            let run = ((head - position) as usize).min((1 << shape.bits) - within);
            match chunks.get(index) {
                Some(chunk) => out.extend(chunk[within..within + run].iter().map(|word| word.load(Ordering::Relaxed))),
                None => return out.clear(),
            }
            position += run as u64;
        }
        fence(Ordering::Acquire);
        let overwritten = self.tail.load(Ordering::Relaxed).saturating_sub(tail) as usize;
        let mut start = overwritten.min(out.len());
        // Whole records from the front make way until the newest fit the limit.
        while out.len() - start > limit {
            let length = (out[start] & 0xFFFF) as usize;
            if length == 0 || start + length > out.len() {
                start = out.len();
                break;
            }
            start += length;
        }
        out.drain(..start);
    }

    /// Words in use.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        (self.head.load(Ordering::Relaxed) - self.tail.load(Ordering::Relaxed)) as usize
    }
}

/// How positions lie in chunks. Powers of two, as a division would cost a tenth of an event.
#[derive(Clone, Copy)]
struct Shape {
    bits: u32,
    chunks: usize,
}

impl Shape {
    #[inline]
    fn of(chunks: &impl Chunks) -> Self {
        Self { bits: chunks.chunk_bits(), chunks: chunks.max_chunks() }
    }

    /// Words of all chunks.
    #[inline]
    fn capacity(self) -> u64 {
        (self.chunks as u64) << self.bits
    }

    /// The chunk that a position is in, and where in that.
    #[inline]
    fn place(self, position: u64) -> (usize, usize) {
        ((position >> self.bits) as usize & (self.chunks - 1), position as usize & ((1 << self.bits) - 1))
    }
}

#[inline]
fn write(words: &[AtomicU64], record: &[[u8; 8]]) {
    for (slot, word) in words.iter().zip(record) {
        slot.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// Whether every chunk that `length` words from `head` touch is there, or could be had.
#[inline]
fn make_room(chunks: &mut impl Grow, shape: Shape, head: u64, length: usize) -> bool {
    (head >> shape.bits..=(head + length as u64 - 1) >> shape.bits).all(|chunk| {
        let chunk = chunk as usize & (shape.chunks - 1);
        chunks.get(chunk).is_some() || chunks.grow(chunk)
    })
}

#[inline]
fn word(chunks: &impl Chunks, shape: Shape, position: u64) -> u64 {
    let (index, within) = shape.place(position);
    chunks.get(index).map_or(0, |chunk| chunk[within].load(Ordering::Relaxed))
}
