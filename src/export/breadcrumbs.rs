//! The records of a trail become breadcrumbs, and those one attribute of JSON text, because every
//! backend either stringifies nested values or mangles them.

use super::{callsites::Callsites, log::Source, timestamp};
use crate::{
    AttributeValue, Breadcrumb,
    attribute::attribute_of,
    breadcrumb::Breadcrumbs,
    breadcrumb::level_of,
    exception::{CATEGORY, Draft, ErrorId},
    trail::{
        callsite::Callsite,
        record::{Kind, NO_CALLSITE, Record, Value, flag, key, records},
    },
};
/// Breadcrumbs of one exception at most.
const MAX_CRUMBS: usize = 50;
/// Bytes of all of them as JSON text at most.
const MAX_BYTES: usize = 16 * 1024;
/// Bytes of one text within a breadcrumb at most.
const MAX_TEXT: usize = 1024;

/// The breadcrumbs of an exception, oldest first, and how many older ones there were.
pub(crate) fn of(draft: &Draft, callsites: &mut Callsites) -> (Breadcrumbs, usize) {
    if draft.lean {
        return (Breadcrumbs::default(), 0);
    }
    let trail: Vec<Record<'_>> = records(&draft.crumbs).collect();
    let opened = |span: u64| trail.iter().find(|crumb| crumb.kind == Kind::SpanOpen && crumb.ids.span == span).map(|crumb| crumb.time);
    let mut crumbs = Vec::with_capacity(trail.len());
    // Open spans whose opening the trail has lost are still known from the span tree.
    for bytes in &draft.open_spans {
        if let Some((open, _)) =
            Record::split_first(bytes).filter(|(open, _)| open.callsite != NO_CALLSITE && opened(open.ids.span).is_none())
        {
            crumbs.extend(crumb(&open, callsites, None));
        }
    }
    for record in trail.iter().filter(|record| record.ids.flags & flag::NO_CRUMB == 0) {
        crumbs.extend(crumb(record, callsites, opened(record.ids.span)));
    }
    crumbs.sort_by_key(|crumb| crumb.time);
    let left_out = crumbs.len().saturating_sub(MAX_CRUMBS);
    crumbs.drain(..left_out);
    (Breadcrumbs(crumbs), left_out)
}

/// The newest crumbs that fit `room` bytes, oldest first, as JSON text; and how many were left out.
pub(crate) fn to_text(crumbs: &Breadcrumbs, room: usize) -> (String, usize) {
    let mut texts = Vec::new();
    let mut bytes = 2;
    for crumb in crumbs.iter().rev().take(MAX_CRUMBS) {
        let text = crumb.to_json(timestamp::rfc3339(crumb.time)).to_string();
        bytes += text.len() + 1;
        if bytes > room.min(MAX_BYTES) {
            break;
        }
        texts.push(text);
    }
    texts.reverse();
    let left_out = crumbs.len() - texts.len();
    (format!("[{}]", texts.join(",")), left_out)
}

/// The breadcrumb of one record. `started` tells when a span was opened, if that is known.
fn crumb(record: &Record<'_>, callsites: &mut Callsites, started: Option<u64>) -> Option<Breadcrumb> {
    if record.kind == Kind::Crumb || record.callsite == NO_CALLSITE {
        return Some(left_by_hand(record));
    }
    let site = callsites.get(record.callsite)?;
    let mut source = Source::of(&site);
    let mut crumb = Breadcrumb::new(category(&site, record), "");
    crumb.of_span = record.kind != Kind::Event;
    // What a span said was said when it was opened.
    for (index, field) in record.fields().filter(|_| record.kind != Kind::Span) {
        let Some(name) = site.fields.get(usize::from(index)) else {
            if let (key::ECHO, Value::Bytes(id)) = (index, &field) {
                let id = id.first_chunk().map(|id| ErrorId::from_bytes(*id).to_string());
                crumb.set_data("crumbtrail.error.id", id.unwrap_or_default());
                CATEGORY.clone_into(&mut crumb.category);
            }
            continue;
        };
        if *name == "message" && record.kind == Kind::Event {
            crumb.message = attribute_of(&field).shortened(MAX_TEXT).to_string();
        } else if !(name.starts_with("log.") && source.take_bridged(name, &field)) {
            crumb.set_data(*name, attribute_of(&field).shortened(MAX_TEXT));
        }
    }
    for (name, field) in record.named().filter(|_| record.kind == Kind::Event) {
        crumb.set_data(name, attribute_of(&field).shortened(MAX_TEXT));
    }
    match record.kind {
        Kind::SpanClose | Kind::Span => crumb.message = format!("closed {}", site.name),
        Kind::SpanOpen => crumb.message = format!("opened {}", site.name),
        Kind::Event | Kind::Crumb => {}
    }
    if crumb.category == "db" && crumb.message.is_empty() {
        // sqlx says the beginning, and the whole only where that is more.
        let of = |key: &str| crumb.data(key).map(|text| text.to_string().trim().to_owned()).filter(|text| !text.is_empty());
        crumb.message = of("db.query.text").or_else(|| of("db.statement")).or_else(|| of("summary")).unwrap_or_default();
    }
    if crumb.category == "flag" && crumb.message.is_empty() {
        let of = |key: &str| crumb.data(key).map(ToString::to_string);
        let result =
            of("feature_flag.result.variant").or_else(|| of("feature_flag.result.value")).unwrap_or_else(|| "evaluated".to_owned());
        crumb.message = format!("{} = {result}", of("feature_flag.key").unwrap_or_default());
    }
    let (started, ended) = match record.kind {
        Kind::Span => (Some(record.time), record.end_time()),
        Kind::SpanClose => (started, record.time),
        _ => (None, record.time),
    };
    if let Some(started) = started {
        let micros = ended.saturating_sub(started) / 1_000;
        crumb.set_data("duration_ms", micros as f64 / 1_000.0);
    }
    (crumb.time, crumb.level, crumb.target) = (ended, site.level, source.target.into_owned());
    Some(crumb)
}

fn left_by_hand(record: &Record<'_>) -> Breadcrumb {
    let text = |wanted| AttributeValue::from(record.text(wanted).unwrap_or_default()).shortened(MAX_TEXT).to_string();
    let mut crumb = Breadcrumb::new(text(key::CATEGORY), text(key::MESSAGE));
    crumb.time = record.time;
    for (index, field) in record.fields() {
        if let (key::LEVEL, Value::U64(level)) = (index, field) {
            crumb.level = level_of(level);
        }
    }
    for (name, field) in record.named() {
        crumb.set_data(name, attribute_of(&field).shortened(MAX_TEXT));
    }
    crumb
}

/// What kind of thing happened, by the semantic conventions' names of its fields.
fn category(site: &Callsite, record: &Record<'_>) -> &'static str {
    const KINDS: [(&str, &str); 6] =
        [("http.", "http"), ("db.", "db"), ("rpc.", "rpc"), ("messaging.", "messaging"), ("feature_flag.", "flag"), ("url.full", "http")];
    let by_field = KINDS.iter().find(|(prefix, _)| site.fields.iter().any(|field| field.starts_with(prefix)));
    match by_field {
        Some((_, kind)) => kind,
        None if site.target.starts_with("sqlx::query") => "db",
        None if record.kind == Kind::Event => "log",
        None => "span",
    }
}
