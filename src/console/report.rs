//! An exception that was no event, as the console shows it: type, message, causes, own frames, ids.
//! Events print themselves, and a panic is the standard library's to print.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use serde_json::json;

use super::{ConsoleFormat, Output, json::timestamp, layer::verbosity};
use crate::{Exception, exception::Cause, exception::Mechanism, stack::resolve::Frame, text::printable};

/// Own frames that are shown.
const MAX_FRAMES: usize = 8;
/// Bytes of a message.
const MAX_TEXT: usize = 4_000;

/// Prints on the worker's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer(Output);

impl Printer {
    /// `None`: `RUST_LOG` wants no errors.
    pub(crate) fn new(output: Output) -> Option<Self> {
        let wants = verbosity().max_level_hint().is_none_or(|most| most >= tracing_core::LevelFilter::ERROR);
        wants.then_some(Self(output))
    }

    pub(crate) fn print(self, exception: &Exception) {
        if matches!(exception.mechanism(), Mechanism::Event | Mechanism::Panic) {
            return;
        }
        let line = match self.0.format {
            ConsoleFormat::Json => as_json(exception),
            ConsoleFormat::Text => as_text(exception, "\n    "),
            ConsoleFormat::Compact => as_text(exception, " | "),
        };
        // A closed stream is not our trouble.
        let _ = if self.0.stdout { writeln!(io::stdout().lock(), "{line}") } else { writeln!(io::stderr().lock(), "{line}") };
    }
}

/// `shop::pay (src/pay.rs:30)`.
fn own_frames(exception: &Exception) -> impl Iterator<Item = String> {
    let shown = |frame: &Frame| match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", frame.function),
        _ => frame.function.clone(),
    };
    exception.frames.iter().filter(|frame| frame.in_app).take(MAX_FRAMES).map(shown)
}

fn as_text(exception: &Exception, separator: &str) -> String {
    // What a terminal would obey is shown instead.
    let shown = |cause: &Cause| match cause.type_name() {
        Some(name) => format!("{}: {}", printable(name, MAX_TEXT), printable(cause.message(), MAX_TEXT)),
        None => printable(cause.message(), MAX_TEXT),
    };
    let level = exception.severity_text();
    let mut text = format!("{} {level} {}", timestamp(), exception.causes.first().map(shown).unwrap_or_default());
    for cause in exception.causes.iter().skip(1) {
        let _ = write!(text, "{separator}caused by {}", shown(cause));
    }
    for frame in own_frames(exception) {
        let _ = write!(text, "{separator}at {frame}");
    }
    let _ = write!(text, "{separator}crumbtrail.error.id={}", exception.id());
    if exception.ids.trace != 0 {
        let _ = write!(text, " trace_id={:032x}", exception.ids.trace);
    }
    text
}

fn as_json(exception: &Exception) -> String {
    let causes: Vec<_> =
        exception.causes.iter().skip(1).map(|cause| json!({ "type": cause.type_name(), "message": cause.message() })).collect();
    let frames: Vec<_> = own_frames(exception).collect();
    let mut line = json!({
        "timestamp": timestamp(),
        "level": exception.severity_text(),
        "target": exception.target,
        "message": exception.message(),
        "exception.type": exception.type_name(),
        "crumbtrail.mechanism": exception.mechanism().as_str(),
        "crumbtrail.error.id": exception.id().to_string(),
        "crumbtrail.group.id": exception.group(),
    });
    if !causes.is_empty() {
        line["causes"] = causes.into();
    }
    if !frames.is_empty() {
        line["frames"] = frames.into();
    }
    if exception.ids.trace != 0 {
        line["trace_id"] = format!("{:032x}", exception.ids.trace).into();
        line["span_id"] = format!("{:016x}", exception.ids.span).into();
    }
    line.to_string()
}
