//! Which traces are exported. Decided once, at the root; every span of the trace follows.

/// A head sampler: decides from the trace id and the remote parent alone, as W3C Trace Context and the OpenTelemetry environment variables have it.
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
}

impl Sampler {
    /// Every trace (`always_on`).
    pub fn always_on() -> Self {
        Self { threshold: u64::MAX, parent_based: false }
    }

    /// No trace (`always_off`).
    pub fn always_off() -> Self {
        Self { threshold: 0, parent_based: false }
    }

    /// A share of all traces between 0 and 1, by trace id (`traceidratio`), as `opentelemetry_sdk` decides it. Values outside are clamped; NaN is 1.
    pub fn ratio(ratio: f64) -> Self {
        if ratio.is_nan() || ratio >= 1.0 {
            return Self::always_on();
        }
        Self { threshold: (ratio.max(0.0) * (1u64 << 63) as f64) as u64, parent_based: false }
    }

    /// Follows the parent's decision where there is a remote parent; this sampler decides for roots (`parentbased_*`).
    #[must_use]
    pub fn parent_based(self) -> Self {
        Self { parent_based: true, ..self }
    }

    pub(crate) fn samples(&self, trace: u128, remote_parent_sampled: Option<bool>) -> bool {
        match remote_parent_sampled {
            Some(sampled) if self.parent_based => sampled,
            _ => ((trace as u64) >> 1) < self.threshold,
        }
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
        let kept = (0..100_000u64).filter(|n| sampler.samples(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)), None)).count();
        assert!((9_800..10_200).contains(&kept), "{kept}");
        assert!(!Sampler::ratio(-1.0).samples(0, None));
        assert!(Sampler::ratio(1.0).samples(u128::MAX, None));
    }

    #[test]
    fn only_a_parent_based_sampler_asks_the_parent() {
        assert!(!Sampler::default().samples(1, Some(false)));
        assert!(Sampler::always_off().parent_based().samples(1, Some(true)));
        assert!(Sampler::always_on().samples(1, Some(false)));
    }
}
