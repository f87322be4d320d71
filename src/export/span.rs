//! A finished span's record becomes an OTLP span.

use std::borrow::Cow;

use opentelemetry_proto::tonic::trace::v1::{
    Span, SpanFlags, Status,
    span::{Event, Link, SpanKind},
    status::StatusCode,
};

use super::{
    attributes::{Attributes, replace},
    log::Source,
    span_events::SpanEvents,
    value,
};
use crate::{
    exception::ErrorId,
    trail::{
        callsite::Callsite,
        record::{NO_CALLSITE, Record, Value, flag, key},
    },
};

/// Span events and links of one span at most (`OTEL_SPAN_{EVENT,LINK}_COUNT_LIMIT`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanLimits {
    pub(crate) events: usize,
    pub(crate) links: usize,
}

impl Default for SpanLimits {
    fn default() -> Self {
        Self { events: 128, links: 128 }
    }
}

/// Flags of a record that its span says in words.
pub(super) const MARKS: u8 = flag::KEPT_ERROR | flag::KEPT_SLOW | flag::CUT_TRAIL;

/// Makes the span, in place of whatever `span` was. Returns its scope. `otel.*` fields mean what
/// they mean to `tracing-opentelemetry`.
pub(crate) fn from_record(
    record: &Record<'_>,
    site: &Callsite,
    (limits, span_events): (SpanLimits, &SpanEvents),
    limit: usize,
    attributes: &mut Attributes,
    span: &mut Span,
) -> Cow<'static, str> {
    attributes.give_back(std::mem::take(&mut span.attributes));
    begin(span, record, site.name);
    let mut status = Failure::default();
    for (index, field) in record.fields() {
        match (index, &field) {
            (key::END_TIME, Value::U64(end)) => span.end_time_unix_nano = (*end).max(record.time),
            (key::DROPPED, Value::U64(count)) => {
                span.dropped_attributes_count = span.dropped_attributes_count.saturating_add(u32::try_from(*count).unwrap_or(u32::MAX));
            }
            (key::DROPPED_LINKS, Value::U64(count)) => span.dropped_links_count += u32::try_from(*count).unwrap_or(u32::MAX / 2),
            (key::DROPPED_EVENTS, Value::U64(count)) => span.dropped_events_count += u32::try_from(*count).unwrap_or(u32::MAX / 2),
            (key::LINK, Value::Bytes(bytes)) if bytes.len() >= 24 => {
                if span.links.len() < limits.links {
                    span.links.push(link(bytes));
                } else {
                    span.dropped_links_count += 1;
                }
            }
            (key::TRACE_STATE, Value::Str(text)) => replace(&mut span.trace_state, text),
            (key::SPAN_EVENT, Value::Str(text)) => add_event(span, text, limits),
            (key::EXCEPTION, Value::Bytes(mark)) => add_exception(span, mark, limits, span_events),
            (key::ERROR_STATUS, Value::Str(description)) => status.raised = Some((*description).to_owned()),
            (index, field) => {
                if let Some(name) = site.fields.get(usize::from(index))
                    && !take_special(span, &mut status, name, field)
                {
                    attributes.set(name, field);
                }
            }
        }
    }
    for (name, value) in record.named() {
        if !take_special(span, &mut status, name, &value) {
            attributes.set(name, &value);
        }
    }
    let mut source = Source::of(site);
    if record.callsite == NO_CALLSITE {
        replace(&mut span.name, record.text(key::MESSAGE).unwrap_or_default());
        source.target = Cow::Owned(record.text(key::CATEGORY).unwrap_or_default().to_owned());
    }
    source.describe(attributes);
    let kept = match record.ids.flags {
        flags if flags & flag::KEPT_ERROR != 0 => Some("error"),
        flags if flags & flag::KEPT_SLOW != 0 => Some("slow"),
        _ => None,
    };
    let marks = [
        (super::common::TRUNCATED, record.truncated().then_some(Value::Bool(true))),
        ("crumbtrail.kept", kept.map(Value::Str)),
        ("crumbtrail.trail.truncated", (record.ids.flags & flag::CUT_TRAIL != 0).then_some(Value::Bool(true))),
    ];
    // They count, and stay.
    let marked = marks.iter().filter(|(_, value)| value.is_some()).count();
    span.dropped_attributes_count = span.dropped_attributes_count.saturating_add(attributes.limit(limit.saturating_sub(marked)));
    for (key, value) in marks {
        value.iter().for_each(|value| attributes.add(key, value));
    }
    span.attributes = attributes.take();
    span.status = status.into_status();
    source.target
}

/// What is in the record's head, and nothing else.
fn begin(span: &mut Span, record: &Record<'_>, name: &str) {
    super::common::write_ids(record.ids, &mut span.trace_id, &mut span.span_id);
    span.parent_span_id.clear();
    if record.ids.parent != 0 {
        span.parent_span_id.extend_from_slice(&record.ids.parent.to_be_bytes());
    }
    replace(&mut span.name, name);
    span.trace_state.clear();
    span.events.clear();
    span.links.clear();
    (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count) = (0, 0, 0);
    (span.flags, span.kind) = (flags(record.ids.flags), SpanKind::Internal as i32);
    (span.start_time_unix_nano, span.end_time_unix_nano) = (record.time, record.time);
}

/// What a span's status comes from: the program's word first, then an exception in it.
#[derive(Default)]
struct Failure {
    code: Option<StatusCode>,
    message: Option<String>,
    raised: Option<String>,
}

impl Failure {
    fn into_status(self) -> Option<Status> {
        let code = self.code.or(self.message.as_ref().or(self.raised.as_ref()).map(|_| StatusCode::Error))?;
        // A description is valid only with Error (OpenTelemetry trace API, "Set Status").
        let message = if code == StatusCode::Error { self.message.or(self.raised).unwrap_or_default() } else { String::new() };
        Some(Status { code: code as i32, message })
    }
}

fn take_special(span: &mut Span, status: &mut Failure, name: &str, field: &Value<'_>) -> bool {
    let (Some(name), Value::Str(text) | Value::Text(text)) = (name.strip_prefix("otel."), field) else { return false };
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    match name {
        "name" => replace(&mut span.name, text),
        "kind" => span.kind = kind(text) as i32,
        "status_code" if is("ok") => status.code = Some(StatusCode::Ok),
        // What is said to be well stays so (trace API, "Set Status").
        "status_code" if is("error") && status.code != Some(StatusCode::Ok) => status.code = Some(StatusCode::Error),
        "status_code" => {}
        // Both names are in use with tracing-opentelemetry.
        "status_message" | "status_description" => status.message = Some((*text).to_owned()),
        _ => return false,
    }
    true
}

/// What `otel.kind` says.
pub(super) fn kind(text: &str) -> SpanKind {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    match () {
        () if is("server") => SpanKind::Server,
        () if is("client") => SpanKind::Client,
        () if is("producer") => SpanKind::Producer,
        () if is("consumer") => SpanKind::Consumer,
        () => SpanKind::Internal,
    }
}

fn add_exception(span: &mut Span, mark: &[u8], limits: SpanLimits, span_events: &SpanEvents) {
    let Some((id, time)) = mark.split_first_chunk::<16>() else { return };
    let time = time.try_into().map(u64::from_le_bytes).unwrap_or_default();
    let Some(attributes) = span_events.attributes(ErrorId::from_bytes(*id)) else { return };
    let event = Event { time_unix_nano: time, name: EXCEPTION.to_owned(), attributes, dropped_attributes_count: 0 };
    if span.events.len() < limits.events {
        return span.events.push(event);
    }
    span.dropped_events_count += 1;
    // It matters more than what else has happened.
    if let Some(other) = span.events.iter().rposition(|event| event.name != EXCEPTION) {
        span.events.remove(other);
        span.events.push(event);
    }
}

/// What an exception's event is called (semantic conventions, "Exceptions on spans").
const EXCEPTION: &str = "exception";

/// Ids, flags, and what OpenTelemetry's API says besides, as JSON.
fn link(bytes: &[u8]) -> Link {
    let more: serde_json::Value = bytes.get(25..).and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default();
    Link {
        trace_id: bytes[..16].to_vec(),
        span_id: bytes[16..24].to_vec(),
        trace_state: more["trace_state"].as_str().unwrap_or_default().to_owned(),
        attributes: more["attributes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| value::attribute(key, value::from_json(value)))
            .collect(),
        flags: bytes.get(24).map_or(0, |flags| self::flags(*flags)),
        ..Default::default()
    }
}

/// An event that was added by OpenTelemetry's API.
fn add_event(span: &mut Span, text: &str, limits: SpanLimits) {
    let Ok(event) = serde_json::from_str::<serde_json::Value>(text) else { return span.dropped_events_count += 1 };
    if span.events.len() >= limits.events {
        return span.dropped_events_count += 1;
    }
    let attributes = event["attributes"].as_object().into_iter().flatten();
    span.events.push(Event {
        time_unix_nano: event["time"].as_u64().unwrap_or_default(),
        name: event["name"].as_str().unwrap_or_default().to_owned(),
        attributes: attributes.map(|(key, value)| value::attribute(key, value::from_json(value))).collect(),
        dropped_attributes_count: 0,
    });
}

/// A span's flags on the wire.
pub(super) fn flags(flags: u8) -> u32 {
    let mut wire = SpanFlags::ContextHasIsRemoteMask as u32 | super::common::trace_flags(flags);
    if flags & flag::REMOTE_PARENT != 0 {
        wire |= SpanFlags::ContextIsRemoteMask as u32;
    }
    wire
}
