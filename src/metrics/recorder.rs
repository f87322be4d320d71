//! A recorder for the `metrics` facade. Counters and gauges are one atomic for each key, read when metrics are collected; histograms go to an OpenTelemetry histogram.
//!
//! A key (name and labels) has one handle, however often it is asked for: so `increment` on a gauge adds up and `absolute` on a counter never goes back.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};
use opentelemetry::{KeyValue, metrics::Meter};

use super::Descriptions;

/// Bucket boundaries for one metric.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    pub(crate) name: String,
    pub(crate) bounds: Vec<f64>,
}

/// What `metrics` macros talk to. Cheap to clone; all clones are one. From [`Telemetry::recorder`](crate::Telemetry::recorder).
#[derive(Clone)]
pub struct Recorder {
    registry: Arc<Registry<Key, Instruments>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(meter: Meter, descriptions: Descriptions, buckets: Vec<Buckets>) -> Self {
        let shared = Arc::new(Shared { meter, descriptions, buckets, counters: Mutex::default(), gauges: Mutex::default() });
        Self { registry: Arc::new(Registry::new(Instruments(shared.clone()))), shared }
    }

    /// Gives new counters and gauges their instruments. Before each reading, so that descriptions made meanwhile are known.
    pub(crate) fn publish(&self) {
        self.shared.publish();
    }

    fn describe(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        let unit = unit.map(|unit| unit.as_canonical_label().to_owned()).unwrap_or_default();
        let mut descriptions = self.shared.descriptions.write().unwrap_or_else(PoisonError::into_inner);
        descriptions.insert(name.as_str().to_owned(), (unit, description.into_owned()));
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(name, unit, description);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(name, unit, description);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(name, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.registry.get_or_create_counter(key, |counter| Counter::from_arc(counter.clone()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.registry.get_or_create_gauge(key, |gauge| Gauge::from_arc(gauge.clone()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.registry.get_or_create_histogram(key, |histogram| Histogram::from_arc(histogram.clone()))
    }
}

/// What a key's cells are made from.
struct Shared {
    meter: Meter,
    descriptions: Descriptions,
    buckets: Vec<Buckets>,
    counters: Mutex<HashMap<String, Family<CounterCell>>>,
    gauges: Mutex<HashMap<String, Family<GaugeCell>>>,
}

/// All keys of one name.
struct Family<T> {
    members: Members<T>,
    published: bool,
}

type Members<T> = Arc<Mutex<Vec<(Vec<KeyValue>, Arc<T>)>>>;

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self { members: Arc::default(), published: false }
    }
}

impl Shared {
    fn publish(&self) {
        for (name, members) in unpublished(&self.counters) {
            let (unit, description) = self.described(&name);
            self.meter
                .u64_observable_counter(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    for (attributes, cell) in members.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        observer.observe(cell.0.load(Ordering::Relaxed), attributes);
                    }
                })
                .build();
        }
        for (name, members) in unpublished(&self.gauges) {
            let (unit, description) = self.described(&name);
            self.meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    for (attributes, cell) in members.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        observer.observe(f64::from_bits(cell.0.load(Ordering::Relaxed)), attributes);
                    }
                })
                .build();
        }
    }

    fn described(&self, name: &str) -> (String, String) {
        self.descriptions.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// Configured, else for seconds those of the HTTP conventions, else the SDK's default.
    fn bounds(&self, name: &str, unit: &str) -> Option<Vec<f64>> {
        const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        if let Some(configured) = self.buckets.iter().find(|buckets| buckets.name == name) {
            return Some(configured.bounds.clone());
        }
        (unit == "s" || name.ends_with("_seconds")).then(|| SECONDS.to_vec())
    }
}

fn unpublished<T>(families: &Mutex<HashMap<String, Family<T>>>) -> Vec<(String, Members<T>)> {
    let mut families = families.lock().unwrap_or_else(PoisonError::into_inner);
    families
        .iter_mut()
        .filter_map(|(name, family)| {
            let known = std::mem::replace(&mut family.published, true);
            (!known).then(|| (name.clone(), family.members.clone()))
        })
        .collect()
}

/// Makes the cells of a key, the first time it is asked for.
struct Instruments(Arc<Shared>);

impl Storage<Key> for Instruments {
    type Counter = Arc<CounterCell>;
    type Gauge = Arc<GaugeCell>;
    type Histogram = Arc<HistogramCell>;

    fn counter(&self, key: &Key) -> Self::Counter {
        member(&self.0.counters, key)
    }

    fn gauge(&self, key: &Key) -> Self::Gauge {
        member(&self.0.gauges, key)
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        Arc::new(HistogramCell {
            shared: self.0.clone(),
            name: key.name().to_owned(),
            attributes: attributes(key),
            instrument: OnceLock::new(),
        })
    }
}

fn member<T: Default>(families: &Mutex<HashMap<String, Family<T>>>, key: &Key) -> Arc<T> {
    let cell = Arc::new(T::default());
    let members = families.lock().unwrap_or_else(PoisonError::into_inner).entry(key.name().to_owned()).or_default().members.clone();
    members.lock().unwrap_or_else(PoisonError::into_inner).push((attributes(key), cell.clone()));
    cell
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    key.labels().map(|label| KeyValue::new(label.key().to_owned(), label.value().to_owned())).collect()
}

#[derive(Default)]
struct CounterCell(AtomicU64);

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// The bits of an f64.
#[derive(Default)]
struct GaugeCell(AtomicU64);

impl GaugeCell {
    fn update(&self, change: impl Fn(f64) -> f64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(change(f64::from_bits(bits)).to_bits()));
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.update(|present| present + value);
    }

    fn decrement(&self, value: f64) {
        self.update(|present| present - value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

struct HistogramCell {
    shared: Arc<Shared>,
    name: String,
    attributes: Vec<KeyValue>,
    /// Made with the first value, when descriptions have usually been given.
    instrument: OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        let instrument = self.instrument.get_or_init(|| {
            let (unit, description) = self.shared.described(&self.name);
            let mut builder = self.shared.meter.f64_histogram(self.name.clone());
            if let Some(bounds) = self.shared.bounds(&self.name, &unit) {
                builder = builder.with_boundaries(bounds);
            }
            builder.with_unit(unit).with_description(description).build()
        });
        instrument.record(value, &self.attributes);
    }
}
