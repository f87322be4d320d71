//! Records as most are become OTLP in one go: what is the same of all records of a callsite was
//! encoded once and is copied, the rest is written where it is to stay. What few records have (a
//! list, a link, a status with words) goes [the other way](super::log), by messages; the tests
//! compare the two.

use std::collections::BTreeSet;

use prost::{
    Message as _,
    encoding::{WireType, encode_key},
};

use super::{
    log, span, value,
    wire::{self, any_value, any_value_len, attribute, bytes, bytes_key, fixed32_key, fixed64, fixed64_key, message, varint, varint_key},
};
use crate::trail::{
    callsite::Callsite,
    record::{Kind, Record, SpanIds, Value, key},
};
use opentelemetry_proto::tonic::{logs::v1::LogRecord, trace::v1::span::SpanKind};

/// Where a scope's part of a request has its records, be they logs or spans.
const RECORDS: u8 = bytes_key(2);
const LOG_ATTRIBUTES: u8 = bytes_key(6);
const SPAN_ATTRIBUTES: u8 = bytes_key(9);

/// What the records of a callsite have in common.
pub(super) struct Site {
    /// Its scope's place in the batch.
    pub(super) scope: usize,
    /// A log record's severity and name.
    head: Box<[u8]>,
    /// What a span is called if it does not say so itself.
    name: &'static str,
    /// Where in the source it is, as attributes.
    tail: Box<[u8]>,
    fields: Box<[Field]>,
}

/// What a field of the callsite becomes.
enum Field {
    /// An attribute, of which this is the encoded key.
    Attribute(Box<[u8]>),
    Body,
    SpanName,
    SpanKind,
    /// A span's status.
    Seldom,
}

impl Site {
    /// `None`: its records go the other way, as `limit` may strike some of their attributes, or one
    /// may replace another.
    pub(super) fn new(site: &Callsite, kind: Kind, limit: usize, scope: impl FnOnce(&'static str) -> usize) -> Option<Self> {
        const OF_PLACE: [&str; 2] = ["code.file.path", "code.line.number"];
        // A bit for each in `seen`. Besides them, the place and a mark that the record was cut.
        const MAX_FIELDS: usize = 64;
        if site.is_bridged() || site.fields.len() > MAX_FIELDS || site.fields.len() + OF_PLACE.len() + 1 > limit {
            return None;
        }
        let is_span = kind == Kind::Span;
        let mut keys = BTreeSet::from(OF_PLACE.map(str::to_owned));
        let mut are_distinct = true;
        let mut fields = Vec::with_capacity(site.fields.len());
        for name in &site.fields {
            fields.push(match *name {
                "message" if !is_span => Field::Body,
                "otel.name" if is_span => Field::SpanName,
                "otel.kind" if is_span => Field::SpanKind,
                "otel.status_code" | "otel.status_message" | "otel.status_description" if is_span => Field::Seldom,
                name => {
                    let mut valid = String::new();
                    value::key(&mut valid, name);
                    let mut encoded = Vec::new();
                    bytes(&mut encoded, bytes_key(1), valid.as_bytes());
                    are_distinct &= keys.insert(valid);
                    Field::Attribute(encoded.into())
                }
            });
        }
        let bodies = fields.iter().filter(|field| matches!(field, Field::Body)).count();
        if !are_distinct || bodies > 1 {
            return None;
        }
        let head = if is_span { Vec::new() } else { head_of_log(site) };
        let mut tail = Vec::new();
        let mut place = |name: &str, of_place: Option<Value<'_>>| {
            let mut encoded = Vec::new();
            bytes(&mut encoded, bytes_key(1), name.as_bytes());
            let field = if is_span { SPAN_ATTRIBUTES } else { LOG_ATTRIBUTES };
            of_place.and_then(|of_place| attribute(&mut tail, field, &encoded, &of_place));
        };
        place(OF_PLACE[0], site.file.map(Value::Str));
        place(OF_PLACE[1], site.line.map(|line| Value::U64(line.into())));
        Some(Self { scope: scope(site.target), head: head.into(), name: site.name, tail: tail.into(), fields: fields.into() })
    }
}

fn head_of_log(site: &Callsite) -> Vec<u8> {
    LogRecord {
        severity_number: log::severity(site.level) as i32,
        severity_text: site.level.as_str().to_owned(),
        event_name: site.event_name().unwrap_or_default().to_owned(),
        ..LogRecord::default()
    }
    .encode_to_vec()
}

/// Writes an event's log record. `None`: it is not as most are, and what was written is to go.
pub(super) fn write_log(record: &Record<'_>, site: &Site, observed: u64, out: &mut Vec<u8>) -> Option<()> {
    message(out, RECORDS, |out| {
        fixed64(out, fixed64_key(1), record.time);
        fixed64(out, fixed64_key(11), observed);
        out.extend_from_slice(&site.head);
        write_ids(out, record.ids, [9, 10]);
        let flags = super::common::trace_flags(record.ids.flags);
        if flags != 0 {
            out.push(fixed32_key(8));
            out.extend_from_slice(&flags.to_le_bytes());
        }
        let mut seen = 0_u64;
        for (index, field) in record.fields() {
            match site.fields.get(usize::from(index)) {
                Some(of_site) if seen & (1 << index) == 0 => {
                    seen |= 1 << index;
                    match of_site {
                        Field::Attribute(name) => attribute(out, LOG_ATTRIBUTES, name, &field)?,
                        Field::Body => {
                            out.push(bytes_key(5));
                            varint(out, any_value_len(&field)? as u64);
                            any_value(out, &field);
                        }
                        _ => return None,
                    }
                }
                Some(_) => return None,
                None if matches!(index, key::DROPPED | key::NAME) => return None,
                // For others than us.
                None => {}
            }
        }
        out.extend_from_slice(&site.tail);
        write_truncated(out, LOG_ATTRIBUTES, record)
    })
}

/// Writes a finished span. `None`: it is not as most are, and what was written is to go.
pub(super) fn write_span(record: &Record<'_>, site: &Site, out: &mut Vec<u8>) -> Option<()> {
    if record.ids.flags & span::MARKS != 0 {
        return None;
    }
    message(out, RECORDS, |out| {
        write_ids(out, record.ids, [1, 2]);
        if record.ids.parent != 0 {
            bytes(out, bytes_key(4), &record.ids.parent.to_be_bytes());
        }
        fixed64(out, fixed64_key(7), record.time);
        let (mut name, mut kind, mut end) = (site.name, SpanKind::Internal, record.time);
        let mut seen = 0_u64;
        for (index, field) in record.fields() {
            match (site.fields.get(usize::from(index)), &field) {
                (Some(of_site), _) if seen & (1 << index) == 0 => {
                    seen |= 1 << index;
                    match (of_site, &field) {
                        (Field::Attribute(name), _) => attribute(out, SPAN_ATTRIBUTES, name, &field)?,
                        (Field::SpanName, Value::Str(text) | Value::Text(text)) => name = *text,
                        (Field::SpanKind, Value::Str(text) | Value::Text(text)) => kind = span::kind(text),
                        _ => return None,
                    }
                }
                (None, Value::U64(time)) if index == key::END_TIME => end = (*time).max(record.time),
                _ => return None,
            }
        }
        fixed64(out, fixed64_key(8), end);
        if !name.is_empty() {
            bytes(out, bytes_key(5), name.as_bytes());
        }
        out.push(varint_key(6));
        varint(out, kind as u64);
        encode_key(16, WireType::ThirtyTwoBit, out);
        out.extend_from_slice(&span::flags(record.ids.flags).to_le_bytes());
        out.extend_from_slice(&site.tail);
        write_truncated(out, SPAN_ATTRIBUTES, record)
    })
}

#[inline]
fn write_ids(out: &mut Vec<u8>, ids: SpanIds, [trace, span]: [u8; 2]) {
    if ids.trace != 0 && ids.span != 0 {
        wire::ids(out, (bytes_key(trace), ids.trace), (bytes_key(span), ids.span));
    }
}

fn write_truncated(out: &mut Vec<u8>, field: u8, record: &Record<'_>) -> Option<()> {
    if !record.truncated() {
        return Some(());
    }
    let mut name = Vec::new();
    bytes(&mut name, bytes_key(1), super::common::TRUNCATED.as_bytes());
    attribute(out, field, &name, &Value::Bool(true))
}

#[cfg(test)]
mod tests;
