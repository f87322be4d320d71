//! What a thread hands to the worker, and what it leaves out. Comes in: records, and the question
//! whether a request that begins is to be left out. Goes out: records, to the thread's outbox;
//! counts of what is missing.

use std::sync::Arc;

use crate::{
    fork,
    ledger::{LossReason, RecordKind},
    outbox::Producer,
    state::{
        Core,
        thread::{Instance, overload},
    },
    trail::{
        Trail,
        record::{self, Kind, flag, records},
    },
};

impl Instance {
    /// Hands a record to the worker. It is counted if there is no room for it, or no worker any
    /// more.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8], signal: RecordKind, core: &Arc<Core>) {
        if self.outbox.is_none() || self.generation != fork::generation() {
            self.register(core);
        }
        match &mut self.outbox {
            Some(outbox) => outbox.push(record, signal),
            None => core.ledger().dropped(signal, LossReason::QueueOverflow, 1),
        }
    }

    /// Whether a request that begins now is to be left out whole, because more is recorded here
    /// than is sent: one whole request is worth more than parts of two. So are logs outside of
    /// requests, one by one.
    #[inline]
    pub(crate) fn leaves_out(&self) -> bool {
        self.overload.leaves_out(self.level())
    }

    /// Whether anything is left out.
    #[inline]
    pub(crate) fn is_short_of_room(&self) -> bool {
        overload::leaves_some_out(self.level())
    }

    /// How full the outbox is.
    #[inline]
    fn level(&self) -> f32 {
        // A forked child's outbox is still to come; that of its parent is not emptied here.
        self.outbox.as_ref().filter(|_| self.generation == fork::generation()).map_or(0.0, Producer::level)
    }

    /// Counts records of a request that was left out.
    #[inline]
    pub(crate) fn lose(&mut self, signal: RecordKind, count: u64, core: &Core) {
        if count == 0 {
            return;
        }
        match self.outbox.as_ref().filter(|_| self.generation == fork::generation()) {
            Some(outbox) => outbox.lose(signal, LossReason::Overload, count),
            None => core.ledger().dropped(signal, LossReason::Overload, count),
        }
    }

    /// Leaves a span that has ended in its trail, should its trace be kept; or sends it, if it has
    /// been kept just now.
    pub(crate) fn hold(&mut self, trail: &Trail, record: &[u8], core: &Arc<Core>) {
        if trail.hold(record) {
            return;
        }
        if trail.kept() == 0 {
            self.lose(RecordKind::Spans, trail.left_out().of_one(), core);
        } else {
            let mut span = record.to_vec();
            record::add_flags(&mut span, trail.kept());
            self.push(&span, RecordKind::Spans, core);
        }
    }

    /// Keeps the spans of a trace that is not sampled: those that its trail holds go now, others as
    /// they end.
    #[cold]
    pub(crate) fn keep(&mut self, trail: &Trail, why: u8, core: &Arc<Core>) {
        if !trail.keep(why) {
            return;
        }
        for span in records(&trail.read(usize::MAX)).filter(|record| record.kind == Kind::Span) {
            let mut span = span.as_bytes().to_vec();
            record::add_flags(&mut span, why | flag::SAMPLED);
            self.push(&span, RecordKind::Spans, core);
        }
    }

    #[cold]
    fn register(&mut self, core: &Arc<Core>) {
        let link = core.link_here();
        // What a thread of a forked child has put into its outbox before is its parent's, whose worker takes it.
        self.outbox = link.outboxes.register(&link.waker);
        self.generation = fork::generation();
    }
}
