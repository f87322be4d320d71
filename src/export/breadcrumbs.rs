//! The records of a trail become breadcrumbs: one attribute of JSON text, because every backend either stringifies nested values or mangles them.

use serde_json::{Map, Value as Json, json};

use super::{log::Source, timestamp, value};
use crate::trail::{
    callsite::Callsite,
    record::{Kind, Record, floor_char_boundary},
};

/// Breadcrumbs of one exception at most.
const MAX_CRUMBS: usize = 50;
/// Bytes of all of them as JSON text at most.
pub(crate) const MAX_BYTES: usize = 16 * 1024;
/// Bytes of one text within a breadcrumb at most.
const MAX_TEXT: usize = 1024;

/// A breadcrumb: `{"timestamp", "category": "log"|"span", "level", "message", "target", "data": {…}}`. `data` holds the fields; a closed span's holds `duration_ms`.
pub(crate) struct Crumb {
    pub(crate) time: u64,
    json: Json,
}

/// The breadcrumb of one record. `started` tells when a span was opened, if that is known.
pub(crate) fn crumb(record: &Record<'_>, site: &Callsite, started: Option<u64>) -> Crumb {
    let mut source = Source::of(site);
    let mut message = None;
    let mut data = Map::new();
    for (index, field) in record.fields() {
        let Some(name) = site.fields.get(usize::from(index)) else { continue };
        if *name == "message" {
            message = Some(value::to_json(&field));
        } else if !(name.starts_with("log.") && source.take_bridged(name, &field)) {
            data.insert((*name).to_owned(), shortened(value::to_json(&field)));
        }
    }
    let category = if record.kind == Kind::Event { "log" } else { "span" };
    let message = match record.kind {
        Kind::Event => shortened(message.unwrap_or(Json::Null)),
        Kind::SpanClose => json!(format!("closed {}", site.name)),
        Kind::SpanOpen | Kind::Span => json!(format!("opened {}", site.name)),
    };
    if let (Kind::SpanClose, Some(started)) = (record.kind, started) {
        let micros = record.time.saturating_sub(started) / 1_000;
        data.insert("duration_ms".to_owned(), json!(micros as f64 / 1_000.0));
    }
    let mut json = json!({
        "timestamp": timestamp::rfc3339(record.time),
        "category": category,
        "level": site.level.as_str().to_ascii_lowercase(),
        "target": source.target,
    });
    if !message.is_null() {
        json["message"] = message;
    }
    if !data.is_empty() {
        json["data"] = Json::Object(data);
    }
    Crumb { time: record.time, json }
}

/// The newest crumbs that fit `room` bytes, oldest first, as JSON text; and how many were left out.
pub(crate) fn to_text(mut crumbs: Vec<Crumb>, room: usize) -> (String, usize) {
    crumbs.sort_by_key(|crumb| crumb.time);
    let total = crumbs.len();
    let mut texts = Vec::new();
    let mut bytes = 2;
    for crumb in crumbs.iter().rev().take(MAX_CRUMBS) {
        let text = crumb.json.to_string();
        bytes += text.len() + 1;
        if bytes > room.min(MAX_BYTES) {
            break;
        }
        texts.push(text);
    }
    texts.reverse();
    let left_out = total - texts.len();
    (format!("[{}]", texts.join(",")), left_out)
}

fn shortened(value: Json) -> Json {
    match value {
        Json::String(text) if text.len() > MAX_TEXT => Json::from(format!("{}…", &text[..floor_char_boundary(&text, MAX_TEXT)])),
        other => other,
    }
}
