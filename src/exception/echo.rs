//! One failure, one exception: an error that bubbles through instrumented functions, is captured by hand and then logged by a framework is told once; what comes after is an echo.
//!
//! Which exceptions there were is known per request (with its trail) and, for what is raised outside of requests, per thread. Texts decide: an echo's error is the earlier one, wraps it, or is its cause; and for `#[instrument(err)]`, which tells an error by its own words only, that nothing has happened since the function it called told one. What is raised at the same place again is no echo but a repetition, and counts as such.

use std::sync::Arc;

use super::ErrorId;
use crate::trail::record::{SpanIds, floor_char_boundary};

/// Exceptions remembered.
const MAX_ENTRIES: usize = 8;
/// Causes of one that are remembered, and bytes of each message.
const MAX_LINKS: usize = 4;
const MAX_TEXT: usize = 256;
/// A text shorter than this says too little to be found within another.
const MIN_CONTAINED: usize = 8;
/// On a thread, outside of requests, what is older than this is another failure.
const MAX_AGE_ON_THREAD: u64 = 200_000_000;
/// There, a handler and a framework may each tell it once more; whoever goes on is telling something else.
const MAX_ECHOES_ON_THREAD: u8 = 2;

/// The last exceptions of a request or thread.
#[derive(Debug, Default)]
pub(crate) struct Recent(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    id: ErrorId,
    place: u64,
    ids: SpanIds,
    time: u64,
    is_panic: bool,
    echoes: u8,
    /// Messages of the error and its causes, outermost first.
    texts: Arc<[String]>,
}

/// What may be an echo, or be echoed.
pub(crate) struct Seen<'a> {
    /// Where it was raised: the same number, the same place.
    pub(crate) place: u64,
    pub(crate) ids: SpanIds,
    pub(crate) time: u64,
    pub(crate) is_panic: bool,
    /// Messages of the error and its causes, outermost first.
    pub(crate) texts: &'a [&'a str],
    /// What the event says besides.
    pub(crate) body: Option<&'a str>,
    /// It is what `#[instrument(err)]` says of a function's error, and nothing has happened since the last exception.
    pub(crate) is_passed_on: bool,
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The exception of this request that `seen` tells of once more.
    pub(crate) fn echo_in_request(&mut self, seen: &Seen<'_>) -> Option<ErrorId> {
        let found = self.0.iter_mut().rev().find(|entry| entry.is_echoed_by(seen))?;
        // The next function outwards is the parent of this one's span.
        found.ids = seen.ids;
        Some(found.id)
    }

    /// The exception of this thread that `seen`, outside of requests, tells of once more.
    pub(crate) fn echo_on_thread(&mut self, seen: &Seen<'_>) -> Option<ErrorId> {
        let is_recent = |entry: &Entry| seen.time.saturating_sub(entry.time) <= MAX_AGE_ON_THREAD && entry.echoes < MAX_ECHOES_ON_THREAD;
        let found = self.0.iter_mut().rev().find(|entry| is_recent(entry) && entry.is_echoed_by(seen))?;
        found.echoes += 1;
        Some(found.id)
    }

    /// `texts` are of the same, see [`texts`].
    pub(crate) fn remember(&mut self, id: ErrorId, seen: &Seen<'_>, texts: Arc<[String]>) {
        if self.0.len() >= MAX_ENTRIES {
            self.0.remove(0);
        }
        self.0.push(Entry { id, place: seen.place, ids: seen.ids, time: seen.time, is_panic: seen.is_panic, echoes: 0, texts });
    }
}

/// What is remembered of an exception's messages.
pub(crate) fn texts(seen: &Seen<'_>) -> Arc<[String]> {
    seen.texts.iter().take(MAX_LINKS).map(|text| cut(text).to_owned()).collect()
}

impl Entry {
    fn is_echoed_by(&self, seen: &Seen<'_>) -> bool {
        // A panic is always news; and what is raised here again is, unless a function that called itself passes it on.
        if seen.is_panic || (seen.place == self.place && !(seen.ids.span != 0 && self.ids.parent == seen.ids.span)) {
            return false;
        }
        // Told in this function, or in one it called, and nothing happened between: this function returns the same, whatever it calls it.
        if seen.is_passed_on && (self.ids.parent == seen.ids.span || self.ids.span == seen.ids.span) {
            return true;
        }
        // What could not be shown is no text to go by.
        let texts = || seen.texts.iter().copied().chain(seen.body).filter(|text| *text != super::PANICKED);
        if self.is_panic && texts().any(|text| text.contains("panicked")) {
            return true;
        }
        let Some(earlier) = self.texts.first().filter(|text| !(text.is_empty() || *text == super::PANICKED)) else { return false };
        let is_the_same_or_wraps =
            texts().any(|text| cut(text) == earlier || earlier.len() >= MIN_CONTAINED && text.contains(earlier.as_str()));
        let is_a_cause = texts().next().is_some_and(|text| !seen.texts.is_empty() && self.texts.iter().any(|known| known == cut(text)));
        is_the_same_or_wraps || is_a_cause
    }
}

fn cut(text: &str) -> &str {
    &text[..floor_char_boundary(text, MAX_TEXT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(place: u64, texts: &'a [&'a str]) -> Seen<'a> {
        Seen { place, ids: SpanIds::default(), time: 10, is_panic: false, texts, body: None, is_passed_on: false }
    }

    fn is_echo(earlier: &[&str], later: Seen<'_>) -> bool {
        let mut recent = Recent::new();
        let seen = seen(1, earlier);
        recent.remember(ErrorId::from_bytes([1; 16]), &seen, texts(&seen));
        recent.echo_in_request(&later).is_some()
    }

    #[test]
    fn an_echo_repeats_wraps_or_unwraps() {
        assert!(is_echo(&["disk full"], seen(2, &["disk full"])));
        assert!(is_echo(&["disk full"], seen(2, &["saving failed", "disk full"])));
        assert!(is_echo(&["disk full"], seen(2, &["saving failed: disk full"])));
        assert!(is_echo(&["saving failed", "disk full"], seen(2, &["disk full"])));
        assert!(is_echo(&["disk full"], Seen { body: Some("request failed: disk full"), ..seen(2, &["no"]) }));
    }

    #[test]
    fn what_is_another_failure_is_no_echo() {
        assert!(!is_echo(&["disk full"], seen(1, &["disk full"])), "the same place again");
        assert!(!is_echo(&["disk full"], seen(2, &["network down"])));
        assert!(!is_echo(&["loading failed", "timeout"], seen(2, &["saving failed", "timeout"])), "two operations, one kind of cause");
        assert!(!is_echo(&["no"], seen(2, &["not found"])), "too short to be found within another");
        assert!(!is_echo(&["disk full"], Seen { is_panic: true, ..seen(2, &["disk full"]) }));
        assert!(!is_echo(&[""], seen(2, &[""])));
    }

    #[test]
    fn a_thread_forgets_soon() {
        let mut recent = Recent::new();
        let first = seen(1, &["disk full"]);
        recent.remember(ErrorId::from_bytes([1; 16]), &first, texts(&first));
        let later = |time| Seen { time, ..seen(2, &["disk full"]) };
        assert!(recent.echo_on_thread(&later(10 + MAX_AGE_ON_THREAD + 1)).is_none());
        let echoes = (0..10).filter(|_| recent.echo_on_thread(&later(11)).is_some()).count();
        assert_eq!(echoes, usize::from(MAX_ECHOES_ON_THREAD));
    }

    #[test]
    fn a_recursive_function_passes_its_error_on() {
        let mut recent = Recent::new();
        let at = |span, parent| Seen { ids: SpanIds { span, parent, ..SpanIds::default() }, ..seen(1, &["disk full"]) };
        recent.remember(ErrorId::from_bytes([1; 16]), &at(3, 2), texts(&at(3, 2)));
        assert!(recent.echo_in_request(&at(2, 1)).is_some());
        assert!(recent.echo_in_request(&at(1, 0)).is_some());
        assert!(recent.echo_in_request(&at(9, 0)).is_none(), "a sibling is another attempt");
    }
}
