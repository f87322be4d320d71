//! How long requests take, by route and outcome: the histograms of the semantic conventions for
//! HTTP and RPC. Comes in: every request, sampled or not, on its own thread. Goes out: instruments
//! for the worker to read, and the traces behind their buckets (exemplars), which the SDK's
//! aggregators do not keep.
//!
//! A set of attributes is looked up once and bound to its instrument; recording is then a few
//! atomic operations.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use opentelemetry::{
    KeyValue, StringValue, Value,
    metrics::{BoundHistogram, Histogram, Meter},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1 as proto,
    metrics::v1::{Exemplar, exemplar, metric::Data},
};

use super::{Meters, SECONDS};
use crate::{
    clock::now,
    fork::{Mutex, PerProcess},
    lock::{read, write},
    trail::record::SpanIds,
};

const BUCKETS: usize = SECONDS.len() + 1;
/// Sets of attributes of one metric at most; the rest is one, `otel.metric.overflow`.
const MAX_SERIES: usize = 1_000;
/// Of them with the same hash.
const MAX_ALIKE: usize = 4;

/// Who measures what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    HttpServer,
    HttpClient,
    RpcServer,
    RpcClient,
}

/// One attribute of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute<'a> {
    Str(&'a str),
    Int(i64),
}

/// Each process has its own.
#[derive(Default)]
pub(crate) struct RequestMetrics(PerProcess<Tables>);

struct Tables {
    /// By [`Side`].
    durations: [Durations; 4],
    active: Arc<Active>,
}

impl std::fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestMetrics").finish_non_exhaustive()
    }
}

impl RequestMetrics {
    fn here(&self, meters: &Meters) -> &Tables {
        self.0.get_or_init(|| Tables::new(&meters.meter("crumbtrail")))
    }

    /// Records a request that took so many nanoseconds. `sampled` tells its span, if that is
    /// exported; it is asked where an exemplar is wanted.
    pub(crate) fn record(
        &self,
        meters: &Meters,
        side: Side,
        attributes: &[(&'static str, Attribute<'_>)],
        nanos: u64,
        sampled: impl FnOnce() -> Option<SpanIds>,
    ) {
        self.here(meters).durations[side as usize].record(attributes, nanos as f64 / 1e9, sampled);
    }

    /// A request begins (`1`) or ends (`-1`).
    pub(crate) fn count_active(&self, meters: &Meters, method: &'static str, is_https: bool, change: i64) {
        self.here(meters).active.count(method, is_https, change);
    }

    /// Puts the traces behind the buckets into what is read from the instruments.
    pub(crate) fn attach_exemplars(&self, request: &mut ExportMetricsServiceRequest) {
        if let Some(tables) = self.0.get() {
            tables.attach_exemplars(request);
        }
    }
}

impl Tables {
    fn new(meter: &Meter) -> Self {
        let active = Arc::new(Active::default());
        let observed = active.clone();
        let _ = meter
            .i64_observable_up_down_counter("http.server.active_requests")
            .with_unit("{request}")
            .with_description("Requests that are being served.")
            .with_callback(move |observer| observed.observe(|count, attributes| observer.observe(count, attributes)))
            .build();
        let durations = [
            ("http.server.request.duration", "Duration of HTTP requests that were served."),
            ("http.client.request.duration", "Duration of HTTP requests to others."),
            ("rpc.server.call.duration", "Duration of calls that were served."),
            ("rpc.client.call.duration", "Duration of calls to others."),
        ];
        Self { durations: durations.map(|(name, description)| Durations::new(meter, name, description)), active }
    }

    fn attach_exemplars(&self, request: &mut ExportMetricsServiceRequest) {
        let metrics =
            request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics).flat_map(|scope| &mut scope.metrics);
        for metric in metrics {
            let Some(durations) = self.durations.iter().find(|durations| durations.name == metric.name) else { continue };
            let mut found = durations.take_exemplars();
            match &mut metric.data {
                Some(Data::Histogram(histogram)) => {
                    for point in &mut histogram.data_points {
                        point.exemplars = found.remove(&of_point(&point.attributes)).unwrap_or_default();
                    }
                }
                Some(Data::ExponentialHistogram(histogram)) => {
                    for point in &mut histogram.data_points {
                        point.exemplars = found.remove(&of_point(&point.attributes)).unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
    }
}

/// One metric.
struct Durations {
    name: &'static str,
    histogram: Histogram<f64>,
    /// By the hash of their attributes.
    series: RwLock<HashMap<u64, Vec<Arc<Series>>, BuildHasherDefault<AsItIs>>>,
    overflow: OnceLock<Series>,
}

/// One set of attributes.
struct Series {
    attributes: Vec<KeyValue>,
    bound: BoundHistogram<f64>,
    /// The first sampled trace in each bucket since the last reading.
    exemplars: Mutex<[Option<(f64, u64, SpanIds)>; BUCKETS]>,
    has_exemplar: [AtomicBool; BUCKETS],
}

impl Durations {
    fn new(meter: &Meter, name: &'static str, description: &'static str) -> Self {
        let histogram = meter.f64_histogram(name).with_unit("s").with_description(description).with_boundaries(SECONDS.to_vec()).build();
        Self { name, histogram, series: RwLock::default(), overflow: OnceLock::new() }
    }

    fn record(&self, attributes: &[(&'static str, Attribute<'_>)], seconds: f64, sampled: impl FnOnce() -> Option<SpanIds>) {
        let hash = quick_hash(attributes);
        {
            let series = read(&self.series);
            if let Some(series) = series.get(&hash).and_then(|alike| alike.iter().find(|series| series.is_of(attributes))) {
                return series.record(seconds, sampled);
            }
        }
        match self.insert(hash, attributes) {
            Some(series) => series.record(seconds, sampled),
            None => {
                let overflow = || Series::new(&self.histogram, vec![KeyValue::new("otel.metric.overflow", true)]);
                self.overflow.get_or_init(overflow).record(seconds, sampled);
            }
        }
    }

    #[cold]
    fn insert(&self, hash: u64, attributes: &[(&'static str, Attribute<'_>)]) -> Option<Arc<Series>> {
        let mut all = write(&self.series);
        let alike = all.get(&hash).map(Vec::as_slice).unwrap_or_default();
        let is_full = all.len() >= MAX_SERIES || alike.len() >= MAX_ALIKE;
        if let Some(known) = alike.iter().find(|series| series.is_of(attributes)) {
            return Some(known.clone());
        }
        if is_full {
            return None;
        }
        let series = Arc::new(Series::new(&self.histogram, attributes.iter().map(key_value).collect()));
        all.entry(hash).or_default().push(series.clone());
        Some(series)
    }

    fn take_exemplars(&self) -> HashMap<String, Vec<Exemplar>> {
        let all = read(&self.series);
        let found =
            all.values().flatten().map(|series| &**series).chain(self.overflow.get()).map(|series| (series.key(), series.take_exemplars()));
        found.filter(|(_, exemplars)| !exemplars.is_empty()).collect()
    }
}

impl Series {
    fn new(histogram: &Histogram<f64>, attributes: Vec<KeyValue>) -> Self {
        Self { bound: histogram.bind(&attributes), attributes, exemplars: Mutex::default(), has_exemplar: Default::default() }
    }

    fn record(&self, seconds: f64, sampled: impl FnOnce() -> Option<SpanIds>) {
        self.bound.record(seconds);
        let bucket = SECONDS.partition_point(|bound| *bound < seconds);
        // One for each bucket and reading is enough.
        if self.has_exemplar[bucket].load(Ordering::Relaxed) {
            return;
        }
        if let Some(ids) = sampled() {
            self.exemplars.lock()[bucket] = Some((seconds, now(), ids));
            self.has_exemplar[bucket].store(true, Ordering::Relaxed);
        }
    }

    fn is_of(&self, attributes: &[(&'static str, Attribute<'_>)]) -> bool {
        let is_same = |own: &KeyValue, (key, value): &(&str, Attribute<'_>)| {
            // Literals: mostly the very same.
            (std::ptr::eq(own.key.as_str(), *key) || own.key.as_str() == *key)
                && match (&own.value, value) {
                    (Value::String(own), Attribute::Str(text)) => own.as_str() == *text,
                    (Value::I64(own), Attribute::Int(number)) => own == number,
                    _ => false,
                }
        };
        self.attributes.len() == attributes.len() && self.attributes.iter().zip(attributes).all(|(own, other)| is_same(own, other))
    }

    /// As [`of_point`] has it.
    fn key(&self) -> String {
        key_of(self.attributes.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect())
    }

    fn take_exemplars(&self) -> Vec<Exemplar> {
        self.has_exemplar.iter().for_each(|has| has.store(false, Ordering::Relaxed));
        let taken = std::mem::take(&mut *self.exemplars.lock());
        let exemplars = taken.into_iter().flatten().map(|(seconds, time, ids)| Exemplar {
            filtered_attributes: Vec::new(),
            time_unix_nano: time,
            span_id: ids.span.to_be_bytes().to_vec(),
            trace_id: ids.trace.to_be_bytes().to_vec(),
            value: Some(exemplar::Value::AsDouble(seconds)),
        });
        exemplars.collect()
    }
}

/// For keys that are hashes.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A multiplication for each word. Who finds attributes that hash alike gains little: few of them
/// are series.
fn quick_hash(attributes: &[(&'static str, Attribute<'_>)]) -> u64 {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    attributes.iter().fold(0, |hash, (key, value)| {
        // Keys are literals: which of them it is says their place.
        let hash = hash ^ key.as_ptr().addr() as u64;
        match value {
            Attribute::Int(number) => mix(hash, *number as u64),
            Attribute::Str(text) => {
                let (words, rest) = text.as_bytes().as_chunks::<8>();
                let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
                let rest = rest.iter().fold(text.len() as u64, |rest, byte| rest << 8 | u64::from(*byte));
                mix(hash, rest)
            }
        }
    })
}

fn key_value((key, value): &(&'static str, Attribute<'_>)) -> KeyValue {
    match value {
        Attribute::Str(text) => KeyValue::new(*key, StringValue::from((*text).to_owned())),
        Attribute::Int(number) => KeyValue::new(*key, *number),
    }
}

/// The attributes of a data point, in an order that does not depend on who wrote them.
fn of_point(attributes: &[proto::KeyValue]) -> String {
    use proto::any_value::Value;
    let shown = attributes.iter().map(|attribute| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => format!("{}={text}", attribute.key),
        Some(Value::IntValue(number)) => format!("{}={number}", attribute.key),
        Some(Value::BoolValue(flag)) => format!("{}={flag}", attribute.key),
        _ => attribute.key.clone(),
    });
    key_of(shown.collect())
}

fn key_of(mut parts: Vec<String>) -> String {
    parts.sort_unstable();
    parts.join("\n")
}

/// Methods that HTTP knows (semantic conventions, `http.request.method`); others are `_OTHER`.
pub(crate) const METHODS: [&str; 11] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "QUERY", "_OTHER"];

/// Requests that are being served, by method and scheme.
#[derive(Default)]
struct Active([[Gauge; 2]; METHODS.len()]);

#[derive(Default)]
struct Gauge {
    count: AtomicI64,
    /// There has been one: from then on, zero is told, too.
    is_known: AtomicBool,
}

impl Active {
    fn count(&self, method: &'static str, is_https: bool, change: i64) {
        let index = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let gauge = &self.0[index][usize::from(is_https)];
        gauge.count.fetch_add(change, Ordering::Relaxed);
        if !gauge.is_known.load(Ordering::Relaxed) {
            gauge.is_known.store(true, Ordering::Relaxed);
        }
    }

    fn observe(&self, mut observe: impl FnMut(i64, &[KeyValue])) {
        for (gauges, method) in self.0.iter().zip(METHODS) {
            for (gauge, scheme) in gauges.iter().zip(["http", "https"]).filter(|(gauge, _)| gauge.is_known.load(Ordering::Relaxed)) {
                let attributes = [KeyValue::new("http.request.method", method), KeyValue::new("url.scheme", scheme)];
                observe(gauge.count.load(Ordering::Relaxed), &attributes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;

    use super::*;

    #[test]
    fn series_are_bounded_also_where_they_hash_alike() {
        let meter = opentelemetry_sdk::metrics::SdkMeterProvider::default().meter("test");
        let routes: Vec<String> = (0..2 * MAX_SERIES).map(|number| format!("/{number}")).collect();
        let series_of = |hash: fn(usize) -> u64| {
            let durations = Durations::new(&meter, "test", "");
            let of = |number: usize| durations.insert(hash(number), &[("http.route", Attribute::Str(&routes[number]))]);
            let known: Vec<_> = (0..routes.len()).filter_map(|number| Some((number, of(number)?))).collect();
            assert!(known.iter().all(|(number, series)| Arc::ptr_eq(series, &of(*number).expect("it is known"))));
            known.len()
        };
        assert_eq!(series_of(|number| number as u64), MAX_SERIES);
        assert_eq!(series_of(|_| 7), MAX_ALIKE);
    }
}
