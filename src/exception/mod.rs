//! Exceptions: an error event, a captured error or a panic becomes a draft on the caller's thread;
//! the worker makes the record of it.
//!
//! The caller copies what would be gone later (messages, raw return addresses, the trail, the open
//! spans) and hands it to the express lane. It waits for nothing and resolves nothing. Before that
//! it is asked whether this is an echo of an exception that has been told, and whether its group
//! has its share of records.

mod capture;
pub(crate) mod chain;
mod draft;
pub(crate) mod echo;
mod ecosystem;
mod error_report;
mod event;
mod framework;
#[cfg(any(feature = "tower", feature = "tracing-opentelemetry-0-34"))]
mod from_text;
pub(crate) mod group;
mod id;
mod model;
pub(crate) mod panic;
mod raise;
mod raised;
mod report;
pub(crate) mod storm;
mod type_name;
pub(crate) mod variant;

#[cfg(any(feature = "tower", feature = "tracing-opentelemetry-0-34"))]
pub(crate) use self::capture::capture_for;
#[cfg(any(feature = "tower", feature = "tracing-opentelemetry-0-34"))]
pub(crate) use self::from_text::raise_text;
pub use self::{
    capture::{Capture, CaptureParts, ResultExt, StdError, capture, last_error_id},
    draft::Mechanism,
    ecosystem::*,
    error_report::{ErrorReport, Reported},
    id::{ErrorId, ParseErrorIdError},
    model::{Cause, Exception},
};
pub(crate) use self::{
    capture::{capture_at_the_end, capture_into},
    draft::{CATEGORY, CauseDraft, Draft, ERROR_FIELDS, SourceLocation},
    echo::Echo,
    event::raise_event,
    framework::SERVER_TARGET,
    group::GroupId,
    type_name::{debug_line, type_of},
};
