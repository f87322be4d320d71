//! The hand-over from the callers to the worker. Comes in: finished records. Goes out: the same bytes, to the one worker thread.
//!
//! Each thread has its own bounded [`ring`], so that threads share no lock and no cache line. Exceptions have an express lane of their own: they are few, large, and go first. What does not fit is dropped and counted, never waited for.

mod missed;
pub(crate) mod ring;

/// The atomics of [`ring`], by a name that `tests/model` replaces with loom's.
mod sync {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use self::{missed::Missed, ring::SpscRing};
use crate::ledger::{Ledger, Lost, Signal};

/// One thread's ring. The thread holds one `Arc`, the worker the other.
pub(crate) struct Outbox {
    ring: SpscRing,
    /// The worker has been told that this ring fills up, and has not yet looked.
    called: AtomicBool,
    waker: Arc<Waker>,
    missed: Missed,
}

impl Outbox {
    /// Hands a record over; one for which there is no room is dropped and counted. Only the owning thread calls this.
    #[inline]
    pub(crate) fn push(&self, record: &[u8], signal: Signal) {
        // A record says its own length in so many bits.
        let fits = record.len() / 8 <= usize::from(u16::MAX);
        let used = if fits { self.ring.push(record.as_chunks::<8>().0) } else { None };
        let Some(used) = used else { return self.miss(signal, Lost::QueueOverflow, 1) };
        if used > self.ring.capacity() / 2 && !self.called.load(Ordering::Relaxed) && !self.called.swap(true, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// Counts records that are not handed over. Only the owning thread calls this.
    #[inline]
    pub(crate) fn miss(&self, signal: Signal, reason: Lost, count: u64) {
        self.missed.count(signal, reason, count);
    }

    /// How full it is, in quarters. Only the owning thread calls this.
    #[inline]
    pub(crate) fn quarters(&self) -> usize {
        self.ring.used() * 4 / self.ring.capacity()
    }

    /// Takes all records. Only the worker calls this.
    pub(crate) fn drain(&self, out: &mut Vec<u8>) {
        self.called.store(false, Ordering::Relaxed);
        self.ring.drain(out);
    }
}

/// Rings of threads that have ended, kept for threads that begin.
const MAX_SPARE: usize = 16;

/// Every thread's outbox, as the worker sees them.
pub(crate) struct Outboxes {
    capacity: usize,
    spare: Mutex<Vec<SpscRing>>,
    /// `None` once the worker has ended: nobody would empty a new one.
    all: Mutex<Option<Vec<Arc<Outbox>>>>,
}

impl Outboxes {
    /// Outboxes of `bytes` each.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { capacity: bytes / 8, spare: Mutex::default(), all: Mutex::new(Some(Vec::new())) }
    }

    /// A thread's first record: allocates its ring, or takes that of a thread that has ended. `None` once the worker has ended.
    pub(crate) fn register(&self, waker: &Arc<Waker>) -> Option<Arc<Outbox>> {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        let outbox = Arc::new(Outbox {
            ring: spare.unwrap_or_else(|| SpscRing::new(self.capacity)),
            called: AtomicBool::new(false),
            waker: waker.clone(),
            missed: Missed::default(),
        });
        self.all.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.push(outbox.clone());
        Some(outbox)
    }

    /// Every thread's, to be [emptied](Self::empty) one after the other. The lock is not held meanwhile: a thread's first record would wait for it.
    pub(crate) fn all(&self) -> Vec<Arc<Outbox>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Moves a thread's records to `out`, tells the ledger what is not among them, and forgets the ring if the thread has ended.
    pub(crate) fn empty(&self, outbox: Arc<Outbox>, out: &mut Vec<u8>, ledger: &Ledger) {
        // The list's and this one. Looked at before the ring: a thread that ends after this has its last records taken next time.
        let has_ended = Arc::strong_count(&outbox) == 2;
        if has_ended {
            // What the thread wrote before it let go is seen after this.
            fence(Ordering::Acquire);
        }
        outbox.drain(out);
        outbox.missed.tell(ledger);
        if has_ended && let Some(all) = self.all.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            all.retain(|known| !Arc::ptr_eq(known, &outbox));
        }
        if has_ended
            && let Ok(outbox) = Arc::try_unwrap(outbox)
            && let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < MAX_SPARE
        {
            spare.push(outbox.ring);
        }
    }

    /// Tells the ledger what threads did not hand over so far.
    pub(crate) fn tell(&self, ledger: &Ledger) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().flatten().for_each(|outbox| outbox.missed.tell(ledger));
    }

    /// Takes no new ones any more, and forgets those there are.
    pub(crate) fn close(&self) {
        *self.all.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Wakes the worker. Cheap when it is awake; a system call when it sleeps.
#[derive(Default)]
pub(crate) struct Waker(Notify);

impl Waker {
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }

    pub(crate) async fn woken(&self) {
        self.0.notified().await;
    }
}

/// What the express lane needs to know of its load.
pub(crate) trait Weight {
    /// Bytes, about.
    fn weight(&self) -> usize;
}

/// The exceptions' own lane: bounded in number and in bytes, no lock.
pub(crate) struct Express<T> {
    queue: ArrayQueue<Box<T>>,
    bytes: AtomicUsize,
    limit: usize,
}

impl<T: Weight> Express<T> {
    pub(crate) fn new(count: usize, bytes: usize) -> Self {
        Self { queue: ArrayQueue::new(count), bytes: AtomicUsize::new(0), limit: bytes }
    }

    /// Gives the load back if there is no room.
    pub(crate) fn push(&self, load: Box<T>, waker: &Waker) -> Result<(), Box<T>> {
        let weight = load.weight();
        let load = if self.bytes.fetch_add(weight, Ordering::Relaxed) + weight > self.limit { Err(load) } else { self.queue.push(load) };
        match load {
            Ok(()) => waker.wake(),
            Err(_) => _ = self.bytes.fetch_sub(weight, Ordering::Relaxed),
        }
        load
    }

    /// Loads waiting.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn pop(&self) -> Option<Box<T>> {
        let load = self.queue.pop()?;
        self.bytes.fetch_sub(load.weight(), Ordering::Relaxed);
        Some(load)
    }
}
