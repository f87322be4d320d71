//! Set-up: pure configuration, then `build` (no global touched) or `install`.

mod bounds;
mod context;
mod destination;
#[cfg(feature = "tracing-opentelemetry-0-34")]
mod interop;
mod metrics;
mod state_dir;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use tracing_core::Subscriber;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{
    console::{Console, Output},
    delivery::{Compression, Credentials, Protocol},
    env::{EnvVars, LimitSettings, Settings},
    error::InitError,
    exception::storm::ExceptionRate,
    export::{
        SpanLimits,
        config::{Destination, Exporter, WorkerConfig},
        resource,
        thread::{self, Alive},
    },
    filter::{Filter, Filters},
    hooks::Hooks,
    ledger::RecordKind,
    metrics::{Meters, MetricForm, MetricTemporality, around},
    propagation::{Propagator, Propagators},
    sampling::Sampler,
    scrub::Scrubber,
    service::ServiceInfo,
    spool,
    stack::in_app::OwnCrates,
    state::{
        Core, Enrichment,
        core::{CoreConfig, Start},
    },
    telemetry::{Extras, Telemetry, TelemetryGuard},
    trail::encode::Limits,
};

/// Sets crumbtrail up. What is set here wins over the environment; what neither says has a default.
///
/// ```
/// use crumbtrail::{config::Filter, Sampler};
///
/// let telemetry = crumbtrail::builder(crumbtrail::service!())
///     .with_env()
///     .with_sampler(Sampler::ratio(0.1).parent_based())
///     .with_filter(Filter::Breadcrumbs, "info,my_service=trace".parse()?)
///     .build()?;
/// assert!(telemetry.warnings().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "nothing happens until build() or install()"]
pub struct Builder {
    service: ServiceInfo,
    settings: Settings,
    endpoint: Option<String>,
    default_endpoint: bool,
    protocol: Option<Protocol>,
    headers: Vec<(String, String)>,
    timeout: Option<Duration>,
    compression: Option<Compression>,
    insecure: bool,
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    #[cfg(feature = "tls-bundled-roots")]
    bundled_roots: bool,
    proxy: Option<String>,
    proxy_from_env: bool,
    credentials: Option<Credentials>,
    state_dir: Option<PathBuf>,
    spool_limits: spool::Limits,
    /// Logs, spans, metrics.
    spooled: [bool; 3],
    exporters: [Option<Exporter>; 3],
    attributes: Vec<(String, String)>,
    own_crates: Vec<String>,
    /// Beginnings of functions' paths that are own code, and that are not.
    in_app: [Vec<String>; 2],
    scrubber: Scrubber,
    hooks: Hooks,
    rate: ExceptionRate,
    user_on: [bool; 2],
    enrichment: Enrichment,
    baggage: Vec<String>,
    process_arguments: bool,
    #[cfg(feature = "testing")]
    sink: Option<Arc<crate::testing::Sink>>,
    sampler: Option<Sampler>,
    filters: Vec<(Filter, Targets)>,
    trail_memory: usize,
    outbox_memory: usize,
    stacktraces: bool,
    exception_span_events: Option<bool>,
    metric_interval: Option<Duration>,
    /// Logs, spans.
    delays: [Option<Duration>; 2],
    max_batch: [Option<u64>; 2],
    attribute_limits: [LimitSettings; 2],
    propagators: Option<Propagators>,
    buckets: Vec<(String, Vec<f64>)>,
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    interop: crate::interop::Options,
    temporality: Option<MetricTemporality>,
    exponential_histograms: Option<bool>,
    shutdown_timeout: Duration,
    exit_timeout: Duration,
    niceness: i32,
    worker_share: f64,
    panic_hook: bool,
    console: Option<Console>,
    metrics_recorder: bool,
}

/// Starts a [`Builder`] for a service, see [`service!`](crate::service). Reads no environment until told to.
pub fn builder(service: ServiceInfo) -> Builder {
    Builder {
        service,
        settings: Settings::default(),
        endpoint: None,
        default_endpoint: true,
        protocol: None,
        headers: Vec::new(),
        timeout: None,
        compression: None,
        insecure: false,
        authority: None,
        identity: None,
        #[cfg(feature = "tls-bundled-roots")]
        bundled_roots: false,
        proxy: None,
        proxy_from_env: false,
        credentials: None,
        state_dir: None,
        spool_limits: spool::Limits::default(),
        spooled: [false; 3],
        exporters: [None; 3],
        attributes: Vec::new(),
        own_crates: Vec::new(),
        in_app: Default::default(),
        scrubber: Scrubber::default(),
        hooks: Hooks::default(),
        rate: ExceptionRate::default(),
        user_on: [false; 2],
        enrichment: Enrichment::default(),
        baggage: Vec::new(),
        process_arguments: false,
        #[cfg(feature = "testing")]
        sink: None,
        sampler: None,
        filters: Vec::new(),
        trail_memory: 16 << 20,
        outbox_memory: 1 << 20,
        stacktraces: true,
        exception_span_events: None,
        metric_interval: None,
        delays: [None; 2],
        max_batch: [None; 2],
        attribute_limits: [LimitSettings::default(); 2],
        propagators: None,
        buckets: Vec::new(),
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        interop: Default::default(),
        temporality: None,
        exponential_histograms: None,
        shutdown_timeout: Duration::from_secs(2),
        exit_timeout: Duration::from_secs(2),
        niceness: 0,
        worker_share: bounds::WORKER_SHARE,
        panic_hook: true,
        console: None,
        metrics_recorder: true,
    }
}

impl fmt::Debug for Builder {
    /// Without headers and endpoints: they may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("service", &self.service).field("sampler", &self.sampler).finish_non_exhaustive()
    }
}

impl Builder {
    /// Reads the `OTEL_*` variables of this process, and `GIT_COMMIT_SHA` or `VCS_REF`. A bad value is diagnosed once and the default used.
    pub fn with_env(self) -> Self {
        self.with_env_vars(&EnvVars::of_process())
    }

    /// Reads variables from data, see [`with_env`](Self::with_env).
    pub fn with_env_vars(mut self, environment: &EnvVars) -> Self {
        self.settings = Settings::read(environment);
        self
    }

    /// An attribute of the resource, such as `service.namespace`.
    pub fn with_resource_attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((key.into(), value.into()));
        self
    }

    /// The environment the service runs in: `production`, `staging`, … (`deployment.environment.name`). Where nothing says, `production`, or `development` in a build with debug assertions.
    pub fn with_deployment_environment(self, name: impl Into<String>) -> Self {
        self.with_resource_attribute("deployment.environment.name", name)
    }

    /// More crates that are the service's own: their frames are marked as such in reports, and their DEBUG events are kept as breadcrumbs. Crates of the same workspace are known without it, see [`ServiceInfo::with_workspace_of`](crate::ServiceInfo::with_workspace_of).
    pub fn with_own_crates<C: Into<String>>(mut self, crates: impl IntoIterator<Item = C>) -> Self {
        self.own_crates.extend(crates.into_iter().map(Into::into));
        self
    }

    /// Which traces are exported; all by default, and as the caller decided where there is one.
    pub fn with_sampler(mut self, sampler: Sampler) -> Self {
        self.sampler = Some(sampler);
        self
    }

    /// Which events and spans feed a [`Filter`]. The text form is that of [`Targets`]: `info,my_crate=debug`; `CRUMBTRAIL_EXCEPTIONS`, `CRUMBTRAIL_LOGS`, `CRUMBTRAIL_SPANS` and `CRUMBTRAIL_BREADCRUMBS` say it where code does not.
    pub fn with_filter(mut self, filter: Filter, targets: Targets) -> Self {
        self.filters.push((filter, targets));
        self
    }

    /// Whether exceptions carry a stack; they do by default. Costs about 0.1 µs a frame where it fails.
    pub fn with_stacktraces(mut self, stacktraces: bool) -> Self {
        self.stacktraces = stacktraces;
        self
    }

    /// Whether a span in which an exception happened also carries a short `exception` span event, which Jaeger and Tempo show; it does by default.
    pub fn with_exception_span_events(mut self, events: bool) -> Self {
        self.exception_span_events = Some(events);
        self
    }

    /// The formats in which trace context and baggage [travel](crate::propagation) (`OTEL_PROPAGATORS`). All are written; of those that are found, the first in the order of [`Propagator`] counts. Default: W3C Trace Context and Baggage. Without any, remote parents are not followed and the [current context](crate::propagation::SpanContext::current) is not told.
    pub fn with_propagators(mut self, propagators: impl IntoIterator<Item = Propagator>) -> Self {
        self.propagators = Some(propagators.into_iter().collect());
        self
    }

    /// Whether [`install`](Self::install) puts a panic hook before the present one; it does by default.
    pub fn with_panic_hook(mut self, hook: bool) -> Self {
        self.panic_hook = hook;
        self
    }

    /// What [`install`](Self::install) prints of the program's own events: by default text where stderr is a terminal, and JSON lines otherwise, see [`Console`]. (Who [builds](Self::build) has a subscriber of their own, which may have a `fmt::layer()`.)
    pub fn with_console(mut self, console: impl Into<Console>) -> Self {
        self.console = Some(console.into());
        self
    }

    /// Everything goes there instead.
    #[cfg(feature = "testing")]
    pub(crate) fn with_sink(mut self, sink: Arc<crate::testing::Sink>) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Starts the worker and returns what to compose a subscriber from. Touches nothing global.
    ///
    /// # Errors
    /// An endpoint or header given in code is invalid, or the worker thread could not be started.
    pub fn build(self) -> Result<Telemetry, InitError> {
        self.build_with(None)
    }

    /// `output`: what is printed of the exceptions that are no events.
    fn build_with(
        self,
        #[cfg_attr(not(feature = "console"), expect(unused_variables))] output: Option<Output>,
    ) -> Result<Telemetry, InitError> {
        let settings = &self.settings;
        let mut warnings = settings.warnings.clone();
        let destinations = self.destinations(&mut warnings)?;
        let meters = Arc::new(Meters::new(MetricForm {
            temporality: self.temporality.or(settings.temporality).unwrap_or_default(),
            exponential: self.exponential_histograms.or(settings.exponential_histograms).unwrap_or(false),
        }));
        let release =
            self.resource_attributes().into_iter().filter(|(key, _)| matches!(&**key, "service.version" | "vcs.ref.head.revision"));
        // The last of a key is the one that counts.
        let release: BTreeMap<String, String> = release.collect();
        let release = release.into_iter().map(|(key, value)| opentelemetry::KeyValue::new(key, value)).collect();
        let scrubber = Arc::new(self.scrubber.clone());
        #[cfg(feature = "metrics-0-24")]
        let recorder = {
            let buckets =
                self.buckets.iter().map(|(name, bounds)| crate::metrics::recorder::Buckets { name: name.clone(), bounds: bounds.clone() });
            crate::metrics::recorder::MetricsRecorder::new(&meters, buckets.collect(), scrubber.clone())
        };
        let exports_spans = !matches!(destinations[RecordKind::Spans as usize], Destination::Nowhere);
        let defaults = SpanLimits::default();
        let worker = Arc::new(WorkerConfig {
            own: {
                let [include, exclude] = self.in_app.clone();
                OwnCrates::new(self.own_crates.iter().chain(&self.service.own_crates).cloned())
                    .with_workspace(self.service.workspace.clone())
                    .with_rules(include, exclude)
            },
            hooks: self.hooks.clone(),
            #[cfg(feature = "console")]
            printer: output.and_then(crate::console::Printer::new),
            #[cfg(feature = "testing")]
            sink: self.sink.clone(),
            span_limits: SpanLimits {
                events: settings.span_events.unwrap_or(defaults.events),
                links: settings.span_links.unwrap_or(defaults.links),
            },
            niceness: self.niceness,
            share: self.worker_share,
            exception_span_events: self.exception_span_events.or(settings.exception_span_events).unwrap_or(true),
            spool: self.spool(&destinations),
            resource: resource::resource(&self.resource_attributes(), self.process_arguments, &scrubber),
            destinations,
            log_delay: self.delays[0].or(settings.log_delay).unwrap_or(Duration::from_secs(1)),
            span_delay: self.delays[1].or(settings.span_delay).unwrap_or(Duration::from_secs(5)),
            metric_interval: self
                .metric_interval
                .or(settings.metric_interval)
                .unwrap_or(Duration::from_secs(60))
                .clamp(Duration::from_millis(10), Duration::from_secs(365 * 86_400)),
            max_batch: [
                self.max_batch[0].or(settings.log_batch).unwrap_or(4096),
                self.max_batch[1].or(settings.span_batch).unwrap_or(4096),
            ],
        });
        let alive = Arc::new(Alive);
        let start: Start = {
            let alive = Arc::downgrade(&alive);
            Box::new(move |core, link| thread::start(core, link, &worker, &alive))
        };
        let config = CoreConfig {
            filters: self.filters(),
            sampler: self.sampler.or(settings.sampler).unwrap_or_default(),
            event_limits: limits(self.attribute_limits[0].or(settings.log_limits)),
            span_limits: limits(self.attribute_limits[1].or(settings.span_limits)),
            propagators: self.propagators.or(settings.propagators).unwrap_or_default(),
            stacktraces: self.stacktraces,
            trail_bytes: self.trail_memory,
            outbox_bytes: self.outbox_memory,
            exports_spans,
            scrubber,
            baggage: self.baggage,
            user_on: self.user_on,
            enrichment: self.enrichment,
            rate: self.rate,
            has_hooks: !self.hooks.is_empty(),
            exit_timeout: self.exit_timeout,
            #[cfg(feature = "testing")]
            takes_scoped_panics: self.sink.is_some(),
            meters,
            #[cfg(feature = "tracing-opentelemetry-0-34")]
            other_api: self.interop.other_api(),
            #[cfg(not(feature = "tracing-opentelemetry-0-34"))]
            other_api: None,
            start,
        };
        let core = Arc::new_cyclic(|this| Core::new(config, this));
        for warning in &warnings {
            crate::diagnose(format_args!("{warning}"));
        }
        #[cfg(feature = "metrics-0-24")]
        recorder.counts_for(&core);
        core.meters.read_around(around(
            &core,
            release,
            #[cfg(feature = "metrics-0-24")]
            recorder.clone(),
        ));
        let extras = Extras {
            warnings,
            unused: settings.unused.clone(),
            shutdown_timeout: self.shutdown_timeout,
            disabled: settings.disabled,
            #[cfg(feature = "tracing-opentelemetry-0-34")]
            opentelemetry_globals: self.interop.globals,
            #[cfg(feature = "metrics-0-24")]
            recorder,
        };
        Telemetry::start(core, alive, extras)
    }

    /// Builds, and gives a layer for a subscriber of your own; installs what else is global: the panic hook, the `metrics` recorder. What is left at the end of the process is sent then, see [`with_exit_timeout`](Self::with_exit_timeout). Who wants to flush, or to look at [`stats`](Telemetry::stats), [builds](Self::build) and asks for [`Telemetry::layer`].
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn into_layer<S>(self) -> Result<impl Layer<S> + Send + Sync + use<S>, InitError>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let (panic_hook, metrics_recorder) = (self.panic_hook, self.metrics_recorder);
        let telemetry = self.build()?;
        crate::telemetry::make_known(&telemetry, panic_hook, metrics_recorder);
        Ok(telemetry.layer())
    }

    /// Builds, and installs all that is global: the subscriber, the bridge from the `log` crate, the panic hook, the `metrics` recorder. Says on stderr what was wrong with the environment.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when a global subscriber is installed already.
    pub fn install(self) -> Result<TelemetryGuard, InitError> {
        let (panic_hook, metrics_recorder) = (self.panic_hook, self.metrics_recorder);
        let output = self.console.or(self.settings.console).unwrap_or_default().resolve();
        let telemetry = self.build_with(output)?;
        crate::telemetry::install(telemetry, panic_hook, output, metrics_recorder)
    }

    fn filters(&self) -> Filters {
        let mut filters = Filters::new(self.own_crates.iter().chain(&self.service.own_crates), self.service.workspace.is_some());
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        if self.interop.span_extensions {
            filters.add_span_extensions();
        }
        for (filter, targets) in self.settings.filters.iter().chain(&self.filters) {
            filters.set(*filter, targets.clone());
        }
        if self.settings.disabled {
            for filter in [Filter::Exceptions, Filter::Logs, Filter::Spans, Filter::Breadcrumbs] {
                filters.turn_off(filter);
            }
            filters.only_pass_on();
        } else if self.exporter(0, &self.settings.logs) == Exporter::None {
            filters.turn_off(Filter::Logs);
        }
        filters
    }

    /// Later ones win.
    fn resource_attributes(&self) -> Vec<(String, String)> {
        let pair = |key: &str, value: String| (key.to_owned(), value);
        let environment = if cfg!(debug_assertions) { "development" } else { "production" };
        let mut all = vec![
            pair("service.name", self.service.name.clone()),
            pair("service.instance.id", uuid::Uuid::new_v4().to_string()),
            pair("deployment.environment.name", environment.to_owned()),
        ];
        all.extend(self.service.version.clone().map(|version| pair("service.version", version)));
        all.extend(
            self.settings
                .revision
                .clone()
                .or_else(|| self.service.revision.clone())
                .map(|revision| pair("vcs.ref.head.revision", revision)),
        );
        all.extend(self.settings.platform.iter().cloned());
        all.extend(self.settings.resource.iter().cloned());
        all.extend(self.settings.service_name.clone().map(|name| pair("service.name", name)));
        all.extend(self.attributes.iter().cloned());
        all
    }
}

fn limits(settings: LimitSettings) -> Limits {
    let defaults = Limits::default();
    Limits {
        fields: settings.count.unwrap_or(defaults.fields),
        value: settings.length.unwrap_or(defaults.value).min(defaults.value),
        record: defaults.record,
    }
}
