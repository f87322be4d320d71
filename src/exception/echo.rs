//! One failure, one exception: an error that bubbles through instrumented functions, is captured by
//! hand and then logged by a framework is told once; what comes after is an echo.
//!
//! Which exceptions there were is known per request (with its trail) and, for what is raised
//! outside of requests, per thread. A later one is an echo of an earlier one if
//!
//! - it is raised in the earlier one's span or in a span around that: errors travel outwards; and
//! - it is not raised at the same place: that is a repetition, and counts as such; and
//! - its error is the earlier one, wraps it or is its cause, by their texts, and their types, as
//!   far as known, do not differ; or it is what `#[instrument(err)]` says of a function's error,
//!   nothing has happened since but that spans ended, and the earlier one was not an error that was
//!   logged with a message of its own.
//!
//! But an error that *wraps* the earlier one, and comes after something else has happened, or with
//! fields of its own, is news: the earlier one may have been handled. It becomes an exception,
//! which refers to the earlier one. And an echo is still a log record.

use std::sync::Arc;

use super::{ErrorId, group::Fnv};
use crate::text;

/// An ERROR event that is no exception of its own: it tells once more of this one, or of one whose
/// id is not known here.
#[derive(Clone, Copy)]
pub(crate) struct Echo(pub(crate) Option<ErrorId>);

/// Exceptions remembered.
const MAX_ENTRIES: usize = 8;
/// Causes of one that are remembered, and bytes of each message.
const MAX_LINKS: usize = 4;
const MAX_TEXT: usize = 256;
/// A text shorter than this says too little to be found within another.
const MIN_CONTAINED: usize = 8;
/// On a thread, outside of requests, what is older than this is another failure.
pub(super) const MAX_AGE_ON_THREAD: u64 = 200_000_000;
/// Within a request an error is told again sooner than this; a request may be a worker's whole
/// life.
pub(super) const MAX_AGE_IN_REQUEST: u64 = 10_000_000_000;
/// There, a handler and a framework may each tell it once more; whoever goes on is telling
/// something else.
const MAX_ECHOES_ON_THREAD: u8 = 2;

/// The last exceptions of a request or thread.
#[derive(Debug, Default)]
pub(crate) struct Recent(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    id: ErrorId,
    place: u64,
    /// The span it was last told in, and those around it.
    spans: Arc<[u64]>,
    time: u64,
    is_panic: bool,
    /// It was told with a message beside the error: whatever else a function returns may be another
    /// failure.
    has_message: bool,
    echoes: u8,
    links: Arc<[CauseKey]>,
}

/// An error or cause: what it says, its type's address, and a [fingerprint] of its `Debug` text; 0
/// where these are not known.
#[derive(Debug)]
pub(crate) struct CauseKey {
    text: String,
    type_address: u64,
    debug: u64,
}

/// What an exception has to do with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// It tells of this one once more.
    Echo(ErrorId),
    /// It is news, and wraps this one.
    Wraps(ErrorId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Same,
    Wraps,
}

/// What may be an echo, or be echoed.
pub(crate) struct Seen<'a> {
    /// Where it was raised: the same number, the same place.
    pub(crate) place: u64,
    /// The span, and those around it, innermost first; empty outside of spans.
    pub(crate) spans: &'a [u64],
    pub(crate) time: u64,
    pub(crate) is_panic: bool,
    /// Messages of the error and its causes, outermost first, and the addresses of their types.
    pub(crate) links: &'a [(&'a str, u64)],
    /// The [fingerprint] of the error's `Debug` text; 0: not known.
    pub(crate) debug: u64,
    /// What the event says besides.
    pub(crate) body: Option<&'a str>,
    /// It has fields of its own, or something has happened since the last exception.
    pub(crate) is_news: bool,
    /// It is what `#[instrument(err)]` says of a function's error, and nothing has happened since
    /// the last exception.
    pub(crate) is_passed_on: bool,
}

impl Recent {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<ErrorId> {
        self.0.last().map(|entry| entry.id)
    }

    /// The last of them, if it is not older.
    pub(crate) fn last_since(&self, time: u64) -> Option<ErrorId> {
        self.0.last().filter(|entry| entry.time >= time).map(|entry| entry.id)
    }

    /// What `seen` has to do with the exceptions of its request.
    pub(crate) fn in_request(&mut self, seen: &Seen<'_>) -> Option<Relation> {
        let (relation, entry) = self.find(seen, |entry| seen.time.saturating_sub(entry.time) <= MAX_AGE_IN_REQUEST)?;
        if let Relation::Echo(_) = relation {
            // The next function outwards is around this one's span.
            (entry.spans, entry.time) = (seen.spans.into(), seen.time);
        }
        Some(relation)
    }

    /// What `seen`, outside of requests, has to do with the exceptions of its thread.
    pub(crate) fn on_thread(&mut self, seen: &Seen<'_>) -> Option<Relation> {
        let is_recent = |entry: &Entry| seen.time.saturating_sub(entry.time) <= MAX_AGE_ON_THREAD && entry.echoes < MAX_ECHOES_ON_THREAD;
        let (relation, entry) = self.find(seen, is_recent)?;
        entry.echoes += u8::from(matches!(relation, Relation::Echo(_)));
        Some(relation)
    }

    fn find(&mut self, seen: &Seen<'_>, is_recent: impl Fn(&Entry) -> bool) -> Option<(Relation, &mut Entry)> {
        self.0.iter_mut().rev().filter(|entry| is_recent(entry)).find_map(|entry| {
            let relation = match entry.likeness(seen)? {
                Likeness::Wraps if seen.is_news => Relation::Wraps(entry.id),
                _ => Relation::Echo(entry.id),
            };
            Some((relation, entry))
        })
    }

    /// `links` are of the same, see [`links`].
    pub(crate) fn remember(&mut self, id: ErrorId, seen: &Seen<'_>, links: Arc<[CauseKey]>) {
        if self.0.len() >= MAX_ENTRIES {
            self.0.remove(0);
        }
        let spans = seen.spans.into();
        let has_message = seen.body.is_some_and(|body| seen.links.first().is_some_and(|(text, _)| *text != body));
        self.0.push(Entry { id, place: seen.place, spans, time: seen.time, is_panic: seen.is_panic, has_message, echoes: 0, links });
    }
}

/// What is remembered of an exception's error.
pub(crate) fn links(seen: &Seen<'_>) -> Arc<[CauseKey]> {
    let key = |(index, (text, type_address)): (usize, &(&str, u64))| CauseKey {
        text: cut(text).to_owned(),
        type_address: *type_address,
        debug: if index == 0 { seen.debug } else { 0 },
    };
    seen.links.iter().take(MAX_LINKS).enumerate().map(key).collect()
}

/// A number for the first line of a text. (Behind it error libraries write causes and a stack.)
pub(crate) fn fingerprint(text: &str) -> u64 {
    let mut hash = Fnv::new();
    hash.part(cut(text.lines().next().unwrap_or_default()));
    hash.0.max(1)
}

impl Entry {
    fn likeness(&self, seen: &Seen<'_>) -> Option<Likeness> {
        // Told in this function, or in one it called, and nothing happened between: this function returns the same, whatever it calls it.
        let (here, innermost) = (seen.spans.first(), self.spans.first());
        if seen.is_passed_on && !self.has_message && here.is_some() && (innermost == here || self.spans.get(1) == here) {
            return Some(Likeness::Same);
        }
        let travels_outwards = here.is_none_or(|here| self.spans.contains(here));
        // A panic is always news; and what is raised here again is, unless a function that called itself passes it on.
        let is_repetition = seen.place == self.place && !(here.is_some() && self.spans.get(1) == here);
        if seen.is_panic || is_repetition || !travels_outwards {
            return None;
        }
        // What could not be shown is no text to go by.
        let is_text = |text: &str| !(text.is_empty() || text.ends_with(text::PANICKED));
        let texts = || seen.links.iter().map(|(text, _)| *text).chain(seen.body).filter(|text| is_text(text));
        if self.is_panic && texts().any(|text| text.contains("panicked")) {
            return Some(Likeness::Same);
        }
        let earlier = self.links.first().filter(|earlier| is_text(&earlier.text))?;
        let outermost = seen.links.first().filter(|(text, _)| is_text(text));
        let is_one_of_its = outermost.is_some_and(|(text, address)| self.links.iter().any(|known| known.is_same(text, *address)));
        let is_its_debug =
            outermost.is_some_and(|(text, _)| earlier.debug == fingerprint(text)) || seen.debug == fingerprint(&earlier.text);
        let is_its_chain = texts().any(|text| is_chain(text, self.links.iter().map(|link| &*link.text)))
            || is_chain(&earlier.text, seen.links.iter().map(|(text, _)| *text));
        if is_one_of_its || is_its_debug || is_its_chain || seen.body.is_some_and(|body| earlier.is_same(body, 0)) {
            return Some(Likeness::Same);
        }
        let wraps = seen.links.iter().skip(1).any(|(text, address)| earlier.is_same(text, *address));
        (wraps || texts().any(|text| quotes(text, &earlier.text))).then_some(Likeness::Wraps)
    }
}

impl CauseKey {
    fn is_same(&self, text: &str, type_address: u64) -> bool {
        cut(text) == self.text && (self.type_address == 0 || type_address == 0 || self.type_address == type_address)
    }
}

/// Whether a text is an error and its causes, as `{:#}` shows them: `saving failed: disk full`.
fn is_chain<'a>(text: &str, links: impl Iterator<Item = &'a str>) -> bool {
    let (text, mut chain, mut count) = (cut(text), String::new(), 0);
    for link in links.take(MAX_LINKS) {
        if count > 0 {
            chain.push_str(": ");
        }
        chain.push_str(link);
        count += 1;
        if count > 1 && cut(&chain) == text {
            return true;
        }
    }
    false
}

/// Whether a text repeats another one whole, as texts do that wrap: `saving failed: disk full`,
/// `failed with "disk full"`.
fn quotes(text: &str, earlier: &str) -> bool {
    let found = (earlier.len() >= MIN_CONTAINED).then(|| text.find(earlier)).flatten();
    found.is_some_and(|at| text[..at].trim_end().ends_with([':', '"', '\'', '`', '(', '=', '-']))
}

fn cut(text: &str) -> &str {
    text::cut(text, MAX_TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(place: u64, links: &'a [(&'a str, u64)]) -> Seen<'a> {
        Seen { place, spans: &[], time: 10, is_panic: false, links, debug: 0, body: None, is_news: false, is_passed_on: false }
    }

    fn is_echo(earlier: &[(&str, u64)], later: Seen<'_>) -> bool {
        let mut recent = Recent::new();
        let earlier = seen(1, earlier);
        recent.remember(ErrorId::from_bytes([1; 16]), &earlier, links(&earlier));
        matches!(recent.in_request(&later), Some(Relation::Echo(_)))
    }

    #[test]
    fn an_echo_repeats_wraps_or_unwraps() {
        let disk = ("disk full", 0);
        assert!(is_echo(&[disk], seen(2, &[disk])));
        assert!(is_echo(&[disk], seen(2, &[("saving failed", 0), disk])));
        assert!(is_echo(&[disk], seen(2, &[("saving failed: disk full", 0)])));
        assert!(is_echo(&[("saving failed", 0), disk], seen(2, &[disk])));
        assert!(is_echo(&[disk], Seen { body: Some("request failed: disk full"), ..seen(2, &[("no", 0)]) }));
        assert!(is_echo(&[("disk full", 7)], seen(2, &[disk])), "a type that is not known is no other one");
        assert!(is_echo(&[("saving", 0), ("no", 0)], seen(2, &[("saving: no", 0)])), "as the alternate form has it");
        assert!(is_echo(&[("saving: no", 0)], seen(2, &[("saving", 0), ("no", 0)])));
        let debug = fingerprint("Failed { code: 5 }");
        assert!(is_echo(&[("Failed { code: 5 }", 0)], Seen { debug, ..seen(2, &[disk]) }));
    }

    #[test]
    fn what_wraps_and_is_news_is_another_exception_that_refers() {
        let disk = [("disk full", 0)];
        let mut recent = Recent::new();
        let earlier = seen(1, &disk);
        recent.remember(ErrorId::from_bytes([1; 16]), &earlier, links(&earlier));
        let news = |links| Seen { is_news: true, ..seen(2, links) };
        let wraps = Some(Relation::Wraps(ErrorId::from_bytes([1; 16])));
        assert_eq!(recent.in_request(&news(&[("saving failed", 0), ("disk full", 0)])), wraps);
        assert_eq!(recent.in_request(&news(&[("saving failed: disk full", 0)])), wraps);
        assert_eq!(recent.in_request(&news(&disk)), Some(Relation::Echo(ErrorId::from_bytes([1; 16]))), "the same error is no news");
    }

    #[test]
    fn what_is_another_failure_is_no_echo() {
        let disk = ("disk full", 0);
        assert!(!is_echo(&[disk], seen(1, &[disk])), "the same place again");
        assert!(!is_echo(&[disk], seen(2, &[("network down", 0)])));
        assert!(!is_echo(&[("refused", 7)], seen(2, &[("refused", 8)])), "another type");
        assert!(
            !is_echo(&[("loading failed", 0), ("timeout", 0)], seen(2, &[("saving failed", 0), ("timeout", 0)])),
            "two operations, one kind of cause"
        );
        assert!(!is_echo(&[("no", 0)], seen(2, &[("not found", 0)])), "too short to be found within another");
        assert!(!is_echo(&[("not found", 0)], seen(2, &[("gateway certificate not found, payments are down", 0)])), "not the whole of it");
        assert!(!is_echo(&[disk], Seen { is_panic: true, ..seen(2, &[disk]) }));
        assert!(!is_echo(&[("", 0)], seen(2, &[("", 0)])));
        assert!(!is_echo(&[disk], Seen { time: 11 + MAX_AGE_IN_REQUEST, ..seen(2, &[disk]) }), "long ago");
    }

    #[test]
    fn errors_travel_outwards() {
        let links_of = [("disk full", 0)];
        let mut recent = Recent::new();
        let at = |place, spans| Seen { spans, ..seen(place, &links_of) };
        let first = at(1, &[3, 2, 1]);
        recent.remember(ErrorId::from_bytes([1; 16]), &first, links(&first));
        assert!(recent.in_request(&at(2, &[9, 2, 1])).is_none(), "a sibling is another attempt");
        assert!(recent.in_request(&at(1, &[2, 1])).is_some(), "a function that called itself");
        assert!(recent.in_request(&at(2, &[1])).is_some());
        assert!(recent.in_request(&at(2, &[4, 1])).is_none());
    }

    #[test]
    fn a_thread_forgets_soon() {
        let mut recent = Recent::new();
        let disk = [("disk full", 0)];
        let first = seen(1, &disk);
        recent.remember(ErrorId::from_bytes([1; 16]), &first, links(&first));
        let later = |time| Seen { time, ..seen(2, &disk) };
        assert!(recent.on_thread(&later(10 + MAX_AGE_ON_THREAD + 1)).is_none());
        let echoes = (0..10).filter(|_| recent.on_thread(&later(11)).is_some()).count();
        assert_eq!(echoes, usize::from(MAX_ECHOES_ON_THREAD));
    }
}
