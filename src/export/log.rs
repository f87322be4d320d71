//! An event's record becomes a log record.

use std::borrow::Cow;

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use tracing_core::Level;

use super::{
    attributes::{Attributes, replace, set_text},
    value,
};
use crate::exception::SourceLocation;
use crate::trail::{
    callsite::Callsite,
    record::{Record, Value, key},
};

/// Makes an event's log record, in place of whatever `log` was. Returns its scope: the event's
/// target.
pub(crate) fn from_event(
    record: &Record<'_>,
    site: &Callsite,
    observed: u64,
    limit: usize,
    attributes: &mut Attributes,
    log: &mut LogRecord,
) -> Cow<'static, str> {
    attributes.give_back(std::mem::take(&mut log.attributes));
    super::common::write_ids(record.ids, &mut log.trace_id, &mut log.span_id);
    (log.time_unix_nano, log.observed_time_unix_nano) = (record.time, observed);
    (log.flags, log.dropped_attributes_count) = (super::common::trace_flags(record.ids.flags), 0);
    log.severity_number = severity(site.level) as i32;
    replace(&mut log.severity_text, site.level.as_str());
    replace(&mut log.event_name, site.event_name().unwrap_or_default());
    let (mut source, mut body) = (Source::of(site), None);
    for (index, field) in record.fields() {
        let Some(name) = site.fields.get(usize::from(index)) else {
            if let (key::DROPPED, Value::U64(count)) = (index, &field) {
                log.dropped_attributes_count = u32::try_from(*count).unwrap_or(u32::MAX);
            }
            continue;
        };
        match *name {
            "message" => body = Some(field),
            name if name.starts_with("log.") && source.take_bridged(name, &field) => {}
            name => attributes.set(name, &field),
        }
    }
    for (name, value) in record.named() {
        attributes.set(name, &value);
    }
    match body {
        Some(Value::Str(text) | Value::Text(text)) => set_text(&mut log.body, text),
        other => log.body = other.map(|other| value::from_record(&other)),
    }
    source.describe(attributes);
    log.dropped_attributes_count += attributes.limit(limit.saturating_sub(usize::from(record.truncated())));
    if record.truncated() {
        attributes.add(super::common::TRUNCATED, &Value::Bool(true));
    }
    log.attributes = attributes.take();
    source.target
}

/// `tracing` level → OpenTelemetry severity (logs data model, appendix B).
pub(crate) fn severity(level: Level) -> SeverityNumber {
    match level {
        Level::TRACE => SeverityNumber::Trace,
        Level::DEBUG => SeverityNumber::Debug,
        Level::INFO => SeverityNumber::Info,
        Level::WARN => SeverityNumber::Warn,
        Level::ERROR => SeverityNumber::Error,
    }
}

/// Where an event comes from; for the `log` crate's records only the record itself knows.
pub(crate) struct Source {
    /// It is a record of the `log` crate.
    bridged: bool,
    pub(crate) target: Cow<'static, str>,
    file: Option<Cow<'static, str>>,
    line: Option<i64>,
}

impl Source {
    pub(crate) fn of(site: &Callsite) -> Self {
        let bridged = site.is_bridged();
        Self {
            bridged,
            target: Cow::Borrowed(site.target),
            file: site.file.filter(|_| !bridged).map(Cow::Borrowed),
            line: site.line.filter(|_| !bridged).map(i64::from),
        }
    }

    /// Takes one of the fields by which `tracing-log` carries a record's origin.
    pub(crate) fn take_bridged(&mut self, name: &str, field: &Value<'_>) -> bool {
        if !self.bridged {
            return false;
        }
        match (name, field) {
            ("log.target", Value::Str(text)) => self.target = Cow::Owned((*text).to_owned()),
            ("log.file", Value::Str(text)) => self.file = Some(Cow::Owned((*text).to_owned())),
            ("log.line", Value::U64(line)) => self.line = i64::try_from(*line).ok(),
            ("log.module_path", _) => {}
            _ => return false,
        }
        true
    }

    /// File and line, as far as known.
    pub(crate) fn place(&self) -> Option<SourceLocation> {
        let line = self.line.and_then(|line| u32::try_from(line).ok())?;
        Some(SourceLocation { file: self.file.as_ref()?.to_string(), line, column: 0 })
    }

    pub(crate) fn describe(&self, attributes: &mut Attributes) {
        if let Some(file) = &self.file {
            attributes.set_default("code.file.path", &Value::Str(file));
        }
        if let Some(line) = self.line {
            attributes.set_default("code.line.number", &Value::I64(line));
        }
    }
}
