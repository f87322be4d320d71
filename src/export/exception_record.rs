//! An exception becomes its record: one OTLP log record with EventName `exception`, and the span_event
//! attributes for its span's event.

use std::{borrow::Cow, fmt::Write as _};

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    logs::v1::{LogRecord, SeverityNumber},
};
use prost::Message;
use serde_json::json;

use super::{breadcrumbs, exception::MAX_VALUE, value};
use crate::{Exception, exception::group, stack::resolve::Frame, text::cut};

/// The limits of receivers and backends that cost a record when passed (Loki, Tempo, Elastic, New
/// Relic; see docs).
mod limit {
    pub(super) const RECORD: usize = 32 * 1024;
    pub(super) const ATTRIBUTES: usize = 128;
    pub(super) const MESSAGE: usize = 4_000;
    pub(super) const STACK: usize = 12 * 1024;
    pub(super) const TYPE: usize = 256;
    pub(super) const CHAIN: usize = 4_000;
    pub(super) const LIST: usize = 2_000;
    pub(super) const USER: usize = 512;
    pub(super) const LEAN_STACK: usize = 1_900;
}

/// What leaves for one exception.
pub(crate) struct Exported {
    pub(crate) scope: Cow<'static, str>,
    pub(crate) record: LogRecord,
    /// For the `exception` event of its span.
    pub(crate) span_event: Vec<KeyValue>,
}

/// Makes the record.
pub(crate) fn from_exception(exception: &Exception, observed: u64) -> Exported {
    let message = cut(exception.message(), limit::MESSAGE);
    let mut record = LogRecord {
        time_unix_nano: exception.time,
        observed_time_unix_nano: observed,
        event_name: "exception".to_owned(),
        severity_number: if exception.fatal { SeverityNumber::Fatal } else { super::log::severity(exception.level) } as i32,
        severity_text: exception.severity_text().to_owned(),
        body: Some(value::string(exception.body.as_deref().map_or(message, |body| cut(body, limit::MESSAGE)))),
        flags: super::common::trace_flags(exception.ids.flags),
        dropped_attributes_count: exception.dropped,
        ..Default::default()
    };
    (record.trace_id, record.span_id) = super::common::wire_ids(exception.ids);
    let own = own_attributes(exception, message);

    let short = ["exception.type", "exception.message", "crumbtrail.error.id", "crumbtrail.group.id"];
    let mut span_event: Vec<KeyValue> = own.iter().filter(|attribute| short.contains(&&*attribute.key)).cloned().collect();
    if !exception.frames.is_empty() {
        let frames = || exception.frames.iter();
        let own_first = frames().filter(|frame| frame.in_app).chain(frames().filter(|frame| !frame.in_app));
        span_event.push(value::attribute("exception.stacktrace", value::string(stack_text(own_first, limit::LEAN_STACK))));
    }

    record.attributes = own;
    if !exception.frames.is_empty() {
        let stack = stack_text(exception.frames.iter(), limit::STACK.min(room_in(&record)));
        record.attributes.push(value::attribute("exception.stacktrace", value::string(stack)));
    }
    add_attributes(&mut record, exception);
    add_breadcrumbs(&mut record, exception);
    Exported { scope: Cow::Owned(exception.target.clone()), record, span_event }
}

/// Bytes that may be added.
fn room_in(record: &LogRecord) -> usize {
    limit::RECORD.saturating_sub(record.encoded_len() + 256)
}

/// What makes it an exception; the attributes of the program come after.
fn own_attributes(exception: &Exception, message: &str) -> Vec<KeyValue> {
    let type_name = cut(exception.type_name(), limit::TYPE);
    let id = exception.id.to_string();
    let mut own = vec![
        value::attribute("exception.type", value::string(type_name)),
        value::attribute("exception.message", value::string(message)),
        // A backend that gets it twice, as after a crash, can drop one.
        value::attribute("log.record.uid", value::string(id.as_str())),
        value::attribute("crumbtrail.error.id", value::string(id)),
        value::attribute("crumbtrail.group.id", value::string(exception.group())),
        value::attribute("crumbtrail.group.coarse", value::string(exception.coarse_group())),
        value::attribute("crumbtrail.mechanism", value::string(exception.mechanism.as_str())),
    ];
    if !exception.attributes().any(|(key, _)| key == "error.type") {
        own.insert(2, value::attribute("error.type", value::string(type_name)));
    }
    let mut mark = |key: &str, is: bool| {
        if is {
            own.push(value::attribute(key, value::bool(true)));
        }
    };
    mark("crumbtrail.type.guessed", exception.causes.first().is_some_and(|cause| !cause.exact));
    mark("crumbtrail.stacktrace.unresolved", exception.unresolved);
    mark("crumbtrail.stacktrace.of_error", exception.errors_own_stack);
    mark("crumbtrail.group.provisional", exception.provisional);
    mark("crumbtrail.lean", exception.lean);
    mark(super::common::TRUNCATED, exception.truncated);
    if exception.suppressed > 0 {
        own.push(value::attribute("crumbtrail.suppressed", value::int(i64::try_from(exception.suppressed).unwrap_or(i64::MAX))));
    }
    let mut text = |key: &str, text: String| own.push(value::attribute(key, value::string(text)));
    if let Some(wrapped) = exception.wraps {
        text("crumbtrail.error.wraps", wrapped.to_string());
    }
    if let Some((trace, span)) = exception.preceding() {
        text("crumbtrail.preceding.trace_id", trace);
        text("crumbtrail.preceding.span_id", span);
    }
    if exception.causes.len() > 1 {
        text("crumbtrail.chain", chain_text(exception));
    }
    if !exception.flags.is_empty() {
        let flags: Vec<_> = exception.flags.iter().map(crate::FlagEvaluation::to_json).collect();
        text("crumbtrail.feature_flags", bounded_list(flags, limit::LIST));
    }
    if !exception.attachments.is_empty() {
        let attachments = exception.attachments.iter().map(|attachment| cut(attachment, MAX_VALUE).into()).collect();
        text("crumbtrail.attachments", bounded_list(attachments, limit::LIST));
    }
    if let Some(name) = &exception.thread_name {
        text("thread.name", cut(name, limit::TYPE).to_owned());
    }
    if let Some(session) = &exception.session {
        text("session.id", cut(session, limit::TYPE).to_owned());
    }
    let origin = Origin::of(exception);
    if let Some(file) = origin.file {
        text("code.file.path", cut(file, MAX_VALUE).to_owned());
    }
    if let Some(function) = origin.function {
        text("code.function.name", cut(function, limit::TYPE).to_owned());
    }
    let mut number = |key: &str, number: Option<i64>| own.extend(number.map(|number| value::attribute(key, value::int(number))));
    number("thread.id", exception.thread_id);
    number("code.line.number", origin.line.map(i64::from));
    number("code.column.number", origin.column.map(i64::from));
    for (key, of_user) in exception.user.iter().flat_map(crate::User::attributes) {
        value::set(&mut own, key, value::from_attribute(of_user, limit::USER));
    }
    own
}

/// Where in the source it was raised: function, file and line of one place. What the program says
/// itself of that counts.
#[derive(Default)]
struct Origin<'a> {
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
}

impl<'a> Origin<'a> {
    fn of(exception: &'a Exception) -> Self {
        if exception.attributes().any(|(key, _)| key.starts_with("code.")) {
            return Self::default();
        }
        let frames = &exception.frames;
        let known = |function: &&str| *function != "<unknown>";
        match &exception.place {
            // A stack that the error brings is where it was made, not where it was reported.
            Some(place) if !exception.errors_own_stack => Self {
                function: group::function_at(frames, (&place.file, place.line)).filter(known),
                file: Some(&place.file),
                line: Some(place.line),
                column: Some(place.column).filter(|column| *column > 0),
            },
            Some(_) => {
                let Some(frame) = frames.iter().find(|frame| frame.in_app).or(frames.first()) else { return Self::default() };
                Self { function: Some(&*frame.function).filter(known), file: frame.file.as_deref(), line: frame.line, column: frame.column }
            }
            // It was not raised in the program's own code.
            None => Self::default(),
        }
    }
}

/// The program's attributes, as far as the limits go. No key may be the beginning of another's path
/// (`x` and `x.y`): some backends refuse such a record.
fn add_attributes(record: &mut LogRecord, exception: &Exception) {
    let mut room = (limit::RECORD / 2).min(room_in(record));
    for (key, of_program) in exception.attributes() {
        let mut field = value::attribute(key, value::from_attribute(of_program, MAX_VALUE));
        let clashes = |key: &str, other: &str| other.len() > key.len() && other.starts_with(key) && other.as_bytes()[key.len()] == b'.';
        let taken = record
            .attributes
            .iter()
            .any(|other| clashes(&field.key, &other.key) || clashes(&other.key, &field.key) || other.key == field.key);
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
        record.attributes.push(field);
    }
}

fn add_breadcrumbs(record: &mut LogRecord, exception: &Exception) {
    if exception.breadcrumbs.is_empty() {
        return;
    }
    let (text, left_out) = breadcrumbs::to_text(&exception.breadcrumbs, room_in(record));
    record.attributes.push(value::attribute("crumbtrail.breadcrumbs", value::string(text)));
    if left_out + exception.left_out > 0 {
        record.attributes.push(value::attribute("crumbtrail.breadcrumbs_left_out", value::int((left_out + exception.left_out) as i64)));
    }
}

/// The error and its causes, outermost first, as JSON: `[{"type": …, "message": …}, …]`. Never part
/// of the stack.
fn chain_text(exception: &Exception) -> String {
    let links = exception.causes.iter().map(|cause| match cause.type_name() {
        None => json!({ "message": cut(&cause.message, MAX_VALUE) }),
        Some(name) => json!({ "type": cut(name, limit::TYPE), "message": cut(&cause.message, MAX_VALUE) }),
    });
    bounded_list(links.collect(), limit::CHAIN)
}

/// The first of these that fit, as JSON text.
fn bounded_list(values: Vec<serde_json::Value>, limit: usize) -> String {
    let mut room = limit;
    let fitting = values.into_iter().map(|value| value.to_string()).take_while(|text| {
        let fits = text.len() < room;
        room = room.saturating_sub(text.len() + 1);
        fits
    });
    format!("[{}]", fitting.collect::<Vec<_>>().join(","))
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

#[cfg(test)]
mod tests;
