//! The console shows what is sent: the same secrets are out of its lines.

use std::{error::Error, fmt, sync::Arc};

use tracing_core::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput as _},
    fmt::{
        FormatFields,
        format::{DefaultVisitor, Writer},
    },
};

use super::{FILTERED, Scrubber, Treatment};

/// Formats fields as `tracing-subscriber` does, without secrets.
pub(crate) struct ScrubbedFields(Arc<Scrubber>);

impl ScrubbedFields {
    pub(crate) fn new(scrubber: Arc<Scrubber>) -> Self {
        Self(scrubber)
    }
}

impl<'writer> FormatFields<'writer> for ScrubbedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Scrubbed { inner: DefaultVisitor::new(writer, true), scrubber: &self.0 };
        fields.record(&mut visitor);
        visitor.inner.finish()
    }
}

struct Scrubbed<'a, 'writer> {
    inner: DefaultVisitor<'writer>,
    scrubber: &'a Scrubber,
}

impl Scrubbed<'_, '_> {
    fn show(&mut self, field: &Field, text: &str) {
        let clean = match self.scrubber.key(field.name()) {
            Treatment::Filter => FILTERED.into(),
            Treatment::Hash => self.scrubber.hash(text).into(),
            Treatment::Keep => self.scrubber.scrub(text),
        };
        self.inner.record_debug(field, &format_args!("{clean}"));
    }
}

impl Visit for Scrubbed<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" { self.show(field, value) } else { self.show(field, &format!("{value:?}")) }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let text = crate::text::error_chain(value);
        // As `fmt` has it: what a terminal would obey is shown instead.
        self.show(field, &crate::text::printable(&text, 4_000));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.show(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    use super::*;
    use crate::lock::lock;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn lines_are_as_usual_but_for_secrets() {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(lines.clone());
        let layer = layer.fmt_fields(ScrubbedFields::new(Arc::new(Scrubber::default())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _span = tracing::info_span!("login", user = "ada", password = "hunter2").entered();
            tracing::info!(attempt = 2, url = "http://a:b@c/", "asking with token=abc");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = " INFO login{user=\"ada\" password=[Filtered]}: crumbtrail::scrub::console::tests: asking with token=[Filtered] attempt=2 url=\"http://REDACTED:REDACTED@c/\"\n";
        assert_eq!(text, expected);
    }
}
