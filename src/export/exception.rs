//! A draft becomes the exception record: one OTLP log record with EventName `exception`, and the lean attributes for its span's event.

use std::borrow::Cow;
use std::fmt::Write as _;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::{LogRecord, SeverityNumber},
};
use prost::Message;
use serde_json::json;

use super::{
    Callsites,
    breadcrumbs::{self, crumb},
    log::Source,
    value,
};
use crate::{
    exception::{Draft, ERROR_FIELDS, Mechanism},
    stack::resolve::{Bases, Frame, Resolver},
    trail::record::{Kind, Record, Value, flag, floor_char_boundary, key, records},
};

/// The limits of receivers and backends that cost a record when passed (Loki, Tempo, Elastic, New Relic; see docs).
mod limit {
    pub(super) const RECORD: usize = 32 * 1024;
    pub(super) const ATTRIBUTES: usize = 128;
    pub(super) const MESSAGE: usize = 4_000;
    pub(super) const STACK: usize = 12 * 1024;
    pub(super) const TYPE: usize = 256;
    pub(super) const CHAIN: usize = 4_000;
    pub(super) const LEAN_STACK: usize = 1_900;
    pub(super) const VALUE: usize = 1_024;
}

/// What leaves for one exception.
pub(crate) struct Exported {
    pub(crate) scope: Cow<'static, str>,
    pub(crate) record: LogRecord,
    /// For the `exception` event of its span.
    pub(crate) lean: Vec<KeyValue>,
}

/// How frames get their names.
pub(crate) enum Names<'a> {
    /// From debug information, which may take a while.
    Resolved(&'a mut Resolver),
    /// Not at all: their places in the binaries will do. For a record that may have to be the last.
    Bare(&'a Bases),
}

impl Names<'_> {
    fn stack(&mut self, addresses: &[usize]) -> Vec<Frame> {
        match self {
            Self::Resolved(resolver) => resolver.stack(addresses),
            Self::Bare(bases) => bases.stack(addresses),
        }
    }
}

/// Makes the record.
pub(crate) fn from_draft(draft: &Draft, callsites: &mut Callsites, mut names: Names<'_>, observed: u64) -> Exported {
    let frames = names.stack(&draft.frames);
    let fatal = is_fatal(draft, &frames);
    let message = cut(draft.message(), limit::MESSAGE);
    let type_name = cut(draft.type_name(), limit::TYPE);
    let mut record = LogRecord {
        time_unix_nano: draft.time,
        observed_time_unix_nano: observed,
        event_name: "exception".to_owned(),
        severity_number: if fatal { SeverityNumber::Fatal } else { SeverityNumber::Error } as i32,
        severity_text: if fatal { "FATAL" } else { "ERROR" }.to_owned(),
        body: Some(value::string(draft.body.as_deref().map_or(message, |body| cut(body, limit::MESSAGE)))),
        flags: u32::from(draft.ids.flags & flag::SAMPLED),
        ..Default::default()
    };
    (record.trace_id, record.span_id) = super::wire_ids(draft.ids);

    let mut own = vec![
        value::attribute("exception.type", value::string(type_name)),
        value::attribute("exception.message", value::string(message)),
        value::attribute("error.type", value::string(type_name)),
        // A backend that gets it twice, as after a crash, can drop one.
        value::attribute("log.record.uid", value::string(draft.id.to_string())),
        value::attribute("crumbtrail.error.id", value::string(draft.id.to_string())),
        value::attribute("crumbtrail.group.id", value::string(draft.group.to_string())),
        value::attribute("crumbtrail.mechanism", value::string(draft.mechanism.as_str())),
    ];
    if !draft.exact {
        own.push(value::attribute("crumbtrail.type.guessed", value::bool(true)));
    }
    if !frames.is_empty() {
        own.push(value::attribute("exception.stacktrace", value::string(stack_text(frames.iter(), limit::STACK))));
        if matches!(names, Names::Bare(_)) {
            own.push(value::attribute("crumbtrail.stacktrace.unresolved", value::bool(true)));
        }
    }
    if draft.links.len() > 1 {
        own.push(value::attribute("crumbtrail.chain", value::string(chain_text(draft))));
    }
    if let Some(name) = &draft.thread_name {
        own.push(value::attribute("thread.name", value::string(name.as_str())));
    }
    if let Some(id) = draft.thread_id {
        own.push(value::attribute("thread.id", value::int(id)));
    }

    let mut scope = Cow::Borrowed("crumbtrail");
    let mut fields = Vec::new();
    if let Some((event, _)) = Record::split_first(&draft.event)
        && let Some(site) = callsites.get(event.callsite)
    {
        let mut source = Source::of(&site);
        let mut error_taken = false;
        for (index, field) in event.fields() {
            let Some(name) = site.fields.get(usize::from(index)) else {
                if let (key::DROPPED, Value::U64(count)) = (index, &field) {
                    record.dropped_attributes_count = u32::try_from(*count).unwrap_or(u32::MAX);
                }
                continue;
            };
            let is_the_error = !error_taken && is_error_field(name, &field, draft);
            error_taken |= is_the_error;
            if !(is_the_error || *name == "message" || (name.starts_with("log.") && source.take_bridged(name, &field))) {
                value::set(&mut fields, name, shorter(value::from_record(&field)));
            }
        }
        source.describe(&mut own);
        if event.truncated() {
            own.push(value::attribute(super::TRUNCATED, value::bool(true)));
        }
        scope = source.target;
    }
    if let Some(place) = &draft.place {
        own.push(value::attribute("code.file.path", value::string(place.file.as_str())));
        own.push(value::attribute("code.line.number", value::int(i64::from(place.line))));
        own.push(value::attribute("code.column.number", value::int(i64::from(place.column))));
    }
    if let Some(function) = frames.iter().find(|frame| frame.in_app).or(frames.first()).filter(|frame| frame.function != "<unknown>") {
        own.push(value::attribute("code.function.name", value::string(cut(&function.function, limit::TYPE))));
    }
    add_user(&mut own, draft, callsites);

    let mut lean: Vec<KeyValue> = own
        .iter()
        .filter(|attribute| {
            matches!(&*attribute.key, "exception.type" | "exception.message" | "crumbtrail.error.id" | "crumbtrail.group.id")
        })
        .cloned()
        .collect();
    if !frames.is_empty() {
        let own_first = frames.iter().filter(|frame| frame.in_app).chain(frames.iter().filter(|frame| !frame.in_app));
        lean.push(value::attribute("exception.stacktrace", value::string(stack_text(own_first, limit::LEAN_STACK))));
    }

    record.attributes = own;
    add_fields(&mut record, fields);
    add_breadcrumbs(&mut record, draft, callsites);
    Exported { scope, record, lean }
}

/// Whether the process goes down with it: a panic where panics abort, or one on the main thread that nothing on the stack catches.
fn is_fatal(draft: &Draft, frames: &[Frame]) -> bool {
    if draft.mechanism != Mechanism::Panic {
        return false;
    }
    if cfg!(panic = "abort") {
        return true;
    }
    if draft.thread_name.as_deref() != Some("main") {
        return false;
    }
    // `main` itself runs under one catch_unwind of the runtime, below it on the stack; a task or handler under another.
    !frames
        .iter()
        .take_while(|frame| !frame.function.ends_with("::main") && !frame.function.starts_with("std::rt::lang_start"))
        .any(|frame| frame.function.contains("__rust_try") || frame.function.contains("catch_unwind"))
}

/// Whether this field is the error that became `exception.type` and `exception.message`.
fn is_error_field(name: &str, field: &Value<'_>, draft: &Draft) -> bool {
    match field {
        Value::Error { messages, .. } => messages.first().is_some_and(|first| draft.message().starts_with(cut(first, limit::MESSAGE))),
        Value::Str(text) | Value::Text(text) => ERROR_FIELDS.contains(&name) && cut(text, limit::MESSAGE) == draft.message(),
        _ => false,
    }
}

/// `user.*` fields of the request's spans; the innermost wins.
fn add_user(own: &mut Vec<KeyValue>, draft: &Draft, callsites: &mut Callsites) {
    for bytes in draft.open_spans.iter().rev() {
        let Some((record, _)) = Record::split_first(bytes) else { continue };
        let Some(site) = callsites.get(record.callsite) else { continue };
        for (index, field) in record.fields() {
            if let Some(name) = site.fields.get(usize::from(index)).filter(|name| name.starts_with("user.")) {
                value::set(own, name, shorter(value::from_record(&field)));
            }
        }
    }
}

/// The event's own fields, as far as the limits go. No key may be the beginning of another's path (`x` and `x.y`): some backends refuse such a record.
fn add_fields(record: &mut LogRecord, fields: Vec<KeyValue>) {
    let mut room = limit::RECORD / 2;
    for mut field in fields {
        let clashes = |key: &str, other: &str| other.len() > key.len() && other.starts_with(key) && other.as_bytes()[key.len()] == b'.';
        let taken = record.attributes.iter().any(|other| clashes(&field.key, &other.key) || clashes(&other.key, &field.key));
        let size = field.encoded_len();
        // Two places are kept for the breadcrumbs and their count.
        if record.attributes.len() >= limit::ATTRIBUTES - 2 || size > room {
            record.dropped_attributes_count += 1;
            continue;
        }
        room -= size;
        if taken {
            field.key = format!("field.{}", field.key.replace('.', "_"));
        }
        match record.attributes.iter_mut().find(|other| other.key == field.key) {
            // The event's word wins over the span's, but not over what the exception is.
            Some(other) if field.key.starts_with("user.") => *other = field,
            Some(_) => {
                field.key = format!("field.{}", field.key.replace('.', "_"));
                record.attributes.push(field);
            }
            None => record.attributes.push(field),
        }
    }
}

fn add_breadcrumbs(record: &mut LogRecord, draft: &Draft, callsites: &mut Callsites) {
    let trail: Vec<Record<'_>> = records(&draft.crumbs).collect();
    let opened = |span: u64| trail.iter().find(|crumb| crumb.kind == Kind::SpanOpen && crumb.ids.span == span).map(|crumb| crumb.time);
    let mut crumbs = Vec::with_capacity(trail.len());
    // Open spans whose opening the trail has lost are still known from the span tree.
    for bytes in &draft.open_spans {
        if let Some((open, _)) = Record::split_first(bytes).filter(|(open, _)| opened(open.ids.span).is_none())
            && let Some(site) = callsites.get(open.callsite)
        {
            crumbs.push(crumb(&open, &site, None));
        }
    }
    for crumb_record in &trail {
        if let Some(site) = callsites.get(crumb_record.callsite) {
            crumbs.push(crumb(crumb_record, &site, opened(crumb_record.ids.span)));
        }
    }
    if crumbs.is_empty() {
        return;
    }
    let used: usize = record.encoded_len();
    let (text, left_out) = breadcrumbs::to_text(crumbs, limit::RECORD.saturating_sub(used + 256));
    record.attributes.push(value::attribute("crumbtrail.breadcrumbs", value::string(text)));
    if left_out > 0 {
        record.attributes.push(value::attribute("crumbtrail.breadcrumbs_left_out", value::int(left_out as i64)));
    }
}

/// The error and its causes, outermost first, as JSON: `[{"type": …, "message": …}, …]`. Never part of the stack.
fn chain_text(draft: &Draft) -> String {
    let mut room = limit::CHAIN;
    let links: Vec<_> = draft
        .links
        .iter()
        .map_while(|link| {
            let message = cut(&link.message, limit::VALUE.min(room));
            room = room.saturating_sub(message.len() + 64);
            (room > 0).then(|| match link.type_name.as_str() {
                "" => json!({ "message": message }),
                name => json!({ "type": name, "message": message }),
            })
        })
        .collect();
    serde_json::Value::from(links).to_string()
}

/// Frames in the form of Rust's own backtraces, innermost first, whole lines up to a limit.
fn stack_text<'a>(frames: impl Iterator<Item = &'a Frame>, limit: usize) -> String {
    let mut text = String::new();
    for (number, frame) in frames.enumerate() {
        let before = text.len();
        let _ = match (&*frame.function, &frame.module) {
            ("<unknown>", Some((module, address))) => writeln!(text, "{number:4}: <unknown> {module}+{address:#x}"),
            (function, _) => writeln!(text, "{number:4}: {function}"),
        };
        if let (Some(file), Some(line)) = (&frame.file, frame.line) {
            let _ = match frame.column {
                Some(column) => writeln!(text, "             at {file}:{line}:{column}"),
                None => writeln!(text, "             at {file}:{line}"),
            };
        }
        if text.len() > limit {
            text.truncate(before);
            break;
        }
    }
    text
}

fn shorter(value: AnyValue) -> AnyValue {
    match value.value {
        Some(any_value::Value::StringValue(text)) if text.len() > limit::VALUE => value::string(cut(&text, limit::VALUE)),
        Some(any_value::Value::BytesValue(mut bytes)) => {
            bytes.truncate(limit::VALUE);
            AnyValue { value: Some(any_value::Value::BytesValue(bytes)) }
        }
        other => AnyValue { value: other },
    }
}

fn cut(text: &str, limit: usize) -> &str {
    &text[..floor_char_boundary(text, limit)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tracing_core::{Interest, Level, Metadata, callsite, metadata};

    use super::*;
    use crate::{
        exception::{ErrorId, Grouping, Link, Place},
        layer::{
            Routes,
            core::{Core, CoreConfig},
        },
        sampling::Sampler,
        trail::{
            encode::{Encoder, Limits},
            record::{SpanIds, stamp_ids},
        },
    };

    impl std::fmt::Debug for Draft {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let (what, bytes) = ((&self.body, &self.links, &self.place, &self.thread_name), (&self.event, &self.crumbs, &self.open_spans));
            f.debug_tuple("Draft").field(&what).field(&bytes).field(&self.frames).finish()
        }
    }

    fn core() -> Arc<Core> {
        Arc::new(Core::new(CoreConfig {
            routes: Routes::new("test"),
            sampler: Sampler::default(),
            event_limits: Limits::default(),
            span_limits: Limits::default(),
            propagates: true,
            stacktraces: true,
            exports_spans: true,
            trail_bytes: 1 << 16,
            outbox_bytes: 1 << 16,
            count_exception: Box::new(|_| {}),
            start: Box::new(|_, _| Ok(())),
        }))
    }

    /// Fields under every name that is looked at, as an event or a span has them.
    const FIELDS: &[&str] =
        &["message", "error", "user.id", "exception", "exception.type", "log.target", "log.line", "a.b", "a", "\u{1f525}", ""];

    struct TestCallsite;

    impl callsite::Callsite for TestCallsite {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            &METADATA
        }
    }

    static CALLSITE: TestCallsite = TestCallsite;
    static METADATA: Metadata<'static> = tracing_core::metadata! {
        name: "event", target: "test", level: Level::ERROR, fields: FIELDS, callsite: &CALLSITE, kind: metadata::Kind::EVENT
    };

    /// Records of that callsite with values of every kind, short, long and odd; and now and then bytes that are no record.
    fn records() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof![".{0,60}", ".{0,30}".prop_map(|text| text.repeat(200))];
        let field = (0..FIELDS.len() as u16 + 2, 0u8..9, text, any::<u128>());
        let kind = prop_oneof![Just(Kind::Event), Just(Kind::Span), Just(Kind::SpanOpen), Just(Kind::SpanClose)];
        let record = (kind, proptest::collection::vec(field, 0..12), any::<u64>(), 0u64..4).prop_map(|(kind, fields, time, span)| {
            let mut record = Vec::new();
            let mut encoder = Encoder::new(&mut record, kind, 0, time, Limits::default());
            for (key, kind, text, number) in fields {
                match kind {
                    0 => encoder.str(key, &text),
                    1 => encoder.debug(key, &text),
                    2 => encoder.bytes(key, text.as_bytes()),
                    3 => encoder.u64(key, number as u64),
                    4 => encoder.i128(key, number as i128),
                    5 => encoder.f64(key, f64::from_bits(number as u64)),
                    6 => encoder.bool(key, number % 2 == 0),
                    7 => encoder.error(key, &text, true, &[&text, &"cause", &text]),
                    _ => encoder.i64(key, number as i64),
                }
            }
            encoder.finish();
            stamp_ids(&mut record, SpanIds { trace: 1, span, parent: 0, flags: 1 });
            record
        });
        prop_oneof![9 => proptest::collection::vec(record, 0..8).prop_map(|records| records.concat()), 1 => proptest::collection::vec(any::<u8>(), 0..600)]
    }

    prop_compose! {
        fn drafts()(
            links in proptest::collection::vec((".{0,40}", "\\PC{0,80}"), 1..6), body in proptest::option::of(".{0,200}"), event in records(),
            crumbs in records(), open_spans in proptest::collection::vec(records(), 0..4), frames in proptest::collection::vec(any::<usize>(), 0..100),
            place in proptest::option::of((".{0,30}", any::<u32>())), time in any::<u64>(), exact in any::<bool>(), repeat in 1usize..500,
            thread_name in proptest::option::of(".{0,20}"), flags in any::<u8>(),
        ) -> Draft {
            Draft {
                id: ErrorId::from_bytes([7; 16]),
                time,
                mechanism: Mechanism::Panic,
                ids: SpanIds { trace: 1, span: 2, parent: 0, flags },
                body,
                links: links.into_iter().map(|(type_name, message)| Link { type_name, message: message.repeat(repeat) }).collect(),
                exact,
                group: Grouping { mechanism: "panic", types: &[], place: "", message: None }.id(),
                event,
                place: place.map(|(file, line)| Place { file, line, column: line }),
                frames: frames.into(),
                crumbs,
                open_spans,
                thread_name,
                thread_id: Some(1),
                ticket: None,
            }
        }
    }

    proptest! {
        /// A panic in the panic hook ends the process; this runs in it.
        #[test]
        fn no_draft_makes_it_panic_and_no_record_is_too_large(draft in drafts()) {
            let core = core();
            assert_eq!(core.callsites.get(&METADATA, || 0).0, 0, "the records are of this callsite");
            let mut callsites = Callsites { core, known: Default::default() };
            let exported = from_draft(&draft, &mut callsites, Names::Bare(&Bases::of_this_process()), 1);
            prop_assert!(exported.record.encoded_len() <= limit::RECORD + 1_024, "{}", exported.record.encoded_len());
        }
    }
}
