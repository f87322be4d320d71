//! A recorder for the `metrics` facade. Comes in: keys, and what is counted under them. Goes out:
//! instruments for the worker to read.
//!
//! A key (name and labels) has one [cell](cells), however often it is asked for: so `increment` on
//! a gauge adds up and `absolute` on a counter never goes back. A forked child begins with none; a
//! handle that it has from its parent finds the child's cell.

mod cells;
mod registry;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, SharedString, Unit};
use opentelemetry::{KeyValue, metrics::Meter};

use self::{
    cells::{Cell, CounterCell, GaugeCell, HistogramCell},
    registry::Registry,
};
use super::{CARDINALITY_LIMIT, Meters, SECONDS, names};
use crate::{
    fork::{Mutex, Once, PerProcess},
    scrub::{FILTERED, Scrubber},
    state::Core,
};

/// Bucket boundaries for one metric.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    pub(crate) name: String,
    pub(crate) bounds: Vec<f64>,
}

/// What `metrics` macros talk to. Cheap to clone; all clones are one. From
/// [`Telemetry::recorder`](crate::Telemetry::recorder).
#[derive(Clone)]
pub struct MetricsRecorder(Arc<Shared>);

impl std::fmt::Debug for MetricsRecorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsRecorder").finish_non_exhaustive()
    }
}

impl MetricsRecorder {
    pub(crate) fn new(meters: &Arc<Meters>, buckets: Vec<Buckets>, scrubber: Arc<Scrubber>) -> Self {
        let buckets = buckets.into_iter();
        Self(Arc::new_cyclic(|this| Shared {
            this: this.clone(),
            meters: Arc::downgrade(meters),
            core: OnceLock::new(),
            buckets: buckets
                .map(|Buckets { name, bounds }| Buckets { name: names::as_sent(&name), bounds: names::boundaries(bounds) })
                .collect(),
            names: names::Names::new(),
            not_a_number: Once::new(),
            scrubber,
            here: PerProcess::new(),
        }))
    }

    /// Whose worker reads it.
    pub(crate) fn counts_for(&self, core: &Arc<Core>) {
        let _ = self.0.core.set(Arc::downgrade(core));
    }

    /// Gives new counters and gauges their instruments. Before each reading, so that descriptions
    /// made meanwhile are known.
    pub(crate) fn publish(&self) {
        self.0.publish();
    }

    fn describe(&self, name: KeyName, unit: Option<Unit>, description: SharedString) {
        let Some(meters) = self.0.meters.upgrade() else { return };
        let unit = unit.map(names::unit).unwrap_or_default().to_owned();
        let name = self.0.scrubber.scrub(name.as_str());
        let Some(name) = self.0.names.of(&name) else { return };
        meters.descriptions.insert(name.into_owned(), unit, self.0.scrubber.scrub(&description).into_owned());
    }

    /// `None`: there are too many names.
    fn cell<T: Kind>(&self, key: &Key) -> Option<Arc<Cell<T>>> {
        let here = self.0.here();
        if let Some(known) = T::registry(here).get(key) {
            return Some(known);
        }
        let key = &*self.0.clean(key)?;
        let known = T::registry(here).get(key).or_else(|| here.families.overflow(key));
        Some(known.unwrap_or_else(|| here.made(key)))
    }
}

impl metrics::Recorder for MetricsRecorder {
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
        self.cell::<CounterCell>(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.cell::<GaugeCell>(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.cell::<HistogramCell>(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

/// What a key's cells are made from.
struct Shared {
    this: Weak<Shared>,
    meters: Weak<Meters>,
    core: OnceLock<Weak<Core>>,
    buckets: Vec<Buckets>,
    names: names::Names,
    not_a_number: Once,
    scrubber: Arc<Scrubber>,
    here: PerProcess<Here>,
}

/// The keys of one process.
struct Here {
    counters: Registry<CounterCell>,
    gauges: Registry<GaugeCell>,
    histograms: Registry<HistogramCell>,
    families: Families,
    /// `None`: the telemetry is gone.
    meter: Option<Meter>,
}

/// The names of one process, and all keys of each.
struct Families {
    shared: Weak<Shared>,
    counters: ByName<CounterCell>,
    gauges: ByName<GaugeCell>,
    histograms: ByName<HistogramCell>,
}

type ByName<T> = Mutex<HashMap<String, Family<T>>>;

/// All keys of one name.
struct Family<T> {
    members: Members<T>,
    /// Stands for every key after the first [`CARDINALITY_LIMIT`], so that labels without bound do
    /// not take memory without bound.
    overflow: Option<Arc<Cell<T>>>,
    published: bool,
}

type Members<T> = Arc<Mutex<Vec<(Vec<KeyValue>, Arc<Cell<T>>)>>>;

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self { members: Arc::default(), overflow: None, published: false }
    }
}

impl Shared {
    fn here(&self) -> &Here {
        if let Some(here) = self.here.get() {
            return here;
        }
        self.begin()
    }

    /// The first time in this process; which may be a forked child of which nothing is heard but
    /// that it counts.
    #[cold]
    fn begin(&self) -> &Here {
        if let Some(core) = self.core.get().and_then(Weak::upgrade) {
            core.notice_fork();
        }
        self.here.get_or_init(|| {
            let families =
                Families { shared: self.this.clone(), counters: Mutex::default(), gauges: Mutex::default(), histograms: Mutex::default() };
            let meter = self.meters.upgrade().map(|meters| meters.meter("metrics"));
            Here { counters: Registry::new(), gauges: Registry::new(), histograms: Registry::new(), families, meter }
        })
    }

    /// The key with a name that can be used, each label once (the last), and without secrets: what
    /// differs only in those is one. `None`: there are too many names.
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
    fn diagnose_not_a_number(&self, name: &str) {
        self.not_a_number.call_once(|| {
            crate::diagnose(format_args!("the metric {name:?} was given a value that is no finite number; such values are left out"));
        });
    }

    fn publish(&self) {
        let Here { families, meter: Some(meter), .. } = self.here() else { return };
        for (name, members) in unpublished(&families.counters) {
            let (unit, description) = self.described(&name);
            meter
                .u64_observable_counter(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    for (attributes, cell) in members.lock().iter() {
                        // OTLP has 64 signed bits for it.
                        observer.observe(cell.own.0.load(Ordering::Relaxed).min(i64::MAX as u64), attributes);
                    }
                })
                .build();
        }
        for (name, members) in unpublished(&families.gauges) {
            let (unit, description) = self.described(&name);
            let (shared, called) = (self.this.clone(), name.clone());
            meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    let mut is_finite = true;
                    for (attributes, cell) in members.lock().iter() {
                        let value = f64::from_bits(cell.own.0.load(Ordering::Relaxed));
                        is_finite &= value.is_finite();
                        if value.is_finite() {
                            observer.observe(value, attributes);
                        }
                    }
                    // Under no lock: standard error may be slow.
                    shared.upgrade().filter(|_| !is_finite).iter().for_each(|shared| shared.diagnose_not_a_number(&called));
                })
                .build();
        }
    }

    fn described(&self, name: &str) -> (String, String) {
        self.meters.upgrade().and_then(|meters| meters.descriptions.all().get(name).cloned()).unwrap_or_default()
    }

    /// Configured, else for seconds those of the HTTP conventions, else the SDK's default.
    fn bounds(&self, name: &str, unit: &str) -> Option<Vec<f64>> {
        if let Some(configured) = self.buckets.iter().find(|buckets| buckets.name.eq_ignore_ascii_case(name)) {
            return Some(configured.bounds.clone());
        }
        (unit == "s" || name.ends_with("_seconds")).then(|| SECONDS.to_vec())
    }
}

fn unpublished<T>(families: &ByName<T>) -> Vec<(String, Members<T>)> {
    let mut families = families.lock();
    families
        .iter_mut()
        .filter_map(|(name, family)| {
            let known = std::mem::replace(&mut family.published, true);
            (!known).then(|| (name.clone(), family.members.clone()))
        })
        .collect()
}

impl Here {
    /// This process's cell for a key of which its parent has one.
    fn again<T: Kind>(&self, key: &Key) -> Arc<Cell<T>> {
        if is_overflow(key) {
            let mut families = T::families(&self.families).lock();
            return families.entry(key.name().to_owned()).or_default().overflow(&self.families, key.name());
        }
        self.families.overflow(key).unwrap_or_else(|| self.made(key))
    }

    fn made<T: Kind>(&self, key: &Key) -> Arc<Cell<T>> {
        T::registry(self).get_or_make(key, || self.families.enrol(key))
    }
}

impl Families {
    /// The overflow cell of a name that has all the keys it may have (metrics SDK specification,
    /// "Overflow attribute").
    fn overflow<T: Kind>(&self, key: &Key) -> Option<Arc<Cell<T>>> {
        let mut families = T::families(self).lock();
        let family = families.get_mut(key.name())?;
        let is_full = family.members.lock().len() >= CARDINALITY_LIMIT - 1;
        is_full.then(|| family.overflow(self, key.name()))
    }

    /// A key's cell, the first time it is asked for; known under its name, so that it is read and
    /// counted.
    fn enrol<T: Kind>(&self, key: &Key) -> Arc<Cell<T>> {
        let members = T::families(self).lock().entry(key.name().to_owned()).or_default().members.clone();
        let cell = Arc::new(Cell::new(self.shared.clone(), key.clone()));
        members.lock().push((attributes(key), cell.clone()));
        cell
    }
}

impl<T: Kind> Family<T> {
    fn overflow(&mut self, families: &Families, name: &str) -> Arc<Cell<T>> {
        let make = || {
            let key = Key::from_parts(name.to_owned(), vec![Label::new(OVERFLOW, "true")]);
            let cell = Arc::new(Cell::new(families.shared.clone(), key));
            self.members.lock().push((vec![KeyValue::new(OVERFLOW, true)], cell.clone()));
            cell
        };
        self.overflow.get_or_insert_with(make).clone()
    }
}

/// The kinds of cells, each with its part of the tables.
trait Kind: Default + Sized {
    fn families(of: &Families) -> &ByName<Self>;
    fn registry(of: &Here) -> &Registry<Self>;
}

macro_rules! kinds {
    ($($kind:ty: $part:ident;)*) => { $(
        impl Kind for $kind {
            fn families(of: &Families) -> &ByName<Self> {
                &of.$part
            }

            fn registry(of: &Here) -> &Registry<Self> {
                &of.$part
            }
        }
    )* };
}

kinds! {
    CounterCell: counters;
    GaugeCell: gauges;
    HistogramCell: histograms;
}

/// Which attribute says that a cell stands for many keys.
const OVERFLOW: &str = "otel.metric.overflow";

fn is_overflow(key: &Key) -> bool {
    key.labels().any(|label| label.key() == OVERFLOW)
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    let attribute = |label: &Label| match label.key() {
        OVERFLOW => KeyValue::new(OVERFLOW, true),
        _ => KeyValue::new(label.key().to_owned(), label.value().to_owned()),
    };
    key.labels().map(attribute).collect()
}
