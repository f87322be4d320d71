//! A recorder for the `metrics` facade. Counters and gauges are one atomic for each key, read when metrics are collected; histograms go to an OpenTelemetry histogram.
//!
//! A key (name and labels) has one handle, however often it is asked for: so `increment` on a gauge adds up and `absolute` on a counter never goes back.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, Once, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Label, Metadata, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};
use opentelemetry::{KeyValue, metrics::Meter};

use super::{CARDINALITY_LIMIT, Descriptions, names};
use crate::scrub::{FILTERED, Scrubber};

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
    pub(crate) fn new(meter: Meter, descriptions: Descriptions, buckets: Vec<Buckets>, scrubber: Arc<Scrubber>) -> Self {
        let shared = Arc::new(Shared {
            meter,
            descriptions,
            buckets: buckets
                .into_iter()
                .map(|Buckets { name, bounds }| Buckets { name: names::as_sent(&name), bounds: names::boundaries(bounds) })
                .collect(),
            names: names::Names::new(),
            not_a_number: Once::new(),
            scrubber,
            counters: Mutex::default(),
            gauges: Mutex::default(),
            histograms: Mutex::default(),
        });
        Self { registry: Arc::new(Registry::new(Instruments(shared.clone()))), shared }
    }

    /// Gives new counters and gauges their instruments. Before each reading, so that descriptions made meanwhile are known.
    pub(crate) fn publish(&self) {
        self.shared.publish();
    }

    fn describe(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        let unit = unit.map(names::unit).unwrap_or_default().to_owned();
        let name = self.shared.scrubber.scrub(name.as_str());
        let Some(name) = self.shared.names.of(&name) else { return };
        let mut descriptions = self.shared.descriptions.write().unwrap_or_else(PoisonError::into_inner);
        descriptions.insert(name.into_owned(), (unit, self.shared.scrubber.scrub(&description).into_owned()));
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
        if let Some(known) = self.registry.get_counter(key) {
            return Counter::from_arc(known);
        }
        let Some(key) = self.shared.clean(key) else { return Counter::noop() };
        let key = &*key;
        let known = self.registry.get_counter(key).or_else(|| overflow(&self.shared.counters, key));
        Counter::from_arc(known.unwrap_or_else(|| self.registry.get_or_create_counter(key, Arc::clone)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        if let Some(known) = self.registry.get_gauge(key) {
            return Gauge::from_arc(known);
        }
        let Some(key) = self.shared.clean(key) else { return Gauge::noop() };
        let key = &*key;
        let known = self.registry.get_gauge(key).or_else(|| overflow(&self.shared.gauges, key));
        Gauge::from_arc(known.unwrap_or_else(|| self.registry.get_or_create_gauge(key, Arc::clone)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if let Some(known) = self.registry.get_histogram(key) {
            return Histogram::from_arc(known);
        }
        let Some(key) = self.shared.clean(key) else { return Histogram::noop() };
        let key = &*key;
        let known = self.registry.get_histogram(key).or_else(|| overflow(&self.shared.histograms, key));
        Histogram::from_arc(known.unwrap_or_else(|| self.registry.get_or_create_histogram(key, Arc::clone)))
    }
}

/// What a key's cells are made from.
struct Shared {
    meter: Meter,
    descriptions: Descriptions,
    buckets: Vec<Buckets>,
    names: names::Names,
    not_a_number: Once,
    scrubber: Arc<Scrubber>,
    counters: Families<CounterCell>,
    gauges: Families<GaugeCell>,
    histograms: Families<HistogramCell>,
}

type Families<T> = Mutex<HashMap<String, Family<T>>>;

/// All keys of one name.
struct Family<T> {
    members: Members<T>,
    /// Stands for every key after the first [`CARDINALITY_LIMIT`], so that labels without bound do not take memory without bound.
    overflow: Option<Arc<T>>,
    published: bool,
}

type Members<T> = Arc<Mutex<Vec<(Vec<KeyValue>, Arc<T>)>>>;

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self { members: Arc::default(), overflow: None, published: false }
    }
}

impl Shared {
    /// The key with a name that can be used, each label once (the last), and without secrets: what differs only in those is one. `None`: there are too many names.
    fn clean<'a>(&self, key: &'a Key) -> Option<Cow<'a, Key>> {
        let scrubbed = self.scrubber.scrub(key.name());
        let name = self.names.of(&scrubbed)?;
        let mut changed = *name != *key.name();
        let mut labels: Vec<Label> = Vec::new();
        for label in key.labels() {
            let clean = self.scrubber.value(label.key(), label.value()).unwrap_or(Cow::Borrowed(FILTERED));
            let clean_key = self.scrubber.scrub(label.key());
            changed |= clean != label.value() || clean_key != label.key();
            let before = labels.len();
            labels.retain(|known| known.key() != clean_key);
            changed |= labels.len() < before;
            labels.push(Label::new(clean_key.into_owned(), clean.into_owned()));
        }
        Some(if changed { Cow::Owned(Key::from_parts(name.into_owned(), labels)) } else { Cow::Borrowed(key) })
    }

    /// The SDK leaves such values out. A gauge is one of no value until it is set anew.
    fn say_once_not_a_number(&self, name: &str) {
        self.not_a_number.call_once(|| {
            crate::diagnose(format_args!("the metric {name:?} was given a value that is no finite number; such values are left out"));
        });
    }

    fn publish(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        for (name, members) in unpublished(&self.counters) {
            let (unit, description) = self.described(&name);
            self.meter
                .u64_observable_counter(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    for (attributes, cell) in members.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        // OTLP has 64 signed bits for it.
                        observer.observe(cell.0.load(Ordering::Relaxed).min(i64::MAX as u64), attributes);
                    }
                })
                .build();
        }
        for (name, members) in unpublished(&self.gauges) {
            let (unit, description) = self.described(&name);
            let (shared, called) = (this.clone(), name.clone());
            self.meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    for (attributes, cell) in members.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        let value = f64::from_bits(cell.0.load(Ordering::Relaxed));
                        if value.is_finite() {
                            observer.observe(value, attributes);
                        } else {
                            shared.upgrade().iter().for_each(|shared| shared.say_once_not_a_number(&called));
                        }
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
        if let Some(configured) = self.buckets.iter().find(|buckets| buckets.name.eq_ignore_ascii_case(name)) {
            return Some(configured.bounds.clone());
        }
        (unit == "s" || name.ends_with("_seconds")).then(|| SECONDS.to_vec())
    }
}

fn unpublished<T>(families: &Families<T>) -> Vec<(String, Members<T>)> {
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
        let cell = Arc::new(HistogramCell::new(&self.0, key.name(), attributes(key)));
        enrol(&self.0.histograms, key.name(), attributes(key), &cell);
        cell
    }
}

fn member<T: Default>(families: &Families<T>, key: &Key) -> Arc<T> {
    let cell = Arc::new(T::default());
    enrol(families, key.name(), attributes(key), &cell);
    cell
}

/// Makes a cell known under its name, so that it is read and counted.
fn enrol<T>(families: &Families<T>, name: &str, attributes: Vec<KeyValue>, cell: &Arc<T>) {
    let members = families.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().members.clone();
    members.lock().unwrap_or_else(PoisonError::into_inner).push((attributes, cell.clone()));
}

/// The overflow cell of a name that has all the keys it may have (metrics SDK specification, "Overflow attribute").
fn overflow<T: Overflow>(families: &Families<T>, key: &Key) -> Option<Arc<T>> {
    let mut families = families.lock().unwrap_or_else(PoisonError::into_inner);
    let family = families.get_mut(key.name())?;
    let mut members = family.members.lock().unwrap_or_else(PoisonError::into_inner);
    if members.len() < CARDINALITY_LIMIT - 1 {
        return None;
    }
    let overflow = family.overflow.get_or_insert_with(|| {
        let attributes = vec![KeyValue::new("otel.metric.overflow", true)];
        let cell = Arc::new(T::overflow(members.first().map(|(_, first)| &**first), &attributes));
        members.push((attributes, cell.clone()));
        cell
    });
    Some(overflow.clone())
}

/// A cell that stands for many keys.
trait Overflow: Sized {
    /// `sibling` is another cell of the name.
    fn overflow(sibling: Option<&Self>, attributes: &[KeyValue]) -> Self;
}

impl Overflow for CounterCell {
    fn overflow(_: Option<&Self>, _: &[KeyValue]) -> Self {
        Self::default()
    }
}

impl Overflow for GaugeCell {
    fn overflow(_: Option<&Self>, _: &[KeyValue]) -> Self {
        Self::default()
    }
}

impl Overflow for HistogramCell {
    fn overflow(sibling: Option<&Self>, attributes: &[KeyValue]) -> Self {
        let (shared, name) = sibling.map(|sibling| (sibling.shared.clone(), sibling.name.clone())).unwrap_or_default();
        Self { shared, name, attributes: attributes.to_vec(), instrument: OnceLock::new() }
    }
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
    /// Weak: the shared state holds the cells. Gone only when telemetry is.
    shared: Weak<Shared>,
    name: String,
    attributes: Vec<KeyValue>,
    /// Made with the first value, when descriptions have usually been given.
    instrument: OnceLock<opentelemetry::metrics::Histogram<f64>>,
}

impl HistogramCell {
    fn new(shared: &Arc<Shared>, name: &str, attributes: Vec<KeyValue>) -> Self {
        Self { shared: Arc::downgrade(shared), name: name.to_owned(), attributes, instrument: OnceLock::new() }
    }

    fn instrument(&self) -> Option<&opentelemetry::metrics::Histogram<f64>> {
        if let Some(made) = self.instrument.get() {
            return Some(made);
        }
        let shared = self.shared.upgrade()?;
        Some(self.instrument.get_or_init(|| {
            let (unit, description) = shared.described(&self.name);
            let mut builder = shared.meter.f64_histogram(self.name.clone());
            if let Some(bounds) = shared.bounds(&self.name, &unit) {
                builder = builder.with_boundaries(bounds);
            }
            builder.with_unit(unit).with_description(description).build()
        }))
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        if !value.is_finite() {
            return self.shared.upgrade().iter().for_each(|shared| shared.say_once_not_a_number(&self.name));
        }
        if let Some(instrument) = self.instrument() {
            instrument.record(value, &self.attributes);
        }
    }
}
