//! Flushes and the shutdown. Comes in: the command, and until when. Goes out: an answer, when all
//! that was recorded before it is delivered or the time is up. What comes meanwhile is not waited
//! for.

use std::{sync::mpsc::SyncSender, time::Instant};

use super::Worker;
use crate::{
    delivery::Watermark,
    state::{Command, Flushed},
};

/// One that waits for its answer.
pub(super) struct Flush {
    pub(super) deadline: Instant,
    /// From when on nothing waits for names, nor for room.
    pub(super) at_once: Instant,
    /// The round of emptying in which all that was recorded before is taken.
    round: u64,
    /// The exceptions that had come by then.
    exceptions: u64,
    /// Up to where, as soon as all that was recorded before is on its way.
    pub(super) watermark: Option<Watermark>,
    reply: SyncSender<Flushed>,
    pub(super) last: bool,
}

impl Worker {
    pub(super) fn command(&mut self, command: Command) {
        let (deadline, reply, last) = match command {
            Command::Flush { deadline, reply } => (deadline, reply, false),
            Command::Shutdown { deadline, reply } => (deadline, reply, true),
        };
        // Names may take most of the time; the rest is for delivery.
        let at_once = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 8 * 7;
        // A round that has begun may have passed what was recorded just now.
        self.begin_round();
        self.flushes.iter_mut().filter(|flush| flush.watermark.is_none()).for_each(|flush| flush.round = self.rounds);
        self.take_records(usize::MAX);
        self.take_exceptions(self.link.express.len());
        self.flushes.push(Flush { deadline, at_once, round: self.rounds, exceptions: self.symbols.come(), watermark: None, reply, last });
        self.make(false);
    }

    /// A flush waits for what was recorded before it to be taken.
    pub(super) fn is_flushing(&self) -> bool {
        self.flushes.iter().any(|flush| flush.watermark.is_none())
    }

    /// Answers the flushes that are done or out of time. `true`: the last one was a shutdown.
    pub(super) fn answer(&mut self) -> bool {
        let now = Instant::now();
        if self.flushes.iter().any(|flush| flush.last && now >= flush.deadline) {
            // What raced the closing is accounted for, too.
            self.take_all();
            self.send_all();
        }
        for index in 0..self.flushes.len() {
            let Flush { watermark: None, at_once, round, exceptions, .. } = self.flushes[index] else { continue };
            if now >= at_once {
                self.take_all();
            }
            let is_taken = self.rounds > round || self.round.is_empty();
            if !self.symbols.waits_for(exceptions) && self.taken.is_empty() && is_taken {
                self.release();
                if !self.taken.is_empty() {
                    continue;
                }
                self.send_all();
                self.flushes[index].watermark = Some(self.delivery.watermark());
            }
        }
        let (delivery, mut ended) = (&self.delivery, false);
        self.flushes.retain(|flush| {
            let Some(waiting) = flush.watermark.map(|watermark| delivery.waiting(&watermark)) else { return true };
            if waiting.all > 0 && now < flush.deadline {
                return true;
            }
            let mut undelivered = waiting.in_memory;
            if flush.last {
                // What can still go to disk does.
                undelivered = delivery.give_up();
                ended = true;
            }
            // Nobody waits any more: fine.
            let _ = flush.reply.try_send(Flushed { undelivered });
            false
        });
        ended
    }

    /// Spans that were held go, but those whose exception still waits.
    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.taken.splice(..0, held);
            self.convert(false);
        }
    }
}
