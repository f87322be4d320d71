//! What a program may ask for besides: fields of enclosing spans on logs, events on spans, how long
//! spans were busy. Comes in: records that are about to leave, and the spans they are in. Goes out:
//! the same, with more in them.

use serde_json::{Map, Value as Json};

use crate::{
    state::{Core, SpanState},
    trail::record::{self, Part, Record, Value, flag, key},
};

/// Adds fields of the spans that an event is in, the innermost first; its own are not replaced.
/// `buf` is without padding.
#[cold]
pub(super) fn add_span_fields(buf: &mut Vec<u8>, core: &Core, state: &SpanState, callsite: u32) {
    let site = core.callsites.by_id(callsite);
    let is_own = |name: &String| site.as_ref().is_some_and(|site| site.fields.contains(&name.as_str()));
    let mut wanted: Vec<&str> = core.config.enrichment.span_fields.iter().filter(|name| !is_own(name)).map(String::as_str).collect();
    let mut span = Some(state);
    while let Some(state) = span.filter(|_| !wanted.is_empty()) {
        let names = core.callsites.by_id(state.callsite);
        state.with_parts(|parts| {
            // The last value of a field is the one that counts.
            let mut found: Vec<Option<Part<'_>>> = wanted.iter().map(|_| None).collect();
            for part in parts {
                let name = part.name.or_else(|| names.as_ref()?.fields.get(usize::from(part.key)).copied());
                if let Some(index) = wanted.iter().position(|wanted| name == Some(wanted)) {
                    found[index] = Some(part);
                }
            }
            for (name, part) in wanted.iter().zip(&found) {
                part.iter().for_each(|part| record::append_named(buf, name, part));
            }
            let mut found = found.iter();
            wanted.retain(|_| found.next().is_some_and(Option::is_none));
        });
        span = state.parent.as_deref();
    }
}

/// Leaves an event in the span it happens in, as `tracing-opentelemetry` does: its message is the
/// name. Only where the span is exported, or may yet be.
#[cold]
pub(super) fn add_to_span(state: &SpanState, record: &[u8], core: &Core, callsite: u32) {
    let is_exported = core.config.exports_spans && (state.ids.flags & flag::SAMPLED != 0 || core.config.sampler.may_keep());
    let (true, Some((record, _)), Some(site)) = (is_exported, Record::split_first(record), core.callsites.by_id(callsite)) else { return };
    let (mut name, mut attributes) = (None, Map::new());
    for (index, value) in record.fields() {
        match site.fields.get(usize::from(index)) {
            Some(&"message") => name = Some(text(&value)),
            Some(field) => _ = attributes.insert(if site.is_bridged() { unbridged(field) } else { field }.to_owned(), json(&value)),
            None => {}
        }
    }
    for (field, value) in record.named() {
        attributes.insert(field.to_owned(), json(&value));
    }
    let own = [
        ("level", Some(site.level.as_str().into())),
        ("target", Some(site.target.into())),
        ("code.file.path", site.file.filter(|_| !site.is_bridged()).map(Json::from)),
        ("code.line.number", site.line.filter(|_| !site.is_bridged()).map(Json::from)),
    ];
    for (key, value) in own {
        if let Some(value) = value {
            attributes.entry(key).or_insert(value);
        }
    }
    let event = serde_json::json!({ "name": name.as_deref().unwrap_or(site.name), "time": record.time, "attributes": attributes });
    state.append(|body| record::append_str(body, key::SPAN_EVENT, &event.to_string()));
}

/// What a record of the `log` crate says of its origin, by the names that events have for it.
fn unbridged(field: &str) -> &str {
    match field {
        "log.target" => "target",
        "log.file" => "code.file.path",
        "log.line" => "code.line.number",
        other => other,
    }
}

/// Adds how long the span was entered, and how long it was not, under the names that
/// `tracing-opentelemetry` has for it.
pub(super) fn add_timings(state: &SpanState, end: u64) {
    let busy = state.busy();
    let idle = end.saturating_sub(state.started()).saturating_sub(busy);
    for (name, nanos) in [("busy_ns", busy), ("idle_ns", idle)] {
        state.append(|body| {
            record::append_str(body, key::NAME, name);
            record::append_u64(body, key::VALUE, nanos);
        });
    }
}

fn text(value: &Value<'_>) -> String {
    match json(value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &Value<'_>) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::I128(value) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Json::from),
        Value::U128(value) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Json::from),
        // JSON has no number for what is none.
        Value::F64(value) => serde_json::Number::from_f64(*value).map_or_else(|| value.to_string().into(), Json::Number),
        Value::Str(text) | Value::Text(text) => (*text).into(),
        Value::Error { links, .. } => Value::joined(links).into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::List(values) => values.iter().map(|value| Json::from(*value)).collect(),
    }
}
