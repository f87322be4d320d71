//! Defaults, below the environment or a file, below code: resolved once. Comes in: what each says.
//! Goes out: one [`Config`], in which nothing is open.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Exporter, LimitSettings, Settings, SignalSettings, Warning,
    env::Proxies,
    lanes,
    per_signal::{PerSignal, Signal},
};
use crate::{
    console::Console,
    error::InitError,
    export::{
        SpanLimits,
        config::{Batching, Destination, SpoolConfig, WorkerConfig},
    },
    filter::{Filter, Filters},
    metrics::MetricForm,
    random,
    service::ServiceInfo,
    spool,
    state::{CallerConfig, Enrichment},
    trail::encode::Limits,
};

/// Of all processors.
const WORKER_SHARE: f64 = 1.0;
/// A request waits for no more records than this.
const MAX_BATCH: u64 = 4096;
const MAX_INTERVAL: Duration = Duration::from_secs(365 * 86_400);

/// What was read besides code: the environment, or a file.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Read {
    pub(crate) settings: Settings,
    pub(crate) warnings: Vec<Warning>,
    /// Variables of OpenTelemetry's that are set, and mean nothing here.
    pub(crate) unused: Vec<&'static str>,
    /// `None`: no environment was read.
    pub(crate) proxies: Option<Proxies>,
}

/// Everything that can be set, decided.
pub(crate) struct Config {
    pub(crate) disabled: bool,
    /// Of one name the last counts.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) process_arguments: bool,
    pub(crate) default_pii: Option<bool>,
    pub(crate) metric_form: MetricForm,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) console: Console,
    pub(crate) caller: CallerConfig,
    pub(crate) worker: WorkerConfig,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) unused: Vec<&'static str>,
}

impl Config {
    /// `filters`: those that count where nothing is said of them.
    ///
    /// # Errors
    /// What is asked for cannot be: an address that is none, a certificate that cannot be read, a
    /// feature that is not built in.
    pub(crate) fn resolve(service: &ServiceInfo, filters: Filters, code: Settings, read: Read) -> Result<Self, InitError> {
        let Read { settings, warnings, unused, proxies } = read;
        let settings = code.over(settings);
        let disabled = settings.disabled.unwrap_or(false);
        let exporters = PerSignal::of(|signal| exporter(&settings, signal));
        let destinations = PerSignal::try_of(|signal| lanes::destination(&settings, signal, *exporters.get(signal), proxies.as_ref()))?;
        Ok(Self {
            disabled,
            resource: resource(service, &settings),
            process_arguments: settings.process_arguments.unwrap_or(false),
            default_pii: settings.default_pii,
            metric_form: MetricForm {
                temporality: settings.metrics.temporality.unwrap_or_default(),
                exponential: settings.metrics.exponential.unwrap_or(false),
            },
            shutdown_timeout: settings.shutdown_timeout.unwrap_or(Duration::from_secs(2)),
            console: settings.console.unwrap_or_default(),
            worker: worker(&settings, destinations),
            caller: caller(settings, filters, &exporters),
            warnings,
            unused,
        })
    }

    /// The release, as metrics carry it.
    pub(crate) fn release(&self) -> Vec<(String, String)> {
        let release = self.resource.iter().filter(|(key, _)| matches!(&**key, "service.version" | "vcs.ref.head.revision"));
        release.cloned().collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

fn caller(settings: Settings, filters: Filters, exporters: &PerSignal<Exporter>) -> CallerConfig {
    let PerSignal { logs, traces, .. } = &settings.signals;
    CallerConfig {
        filters: set(filters, &settings, exporters.logs),
        event_limits: limits(logs.limits),
        span_limits: limits(traces.limits),
        stacktraces: settings.stacktraces.unwrap_or(true),
        exports_spans: exporters.traces != Exporter::None,
        trail_memory: settings.trail_memory.unwrap_or(16 << 20),
        outbox_memory: settings.outbox_memory.unwrap_or(1 << 20).max(64 << 10),
        user_on_logs: logs.with_user.unwrap_or(false),
        user_on_spans: traces.with_user.unwrap_or(false),
        enrichment: Enrichment {
            span_fields: settings.span_fields,
            events_on_spans: settings.events_on_spans.unwrap_or(false),
            span_timings: settings.span_timings.unwrap_or(false),
        },
        exit_timeout: settings.exit_timeout.unwrap_or(Duration::from_secs(2)),
        sampler: settings.sampler.unwrap_or_default(),
        propagators: settings.propagators.unwrap_or_default(),
        baggage: settings.baggage,
    }
}

fn worker(settings: &Settings, destinations: PerSignal<Destination>) -> WorkerConfig {
    let defaults = SpanLimits::default();
    let batching = |signal: &SignalSettings, delay| Batching {
        delay: signal.delay.unwrap_or(Duration::from_secs(delay)),
        max: signal.max_batch.unwrap_or(MAX_BATCH),
    };
    WorkerConfig {
        span_limits: SpanLimits {
            events: settings.span_events.unwrap_or(defaults.events),
            links: settings.span_links.unwrap_or(defaults.links),
        },
        niceness: settings.worker_niceness.unwrap_or(0).clamp(0, 19),
        // NaN, too, is the default.
        share: settings.worker_share.filter(|share| !share.is_nan()).map_or(WORKER_SHARE, |share| share.clamp(0.000_1, 1.0)),
        exception_span_events: settings.exception_span_events.unwrap_or(true),
        spool: spool(settings, &destinations),
        logs: batching(&settings.signals.logs, 1),
        spans: batching(&settings.signals.traces, 5),
        metric_interval: settings.metrics.interval.unwrap_or(Duration::from_secs(60)).clamp(Duration::from_millis(10), MAX_INTERVAL),
        destinations,
    }
}

/// Only where exceptions are sent at all.
fn spool(settings: &Settings, destinations: &PerSignal<Destination>) -> Option<SpoolConfig> {
    let path = settings.spool.directory.clone().filter(|_| matches!(destinations.logs, Destination::Otlp(_)))?;
    let defaults = spool::Limits::default();
    Some(SpoolConfig {
        path,
        limits: spool::Limits {
            bytes: settings.spool.bytes.unwrap_or(defaults.bytes).max(1 << 20),
            age: settings.spool.age.unwrap_or(defaults.age),
        },
        signals: PerSignal::of(|signal| settings.signals.get(signal).spooled.unwrap_or(false)),
    })
}

fn exporter(settings: &Settings, signal: Signal) -> Exporter {
    let own = settings.signals.get(signal);
    let has_endpoint = settings.default_endpoint.unwrap_or(true) || own.endpoint.is_some();
    match own.exporter.unwrap_or(Exporter::Otlp) {
        _ if settings.disabled == Some(true) => Exporter::None,
        Exporter::Otlp if !has_endpoint => Exporter::None,
        exporter => exporter,
    }
}

fn resource(service: &ServiceInfo, settings: &Settings) -> Vec<(String, String)> {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    let environment = if cfg!(debug_assertions) { "development" } else { "production" };
    let mut all = vec![
        pair("service.name", service.name.clone()),
        pair("service.instance.id", random::uuid()),
        pair("deployment.environment.name", environment.to_owned()),
    ];
    all.extend(service.version.clone().map(|version| pair("service.version", version)));
    all.extend(service.revision.clone().map(|revision| pair("vcs.ref.head.revision", revision)));
    all.extend(settings.resource.iter().cloned());
    all
}

fn set(mut filters: Filters, settings: &Settings, logs: Exporter) -> Filters {
    for (filter, targets) in &settings.filters {
        filters.set(*filter, targets.clone());
    }
    if settings.disabled == Some(true) {
        for filter in [Filter::Exceptions, Filter::Logs, Filter::Spans, Filter::Breadcrumbs] {
            filters.turn_off(filter);
        }
        filters.only_pass_on();
    } else if logs == Exporter::None {
        filters.turn_off(Filter::Logs);
    }
    filters
}

fn limits(settings: LimitSettings) -> Limits {
    let defaults = Limits::default();
    Limits {
        fields: settings.count.unwrap_or(defaults.fields),
        value: settings.length.unwrap_or(defaults.value).min(defaults.value),
        record: defaults.record,
    }
}
