//! The open spans of a layer instance, by id. Comes in: the states of spans that open and close, on
//! any thread. Goes out: the state behind an id, for a thread that does not remember it.
//!
//! Where there is no Registry, a span's state lies in its place in the [`Slab`], beside its handles.
//! Else it lies in a table of slots, found by hashing the id. Each slot has its own lock, so two
//! spans meet at one only if they hash alike, for as long as a pointer is copied. That is cheaper
//! than the Registry's extensions (a slab look-up, a shared lock and a box for each span), and two
//! instances never meet. A span whose slot is taken goes to one of some locked maps.

use std::{
    collections::HashMap,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    handle::{Handle, StateCell},
    slab::Slab,
};
use crate::fork::Mutex;

pub(crate) struct OpenSpans {
    pub(crate) slab: Slab,
    /// Of spans that are not in the slab; made for the first.
    table: OnceLock<Table>,
}

impl OpenSpans {
    pub(crate) fn new() -> Self {
        Self { slab: Slab::new(), table: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn insert(&self, id: u64, handle: Handle) {
        match self.slab.cell(id) {
            Some(cell) => drop(cell.set(id, handle)),
            None => self.table.get_or_init(Table::new).insert(id, handle),
        }
    }

    /// Gives a span another state, wherever it is kept. One that has closed meanwhile stays closed.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn replace(&self, id: u64, handle: Handle) {
        match self.slab.cell(id) {
            Some(cell) => drop(cell.replace(id, handle)),
            None => {
                if let Some(table) = self.table.get() {
                    table.replace(id, handle);
                }
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, id: u64) -> Option<Handle> {
        match self.slab.cell(id) {
            Some(cell) => cell.get(id),
            None => self.table.get()?.get(id),
        }
    }

    /// Takes a span out. What is dropped is dropped after the locks.
    #[inline]
    pub(crate) fn remove(&self, id: u64) -> Option<Handle> {
        match self.slab.cell(id) {
            Some(cell) => cell.take(id),
            None => self.table.get()?.remove(id),
        }
    }
}

struct Table {
    slots: Box<[Slot]>,
    crowded: AtomicUsize,
    overflow: [Shard; SHARDS],
}

/// On a cache line of its own: threads keep to the same few.
#[derive(Default)]
#[repr(align(64))]
struct Slot(StateCell);

/// Those that found their slots taken; by slot, so that they meet as seldom. On a cache line of its
/// own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<HashMap<u64, Handle>>);

const SHARDS: usize = 64;

const SLOTS: usize = 4096;

impl Table {
    fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            crowded: AtomicUsize::new(0),
            overflow: std::array::from_fn(|_| Shard::default()),
        }
    }

    fn insert(&self, id: u64, handle: Handle) {
        match self.slot(id).set_if_free(id, handle) {
            Ok(_ended_unseen) => {}
            Err(handle) => {
                self.crowded.fetch_add(1, Ordering::Release);
                self.shard(id).lock().insert(id, handle);
            }
        }
    }

    #[cfg(feature = "tracing-opentelemetry-0-34")]
    fn replace(&self, id: u64, handle: Handle) {
        if let Err(handle) = self.slot(id).replace(id, handle)
            && let Some(known) = self.shard(id).lock().get_mut(&id)
        {
            *known = handle;
        }
    }

    fn get(&self, id: u64) -> Option<Handle> {
        self.slot(id).get(id).or_else(|| self.crowded_shard(id)?.lock().get(&id).cloned())
    }

    fn remove(&self, id: u64) -> Option<Handle> {
        self.slot(id).take(id).or_else(|| {
            let removed = self.crowded_shard(id)?.lock().remove(&id)?;
            self.crowded.fetch_sub(1, Ordering::Release);
            Some(removed)
        })
    }

    fn slot(&self, id: u64) -> &StateCell {
        &self.slots[Self::hash(id)].0
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Handle>> {
        &self.overflow[Self::hash(id) % SHARDS].0
    }

    /// Where a span may be that is not in its slot; mostly there is none.
    fn crowded_shard(&self, id: u64) -> Option<&Mutex<HashMap<u64, Handle>>> {
        (self.crowded.load(Ordering::Acquire) > 0).then(|| self.shard(id))
    }

    fn hash(id: u64) -> usize {
        // An id is a place in the Registry's memory, and above it how often that was used: a place has the same slot every time, so that a service uses few of them, which stay in the cache. (Should another subscriber's ids be made otherwise, they only meet more often.)
        let place = id & ((1 << 51) - 1);
        // Fibonacci hashing: places count up within pages and threads.
        (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SLOTS.trailing_zeros())) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SharedSpan;

    #[test]
    fn spans_that_hash_alike_keep_apart() {
        let spans = OpenSpans::new();
        let states: Vec<(u64, SharedSpan)> = (1..=3 * SLOTS as u64).map(|id| (id, SharedSpan::default())).collect();
        for (id, state) in &states {
            spans.insert(*id, Handle { state: state.clone(), own: true });
        }
        for (id, state) in &states {
            assert!(SharedSpan::ptr_eq(&spans.get(*id).unwrap().state, state));
        }
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        {
            let (crowded, fresh) = (2 * SLOTS as u64 + 1, SharedSpan::default());
            // Whoever had the slot before has gone.
            states.iter().filter(|(id, _)| *id != crowded).for_each(|(id, _)| drop(spans.remove(*id)));
            spans.replace(crowded, Handle { state: fresh.clone(), own: true });
            assert!(SharedSpan::ptr_eq(&spans.get(crowded).unwrap().state, &fresh));
            assert!(SharedSpan::ptr_eq(&spans.remove(crowded).unwrap().state, &fresh) && spans.remove(crowded).is_none());
            spans.replace(crowded, Handle { state: fresh, own: true });
            assert!(spans.get(crowded).is_none(), "it has closed");
            states.iter().for_each(|(id, state)| spans.insert(*id, Handle { state: state.clone(), own: true }));
        }
        for (id, state) in &states {
            assert!(SharedSpan::ptr_eq(&spans.remove(*id).unwrap().state, state));
            assert!(spans.get(*id).is_none() && spans.remove(*id).is_none());
        }
        assert_eq!(spans.table.get().unwrap().crowded.load(Ordering::Relaxed), 0);
    }

    /// Where there is no Registry: what is in the slab needs no other table, and its place tells
    /// one span from the next.
    #[test]
    fn a_span_of_the_slab_has_its_state_there() {
        let (spans, mut own) = (OpenSpans::new(), Vec::new());
        let [former, latter] = [(); 2].map(|()| {
            let id = spans.slab.open(&mut own, None, 0).expect("a place");
            let state = SharedSpan::default();
            spans.insert(id, Handle { state: state.clone(), own: true });
            assert!(SharedSpan::ptr_eq(&spans.get(id).expect("open").state, &state));
            assert!(spans.slab.release(id));
            assert!(SharedSpan::ptr_eq(&spans.remove(id).expect("not vacated yet").state, &state));
            spans.slab.vacate(id, &mut own);
            assert!(spans.get(id).is_none() && spans.remove(id).is_none());
            id
        });
        assert_ne!(former, latter, "they had one place");
        assert_eq!(own.len(), 1);
        assert!(spans.table.get().is_none());
    }
}
