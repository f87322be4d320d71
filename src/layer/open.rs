//! What becomes of a span that begins: a child is part of its parent's request; a root begins one,
//! with a trail of its own, continues a caller's, or is left out for want of room. Comes in: its
//! attributes. Goes out: its state, for whoever finds it by its id.

use tracing_core::{
    Metadata,
    span::{Attributes, Id},
};

use super::{text_of, user, visit::FieldVisitor};
use crate::{
    AttributeValue,
    clock::now,
    exception::SERVER_TARGET,
    propagation::{Baggage, Remote},
    scope,
    state::{
        Core, CrumbtrailLayer, SharedSpan,
        handle::Handle,
        ids, span,
        thread::{DETACHED, Thread},
    },
    trail::{
        Trail,
        callsite::{Callsite, feeds},
        encode::Encoder,
        record::{self, Kind, SpanIds, flag},
    },
};

impl CrumbtrailLayer {
    /// A span is opened: its state is found by its id from now on.
    pub(super) fn new_span(&self, thread: &Thread, attributes: &Attributes<'_>, id: &Id, site: (u32, u8)) {
        if let Some(handle) = self.open_state(thread, attributes, id.into_u64(), site) {
            self.core.spans.insert(id.into_u64(), handle);
        }
    }

    /// What a span that is opened gets: a record, a state, and a trail if it is a root. `id`:
    /// [`DETACHED`] where the subscriber does not know it.
    pub(super) fn open_state(&self, thread: &Thread, attributes: &Attributes<'_>, id: u64, (callsite, feeds): (u32, u8)) -> Option<Handle> {
        let core = &self.core;
        let metadata = attributes.metadata();
        let parent = match attributes.parent() {
            Some(explicit) => self.state_of(explicit),
            None if attributes.is_contextual() => thread.current(core),
            None => None,
        };
        let site = self.looked_at(callsite, feeds);
        let (mut buf, mut length) = self.open_record(thread, attributes, (callsite, feeds), site.as_deref());
        let boundary = feeds & feeds::KIND != 0 && is_boundary(&buf, metadata);
        let handle = if feeds & feeds::SPAN == 0 {
            // Below the spans filter: its parent stands for it, here or elsewhere; or what is made to.
            parent.iter().for_each(|parent| parent.hold_open());
            let Some(parent) = parent.or_else(|| self.stand_in(thread, id, boundary, metadata)) else {
                thread.return_scratch(buf);
                return None;
            };
            record::stamp_ids(&mut buf, parent.ids);
            if let Some(trail) = parent.trail().filter(|_| feeds & feeds::CRUMB != 0) {
                trail.push(&buf);
            }
            Handle { state: parent, own: false }
        } else {
            let (enclosing, parent) = if boundary { (parent, None) } else { (None, parent) };
            let SpanStart { ids, left_out, carried } = match &parent {
                Some(parent) => SpanStart { ids: ids::of_child(parent.ids), left_out: None, carried: None },
                None => self.begin(thread, attributes, boundary),
            };
            record::stamp_ids(&mut buf, ids);
            if let Some(enclosing) = &enclosing {
                buf.truncate(length);
                span::append_link(&mut buf, enclosing.ids);
                length = record::seal(&mut buf);
            }
            let state = thread.instance(core, |instance| {
                let trail = match &parent {
                    Some(parent) => parent.trail_for_child(),
                    None => Some(instance.spare_trail(core)),
                };
                let mut state = instance.spare_state();
                if let Some(fresh) = SharedSpan::get_mut(&mut state) {
                    fresh.open(id, ids, (callsite, feeds), parent, trail, &buf[..length]);
                }
                let trail = state.trail()?;
                if let Some(was_sampled) = left_out {
                    trail.left_out().set(was_sampled);
                }
                if let Some(carried) = carried {
                    carried.hand_to(trail);
                }
                if state.parent.is_none() && (core.config.user_on_logs || core.config.user_on_spans) {
                    user::set_user_of(trail, &buf, feeds, site.as_deref());
                }
                if feeds & feeds::CRUMB != 0 {
                    trail.push(&buf);
                }
                if id != DETACHED {
                    instance.remember(id, &state);
                }
                Some(state)
            });
            let Some(state) = state.flatten() else {
                thread.return_scratch(buf);
                return None;
            };
            state.parent.iter().for_each(|parent| parent.hold_open());
            Handle { state, own: true }
        };
        thread.return_scratch(buf);
        Some(handle)
    }

    /// Stands for the span of a request that is filtered out: it has the request's trail, and what
    /// is in it goes on with the caller's trace, or with one of its own. It is no span of ours, and
    /// is never exported.
    fn stand_in(&self, thread: &Thread, id: u64, is_request: bool, metadata: &Metadata<'_>) -> Option<SharedSpan> {
        let core = &self.core;
        let remote = Remote::take();
        let caller = remote.span.filter(|_| core.config.propagators.carries_traces());
        let ids = match caller {
            Some(caller) => SpanIds { span: caller.span_id(), parent: 0, ..ids::of_root(core, caller.into()) },
            None if is_request && !core.is_closed() => ids::of_root(core, None),
            None => return None,
        };
        let carried = Carried::of(remote, core);
        thread.instance(core, |instance| {
            let trail = instance.spare_trail(core);
            if metadata.target() == SERVER_TARGET {
                trail.mark_served();
            }
            if let Some(carried) = carried {
                carried.hand_to(&trail);
            }
            let mut state = instance.spare_state();
            let header = record::header_only(Kind::SpanOpen, record::NO_CALLSITE, now(), ids);
            SharedSpan::get_mut(&mut state)?.open(id, ids, (record::NO_CALLSITE, 0), None, Some(trail), &header);
            Some(state)
        })?
    }

    /// What the span says of itself, without ids; and how long that is without padding.
    fn open_record(
        &self,
        thread: &Thread,
        attributes: &Attributes<'_>,
        (callsite, feeds): (u32, u8),
        site: Option<&Callsite>,
    ) -> (Vec<u8>, usize) {
        let core = &self.core;
        if feeds & feeds::KIND != 0
            && let Some((mut buf, length)) = thread.take_written()
        {
            record::set_origin(&mut buf, callsite, now());
            return (buf, length);
        }
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::SpanOpen, callsite, now(), core.config.span_limits).with_scrubber(&core.scrubber);
        attributes.record(&mut FieldVisitor::new(&mut encoder, &core.scrubber, site).of_span());
        if encoder.failed() {
            // A span without its fields is better than a trace without the span.
            encoder = Encoder::new(&mut buf, Kind::SpanOpen, callsite, now(), core.config.span_limits);
            core.fault_of_rule();
        }
        let length = encoder.finish();
        (buf, length)
    }

    /// A request begins, here or with who called.
    fn begin(&self, thread: &Thread, attributes: &Attributes<'_>, boundary: bool) -> SpanStart {
        let core = &self.core;
        let remote = Remote::take_or_passing();
        let span = remote.span;
        let joins = span.is_none() && !boundary && attributes.is_contextual();
        let other = self.other_api().filter(|_| joins).and_then(|other| other.parent());
        let ids = match other {
            Some((parent, is_remote)) => ids::below(core, parent, is_remote),
            None => ids::of_root(core, span),
        };
        let carried = Carried::of(remote, core);
        let leaves_out = thread.instance(core, |instance| instance.leaves_out()).unwrap_or_default();
        let left_out = leaves_out.then_some(ids.flags & flag::SAMPLED != 0);
        SpanStart { ids: SpanIds { flags: if leaves_out { ids.flags & !flag::SAMPLED } else { ids.flags }, ..ids }, left_out, carried }
    }
}

/// What is known of a span before it has a state.
struct SpanStart {
    ids: SpanIds,
    /// For a request that is left out: whether it was sampled.
    left_out: Option<bool>,
    carried: Option<Carried>,
}

/// What a caller has sent along.
struct Carried {
    trace_state: String,
    is_debugged: bool,
    baggage: Baggage,
    /// Entries of the baggage.
    tags: Vec<(String, AttributeValue)>,
}

impl Carried {
    /// The program's own rules see what becomes a tag: nothing of ours is held.
    fn of(remote: Remote, core: &Core) -> Option<Self> {
        let (trace_state, is_debugged, baggage) = remote.into_carried()?;
        Some(Self { trace_state, is_debugged, tags: scope::tags_of(&baggage, core), baggage })
    }

    fn hand_to(self, trail: &Trail) {
        trail.set_trace_state(self.trace_state);
        trail.set_debugged(self.is_debugged);
        trail.scope().change(|data| data.take_baggage(self.baggage, self.tags));
    }
}

/// Spans of `otel.kind` server or consumer begin a trail and a trace of their own.
fn is_boundary(record: &[u8], metadata: &Metadata<'_>) -> bool {
    let Some(field) = metadata.fields().field("otel.kind") else { return false };
    text_of(record, field.index() as u16).is_some_and(|kind| kind.eq_ignore_ascii_case("server") || kind.eq_ignore_ascii_case("consumer"))
}
