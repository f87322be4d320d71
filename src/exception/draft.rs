//! An exception as the caller leaves it, for the worker to make a record of. Comes in: what would
//! be gone later. Goes out: the same, over the express lane.

use std::{panic::Location, sync::Arc};

use tracing_core::Level;

use super::{ErrorId, storm::SlotId};
use crate::{
    AttributeValue,
    outbox::Weight,
    scope::ScopeData,
    scrub::SLACK,
    spool::Ticket,
    stack::{TypeAddress, read_only::Template},
    text::{self, cut},
    trail::record::SpanIds,
};

/// Bytes of one message at most; later stages cut further.
pub(super) const MAX_MESSAGE: usize = 4_000;

/// The category of an exception's own breadcrumb.
pub(crate) const CATEGORY: &str = "exception";

/// Names under which people log an error as text. An error logged as `&dyn Error` is found under
/// any name.
pub(crate) const ERROR_FIELDS: [&str; 6] = ["error", "err", "e", "exception", "cause", "source"];

/// How an exception came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// An event of level ERROR.
    Event,
    /// [`capture`](crate::capture), or [`ResultExt::capture_err`](crate::ResultExt::capture_err).
    Capture,
    /// A panic.
    Panic,
    /// A response that says that the service has failed, where nothing else says why.
    Response,
    /// An error that `main` returned, see [`MainError`](crate::errors::MainError).
    Main,
}

impl Mechanism {
    /// `event`, `capture`, `panic`, `response` or `main`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Capture => "capture",
            Self::Panic => "panic",
            Self::Response => "response",
            Self::Main => "main",
        }
    }
}

/// An error or one of its causes.
#[derive(Clone, Debug, Default)]
pub(crate) struct CauseDraft {
    /// Empty: not known.
    pub(crate) type_name: String,
    /// The type is certain, not guessed.
    pub(crate) exact: bool,
    pub(crate) address: TypeAddress,
    pub(crate) message: String,
}

impl CauseDraft {
    /// One of which there is only a text.
    pub(super) fn of_text(text: &str) -> Self {
        Self { message: cut_message(text), ..Self::default() }
    }
}

/// The place in the source that raised it.
#[derive(Clone, Debug)]
pub(crate) struct SourceLocation {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<&Location<'_>> for SourceLocation {
    fn from(location: &Location<'_>) -> Self {
        Self { file: location.file().to_owned(), line: location.line(), column: location.column() }
    }
}

/// An exception as the caller leaves it.
pub(crate) struct Draft {
    pub(crate) id: ErrorId,
    pub(crate) time: u64,
    pub(crate) mechanism: Mechanism,
    /// The span it happened in; zeros outside of spans.
    pub(crate) ids: SpanIds,
    /// What the event said besides the error.
    pub(crate) body: Option<String>,
    /// The error and its causes, outermost first. Never empty.
    pub(crate) links: Vec<CauseDraft>,
    /// What of the texts is the same every time: the event's, the error's.
    pub(crate) templates: [Option<String>; 2],
    /// Which of an enumeration's errors it is; see [`variant`].
    pub(crate) variant: String,
    /// Where there is no template, there is none: literals can be told here.
    pub(crate) knows_literals: bool,
    /// An earlier exception of the request, whose error this one wraps.
    pub(crate) wraps: Option<ErrorId>,
    /// It happened outside of spans, just after this root had ended in the same task.
    pub(crate) preceding: Option<SpanIds>,
    /// The event's record; empty for captures and panics.
    pub(crate) event: Vec<u8>,
    pub(crate) place: Option<SourceLocation>,
    pub(crate) frames: Box<[usize]>,
    /// The stack that the error itself brings, as text.
    pub(crate) backtrace: Option<String>,
    pub(crate) attachments: Vec<String>,
    /// How bad it is; below ERROR it is no failure.
    pub(crate) level: Level,
    /// What was said of it by who captured it.
    pub(crate) details: Option<Box<CaptureDetails>>,
    /// Records of the trail, oldest first.
    pub(crate) crumbs: Vec<u8>,
    /// Records of the open spans, innermost first.
    pub(crate) open_spans: Vec<Vec<u8>>,
    /// The last of the open spans is the request's root.
    pub(crate) has_root: bool,
    /// What is known of the process and of the request.
    pub(crate) scopes: [Option<Arc<ScopeData>>; 2],
    pub(crate) thread_name: Option<String>,
    pub(crate) thread_id: Option<i64>,
    pub(crate) slot: SlotId,
    pub(crate) suppressed: u64,
    pub(crate) lean: bool,
    /// The program's own rules for secrets have not seen its message.
    pub(crate) unfinished: bool,
    /// The process ends with it, as far as is known.
    pub(crate) fatal: bool,
    /// A first form of its record is on disk.
    pub(crate) ticket: Option<Ticket>,
}

impl Draft {
    /// A panic of the main thread: whether it ends the process shows when somebody catches it, or
    /// nobody.
    pub(crate) fn may_be_fatal(&self) -> bool {
        self.mechanism == Mechanism::Panic && !self.fatal && self.thread_name.as_deref() == Some("main")
    }

    pub(crate) fn message(&self) -> &str {
        self.links.first().map_or("", |link| link.message.as_str())
    }

    /// The event's text and the error's, where no literal is known of it.
    pub(crate) fn opaque_texts(&self) -> [Option<&str>; 2] {
        let is_opaque = |template: &Option<String>| template.as_deref().is_none_or(|template| template == "{}");
        let [said, of_error] = self.templates.each_ref().map(is_opaque);
        [self.body.as_deref().filter(|_| said), Some(self.message()).filter(|_| of_error)]
    }

    /// The types that are to get a name.
    pub(crate) fn types(&self) -> Vec<TypeAddress> {
        let unknown = self.links.iter().filter(|link| !link.exact && link.address != TypeAddress::default());
        unknown.map(|link| link.address).collect()
    }
}

impl Weight for Draft {
    fn weight(&self) -> usize {
        let spans: usize = self.open_spans.iter().map(Vec::len).sum();
        let links: usize = self.links.iter().map(|link| link.message.len() + link.type_name.len()).sum();
        let texts = self.backtrace.as_ref().map_or(0, String::len) + self.attachments.iter().map(String::len).sum::<usize>();
        size_of::<Self>() + self.event.len() + self.crumbs.len() + spans + links + texts + self.frames.len() * size_of::<usize>()
    }
}

/// What was said of one exception by who captured it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaptureDetails {
    pub(crate) tags: Vec<(String, AttributeValue)>,
    /// None: ERROR.
    pub(crate) level: Option<tracing_core::Level>,
    pub(crate) group: Option<String>,
}

/// So much of a text as is kept.
pub(super) fn cut_message(text: &str) -> String {
    cut(text, MAX_MESSAGE).to_owned()
}

/// What the program's code shows. A little more than is kept: it is cut when it is clean.
pub(super) fn bounded(shown: std::fmt::Arguments<'_>, template: Option<&mut Template<'_>>) -> String {
    text::shown(shown, MAX_MESSAGE + SLACK, template)
}
