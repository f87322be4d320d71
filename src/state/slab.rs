//! The spans of a subscriber that has no layer but ours. Comes in: spans that are opened, handles
//! that come and go. Goes out: ids, and which span has ended; its parent stays open as long as it
//! does. The Registry keeps more, for layers that are not there.
//!
//! A span has a place while it is open; its id is the place's number and, in the upper bits, how
//! often the place was used. Its state lies there, too. Places are never moved and never freed, so
//! nothing is locked to find one. Each thread uses its own first, the last one freed before all
//! others: it is in the cache.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::handle::StateCell;
use crate::fork::Mutex;

/// Every place there is for a span.
pub(crate) struct Slab {
    /// Each twice as long as the one before.
    shelves: [OnceLock<Box<[SpanSlot]>>; SHELVES],
    /// The first that was never used.
    fresh: AtomicU32,
    /// Those that threads have left, or have too many of.
    free: Mutex<Vec<u32>>,
}

/// A span's, or nobody's. On a cache line of its own: threads keep to their own.
#[derive(Default)]
#[repr(align(64))]
struct SpanSlot {
    /// How often it was used (32 bits), and handles (32 bits).
    handles: AtomicU64,
    /// An id; 0: a root.
    parent: AtomicU64,
    callsite: AtomicU32,
    state: StateCell,
}

/// Places on the first shelf.
const FIRST: u32 = 256;
const SHELVES: usize = 24;
/// Places a thread keeps for itself.
pub(crate) const OWN: usize = 64;
/// Where in an id it says how often the place was used, as in the Registry's.
const USES: u32 = 51;

impl Slab {
    pub(crate) fn new() -> Self {
        Self { shelves: [const { OnceLock::new() }; SHELVES], fresh: AtomicU32::new(0), free: Mutex::default() }
    }

    /// Opens a span with one handle. `own`: the calling thread's places. `None`: there are four
    /// thousand million.
    #[inline]
    pub(crate) fn open(&self, own: &mut Vec<u32>, parent: Option<u64>, callsite: u32) -> Option<u64> {
        let number = match own.pop() {
            Some(number) => number,
            None => self.more(own)?,
        };
        let place = self.place(number)?;
        // One that is not there any more, or is another subscriber's, is not waited for.
        let parent = parent.filter(|parent| self.share(*parent));
        place.parent.store(parent.unwrap_or_default(), Ordering::Relaxed);
        place.callsite.store(callsite, Ordering::Relaxed);
        // Nobody else has its id.
        let uses = place.handles.load(Ordering::Relaxed) >> 32;
        place.handles.store((uses << 32) | 1, Ordering::Release);
        Some((uses << USES) | (u64::from(number) + 1))
    }

    /// One handle more. `false`: there is no such span.
    #[inline]
    pub(crate) fn share(&self, id: u64) -> bool {
        let is_open = |handles: u64| handles as u32 != 0 && (handles >> 32) << USES == id & (!0 << USES);
        let more = |handles: u64| is_open(handles).then_some(handles + 1);
        self.of(id).is_some_and(|place| place.handles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok())
    }

    /// One handle less. `true`: it was the last, and the span has ended; [`vacate`](Self::vacate)
    /// its place.
    #[inline]
    pub(crate) fn release(&self, id: u64) -> bool {
        self.of(id).is_some_and(|place| place.handles.fetch_sub(1, Ordering::AcqRel) as u32 == 1)
    }

    /// Gives the place of a span that has ended to others, first to `own`. Returns its parent, of
    /// which it had a handle.
    #[inline]
    pub(crate) fn vacate(&self, id: u64, own: &mut Vec<u32>) -> Option<u64> {
        let place = self.of(id)?;
        let parent = place.parent.load(Ordering::Relaxed);
        // Ids of its span are no more. Nobody else changes a place without handles.
        let handles = place.handles.load(Ordering::Relaxed);
        place.handles.store(handles.wrapping_add(1 << 32), Ordering::Relaxed);
        own.push(number(id));
        if own.len() > OWN {
            // Once in many, and held for a copy of as many numbers.
            self.free.lock().extend(own.drain(..OWN / 2));
        }
        Some(parent).filter(|parent| *parent != 0)
    }

    /// The callsite of an open span.
    pub(crate) fn callsite(&self, id: u64) -> Option<u32> {
        Some(self.of(id)?.callsite.load(Ordering::Relaxed))
    }

    /// Opens or vacates on a thread that has no places of its own.
    pub(crate) fn with_shared<T>(&self, run: impl FnOnce(&mut Vec<u32>) -> T) -> T {
        let mut own = Vec::new();
        let done = run(&mut own);
        self.take_back(&mut own);
        done
    }

    /// A thread's places, when it ends.
    pub(crate) fn take_back(&self, own: &mut Vec<u32>) {
        self.free.lock().append(own);
    }

    #[cold]
    fn more(&self, own: &mut Vec<u32>) -> Option<u32> {
        {
            let mut free = self.free.lock();
            let some = free.len().saturating_sub(OWN / 4);
            own.extend(free.drain(some..));
        }
        own.pop().or_else(|| self.fresh.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fresh| fresh.checked_add(1)).ok())
    }

    /// Where the state of a span lies that has not been [vacated](Self::vacate). `None`: it is not
    /// of this slab.
    #[inline]
    pub(super) fn cell(&self, id: u64) -> Option<&StateCell> {
        Some(&self.of(id)?.state)
    }

    /// The place of a span that is open, or has just ended.
    #[inline]
    fn of(&self, id: u64) -> Option<&SpanSlot> {
        let (shelf, index) = position(number(id))?;
        let place = self.shelves[shelf].get()?.get(index)?;
        let uses = place.handles.load(Ordering::Relaxed) >> 32;
        (uses << USES == id & (!0 << USES)).then_some(place)
    }

    #[inline]
    fn place(&self, number: u32) -> Option<&SpanSlot> {
        let (shelf, index) = position(number)?;
        self.shelves[shelf].get_or_init(|| (0..FIRST << shelf).map(|_| SpanSlot::default()).collect()).get(index)
    }
}

/// On which shelf, and where there.
#[inline]
fn position(number: u32) -> Option<(usize, usize)> {
    let number = number.checked_add(FIRST)?;
    let shelf = (number / FIRST).ilog2() as usize;
    Some((shelf, (number - (FIRST << shelf)) as usize))
}

#[inline]
fn number(id: u64) -> u32 {
    ((id & !(!0 << USES)) as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Handles and parent of each open span.
    #[derive(Default)]
    struct Model(HashMap<u64, (u32, Option<u64>)>);

    impl Model {
        /// The spans that end when a handle of this one goes, innermost first.
        fn release(&mut self, id: u64) -> Vec<u64> {
            let (mut next, mut ended) = (Some(id), Vec::new());
            while let Some(id) = next {
                let (handles, parent) = self.0.get_mut(&id).expect("open");
                *handles -= 1;
                next = None;
                if *handles == 0 {
                    next = *parent;
                    self.0.remove(&id);
                    ended.push(id);
                }
            }
            ended
        }
    }

    fn release(slab: &Slab, own: &mut Vec<u32>, id: u64) -> Vec<u64> {
        let mut ended = Vec::new();
        let mut next = slab.release(id).then_some(id);
        while let Some(id) = next {
            ended.push(id);
            next = slab.vacate(id, own).filter(|parent| slab.release(*parent));
        }
        ended
    }

    proptest! {
        /// Any sequence of opening below any span, sharing and letting go.
        #[test]
        fn a_span_ends_with_its_last_handle_and_its_last_child(steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..400)) {
            let (slab, mut own, mut model) = (Slab::new(), Vec::new(), Model::default());
            // One entry for each handle of the test's own.
            let mut handles: Vec<u64> = Vec::new();
            for (number, (what, index)) in steps.into_iter().enumerate() {
                let at = (!handles.is_empty()).then(|| index.index(handles.len()));
                match (what, at) {
                    (0, _) | (_, None) => {
                        let parent = at.map(|at| handles[at]).filter(|_| number % 5 != 0);
                        let id = slab.open(&mut own, parent, number as u32).unwrap();
                        prop_assert!(id != 0 && model.0.insert(id, (1, parent)).is_none(), "an id of its own");
                        prop_assert_eq!(slab.callsite(id), Some(number as u32));
                        parent.iter().for_each(|parent| model.0.get_mut(parent).unwrap().0 += 1);
                        handles.push(id);
                    }
                    (1, Some(at)) => {
                        prop_assert!(slab.share(handles[at]));
                        model.0.get_mut(&handles[at]).unwrap().0 += 1;
                        handles.push(handles[at]);
                    }
                    (_, Some(at)) => {
                        let id = handles.swap_remove(at);
                        let ended = release(&slab, &mut own, id);
                        prop_assert_eq!(&ended, &model.release(id));
                        prop_assert!(ended.iter().all(|id| slab.callsite(*id).is_none() && !slab.share(*id)), "an id that was is nobody's");
                    }
                }
            }
            handles.into_iter().for_each(|id| drop(release(&slab, &mut own, id)));
            let used = slab.fresh.load(Ordering::Relaxed) as usize;
            prop_assert_eq!(own.len() + slab.free.lock().len(), used, "every place is free again");
        }
    }

    #[test]
    fn threads_that_come_and_go_use_the_same_places() {
        let slab = Slab::new();
        for _ in 0..50 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut own = Vec::new();
                        let open: Vec<u64> = (0..100).map(|_| slab.open(&mut own, None, 7).unwrap()).collect();
                        assert!(open.iter().all(|id| slab.callsite(*id) == Some(7)));
                        open.into_iter().for_each(|id| assert_eq!(release(&slab, &mut own, id), [id]));
                        assert!(own.len() <= OWN);
                        slab.take_back(&mut own);
                    });
                }
            });
        }
        // Those open at once, and those that threads keep for themselves.
        assert!(slab.fresh.load(Ordering::Relaxed) <= 4 * 100 + 4 * OWN as u32, "{:?}", slab.fresh);
    }
}
