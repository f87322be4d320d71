//! The hand-over from the callers to the worker. Comes in: finished records. Goes out: the same
//! bytes, to the one worker thread.
//!
//! Each thread has its own bounded [`ring`], so that threads share no lock and no cache line.
//! Exceptions have an express lane of their own: they are few, large, and go first. What does not
//! fit is dropped and counted, never waited for.

mod losses;
pub(crate) mod ring;

/// What [`ring`] shares, by a name that `tests/model` replaces with loom's.
mod sync {
    pub(crate) use std::sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    };

    /// Words of a ring, in one allocation.
    pub(crate) type Part = Arc<[AtomicU64]>;

    pub(crate) fn part(words: usize) -> Part {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }
}

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

use crossbeam_queue::ArrayQueue;
use tokio::sync::Notify;

use self::{
    losses::Losses,
    ring::{Near, SpscRing},
};
use crate::ledger::{Ledger, LossReason, RecordKind};
use crate::lock::lock;

/// One thread's ring. The thread holds one `Arc`, the worker the other.
pub(crate) struct Outbox {
    ring: SpscRing,
    /// Something was taken from it lately.
    is_used: AtomicBool,
    /// The worker has been told that this ring fills up, and has not yet looked.
    called: AtomicBool,
    waker: Arc<Waker>,
    losses: Losses,
}

/// The worker is called when so much of a ring is in use: early, so that it comes before there is a
/// want of room, and takes what is still in a cache.
const CALL: usize = 16;

/// The thread's side of its [`Outbox`].
pub(crate) struct Producer {
    near: Near,
    outbox: Arc<Outbox>,
}

impl Producer {
    /// Hands a record over; one for which there is no room is dropped and counted.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8], signal: RecordKind) {
        let outbox = &*self.outbox;
        // A record says its own length in so many bits.
        let fits = record.len() / 8 <= usize::from(u16::MAX);
        let used = if fits { outbox.ring.push(&mut self.near, record.as_chunks::<8>().0) } else { None };
        let Some(used) = used else { return self.lose(signal, LossReason::QueueOverflow, 1) };
        if used > outbox.ring.capacity() / CALL && !outbox.called.load(Ordering::Relaxed) && !outbox.called.swap(true, Ordering::Relaxed) {
            outbox.waker.wake();
        }
    }

    /// Counts records that are not handed over.
    #[inline]
    pub(crate) fn lose(&self, signal: RecordKind, reason: LossReason, count: u64) {
        self.outbox.losses.count(signal, reason, count);
    }

    /// How full it is: 0 to 1.
    #[inline]
    pub(crate) fn level(&self) -> f32 {
        self.outbox.ring.used() as f32 / self.outbox.ring.capacity() as f32
    }
}

impl Outbox {
    /// Takes as many records as make so many bytes, or a little more; says whether there are
    /// others. Only the worker calls this.
    fn take(&self, most: usize, out: &mut Vec<u8>) -> bool {
        // While some are left the worker comes again by itself, and a call would cost the thread a system call for nothing.
        let takes_all = self.ring.used() <= most / 8;
        if takes_all {
            self.called.store(false, Ordering::Relaxed);
        }
        let before = out.len();
        let left = self.ring.take(most / 8, out);
        if left == 0 && !takes_all {
            self.called.store(false, Ordering::Relaxed);
        }
        if out.len() > before {
            self.is_used.store(true, Ordering::Relaxed);
        }
        left > 0
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
    /// Outboxes of so many bytes each at most.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { capacity: bytes / 8, spare: Mutex::default(), all: Mutex::new(Some(Vec::new())) }
    }

    /// Bytes of each at most.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity * 8
    }

    /// A thread's first record: allocates its ring, or takes that of a thread that has ended.
    /// `None` once the worker has ended.
    pub(crate) fn register(&self, waker: &Arc<Waker>) -> Option<Producer> {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        let outbox = Arc::new(Outbox {
            ring: spare.unwrap_or_else(|| SpscRing::new(self.capacity)),
            is_used: AtomicBool::new(false),
            called: AtomicBool::new(false),
            waker: waker.clone(),
            losses: Losses::default(),
        });
        lock(&self.all).as_mut()?.push(outbox.clone());
        Some(Producer { near: Near::default(), outbox })
    }

    /// Every thread's, to be [emptied](Self::take) one after the other. The lock is not held
    /// meanwhile: a thread's first record would wait for it.
    pub(crate) fn all(&self) -> Vec<Arc<Outbox>> {
        lock(&self.all).clone().unwrap_or_default()
    }

    /// Moves a thread's records to `out`, so many bytes of them or a little more; tells the ledger
    /// what is not among them, and forgets the ring if it is empty and the thread has ended. Gives
    /// the outbox back if there are others.
    pub(crate) fn take(&self, outbox: Arc<Outbox>, most: usize, out: &mut Vec<u8>, ledger: &Ledger) -> Option<Arc<Outbox>> {
        // The list's and this one. Looked at before the ring: a thread that ends after this has its last records taken next time.
        let has_ended = Arc::strong_count(&outbox) == 2;
        if has_ended {
            // What the thread wrote before it let go is seen after this.
            fence(Ordering::Acquire);
        }
        let has_more = outbox.take(most, out);
        outbox.losses.report(ledger);
        if has_more {
            return Some(outbox);
        }
        if has_ended && let Some(all) = lock(&self.all).as_mut() {
            all.retain(|known| !Arc::ptr_eq(known, &outbox));
        }
        if has_ended
            && let Ok(outbox) = Arc::try_unwrap(outbox)
            && let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < MAX_SPARE
        {
            outbox.ring.give_back();
            spare.push(outbox.ring);
        }
        None
    }

    /// Frees what those outboxes had grown by from which nothing was taken since this was last
    /// asked for.
    pub(crate) fn give_back(&self) {
        for outbox in self.all() {
            if !outbox.is_used.swap(false, Ordering::Relaxed) {
                outbox.ring.give_back();
            }
        }
    }

    /// Tells the ledger what threads did not hand over so far.
    pub(crate) fn report_losses(&self, ledger: &Ledger) {
        let all = lock(&self.all);
        all.iter().flatten().for_each(|outbox| outbox.losses.report(ledger));
    }

    /// Takes no new ones any more, and forgets those there are.
    pub(crate) fn close(&self) {
        *lock(&self.all) = None;
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

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: usize = 64;

    /// Whole records, about as many as are asked for, in order; whatever the part in which they
    /// end.
    #[test]
    fn some_are_taken_and_the_others_later() {
        let (outboxes, ledger, mut out) = (Outboxes::new(PARTS * 64), Ledger::default(), Vec::new());
        let mut producer = outboxes.register(&Arc::default()).expect("it is open");
        let outbox = producer.outbox.clone();
        let record = |words: u16| {
            (0..words).flat_map(|word| [words.to_le_bytes(), word.to_le_bytes(), [7; 2], [9; 2]].concat()).collect::<Vec<u8>>()
        };
        for round in 0..50_u16 {
            let lengths = || (0..20).map(move |number| 1 + (round + number) % 11);
            lengths().for_each(|words| producer.push(&record(words), RecordKind::Logs));
            let mut taken = Vec::new();
            while outboxes.take(outbox.clone(), 20 * 8, &mut out, &ledger).is_some() {
                assert!((20 * 8..31 * 8).contains(&out.len()), "{} bytes", out.len());
                taken.append(&mut out);
            }
            taken.append(&mut out);
            assert_eq!(taken, lengths().flat_map(record).collect::<Vec<u8>>());
        }
        assert_eq!(ledger.stats(0, 0, 0).of(RecordKind::Logs).lost(), 0);
    }

    /// The worker is called once, and not again while it comes by itself; but when it has found
    /// nothing left, the next that is much calls it anew.
    #[test]
    fn the_worker_is_called_when_it_would_not_come() {
        let (outboxes, ledger, mut out) = (Outboxes::new(CALL * 64), Ledger::default(), Vec::new());
        let mut producer = outboxes.register(&Arc::default()).expect("it is open");
        let outbox = producer.outbox.clone();
        let is_called = || outbox.called.load(Ordering::Relaxed);
        let record = [3_u64.to_le_bytes(); 3].concat();
        for most in [24, 25, 48, 71, 72, 96, usize::MAX] {
            assert!(!is_called(), "{most}");
            (0..3).for_each(|_| producer.push(&record, RecordKind::Logs));
            assert!(is_called(), "{most}");
            while outboxes.take(outbox.clone(), most, &mut out, &ledger).is_some() {
                assert!(is_called(), "it comes again by itself: {most}");
            }
        }
    }

    /// Report 15: the memory that was asked for is the most there is.
    #[test]
    fn an_outbox_has_no_more_memory_than_was_asked_for() {
        for (bytes, words) in [(64 << 10, 8_192), ((128 << 10) - 1, 8_192), (1_000_000, 65_536), (0, 1)] {
            let producer = Outboxes::new(bytes).register(&Arc::default()).expect("it is open");
            assert_eq!(producer.outbox.ring.capacity(), words, "{bytes}");
        }
    }

    /// Report D3: a thread that said much once does not keep the memory while it idles.
    #[test]
    fn what_a_burst_took_is_given_back() {
        let (outboxes, ledger, mut out) = (Outboxes::new(PARTS * 64), Ledger::default(), Vec::new());
        let mut producer = outboxes.register(&Arc::default()).expect("it is open");
        let outbox = producer.outbox.clone();
        let record = |number: u64| [number.to_le_bytes(); 3].concat();
        for burst in 0..3 {
            let count = PARTS as u64 * 8 / 3;
            (0..count).for_each(|number| producer.push(&record(number), RecordKind::Logs));
            assert_eq!(outbox.ring.allocated(), PARTS, "burst {burst}");
            (0..2).for_each(|_| outboxes.give_back());
            assert_eq!(outbox.ring.allocated(), PARTS, "all of it is still to be read");
            out.clear();
            outboxes.take(outbox.clone(), usize::MAX, &mut out, &ledger);
            assert_eq!(out, (0..count).flat_map(record).collect::<Vec<u8>>());
            outboxes.give_back();
            assert_eq!(outbox.ring.allocated(), PARTS, "it was in use");
            outboxes.give_back();
            assert_eq!(outbox.ring.allocated(), 2, "the first, and the one that is written to");
        }
        drop((producer, outbox));
        outboxes.all().into_iter().for_each(|outbox| _ = outboxes.take(outbox, usize::MAX, &mut out, &ledger));
        let spare: Vec<_> = outboxes.spare.lock().expect("nobody panicked").iter().map(SpscRing::allocated).collect();
        assert_eq!(spare, [1], "for the next thread");
        assert_eq!(ledger.stats(0, 0, 0).of(RecordKind::Logs).lost_to(LossReason::QueueOverflow), 0);
    }
}
