//! How metrics are told, and how often.

use std::time::Duration;

use super::Builder;
use crate::metrics::MetricTemporality;

impl Builder {
    /// How often metrics are sent; every 60 s by default.
    pub fn with_metric_interval(mut self, interval: Duration) -> Self {
        self.code.metrics.interval = Some(interval);
        self
    }

    /// Bucket boundaries of one histogram. Without, those described in seconds have the boundaries
    /// of the HTTP conventions (5 ms to 10 s), others OpenTelemetry's defaults (0 to 10,000). They
    /// are put in order; doubled and infinite ones are left out.
    pub fn with_histogram_buckets(mut self, name: impl Into<String>, bounds: impl Into<Vec<f64>>) -> Self {
        self.buckets.push((name.into(), bounds.into()));
        self
    }

    /// What counters and histograms count from
    /// (`OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`);
    /// [cumulative](MetricTemporality::Cumulative) by default.
    pub fn with_temporality(mut self, temporality: MetricTemporality) -> Self {
        self.code.metrics.temporality = Some(temporality);
        self
    }

    /// Histograms with exponential buckets, whose bounds follow the values, instead of fixed ones
    /// (`OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`); not by default. The backend
    /// must know them.
    pub fn with_exponential_histograms(mut self, exponential: bool) -> Self {
        self.code.metrics.exponential = Some(exponential);
        self
    }

    /// Whether [`install`](Self::install) sets the recorder of the `metrics` facade; it does by
    /// default.
    pub fn with_metrics_recorder(mut self, recorder: bool) -> Self {
        self.metrics_recorder = recorder;
        self
    }
}
