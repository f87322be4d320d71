//! The link between the calling threads and the worker of one process: the lanes, the ledger, the
//! way to wake it. A forked child gets a link and a worker of its own; nothing of its parent's is
//! touched.

use std::{
    sync::{
        Arc, Mutex, Once, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Instant,
};

use crossbeam_queue::ArrayQueue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    exception::Draft,
    fork,
    ledger::Ledger,
    lock::lock,
    outbox::{Express, Outboxes, Waker},
    spool::Ticket,
};

/// A request to the worker.
pub(crate) enum Command {
    /// Send everything recorded so far; answer when it is delivered or the time is up.
    Flush { deadline: Instant, reply: std::sync::mpsc::SyncSender<Flushed> },
    /// The same, then end.
    Shutdown { deadline: Instant, reply: std::sync::mpsc::SyncSender<Flushed> },
}

/// The answer to a flush.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flushed {
    /// Records still on their way at the deadline, in memory only (for a shutdown: lost).
    pub(crate) undelivered: u64,
}

pub(crate) type SpoolDraft = Box<dyn Fn(&Draft) -> Option<Ticket> + Send + Sync>;

/// See the [module](self).
pub(crate) struct WorkerLink {
    /// The process it belongs to, as the system calls it, and as [`fork`] counts it.
    process: u32,
    pub(super) generation: u32,
    pub(crate) outboxes: Outboxes,
    pub(crate) express: Express<Draft>,
    /// Exceptions on disk for which the express lane had no room.
    pub(crate) spooled: ArrayQueue<Ticket>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) ledger: Ledger,
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) worker: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// Writes an exception to disk at once, on the calling thread.
    spool: OnceLock<SpoolDraft>,
    /// For the worker, which takes it.
    receiver: Mutex<Option<UnboundedReceiver<Command>>>,
    /// What is to be done with it in a forked child.
    pub(super) on_fork: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// A forked child's.
    pub(super) next: OnceLock<Arc<WorkerLink>>,
    pub(super) started: Once,
    pub(crate) has_ended: AtomicBool,
}

/// Exceptions that may wait for the worker, in number and in bytes.
const EXPRESS: (usize, usize) = (1024, 16 << 20);
/// Those that may wait on disk meanwhile.
const MAX_SPOOLED: usize = 8 * 1024;

impl WorkerLink {
    pub(crate) fn new(outbox_bytes: usize) -> Arc<Self> {
        let (commands, receiver) = unbounded_channel();
        Arc::new(Self {
            process: std::process::id(),
            generation: fork::generation(),
            outboxes: Outboxes::new(outbox_bytes),
            express: Express::new(EXPRESS.0, EXPRESS.1),
            spooled: ArrayQueue::new(MAX_SPOOLED),
            waker: Arc::default(),
            ledger: Ledger::default(),
            commands,
            worker: Mutex::default(),
            spool: OnceLock::new(),
            receiver: Mutex::new(Some(receiver)),
            on_fork: OnceLock::new(),
            next: OnceLock::new(),
            started: Once::new(),
            has_ended: AtomicBool::new(false),
        })
    }

    /// The worker's end of the commands, once.
    pub(crate) fn take_receiver(&self) -> Option<UnboundedReceiver<Command>> {
        lock(&self.receiver).take()
    }

    pub(crate) fn spool_by(&self, spool: SpoolDraft) {
        let _ = self.spool.set(spool);
    }

    /// Writes an exception to disk now, if there is a spool. Waits for nobody.
    pub(crate) fn spool(&self, draft: &Draft) -> Option<Ticket> {
        (self.spool.get()?)(draft)
    }

    /// Whether its worker runs in this process.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.generation == fork::generation() && self.process == std::process::id()
    }

    /// The worker has ended, or there never was one.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire) || self.receiver.try_lock().is_ok_and(|receiver| receiver.is_some())
    }

    pub(crate) fn on_fork(&self, run: impl Fn() + Send + Sync + 'static) {
        let _ = self.on_fork.set(Box::new(run));
    }
}

/// A process's link, and its forked children's.
pub(crate) struct Links {
    first: Arc<WorkerLink>,
    /// The newest's, see [`fork::generation`].
    pub(super) generation: AtomicU32,
}

impl Links {
    pub(crate) fn new(first: Arc<WorkerLink>) -> Self {
        let generation = AtomicU32::new(first.generation);
        Self { first, generation }
    }

    pub(crate) fn newest(&self) -> &Arc<WorkerLink> {
        let mut newest = &self.first;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest
    }

    /// This is a forked child, which has no link of its own yet.
    #[inline]
    pub(super) fn are_the_parents(&self) -> bool {
        self.generation.load(Ordering::Relaxed) != fork::generation()
    }
}
