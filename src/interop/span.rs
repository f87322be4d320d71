//! A span as OpenTelemetry's API sees it: one of `tracing`'s that is there already, or one of its
//! own.

use std::{
    borrow::Cow,
    error::Error,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::api::{
    Array, KeyValue, Value,
    trace::{Event, Link, Span, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use serde_json::{Map, Value as Json, json};

use crate::{
    AttributeValue, breadcrumb,
    clock::now,
    exception::{Mechanism, capture_for, raise_text},
    interop::foreign,
    scope::clean_value,
    state::{Core, SharedSpan, span},
    text::cut,
    trail::{
        encode::{Encoder, Limits},
        record::{self, Kind, NO_CALLSITE, SpanIds, flag, key},
    },
};

/// Implements OpenTelemetry's `Span`. What is set on it goes through the scrubber and the limits of
/// spans; `record_error` makes an exception record.
#[derive(Debug)]
pub struct OtelSpan {
    context: SpanContext,
    of: Of,
}

#[derive(Debug)]
enum Of {
    /// A span of `tracing`, by its id: it may be gone by now.
    Tracing {
        core: Arc<Core>,
        id: u64,
        span: u64,
    },
    Own(Box<Own>),
    None,
}

/// A span that only OpenTelemetry's API knows; written when it ends.
pub(super) struct Own {
    core: Arc<Core>,
    /// The span of `tracing` in which it began.
    enclosing: Option<SharedSpan>,
    ids: SpanIds,
    scope: Arc<str>,
    start: u64,
    name: Cow<'static, str>,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    events: Vec<Event>,
    links: Vec<Link>,
    status: Status,
}

/// Attributes, events and links of one at most.
const MAX_PARTS: usize = 128;
/// Bytes of what is said of a link at most.
const MAX_LINK: usize = 1024;

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Own {
    pub(super) fn new(core: Arc<Core>, enclosing: Option<SharedSpan>, ids: SpanIds, scope: Arc<str>, builder: SpanBuilder) -> Self {
        let cut = |mut parts: Vec<KeyValue>| {
            parts.truncate(MAX_PARTS);
            parts
        };
        Self {
            core,
            enclosing,
            ids,
            scope,
            start: builder.start_time.map_or_else(now, nanos),
            name: builder.name,
            kind: builder.span_kind.unwrap_or(SpanKind::Internal),
            attributes: cut(builder.attributes.unwrap_or_default()),
            events: builder.events.unwrap_or_default().into_iter().take(MAX_PARTS).collect(),
            links: builder.links.unwrap_or_default().into_iter().take(MAX_PARTS).collect(),
            status: Status::Unset,
        }
    }

    /// Its record goes the way of all spans.
    fn end(self, end: u64) {
        let core = &self.core;
        if !core.config.exports_spans || core.is_closed() {
            return;
        }
        let mut buf = Vec::with_capacity(512);
        let mut encoder =
            Encoder::new(&mut buf, Kind::Span, NO_CALLSITE, self.start, core.config.span_limits).with_scrubber(&core.scrubber);
        encoder.str(key::CATEGORY, &self.scope);
        encoder.str(key::MESSAGE, &self.name);
        write_named(&mut encoder, core, "otel.kind", kind_name(&self.kind).into());
        write_status(&mut encoder, core, &self.status);
        for KeyValue { key, value, .. } in self.attributes {
            write_named(&mut encoder, core, key.as_str(), attribute_value(value));
        }
        for event in &self.events {
            encoder.whole(key::SPAN_EVENT, &event_text(core, event));
        }
        if encoder.failed() {
            return core.fault_of_rule();
        }
        let length = encoder.finish();
        buf.truncate(length);
        self.links.iter().for_each(|link| {
            let more = link_text(core, &link.span_context, &link.attributes);
            span::append_link_with(&mut buf, ids_of(&link.span_context), &more);
        });
        record::append_u64(&mut buf, key::END_TIME, end);
        record::seal(&mut buf);
        record::stamp_ids(&mut buf, self.ids);
        foreign::export_span(core, self.enclosing.as_deref(), self.ids, &mut buf);
    }
}

impl OtelSpan {
    pub(super) fn none() -> Self {
        Self { context: SpanContext::empty_context(), of: Of::None }
    }

    /// Stands for a span of `tracing`.
    pub(super) fn of(core: &Arc<Core>, id: u64, ids: SpanIds) -> Self {
        Self { context: context_of(ids, false), of: Of::Tracing { core: core.clone(), id, span: ids.span } }
    }

    pub(super) fn own(own: Own) -> Self {
        Self { context: context_of(own.ids, false), of: Of::Own(Box::new(own)) }
    }

    /// Takes over what was set before the span was started.
    pub(super) fn take(&mut self, builder: SpanBuilder) {
        let attributes = builder.attributes.into_iter().flatten().filter(|attribute| attribute.key.as_str() != super::bridge::MARK);
        self.set_attributes(attributes);
        for link in builder.links.into_iter().flatten() {
            self.add_link(link.span_context, link.attributes);
        }
        for event in builder.events.into_iter().flatten() {
            self.add_event_with_timestamp(event.name, event.timestamp, event.attributes);
        }
    }

    /// Adds fields to a span of `tracing`, if it is still open.
    fn write(&self, write: impl FnOnce(&mut Encoder<'_>, &Core)) {
        let Of::Tracing { core, .. } = &self.of else { return };
        let Some(state) = self.state() else { return };
        let mut buf = Vec::new();
        let mut encoder =
            Encoder::new(&mut buf, Kind::SpanOpen, NO_CALLSITE, 0, Limits { ..core.config.span_limits }).with_scrubber(&core.scrubber);
        write(&mut encoder, core);
        if encoder.failed() {
            return core.fault_of_rule();
        }
        let length = encoder.finish();
        state.append_fields_of(&buf[..length]);
    }

    fn state(&self) -> Option<SharedSpan> {
        let Of::Tracing { core, id, span } = &self.of else { return None };
        core.spans.get(*id).map(|handle| handle.state).filter(|state| state.ids.span == *span)
    }
}

impl Span for OtelSpan {
    fn add_event_with_timestamp<T: Into<Cow<'static, str>>>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>) {
        let event = Event::new(name, timestamp, attributes, 0);
        if event.name == "exception" && self.raise(&event) {
            return;
        }
        match &mut self.of {
            Of::Own(own) if own.events.len() < MAX_PARTS => own.events.push(event),
            Of::Tracing { .. } => self.write(|encoder, core| encoder.whole(key::SPAN_EVENT, &event_text(core, &event))),
            _ => {}
        }
    }

    fn record_error(&mut self, error: &dyn Error) {
        let (core, state) = match &self.of {
            Of::Own(own) => (own.core.clone(), own.enclosing.clone()),
            Of::Tracing { core, .. } => (core.clone(), self.state()),
            Of::None => return,
        };
        capture_for(&core, state, &Shown(error), None);
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        !matches!(self.of, Of::None)
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        match &mut self.of {
            Of::Own(own) => {
                let has_room = own.attributes.len() < MAX_PARTS;
                match own.attributes.iter_mut().find(|known| known.key == attribute.key) {
                    Some(known) => *known = attribute,
                    None if has_room => own.attributes.push(attribute),
                    None => {}
                }
            }
            Of::Tracing { .. } => {
                self.write(|encoder, core| write_named(encoder, core, attribute.key.as_str(), attribute_value(attribute.value)));
            }
            Of::None => {}
        }
    }

    fn set_status(&mut self, status: Status) {
        match &mut self.of {
            // Ok is final (trace API, "Set Status").
            Of::Own(own) if own.status != Status::Ok && status != Status::Unset => own.status = status,
            Of::Tracing { .. } if status != Status::Unset => self.write(|encoder, core| write_status(encoder, core, &status)),
            _ => {}
        }
    }

    fn update_name<T: Into<Cow<'static, str>>>(&mut self, name: T) {
        let name = name.into();
        match &mut self.of {
            Of::Own(own) => own.name = name,
            Of::Tracing { .. } => self.write(|encoder, core| write_named(encoder, core, "otel.name", name.as_ref().into())),
            Of::None => {}
        }
    }

    fn add_link(&mut self, span_context: SpanContext, attributes: Vec<KeyValue>) {
        match &mut self.of {
            Of::Own(own) if own.links.len() < MAX_PARTS => own.links.push(Link::new(span_context, attributes, 0)),
            Of::Tracing { core, .. } => {
                let more = link_text(core, &span_context, &attributes);
                self.state().iter().for_each(|state| state.link_with(ids_of(&span_context), &more));
            }
            _ => {}
        }
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        self.finish(nanos(timestamp));
    }
}

impl OtelSpan {
    /// An event that is an error, as `record_error` has it behind a boxed span: makes the exception
    /// record that carries it.
    fn raise(&self, event: &Event) -> bool {
        let (core, state) = match &self.of {
            Of::Own(own) => (&own.core, own.enclosing.clone()),
            Of::Tracing { core, .. } => (core, self.state()),
            Of::None => return false,
        };
        let attribute = |key: &str| event.attributes.iter().find(|known| known.key.as_str() == key).map(|known| known.value.to_string());
        let Some(message) = attribute("exception.message") else { return false };
        let what = (attribute("exception.type").unwrap_or_default(), message);
        raise_text(core, state.as_deref(), Mechanism::Capture, (&what.0, &what.1), None, None);
        true
    }

    fn finish(&mut self, end: u64) {
        // One of `tracing`'s ends when it closes, whatever is said here.
        if matches!(self.of, Of::Own(_))
            && let Of::Own(own) = std::mem::replace(&mut self.of, Of::None)
        {
            own.end(end);
        }
    }
}

impl Drop for OtelSpan {
    fn drop(&mut self) {
        self.finish(now());
    }
}

/// What is said of a link besides where it leads; empty if nothing is.
fn link_text(core: &Core, context: &SpanContext, attributes: &[KeyValue]) -> String {
    let trace_state = context.trace_state().header();
    if attributes.is_empty() && trace_state.is_empty() {
        return String::new();
    }
    let text = json!({ "trace_state": trace_state, "attributes": attribute_map(core, attributes) }).to_string();
    // A link is worth more than what is said of it.
    if text.len() <= MAX_LINK { text } else { json!({ "trace_state": trace_state, "attributes": {} }).to_string() }
}

/// Clean, and not too many.
fn attribute_map(core: &Core, attributes: &[KeyValue]) -> Map<String, Json> {
    let attributes = attributes.iter().take(MAX_PARTS).map(|KeyValue { key, value, .. }| {
        let value = clean_value(&core.scrubber, key.as_str(), attribute_value(value.clone()));
        (clean_name(core, key.as_str()), value.shortened(core.config.span_limits.value.min(1_024)).to_json())
    });
    attributes.collect()
}

pub(super) fn ids_of(context: &SpanContext) -> SpanIds {
    SpanIds {
        trace: u128::from_be_bytes(context.trace_id().to_bytes()),
        span: u64::from_be_bytes(context.span_id().to_bytes()),
        parent: 0,
        flags: if context.is_sampled() { flag::SAMPLED } else { 0 } | if context.is_remote() { flag::REMOTE_PARENT } else { 0 },
    }
}

/// An error behind `dyn`, of whatever lifetime.
struct Shown<'a>(&'a dyn Error);

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.0, f)
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self.0, f)
    }
}

impl Error for Shown<'_> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

pub(super) fn context_of(ids: SpanIds, is_remote: bool) -> SpanContext {
    let flags = if ids.flags & flag::SAMPLED != 0 { TraceFlags::SAMPLED } else { TraceFlags::default() };
    SpanContext::new(
        TraceId::from_bytes(ids.trace.to_be_bytes()),
        SpanId::from_bytes(ids.span.to_be_bytes()),
        flags,
        is_remote,
        TraceState::default(),
    )
}

fn write_named(encoder: &mut Encoder<'_>, core: &Core, name: &str, value: AttributeValue) {
    let value = clean_value(&core.scrubber, name, value);
    breadcrumb::write_named(encoder, &clean_name(core, name), &value);
}

/// A name may come from data.
fn clean_name(core: &Core, name: &str) -> String {
    cut(&core.scrubber.scrub(name), 256).to_owned()
}

fn write_status(encoder: &mut Encoder<'_>, core: &Core, status: &Status) {
    match status {
        Status::Unset => {}
        Status::Ok => write_named(encoder, core, "otel.status_code", "ok".into()),
        Status::Error { description } => {
            write_named(encoder, core, "otel.status_code", "error".into());
            write_named(encoder, core, "otel.status_message", description.as_ref().into());
        }
    }
}

/// `{"name", "time", "attributes": {…}}`: rare enough to be a text.
fn event_text(core: &Core, event: &Event) -> String {
    let attributes = attribute_map(core, &event.attributes);
    json!({ "name": clean_name(core, &event.name), "time": nanos(event.timestamp), "attributes": attributes }).to_string()
}

fn attribute_value(value: Value) -> AttributeValue {
    match value {
        Value::Bool(value) => value.into(),
        Value::I64(value) => value.into(),
        Value::F64(value) => value.into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(Array::Bool(values)) => AttributeValue::Array(values.into_iter().map(Into::into).collect()),
        Value::Array(Array::I64(values)) => AttributeValue::Array(values.into_iter().map(Into::into).collect()),
        Value::Array(Array::F64(values)) => AttributeValue::Array(values.into_iter().map(Into::into).collect()),
        Value::Array(Array::String(values)) => AttributeValue::Array(values.iter().map(|text| text.as_str().into()).collect()),
        other => AttributeValue::Str(other.to_string()),
    }
}

fn kind_name(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
