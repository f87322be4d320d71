//! Which traces are exported. Decided once, at the root; every span of the trace follows. A trace
//! that is left out may be kept after all, when it fails or is slow.

use std::{sync::atomic::AtomicU64, time::Duration};

use crate::{bucket, clock::now};

/// A head sampler: decides from the trace id and the remote parent alone, as W3C Trace Context and
/// the OpenTelemetry environment variables have it.
///
/// Sampling concerns *traces*. Exceptions, logs and metrics are sent whatever the sampler says.
///
/// ```
/// use crumbtrail::Sampler;
///
/// assert_eq!(Sampler::default(), Sampler::always_on().parent_based());
/// assert_eq!(Sampler::ratio(7.0), Sampler::ratio(1.0)); // clamped to [0, 1]
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Keep iff the low 63 bits of the trace id are below this. Above `i64::MAX`: all.
    threshold: u64,
    parent_based: bool,
    /// Traces a second that are kept only because a remote caller says so.
    remote_limit: u32,
    keeps_errors: bool,
    /// Nanoseconds; `u64::MAX`: none is slow enough.
    slow: u64,
}

impl Sampler {
    /// A sampler that exports every trace (`always_on`).
    pub fn always_on() -> Self {
        Self { threshold: u64::MAX, parent_based: false, remote_limit: REMOTE_LIMIT, keeps_errors: false, slow: u64::MAX }
    }

    /// A sampler that exports no trace (`always_off`).
    pub fn always_off() -> Self {
        Self { threshold: 0, ..Self::always_on() }
    }

    /// A share of all traces between 0 and 1, by trace id (`traceidratio`), as `opentelemetry_sdk`
    /// decides it. Values outside are clamped; NaN is 1.
    pub fn ratio(ratio: f64) -> Self {
        if ratio.is_nan() || ratio >= 1.0 {
            return Self::always_on();
        }
        Self { threshold: (ratio.max(0.0) * (1u64 << 63) as f64) as u64, ..Self::always_on() }
    }

    /// Follows the parent's decision where there is a remote parent; this sampler decides for roots
    /// (`parentbased_*`).
    #[must_use]
    pub fn parent_based(self) -> Self {
        Self { parent_based: true, ..self }
    }

    /// Traces a second that a [parent-based](Self::parent_based) sampler keeps only because the
    /// caller's `sampled` flag says so; beyond them, this sampler decides by itself. Default: 100.
    /// Traces that it would keep anyway do not count. So who may send a header cannot make a
    /// service export everything.
    #[must_use]
    pub fn with_remote_limit(self, traces_per_second: u32) -> Self {
        Self { remote_limit: traces_per_second, ..self }
    }

    /// Keeps this process's part of every trace in which an exception is told, also where the
    /// sampler has left the trace out: the spans that have ended by then, as far as the request's
    /// trail still holds them (16 KiB; a trail that has lost some says so by
    /// `crumbtrail.trail.truncated` on its root), and all that end later. From then on the trace
    /// counts as sampled, also for those who are called.
    ///
    /// Such spans have `crumbtrail.kept` = `error`, and no sampling threshold in their trace state:
    /// who counts spans to know how many there were must leave them out. What other processes have
    /// left out is not there; a [tail-sampling
    /// Collector](https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/processor/tailsamplingprocessor)
    /// keeps whole traces, `collector-config/tail-sampling.yaml` is one.
    ///
    /// Costs nothing for sampled traces; for others, a span that ends is copied once, into memory
    /// that the trail has anyway.
    ///
    /// ```
    /// use crumbtrail::Sampler;
    ///
    /// let builder = crumbtrail::testing::builder().with_sampler(Sampler::always_off().keep_errors());
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     tracing::info_span!("healthy").in_scope(|| tracing::info!("all is well"));
    ///     let _request = tracing::info_span!("request").entered();
    ///     tracing::info_span!("before").in_scope(|| {});
    ///     tracing::error!("card refused");
    /// });
    /// let names: Vec<&str> = collected.spans().iter().map(|span| span.name()).collect();
    /// assert_eq!(names, ["request", "before"]);
    /// ```
    #[must_use]
    pub fn keep_errors(self) -> Self {
        Self { keeps_errors: true, ..self }
    }

    /// Keeps this process's part of traces whose root span, here, takes at least so long
    /// (`crumbtrail.kept` = `slow`). Decided when the root ends.
    #[must_use]
    pub fn keep_slower_than(self, duration: Duration) -> Self {
        Self { slow: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), ..self }
    }

    /// `budget` is that of the remote callers.
    pub(crate) fn samples(&self, trace: u128, remote_parent_sampled: Option<bool>, budget: &RemoteBudget) -> bool {
        let own = || ((trace as u64) >> 1) < self.threshold;
        match remote_parent_sampled.filter(|_| self.parent_based) {
            None => own(),
            Some(false) => false,
            Some(true) => own() || budget.take(self.remote_limit),
        }
    }

    /// Whether traces that are left out may be kept after all.
    pub(crate) fn may_keep(&self) -> bool {
        self.keeps_errors || self.slow != u64::MAX
    }

    pub(crate) fn keeps_errors(&self) -> bool {
        self.keeps_errors
    }

    pub(crate) fn is_slow(&self, nanos: u64) -> bool {
        nanos >= self.slow && self.slow != u64::MAX
    }
}

const REMOTE_LIMIT: u32 = 100;

/// What remote callers may still ask for: refilled all the time, one second's worth at most.
#[derive(Debug, Default)]
pub(crate) struct RemoteBudget(AtomicU64);

impl RemoteBudget {
    fn take(&self, per_second: u32) -> bool {
        bucket::take(&self.0, (per_second, per_second.saturating_mul(60)), 1, now())
    }
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Self::always_on().parent_based()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_share() {
        let sampler = Sampler::ratio(0.1);
        let budget = RemoteBudget::default();
        let kept = (0..100_000u64).filter(|n| sampler.samples(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)), None, &budget)).count();
        assert!((9_800..10_200).contains(&kept), "{kept}");
        assert!(!Sampler::ratio(-1.0).samples(0, None, &budget));
        assert!(Sampler::ratio(1.0).samples(u128::MAX, None, &budget));
    }

    #[test]
    fn only_a_parent_based_sampler_asks_the_parent() {
        let budget = RemoteBudget::default();
        assert!(!Sampler::default().samples(1, Some(false), &budget));
        assert!(Sampler::always_off().parent_based().samples(1, Some(true), &budget));
        assert!(Sampler::always_on().samples(1, Some(false), &budget));
    }

    #[test]
    fn a_remote_flag_does_not_open_the_gates() {
        let (budget, sampler) = (RemoteBudget::default(), Sampler::always_off().parent_based().with_remote_limit(10));
        let kept = (0..10_000).filter(|_| sampler.samples(1, Some(true), &budget)).count();
        // Ten at once, and what comes back while this runs.
        assert!((10..1_000).contains(&kept), "{kept}");
        assert!(Sampler::default().with_remote_limit(0).samples(1, Some(true), &budget), "it would keep it anyway");
        assert!(!sampler.with_remote_limit(0).samples(1, Some(true), &RemoteBudget::default()));
    }
}
