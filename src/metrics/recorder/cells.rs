//! What is counted under one key. Comes in: what the handles of the `metrics` facade are told. Goes
//! out: counters and gauges are one atomic each, read when metrics are collected; histograms go to
//! an OpenTelemetry histogram.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use metrics::{CounterFn, GaugeFn, HistogramFn, Key};
use opentelemetry::KeyValue;

use super::{Kind, Shared, attributes};
use crate::fork::{self, PerProcess};

/// A key's. Programs keep handles of it; one that outlives a fork counts in the child's own.
pub(super) struct Cell<T> {
    pub(super) own: T,
    key: Key,
    /// Weak: the shared state holds the cells. Gone only when telemetry is.
    shared: Weak<Shared>,
    /// Of which process, see [`fork::generation`].
    generation: u32,
    /// The one of a child that has this from its parent.
    in_child: PerProcess<Arc<Cell<T>>>,
}

impl<T: Kind> Cell<T> {
    pub(super) fn new(shared: Weak<Shared>, key: Key) -> Self {
        Self { own: T::default(), key, shared, generation: fork::generation(), in_child: PerProcess::new() }
    }

    /// This process's.
    #[inline]
    fn here(&self) -> &Self {
        if self.generation == fork::generation() { self } else { self.of_child() }
    }

    #[cold]
    fn of_child(&self) -> &Self {
        let Some(shared) = self.shared.upgrade() else { return self };
        self.in_child.get_or_init(|| shared.here().again(&self.key))
    }
}

#[derive(Default)]
pub(super) struct CounterCell(pub(super) AtomicU64);

impl CounterFn for Cell<CounterCell> {
    fn increment(&self, value: u64) {
        self.here().own.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.here().own.0.fetch_max(value, Ordering::Relaxed);
    }
}

/// The bits of an f64.
#[derive(Default)]
pub(super) struct GaugeCell(pub(super) AtomicU64);

impl GaugeCell {
    fn update(&self, change: impl Fn(f64) -> f64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(change(f64::from_bits(bits)).to_bits()));
    }
}

impl GaugeFn for Cell<GaugeCell> {
    fn increment(&self, value: f64) {
        self.here().own.update(|present| present + value);
    }

    fn decrement(&self, value: f64) {
        self.here().own.update(|present| present - value);
    }

    fn set(&self, value: f64) {
        self.here().own.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Made with the first value, when descriptions have usually been given; and its attributes.
#[derive(Default)]
pub(super) struct HistogramCell(OnceLock<(opentelemetry::metrics::Histogram<f64>, Vec<KeyValue>)>);

impl Cell<HistogramCell> {
    fn instrument(&self) -> Option<&(opentelemetry::metrics::Histogram<f64>, Vec<KeyValue>)> {
        if let Some(made) = self.own.0.get() {
            return Some(made);
        }
        let shared = self.shared.upgrade()?;
        let meter = shared.here().meter.as_ref()?;
        Some(self.own.0.get_or_init(|| {
            let name = self.key.name();
            let (unit, description) = shared.described(name);
            let mut builder = meter.f64_histogram(name.to_owned());
            if let Some(bounds) = shared.bounds(name, &unit) {
                builder = builder.with_boundaries(bounds);
            }
            (builder.with_unit(unit).with_description(description).build(), attributes(&self.key))
        }))
    }
}

impl HistogramFn for Cell<HistogramCell> {
    fn record(&self, value: f64) {
        let here = self.here();
        if !value.is_finite() {
            return here.shared.upgrade().iter().for_each(|shared| shared.diagnose_not_a_number(here.key.name()));
        }
        if let Some((instrument, attributes)) = here.instrument() {
            instrument.record(value, attributes);
        }
    }
}
