//! What `tracing` calls, on the caller's thread. Comes in: spans and events. Goes out: records,
//! into the trail and the outbox, and exceptions.
//!
//! Steady state allocates nothing; takes no lock that another request holds for more than a
//! pointer's copy; formats only `Debug` and `Display` fields.

mod close;
mod detached;
pub(crate) mod enrich;
mod interest;
#[cfg(feature = "tower")]
mod middleware;
mod open;
mod own;
mod subscriber;
mod user;
mod visit;

use std::sync::Arc;

use tracing_core::{
    Dispatch, Event, Interest, Level, LevelFilter, Metadata, Subscriber,
    span::{Attributes, Id, Record as Values},
};
use tracing_subscriber::layer::{Context, Filter, Layer};

use self::visit::FieldVisitor;
use crate::{
    clock::now,
    exception::{self, Echo},
    ledger::{LossReason, RecordKind},
    scope,
    state::{
        Core, CrumbtrailLayer, SharedSpan, SpanState,
        handle::Handle,
        ids, is_own_thread,
        thread::{self, Closed, Thread},
    },
    trail::{
        callsite::{Callsite, feeds},
        encode::Encoder,
        record::{self, Kind, Record, SpanIds, Value, flag},
    },
};

#[cfg(feature = "tower")]
pub(crate) use self::detached::{Detached, Unregistered};
#[cfg(feature = "tower")]
pub(crate) use self::middleware::{Audience, Recording, open_written, record_number, recording};
#[cfg(feature = "log")]
pub(crate) use self::own::is_unheard;

pub(crate) use self::interest::{ask_everyone, registered};

impl CrumbtrailLayer {
    #[inline]
    fn look_up(&self, metadata: &'static Metadata<'static>) -> (u32, u8) {
        self.core.callsites.get(metadata, || self.core.config.filters.feeds(metadata))
    }

    fn interest(&self, metadata: &'static Metadata<'static>) -> Interest {
        let (_, feeds) = self.look_up(metadata);
        if feeds == 0 && self.narrows { Interest::never() } else { Interest::always() }
    }

    fn state_of(&self, id: &Id) -> Option<SharedSpan> {
        self.core.spans.get(id.into_u64()).map(|handle| handle.state)
    }

    fn event(&self, thread: &Thread, event: &Event<'_>) {
        let core = &self.core;
        let metadata = event.metadata();
        let (callsite, mut feeds) = self.look_up(metadata);
        if feeds == 0 {
            return;
        }
        let time = now();
        core.notice_fork();
        let site = self.looked_at(callsite, feeds);
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::Event, callsite, time, core.config.event_limits).with_scrubber(&core.scrubber);
        let mut visitor = FieldVisitor::new(&mut encoder, &core.scrubber, site.as_deref());
        if feeds & (feeds::EXCEPTION | feeds::BRIDGE) != 0 {
            visitor = visitor.of_exception(&core.literals);
        }
        event.record(&mut visitor);
        #[cfg(feature = "log")]
        if feeds & feeds::BRIDGE != 0 {
            crate::breadcrumb::write_pairs(&mut encoder, &core.scrubber, crate::log_bridge::take_pairs());
        }
        if encoder.failed() {
            thread.return_scratch(buf);
            return self.lost(feeds, LossReason::ScrubberFailed);
        }
        let mut length = encoder.finish();
        if feeds & feeds::BRIDGE != 0 {
            feeds = core.config.filters.feeds_as(bridged_target(&buf, metadata), metadata.level(), false);
        }

        // A parent that nobody has recorded is none: it happens where the thread is.
        let explicit = event.parent().and_then(|id| self.state_of(id));
        let log = feeds & feeds::LOG != 0;
        let raised = thread.instance(core, |instance| {
            instance.let_go_of_closed();
            let state = explicit.as_ref().or_else(|| instance.top());
            record::stamp_ids(&mut buf, SpanIds { parent: 0, ..ids::in_span(core, state.map(|state| &**state)) });
            if feeds & feeds::EXCEPTION != 0 {
                return Some(state.cloned());
            }
            let trail = state.and_then(|state| state.trail());
            if let (Some(site), Some((record, _))) = (site.as_deref().filter(|_| feeds & feeds::SCOPE != 0), Record::split_first(&buf)) {
                scope::take_flag(core, trail, &record, &site.fields);
            }
            if let Some(trail) = trail.filter(|_| feeds & feeds::CRUMB != 0) {
                trail.push(&buf);
            }
            let is_told = feeds & (feeds::LOG | feeds::CRUMB) != 0;
            if let Some(state) = state.filter(|_| self.enriches && is_told && core.config.enrichment.events_on_spans) {
                enrich::add_to_span(state, &buf, core, callsite);
            }
            if log {
                // Warnings are few, and what overload is understood by.
                let is_left_out = || match trail {
                    Some(trail) => trail.left_out().is_set() && instance.is_short_of_room(),
                    None => instance.leaves_out(),
                };
                if metadata.level() > &Level::WARN && is_left_out() {
                    instance.lose(RecordKind::Logs, 1, core);
                    return None;
                }
                if let Some(state) = state.filter(|_| self.enriches && !core.config.enrichment.span_fields.is_empty()) {
                    buf.truncate(length);
                    enrich::add_span_fields(&mut buf, core, state, callsite);
                    length = record::seal(&mut buf);
                }
                if core.config.user_on_logs && !site.as_deref().is_some_and(user::is_named_by) {
                    user::append(&mut buf, length, core, trail);
                }
                instance.push(&buf, RecordKind::Logs, core);
            }
            None
        });
        if let Some(Some(state)) = raised {
            self.raise(thread, state.as_deref(), feeds, &mut buf, length, site.as_deref());
        }
        thread.return_scratch(buf);
    }

    /// An event that is an exception, or tells of one once more.
    #[cold]
    fn raise(&self, thread: &Thread, state: Option<&SpanState>, feeds: u8, buf: &mut Vec<u8>, length: usize, site: Option<&Callsite>) {
        let echo = exception::raise_event(&self.core, state, buf);
        if let Some(echo) = echo.filter(|_| feeds & feeds::LOG != 0) {
            self.log_echo(thread, state, buf, length, site, echo);
        }
        if let Some(trail) = state.and_then(SpanState::trail).filter(|_| feeds & feeds::CRUMB != 0) {
            if let Some(Echo(Some(earlier))) = echo {
                buf.truncate(length);
                record::append_bytes(buf, record::key::ECHO, &earlier.to_bytes());
                record::seal(buf);
            }
            trail.push_quietly(buf);
        }
    }

    /// The callsite itself, where its fields have to be looked at.
    #[inline]
    fn looked_at(&self, callsite: u32, feeds: u8) -> Option<Arc<Callsite>> {
        if feeds & (feeds::SECRET | feeds::SCOPE) == 0 { None } else { self.core.callsites.by_id(callsite) }
    }

    /// An ERROR event is never less than a log: one that tells of an exception once more becomes a
    /// record that names it.
    #[cold]
    fn log_echo(
        &self,
        thread: &Thread,
        state: Option<&SpanState>,
        buf: &mut Vec<u8>,
        length: usize,
        site: Option<&Callsite>,
        Echo(earlier): Echo,
    ) {
        let core = &self.core;
        buf.truncate(length);
        if let Some(earlier) = earlier {
            record::append_str(buf, record::key::NAME, "crumbtrail.error.id");
            record::append_str(buf, record::key::VALUE, &earlier.to_string());
        }
        if let (Some(state), Some((record, _))) =
            (state.filter(|_| !core.config.enrichment.span_fields.is_empty()), Record::split_first(buf))
        {
            let callsite = record.callsite;
            enrich::add_span_fields(buf, core, state, callsite);
        }
        if core.config.user_on_logs && !site.is_some_and(user::is_named_by) {
            user::append_to(buf, core, state.and_then(|state| state.trail()));
        }
        record::seal(buf);
        thread.instance(core, |instance| instance.push(buf, RecordKind::Logs, core));
    }

    fn lost(&self, feeds: u8, reason: LossReason) {
        if feeds & feeds::EXCEPTION != 0 {
            self.core.ledger().dropped(RecordKind::Exceptions, reason, 1);
            self.core.storm.count_other();
        } else if feeds & feeds::LOG != 0 {
            self.core.ledger().dropped(RecordKind::Logs, reason, 1);
        }
    }
}

impl<S: Subscriber> Layer<S> for CrumbtrailLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        self.interest(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if self.narrows { self.core.config.filters.feeds(metadata) != 0 } else { !own::is_unheard(metadata.target()) }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.core.config.filters.max_level_hint().filter(|_| self.narrows)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        self.opened(attributes, id, self.look_up(attributes.metadata()));
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, _: Context<'_, S>) {
        self.recorded(id, values);
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        self.followed(id, follows);
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.happened(event);
    }

    #[inline]
    fn on_enter(&self, id: &Id, _: Context<'_, S>) {
        self.entered(id);
    }

    #[inline]
    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.exited(id);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.closed(&id);
    }

    /// The bridge's answers, where span extensions are on.
    // SAFETY: the pointers are to this layer and to parts of its core, which it keeps alive.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    #[allow(unsafe_code)]
    unsafe fn downcast_raw(&self, id: std::any::TypeId) -> Option<*const ()> {
        if id == std::any::TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        self.core.other_api.as_ref()?.find(id)
    }

    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.core.unasked.put(dispatch);
        self.core.other_api.iter().for_each(|other| other.registered(dispatch));
    }
}

/// What `tracing` tells, by whatever subscriber.
impl CrumbtrailLayer {
    pub(super) fn opened(&self, attributes: &Attributes<'_>, id: &Id, site: (u32, u8)) {
        // A span that is not recorded passes its enclosing span on to what is in it, as no span would.
        if !self.core.is_closed() || self.core.config.filters.passes_on() {
            if let (Some(other), Some(parent)) = (self.other_api(), attributes.parent()) {
                other.apply(&self.core, parent.into_u64());
            }
            let _ = thread::with(|thread| self.new_span(thread, attributes, id, site));
        }
    }

    pub(super) fn recorded(&self, id: &Id, values: &Values<'_>) {
        let _ = thread::with(|thread| {
            if let Some(Handle { state, own: true }) = self.core.spans.get(id.into_u64()) {
                self.add_fields(thread, &state, values);
            }
        });
    }

    fn add_fields(&self, thread: &Thread, state: &SpanState, values: &Values<'_>) {
        let core = &self.core;
        let site = self.looked_at(state.callsite, state.feeds);
        let mut buf = thread.take_scratch();
        let mut encoder = Encoder::new(&mut buf, Kind::SpanOpen, state.callsite, 0, core.config.span_limits).with_scrubber(&core.scrubber);
        values.record(&mut FieldVisitor::new(&mut encoder, &core.scrubber, site.as_deref()).of_span());
        if encoder.failed() {
            core.fault_of_rule();
            return thread.return_scratch(buf);
        }
        let length = encoder.finish();
        if let Some(trail) = state.trail().filter(|_| state.parent.is_none() && (core.config.user_on_logs || core.config.user_on_spans)) {
            user::set_user_of(trail, &buf, state.feeds, site.as_deref());
        }
        state.append_fields_of(&buf[..length]);
        thread.return_scratch(buf);
    }

    pub(super) fn followed(&self, id: &Id, follows: &Id) {
        thread::at(|_| {
            if let (Some(Handle { state, own: true }), Some(follows)) = (self.core.spans.get(id.into_u64()), self.state_of(follows)) {
                state.link(follows.ids);
            }
        });
    }

    #[inline]
    pub(super) fn happened(&self, event: &Event<'_>) {
        if self.core.is_closed() {
            if event.metadata().level() == &Level::ERROR && !is_own_thread() {
                self.core.lost_after_end();
            }
            return;
        }
        if let Err(closed) = thread::with(|thread| self.event(thread, event)) {
            self.lost_to(&closed, event);
        }
    }

    #[cold]
    fn lost_to(&self, closed: &Closed, event: &Event<'_>) {
        let (_, feeds) = self.look_up(event.metadata());
        match closed {
            Closed::Ours => {}
            Closed::TooDeep => self.lost(feeds, LossReason::Reentrant),
            Closed::Ending => self.lost(feeds, LossReason::ThreadEnding),
        }
    }

    #[inline]
    pub(super) fn entered(&self, id: &Id) {
        if let Some(other) = self.other_api() {
            other.apply(&self.core, id.into_u64());
            other.activate(&self.core, id.into_u64(), None);
        }
        thread::at(|thread| {
            thread.instance(&self.core, |instance| {
                let id = id.into_u64();
                instance.enter(id, || self.core.spans.get(id).map(|handle| handle.state));
                if self.times {
                    instance.begin_busy(id, now());
                }
            });
        });
    }

    #[inline]
    pub(super) fn exited(&self, id: &Id) {
        if let Some(other) = self.other_api() {
            other.deactivate(id.into_u64());
        }
        thread::at(|thread| {
            thread.instance(&self.core, |instance| {
                if self.times {
                    instance.end_busy(id.into_u64(), now());
                }
                instance.exit(id.into_u64());
            });
        });
    }

    pub(super) fn closed(&self, id: &Id) {
        if let Some(other) = self.other_api() {
            other.close(&self.core, id.into_u64());
        }
        // Whatever the thread's state: the id will be another span's.
        let state = match self.core.spans.remove(id.into_u64()) {
            Some(Handle { state, own: true }) => state,
            // It stood for a caller's.
            Some(Handle { state, .. }) if state.tracing_id == id.into_u64() => return self.end_stand_in(id.into_u64(), state),
            Some(Handle { state, .. }) => return self.let_go(state),
            None => return,
        };
        self.end(id.into_u64(), state);
    }

    /// What stood for a span has ended.
    fn end_stand_in(&self, id: u64, state: SharedSpan) {
        state.mark_closed();
        thread::here(&self.core, |instance| {
            instance.forget(id);
            instance.recycle(state);
        });
    }

    /// A span has ended, and is to be exported.
    fn end(&self, id: u64, state: SharedSpan) {
        let parent = state.parent.as_ref().filter(|parent| parent.is_counted()).cloned();
        state.mark_closed();
        let exported = self.core.config.exports_spans && state.current_ids().flags & flag::SAMPLED != 0;
        if thread::at(|thread| self.close(thread, id, state)).is_none() && exported {
            self.core.ledger().dropped(RecordKind::Spans, LossReason::ThreadEnding, 1);
        }
        parent.into_iter().for_each(|parent| self.let_go(parent));
    }
}

/// Our filters as a per-layer filter: for a subscriber with other layers, which must not lose what
/// only they want.
#[derive(Clone)]
pub(crate) struct PerLayerFilter(pub(crate) Arc<Core>);

impl<S> Filter<S> for PerLayerFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // Then the layer is asked, which speaks for the whole subscriber.
        own::is_unheard(metadata.target()) || self.0.config.filters.feeds(metadata) != 0
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if own::is_of_sending(metadata.target()) {
            // By thread.
            return Interest::sometimes();
        }
        if self.0.config.filters.feeds(metadata) == 0 { Interest::never() } else { Interest::always() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.0.config.filters.max_level_hint()
    }
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
