//! Overload, said: on stderr when it begins and when it has ended, and in the data while it lasts.
//! Comes in: what the ledger has counted of what was left out, logs and spans. Goes out: lines, a
//! state for who asks, and for each request the share that is missing beside it.
//!
//! What else has to do with it: whether a request is *left out* is decided by
//! `state/thread/overload.rs` where its root opens (`layer/open.rs`) and remembered by its trail
//! (`trail/left_out.rs`); its spans are counted where they end (`layer/close.rs`). What then finds
//! no room is *dropped*. Both are counted by the thread (`outbox/losses.rs`).

use std::time::{Duration, Instant};

/// It has ended when nothing was left out for so long.
const CALM: Duration = Duration::from_secs(5);
/// What comes and goes must not fill the logs: so long after an end no beginning is said, nor its
/// end; the next that is said has the sum.
const BETWEEN: Duration = Duration::from_secs(60);

/// Logs and spans.
type Counts = [u64; 2];

#[derive(Default)]
pub(super) struct Overload {
    /// What is known to be left out.
    seen: Counts,
    /// How much of it was said.
    said: Counts,
    /// How much of it there was when a request was made last.
    with_request: Counts,
    begun: Option<Begun>,
    ended: Option<Instant>,
}

struct Begun {
    at: Instant,
    last: Instant,
    is_said: bool,
}

impl Overload {
    /// Looks at what is left out by now; returns what is to be said. While a lane `is_full` an
    /// overload does not end: nothing is sent, even where just now nothing is recorded.
    pub(super) fn look(&mut self, left_out: Counts, is_full: bool, now: Instant) -> Option<String> {
        if left_out != self.seen {
            self.seen = left_out;
            return match &mut self.begun {
                Some(begun) => {
                    begun.last = now;
                    None
                }
                None => self.begin(now),
            };
        }
        self.begun.take_if(|begun| !is_full && now.duration_since(begun.last) >= CALM).and_then(|begun| {
            let lost = self.end(&begun, now)?;
            Some(format!("what is recorded is exported again; {lost}"))
        })
    }

    /// At the shutdown: ends what lasts, and says what was not yet seen of it. That it "is exported
    /// again" is not said.
    pub(super) fn finish(&mut self, left_out: Counts, now: Instant) -> Option<String> {
        self.look(left_out, true, now);
        let lost = self.begun.take().and_then(|begun| self.end(&begun, now))?;
        Some(format!("more was recorded than could be exported; {lost}"))
    }

    /// It lasts.
    pub(super) fn is_now(&self) -> bool {
        self.begun.is_some()
    }

    /// A request is made of so many records, of logs (0) or spans (1). Of all that were recorded
    /// meanwhile, which share is missing? `None`: none.
    pub(super) fn missing(&mut self, signal: usize, left_out: Counts, records: u64) -> Option<f64> {
        let missing = left_out[signal] - std::mem::replace(&mut self.with_request[signal], left_out[signal]);
        (missing > 0).then(|| missing as f64 / (missing + records) as f64)
    }

    fn begin(&mut self, now: Instant) -> Option<String> {
        let is_said = self.ended.is_none_or(|ended| now.duration_since(ended) >= BETWEEN);
        self.begun = Some(Begun { at: now, last: now, is_said });
        is_said.then(|| {
            "more is recorded than can be exported, so whole requests are left out, their spans and their logs below WARN; exceptions, warnings and traces that are kept are not. What is left out is counted (Telemetry::stats, otel.sdk.processor.*.processed). A sampler or a filter that records less is the remedy, or a receiver that is faster".to_owned()
        })
    }

    fn end(&mut self, begun: &Begun, now: Instant) -> Option<String> {
        if !begun.is_said {
            return None;
        }
        self.ended = Some(now);
        let before = std::mem::replace(&mut self.said, self.seen);
        let [logs, spans] = [0, 1].map(|signal| self.seen[signal] - before[signal]);
        let lasted = begun.last.duration_since(begun.at).as_secs_f64();
        Some(format!("in {lasted:.1} s {logs} logs and {spans} spans were left out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_beginning_and_an_end_are_said_and_not_all_of_many() {
        let (mut overload, begun) = (Overload::default(), Instant::now());
        let mut at = |seconds: u32, left_out| overload.look(left_out, false, begun + seconds * S);
        assert_eq!(at(0, [0, 0]), None);
        assert!(at(1, [5, 10]).is_some_and(|said| said.contains("left out")));
        assert_eq!((at(3, [9, 10]), at(4, [9, 10]), at(7, [9, 10])), (None, None, None));
        assert_eq!(at(8, [9, 10]).unwrap(), "what is recorded is exported again; in 2.0 s 9 logs and 10 spans were left out");
        assert_eq!((at(9, [9, 10]), at(20, [10, 12]), at(40, [10, 12])), (None, None, None), "the next is too soon to be said");
        assert!(at(80, [11, 12]).is_some());
        assert!(overload.is_now());
        assert_eq!(
            overload.finish([14, 12], begun + 82 * S).unwrap(),
            "more was recorded than could be exported; in 2.0 s 5 logs and 2 spans were left out"
        );
        assert!(!overload.is_now() && overload.finish([14, 12], begun + 90 * S).is_none());
    }

    #[test]
    fn it_is_not_over_while_there_is_no_room() {
        let (mut overload, begun) = (Overload::default(), Instant::now());
        let mut at = |seconds: u32, is_full| overload.look([5, 10], is_full, begun + seconds * S);
        assert!(at(0, true).is_some());
        assert_eq!((at(10, true), at(60, true)), (None, None), "nobody records, and nothing is sent");
        assert_eq!(at(61, false).unwrap(), "what is recorded is exported again; in 0.0 s 5 logs and 10 spans were left out");
    }

    #[test]
    fn what_begins_at_the_end_is_said() {
        let mut overload = Overload::default();
        let said = overload.finish([5, 0], Instant::now()).unwrap();
        assert!(said.contains("5 logs and 0 spans were left out"), "{said}");
    }

    #[test]
    fn a_request_knows_what_is_missing_beside_it() {
        let mut overload = Overload::default();
        assert_eq!(overload.missing(0, [0, 0], 100), None);
        assert_eq!(overload.missing(0, [300, 50], 100), Some(0.75));
        assert_eq!((overload.missing(0, [300, 50], 100), overload.missing(1, [300, 50], 50)), (None, Some(0.5)));
    }
}
