//! What an event, a captured error or a panic says, before anything of its request is added.

use std::panic::Location;

use tracing_core::Level;

use super::{
    ErrorId, Mechanism,
    draft::{CaptureDetails, CauseDraft, SourceLocation},
    group,
};

/// What the ways differ in.
pub(crate) struct Raised<'a> {
    pub(super) mechanism: Mechanism,
    /// Where it was raised: the same number, the same place.
    pub(super) at: u64,
    /// What it will most likely be grouped by.
    pub(super) key: u64,
    /// The event's record.
    pub(super) event: &'a [u8],
    pub(super) body: Option<String>,
    pub(super) links: Vec<CauseDraft>,
    pub(super) templates: [Option<String>; 2],
    pub(super) place: Option<SourceLocation>,
    pub(super) backtrace: Option<String>,
    pub(super) attachments: Vec<String>,
    pub(super) level: Level,
    pub(super) details: Option<Box<CaptureDetails>>,
    pub(super) unfinished: bool,
    /// The [fingerprint](echo::fingerprint) of the error's `Debug` text; 0: not known.
    pub(super) debug: u64,
    /// Which of an enumeration's errors it is.
    pub(super) variant: String,
    /// The event says more than the error and a message.
    pub(super) has_own_fields: bool,
    pub(super) wraps: Option<ErrorId>,
    /// It is told where it did not happen: there is no stack of it.
    pub(super) stackless: bool,
    /// What the span's status says, if not the message.
    pub(super) description: Option<String>,
    /// The process ends with it.
    pub(super) fatal: bool,
    /// It is the event by which `#[instrument(err)]` tells that a function returns an error.
    pub(super) only_error: bool,
}

impl Raised<'_> {
    pub(super) fn new(mechanism: Mechanism, links: Vec<CauseDraft>) -> Self {
        Self {
            mechanism,
            at: 0,
            key: 0,
            event: &[],
            body: None,
            links,
            templates: [None, None],
            place: None,
            backtrace: None,
            attachments: Vec::new(),
            level: Level::ERROR,
            details: None,
            unfinished: false,
            debug: 0,
            variant: String::new(),
            has_own_fields: false,
            wraps: None,
            stackless: false,
            description: None,
            fatal: false,
            only_error: false,
        }
    }
}

/// A place in the source, as a number.
pub(super) fn place_number(location: Option<&Location<'_>>) -> u64 {
    let mut hash = group::Fnv::new();
    if let Some(location) = location {
        hash.part(location.file());
        hash.0 ^= u64::from(location.line()) << 32 | u64::from(location.column());
    }
    hash.0
}
