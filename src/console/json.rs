//! An event as an object on one line.

use std::{error::Error, fmt, sync::Arc};

use serde_json::{Map, Value, json};
use tracing_core::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use crate::{
    scrub::{FILTERED, Scrubber, Treatment},
    state::{self, Core},
    text::{cut, error_chain},
};

pub(super) struct Json(Arc<Core>);

/// Bytes of one text at most.
const MAX_TEXT: usize = 16 * 1024;

impl Json {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self(core)
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut visitor = Fields { scrubber: &self.0.scrubber, message: None, fields: Map::new() };
        event.record(&mut visitor);
        let bridged = (metadata.target() == "log").then(|| visitor.fields.remove("log.target")).flatten();
        if bridged.is_some() {
            visitor.fields.retain(|name, _| !name.starts_with("log."));
        }
        let mut line = Map::new();
        line.insert("timestamp".to_owned(), timestamp().into());
        line.insert("level".to_owned(), metadata.level().as_str().into());
        line.insert("target".to_owned(), bridged.unwrap_or_else(|| metadata.target().into()));
        line.insert("message".to_owned(), visitor.message.unwrap_or_default().into());
        if !visitor.fields.is_empty() {
            line.insert("fields".to_owned(), visitor.fields.into());
        }
        if let Some(span) = context.lookup_current() {
            line.insert("span".to_owned(), span.name().into());
        }
        if let Some(ids) = state::current_state(&self.0).map(|state| state.current_ids()).filter(|ids| ids.trace != 0) {
            line.insert("trace_id".to_owned(), format!("{:032x}", ids.trace).into());
            line.insert("span_id".to_owned(), format!("{:016x}", ids.span).into());
        }
        writeln!(writer, "{}", Value::from(line))
    }
}

/// As RFC 3339 has it.
pub(super) fn timestamp() -> String {
    let mut text = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

struct Fields<'a> {
    scrubber: &'a Scrubber,
    message: Option<String>,
    fields: Map<String, Value>,
}

impl Fields<'_> {
    /// `value`: what it is if nothing has to be taken out of its text.
    fn put(&mut self, field: &Field, text: &str, value: impl FnOnce() -> Value) {
        let value = match self.scrubber.key(field.name()) {
            Treatment::Filter => FILTERED.into(),
            Treatment::Hash => self.scrubber.hash(text).into(),
            Treatment::Keep => value(),
        };
        self.fields.insert(field.name().to_owned(), value);
    }

    fn text(&mut self, field: &Field, text: &str) {
        let clean = self.scrubber.scrub(cut(text, MAX_TEXT)).into_owned();
        if field.name() == "message" {
            self.message = Some(clean);
        } else {
            self.put(field, text, || clean.into());
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, "", || value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value.to_string(), || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value.to_string(), || value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no number for those that are none.
        self.put(field, &value.to_string(), || if value.is_finite() { json!(value) } else { value.to_string().into() });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, &error_chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}
