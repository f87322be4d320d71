//! Set-up: pure configuration, then `build` (no global touched) or `install`.

mod bounds;
mod context;
mod destination;
#[cfg(feature = "tracing-opentelemetry-0-34")]
mod interop;
mod metrics;
mod state_dir;

use std::{fmt, sync::Arc};

use tracing_core::Subscriber;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::{
    config::{self, Config, Console, EnvVars, ExceptionRate, Filter, Read, Settings, per_signal::Signal},
    console::Output,
    delivery::Credentials,
    error::InitError,
    export::{
        config::{Destination, WorkerParts},
        resource,
        thread::{self, Alive},
    },
    filter::Filters,
    hooks::Hooks,
    metrics::{Meters, around},
    propagation::Propagator,
    sampling::Sampler,
    scrub::Scrubber,
    service::ServiceInfo,
    stack::in_app::OwnCrates,
    state::{
        Core,
        core::{CoreParts, Start},
    },
    telemetry::{Extras, Telemetry, TelemetryGuard},
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
    /// What code says.
    code: Settings,
    /// What the environment says, if it is read.
    read: Read,
    /// What was said and cannot be.
    mistakes: Vec<Mistake>,
    credentials: Option<Credentials>,
    own_crates: Vec<String>,
    /// Beginnings of functions' paths that are own code, and that are not.
    in_app: [Vec<String>; 2],
    scrubber: Scrubber,
    hooks: Hooks,
    rate: ExceptionRate,
    buckets: Vec<(String, Vec<f64>)>,
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    interop: crate::interop::Options,
    panic_hook: bool,
    metrics_recorder: bool,
    #[cfg(feature = "testing")]
    sink: Option<Arc<crate::testing::Sink>>,
}

/// What is told when all is built: setters have no errors.
#[derive(Clone)]
enum Mistake {
    Endpoint,
    Header(String),
    #[cfg(feature = "config-file")]
    ConfigFile {
        path: std::path::PathBuf,
        problem: String,
    },
    #[cfg(not(feature = "config-file"))]
    NoConfigFiles,
}

impl Mistake {
    fn is_of_file(&self) -> bool {
        !matches!(self, Self::Endpoint | Self::Header(_))
    }
}

impl From<Mistake> for InitError {
    fn from(mistake: Mistake) -> Self {
        match mistake {
            Mistake::Endpoint => Self::Endpoint,
            Mistake::Header(name) => Self::Header { name },
            #[cfg(feature = "config-file")]
            Mistake::ConfigFile { path, problem } => Self::ConfigFile { path, problem },
            #[cfg(not(feature = "config-file"))]
            Mistake::NoConfigFiles => Self::Unsupported { what: "the file that OTEL_CONFIG_FILE names", feature: "config-file" },
        }
    }
}

/// Starts a [`Builder`] for a service, see [`service!`](crate::service). Reads no environment until
/// told to.
pub fn builder(service: ServiceInfo) -> Builder {
    Builder {
        service,
        code: Settings::default(),
        read: Read::default(),
        mistakes: Vec::new(),
        credentials: None,
        own_crates: Vec::new(),
        in_app: Default::default(),
        scrubber: Scrubber::default(),
        hooks: Hooks::default(),
        rate: ExceptionRate::default(),
        buckets: Vec::new(),
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        interop: Default::default(),
        panic_hook: true,
        metrics_recorder: true,
        #[cfg(feature = "testing")]
        sink: None,
    }
}

impl fmt::Debug for Builder {
    /// Without headers and endpoints: they may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("service", &self.service).field("sampler", &self.code.sampler).finish_non_exhaustive()
    }
}

impl Builder {
    /// Reads the `OTEL_*` variables of this process, and `GIT_COMMIT_SHA` or `VCS_REF`. A bad value
    /// is diagnosed once and the default used. Where `OTEL_CONFIG_FILE` names a file, that is read
    /// instead (feature `config-file`).
    pub fn with_env(self) -> Self {
        self.with_env_vars(&EnvVars::of_process())
    }

    /// Reads variables from data, see [`with_env`](Self::with_env).
    pub fn with_env_vars(self, environment: &EnvVars) -> Self {
        match environment.config_file() {
            Some(path) => self.read_file(&path, environment),
            None => self.with_read(config::env::read(environment)),
        }
    }

    /// Reads a file of OpenTelemetry's declarative configuration, as `OTEL_CONFIG_FILE` asks
    /// [`with_env`](Self::with_env) for. Variables count in it where it refers to them, and nowhere
    /// else. What of it is not known is a [warning](Telemetry::warnings) with line and column; a
    /// file that cannot be used is an [`InitError`] of [`build`](Self::build). See
    /// docs/CONFIG-FILE.md.
    #[cfg(feature = "config-file")]
    pub fn with_config_file(self, path: impl AsRef<std::path::Path>) -> Self {
        self.read_file(path.as_ref(), &EnvVars::of_process())
    }

    #[cfg(feature = "config-file")]
    fn read_file(mut self, path: &std::path::Path, environment: &EnvVars) -> Self {
        match config::file::read(path, environment) {
            Ok(read) => return self.with_read(read),
            Err(problem) => self.mistakes.push(Mistake::ConfigFile { path: path.to_owned(), problem }),
        }
        self
    }

    /// The last one read counts, and with it whether it could be.
    fn with_read(mut self, read: config::Read) -> Self {
        self.mistakes.retain(|mistake| !mistake.is_of_file());
        self.read = read;
        self
    }

    #[cfg(not(feature = "config-file"))]
    fn read_file(mut self, _: &std::path::Path, _: &EnvVars) -> Self {
        self.mistakes.push(Mistake::NoConfigFiles);
        self
    }

    /// An attribute of the resource, such as `service.namespace`.
    pub fn with_resource_attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.code.resource.push((key.into(), value.into()));
        self
    }

    /// The environment the service runs in: `production`, `staging`, …
    /// (`deployment.environment.name`). Where nothing says, `production`, or `development` in a
    /// build with debug assertions.
    pub fn with_deployment_environment(self, name: impl Into<String>) -> Self {
        self.with_resource_attribute("deployment.environment.name", name)
    }

    /// More crates that are the service's own: their frames are marked as such in reports, and
    /// their DEBUG events are kept as breadcrumbs. Crates of the same workspace are known without
    /// it, see [`ServiceInfo::with_workspace_of`](crate::config::ServiceInfo::with_workspace_of).
    pub fn with_own_crates<C: Into<String>>(mut self, crates: impl IntoIterator<Item = C>) -> Self {
        self.own_crates.extend(crates.into_iter().map(Into::into));
        self
    }

    /// Which traces are exported; all by default, and as the caller decided where there is one.
    pub fn with_sampler(mut self, sampler: Sampler) -> Self {
        self.code.sampler = Some(sampler);
        self
    }

    /// Which events and spans feed a [`Filter`]. The text form is that of [`Targets`]:
    /// `info,my_crate=debug`; `CRUMBTRAIL_EXCEPTIONS`, `CRUMBTRAIL_LOGS`, `CRUMBTRAIL_SPANS` and
    /// `CRUMBTRAIL_BREADCRUMBS` say it where code does not.
    pub fn with_filter(mut self, filter: Filter, targets: Targets) -> Self {
        self.code.filters.push((filter, targets));
        self
    }

    /// Whether exceptions carry a stack; they do by default. Costs about 0.1 µs a frame where it
    /// fails.
    pub fn with_stacktraces(mut self, stacktraces: bool) -> Self {
        self.code.stacktraces = Some(stacktraces);
        self
    }

    /// Whether a span in which an exception happened also carries a short `exception` span event,
    /// which Jaeger and Tempo show; it does by default.
    pub fn with_exception_span_events(mut self, events: bool) -> Self {
        self.code.exception_span_events = Some(events);
        self
    }

    /// The formats in which trace context and baggage [travel](crate::propagation)
    /// (`OTEL_PROPAGATORS`). All are written; of those that are found, the first in the order of
    /// [`Propagator`] counts. Default: W3C Trace Context and Baggage. Without any, remote parents
    /// are not followed and the [current context](crate::propagation::SpanContext::current) is not
    /// told.
    pub fn with_propagators(mut self, propagators: impl IntoIterator<Item = Propagator>) -> Self {
        self.code.propagators = Some(propagators.into_iter().collect());
        self
    }

    /// Whether [`install`](Self::install) puts a panic hook before the present one; it does by
    /// default.
    pub fn with_panic_hook(mut self, hook: bool) -> Self {
        self.panic_hook = hook;
        self
    }

    /// What [`install`](Self::install) prints of the program's own events: by default text where
    /// stderr is a terminal, and JSON lines otherwise, see [`Console`]. (Who [builds](Self::build)
    /// has a subscriber of their own, which may have a `fmt::layer()`.)
    pub fn with_console(mut self, console: impl Into<Console>) -> Self {
        self.code.console = Some(console.into());
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
    pub fn build(mut self) -> Result<Telemetry, InitError> {
        let config = self.config()?;
        self.build_with(config, None)
    }

    /// What code and what was read come to. Once.
    pub(crate) fn config(&mut self) -> Result<Config, InitError> {
        if let Some(mistake) = self.mistakes.iter().find(|mistake| mistake.is_of_file()) {
            return Err(mistake.clone().into());
        }
        #[cfg_attr(not(feature = "tracing-opentelemetry-0-34"), expect(unused_mut))]
        let mut filters = Filters::new(self.own_crates.iter().chain(&self.service.own_crates), self.service.workspace.is_some());
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        if self.interop.span_extensions {
            filters.add_span_extensions();
        }
        let config = Config::resolve(&self.service, filters, std::mem::take(&mut self.code), std::mem::take(&mut self.read))?;
        // A receiver's address is of no account where nothing is sent.
        let sends = Signal::ALL.iter().any(|signal| matches!(config.worker.destinations.get(*signal), Destination::Otlp(_)));
        match self.mistakes.pop().filter(|_| sends) {
            Some(mistake) => Err(mistake.into()),
            None => Ok(config),
        }
    }

    /// `output`: what is printed of the exceptions that are no events.
    fn build_with(
        self,
        mut config: Config,
        #[cfg_attr(not(feature = "console"), expect(unused_variables))] output: Option<Output>,
    ) -> Result<Telemetry, InitError> {
        for warning in &config.warnings {
            crate::diagnose(format_args!("{warning}"));
        }
        let release = config.release().into_iter().map(|(key, value)| opentelemetry::KeyValue::new(key, value)).collect();
        let scrubber = Arc::new(match config.default_pii {
            Some(personal) => self.scrubber.with_default_pii(personal),
            None => self.scrubber,
        });
        let meters = Arc::new(Meters::new(config.metric_form));
        #[cfg(feature = "metrics-0-24")]
        let recorder = {
            let buckets = self.buckets.into_iter().map(|(name, bounds)| crate::metrics::recorder::Buckets { name, bounds });
            crate::metrics::recorder::MetricsRecorder::new(&meters, buckets.collect(), scrubber.clone())
        };
        let has_hooks = !self.hooks.is_empty();
        for signal in Signal::ALL {
            if let Destination::Otlp(lane) = config.worker.destinations.get_mut(signal) {
                lane.credentials.clone_from(&self.credentials);
            }
        }
        let worker = Arc::new(WorkerParts {
            own: {
                let [include, exclude] = self.in_app;
                OwnCrates::new(self.own_crates.iter().chain(&self.service.own_crates).cloned())
                    .with_workspace(self.service.workspace.clone())
                    .with_rules(include, exclude)
            },
            hooks: self.hooks,
            #[cfg(feature = "console")]
            printer: output.and_then(crate::console::Printer::new),
            #[cfg(feature = "testing")]
            sink: self.sink.clone(),
            resource: resource::resource(&config.resource, config.process_arguments, &scrubber),
            config: config.worker,
        });
        let alive = Arc::new(Alive);
        let start: Start = {
            let alive = Arc::downgrade(&alive);
            Box::new(move |core, link| thread::start(core, link, &worker, &alive))
        };
        let parts = CoreParts {
            scrubber,
            rate: self.rate,
            has_hooks,
            #[cfg(feature = "testing")]
            takes_scoped_panics: self.sink.is_some(),
            meters,
            #[cfg(feature = "tracing-opentelemetry-0-34")]
            other_api: self.interop.other_api(),
            #[cfg(not(feature = "tracing-opentelemetry-0-34"))]
            other_api: None,
            start,
        };
        let core = Arc::new_cyclic(|this| Core::new(config.caller, parts, this));
        #[cfg(feature = "metrics-0-24")]
        recorder.counts_for(&core);
        core.meters.read_around(around(
            &core,
            release,
            #[cfg(feature = "metrics-0-24")]
            recorder.clone(),
        ));
        let extras = Extras {
            warnings: config.warnings,
            unused: config.unused,
            shutdown_timeout: config.shutdown_timeout,
            disabled: config.disabled,
            #[cfg(feature = "tracing-opentelemetry-0-34")]
            opentelemetry_globals: self.interop.globals,
            #[cfg(feature = "metrics-0-24")]
            recorder,
        };
        Telemetry::start(core, alive, extras)
    }

    /// Builds, and gives a layer for a subscriber of your own; installs what else is global: the
    /// panic hook, the `metrics` recorder. What is left at the end of the process is sent then, see
    /// [`with_exit_timeout`](Self::with_exit_timeout). Who wants to flush, or to look at
    /// [`stats`](Telemetry::stats), [builds](Self::build) and asks for [`Telemetry::layer`].
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

    /// Builds, and installs all that is global: the subscriber, the bridge from the `log` crate,
    /// the panic hook, the `metrics` recorder. Says on stderr what was wrong with the environment.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when a global subscriber is installed already.
    pub fn install(mut self) -> Result<TelemetryGuard, InitError> {
        let (panic_hook, metrics_recorder) = (self.panic_hook, self.metrics_recorder);
        let config = self.config()?;
        let output = config.console.resolve();
        let telemetry = self.build_with(config, output)?;
        crate::telemetry::install(telemetry, panic_hook, output, metrics_recorder)
    }
}
