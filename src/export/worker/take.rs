//! Taking. Comes in: what the outboxes and the express lane hold. Goes out: records, and exceptions
//! that wait for names.

use super::{MAX_HELD, Worker};
use crate::ledger::RecordKind;

/// Bytes that are taken from an outbox at a time, and in one turn from all: few enough to be in the
/// processor's cache until they are encoded, and no outbox waits until another is empty.
const FROM_ONE: usize = 64 << 10;
const A_TURN: usize = 512 << 10;
/// Exceptions made in one turn at most.
const EXCEPTIONS_A_TURN: usize = 64;

impl Worker {
    /// Takes what is in the outboxes, and a share of the exceptions: more may come faster than they
    /// can be made.
    pub(super) fn drain(&mut self) {
        if self.is_flushing() {
            // A round in which all is taken that was recorded before it is what a flush waits for.
            self.take_records(usize::MAX);
        } else if self.cpu_share.rests_until().is_none() {
            self.take_records(FROM_ONE);
        }
        // Outboxes first, exceptions after: so the exception of a span that has left is already here. (In a storm, of which this takes a share, a span may go without its event; the record comes.)
        self.take_exceptions(EXCEPTIONS_A_TURN);
    }

    pub(super) fn begin_round(&mut self) {
        self.round = self.link.outboxes.all();
        self.rounds += 1;
        self.has_more = false;
    }

    /// Takes so many bytes from each outbox while there is room in the lanes. Otherwise records
    /// wait in their outboxes: a lane that sends must not have to drop what it was given.
    pub(super) fn take_records(&mut self, from_one: usize) {
        if self.round.is_empty() {
            self.begin_round();
        }
        let most = MAX_HELD.min(self.taken.len() + A_TURN);
        while self.taken.len() < most && !self.delivery.is_full() {
            let Some(outbox) = self.round.pop() else { break };
            self.has_more |= self.link.outboxes.take(outbox, from_one, &mut self.taken, &self.link.ledger).is_some();
        }
        if (self.has_more || !self.round.is_empty()) && !self.delivery.is_full() {
            // Not before what was taken has become requests.
            self.link.waker.wake();
        }
    }

    /// At a deadline: takes all there is and makes requests of it, whether the worker should rest,
    /// names are missing, or lanes are full. A part at a time: a copy of all outboxes would be
    /// unbounded memory.
    pub(super) fn take_all(&mut self) {
        self.begin_round();
        while let Some(outbox) = self.round.pop() {
            // No more than it can hold: its thread may go on recording.
            let (mut outbox, mut left) = (Some(outbox), self.link.outboxes.capacity());
            while let Some(from) = outbox.take().filter(|_| left > 0) {
                let before = self.taken.len();
                outbox = self.link.outboxes.take(from, left.min(A_TURN), &mut self.taken, &self.link.ledger);
                left = left.saturating_sub(self.taken.len() - before);
                if self.taken.len() >= A_TURN {
                    self.make_all();
                }
            }
        }
        self.make_all();
        // For what was recorded meanwhile: whoever had more than was taken does not call again.
        self.link.waker.wake();
    }

    fn make_all(&mut self) {
        self.take_exceptions(self.link.express.len());
        self.make(true);
    }

    pub(super) fn take_exceptions(&mut self, exceptions: usize) {
        for _ in 0..exceptions {
            let Some(mut draft) = self.link.express.pop() else { break };
            self.link.ledger.accepted(RecordKind::Exceptions, 1);
            self.write_ahead(&mut draft);
            self.symbols.push(draft);
        }
        while let Some(ticket) = self.link.spooled.pop() {
            self.link.ledger.accepted(RecordKind::Exceptions, 1);
            self.link.ledger.spooled(RecordKind::Exceptions, 1);
            self.delivery.take_spooled(RecordKind::Exceptions, ticket, 1);
        }
        self.make(false);
    }
}
