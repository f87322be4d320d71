//! Trace and span ids: what a new span is called, and what records in it carry. Random, never zero, from a generator of the thread's own.

use std::cell::RefCell;

use rand::{
    Rng, SeedableRng,
    rngs::{SmallRng, SysRng},
};

use super::{SpanState, core::Core};
use crate::{
    fork,
    propagation::{Passing, SpanContext},
    trail::record::{SpanIds, flag},
};

thread_local! {
    /// And the process it was seeded in: a child would draw the numbers that its parent draws next.
    static RNG: RefCell<Option<(SmallRng, u32)>> = const { RefCell::new(None) };
}

/// The ids of a span that begins a trace here, or continues a caller's.
pub(crate) fn of_root(core: &Core, remote: Option<SpanContext>) -> SpanIds {
    let remote = remote.filter(|_| core.propagators.tell_traces());
    let trace = remote.map_or_else(trace_id, |remote| remote.trace_id());
    let sampled = core.sampler.samples(trace, remote.and_then(|remote| remote.decision()), &core.remote_budget);
    SpanIds {
        trace,
        span: span_id(),
        parent: remote.map_or(0, |remote| remote.span_id()),
        flags: remote.map_or(flag::RANDOM, |remote| remote.record_flags()) | if sampled { flag::SAMPLED } else { 0 },
    }
}

/// The ids of a child of a span here.
#[inline]
pub(super) fn of_child(parent: SpanIds) -> SpanIds {
    SpanIds { span: span_id(), parent: parent.span, ..parent.inherited() }
}

/// The ids of a child of a span, here or elsewhere.
#[cfg(feature = "tracing-opentelemetry")]
pub(crate) fn below(core: &Core, parent: SpanIds, is_remote: bool) -> SpanIds {
    if is_remote { of_root(core, Some(SpanContext::of(parent))) } else { of_child(parent) }
}

/// The ids that logs and exceptions in a span carry; zeros outside of spans.
#[inline]
pub(crate) fn in_span(core: &Core, state: Option<&SpanState>) -> SpanIds {
    #[cfg(feature = "tracing-opentelemetry")]
    if core.interop.foreign_context {
        return crate::interop::current_ids().unwrap_or_default();
    }
    match state {
        Some(state) => state.current_ids(),
        None => of_caller(core),
    }
}

/// Outside of spans of ours: the caller's, if somebody is being served.
#[cold]
fn of_caller(core: &Core) -> SpanIds {
    let caller = Passing::current().and_then(|passing| passing.span()).filter(|_| core.propagators.tell_traces());
    caller.map_or_else(SpanIds::default, |caller| SpanIds {
        trace: caller.trace_id(),
        span: caller.span_id(),
        parent: 0,
        flags: if caller.is_sampled() { flag::SAMPLED } else { 0 },
    })
}

/// A new trace id.
pub(crate) fn trace_id() -> u128 {
    (u128::from(next()) << 64) | u128::from(next())
}

/// A new span id.
fn span_id() -> u64 {
    next()
}

/// 64 random bits, not all zero. Seeded from the system once per thread and process; the 256-bit state keeps two processes apart.
fn next() -> u64 {
    let drawn = RNG.try_with(|rng| {
        let mut rng = rng.try_borrow_mut().ok()?;
        if let Some((rng, generation)) = rng.as_mut()
            && *generation == fork::generation()
        {
            return Some(rng.next_u64());
        }
        let fresh = SmallRng::try_from_rng(&mut SysRng).ok()?;
        Some(rng.insert((fresh, fork::generation())).0.next_u64())
    });
    // A thread that is being torn down has no generator of its own any more; and the system may refuse to seed one.
    let drawn = drawn.ok().flatten().unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1u8));
    drawn.max(1)
}
