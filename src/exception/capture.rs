//! Errors that are reported by hand.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    error::Error,
    fmt::{self, Display},
    panic::Location,
    sync::Arc,
};

use super::{
    ErrorId, Mechanism, chain,
    draft::{CATEGORY, CaptureDetails, CauseDraft, MAX_MESSAGE, SourceLocation, bounded},
    echo,
    group::Fnv,
    raise::raise,
    raised::{Raised, place_number},
    type_name::{debug_line, guess},
    variant,
};
use crate::{
    Breadcrumb,
    breadcrumb::leave_breadcrumb,
    clock::now,
    ledger::{LossReason, RecordKind},
    scope,
    stack::{
        TypeAddress,
        read_only::Template,
        symbols::{pointee, without_arguments},
    },
    state::{Core, SharedSpan, active_core, current_state, is_own_thread, thread},
    text::{PANICKED, cut, truncate},
    unwind::guarded,
};

/// Reports an error by hand and returns the id of its record, to quote to the user.
///
/// Takes everything that is an error: types that implement [`Error`], and, with the feature of that
/// name, `anyhow::Error`, `eyre::Report`, `error_stack::Report` and `rootcause::Report`. The type
/// is exact, the causes are followed, the stack is this call's (or the error's own, if it brings
/// one). The record carries the trail of the current request, and its span is marked as failed.
/// Without an installed crumbtrail the id is made all the same and nothing else happens.
///
/// In a storm the id may be one of an exception that was only counted, see
/// [`ExceptionRate`](crate::config::ExceptionRate).
///
/// An error that was told before in this request, as it was, wrapped or unwrapped, is not told
/// again: the id of its first record comes back.
///
/// What else is to be said of this one report goes with it: [`ErrorReport`](crate::ErrorReport),
/// with tags, a level, a group, attachments, the error's own backtrace.
///
/// Costs a few microseconds on the calling thread; never blocks, never panics. (An error's own
/// backtrace, where `RUST_BACKTRACE` asks for one, is given its names here, by the standard
/// library: that takes milliseconds.)
///
/// ```
/// let error = "twelve".parse::<u8>().unwrap_err();
/// let (id, collected) = crumbtrail::testing::collect(|| crumbtrail::capture(&error));
/// assert_eq!(collected.exceptions()[0].id(), id);
/// assert_eq!(collected.exceptions()[0].type_name(), "core::num::error::ParseIntError");
/// ```
#[track_caller]
#[inline(always)]
pub fn capture<Kind>(error: &(impl Capture<Kind> + ?Sized)) -> ErrorId {
    // Something is left to do after the call, so that it is not the caller's last and the caller stays on the stack that is captured.
    std::hint::black_box(capture_here(error, Location::caller()))
}

/// The id of the last exception that was told in the current request, to show to who waits for it.
/// `None` where there was none, and outside of requests.
///
/// ```
/// let (shown, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("request").entered();
///     assert_eq!(crumbtrail::last_error_id(), None);
///     tracing::error!("card refused");
///     crumbtrail::last_error_id()
/// });
/// assert_eq!(shown, Some(collected.exceptions()[0].id()));
/// ```
pub fn last_error_id() -> Option<ErrorId> {
    current_state(&active_core()?)?.trail()?.recent().last()
}

#[inline(never)]
fn capture_here<Kind>(error: &(impl Capture<Kind> + ?Sized), location: &'static Location<'static>) -> ErrorId {
    let Some(core) = active_core() else { return ErrorId::new() };
    capture_into(&core, error, location)
}

/// What [`capture`] takes. `Kind` tells the families of errors apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no error that crumbtrail can capture",
    note = "it has to implement `std::error::Error`; `anyhow::Error` and its like need crumbtrail's feature of that name"
)]
pub trait Capture<Kind>: sealed::Sealed<Kind> {
    /// Says what it is.
    #[doc(hidden)]
    fn describe(&self, parts: &mut CaptureParts);
}

/// Errors that implement [`Error`].
#[derive(Debug)]
#[non_exhaustive]
pub struct StdError;

impl<E: Error> Capture<StdError> for E {
    fn describe(&self, parts: &mut CaptureParts) {
        parts.error(self);
        // `&dyn Error` behind a reference is an error, too, of a type that has no name.
        let (name, is_dyn) = (std::any::type_name::<E>(), std::any::type_name::<E>().contains("dyn "));
        if !is_dyn {
            parts.name(&without_arguments(pointee(name)));
        }
    }
}

/// What is known of a captured error. Filled by [`Capture`].
#[doc(hidden)]
#[derive(Default)]
pub struct CaptureParts {
    links: Vec<CauseDraft>,
    /// What of the first message is the same every time.
    template: Option<String>,
    /// A fingerprint of the error's `Debug` text.
    debug: u64,
    /// Which of an enumeration's errors it is.
    variant: String,
    backtrace: Option<String>,
    attachments: Vec<String>,
    details: CaptureDetails,
    core: Option<Arc<Core>>,
}

impl fmt::Debug for CaptureParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureParts").field("links", &self.links).finish_non_exhaustive()
    }
}

/// Attachments of one exception at most; the first stay.
pub(super) const MAX_ATTACHMENTS: usize = 16;

/// Backtraces are cut here: later stages cut further.
const MAX_BACKTRACE: usize = 32 * 1024;

impl CaptureParts {
    /// An error and all its causes.
    pub(super) fn error(&mut self, error: &dyn Error) {
        for link in chain::links(error) {
            self.link(link, TypeAddress::of(link));
            self.debug(link);
        }
    }

    /// What the last link's `Debug` text tells of it.
    fn debug(&mut self, shown: &dyn fmt::Debug) {
        if let (Some(last), Some(core)) = (self.links.last_mut(), &self.core) {
            let line = debug_line(shown);
            let line = core.scrubber.scrub(&line);
            // For where symbols cannot tell.
            last.type_name = guess(&line).to_owned();
            if self.debug == 0 {
                (self.debug, self.variant) = (echo::fingerprint(&line), variant::path(&line));
            }
        }
    }

    /// What can be shown and is not known to be an error: it has no causes.
    #[cfg(feature = "actix-web-4")]
    pub(super) fn shown(&mut self, debug: &dyn fmt::Debug, display: &dyn Display) {
        self.link(display, TypeAddress::of_shown(debug, display));
        self.debug(debug);
    }

    /// One link, without its causes.
    #[cfg(feature = "error-stack-0-8")]
    pub(super) fn link_of(&mut self, error: &(dyn Error + 'static)) {
        self.link(error, TypeAddress::of(error));
    }

    /// One link, of which there is only a text.
    #[cfg(feature = "rootcause-0-13")]
    pub(super) fn text(&mut self, shown: &dyn Display, type_name: &str) {
        self.link(shown, TypeAddress::default());
        if let Some(last) = self.links.last_mut().filter(|_| !type_name.is_empty()) {
            (last.type_name, last.exact) = (type_name.to_owned(), true);
        }
    }

    /// The type of the outermost error is certain.
    pub(super) fn name(&mut self, type_name: &str) {
        if let Some(first) = self.links.first_mut() {
            (first.type_name, first.exact) = (type_name.to_owned(), true);
        }
    }

    /// The stack that the error brings.
    pub(super) fn backtrace(&mut self, backtrace: &Backtrace) {
        if backtrace.status() == BacktraceStatus::Captured && self.backtrace.is_none() {
            let mut text = backtrace.to_string();
            truncate(&mut text, MAX_BACKTRACE);
            self.backtrace = Some(text);
        }
    }

    /// What who captures it says of it.
    pub(super) fn set_details(&mut self, details: &CaptureDetails, attachments: &[String]) {
        self.details = details.clone();
        let room = MAX_ATTACHMENTS.saturating_sub(self.attachments.len());
        self.attachments.extend(attachments.iter().take(room).cloned());
    }

    /// What else a report carries.
    #[cfg(any(feature = "error-stack-0-8", feature = "rootcause-0-13"))]
    pub(super) fn attachment(&mut self, shown: &dyn Display) {
        if self.attachments.len() < MAX_ATTACHMENTS {
            self.attachments.push(bounded(format_args!("{shown}"), None));
        }
    }

    fn link(&mut self, shown: &(impl Display + ?Sized), address: TypeAddress) {
        // What is the same every time is told of the outermost.
        let mut template = self.core.as_ref().filter(|_| self.links.is_empty()).and_then(|core| core.literals.begin());
        let message = bounded(format_args!("{shown}"), template.as_mut());
        self.template = template.map(Template::finish).or(self.template.take());
        self.links.push(CauseDraft { address, message, ..CauseDraft::default() });
    }
}

/// Reports to this telemetry, whichever is current.
pub(crate) fn capture_into<Kind>(core: &Arc<Core>, error: &(impl Capture<Kind> + ?Sized), location: &'static Location<'static>) -> ErrorId {
    capture_for(core, current_state(core), error, Some(location))
}

/// The error ends the process.
pub(crate) fn capture_at_the_end(core: &Arc<Core>, error: &(dyn Error + Send + Sync + 'static), location: &'static Location<'static>) {
    let told = capture_as(Mechanism::Main, core, current_state(core), error, Some(location));
    core.is_the_end(told);
}

/// The same for a span that need not be the current one, and perhaps from no place in the program.
pub(crate) fn capture_for<Kind>(
    core: &Arc<Core>,
    state: Option<SharedSpan>,
    error: &(impl Capture<Kind> + ?Sized),
    location: Option<&'static Location<'static>>,
) -> ErrorId {
    capture_as(Mechanism::Capture, core, state, error, location)
}

fn capture_as<Kind>(
    mechanism: Mechanism,
    core: &Arc<Core>,
    state: Option<SharedSpan>,
    error: &(impl Capture<Kind> + ?Sized),
    location: Option<&'static Location<'static>>,
) -> ErrorId {
    let id = ErrorId::new();
    if core.is_closed() {
        core.lost_after_end();
    }
    if core.is_closed() || is_own_thread() {
        return id;
    }
    let mut parts = CaptureParts { core: Some(core.clone()), ..CaptureParts::default() };
    // The program's code: `Display`, `source`.
    // It may capture itself: that is bounded as events within events are.
    if !thread::nested(|| _ = guarded(|| error.describe(&mut parts))) {
        core.ledger().dropped(RecordKind::Exceptions, LossReason::Reentrant, 1);
        core.storm.count_other();
        return id;
    }
    if parts.links.is_empty() {
        parts.links.push(CauseDraft { message: PANICKED.to_owned(), ..CauseDraft::default() });
    }
    let texts = parts.links.iter_mut().map(|link| &mut link.message).chain(&mut parts.attachments);
    for text in texts {
        match core.scrubber.text(text) {
            Ok(clean) => *text = cut(&clean, MAX_MESSAGE).to_owned(),
            Err(_) => {
                core.ledger().dropped(RecordKind::Exceptions, LossReason::ScrubberFailed, 1);
                core.storm.count_other();
                return id;
            }
        }
    }
    // The program's rules for secrets run in it.
    let said = guarded(|| scope::clean_tags(&core.scrubber, std::mem::take(&mut parts.details.tags)));
    let Some(tags) = said else {
        core.ledger().dropped(RecordKind::Exceptions, LossReason::ScrubberFailed, 1);
        core.storm.count_other();
        return id;
    };
    parts.details.tags = tags;
    let place = place_number(location);
    let template = parts.template;
    let group = {
        let mut key = Fnv(place);
        key.part(parts.links.first().map_or("", |link| link.type_name.as_str()));
        parts.links.iter().for_each(|link| key.0 = key.0.rotate_left(17) ^ link.address.0[0]);
        key.part(template.as_deref().unwrap_or_default());
        key.part(&parts.variant);
        // What is grouped together is limited together.
        if let Some(group) = &parts.details.group {
            key = Fnv::new();
            key.part(group);
        }
        key.0
    };
    let message = parts.links[0].message.clone();
    let mut raised = Raised::new(mechanism, parts.links);
    raised.fatal = mechanism == Mechanism::Main;
    (raised.templates[1], raised.debug, raised.variant) = (template, parts.debug, parts.variant);
    raised.place = location.map(SourceLocation::from);
    (raised.backtrace, raised.attachments) = (parts.backtrace, parts.attachments);
    (raised.at, raised.key) = (place, group);
    let CaptureDetails { tags, level, group } = &parts.details;
    let level = level.unwrap_or(tracing_core::Level::ERROR);
    let has_said = !tags.is_empty() || group.is_some();
    (raised.level, raised.details) = (level, has_said.then(|| Box::new(parts.details)));
    let told = raise(core, state.as_deref(), id, now(), raised);
    let id = told.err().unwrap_or(id);
    if let Some(state) = &state {
        leave_breadcrumb(core, state, true, || {
            Breadcrumb::new(CATEGORY, message).with_level(level).with_data("crumbtrail.error.id", id.to_string())
        });
    }
    id
}

/// Reports the error of a `Result` on its way.
pub trait ResultExt<Kind>: sealed::SealedResult {
    /// [`capture`]s the error, if there is one, and returns the result as it was.
    ///
    /// ```
    /// use crumbtrail::ResultExt;
    ///
    /// fn port(text: &str) -> Result<u16, std::num::ParseIntError> {
    ///     Ok(text.parse::<u16>().capture_err()?)
    /// }
    /// let (port, collected) = crumbtrail::testing::collect(|| port("eighty"));
    /// assert!(port.is_err());
    /// assert_eq!(collected.exceptions()[0].message(), "invalid digit found in string");
    /// ```
    #[must_use = "the result is passed through; only its error was reported"]
    #[track_caller]
    fn capture_err(self) -> Self;
}

impl<T, E: Capture<Kind>, Kind> ResultExt<Kind> for Result<T, E> {
    #[track_caller]
    #[inline(always)]
    fn capture_err(self) -> Self {
        if let Err(error) = &self {
            capture(error);
        }
        self
    }
}

pub(super) mod sealed {
    /// Families of errors are added here.
    pub trait Sealed<Kind> {}
    impl<E: std::error::Error> Sealed<super::StdError> for E {}

    /// Only results have errors to report.
    pub trait SealedResult {}
    impl<T, E> SealedResult for Result<T, E> {}
}
