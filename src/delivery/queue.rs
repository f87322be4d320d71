//! One lane's parcels, oldest first, but that a refused one goes to the end. Those in front may be
//! in hand: on their way to the receiver right now.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{otlp::split::Piece, spool::Ticket};

/// A request is sent before it grows beyond this, encoded: receivers' limits begin at 4 MiB,
/// backends' at 1 MiB.
pub(crate) const MAX_BYTES: usize = 1_000_000;

/// Bytes of requests that are on disk, too, kept in memory at most.
const MAX_SPOOLED: usize = 2 << 20;

/// An encoded request waiting for delivery.
pub(super) struct Parcel {
    /// `None`: on disk only.
    body: Option<Bytes>,
    /// Of the body, wherever it is.
    bytes: usize,
    pub(super) records: u64,
    since: Instant,
    pub(super) ticket: Option<Ticket>,
    /// Its place in the order of submission.
    sequence: u64,
    /// It was refused for no reason that can be told: it goes alone, so that it takes nothing else
    /// with it.
    alone: bool,
}

/// What goes out in one request: the parcels in hand, joined. (Concatenated protobuf messages are
/// one message with the repeated fields of all.)
pub(super) struct Load {
    pub(super) piece: Piece,
    pub(super) on_disk: bool,
}

/// Why a parcel leaves the queue without having been sent.
pub(super) enum Gone {
    Expired,
    Damaged,
}

pub(super) struct Queue {
    parcels: VecDeque<Parcel>,
    in_hand: usize,
    /// Of bodies in memory that are not on disk.
    bytes: usize,
    /// Of bodies in memory that are.
    spooled: usize,
    limit: usize,
    patience: Duration,
    next: u64,
}

impl Queue {
    pub(super) fn new(limit: usize, patience: Duration) -> Self {
        Self { parcels: VecDeque::new(), in_hand: 0, bytes: 0, spooled: 0, limit, patience, next: 0 }
    }

    /// Adds a request. What has no room in memory and no place on disk makes room, oldest first:
    /// the parcels returned.
    pub(super) fn push(&mut self, body: Option<Bytes>, records: u64, ticket: Option<Ticket>) -> Vec<Parcel> {
        let bytes = body.as_ref().map(Bytes::len).or_else(|| Some(ticket.as_ref()?.bytes())).unwrap_or(0);
        let body = body.filter(|_| ticket.is_none() || self.spooled + bytes <= MAX_SPOOLED);
        if body.is_some() {
            *(if ticket.is_some() { &mut self.spooled } else { &mut self.bytes }) += bytes;
        }
        self.parcels.push_back(Parcel { body, bytes, records, since: Instant::now(), ticket, sequence: self.next, alone: false });
        self.next += 1;
        let mut evicted = Vec::new();
        // The newest stays, however large.
        while self.bytes > self.limit {
            let last = self.parcels.len() - 1;
            let Some(oldest) = (self.in_hand..last).find(|index| self.parcels[*index].ticket.is_none()) else { break };
            evicted.extend(self.remove(oldest));
        }
        evicted
    }

    /// Takes out the parcels of the oldest file none of which is in hand: room on disk comes a file
    /// at a time.
    pub(super) fn evict_from_disk(&mut self) -> Vec<Parcel> {
        let file = |parcel: &Parcel| parcel.ticket.as_ref().map(Ticket::file);
        let pinned: Vec<_> = self.parcels.iter().take(self.in_hand).filter_map(file).collect();
        let free = self.parcels.iter().skip(self.in_hand).filter_map(|parcel| Some((parcel.sequence, file(parcel)?)));
        let Some((_, oldest)) = free.filter(|(_, file)| !pinned.contains(file)).min() else {
            return Vec::new();
        };
        let mut evicted = Vec::new();
        let mut index = self.in_hand;
        while let Some(parcel) = self.parcels.get(index) {
            if file(parcel) == Some(oldest) {
                evicted.extend(self.remove(index));
            } else {
                index += 1;
            }
        }
        evicted
    }

    /// Joins parcels from the front into a load. Parcels that are too old or unreadable are handed
    /// to `gone` instead.
    pub(super) fn take(&mut self, mut gone: impl FnMut(Parcel, Gone)) -> Option<Load> {
        let (mut bodies, mut bytes, mut records, mut on_disk, mut alone) = (Vec::new(), 0, 0, false, false);
        while let Some(parcel) = self.parcels.get(self.in_hand) {
            let why = if parcel.is_expired(self.patience) {
                Gone::Expired
            } else if !bodies.is_empty()
                && (alone || parcel.alone || on_disk != parcel.ticket.is_some() || bytes + parcel.bytes > MAX_BYTES)
            {
                break;
            } else if let Some(body) = parcel.body() {
                (on_disk, alone) = (parcel.ticket.is_some(), parcel.alone);
                bytes += body.len();
                records += parcel.records;
                bodies.push(body);
                self.in_hand += 1;
                continue;
            } else {
                Gone::Damaged
            };
            gone(self.remove(self.in_hand)?, why);
        }
        let body = match bodies.len() {
            0 => return None,
            1 => bodies.pop()?,
            _ => bodies.concat().into(),
        };
        Some(Load { piece: Piece { body, records }, on_disk })
    }

    /// The oldest parcel in hand is too old to be tried again.
    pub(super) fn in_hand_is_expired(&self) -> bool {
        self.parcels.front().is_some_and(|parcel| self.in_hand > 0 && parcel.is_expired(self.patience))
    }

    pub(super) fn in_hand_is_on_disk(&self) -> bool {
        self.parcels.front().is_some_and(|parcel| self.in_hand > 0 && parcel.ticket.is_some())
    }

    /// Nothing is in hand any more; what was stays in the queue.
    pub(super) fn put_back(&mut self) {
        self.in_hand = 0;
    }

    /// Nothing is in hand any more; what was is tried again after all others, each by itself.
    pub(super) fn put_last(&mut self) {
        let refused = std::mem::take(&mut self.in_hand);
        self.parcels.iter_mut().take(refused).for_each(|parcel| parcel.alone = true);
        self.parcels.rotate_left(refused);
    }

    /// The parcels in hand are done with.
    pub(super) fn finish(&mut self) -> Vec<Parcel> {
        let done = std::mem::take(&mut self.in_hand);
        (0..done).filter_map(|_| self.remove(0)).collect()
    }

    pub(super) fn drain(&mut self) -> Vec<Parcel> {
        self.in_hand = self.parcels.len();
        self.finish()
    }

    /// The first request from `sequence` on that is neither in hand nor on disk: its number, body
    /// and records.
    pub(super) fn in_memory(&self, sequence: u64) -> Option<(u64, Bytes, u64)> {
        let parcels = self.parcels.iter().skip(self.in_hand).filter(|parcel| parcel.sequence >= sequence && parcel.ticket.is_none());
        let parcel = parcels.min_by_key(|parcel| parcel.sequence)?;
        Some((parcel.sequence, parcel.body.clone()?, parcel.records))
    }

    /// It is on disk now. Gives the ticket back if it is not here any more.
    pub(super) fn is_on_disk(&mut self, sequence: u64, ticket: Ticket) -> Result<(), Ticket> {
        match self.parcels.iter_mut().find(|parcel| parcel.sequence == sequence) {
            Some(parcel) => {
                self.bytes -= parcel.bytes;
                (parcel.ticket, parcel.body) = (Some(ticket), None);
                Ok(())
            }
            None => Err(ticket),
        }
    }

    /// Bytes of requests that are in memory only.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was submitted so far has a lower number than this.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Records submitted before `sequence` that are still here: all, and those in memory only.
    pub(super) fn waiting(&self, sequence: u64) -> (u64, u64) {
        let before = self.parcels.iter().filter(|parcel| parcel.sequence < sequence);
        before
            .fold((0, 0), |(all, memory), parcel| (all + parcel.records, memory + if parcel.ticket.is_none() { parcel.records } else { 0 }))
    }

    fn remove(&mut self, index: usize) -> Option<Parcel> {
        let parcel = self.parcels.remove(index)?;
        if parcel.body.is_some() {
            let line = if parcel.ticket.is_some() { &mut self.spooled } else { &mut self.bytes };
            *line -= parcel.bytes;
        }
        Some(parcel)
    }
}

impl Parcel {
    fn body(&self) -> Option<Bytes> {
        self.body.clone().or_else(|| self.ticket.as_ref()?.read())
    }

    fn is_expired(&self, patience: Duration) -> bool {
        match &self.ticket {
            Some(ticket) => ticket.is_expired(),
            None => self.since.elapsed() > patience,
        }
    }
}
