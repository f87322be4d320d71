//! What becomes of a span that ends: it is exported, held in case its trace is kept, or forgotten.
//! Comes in: the state of a span that has closed. Goes out: its record, to the outbox or the trail.

use std::borrow::Cow;

use super::{enrich, user};
use crate::{
    clock::now,
    ledger::RecordKind,
    propagation::without_threshold,
    state::{
        Core, CrumbtrailLayer, SharedSpan, SpanState,
        thread::{Instance, Thread},
    },
    trail::{
        callsite::feeds,
        record::{self, Kind, flag},
    },
};

/// Of traces that the sampler had left out.
const KEPT: u8 = flag::KEPT_ERROR | flag::KEPT_SLOW;

impl CrumbtrailLayer {
    /// A span has ended; its state is nobody else's to find.
    pub(super) fn close(&self, thread: &Thread, id: u64, mut state: SharedSpan) {
        let core = &self.core;
        let end = now();
        core.notice_fork();
        thread.instance(core, |instance| {
            instance.forget(id);
            if state.parent.is_none() {
                instance.root_ended(end, &state);
            }
            match self.fate(instance, &state, end) {
                Fate::Exported(flags) => {
                    complete(&state, core, flags, end);
                    SpanState::finish(&mut state, end, flags, |record, _| instance.push(record, RecordKind::Spans, core));
                }
                Fate::Held => {
                    complete(&state, core, KEPT, end);
                    let flags = if state.feeds & feeds::CRUMB == 0 { flag::NO_CRUMB } else { 0 };
                    SpanState::finish(&mut state, end, flags, |record, trail| {
                        if let Some(trail) = trail {
                            instance.hold(trail, record, core);
                        }
                    });
                    return instance.recycle(state);
                }
                Fate::None { missing } => instance.lose(RecordKind::Spans, missing, core),
            }
            if let (Some(trail), Some(_)) = (state.trail(), &state.parent)
                && state.feeds & feeds::CRUMB != 0
            {
                trail.push_quietly(&record::header_only(Kind::SpanClose, state.callsite, end, state.ids));
            }
            instance.recycle(state);
        });
    }

    fn fate(&self, instance: &mut Instance, state: &SpanState, end: u64) -> Fate {
        let core = &self.core;
        if !core.config.exports_spans || core.is_closed() {
            return Fate::None { missing: 0 };
        }
        if state.ids.flags & flag::SAMPLED != 0 {
            return Fate::Exported(0);
        }
        let Some(trail) = state.trail() else { return Fate::None { missing: 0 } };
        if !core.config.sampler.may_keep() {
            return Fate::None { missing: trail.left_out().of_one() };
        }
        let is_root = state.parent.is_none();
        if is_root && core.config.sampler.is_slow(end.saturating_sub(state.started())) {
            instance.keep(trail, flag::KEPT_SLOW, core);
        }
        // Behind the root there is no later.
        if is_root && let Some(missing) = trail.finish() {
            return Fate::None { missing };
        }
        match trail.kept() {
            0 => Fate::Held,
            kept if is_root && trail.is_cut() => Fate::Exported(kept | flag::CUT_TRAIL),
            kept => Fate::Exported(kept),
        }
    }
}

/// Adds what is said of a span only when it leaves.
fn complete(state: &SpanState, core: &Core, flags: u8, end: u64) {
    let trail = state.trail();
    if let Some(text) = trail.and_then(|trail| trail.trace_state()) {
        // What is kept, or held to be kept, is so with a probability that nobody knows.
        let text = if flags & KEPT == 0 { Cow::Borrowed(text) } else { Cow::Owned(without_threshold(text)) };
        state.append(|body| record::append_str(body, record::key::TRACE_STATE, &text));
    }
    if core.config.user_on_spans && state.feeds & feeds::SCOPE == 0 {
        state.append(|body| user::append_to(body, core, trail));
    }
    if core.config.enrichment.span_timings {
        enrich::add_timings(state, end);
    }
}

/// What becomes of a span that ends.
enum Fate {
    /// With these flags besides its own.
    Exported(u8),
    /// Its trace may yet be kept: it goes into the trail, whole.
    Held,
    /// Nobody wants it. Where its request was left out for want of room, so many spans are to be
    /// counted.
    None { missing: u64 },
}
