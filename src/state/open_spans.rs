//! The open spans of a layer instance, by id. Comes in: the states of spans that open and close, on
//! any thread. Goes out: the state behind an id, for a thread that does not remember it.
//!
//! A table of slots, each with its own lock, found by hashing the id: two spans meet at a lock only
//! if they hash alike, for as long as a pointer is copied. That is cheaper than the Registry's
//! extensions (a slab look-up, a shared lock and a box for each span), and two instances never
//! meet. A span whose slot is taken goes to one of some locked maps.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{fork::Mutex, state::SharedSpan};

/// Which state a span has, or whose it shares.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) state: SharedSpan,
    /// `false`: the span is below the spans filter; it passes its parent's state on.
    pub(crate) own: bool,
}

/// The span that has this place, and its id. On a cache line of its own: threads keep to the same
/// few places.
#[repr(align(64))]
struct Slot(Mutex<Option<(u64, Handle)>>);

pub(crate) struct OpenSpans {
    slots: Box<[Slot]>,
    crowded: AtomicUsize,
    overflow: [Shard; SHARDS],
}

/// Those that found their slots taken; by slot, so that they meet as seldom. On a cache line of its
/// own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<HashMap<u64, Handle>>);

const SHARDS: usize = 64;

const SLOTS: usize = 4096;

impl OpenSpans {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot(Mutex::default())).collect(),
            crowded: AtomicUsize::new(0),
            overflow: std::array::from_fn(|_| Shard::default()),
        }
    }

    pub(crate) fn insert(&self, id: u64, handle: Handle) {
        let mut slot = self.slot(id).lock();
        if slot.as_ref().is_none_or(|(present, _)| *present == id) {
            let _ended_unseen = slot.replace((id, handle));
            drop(slot);
        } else {
            drop(slot);
            self.crowded.fetch_add(1, Ordering::Release);
            self.shard(id).lock().insert(id, handle);
        }
    }

    /// Gives a span another state, wherever it is kept. One that has closed meanwhile stays closed.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn replace(&self, id: u64, handle: Handle) {
        {
            let mut slot = self.slot(id).lock();
            if let Some((_, known)) = slot.as_mut().filter(|(present, _)| *present == id) {
                let _former = std::mem::replace(known, handle);
                drop(slot);
                return;
            }
        }
        if let Some(known) = self.shard(id).lock().get_mut(&id) {
            *known = handle;
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<Handle> {
        match &*self.slot(id).lock() {
            Some((found, handle)) if *found == id => return Some(handle.clone()),
            _ => {}
        }
        if self.crowded.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.shard(id).lock().get(&id).cloned()
    }

    /// Takes a span out. What is dropped is dropped after the locks.
    pub(crate) fn remove(&self, id: u64) -> Option<Handle> {
        {
            let mut slot = self.slot(id).lock();
            if slot.as_ref().is_some_and(|(found, _)| *found == id) {
                return slot.take().map(|(_, handle)| handle);
            }
        }
        if self.crowded.load(Ordering::Acquire) == 0 {
            return None;
        }
        let removed = self.shard(id).lock().remove(&id);
        if removed.is_some() {
            self.crowded.fetch_sub(1, Ordering::Release);
        }
        removed
    }

    fn slot(&self, id: u64) -> &Mutex<Option<(u64, Handle)>> {
        &self.slots[Self::hash(id)].0
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Handle>> {
        &self.overflow[Self::hash(id) % SHARDS].0
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
        assert_eq!(spans.crowded.load(Ordering::Relaxed), 0);
    }
}
