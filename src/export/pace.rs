//! How much of the processors the worker takes where they are short: its share. Comes in: how long work took, and how much of that time the thread was given. Goes out: until when it is to rest. What is recorded beyond that is left out, so that requests are served instead.
//!
//! Whether they are short it knows by itself: a thread that works, and waits for nothing, takes as long as the time it is given; where others are given theirs in between, longer.

use std::time::{Duration, Instant};

/// Working takes so many times its time where processors are short.
const SHORT: f64 = 1.2;
/// How long what was seen counts, about.
const MEMORY: Duration = Duration::from_millis(200);
/// A rest is no longer than this.
const LONGEST: Duration = Duration::from_secs(1);
/// They are taken to be short for so long after the last sign of it: who rests is not in anybody's way, and sees none.
const HOLD: Duration = Duration::from_secs(1);
/// Work that lasts longer than this does not make way any more: others wait for what comes after it.
const PATIENCE: Duration = Duration::from_millis(50);

/// When the worker takes records, and when it rests.
pub(super) struct Pace {
    /// Of one processor.
    share: f64,
    /// What the worker's thread has been given, and how long it took; what is long ago counts less. Seconds.
    given: f64,
    took: f64,
    /// The thread's own time when it ended its last work.
    before: Option<Duration>,
    last: Instant,
    short_until: Option<Instant>,
    rests_until: Option<Instant>,
}

/// Work begun.
pub(super) struct Begun {
    at: Instant,
    own: Option<Duration>,
}

impl Begun {
    pub(super) fn is_recent(&self) -> bool {
        self.at.elapsed() < PATIENCE
    }
}

impl Pace {
    /// `share`: of all processors together; 1 is no limit.
    pub(super) fn new(share: f64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(if share < 1.0 { share * processors as f64 } else { f64::INFINITY })
    }

    /// `share`: of one processor.
    fn of(share: f64) -> Self {
        Self { share, given: 0.0, took: 0.0, before: None, last: Instant::now(), short_until: None, rests_until: None }
    }

    /// Until when no records are taken; exceptions, and whoever waits for a flush, are.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until.filter(|until| *until > Instant::now())
    }

    /// Whether others wait for a processor, as far as is known.
    pub(super) fn is_short(&self) -> bool {
        self.rests_until.is_some()
    }

    /// Before work that waits for nothing.
    pub(super) fn begin(&self) -> Begun {
        Begun { at: Instant::now(), own: own_time() }
    }

    pub(super) fn end(&mut self, begun: &Begun) {
        if let (Some(from), Some(to)) = (begun.own, own_time()) {
            let now = Instant::now();
            self.worked(to.saturating_sub(from), now.duration_since(begun.at), to, now);
        }
    }

    /// `own`: the thread's time at the end, in which is what it has sent since the last work.
    fn worked(&mut self, given: Duration, took: Duration, own: Duration, now: Instant) {
        let kept = (-now.duration_since(self.last).as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.last = now;
        self.given = self.given * kept + given.as_secs_f64();
        self.took = self.took * kept + took.as_secs_f64();
        let all = own.saturating_sub(self.before.replace(own).unwrap_or(own));
        if self.share.is_finite() && self.took > SHORT * self.given {
            self.short_until = Some(now + HOLD);
        }
        self.rests_until =
            self.short_until.filter(|until| *until > now).map(|_| now + all.mul_f64((1.0 / self.share - 1.0).max(0.0)).min(LONGEST));
    }
}

/// What the calling thread has been given of a processor so far.
#[cfg(unix)]
fn own_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

#[cfg(not(unix))]
fn own_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A worker that gets `given` of each `took`, as long as it does not rest; what it works in ten seconds.
    fn in_ten_seconds(mut pace: Pace, given: Duration, took: Duration) -> Duration {
        let begun = Instant::now();
        let (mut now, mut own) = (begun, Duration::ZERO);
        pace.last = now;
        while now < begun + 10_000 * MS {
            (now, own) = (now + took, own + given);
            pace.worked(given, took, own, now);
            now = pace.rests_until.unwrap_or(now);
        }
        own
    }

    #[test]
    fn alone_it_never_rests() {
        assert_eq!(in_ten_seconds(Pace::of(0.04), MS, MS), 10_000 * MS);
        assert_eq!(in_ten_seconds(Pace::of(0.04), 10 * MS, 11 * MS).as_secs(), 9);
    }

    #[test]
    fn beside_others_it_keeps_to_its_share() {
        for (given, took) in [(MS, 2 * MS), (3 * MS, 4 * MS), (MS / 10, 3 * MS)] {
            let worked = in_ten_seconds(Pace::of(0.04), given, took).as_secs_f64();
            assert!((0.1..=0.44).contains(&worked), "{given:?} of {took:?}: {worked} s");
        }
    }

    #[test]
    fn what_it_sends_in_between_counts_as_well() {
        let (mut pace, now) = (Pace::of(0.1), Instant::now());
        pace.worked(MS, 4 * MS, 10 * MS, now);
        assert_eq!(pace.rests_until, Some(now), "what was before its first work is not counted");
        pace.worked(MS, 4 * MS, 16 * MS, now + 10 * MS);
        assert_eq!(pace.rests_until, Some(now + 64 * MS));
    }

    #[test]
    fn without_a_limit_it_never_rests() {
        assert_eq!(in_ten_seconds(Pace::new(1.0), MS, 4 * MS), 2_500 * MS);
    }

    #[test]
    fn it_remembers_for_a_second() {
        let (mut pace, now) = (Pace::of(0.1), Instant::now());
        pace.worked(MS, 4 * MS, MS, now);
        pace.worked(MS, MS, 2 * MS, now + 900 * MS);
        assert_eq!(pace.rests_until, Some(now + 909 * MS));
        pace.worked(MS, MS, 3 * MS, now + 1_100 * MS);
        assert_eq!(pace.rests_until, None);
    }

    #[test]
    fn the_threads_time_is_told() {
        let before = own_time();
        let mut number = 0u64;
        while own_time().zip(before).is_some_and(|(now, before)| now < before + MS) {
            number = std::hint::black_box(number + 1);
        }
        assert!(number > 0 || cfg!(not(unix)));
    }
}
