//! Trace and span ids: what a new span is called, and what records in it carry. Random, never zero,
//! from a generator of the thread's own.

use crate::random::{random, random_id};
use crate::{
    propagation::{Passing, SpanContext},
    state::{Core, SpanState},
    trail::record::{SpanIds, flag},
};

/// The ids of a span that begins a trace here, or continues a caller's.
pub(crate) fn of_root(core: &Core, remote: Option<SpanContext>) -> SpanIds {
    let remote = remote.filter(|_| core.config.propagators.carries_traces());
    let trace = remote.map_or_else(random_id, |remote| remote.trace_id());
    let sampled = core.config.sampler.samples(trace, remote.and_then(|remote| remote.decision()), &core.remote_budget);
    SpanIds {
        trace,
        span: random(),
        parent: remote.map_or(0, |remote| remote.span_id()),
        flags: remote.map_or(flag::RANDOM, |remote| remote.record_flags()) | if sampled { flag::SAMPLED } else { 0 },
    }
}

/// The ids of a child of a span here.
#[inline]
pub(crate) fn of_child(parent: SpanIds) -> SpanIds {
    SpanIds { span: random(), parent: parent.span, ..parent.inherited() }
}

/// The ids of a child of a span, here or elsewhere.
pub(crate) fn below(core: &Core, parent: SpanIds, is_remote: bool) -> SpanIds {
    if is_remote { of_root(core, Some(SpanContext::of(parent))) } else { of_child(parent) }
}

/// The ids that logs and exceptions in a span carry; zeros outside of spans.
#[inline]
pub(crate) fn in_span(core: &Core, state: Option<&SpanState>) -> SpanIds {
    if let Some(other) = core.owner_of_traces() {
        return other.current_ids();
    }
    match state {
        Some(state) => state.current_ids(),
        None => of_caller(core),
    }
}

/// Outside of spans of ours: the caller's, if somebody is being served.
#[cold]
fn of_caller(core: &Core) -> SpanIds {
    let caller = Passing::current().and_then(|passing| passing.span()).filter(|_| core.config.propagators.carries_traces());
    caller.map_or_else(SpanIds::default, |caller| SpanIds {
        trace: caller.trace_id(),
        span: caller.span_id(),
        parent: 0,
        flags: if caller.is_sampled() { flag::SAMPLED } else { 0 },
    })
}
