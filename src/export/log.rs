//! An event's record becomes a log record.

use std::borrow::Cow;

use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use tracing_core::Level;

use super::value;
use crate::exception::Place;
use crate::trail::{
    callsite::Callsite,
    record::{Record, Value, flag, key},
};

/// The log record of an event, and its scope: the event's target.
pub(crate) fn from_event(record: &Record<'_>, site: &Callsite, observed: u64) -> (Cow<'static, str>, LogRecord) {
    let mut log = blank(record, observed);
    (log.severity_number, log.severity_text) = (severity(site.level) as i32, site.level.as_str().to_owned());
    let mut source = Source::of(site);
    log.event_name = site.event_name().unwrap_or_default().to_owned();
    let mut attributes = Vec::with_capacity(8);
    for (index, field) in record.fields() {
        let Some(name) = site.fields.get(usize::from(index)) else {
            if let (key::DROPPED, Value::U64(count)) = (index, &field) {
                log.dropped_attributes_count = u32::try_from(*count).unwrap_or(u32::MAX);
            }
            continue;
        };
        match *name {
            "message" => log.body = Some(value::from_record(&field)),
            name if name.starts_with("log.") && source.take_bridged(name, &field) => {}
            name => value::set(&mut attributes, name, value::from_record(&field)),
        }
    }
    for (name, value) in record.named() {
        value::set(&mut attributes, name, value::from_record(&value));
    }
    source.describe(&mut attributes);
    if record.truncated() {
        attributes.push(value::attribute(super::TRUNCATED, value::bool(true)));
    }
    log.attributes = attributes;
    (source.target, log)
}

/// A log record with the time and place of `record` and nothing else.
pub(crate) fn blank(record: &Record<'_>, observed: u64) -> LogRecord {
    let (trace_id, span_id) = super::wire_ids(record.ids);
    LogRecord {
        time_unix_nano: record.time,
        observed_time_unix_nano: observed,
        flags: u32::from(record.ids.flags & flag::SAMPLED),
        trace_id,
        span_id,
        ..Default::default()
    }
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
    pub(crate) target: Cow<'static, str>,
    file: Option<Cow<'static, str>>,
    line: Option<i64>,
}

impl Source {
    pub(crate) fn of(site: &Callsite) -> Self {
        let bridged = site.target == "log" && site.fields.contains(&"log.target");
        Self {
            target: Cow::Borrowed(site.target),
            file: site.file.filter(|_| !bridged).map(Cow::Borrowed),
            line: site.line.filter(|_| !bridged).map(i64::from),
        }
    }

    /// Takes one of the fields by which `tracing-log` carries a record's origin.
    pub(crate) fn take_bridged(&mut self, name: &str, field: &Value<'_>) -> bool {
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
    pub(crate) fn place(&self) -> Option<Place> {
        let line = self.line.and_then(|line| u32::try_from(line).ok())?;
        Some(Place { file: self.file.as_ref()?.to_string(), line, column: 0 })
    }

    pub(crate) fn describe(&self, attributes: &mut Vec<opentelemetry_proto::tonic::common::v1::KeyValue>) {
        if let Some(file) = &self.file {
            value::set(attributes, "code.file.path", value::string(&**file));
        }
        if let Some(line) = self.line {
            value::set(attributes, "code.line.number", value::int(line));
        }
    }
}
