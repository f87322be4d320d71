//! What OpenTelemetry's API asks of the layer.

use std::sync::Arc;

use crate::{
    ledger::RecordKind,
    state::{Core, SharedSpan, SpanState, handle::Handle, ids, thread},
    trail::record::{self, SpanIds, flag},
};

/// Gives a span another parent than `tracing` knows, and so perhaps another trace. What is in it
/// already stays where it was.
pub(crate) fn reparent(core: &Arc<Core>, id: u64, state: &SharedSpan, parent: SpanIds, is_remote: bool) -> SharedSpan {
    let mut under = ids::below(core, parent, is_remote);
    if state.trail().is_some_and(|trail| trail.left_out().is_set()) {
        // That has been decided, and told.
        under.flags &= !flag::SAMPLED;
    }
    let moved = SharedSpan::new(state.moved(SpanIds { span: state.ids.span, ..under }));
    core.spans.replace(id, Handle { state: moved.clone(), own: true });
    // Who has the old one at hand looks the new one up.
    state.mark_closed();
    thread::at(|thread| thread.instance(core, |instance| instance.replace(id, &moved)));
    moved
}

/// Sends the finished record of a span that `tracing` does not know, if its trace is sampled or
/// kept; or holds it with the request, should the trace be kept later.
pub(crate) fn export_span(core: &Arc<Core>, enclosing: Option<&SpanState>, ids: SpanIds, span: &mut [u8]) {
    let of_trace = enclosing.filter(|state| state.ids.trace == ids.trace);
    let kept = if ids.flags & flag::SAMPLED != 0 { flag::SAMPLED } else { of_trace.map_or(0, SpanState::kept) };
    if kept != 0 {
        record::add_flags(span, kept);
        thread::at(|thread| thread.instance(core, |instance| instance.push(span, RecordKind::Spans, core)));
    } else if let Some(trail) = of_trace.and_then(|state| state.trail()) {
        record::add_flags(span, flag::NO_CRUMB);
        thread::at(|thread| {
            thread.instance(core, |instance| {
                if core.config.sampler.may_keep() {
                    instance.hold(trail, span, core);
                } else {
                    instance.lose(RecordKind::Spans, trail.left_out().of_one(), core);
                }
            });
        });
    }
}
