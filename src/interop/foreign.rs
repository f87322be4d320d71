//! What OpenTelemetry's API asks of the layer.

use std::sync::Arc;

use tracing_core::span::Attributes;

use crate::{
    interop::{self, activation},
    ledger::Signal,
    state::{Core, CrumbtrailLayer, SharedSpan, SpanState, ids, open_spans::Handle, thread},
    trail::record::{self, SpanIds, flag},
};

/// Gives a span another parent than `tracing` knows, and so perhaps another trace. What is in it already stays where it was.
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

/// Sends the finished record of a span that `tracing` does not know, if its trace is sampled or kept; or holds it with the request, should the trace be kept later.
pub(crate) fn export_span(core: &Arc<Core>, enclosing: Option<&SpanState>, ids: SpanIds, span: &mut [u8]) {
    let of_trace = enclosing.filter(|state| state.ids.trace == ids.trace);
    let kept = if ids.flags & flag::SAMPLED != 0 { flag::SAMPLED } else { of_trace.map_or(0, SpanState::kept) };
    if kept != 0 {
        record::add_flags(span, kept);
        thread::at(|thread| thread.instance(core, |instance| instance.push(span, Signal::Spans, core)));
    } else if let Some(trail) = of_trace.and_then(|state| state.trail()) {
        record::add_flags(span, flag::NO_CRUMB);
        thread::at(|thread| {
            thread.instance(core, |instance| {
                if core.sampler.may_keep() {
                    instance.hold(trail, span, core);
                } else {
                    instance.miss(Signal::Spans, trail.left_out().of_one(), core);
                }
            });
        });
    }
}

impl CrumbtrailLayer {
    /// Before a span is entered: what was said of it takes effect, and OpenTelemetry's context follows.
    pub(crate) fn enter_for_others(&self, id: u64) {
        self.settle(id);
        if self.core.interop.context_activation
            && let Some(handle) = self.core.spans.get(id)
        {
            activation::enter(&self.core, id, &handle.state);
        }
    }

    /// Before a span's state goes: what was said of it takes effect, and what was kept of it is let go of.
    pub(crate) fn close_for_others(&self, id: u64) {
        if let Some(bridges) = self.core.bridges.as_ref().filter(|bridges| bridges.have_entries())
            && let Some(Handle { state, own: true }) = self.core.spans.get(id)
        {
            bridges.close(id, &state);
        }
    }

    /// The ids of a root below the span of OpenTelemetry's current context, if there is one.
    pub(crate) fn joined(&self, attributes: &Attributes<'_>) -> Option<SpanIds> {
        let joins = attributes.is_contextual() && self.core.interop.joins_contexts();
        let (parent, is_remote) = joins.then(interop::current_parent).flatten()?;
        Some(ids::below(&self.core, parent, is_remote))
    }

    pub(crate) fn settle(&self, id: u64) {
        if let Some(bridge) = self.core.bridges.as_ref().filter(|bridge| bridge.needs_settling())
            && let Some(handle) = self.core.spans.get(id)
        {
            bridge.settle(id, &handle.state);
        }
    }
}
