//! A ceiling on what the worker takes of the processors, for who asks for one. Comes in: that a
//! turn is over. Goes out: until when it is to rest. What is recorded beyond that is left out.

use std::time::{Duration, Instant};

/// A rest is no longer than this.
const LONGEST: Duration = Duration::from_secs(1);

/// When the worker takes records, and when it rests.
pub(super) struct CpuShare {
    /// Of one processor. `None`: there is no ceiling.
    share: Option<f64>,
    /// What the thread had been given at the end of the last turn.
    before: Option<Duration>,
    rests_until: Option<Instant>,
}

impl CpuShare {
    /// `share`: of all processors together; 1 is no ceiling.
    pub(super) fn new(share: f64) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let of_one = share * processors as f64;
        Self::of((share < 1.0 && of_one < 1.0).then_some(of_one))
    }

    fn of(share: Option<f64>) -> Self {
        Self { share, before: None, rests_until: None }
    }

    /// Until when no records are taken; exceptions, and whoever waits for a flush, are.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rests_until.filter(|until| *until > Instant::now())
    }

    /// A turn is over.
    pub(super) fn turn_ends(&mut self) {
        if let Some(share) = self.share
            && let Some(own) = own_time()
        {
            self.worked(share, own, Instant::now());
        }
    }

    /// `own`: the thread's time, in which is what it has sent since the last turn.
    fn worked(&mut self, share: f64, own: Duration, now: Instant) {
        let worked = own.saturating_sub(self.before.replace(own).unwrap_or(own));
        // Idle time is nobody's, and is not saved up.
        let begun = now.checked_sub(worked).into_iter().chain(self.rests_until).max().unwrap_or(now);
        self.rests_until = Some((begun + worked.div_f64(share)).clamp(now, now + LONGEST));
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

    #[test]
    fn it_keeps_to_its_share_and_what_it_sends_counts_as_well() {
        for (share, worked) in [(0.04, MS), (0.5, 3 * MS), (0.02, MS / 10)] {
            let mut ceiling = CpuShare::of(Some(share));
            let begun = Instant::now();
            let (mut now, mut own) = (begun, Duration::ZERO);
            while now < begun + 10_000 * MS {
                (now, own) = (now + worked, own + worked);
                ceiling.worked(share, own, now);
                // It sends while it rests.
                own += worked / 2;
                now = now.max(ceiling.rests_until.expect("it rests"));
            }
            let taken = own.as_secs_f64() / now.duration_since(begun).as_secs_f64();
            assert!((taken / share - 1.0).abs() < 0.1, "{taken} instead of {share}");
        }
    }

    #[test]
    fn a_rest_is_not_for_ever_and_without_a_ceiling_there_is_none() {
        let (mut ceiling, now) = (CpuShare::of(Some(0.001)), Instant::now());
        ceiling.worked(0.001, MS, now);
        assert_eq!(ceiling.rests_until, Some(now), "what was before its first turn is not counted");
        ceiling.worked(0.001, MS + MS / 100, now + 50 * MS);
        assert_eq!(ceiling.rests_until, Some(now + 50 * MS - MS / 100 + 10 * MS), "idle time is not saved up");
        ceiling.worked(0.001, 1_000 * MS, now);
        assert_eq!(ceiling.rests_until, Some(now + LONGEST));
        let mut ceiling = CpuShare::new(1.0);
        ceiling.turn_ends();
        assert_eq!(ceiling.rests_until(), None);
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
