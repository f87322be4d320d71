//! Exceptions: an error event, a captured error or a panic becomes a draft on the caller's thread; the worker makes the record of it.
//!
//! The caller copies what would be gone later (messages, raw return addresses, the trail, the open spans) and hands it to the express lane. It waits for nothing and resolves nothing.

pub(crate) mod chain;
mod group;
mod id;
pub(crate) mod panic;

use std::{error::Error, panic::Location, sync::Arc};

pub(crate) use self::group::{GroupId, Grouping};
pub use self::id::{ErrorId, ParseErrorIdError};
use crate::{
    clock::now,
    layer::{self, CrumbtrailLayer, SpanState, core::Core},
    ledger::{Lost, Signal},
    outbox::Weight,
    spool::Ticket,
    stack,
    trail::{
        callsite::Callsite,
        record::{Record, SpanIds, Value, floor_char_boundary},
    },
};

/// Breadcrumbs copied from the trail at most, in bytes.
const MAX_CRUMBS: usize = 16 * 1024;
/// Bytes of one message at most; later stages cut further.
const MAX_MESSAGE: usize = 4_000;
/// Open spans whose fields come along at most.
const MAX_OPEN_SPANS: usize = 32;

/// How an exception came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Event,
    Capture,
    Panic,
}

impl Mechanism {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Capture => "capture",
            Self::Panic => "panic",
        }
    }
}

/// An error or one of its causes.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Empty: not known.
    pub(crate) type_name: String,
    pub(crate) message: String,
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
    /// The type of the first link is certain, not guessed.
    pub(crate) exact: bool,
    pub(crate) group: GroupId,
    /// The event's record; empty for captures and panics.
    pub(crate) event: Vec<u8>,
    pub(crate) place: Option<Place>,
    pub(crate) frames: Box<[usize]>,
    /// Records of the trail, oldest first.
    pub(crate) crumbs: Vec<u8>,
    /// Records of the open spans, innermost first.
    pub(crate) open_spans: Vec<Vec<u8>>,
    pub(crate) thread_name: Option<String>,
    pub(crate) thread_id: Option<i64>,
    /// A first form of its record is on disk.
    pub(crate) ticket: Option<Ticket>,
}

impl Draft {
    /// The type as it is reported; `error` where none is known.
    pub(crate) fn type_name(&self) -> &str {
        self.links.first().map(|link| link.type_name.as_str()).filter(|name| !name.is_empty()).unwrap_or("error")
    }

    pub(crate) fn message(&self) -> &str {
        self.links.first().map_or("", |link| link.message.as_str())
    }
}

impl Weight for Draft {
    fn weight(&self) -> usize {
        let spans: usize = self.open_spans.iter().map(Vec::len).sum();
        let links: usize = self.links.iter().map(|link| link.message.len() + link.type_name.len()).sum();
        size_of::<Self>() + self.event.len() + self.crumbs.len() + spans + links + self.frames.len() * size_of::<usize>()
    }
}

/// Reports an error by hand and returns the id of its record, to quote to the user.
///
/// The type is exact (`type_name`), the causes are followed through `source()`, the stack is this call's. The record carries the trail of the current request, and its span is marked as failed. Without an installed crumbtrail the id is made all the same and nothing else happens.
///
/// Costs a few microseconds on the calling thread; never blocks, never panics.
///
/// ```
/// let error = "twelve".parse::<u8>().unwrap_err();
/// let id = crumbtrail::capture(&error);
/// assert_eq!(id.to_string().len(), 26);
/// ```
#[track_caller]
pub fn capture<E: Error>(error: &E) -> ErrorId {
    let location = Location::caller();
    let Some(core) = active_core() else { return ErrorId::new() };
    capture_into(&core, error, location)
}

/// The layer that records on this thread now, else the installed one.
pub(crate) fn active_core() -> Option<Arc<Core>> {
    tracing_core::dispatcher::get_default(|dispatch| dispatch.downcast_ref::<CrumbtrailLayer>().map(|layer| layer.core().clone()))
        .or_else(crate::telemetry::installed_core)
}

pub(crate) fn capture_into<E: Error>(core: &Arc<Core>, error: &E, location: &'static Location<'static>) -> ErrorId {
    let id = ErrorId::new();
    if core.is_closed() || layer::is_own_thread() {
        return id;
    }
    let written = std::any::type_name::<E>();
    let exact = !written.contains("dyn ");
    let type_name = if exact { written.to_owned() } else { layer::guess(error).as_str().to_owned() };
    let mut links: Vec<Link> = chain::links(error)
        .into_iter()
        .map(|link| Link { type_name: layer::guess(link).as_str().to_owned(), message: bounded(&link) })
        .collect();
    if let Some(first) = links.first_mut() {
        first.type_name = type_name;
    }
    let place = Place::from(location);
    let group = group_of(Mechanism::Capture, &links, &place.file, None);
    let state = layer::current_state(core);
    raise(
        core,
        state.as_ref(),
        id,
        now(),
        Raised {
            mechanism: Mechanism::Capture,
            body: None,
            links,
            exact,
            group,
            event: Vec::new(),
            place: Some(place),
            frames: if core.stacktraces { stack::capture() } else { Box::default() },
        },
    );
    id
}

/// Makes the exception of an ERROR event, from its record.
pub(crate) fn raise_event(core: &Arc<Core>, state: Option<&Arc<SpanState>>, event: &[u8]) {
    let Some((record, _)) = Record::split_first(event) else { return };
    let Some(site) = core.callsites.by_id(record.callsite) else { return };
    let described = Described::read(&record, &site);
    let group = {
        // A known type names the defect; a text has to, where there is none.
        let typed = described.links.first().is_some_and(|link| !link.type_name.is_empty());
        let text = described.body.as_deref().or_else(|| described.links.first().filter(|_| !typed).map(|link| link.message.as_str()));
        group_of(Mechanism::Event, &described.links, described.target.as_deref().unwrap_or(site.target), text)
    };
    raise(
        core,
        state,
        ErrorId::new(),
        record.time,
        Raised {
            mechanism: Mechanism::Event,
            body: described.body,
            links: described.links,
            exact: described.exact,
            group,
            event: event.to_vec(),
            place: None,
            frames: if core.stacktraces { stack::capture() } else { Box::default() },
        },
    );
}

/// What the three ways differ in.
struct Raised {
    mechanism: Mechanism,
    body: Option<String>,
    links: Vec<Link>,
    exact: bool,
    group: GroupId,
    event: Vec<u8>,
    place: Option<Place>,
    frames: Box<[usize]>,
}

/// Adds what all three ways share and sends the draft off.
fn raise(core: &Arc<Core>, state: Option<&Arc<SpanState>>, id: ErrorId, time: u64, raised: Raised) {
    let thread = std::thread::current();
    let mut open_spans = Vec::new();
    let mut next = state;
    while let Some(span) = next.filter(|_| open_spans.len() < MAX_OPEN_SPANS) {
        open_spans.push(span.snapshot());
        next = span.parent.as_ref();
    }
    let mut draft = Box::new(Draft {
        id,
        time,
        mechanism: raised.mechanism,
        ids: state.map(|state| state.ids).unwrap_or_default(),
        body: raised.body,
        links: raised.links,
        exact: raised.exact,
        group: raised.group,
        event: raised.event,
        place: raised.place,
        frames: raised.frames,
        crumbs: state.and_then(|state| state.trail.as_ref()).map(|trail| trail.read(MAX_CRUMBS)).unwrap_or_default(),
        open_spans,
        thread_name: thread.name().map(str::to_owned),
        thread_id: number_of(&thread),
        ticket: None,
    });
    if let Some(state) = state {
        state.mark_exception(id.to_bytes(), time, draft.message());
    }
    (core.count_exception)(&draft);
    let link = core.link_here();
    if raised.mechanism == Mechanism::Panic {
        // The process may not live to see the worker take it.
        draft.ticket = link.keep(core, &draft);
    }
    let Err(mut refused) = link.express.push(draft, &link.waker) else { return };
    // What is on disk already is not lost for want of room on the way.
    let kept = refused.ticket.take().map(|ticket| link.kept.push(ticket));
    match kept {
        Some(Ok(())) => link.waker.wake(),
        Some(Err(ticket)) => {
            ticket.settle();
            link.ledger.dropped(Signal::Exceptions, Lost::QueueOverflow, 1);
        }
        None => link.ledger.dropped(Signal::Exceptions, Lost::QueueOverflow, 1),
    }
}

/// `ThreadId` shows its number only in `Debug`.
fn number_of(thread: &std::thread::Thread) -> Option<i64> {
    let shown = format!("{:?}", thread.id());
    shown.trim_start_matches("ThreadId(").trim_end_matches(')').parse().ok()
}

fn group_of(mechanism: Mechanism, links: &[Link], place: &str, message: Option<&str>) -> GroupId {
    let types: Vec<&str> = links.iter().map(|link| link.type_name.as_str()).collect();
    Grouping { mechanism: mechanism.as_str(), types: &types, place, message }.id()
}

/// User code shown: bounded, and `<panicked>` if it panics.
fn bounded(shown: &dyn std::fmt::Display) -> String {
    let text = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut text = Limited(String::new());
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{shown}"));
        text.0
    }));
    text.unwrap_or_else(|_panic| "<panicked>".to_owned())
}

struct Limited(String);

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let taken = floor_char_boundary(text, MAX_MESSAGE.saturating_sub(self.0.len()));
        self.0.push_str(&text[..taken]);
        if taken < text.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// What an ERROR event says, sorted out.
struct Described {
    body: Option<String>,
    links: Vec<Link>,
    exact: bool,
    /// The real target of a record that came through the `log` crate.
    target: Option<String>,
}

/// Names under which people log an error as text. An error logged as `&dyn Error` is found under any name.
pub(crate) const ERROR_FIELDS: [&str; 6] = ["error", "err", "e", "exception", "cause", "source"];

impl Described {
    fn read(record: &Record<'_>, site: &Callsite) -> Self {
        let mut described = Self { body: None, links: Vec::new(), exact: false, target: None };
        let mut text_error = None;
        for (key, value) in record.fields() {
            let name = site.fields.get(usize::from(key)).copied().unwrap_or_default();
            match value {
                Value::Str(text) | Value::Text(text) if name == "message" => described.body = Some(cut(text)),
                Value::Str(text) if name == "log.target" => described.target = Some(text.to_owned()),
                Value::Error { type_name, exact, messages } if described.links.is_empty() => {
                    described.exact = exact;
                    described.links = messages.iter().map(|message| Link { type_name: String::new(), message: cut(message) }).collect();
                    if let Some(first) = described.links.first_mut() {
                        first.type_name = type_name.to_owned();
                    }
                }
                Value::Str(text) | Value::Text(text) if text_error.is_none() && ERROR_FIELDS.contains(&name) => {
                    text_error = Some(cut(text));
                }
                _ => {}
            }
        }
        if described.links.is_empty() {
            let message = text_error.or_else(|| described.body.clone()).unwrap_or_else(|| site.name.to_owned());
            let type_name = layer::guess(&format_args!("{message}")).as_str().to_owned();
            // `DbError { code: 5 }` names its type; `Timeout` may be a message as well as a type.
            let type_name = if message.len() > type_name.len() { type_name } else { String::new() };
            described.links.push(Link { type_name, message });
        }
        described
    }
}

fn cut(text: &str) -> String {
    text[..floor_char_boundary(text, MAX_MESSAGE)].to_owned()
}

/// Reports the error of a `Result` on its way.
pub trait ResultExt: sealed::Sealed {
    /// [`capture`]s the error, if there is one, and returns the result as it was.
    ///
    /// ```
    /// use crumbtrail::ResultExt;
    ///
    /// fn port(text: &str) -> Result<u16, std::num::ParseIntError> {
    ///     Ok(text.parse::<u16>().captured()?)
    /// }
    /// assert_eq!(port("80"), Ok(80));
    /// assert!(port("eighty").is_err());
    /// ```
    #[must_use = "the result is passed through; only its error was reported"]
    #[track_caller]
    fn captured(self) -> Self;
}

impl<T, E: Error> ResultExt for Result<T, E> {
    #[track_caller]
    fn captured(self) -> Self {
        if let Err(error) = &self {
            capture(error);
        }
        self
    }
}

mod sealed {
    /// Only results have errors to report.
    pub trait Sealed {}
    impl<T, E> Sealed for Result<T, E> {}
}
