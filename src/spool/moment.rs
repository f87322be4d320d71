//! When a request was written, and how old it is. Comes in: the clocks. Goes out: an age that no
//! correction of a clock can change.
//!
//! The time of day jumps: a machine without a battery starts in 1970, or where it stopped, until it
//! has asked the network. So a request also says how long the machine had been up, and since which
//! start. Within one start of the machine that alone counts. Across starts there is only the time
//! of day: it is believed where it says that the request may still be of use, and where it says
//! otherwise the request begins to age anew, once, for the machine may as well have been told the
//! time meanwhile.

use std::sync::OnceLock;
#[cfg(feature = "spool")]
use std::time::Duration;

/// A moment, by the time of day and by how long the machine had been up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Nanoseconds since the Unix epoch.
    pub(crate) written: u64,
    /// Nanoseconds since the machine started, suspension included.
    pub(crate) uptime: u64,
    /// Which start of the machine; 0: not known.
    pub(crate) boot: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { written: crate::clock::now(), uptime: uptime(), boot: boot() }
    }

    /// How old it is now, to be kept for `limit` at most.
    #[cfg(feature = "spool")]
    pub(crate) fn age(self, limit: Duration) -> Duration {
        self.age_at(Self::now(), limit)
    }

    #[cfg(feature = "spool")]
    fn age_at(self, now: Self, limit: Duration) -> Duration {
        if self.boot == now.boot && self.boot != 0 {
            return Duration::from_nanos(now.uptime.saturating_sub(self.uptime));
        }
        let by_day = Duration::from_nanos(now.written.saturating_sub(self.written));
        if by_day <= limit { by_day } else { Duration::ZERO }
    }

    /// The moment that was so long ago, as this start of the machine counts.
    #[cfg(feature = "spool")]
    pub(crate) fn ago(self, age: Duration) -> Self {
        let now = Self::now();
        let age = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        // What is older than this start of the machine cannot be said by its uptime.
        match now.uptime.checked_sub(age) {
            // The time of day is corrected with it: what has begun to age anew does so once.
            Some(uptime) => Self { written: self.written.max(now.written.saturating_sub(age)), uptime, boot: now.boot },
            None => self,
        }
    }
}

#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
fn uptime() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(not(all(unix, any(target_os = "linux", target_os = "android"))))]
fn uptime() -> u64 {
    0
}

/// Differs from start to start. Where the system does not say, the time of day is all there is.
fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or_default()
    })
}

#[cfg(all(test, feature = "spool"))]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;
    const LIMIT: Duration = Duration::from_secs(3 * 86_400);

    /// Report B12.
    #[test]
    fn no_jump_of_the_clock_ages_a_request() {
        let at = |written, uptime, boot| Moment { written, uptime, boot };
        let written = at(1_000 * DAY, DAY, 7);
        let age = |now: Moment| written.age_at(now, LIMIT);
        assert_eq!(age(at(1_005 * DAY, DAY + 5, 7)), Duration::from_nanos(5), "the clock was set forward");
        assert_eq!(age(at(10 * DAY, DAY + 5, 7)), Duration::from_nanos(5), "or back");
        assert_eq!(age(at(1_001 * DAY, 5, 8)), Duration::from_nanos(DAY), "after another start");
        assert_eq!(age(at(1_900 * DAY, 5, 8)), Duration::ZERO, "there, a jump cannot be told from time");
        assert_eq!(age(at(1, 5, 8)), Duration::ZERO);
        let anew = Moment { written: 1, uptime: 1, boot: 1 }.ago(Duration::ZERO);
        let later = Moment { written: anew.written + DAY, uptime: 5, boot: anew.boot ^ 1 };
        assert_eq!(anew.age_at(later, LIMIT), Duration::from_nanos(DAY), "anew, and once");
    }
}
