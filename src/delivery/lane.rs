//! One signal's way to its receiver. Comes in: encoded requests. Goes out: one at a time, whole,
//! joined or divided, until it is acknowledged or given up; each of its records as one entry in the
//! ledger.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    config::{LaneConfig, origin, shown},
    failure::Failure,
    health::Health,
    host::Host,
    queue::{Gone, Load, Parcel, Queue},
    retry::Backoff,
    transport::Transport,
};
use crate::{
    failpoint::step,
    ledger::{LossReason, RecordKind},
    otlp::split::{Piece, split},
    spool::{Chain, Entry, Moment, Ticket},
};

/// No request is larger than this (OTLP specification: 64 MiB before compression).
const MAX_REQUEST: usize = 64 << 20;

/// Refusals of parts of one request, while none of it was taken: of a receiver that takes requests
/// otherwise, and of one that has refused all of the last.
const MANY_REFUSALS: u32 = 256;
const FEW_REFUSALS: u32 = 8;
/// So long a program that gives headers is waited for, where an attempt has no limit.
const ASKING: Duration = Duration::from_secs(10);
/// So long a request is divided.
const DIVIDING: Duration = Duration::from_secs(30);

/// A queue this large is full. Exceptions get more room: they are what this is for.
const fn queue_limit(signal: RecordKind) -> usize {
    match signal {
        RecordKind::Exceptions => 32 << 20,
        _ => 8 << 20,
    }
}

/// A record that is in memory only is given up after this long.
const fn patience(signal: RecordKind) -> Duration {
    match signal {
        RecordKind::Exceptions => Duration::from_secs(3600),
        _ => Duration::from_secs(300),
    }
}

pub(super) struct Lane {
    signal: RecordKind,
    config: LaneConfig,
    host: Arc<dyn Host>,
    health: Rc<Health>,
    queue: RefCell<Queue>,
    /// Where its requests are on disk.
    chain: Option<RefCell<Chain>>,
    /// Requests go to disk as they come; or else when there is trouble, and at the end.
    ahead: bool,
    /// Records of the load in hand that are accounted for already: parts of it that were delivered
    /// or refused.
    accounted: Cell<u64>,
    filled: Notify,
    progress: Rc<Notify>,
    backoff: RefCell<Backoff>,
    /// A request was divided in vain: what the receiver dislikes is not in one record.
    dislikes_all: Cell<bool>,
    /// The last answer was one that deserves one more try before it is taken for a word about the
    /// content.
    tried_again: Cell<bool>,
}

/// How an attempt at a load ended.
enum Outcome {
    Done,
    /// The whole of it is to be tried again, and back in the queue.
    Again,
}

impl Lane {
    pub(super) fn new(
        signal: RecordKind,
        config: LaneConfig,
        chain: Option<Chain>,
        host: Arc<dyn Host>,
        health: Rc<Health>,
        progress: Rc<Notify>,
    ) -> Self {
        Self {
            signal,
            config,
            host,
            health,
            queue: RefCell::new(Queue::new(queue_limit(signal), patience(signal))),
            chain: chain.map(RefCell::new),
            ahead: signal == RecordKind::Exceptions,
            accounted: Cell::new(0),
            filled: Notify::new(),
            progress,
            backoff: RefCell::new(Backoff::new()),
            dislikes_all: Cell::new(false),
            tried_again: Cell::new(false),
        }
    }

    /// Takes a request in. `earlier` is a place on disk where a first form of it is already, and
    /// counted as spooled.
    pub(super) fn submit(&self, body: Bytes, records: u64, earlier: Option<Ticket>) {
        let ahead = self.ahead || self.backoff.borrow().is_in_trouble();
        let entry = Entry { payload: &body, records, written: Moment::now() };
        let fresh = if ahead { self.to_disk(entry, earlier.is_none()) } else { None };
        let ticket = match (fresh, earlier) {
            (Some(fresh), Some(earlier)) => {
                // Only now: at no moment is there none.
                earlier.acknowledge();
                Some(fresh)
            }
            (Some(fresh), None) => {
                self.host.ledger().spooled(self.signal, records);
                Some(fresh)
            }
            (None, earlier) => earlier,
        };
        self.put(Some(body), records, ticket);
    }

    /// Takes in what another process left on disk: it moves to our own files, as far as there is
    /// room, and is its own no more.
    pub(super) fn recover(&self, ticket: Ticket, records: u64) {
        self.host.ledger().recovered(self.signal, records);
        let moved = ticket.read().filter(|_| !ticket.is_expired());
        let moved = moved.and_then(|body| self.to_disk(Entry { payload: &body, records, written: ticket.written() }, true));
        let ticket = match moved {
            Some(moved) => {
                ticket.acknowledge();
                moved
            }
            None => ticket,
        };
        self.put(None, records, Some(ticket));
    }

    /// Takes in what is on disk and nowhere else: a record for which there was no room on its way
    /// here.
    pub(super) fn take_spooled(&self, ticket: Ticket, records: u64) {
        self.put(None, records, Some(ticket));
    }

    /// Writes a first form of a request to disk, ahead of the request itself.
    pub(super) fn write_ahead(&self, body: &[u8], records: u64) -> Option<Ticket> {
        self.to_disk(Entry { payload: body, records, written: Moment::now() }, true)
    }

    /// It has half of what its queue holds, and sends. (When it cannot, the oldest makes room for
    /// the newest.)
    pub(super) fn is_full(&self) -> bool {
        self.queue.borrow().bytes() > queue_limit(self.signal) / 2 && !self.backoff.borrow().is_in_trouble()
    }

    pub(super) fn next_sequence(&self) -> u64 {
        self.queue.borrow().next_sequence()
    }

    /// Records submitted before `sequence` that are still here: all, and those in memory only.
    pub(super) fn waiting(&self, sequence: u64) -> (u64, u64) {
        let queue = self.queue.borrow();
        let (all, memory) = queue.waiting(sequence);
        let accounted = self.accounted.get();
        (all.saturating_sub(accounted), if queue.in_hand_is_on_disk() { memory } else { memory.saturating_sub(accounted) })
    }

    /// The end: what is not on disk goes there if it can, or is lost. Returns how much.
    pub(super) fn give_up(&self) -> u64 {
        if self.accounted.get() == 0 {
            self.queue.borrow_mut().put_back();
        }
        self.spool_all(true);
        let mut lost = 0;
        let mut accounted = self.accounted.take();
        for parcel in self.queue.borrow_mut().drain() {
            let known = accounted.min(parcel.records);
            accounted -= known;
            match parcel.ticket {
                // Parts of a load go in order, so these are the parcels that were accounted for.
                Some(ticket) if known == parcel.records => ticket.acknowledge(),
                // What is on disk is the next process's.
                Some(_) => {}
                None => {
                    self.host.ledger().lost(self.signal, LossReason::Shutdown, parcel.records - known);
                    lost += parcel.records - known;
                }
            }
        }
        lost
    }

    /// Sends what is in the queue, for ever.
    pub(super) async fn run(&self) {
        let mut transport = None;
        loop {
            let Some(load) = self.take() else {
                self.health.is_idle(self.signal);
                self.filled.notified().await;
                continue;
            };
            match self.deliver(&mut transport, load).await {
                Outcome::Done => {
                    self.accounted.set(0);
                    let done = self.queue.borrow_mut().finish();
                    done.into_iter().filter_map(|parcel| parcel.ticket).for_each(Ticket::acknowledge);
                    self.progress.notify_one();
                }
                Outcome::Again => {}
            }
        }
    }

    /// What was under way is to be sent again, but for what is accounted for.
    pub(super) fn put_back(&self) {
        if self.accounted.get() > 0 {
            self.abandon_load();
        }
        self.queue.borrow_mut().put_back();
    }

    /// After a fault of ours: what was in hand is lost, lest it be met again.
    pub(super) fn abandon_load(&self) {
        let mut accounted = self.accounted.take();
        for mut parcel in self.queue.borrow_mut().finish() {
            let known = accounted.min(parcel.records);
            (accounted, parcel.records) = (accounted - known, parcel.records - known);
            self.lose(parcel, LossReason::InternalError);
        }
        self.progress.notify_one();
    }

    fn put(&self, body: Option<Bytes>, records: u64, ticket: Option<Ticket>) {
        for evicted in self.queue.borrow_mut().push(body, records, ticket) {
            self.host.ledger().lost(self.signal, LossReason::QueueOverflow, evicted.records);
        }
        self.filled.notify_one();
    }

    /// Makes room on disk if it is `worth` it, oldest first, and writes.
    fn to_disk(&self, entry: Entry<'_>, worth: bool) -> Option<Ticket> {
        let mut chain = self.chain.as_ref()?.try_borrow_mut().ok()?;
        while !chain.has_room(entry.payload.len()) {
            chain.seal_if_idle();
            if chain.has_room(entry.payload.len()) {
                break;
            }
            let evicted = if worth { self.queue.borrow_mut().evict_from_disk() } else { Vec::new() };
            if evicted.is_empty() {
                return None;
            }
            evicted.into_iter().for_each(|parcel| self.lose(parcel, LossReason::SpoolOverflow));
        }
        chain.append(entry)
    }

    /// Everything that waits in memory goes to disk, as far as there is room; `worth`: and the
    /// oldest makes some.
    fn spool_all(&self, worth: bool) {
        if self.chain.is_none() {
            return;
        }
        let mut from = 0;
        loop {
            let Some((sequence, body, records)) = self.queue.borrow().in_memory(from) else { return };
            let Some(ticket) = self.to_disk(Entry { payload: &body, records, written: Moment::now() }, worth) else { return };
            self.host.ledger().spooled(self.signal, records);
            if let Err(ticket) = self.queue.borrow_mut().is_on_disk(sequence, ticket) {
                self.host.ledger().unspooled(self.signal, records);
                ticket.acknowledge();
            }
            from = sequence + 1;
        }
    }

    fn take(&self) -> Option<Load> {
        let gone = |parcel: Parcel, why| {
            let on_disk = parcel.ticket.is_some();
            self.lose(
                parcel,
                match why {
                    Gone::Damaged => LossReason::Damaged,
                    Gone::Expired if on_disk => LossReason::Expired,
                    Gone::Expired => LossReason::NetworkError,
                },
            );
            self.progress.notify_one();
        };
        self.queue.borrow_mut().take(gone)
    }

    fn lose(&self, parcel: Parcel, reason: LossReason) {
        if let Some(ticket) = parcel.ticket {
            self.host.ledger().unspooled(self.signal, parcel.records);
            ticket.acknowledge();
        }
        self.host.ledger().lost(self.signal, reason, parcel.records);
    }

    /// Sends a load: whole, or in parts if that is what it takes.
    async fn deliver(&self, transport: &mut Option<Transport>, load: Load) -> Outcome {
        let on_disk = load.on_disk;
        // A request that is refused for what is in it is divided until only the culprits are lost, within a bound of time. As long as no part of it was taken the receiver may dislike all there is: then it is not asked for ever, and the next time less patiently.
        let mut refusals = if self.dislikes_all.get() { FEW_REFUSALS } else { MANY_REFUSALS };
        let divides_until = Instant::now() + DIVIDING;
        let (mut pieces, mut whole, mut some_delivered) = (vec![load.piece], true, false);
        while let Some(piece) = pieces.pop() {
            let began = Instant::now();
            let (after, why, silent, refused) = match self.attempt(transport, &piece).await {
                Ok(rejected) => {
                    some_delivered = true;
                    self.dislikes_all.set(false);
                    self.backoff.borrow_mut().is_accepted();
                    self.account(on_disk, piece.records - rejected, None);
                    self.account(on_disk, rejected, Some(LossReason::Rejected));
                    self.health.is_well(self.signal);
                    continue;
                }
                // What is on disk can wait until somebody has mended what is wrong: a key, an address. Of a part it is known that others of the request were taken.
                Err(Failure::Permanent { why }) if on_disk && (whole || !some_delivered) => (None, why, false, true),
                // The program has been asked for others.
                Err(Failure::Unauthorized { why }) => (None, why, false, true),
                Err(Failure::Permanent { why }) => {
                    self.health.refuses(self.signal, &shown(&self.config.endpoint), &why);
                    self.account(on_disk, piece.records, Some(LossReason::Rejected));
                    continue;
                }
                Err(Failure::Content { why, too_large }) => {
                    let divides = Instant::now() < divides_until && (some_delivered || refusals > 0);
                    match if divides { split(self.signal, &piece) } else { None } {
                        Some([first, second]) => {
                            refusals = refusals.saturating_sub(1);
                            whole = false;
                            pieces.extend([second, first]);
                        }
                        None => {
                            self.health.refuses(self.signal, &shown(&self.config.endpoint), &why);
                            self.account(on_disk, piece.records, Some(if too_large { LossReason::TooLarge } else { LossReason::Rejected }));
                        }
                    }
                    continue;
                }
                Err(Failure::Retry { after, why }) => (after, why, false, false),
                Err(Failure::RetryThenContent { why }) => (None, why, false, false),
                Err(Failure::Silent { why }) => (None, why, true, false),
            };
            if refused {
                self.health.refuses(self.signal, &shown(&self.config.endpoint), &why);
            } else {
                self.complain(&why);
            }
            match (whole, refused) {
                (true, true) => self.queue.borrow_mut().put_last(),
                (true, false) => self.queue.borrow_mut().put_back(),
                (false, _) => {}
            }
            if self.backoff.borrow_mut().failed(silent) {
                self.spool_all(false);
            }
            let pause = {
                let mut backoff = self.backoff.borrow_mut();
                if refused { backoff.refused() } else { backoff.pause(began, after) }
            };
            tokio::time::sleep(pause).await;
            if whole {
                return Outcome::Again;
            }
            pieces.push(piece);
            if self.queue.borrow().in_hand_is_expired() {
                let left = pieces.drain(..).map(|piece| piece.records).sum();
                self.account(on_disk, left, Some(if on_disk { LossReason::Expired } else { LossReason::NetworkError }));
            }
        }
        if !whole && !some_delivered {
            self.dislikes_all.set(true);
        }
        Outcome::Done
    }

    /// One request. Returns how many of its records were refused.
    async fn attempt(&self, transport: &mut Option<Transport>, piece: &Piece) -> Result<u64, Failure> {
        if piece.body.len() > MAX_REQUEST {
            return Err(Failure::Content {
                why: format!("a request of {} bytes is more than OTLP allows", piece.body.len()),
                too_large: true,
            });
        }
        let transport = match transport {
            Some(transport) => transport,
            // It is tried again: a machine that is out of file descriptors recovers, and what is on disk waits for a better configuration.
            None => transport.insert(Transport::new(&self.config, self.signal).map_err(|why| Failure::Retry { after: None, why })?),
        };
        step("lane::attempt");
        let limit = self.backoff.borrow_mut().limit(self.config.timeout);
        let asked = match &self.config.credentials {
            Some(credentials) => {
                let current = tokio::time::timeout(limit.unwrap_or(ASKING), credentials.current()).await;
                let current = current.unwrap_or_else(|_| Err("the program's header provider does not answer".to_owned()));
                Some((credentials, current.map_err(|why| Failure::Retry { after: None, why })?))
            }
            None => None,
        };
        let headers = asked.as_ref().map(|(_, answer)| answer.headers.clone()).unwrap_or_default();
        let outcome = match transport.prepare(piece.body.clone()) {
            Ok(prepared) => transport.send(prepared, limit, headers).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Err(Failure::Unauthorized { why }) => {
                self.answered();
                let Some((credentials, answer)) = asked else { return Err(Failure::Permanent { why }) };
                credentials.refused(&answer);
                Err(Failure::Unauthorized { why })
            }
            Ok(accepted) => {
                self.answered();
                let rejected = accepted.rejected.min(piece.records);
                if rejected > 0 || !accepted.message.is_empty() {
                    self.health.remarks(self.signal, &shown(&self.config.endpoint), rejected > 0, &accepted.message);
                }
                Ok(rejected)
            }
            Err(Failure::RetryThenContent { why }) if self.tried_again.replace(true) => {
                self.answered();
                Err(Failure::Content { why, too_large: true })
            }
            Err(failure @ (Failure::Permanent { .. } | Failure::Content { .. })) => {
                self.answered();
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The receiver is there, whatever it said.
    fn answered(&self) {
        self.tried_again.set(false);
        self.backoff.borrow_mut().reset();
    }

    /// Enters a part of the load in hand into the ledger: delivered, or lost for a reason.
    fn account(&self, on_disk: bool, records: u64, lost: Option<LossReason>) {
        let ledger = &self.host.ledger();
        if on_disk {
            ledger.unspooled(self.signal, records);
        }
        match lost {
            None => ledger.delivered(self.signal, records),
            Some(reason) => ledger.lost(self.signal, reason, records),
        }
        self.accounted.set(self.accounted.get() + records);
    }

    fn complain(&self, why: &str) {
        // One word for all signals that cannot get there.
        self.health.fails(self.signal, &origin(&self.config.endpoint), why);
    }
}
