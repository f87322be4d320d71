//! Lines for people and for whoever collects a container's output: the program's own events, and
//! exceptions that were no event. Comes in: where they are to be written, and how. Goes out: a
//! layer for the caller's thread, and a printer for the worker's. (What would be sent, by
//! `OTEL_*_EXPORTER=console`, is in `exporter`.)

pub(crate) mod exporter;
#[cfg(feature = "console")]
mod json;
#[cfg(feature = "console")]
mod layer;
#[cfg(feature = "console")]
mod report;

use std::io::IsTerminal as _;

#[cfg(feature = "console")]
pub(crate) use self::{layer::layer, report::Printer};

/// What [`install`](crate::Builder::install) prints of the program's own events, and of errors that
/// were captured; for [`with_console`](crate::Builder::with_console). `RUST_LOG` says which, and
/// concerns nothing else; by default INFO and above. Needs the feature `console`, which is on by
/// default.
///
/// Events are printed on the thread where they happen, which waits for standard error as it would
/// with `tracing_subscriber::fmt`; what was captured is printed by the worker, with the names of
/// frames. The same secrets are taken out as of what is sent.
///
/// ```
/// use crumbtrail::config::{Console, ConsoleFormat};
///
/// // As `CRUMBTRAIL_CONSOLE=json` has it, but on standard output.
/// let console = Console::auto().with_format(ConsoleFormat::Json).to_stdout();
/// assert_ne!(console, Console::default());
/// let builder = crumbtrail::builder(crumbtrail::service!()).with_console(console);
/// # let _ = builder;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    when: When,
    format: Option<ConsoleFormat>,
    stdout: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Auto,
    Always,
    Off,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsoleFormat {
    /// For people: time, level, spans, target, message, fields.
    Text,
    /// For people with narrow terminals: spans' fields behind the message.
    Compact,
    /// For machines: an object a line, with `timestamp`, `level`, `target`, `message`, `fields`,
    /// `trace_id` and `span_id`.
    Json,
}

impl Console {
    /// Text where a person sits at a terminal, JSON lines otherwise. The default.
    pub const fn auto() -> Self {
        Self { when: When::Auto, format: None, stdout: false }
    }

    /// Text on the console, wherever it goes.
    pub const fn always() -> Self {
        Self { when: When::Always, ..Self::auto() }
    }

    /// No console: nothing is printed.
    pub const fn off() -> Self {
        Self { when: When::Off, ..Self::auto() }
    }

    /// In this format, wherever it goes.
    #[must_use]
    pub const fn with_format(self, format: ConsoleFormat) -> Self {
        Self { format: Some(format), ..self }
    }

    /// To standard output in place of standard error.
    #[must_use]
    pub const fn to_stdout(self) -> Self {
        Self { stdout: true, ..self }
    }

    /// What it comes to here and now.
    pub(crate) fn resolve(self) -> Option<Output> {
        let terminal = if self.stdout { std::io::stdout().is_terminal() } else { std::io::stderr().is_terminal() };
        let format = match (self.when, self.format) {
            (When::Off, _) => return None,
            (_, Some(format)) => format,
            (When::Auto, None) if !terminal => ConsoleFormat::Json,
            (When::Auto | When::Always, None) => ConsoleFormat::Text,
        };
        cfg!(feature = "console").then_some(Output { format, stdout: self.stdout, terminal })
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::auto()
    }
}

/// `true`: [`Console::auto`]; `false`: [`Console::off`].
impl From<bool> for Console {
    fn from(on: bool) -> Self {
        if on { Self::auto() } else { Self::off() }
    }
}

/// What is printed, and where.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "console"), expect(dead_code))]
pub(crate) struct Output {
    format: ConsoleFormat,
    stdout: bool,
    terminal: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_counts_wherever_it_goes_and_off_is_off() {
        let format = |console: Console| console.resolve().map(|output| output.format);
        if cfg!(feature = "console") {
            assert_eq!(format(Console::always()), Some(ConsoleFormat::Text));
            assert_eq!(format(Console::auto().with_format(ConsoleFormat::Compact)), Some(ConsoleFormat::Compact));
        }
        assert_eq!(format(Console::off().with_format(ConsoleFormat::Json)), None);
    }
}
