//! The layer that prints the program's events.

use std::{io, sync::Arc};

use tracing_core::{LevelFilter, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{EnvFilter, FilterExt as _, dynamic_filter_fn},
    fmt::writer::BoxMakeWriter,
    registry::LookupSpan,
};

use super::{ConsoleFormat, Output, json::Json};
use crate::{
    scrub::console::ScrubbedFields,
    state::{Core, is_own_thread},
};

/// Which of them: `RUST_LOG`, INFO by default.
pub(super) fn verbosity() -> EnvFilter {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy()
}

pub(crate) fn layer<S>(output: Output, core: &Arc<Core>) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let writer = if output.stdout { BoxMakeWriter::new(io::stdout) } else { BoxMakeWriter::new(io::stderr) };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).fmt_fields(ScrubbedFields::new(core.scrubber.clone()));
    let layer = if output.terminal { layer } else { layer.with_ansi(false) };
    let layer = match output.format {
        ConsoleFormat::Text => layer.boxed(),
        ConsoleFormat::Compact => layer.event_format(tracing_subscriber::fmt::format().compact()).boxed(),
        ConsoleFormat::Json => layer.event_format(Json::new(core.clone())).boxed(),
    };
    // What our own HTTP client has to say is not the program's.
    layer.with_filter(verbosity().and(dynamic_filter_fn(|_, _| !is_own_thread())))
}
