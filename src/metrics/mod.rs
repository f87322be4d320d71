//! Metrics: OpenTelemetry instruments, read by the worker. Comes in: the `metrics` facade and our
//! own counter of exceptions. Goes out: one export request for each interval.

mod around;
mod ledger;
#[cfg(feature = "metrics-0-24")]
mod names;
#[cfg(feature = "metrics-0-24")]
pub(crate) mod recorder;
#[cfg(feature = "tower")]
pub(crate) mod requests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{Metric, metric::Data},
    resource::v1::Resource,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        Aggregation, Instrument, InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Stream, Temporality, data::ResourceMetrics,
        reader::MetricReader,
    },
};

pub(crate) use self::around::around;

use crate::fork::{Mutex, PerProcess};
use crate::otlp::data_points;

/// Time series of one metric at most; the rest is summed under `otel.metric.overflow` (metrics SDK
/// specification, "Cardinality limits").
pub(crate) const CARDINALITY_LIMIT: usize = 2_000;

/// Upper bounds of a duration's buckets, in seconds (semantic conventions, "HTTP metrics").
#[cfg(any(feature = "metrics-0-24", feature = "tower"))]
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// What is known of metrics by name: unit, description. Filled by `describe_*!`, at any time. Read
/// as it is at a moment.
#[derive(Debug, Default)]
pub(crate) struct Descriptions(Mutex<Arc<ByName>>);

type ByName = HashMap<String, (String, String)>;

impl Descriptions {
    #[cfg(feature = "metrics-0-24")]
    pub(crate) fn insert(&self, name: String, unit: String, description: String) {
        Arc::make_mut(&mut *self.0.lock()).insert(name, (unit, description));
    }

    pub(crate) fn all(&self) -> Arc<ByName> {
        self.0.lock().clone()
    }
}

/// The instruments' provider and its reader. A forked child has its own: it counts from its own
/// start, and the SDK's locks may be held by its parent's threads.
pub(crate) struct Meters {
    form: MetricForm,
    here: PerProcess<(SdkMeterProvider, SharedReader)>,
    pub(crate) descriptions: Descriptions,
    around: OnceLock<Around>,
}

/// What has to happen before each reading, and what is added to it.
pub(crate) struct Around {
    pub(super) before: Box<dyn Fn(&Meters) + Send + Sync>,
    pub(super) after: Box<dyn Fn(&mut ExportMetricsServiceRequest) + Send + Sync>,
}

/// How histograms and counters are told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MetricForm {
    pub(crate) temporality: MetricTemporality,
    /// Histograms have exponential buckets instead of fixed ones.
    pub(crate) exponential: bool,
}

/// What a counter's or histogram's value counts from
/// (`OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetricTemporality {
    /// From the start of the process.
    #[default]
    Cumulative,
    /// From the last export; up-down counters still count from the start.
    Delta,
    /// Delta for counters and histograms, cumulative for what is observed.
    LowMemory,
}

impl MetricTemporality {
    /// As the SDK has it. No `From`: its version is nobody's business.
    fn of_sdk(self) -> Temporality {
        match self {
            Self::Cumulative => Temporality::Cumulative,
            Self::Delta => Temporality::Delta,
            Self::LowMemory => Temporality::LowMemory,
        }
    }
}

impl Meters {
    pub(crate) fn new(form: MetricForm) -> Self {
        Self { form, here: PerProcess::new(), descriptions: Descriptions::default(), around: OnceLock::new() }
    }

    fn here(&self) -> &(SdkMeterProvider, SharedReader) {
        self.here.get_or_init(|| Self::provider(self.form))
    }

    fn provider(form: MetricForm) -> (SdkMeterProvider, SharedReader) {
        let reader = SharedReader(Arc::new(ManualReader::builder().with_temporality(form.temporality.of_sdk()).build()));
        let provider = SdkMeterProvider::builder()
            .with_reader(reader.clone())
            .with_resource(opentelemetry_sdk::Resource::builder_empty().build())
            .with_view(move |instrument: &Instrument| {
                let stream = Stream::builder().with_cardinality_limit(CARDINALITY_LIMIT);
                if form.exponential && instrument.kind() == InstrumentKind::Histogram {
                    // The specification's defaults.
                    stream.with_aggregation(Aggregation::Base2ExponentialHistogram { max_size: 160, max_scale: 20, record_min_max: true })
                } else {
                    stream
                }
                .build()
                .ok()
            })
            .build();
        (provider, reader)
    }

    /// Makes instruments, of this process.
    pub(crate) fn meter(&self, scope: &'static str) -> Meter {
        self.here().0.meter(scope)
    }

    /// Once.
    pub(crate) fn read_around(&self, around: Around) {
        let _ = self.around.set(around);
    }

    /// Reads every instrument. Returns the request and its data points; `None` where there is
    /// nothing.
    pub(crate) fn collect(&self, resource: &Resource, schema_url: &str) -> Option<(u64, ExportMetricsServiceRequest)> {
        if let Some(around) = self.around.get() {
            (around.before)(self);
        }
        let mut read = ResourceMetrics::default();
        self.here().1.collect(&mut read).ok()?;
        let mut request = ExportMetricsServiceRequest::from(&read);
        if let Some(around) = self.around.get() {
            (around.after)(&mut request);
        }
        let descriptions = self.descriptions.all();
        let mut points = 0;
        for resource_metrics in &mut request.resource_metrics {
            resource_metrics.resource = Some(resource.clone());
            resource_metrics.schema_url = schema_url.to_owned();
            for metric in resource_metrics.scope_metrics.iter_mut().flat_map(|scope| &mut scope.metrics) {
                points += data_points(metric);
                without_negative_sums(metric);
                // The SDK takes unit and description only when an instrument is made; a later word counts too.
                if let Some((unit, description)) = descriptions.get(&metric.name) {
                    metric.unit.clone_from(unit);
                    metric.description.clone_from(description);
                }
            }
        }
        (points > 0).then_some((points, request))
    }
}

/// A histogram's sum counts up, so there is none where values were negative (OTLP,
/// `HistogramDataPoint.sum`).
fn without_negative_sums(metric: &mut Metric) {
    match &mut metric.data {
        Some(Data::Histogram(histogram)) => {
            histogram.data_points.iter_mut().filter(|point| point.min.is_some_and(|min| min < 0.0)).for_each(|point| point.sum = None);
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            histogram.data_points.iter_mut().filter(|point| point.min.is_some_and(|min| min < 0.0)).for_each(|point| point.sum = None);
        }
        _ => {}
    }
}

/// The provider takes a reader whole; the worker needs it too.
#[derive(Clone)]
struct SharedReader(Arc<ManualReader>);

impl fmt::Debug for SharedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, read: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(read)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}
