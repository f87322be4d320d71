//! When to try again.

use std::time::{Duration, Instant};

/// First and longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// First and longest pause between probes of a receiver that refuses whatever it is sent.
const REFUSAL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// No receiver can make us wait for longer than this at a time.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// An attempt at a receiver that has been silent waits this long for an answer.
const PROBE: Duration = Duration::from_secs(3);
/// After a silence of this long, every other attempt gets its full time again: the receiver may be
/// slow, not silent.
const PROBES_ONLY: Duration = Duration::from_secs(120);

/// Pauses between attempts: exponential, jittered, never shorter than the receiver asked for. Lives
/// as long as an outage; an answer ends it.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    silent: Option<Instant>,
    /// The next pause after a refusal. An answer does not end these: the refusal is one.
    refusal: Duration,
    attempts: u32,
    trouble: bool,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { pause: PAUSE.0, silent: None, refusal: REFUSAL.0, attempts: 0, trouble: false }
    }

    /// The receiver has answered.
    pub(super) fn reset(&mut self) {
        *self = Self { refusal: self.refusal, ..Self::new() };
    }

    /// The receiver has taken something.
    pub(super) fn is_accepted(&mut self) {
        self.refusal = REFUSAL.0;
    }

    /// How long to wait after a refusal that has nothing to do with what was sent. Only somebody
    /// can mend that.
    pub(super) fn refused(&mut self) -> Duration {
        let pause = jittered(self.refusal);
        self.refusal = (self.refusal * 2).min(REFUSAL.1);
        pause
    }

    /// How long the next attempt may take. Full time at first; short probes while the receiver is
    /// silent, so that its return is noticed soon.
    pub(super) fn limit(&mut self, timeout: Duration) -> Option<Duration> {
        self.attempts = self.attempts.wrapping_add(1);
        let full = (!timeout.is_zero()).then_some(timeout);
        match self.silent {
            Some(since) if since.elapsed() < PROBES_ONLY || self.attempts.is_multiple_of(2) => {
                Some(full.map_or(PROBE, |full| full.min(PROBE)))
            }
            _ => full,
        }
    }

    /// An attempt failed and is to be repeated; `silent`: there was no answer in its time. `true`:
    /// it is the first since the receiver last answered.
    pub(super) fn failed(&mut self, silent: bool) -> bool {
        self.silent = silent.then(|| self.silent.unwrap_or_else(Instant::now));
        !std::mem::replace(&mut self.trouble, true)
    }

    /// The last attempt failed.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble
    }

    /// How long to wait after an attempt that began at `began`, when the receiver asked for
    /// `after`.
    pub(super) fn pause(&mut self, began: Instant, after: Option<Duration>) -> Duration {
        let own = jittered(self.pause).saturating_sub(began.elapsed());
        self.pause = (self.pause * 2).min(PAUSE.1);
        match after {
            // Somewhat later than asked, so that not all come back at once. What it asked for seeds what follows.
            Some(after) => {
                let after = after.min(MAX_RETRY_AFTER);
                self.pause = self.pause.max(after).min(PAUSE.1);
                own.max(after + jittered(after / 10).min(PAUSE.1))
            }
            None => own,
        }
    }
}

/// Between half of the pause and the whole of it.
fn jittered(pause: Duration) -> Duration {
    let fraction = crate::random::random_id() as u32;
    pause.mul_f64(0.5 + f64::from(fraction) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_than_asked_nor_endless(asked in proptest::collection::vec(proptest::option::of(0u64..1 << 40), 1..20)) {
            let mut backoff = Backoff::new();
            for asked in asked {
                let asked = asked.map(Duration::from_millis);
                let pause = backoff.pause(Instant::now(), asked);
                prop_assert!(asked.is_none_or(|asked| pause >= asked.min(MAX_RETRY_AFTER)));
                prop_assert!(pause <= asked.unwrap_or_default().min(MAX_RETRY_AFTER) + 2 * PAUSE.1);
            }
        }
    }

    #[test]
    fn a_silent_receiver_is_probed() {
        let mut backoff = Backoff::new();
        let timeout = Duration::from_secs(10);
        assert_eq!(backoff.limit(timeout), Some(timeout));
        assert_eq!(backoff.limit(Duration::ZERO), None, "zero is no limit");
        assert!(backoff.failed(true) && !backoff.failed(true), "the first time is told");
        assert_eq!([backoff.limit(timeout), backoff.limit(Duration::from_secs(1))], [Some(PROBE), Some(Duration::from_secs(1))]);
        backoff.silent = Instant::now().checked_sub(PROBES_ONLY);
        let limits: std::collections::BTreeSet<_> = (0..2).map(|_| backoff.limit(timeout)).collect();
        assert_eq!(limits.len(), 2, "every other attempt gets its full time");
        backoff.reset();
        assert_eq!(backoff.limit(timeout), Some(timeout));
    }
}
