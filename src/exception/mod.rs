//! Exceptions: an error event, a captured error or a panic becomes a draft on the caller's thread; the worker makes the record of it.
//!
//! The caller copies what would be gone later (messages, raw return addresses, the trail, the open spans) and hands it to the express lane. It waits for nothing and resolves nothing. Before that it is asked whether this is an echo of an exception that has been told, and whether its group has its share of records.

mod capture;
pub(crate) mod chain;
pub(crate) mod echo;
mod ecosystem;
mod error_report;
mod framework;
pub(crate) mod group;
mod id;
mod model;
pub(crate) mod panic;
mod raise;
mod report;
pub(crate) mod storm;
#[cfg(any(feature = "tower", feature = "tracing-opentelemetry"))]
mod told;
pub(crate) mod variant;
mod vtable;

use std::{panic::Location, sync::Arc};

use tracing_core::Level;

#[cfg(any(feature = "tower", feature = "tracing-opentelemetry"))]
pub(crate) use self::capture::capture_for;
#[cfg(any(feature = "tower", feature = "tracing-opentelemetry"))]
pub(crate) use self::told::tell_text;
pub use self::{
    capture::{Capture, CaptureParts, ResultExt, StdError, capture},
    ecosystem::*,
    error_report::{ErrorReport, Reported},
    id::{ErrorId, ParseErrorIdError},
    model::{Cause, Exception},
};
pub(crate) use self::{
    capture::{capture_at_the_end, capture_into},
    error_report::Said,
    framework::SERVER_TARGET,
    group::GroupId,
    vtable::TypeAddress,
};
use self::{raise::raise, report::Report, storm::SlotId};
use crate::{
    layer::{self, CrumbtrailLayer, SpanState, core::Core},
    outbox::Weight,
    scope::ScopeData,
    scrub::SLACK,
    spool::Ticket,
    stack::statics::Template,
    text::{self, cut},
    trail::{
        callsite::Callsite,
        record::{Record, SpanIds, Value, key},
    },
};

/// Bytes of one message at most; later stages cut further.
const MAX_MESSAGE: usize = 4_000;

/// How an exception came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mechanism {
    /// An event of level ERROR.
    Event,
    /// [`capture`], or [`ResultExt::captured`].
    Capture,
    /// A panic.
    Panic,
    /// A response that says that the service has failed, where nothing else says why.
    Response,
    /// An error that `main` returned, see [`MainError`](crate::MainError).
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
pub(crate) struct Link {
    /// Empty: not known.
    pub(crate) type_name: String,
    /// The type is certain, not guessed.
    pub(crate) exact: bool,
    pub(crate) address: TypeAddress,
    pub(crate) message: String,
}

impl Link {
    /// One of which there is only a text.
    fn of_text(text: &str) -> Self {
        Self { message: kept(text), ..Self::default() }
    }
}

/// The place in the source that raised it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<&Location<'_>> for Place {
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
    pub(crate) links: Vec<Link>,
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
    pub(crate) place: Option<Place>,
    pub(crate) frames: Box<[usize]>,
    /// The stack that the error itself brings, as text.
    pub(crate) backtrace: Option<String>,
    pub(crate) attachments: Vec<String>,
    /// How bad it is; below ERROR it is no failure.
    pub(crate) level: Level,
    /// What was said of it by who captured it.
    pub(crate) said: Option<Box<Said>>,
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
    /// A panic of the main thread: whether it ends the process shows when somebody catches it, or nobody.
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

/// The layer that records on this thread now, else the installed one.
pub(crate) fn active_core() -> Option<Arc<Core>> {
    scoped_core().or_else(crate::telemetry::installed_core)
}

/// The layer that records on this thread now.
pub(crate) fn scoped_core() -> Option<Arc<Core>> {
    tracing_core::dispatcher::get_default(|dispatch| CrumbtrailLayer::of(dispatch).map(|(layer, _)| layer.core().clone()))
}

/// An ERROR event that is no exception of its own: it tells once more of this one, or of one whose id is not known here.
#[derive(Clone, Copy)]
pub(crate) struct Echo(pub(crate) Option<ErrorId>);

/// Makes the exception of an ERROR event, from its record, unless it is an echo.
pub(crate) fn raise_event(core: &Arc<Core>, state: Option<&SpanState>, event: &[u8]) -> Option<Echo> {
    let (record, _) = Record::split_first(event)?;
    let site = core.callsites.by_id(record.callsite)?;
    let target = if site.is_bridged() { framework::bridged_target(&record, &site.fields).unwrap_or_default() } else { site.target };
    if framework::is_framework(target)
        && let Some(echo) = framework::echo(core, state, target, record.time)
    {
        state.into_iter().for_each(|state| state.mark_failed(""));
        return Some(echo);
    }
    let mut raised = described(&record, &site);
    // The event that the macro writes is where the macro's span is.
    let of_function = |span: &Callsite| (span.file, span.line) == (site.file, site.line);
    let is_only_error = matches!(site.fields[..], [field] if ERROR_FIELDS.contains(&field));
    raised.only_error =
        is_only_error && state.and_then(|state| core.callsites.by_id(state.callsite)).is_some_and(|span| of_function(&span));
    (raised.at, raised.event, raised.level) = (u64::from(record.callsite), event, site.level);
    // The `log` crate's records share a callsite for each level: their place is in their fields.
    if site.is_bridged() {
        let origin = record.fields().filter(|(key, _)| site.fields.get(usize::from(*key)).is_some_and(|name| name.starts_with("log.")));
        let mut place = group::Fnv::new();
        for (_, value) in origin {
            match value {
                Value::Str(text) | Value::Text(text) => place.part(text),
                Value::U64(line) => place.0 = place.0.rotate_left(17) ^ line,
                _ => {}
            }
        }
        raised.at ^= place.0 << 32;
    }
    raised.key = {
        let mut key = group::Fnv::new();
        key.0 ^= raised.at;
        // Where literals cannot be told, a text is told from others by its words, as its group will be.
        let words = raised.body.as_deref().filter(|_| !core.statics.are_known()).map(group::mask);
        key.part(words.as_deref().or(raised.templates[0].as_deref()).unwrap_or_default());
        key.part(raised.templates[1].as_deref().unwrap_or_default());
        raised.links.iter().for_each(|link| link.address.0.iter().for_each(|word| key.0 = key.0.rotate_left(17) ^ word));
        raised.links.first().into_iter().for_each(|link| key.part(&link.type_name));
        key.part(&raised.variant);
        key.0
    };
    raise(core, state, ErrorId::new(), record.time, raised).err().map(|earlier| Echo(Some(earlier)))
}

/// The id of the last exception that was told in the current request, to show to who waits for it. `None` where there was none, and outside of requests.
///
/// ```
/// let (shown, captured) = crumbtrail::testing::capture(|| {
///     let _request = tracing::info_span!("request").entered();
///     assert_eq!(crumbtrail::last_error_id(), None);
///     tracing::error!("card refused");
///     crumbtrail::last_error_id()
/// });
/// assert_eq!(shown, Some(captured.exceptions()[0].id()));
/// ```
pub fn last_error_id() -> Option<ErrorId> {
    layer::current_state(&active_core()?)?.trail()?.recent().last()
}

/// What the ways differ in.
pub(crate) struct Raised<'a> {
    mechanism: Mechanism,
    /// Where it was raised: the same number, the same place.
    at: u64,
    /// What it will most likely be grouped by.
    key: u64,
    /// The event's record.
    event: &'a [u8],
    body: Option<String>,
    links: Vec<Link>,
    templates: [Option<String>; 2],
    place: Option<Place>,
    backtrace: Option<String>,
    attachments: Vec<String>,
    level: Level,
    said: Option<Box<Said>>,
    unfinished: bool,
    /// The [fingerprint](echo::fingerprint) of the error's `Debug` text; 0: not known.
    debug: u64,
    /// Which of an enumeration's errors it is.
    variant: String,
    /// The event says more than the error and a message.
    has_own_fields: bool,
    wraps: Option<ErrorId>,
    /// It is told where it did not happen: there is no stack of it.
    stackless: bool,
    /// What the span's status says, if not the message.
    description: Option<String>,
    /// The process ends with it.
    fatal: bool,
    /// It is the event by which `#[instrument(err)]` tells that a function returns an error.
    only_error: bool,
}

impl Raised<'_> {
    fn new(mechanism: Mechanism, links: Vec<Link>) -> Self {
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
            said: None,
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
fn place_number(location: Option<&Location<'_>>) -> u64 {
    let mut hash = group::Fnv::new();
    if let Some(location) = location {
        hash.part(location.file());
        hash.0 ^= u64::from(location.line()) << 32 | u64::from(location.column());
    }
    hash.0
}

/// The category of an exception's own breadcrumb.
pub(crate) const CATEGORY: &str = "exception";

/// Names under which people log an error as text. An error logged as `&dyn Error` is found under any name.
pub(crate) const ERROR_FIELDS: [&str; 6] = ["error", "err", "e", "exception", "cause", "source"];

/// What an ERROR event says, sorted out.
fn described<'a>(record: &Record<'_>, site: &Callsite) -> Raised<'a> {
    let mut raised = Raised::new(Mechanism::Event, Vec::new());
    let (mut text_error, mut body) = (None, None);
    for (key, value) in record.fields() {
        match (key, &value) {
            (key::DEBUG, Value::U64(debug)) => raised.debug = *debug,
            (key::VARIANT, Value::Str(text)) => raised.variant = (*text).to_owned(),
            (key::TEMPLATE, Value::Str(text)) => raised.templates[0] = Some((*text).to_owned()),
            (key::ERROR_TEMPLATE, Value::Str(text)) => raised.templates[1] = Some((*text).to_owned()),
            _ => {}
        }
        let Some(name) = site.fields.get(usize::from(key)).copied() else { continue };
        match value {
            Value::Str(text) | Value::Text(text) if name == "message" => body = Some(text),
            Value::Error { type_name, exact, links } if raised.links.is_empty() => {
                let links =
                    links.iter().map(|link| Link { address: TypeAddress(link.address), message: kept(link.message), ..Link::default() });
                raised.links = links.collect();
                if let Some(first) = raised.links.first_mut() {
                    (first.type_name, first.exact) = (type_name.to_owned(), exact);
                }
            }
            Value::Str(text) | Value::Text(text) if text_error.is_none() && ERROR_FIELDS.contains(&name) => {
                text_error = Some(text);
            }
            // What a program says by the way of a record is no field of its own.
            _ => raised.has_own_fields |= !name.starts_with("log."),
        }
    }
    for (name, value) in record.named() {
        match value {
            Value::Str(text) | Value::Text(text) if text_error.is_none() && ERROR_FIELDS.contains(&name) => text_error = Some(text),
            _ => raised.has_own_fields = true,
        }
    }
    raised.body = body.map(|body| kept(Report::parse(body).map_or(body, |report| report.message)));
    let said = text_error.or(body);
    if let Some(report) = said.filter(|_| raised.links.is_empty()).and_then(Report::parse) {
        raised.links = std::iter::once(report.message).chain(report.causes.iter().map(String::as_str)).map(Link::of_text).collect();
        raised.backtrace = report.stack.map(str::to_owned);
    }
    if raised.links.is_empty() {
        let message = kept(said.unwrap_or(site.name));
        let type_name = layer::guess(&message).to_owned();
        // `DbError { code: 5 }` names its type; `Timeout` may be a message as well as a type.
        let type_name = if message.len() > type_name.len() { type_name } else { String::new() };
        raised.links.push(Link { type_name, message, ..Link::default() });
    }
    raised
}

/// So much of a text as is kept.
fn kept(text: &str) -> String {
    cut(text, MAX_MESSAGE).to_owned()
}

/// What the program's code shows. A little more than is kept: it is cut when it is clean.
fn bounded(shown: std::fmt::Arguments<'_>, template: Option<&mut Template<'_>>) -> String {
    text::shown(shown, MAX_MESSAGE + SLACK, template)
}
