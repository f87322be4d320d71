//! What `tracing` calls, on the caller's thread. Comes in: spans and events. Goes out: records, into the trail and the outbox, and exceptions.
//!
//! Steady state allocates nothing; takes no lock that another request holds for more than a pointer's copy; formats only `Debug` and `Display` fields.

pub(crate) mod core;
mod current;
#[cfg(feature = "tracing-opentelemetry")]
mod foreign;
mod ids;
mod route;
mod span;
mod spans;
mod visit;

use std::{
    any::Any,
    sync::{Arc, atomic::Ordering},
};

use tracing_core::{
    Event, Interest, LevelFilter, Metadata, Subscriber,
    span::{Attributes, Id, Record as Values},
};
use tracing_subscriber::layer::{Context, Filter, Layer};

use self::{
    core::Core,
    current::{Closed, Instance, Thread},
    spans::Handle,
    visit::FieldVisitor,
};
use crate::{
    AttributeValue, Breadcrumb, User, breadcrumb,
    clock::now,
    exception,
    ledger::{Lost, Signal},
    propagation::{Remote, SpanContext, without_threshold},
    scope,
    trail::{
        Trail,
        callsite::{Callsite, feeds},
        encode::{Encoder, Limits},
        record::{self, Kind, Record, SpanIds, Value, flag},
    },
};

pub use self::route::Route;
#[cfg(feature = "tower")]
pub(crate) use self::spans::Handle as SpanHandle;
pub(crate) use self::{
    current::{current_ids, is_own_thread, mark_own_thread, recent},
    route::Routes,
    span::SpanState,
    visit::guess,
};
#[cfg(feature = "tracing-opentelemetry")]
pub(crate) use self::{
    foreign::{export_span, reparent, root_ids},
    span::append_link,
};

/// The `tracing-subscriber` layer. Made by [`Telemetry::layer`](crate::Telemetry::layer).
///
/// It must see every span of a request to keep the request's trail; do not put a filter on it, set its [routes](Route) instead.
#[derive(Clone)]
pub struct CrumbtrailLayer {
    core: Arc<Core>,
    /// The routes also decide which callsites exist for the whole subscriber. Only when we own the subscriber.
    narrows: bool,
    /// The worker runs as long as there is a layer, even if nobody kept a handle.
    _alive: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for CrumbtrailLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrumbtrailLayer").field("routes", &self.core.routes).finish_non_exhaustive()
    }
}

impl CrumbtrailLayer {
    pub(crate) fn new(core: Arc<Core>, narrows: bool, alive: Arc<dyn Any + Send + Sync>) -> Self {
        if !narrows {
            core.has_company.store(true, Ordering::Relaxed);
        }
        Self { core, narrows, _alive: alive }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    #[inline]
    fn look_up(&self, metadata: &'static Metadata<'static>) -> (u32, u8) {
        self.core.callsites.get(metadata, || self.core.routes.feeds(metadata))
    }

    fn state_of(&self, id: &Id) -> Option<Arc<SpanState>> {
        self.core.spans.get(id.into_u64()).map(|handle| handle.state)
    }

    fn new_span(&self, thread: &Thread, attributes: &Attributes<'_>, id: &Id) {
        let core = &self.core;
        let metadata = attributes.metadata();
        let (callsite, feeds) = self.look_up(metadata);
        let parent = match attributes.parent() {
            Some(explicit) => self.state_of(explicit),
            None if attributes.is_contextual() => thread.current(core),
            None => None,
        };
        let site = self.looked_at(callsite, feeds);
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::SpanOpen, callsite, now(), core.span_limits).with_scrubber(&core.scrubber);
        attributes.record(&mut FieldVisitor::new(&mut encoder, &core.scrubber, site.as_deref()));
        if encoder.failed() {
            // A span without its fields is better than a trace without the span.
            encoder = Encoder::new(&mut buf, Kind::SpanOpen, callsite, now(), core.span_limits);
            core.fault_of_rule();
        }
        let mut length = encoder.finish();

        let handle = if feeds & feeds::SPAN == 0 {
            // Below the spans route: its parent stands for it.
            let Some(parent) = parent else { return thread.return_scratch(buf) };
            record::stamp_ids(&mut buf, parent.ids);
            if let Some(trail) = parent.trail.as_ref().filter(|_| feeds & feeds::CRUMB != 0) {
                trail.push(&buf);
            }
            Handle { state: parent, own: false }
        } else {
            let boundary = feeds & feeds::KIND != 0 && is_boundary(&buf, metadata);
            let (enclosing, parent) = if boundary { (parent, None) } else { (None, parent) };
            let (ids, trail, remote) = match &parent {
                Some(parent) => {
                    (SpanIds { span: ids::span_id(), parent: parent.ids.span, ..parent.ids.inherited() }, parent.trail.clone(), None)
                }
                None => {
                    let remote = Remote::take();
                    #[cfg(feature = "tracing-opentelemetry")]
                    let joined = (remote.span.is_none() && !boundary && attributes.is_contextual() && core.interop.joins_contexts())
                        .then(crate::interop::current_parent)
                        .flatten();
                    #[cfg(not(feature = "tracing-opentelemetry"))]
                    let joined = None;
                    let ids = joined
                        .map_or_else(|| root_ids_after(core, remote.span), |(parent, is_remote)| foreign_ids(core, parent, is_remote));
                    (ids, None, remote.into_carried())
                }
            };
            record::stamp_ids(&mut buf, ids);
            if let Some(enclosing) = &enclosing {
                buf.truncate(length);
                span::append_link(&mut buf, enclosing.ids);
                length = record::seal(&mut buf);
            }
            let is_root = trail.is_none();
            let state = thread.instance(core, |instance| {
                let trail = trail.unwrap_or_else(|| instance.spare_trail(core));
                if let Some((trace_state, baggage)) = remote {
                    trail.set_trace_state(trace_state);
                    trail.scope().change(|data| data.take_baggage(baggage, core));
                }
                if is_root && core.user_on != [false; 2] {
                    tell_scope(&trail, &buf, feeds, site.as_deref());
                }
                if feeds & feeds::CRUMB != 0 {
                    trail.push(&buf);
                }
                let mut state = instance.spare_state();
                if let Some(fresh) = Arc::get_mut(&mut state) {
                    fresh.open(id.into_u64(), ids, (callsite, feeds), parent, trail, &buf[..length]);
                }
                instance.remember(id.into_u64(), &state);
                state
            });
            let Some(state) = state else { return thread.return_scratch(buf) };
            Handle { state, own: true }
        };
        thread.return_scratch(buf);
        core.spans.insert(id.into_u64(), handle);
    }

    fn event(&self, thread: &Thread, event: &Event<'_>) {
        let core = &self.core;
        let metadata = event.metadata();
        let (callsite, mut feeds) = self.look_up(metadata);
        if feeds == 0 {
            return;
        }
        let time = now();
        if core.links.is_silent(time) {
            core.link_here();
        }
        let site = self.looked_at(callsite, feeds);
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::Event, callsite, time, core.event_limits).with_scrubber(&core.scrubber);
        let mut visitor = FieldVisitor::new(&mut encoder, &core.scrubber, site.as_deref());
        if feeds & (feeds::EXCEPTION | feeds::BRIDGE) != 0 {
            visitor = visitor.of_exception(&core.statics);
        }
        event.record(&mut visitor);
        if encoder.failed() {
            thread.return_scratch(buf);
            return self.lost(feeds, Lost::ScrubberFailed);
        }
        let length = encoder.finish();
        if feeds & feeds::BRIDGE != 0 {
            feeds = core.routes.feeds_as(bridged_target(&buf, metadata), metadata.level(), false);
        }

        let explicit = match event.parent() {
            Some(id) => Some(self.state_of(id)),
            None if event.is_contextual() => None,
            None => Some(None),
        };
        let log = feeds & feeds::LOG != 0;
        let raised = thread.instance(core, |instance| {
            let state = match &explicit {
                Some(explicit) => explicit.as_ref(),
                None => instance.current(),
            };
            record::stamp_ids(&mut buf, SpanIds { parent: 0, ..ids_of(core, state) });
            if feeds & feeds::EXCEPTION != 0 {
                return Some(state.cloned());
            }
            let trail = state.and_then(|state| state.trail.as_ref());
            if let (Some(site), Some((record, _))) = (site.as_deref().filter(|_| feeds & feeds::SCOPE != 0), Record::split_first(&buf)) {
                scope::take_flag(core, trail, &record, &site.fields);
            }
            if let Some(trail) = trail.filter(|_| feeds & feeds::CRUMB != 0) {
                trail.push(&buf);
            }
            if log {
                if core.user_on[0] && !site.as_deref().is_some_and(names_user) {
                    append_user(&mut buf, length, core, trail);
                }
                if !instance.push(&buf, core) {
                    core.ledger().dropped(Signal::Logs, Lost::QueueOverflow, 1);
                }
            }
            None
        });
        if let Some(Some(state)) = raised {
            let echo = exception::raise_event(core, state.as_ref(), &buf);
            if let Some(trail) = state.as_ref().and_then(|state| state.trail.as_ref()).filter(|_| feeds & feeds::CRUMB != 0) {
                if let Some(echo) = echo {
                    buf.truncate(length);
                    record::append_bytes(&mut buf, record::key::ECHO, &echo.to_bytes());
                    record::seal(&mut buf);
                }
                trail.push_quietly(&buf);
            }
        }
        thread.return_scratch(buf);
    }

    /// The callsite itself, where its fields have to be looked at.
    #[inline]
    fn looked_at(&self, callsite: u32, feeds: u8) -> Option<Arc<Callsite>> {
        if feeds & (feeds::SECRET | feeds::SCOPE) == 0 { None } else { self.core.callsites.by_id(callsite) }
    }

    fn lost(&self, feeds: u8, reason: Lost) {
        if feeds & feeds::EXCEPTION != 0 {
            self.core.ledger().dropped(Signal::Exceptions, reason, 1);
            self.core.storm.count_other();
        } else if feeds & feeds::LOG != 0 {
            self.core.ledger().dropped(Signal::Logs, reason, 1);
        }
    }

    fn close(&self, thread: &Thread, id: u64, mut state: Arc<SpanState>) {
        let core = &self.core;
        let end = now();
        if core.links.is_silent(end) {
            core.link_here();
        }
        thread.instance(core, |instance| {
            instance.forget(id);
            match self.fate(instance, &state, end) {
                Fate::Exported(flags) => {
                    if let Some(text) = state.trail.as_ref().and_then(|trail| trail.trace_state()) {
                        let text = if flags == 0 { text.to_owned() } else { without_threshold(text) };
                        state.append(|body| record::append_str(body, record::key::TRACE_STATE, &text));
                    }
                    if core.user_on[1] && state.feeds & feeds::SCOPE == 0 {
                        state.append(|body| append_user_to(body, core, state.trail.as_ref()));
                    }
                    SpanState::finish(&mut state, end, flags, |record| instance.push_span(record, core));
                }
                // Whole, should its trace be kept later. Behind the root there is no later.
                Fate::Held => {
                    if let Some(trail) = state.trail.clone().filter(|_| state.parent.is_some()) {
                        let flags = if state.feeds & feeds::CRUMB == 0 { flag::NO_CRUMB } else { 0 };
                        SpanState::finish(&mut state, end, flags, |record| trail.push_quietly(record));
                    }
                    return instance.recycle(state);
                }
                Fate::None => {}
            }
            if let (Some(trail), Some(_)) = (&state.trail, &state.parent)
                && state.feeds & feeds::CRUMB != 0
            {
                trail.push_quietly(&closed_record(&state, end));
            }
            instance.recycle(state);
        });
    }
}

/// What becomes of a span that ends.
enum Fate {
    /// With these flags besides its own.
    Exported(u8),
    /// Its trace may yet be kept.
    Held,
    None,
}

/// The ids of a span that begins a trace here, or continues a caller's.
fn root_ids_after(core: &Core, remote: Option<SpanContext>) -> SpanIds {
    let remote = remote.filter(|_| core.propagators.tell_traces());
    let trace = remote.map_or_else(ids::trace_id, |remote| remote.trace_id());
    let sampled = core.sampler.samples(trace, remote.map(|remote| remote.is_sampled()), &core.remote_budget);
    SpanIds {
        trace,
        span: ids::span_id(),
        parent: remote.map_or(0, |remote| remote.span_id()),
        flags: remote.map_or(flag::RANDOM, |remote| remote.record_flags()) | if sampled { flag::SAMPLED } else { 0 },
    }
}

/// The ids of a span below one that only OpenTelemetry's API knows.
pub(crate) fn foreign_ids(core: &Core, parent: SpanIds, is_remote: bool) -> SpanIds {
    if is_remote {
        return root_ids_after(core, Some(SpanContext::of(parent)));
    }
    SpanIds { span: ids::span_id(), parent: parent.span, ..parent.inherited() }
}

impl CrumbtrailLayer {
    fn fate(&self, instance: &mut Instance, state: &SpanState, end: u64) -> Fate {
        let core = &self.core;
        if !core.exports_spans || core.is_closed() {
            return Fate::None;
        }
        if state.ids.flags & flag::SAMPLED != 0 {
            return Fate::Exported(0);
        }
        let Some(trail) = state.trail.as_ref().filter(|_| core.sampler.may_keep()) else { return Fate::None };
        let is_root = state.parent.is_none();
        if is_root && core.sampler.is_slow(end.saturating_sub(state.started())) {
            instance.keep(trail, flag::KEPT_SLOW, core);
        }
        match trail.kept() {
            0 => Fate::Held,
            kept if is_root && trail.is_cut() => Fate::Exported(kept | flag::CUT_TRAIL),
            kept => Fate::Exported(kept),
        }
    }
}

impl<S: Subscriber> Layer<S> for CrumbtrailLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let (_, feeds) = self.look_up(metadata);
        if feeds == 0 && self.narrows { Interest::never() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        !self.narrows || self.core.routes.feeds(metadata) != 0
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.core.routes.max_level_hint().filter(|_| self.narrows)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        // A span that is not recorded passes its enclosing span on to what is in it, as no span would.
        if !self.core.is_closed() {
            #[cfg(feature = "tracing-opentelemetry")]
            if let Some(parent) = attributes.parent() {
                self.settle(parent.into_u64());
            }
            let _ = current::with(|thread| self.new_span(thread, attributes, id));
        }
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, _: Context<'_, S>) {
        let _ = current::with(|thread| {
            let core = &self.core;
            let Some(Handle { state, own: true }) = core.spans.get(id.into_u64()) else { return };
            let site = self.looked_at(state.callsite, state.feeds);
            let mut buf = thread.take_scratch();
            let mut encoder = Encoder::new(&mut buf, Kind::SpanOpen, state.callsite, 0, core.span_limits).with_scrubber(&core.scrubber);
            values.record(&mut FieldVisitor::new(&mut encoder, &core.scrubber, site.as_deref()));
            if encoder.failed() {
                core.fault_of_rule();
                return thread.return_scratch(buf);
            }
            let length = encoder.finish();
            if let Some(trail) = state.trail.as_ref().filter(|_| state.parent.is_none() && core.user_on != [false; 2]) {
                tell_scope(trail, &buf, state.feeds, site.as_deref());
            }
            state.append_fields_of(&buf[..length]);
            thread.return_scratch(buf);
        });
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        current::at(|_| {
            if let (Some(Handle { state, own: true }), Some(follows)) = (self.core.spans.get(id.into_u64()), self.state_of(follows)) {
                state.link(follows.ids);
            }
        });
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if self.core.is_closed() {
            return;
        }
        let reason = match current::with(|thread| self.event(thread, event)) {
            Ok(()) | Err(Closed::Ours) => return,
            Err(Closed::TooDeep) => Lost::Reentrant,
            Err(Closed::Ending) => Lost::ThreadEnding,
        };
        let (_, feeds) = self.look_up(event.metadata());
        self.lost(feeds, reason);
    }

    /// The bridge's answers, where span extensions are on.
    // SAFETY: the pointers are to this layer and to parts of its core, which it keeps alive.
    #[cfg(feature = "tracing-opentelemetry")]
    #[allow(unsafe_code)]
    unsafe fn downcast_raw(&self, id: std::any::TypeId) -> Option<*const ()> {
        if id == std::any::TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        self.core.bridges.as_ref()?.find(id)
    }

    #[cfg(feature = "tracing-opentelemetry")]
    fn on_register_dispatch(&self, dispatch: &tracing_core::Dispatch) {
        self.core.bridges.iter().for_each(|bridge| bridge.registered(dispatch));
    }

    #[inline]
    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        #[cfg(feature = "tracing-opentelemetry")]
        self.enter_for_others(id.into_u64());
        current::at(|thread| {
            thread.instance(&self.core, |instance| {
                let id = id.into_u64();
                instance.enter(id, || self.core.spans.get(id).map(|handle| handle.state));
            });
        });
    }

    #[inline]
    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        #[cfg(feature = "tracing-opentelemetry")]
        if self.core.interop.context_activation {
            crate::interop::Activation::exit(id.into_u64());
        }
        current::at(|thread| thread.instance(&self.core, |instance| instance.exit(id.into_u64())));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        #[cfg(feature = "tracing-opentelemetry")]
        if let Some((bridge, Handle { state, own: true })) = self.core.bridges.as_ref().zip(self.core.spans.get(id.into_u64())) {
            bridge.close(id.into_u64(), &state);
        }
        // Whatever the thread's state: the id will be another span's.
        let Some(Handle { state, own: true }) = self.core.spans.remove(id.into_u64()) else { return };
        state.mark_closed();
        let exported = self.core.exports_spans && state.current_ids().flags & flag::SAMPLED != 0;
        if current::at(|thread| self.close(thread, id.into_u64(), state)).is_none() && exported {
            self.core.ledger().dropped(Signal::Spans, Lost::ThreadEnding, 1);
        }
    }
}

/// The routes as a per-layer filter: for a subscriber with other layers, which must not lose what only they want.
#[derive(Clone)]
pub(crate) struct RouteFilter(pub(crate) Arc<Core>);

impl<S> Filter<S> for RouteFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.routes.feeds(metadata) != 0
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.0.routes.feeds(metadata) == 0 { Interest::never() } else { Interest::always() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.routes.max_level_hint()
    }
}

/// Spans of `otel.kind` server or consumer begin a trail and a trace of their own.
fn is_boundary(record: &[u8], metadata: &Metadata<'_>) -> bool {
    let Some(field) = metadata.fields().field("otel.kind") else { return false };
    text_of(record, field.index() as u16).is_some_and(|kind| kind.eq_ignore_ascii_case("server") || kind.eq_ignore_ascii_case("consumer"))
}

fn bridged_target<'a>(record: &'a [u8], metadata: &Metadata<'_>) -> &'a str {
    let field = metadata.fields().field("log.target");
    field.and_then(|field| text_of(record, field.index() as u16)).unwrap_or("log")
}

fn text_of(record: &[u8], wanted: u16) -> Option<&str> {
    let (record, _) = Record::split_first(record)?;
    record.fields().find_map(|(key, value)| match value {
        Value::Str(text) | Value::Text(text) if key == wanted => Some(text),
        _ => None,
    })
}

fn closed_record(state: &SpanState, end: u64) -> [u8; record::HEADER_BYTES] {
    record::header_only(Kind::SpanClose, state.callsite, end, state.ids)
}

/// The innermost span entered on this thread, as this layer instance sees it.
pub(crate) fn current_state(core: &Arc<Core>) -> Option<Arc<SpanState>> {
    current::at(|thread| thread.current(core))?
}

/// Keeps a request's spans, those that have ended and those that will, because of an exception in it.
pub(crate) fn keep_failed(core: &Arc<Core>, state: &SpanState) {
    if let Some(trail) = state.trail.as_ref().filter(|_| core.exports_spans && state.ids.flags & flag::SAMPLED == 0) {
        current::at(|thread| thread.instance(core, |instance| instance.keep(trail, flag::KEPT_ERROR, core)));
    }
}

/// The ids that logs and exceptions in a span carry; zeros outside of spans.
#[inline]
pub(crate) fn ids_of(
    #[cfg_attr(not(feature = "tracing-opentelemetry"), expect(unused_variables))] core: &Core,
    state: Option<&Arc<SpanState>>,
) -> SpanIds {
    #[cfg(feature = "tracing-opentelemetry")]
    if core.interop.foreign_context {
        return crate::interop::current_ids().unwrap_or_default();
    }
    state.map(|state| state.current_ids()).unwrap_or_default()
}

/// Adds a breadcrumb to the trail of the current request, if there is one; `of_exception`: its own, which does not count as something that happened since.
pub(crate) fn leave_breadcrumb(core: &Arc<Core>, of_exception: bool, make: impl FnOnce() -> Breadcrumb) {
    if let Some(state) = current_state(core) {
        add_breadcrumb(core, &state, of_exception, make);
    }
}

/// The same to the trail of a span's request.
#[cfg(feature = "tower")]
pub(crate) fn leave_breadcrumb_of(core: &Arc<Core>, state: &SpanState, make: impl FnOnce() -> Breadcrumb) {
    add_breadcrumb(core, state, false, make);
}

fn add_breadcrumb(core: &Core, state: &SpanState, of_exception: bool, make: impl FnOnce() -> Breadcrumb) {
    let Some(trail) = &state.trail else { return };
    let _ = current::with(|thread| {
        // The program's code, which may log: nothing of ours is held.
        let crumb = make();
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::Crumb, record::NO_CALLSITE, now(), Limits::default()).with_scrubber(&core.scrubber);
        encoder.str(record::key::CATEGORY, &crumb.category);
        encoder.str(record::key::MESSAGE, &crumb.message);
        encoder.u64(record::key::LEVEL, breadcrumb::number_of(crumb.level));
        for (key, value) in crumb.data {
            let value = scope::clean_value(&core.scrubber, &key, value);
            write_named(&mut encoder, &core.scrubber.scrub(&key), &value);
        }
        if encoder.failed() {
            core.fault_of_rule();
        } else {
            encoder.finish();
            record::stamp_ids(&mut buf, SpanIds { parent: 0, ..state.ids });
            if of_exception { trail.push_quietly(&buf) } else { trail.push(&buf) }
        }
        thread.return_scratch(buf);
    });
}

/// Adds a number to a span, under one of its callsite's fields. As `Span::record`, for a subscriber that has no other layer.
#[cfg(feature = "tower")]
pub(crate) fn record_number(state: &SpanState, field: u16, value: u64) {
    state.append(|body| record::append_u64(body, field, value));
}

/// Writes a field that no callsite knows. Name and value are clean already.
pub(crate) fn write_named(encoder: &mut Encoder<'_>, name: &str, value: &AttributeValue) {
    encoder.named(name, |encoder, key| match value {
        AttributeValue::Bool(value) => encoder.bool(key, *value),
        AttributeValue::I64(value) => encoder.i64(key, *value),
        AttributeValue::F64(value) => encoder.f64(key, *value),
        AttributeValue::Str(value) => encoder.str(key, value),
        AttributeValue::Array(_) => encoder.str(key, &value.to_string()),
    });
}

/// A root span's fields may say who its request is for. An exception finds them in the span; logs and spans look in the scope.
fn tell_scope(trail: &Trail, record: &[u8], feeds: u8, site: Option<&Callsite>) {
    if let (Some(site), Some((record, _))) = (site.filter(|_| feeds & feeds::SCOPE != 0), Record::split_first(record)) {
        trail.scope().change(|data| data.take_span(&record, &site.fields));
    }
}

/// Adds who a log record is for; `length` is the record's without padding.
#[cold]
fn append_user(buf: &mut Vec<u8>, length: usize, core: &Core, trail: Option<&Arc<Trail>>) {
    buf.truncate(length);
    append_user_to(buf, core, trail);
    record::seal(buf);
}

/// It says itself who it is for.
fn names_user(site: &Callsite) -> bool {
    site.fields.iter().any(|field| scope::is_of_user(field))
}

fn append_user_to(buf: &mut Vec<u8>, core: &Core, trail: Option<&Arc<Trail>>) {
    let of_request = trail.and_then(|trail| trail.scope().get()).filter(|data| data.user.is_some() || data.denies_user());
    let Some(data) = of_request.or_else(|| core.process_scope.get()) else { return };
    for (key, value) in data.user.iter().flat_map(User::attributes) {
        record::append_str(buf, record::key::NAME, key);
        record::append_str(buf, record::key::VALUE, &value.to_string());
    }
}

/// 128 random bits.
pub(crate) fn random_id() -> u128 {
    ids::trace_id()
}

impl Core {
    /// Stops recording. What is in the lanes is still exported.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}
