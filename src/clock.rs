//! The time of a record: nanoseconds since the Unix epoch, in about a third of what the system's
//! clock costs.
//!
//! A request reads the clock some twenty times, so it is the largest single cost of the hot path.
//! Where the kernel itself keeps time by the processor's time stamp counter (`current_clocksource`
//! is `tsc`: invariant and the same on all processors), so may we: the worker anchors the counter
//! to the wall clock ten times a second and measures its rate over at least a quarter of a second,
//! and callers extrapolate from the last anchor. Everywhere else, before the first anchor, and when
//! an anchor is old (the worker hangs, the machine slept, the process was forked), the system's
//! clock is asked.
//!
//! # Unsafe
//!
//! One intrinsic, `_rdtsc`. Invariant: it reads a register and touches no memory; every x86-64
//! processor has it in user mode unless the kernel forbade it by `prctl`, and then the kernel's own
//! fast clock would not work either. The test `both_clocks_agree` fails where the value is not what
//! is claimed.

use std::{
    sync::atomic::{AtomicU64, Ordering, fence},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The process has one counter, so there is one anchor.
static ANCHOR: Anchor = Anchor::new();

/// Nanoseconds since the Unix epoch; 0 before it, the year 2554 after it.
#[inline]
pub(crate) fn now() -> u64 {
    counter().and_then(|ticks| ANCHOR.time_of(ticks)).unwrap_or_else(system_now)
}

fn system_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Ticks and nanoseconds that belong together, and the rate between them. Written by one writer at
/// a time, read by all under a sequence count.
struct Anchor {
    /// Odd while being written; 0 before the first anchor.
    sequence: AtomicU64,
    ticks: AtomicU64,
    nanos: AtomicU64,
    /// Nanoseconds a tick, times 2³².
    rate: AtomicU64,
    /// Ticks after which the anchor is too old.
    valid_for: AtomicU64,
}

impl Anchor {
    const fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            ticks: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            valid_for: AtomicU64::new(0),
        }
    }

    /// `None`: no anchor, an old one, or one that is being replaced right now.
    #[inline]
    fn time_of(&self, ticks: u64) -> Option<u64> {
        let sequence = self.sequence.load(Ordering::Acquire);
        let since = ticks.wrapping_sub(self.ticks.load(Ordering::Relaxed));
        let nanos = self.nanos.load(Ordering::Relaxed);
        let rate = self.rate.load(Ordering::Relaxed);
        // A counter that went back looks like one that went far ahead.
        let fresh = since < self.valid_for.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let settled = sequence.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == sequence;
        (fresh && settled).then(|| nanos + ((u128::from(since) * u128::from(rate)) >> 32) as u64)
    }

    fn replace(&self, pair: Pair, nanos_per_tick: f64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        // Another telemetry's worker is at it: its anchor is as good.
        let mine = sequence.is_multiple_of(2)
            && self.sequence.compare_exchange(sequence, sequence + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine {
            return;
        }
        fence(Ordering::Release);
        self.ticks.store(pair.ticks, Ordering::Relaxed);
        self.nanos.store(pair.nanos, Ordering::Relaxed);
        self.rate.store((nanos_per_tick * 4_294_967_296.0) as u64, Ordering::Relaxed);
        self.valid_for.store((VALID.as_nanos() as f64 / nanos_per_tick) as u64, Ordering::Relaxed);
        self.sequence.store(sequence + 2, Ordering::Release);
    }
}

/// An anchor serves for this long.
const VALID: Duration = Duration::from_secs(2);
/// Anchors are at least this far apart.
const INTERVAL: Duration = Duration::from_millis(50);
/// The rate is measured over at least this long.
const BASELINE: Duration = Duration::from_millis(250);
/// A rate that differs by more than this from the one before is a clock that was set, not a counter
/// that drifts.
const MAX_CHANGE: f64 = 0.001;

/// A reading of both clocks at once, as near as can be had.
#[derive(Clone, Copy)]
struct Pair {
    ticks: u64,
    nanos: u64,
    /// Monotonic: the rate must not see the wall clock being set.
    at: Instant,
}

/// Keeps the anchor fresh. The worker calls [`renew`](Self::renew) on every turn.
pub(crate) struct AnchorWriter {
    first: Option<Pair>,
    rate: Option<f64>,
    renewed: Option<Instant>,
}

impl AnchorWriter {
    pub(crate) fn new() -> Self {
        Self { first: is_trustworthy().then(Pair::read).flatten(), rate: None, renewed: None }
    }

    /// Anchors anew, unless that was done just now. Costs a few clock readings.
    pub(crate) fn renew(&mut self) {
        let Some(first) = self.first else { return };
        if self.renewed.is_some_and(|renewed| renewed.elapsed() < INTERVAL) {
            return;
        }
        self.renewed = Some(Instant::now());
        let Some(now) = Pair::read() else { return };
        let (ticks, elapsed) = (now.ticks.wrapping_sub(first.ticks), now.at.duration_since(first.at));
        if elapsed < BASELINE || ticks == 0 {
            return;
        }
        let rate = elapsed.as_nanos() as f64 / ticks as f64;
        if self.rate.is_some_and(|before| (rate / before - 1.0).abs() > MAX_CHANGE) {
            // The machine slept, or the counter was reset: measure from here.
            (self.first, self.rate) = (Some(now), None);
            return;
        }
        self.rate = Some(rate);
        ANCHOR.replace(now, rate);
        if elapsed > Duration::from_secs(60) {
            // Follow slow drift: the next rate is measured from here, and must agree with this one.
            self.first = Some(now);
        }
    }
}

impl Pair {
    /// The best of a few tries: the one with the fewest ticks around the clock's reading.
    fn read() -> Option<Self> {
        let attempts = (0..5).map(|_| {
            let before = counter()?;
            let (nanos, at) = (system_now(), Instant::now());
            let after = counter()?;
            Some((after.wrapping_sub(before), Self { ticks: before + (after.wrapping_sub(before)) / 2, nanos, at }))
        });
        attempts.collect::<Option<Vec<_>>>()?.into_iter().min_by_key(|(width, _)| *width).map(|(_, pair)| pair)
    }
}

/// Whether the kernel itself trusts the counter.
fn is_trustworthy() -> bool {
    cfg!(all(target_os = "linux", target_arch = "x86_64"))
        && std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .is_ok_and(|source| source.trim() == "tsc")
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[inline]
fn counter() -> Option<u64> {
    // Before the first anchor nothing is gained by it, and nothing is known of it.
    #[allow(unsafe_code)]
    // SAFETY: see the module's invariant.
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
#[inline]
fn counter() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_agree() {
        let mut writer = AnchorWriter::new();
        let start = Instant::now();
        // Keeps the anchor while its rate is measured, as the worker does.
        while start.elapsed() < 2 * BASELINE {
            writer.renew();
            std::thread::yield_now();
        }
        for _ in 0..1_000 {
            let (before, ours, after) = (system_now(), now(), system_now());
            // Generous: a busy machine may take us off the processor between any two of these.
            let tolerance = 1_000_000;
            assert!(ours + tolerance >= before && ours <= after + tolerance, "{before} {ours} {after}");
            writer.renew();
        }
    }

    #[test]
    fn an_old_anchor_or_a_reset_counter_is_not_used() {
        let anchor = Anchor::new();
        assert_eq!(anchor.time_of(5), None, "there is no anchor yet");
        anchor.replace(Pair { ticks: 1_000, nanos: 50_000, at: Instant::now() }, 0.5);
        assert_eq!(anchor.time_of(1_000), Some(50_000));
        assert_eq!(anchor.time_of(3_000), Some(51_000));
        assert_eq!(anchor.time_of(999), None, "the counter went back");
        assert_eq!(anchor.time_of(1_000 + VALID.as_nanos() as u64 * 2), None, "the anchor is old");
    }
}
