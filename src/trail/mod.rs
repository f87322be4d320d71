//! The trail: what led up to now, for one request. Comes in: encoded records from the layer, on the
//! caller's thread. Goes out: a copy of the newest records, when something fails.
//!
//! A trail is a [`ring`] of [`record`]s over chunks from a bounded [`pool`]; static strings are in
//! the [`callsite`] table.

pub(crate) mod callsite;
pub(crate) mod encode;
mod left_out;
pub(crate) mod pool;
pub(crate) mod record;
pub(crate) mod ring;

/// The atomics of [`ring`], by a name that `tests/model` replaces with loom's.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, Ordering},
};

use self::{
    left_out::LeftOut,
    pool::{Chunk, Pool},
    ring::{CHUNK_WORDS, Chunks, Grow, MAX_CHUNKS, Ring, Written},
    sync::AtomicU64,
};
use crate::{
    exception::echo::Recent,
    fork::{Guard, Mutex},
    scope::ScopeCell,
};

/// Bytes of one record in a trail at most; longer ones are shortened on their way in, so that no
/// single event empties the trail.
pub(crate) const MAX_RECORD_BYTES: usize = 2 * 1024;

/// An [`Arc`] without weak references: whether somebody else holds it is read, not locked.
pub(crate) type SharedTrail = triomphe::Arc<Trail>;

/// The records of one request; and what is known of the request besides.
pub(crate) struct Trail {
    ring: Ring,
    /// Its memory, and the right to write. One at a time. Two threads meet here only when they
    /// write into the same request at the same moment, for the time of a copy, or of getting a
    /// chunk; no user code ever runs under it but its allocator.
    store: Mutex<Store>,
    pool: Arc<Pool>,
    scope: ScopeCell,
    /// The caller's, if it sent one.
    trace_state: OnceLock<Box<str>>,
    /// B3's debug flag, which goes along with the trace.
    is_debugged: AtomicBool,
    recent: Mutex<Recent>,
    /// Since an exception was told, nothing has happened but that spans ended.
    is_quiet: AtomicBool,
    /// Our middleware is around the request, and no span of its own says so.
    is_served: AtomicBool,
    /// Why its spans are kept although the trace is not sampled: flags of [`record`].
    kept: AtomicU8,
    /// Records found no memory.
    starved: AtomicBool,
    left_out: LeftOut,
}

impl Trail {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self {
            ring: Ring::new(),
            store: Mutex::new(Store { is_whole: true, ..Store::default() }),
            pool,
            scope: ScopeCell::default(),
            trace_state: OnceLock::new(),
            is_debugged: AtomicBool::new(false),
            recent: Mutex::default(),
            is_quiet: AtomicBool::new(false),
            is_served: AtomicBool::new(false),
            kept: AtomicU8::new(0),
            starved: AtomicBool::new(false),
            left_out: LeftOut::default(),
        }
    }

    /// Adds a record. Waits only for another thread that adds to this very trail, for the time of a
    /// copy.
    pub(crate) fn push(&self, record: &[u8]) {
        self.is_quiet.store(false, Ordering::Relaxed);
        self.push_quietly(record);
    }

    /// Adds a record of what is no news: a span's end, an exception that has been told.
    #[inline]
    pub(crate) fn push_quietly(&self, record: &[u8]) {
        self.push_if(record, || true);
    }

    /// Adds a span that has ended, in case its trace is kept. `false`: that is decided already, so
    /// the span is not to wait here.
    pub(crate) fn hold(&self, record: &[u8]) -> bool {
        // Under the lock under which it is decided: a span is held before that, and found, or not at all.
        self.push_if(record, || {
            let is_open = self.kept() == 0 && !self.left_out.is_final();
            if is_open {
                self.left_out.hold();
            }
            is_open
        })
    }

    /// `may` is asked when nobody else writes.
    #[inline]
    fn push_if(&self, record: &[u8], may: impl FnOnce() -> bool) -> bool {
        if record.len() > MAX_RECORD_BYTES {
            return self.push_shortened(record, may);
        }
        let words = record.as_chunks::<8>().0;
        let written = {
            let mut store = self.store();
            if !may() {
                return false;
            }
            self.ring.push(&mut Writer { store: &mut store, pool: &self.pool }, words)
        };
        if written != Written::Kept {
            self.starved.store(true, Ordering::Relaxed);
            self.pool.count_starved();
        }
        true
    }

    /// An exception was told, or told once more.
    pub(crate) fn exception_raised(&self) {
        self.is_quiet.store(true, Ordering::Relaxed);
    }

    /// Whether nothing has happened since, but that spans ended.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_served(&self) {
        self.is_served.store(true, Ordering::Relaxed);
    }

    /// Whether our middleware is around the request, where no span of its own says so.
    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Relaxed)
    }

    /// From now on the trace's spans are kept. `false`: they were already, or it is too late.
    pub(crate) fn keep(&self, why: u8) -> bool {
        let _one_writer = self.store();
        if self.left_out.is_final() {
            return false;
        }
        self.kept.compare_exchange(0, why | record::flag::SAMPLED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What kept spans are marked with; 0: they are not kept.
    #[inline]
    pub(crate) fn kept(&self) -> u8 {
        self.kept.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// The root has ended. Returns how many spans are missing because the trace is not kept; `None`
    /// if it is.
    pub(crate) fn finish(&self) -> Option<u64> {
        let _one_writer = self.store();
        (self.kept() == 0).then(|| self.left_out.finish())
    }

    /// Whether it has not held all that it was given.
    pub(crate) fn is_cut(&self) -> bool {
        self.ring.has_overwritten() || self.starved.load(Ordering::Relaxed)
    }

    /// The newest records, at most `limit` bytes of them, oldest first. Copies without a lock; to
    /// find its memory it waits for a writer's copy, and no longer: a panic hook may be reading for
    /// the very thread that writes.
    pub(crate) fn read(&self, limit: usize) -> Vec<u8> {
        let mut words = Vec::with_capacity(CHUNK_WORDS);
        self.ring.read(|| self.chunks(), limit / 8, &mut words);
        let mut bytes = Vec::with_capacity(words.len() * 8);
        for word in words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Its memory as it is now; none if it cannot be had.
    fn chunks(&self) -> Store {
        const PATIENCE: usize = 1 << 12;
        for _ in 0..PATIENCE {
            if let Some(store) = self.store.try_lock() {
                return store.clone();
            }
            std::thread::yield_now();
        }
        Store::default()
    }

    fn store(&self) -> Guard<'_, Store> {
        let mut store = self.store.lock();
        if !store.is_whole {
            self.begin_anew(&mut store);
        }
        store
    }

    /// In a forked child: another thread was adding to it.
    #[cold]
    fn begin_anew(&self, store: &mut Store) {
        self.ring.empty();
        store.is_whole = true;
    }

    /// The request is over: gives the memory back, whoever still holds on to the trail.
    pub(crate) fn retire(&self) {
        let chunks = {
            let mut store = self.store();
            self.ring.empty();
            std::mem::take(&mut store.chunks)
        };
        chunks.into_iter().flatten().for_each(|chunk| self.pool.give_back(chunk));
    }

    /// Who the request is for, and more.
    pub(crate) fn scope(&self) -> &ScopeCell {
        &self.scope
    }

    /// The caller's trace state, not empty.
    #[inline]
    pub(crate) fn trace_state(&self) -> Option<&str> {
        self.trace_state.get().map(|text| &**text)
    }

    pub(crate) fn is_debugged(&self) -> bool {
        self.is_debugged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_debugged(&self, is_debugged: bool) {
        self.is_debugged.store(is_debugged, Ordering::Relaxed);
    }

    pub(crate) fn set_trace_state(&self, text: String) {
        if !text.is_empty() {
            let _ = self.trace_state.set(text.into_boxed_str());
        }
    }

    /// The request's exceptions so far. No user code runs while this is held.
    pub(crate) fn recent(&self) -> Guard<'_, Recent> {
        self.recent.lock()
    }

    /// Makes the trail as new. Keeps its first chunk, unless chunks are getting scarce, and gives
    /// the others back.
    pub(crate) fn reset(&mut self) {
        self.ring.reset();
        self.scope.clear();
        self.trace_state.take();
        *self.is_debugged.get_mut() = false;
        *self.is_quiet.get_mut() = false;
        *self.is_served.get_mut() = false;
        *self.kept.get_mut() = 0;
        *self.starved.get_mut() = false;
        self.left_out = LeftOut::default();
        self.recent.get_mut().clear();
        let store = self.store.get_mut();
        store.is_whole = true;
        // A small one is for when memory is short.
        let kept = usize::from(1 << store.chunk_bits() == CHUNK_WORDS && !self.pool.is_scarce());
        for chunk in store.chunks.iter_mut().skip(kept).filter_map(Option::take) {
            self.pool.give_back(chunk);
        }
    }

    #[cold]
    fn push_shortened(&self, record: &[u8], may: impl FnOnce() -> bool) -> bool {
        let mut short = Vec::with_capacity(MAX_RECORD_BYTES);
        encode::shorten(record, MAX_RECORD_BYTES, &mut short) && self.push_if(&short, may)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        for chunk in self.store.get_mut().chunks.iter_mut().filter_map(Option::take) {
            self.pool.give_back(chunk);
        }
    }
}

/// The chunks a trail has taken so far, all of the size of the first.
#[derive(Clone, Default)]
struct Store {
    /// Its chunks are those that the ring knows of.
    is_whole: bool,
    chunks: [Option<Chunk>; MAX_CHUNKS],
}

impl Chunks for Store {
    fn get(&self, index: usize) -> Option<&[AtomicU64]> {
        self.chunks[index].as_deref()
    }

    fn chunk_bits(&self) -> u32 {
        self.chunks[0].as_deref().map_or(CHUNK_WORDS, <[_]>::len).trailing_zeros()
    }

    fn max_chunks(&self) -> usize {
        MAX_CHUNKS
    }
}

/// Who adds to a trail.
struct Writer<'a> {
    store: &'a mut Store,
    pool: &'a Pool,
}

impl Chunks for Writer<'_> {
    fn get(&self, index: usize) -> Option<&[AtomicU64]> {
        self.store.get(index)
    }

    fn chunk_bits(&self) -> u32 {
        self.store.chunk_bits()
    }

    fn max_chunks(&self) -> usize {
        MAX_CHUNKS
    }
}

impl Grow for Writer<'_> {
    fn grow(&mut self, index: usize) -> bool {
        let chunk = if index == 0 { self.pool.take_first() } else { self.pool.take_more(1 << self.store.chunk_bits()) };
        self.store.chunks[index] = chunk;
        self.store.chunks[index].is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        encode::{Encoder, Limits},
        record::{Kind, Record, records},
        *,
    };
    use proptest::prelude::*;

    fn event(number: u32, padding: usize) -> Vec<u8> {
        let mut buf = Vec::new();
        let mut encoder = Encoder::new(&mut buf, Kind::Event, number, u64::from(number), Limits::default());
        encoder.bytes(0, &vec![number as u8; padding]);
        encoder.finish();
        buf
    }

    fn numbers(bytes: &[u8]) -> Vec<u32> {
        let mut total = 0;
        let found = records(bytes).inspect(|record| total += record.as_bytes().len()).map(|record| record.callsite).collect();
        assert_eq!(total, bytes.len(), "every byte belongs to a whole record");
        found
    }

    proptest! {
        /// Any sequence of writes, read after each: the newest records, whole, in order, without a
        /// gap.
        #[test]
        fn a_trail_is_the_newest_records(sizes in prop::collection::vec(0usize..1800, 1..120), chunks in 0usize..6) {
            let pool = Arc::new(Pool::new(chunks * CHUNK_WORDS * 8));
            let trail = Trail::new(pool.clone());
            for (number, size) in sizes.iter().enumerate() {
                trail.push(&event(number as u32, *size));
                let read = numbers(&trail.read(usize::MAX));
                if let Some(first) = read.first() {
                    prop_assert_eq!(&read, &(*first..=number as u32).collect::<Vec<_>>());
                } else {
                    prop_assert!(chunks == 0, "only a trail without memory is empty");
                }
                let limited = trail.read(1000);
                prop_assert!(limited.len() <= 1000);
                prop_assert!(read.ends_with(&numbers(&limited)));
            }
            if chunks >= MAX_CHUNKS {
                let bytes: usize = sizes.iter().map(|size| event(0, *size).len()).sum();
                prop_assert!(trail.ring.len() * 8 >= bytes.min(MAX_CHUNKS * CHUNK_WORDS * 8 - 2 * MAX_RECORD_BYTES));
            }
            prop_assert!(pool.in_use() <= chunks * CHUNK_WORDS);
            drop(trail);
            prop_assert_eq!(pool.in_use(), 0);
        }
    }

    #[test]
    fn a_huge_record_leaves_room_for_others() {
        let pool = Arc::new(Pool::new(1 << 20));
        let trail = Trail::new(pool);
        trail.push(&event(1, 10));
        let mut buf = Vec::new();
        let mut encoder = Encoder::new(&mut buf, Kind::Event, 2, 2, Limits::default());
        encoder.u64(0, 5);
        for key in 1..5 {
            encoder.str(key, &"é".repeat(3000));
        }
        encoder.finish();
        assert!(buf.len() > MAX_RECORD_BYTES);
        trail.push(&buf);
        let bytes = trail.read(usize::MAX);
        assert_eq!(numbers(&bytes), [1, 2]);
        let (first, rest) = Record::split_first(&bytes).unwrap();
        assert_eq!(first.callsite, 1);
        let (second, _) = Record::split_first(rest).unwrap();
        assert!(second.truncated());
        assert_eq!(second.fields().count(), 5, "every field is still there, its text shorter");
    }

    /// Field report B11: more open requests than large chunks. Each has its newest records all the
    /// same.
    #[test]
    fn many_trails_share_little_memory_and_give_it_back_when_they_are_over() {
        let pool = Arc::new(Pool::new(16 * CHUNK_WORDS * 8));
        let trails: Vec<_> = (0..40).map(|_| Trail::new(pool.clone())).collect();
        for (trail, number) in trails.iter().flat_map(|trail| (0..100).map(move |number| (trail, number))) {
            trail.push(&event(number, 20));
        }
        for trail in &trails {
            let read = numbers(&trail.read(usize::MAX));
            assert!(read.ends_with(&[98, 99]), "{read:?}");
        }
        let reader = trails[0].chunks();
        // Whoever still holds on to them.
        trails.iter().for_each(Trail::retire);
        assert_eq!(pool.in_use(), 0);
        assert!(trails.iter().all(|trail| trail.read(usize::MAX).is_empty()));
        let fresh = Trail::new(pool.clone());
        fresh.push(&event(7, 20));
        assert!(
            !reader.chunks.iter().flatten().any(|chunk| fresh.chunks().chunks.iter().flatten().any(|other| Chunk::ptr_eq(chunk, other)))
        );
        assert_eq!(numbers(&fresh.read(usize::MAX)), [7]);
    }

    #[test]
    fn a_dry_pool_is_counted_and_the_newest_stay() {
        let pool = Arc::new(Pool::new(CHUNK_WORDS * 8));
        let trail = Trail::new(pool.clone());
        for number in 0..100 {
            trail.push(&event(number, 100));
        }
        assert!(numbers(&trail.read(usize::MAX)).ends_with(&[98, 99]));
        assert!(pool.starved() > 0);
        let other = Trail::new(pool.clone());
        other.push(&event(1, 1));
        assert!(other.read(usize::MAX).is_empty());
    }
}
