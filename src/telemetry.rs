//! The running telemetry: the handle to it, and the guard that flushes it.

use std::{
    fmt,
    panic::Location,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tracing_core::{Dispatch, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};
#[cfg(any(feature = "console", feature = "tracing-opentelemetry-0-34"))]
use tracing_subscriber::{Registry, layer::SubscriberExt as _};

use crate::{
    config::Warning,
    console::Output,
    error::{FlushError, InitError},
    exception::{self, Capture, ErrorId},
    export::thread::Alive,
    filter::Filter,
    layer::{self, PerLayerFilter},
    ledger::{FlushReport, RecordKind, Stats},
    lock::lock,
    state::{self, Command, Core, CrumbtrailLayer, Flushed, SoleSubscriber},
};

/// A handle to running telemetry: cheap to clone, all clones are one. From
/// [`Builder::build`](crate::Builder::build).
///
/// It runs until [`shutdown`](Self::shutdown), or until the last [`TelemetryGuard`] is dropped, or
/// until the last handle and layer are gone; then what is left is sent within 2 s, in the
/// background.
#[derive(Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    alive: Arc<Alive>,
    extras: Extras,
    /// How many guards there are.
    guards: AtomicUsize,
}

/// What only the handle needs.
pub(crate) struct Extras {
    pub(crate) warnings: Vec<Warning>,
    pub(crate) unused: Vec<&'static str>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) disabled: bool,
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) opentelemetry_globals: bool,
    #[cfg(feature = "metrics-0-24")]
    pub(crate) recorder: crate::metrics::recorder::MetricsRecorder,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Telemetry {
    pub(crate) fn start(core: Arc<Core>, alive: Arc<Alive>, extras: Extras) -> Result<Self, InitError> {
        if extras.disabled {
            core.close();
        } else {
            crate::fork::watch();
            (core.start)(&core, core.links.newest()).map_err(InitError::Thread)?;
            crate::ending::look_after(&core);
        }
        Ok(Self { inner: Arc::new(Inner { core, alive, extras, guards: AtomicUsize::new(0) }) })
    }

    /// The layer, for a subscriber of your own:
    ///
    /// ```
    /// use tracing_subscriber::prelude::*;
    ///
    /// let telemetry = crumbtrail::builder(crumbtrail::service!()).build()?;
    /// let subscriber = tracing_subscriber::registry().with(telemetry.layer()).with(tracing_subscriber::fmt::layer());
    /// tracing::subscriber::with_default(subscriber, || {
    ///     let _request = tracing::info_span!("request").entered();
    ///     assert!(crumbtrail::propagation::SpanContext::current().is_some());
    /// });
    /// # Ok::<(), crumbtrail::InitError>(())
    /// ```
    ///
    /// Its filters concern what it sees and nothing else: other layers keep their own filters, in
    /// any order. (That takes tracing-subscriber's per-layer filters, which cost every span a
    /// little; a subscriber made by [`install`](crate::Builder::install) does without.)
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        CrumbtrailLayer::new(self.inner.core.clone(), false, self.inner.alive.clone()).with_filter(PerLayerFilter(self.inner.core.clone()))
    }

    /// A whole subscriber, for programs that want no other layer: what
    /// [`install`](crate::Builder::install) makes global. Its filters decide which callsites exist
    /// at all, and it keeps of a span only what it needs itself, so it is cheaper than
    /// [`layer`](Self::layer) on a Registry.
    ///
    /// ```
    /// let telemetry = crumbtrail::builder(crumbtrail::service!()).build()?;
    /// tracing::dispatcher::with_default(&telemetry.dispatch(), || {
    ///     let _request = tracing::info_span!("request").entered();
    ///     assert!(crumbtrail::propagation::SpanContext::current().is_some());
    /// });
    /// # Ok::<(), crumbtrail::InitError>(())
    /// ```
    pub fn dispatch(&self) -> Dispatch {
        let own = CrumbtrailLayer::new(self.inner.core.clone(), true, self.inner.alive.clone());
        // Who asks for span extensions expects a Registry.
        #[cfg(feature = "tracing-opentelemetry-0-34")]
        if self.inner.core.other_api.as_ref().is_some_and(|other| other.needs_registry()) {
            return layer::registered(Registry::default().with(own));
        }
        layer::registered(SoleSubscriber::new(own))
    }

    /// Reports an error to this telemetry, see [`capture`](crate::capture).
    #[track_caller]
    #[inline(always)]
    pub fn capture<Kind>(&self, error: &(impl Capture<Kind> + ?Sized)) -> ErrorId {
        // See `crate::capture`.
        std::hint::black_box(exception::capture_into(&self.inner.core, error, Location::caller()))
    }

    /// Puts a panic hook before the present one, which still runs.
    /// [`install`](crate::Builder::install) does it by default. Once is enough.
    pub fn install_panic_hook(&self) {
        exception::panic::install_hook(&self.inner.core);
    }

    /// Exchanges a filter while the service runs, see
    /// [`Builder::with_filter`](crate::Builder::with_filter): more breadcrumbs for an hour, say. It
    /// counts for what happens from now on, on every thread; spans that are open go on as they
    /// began. What was turned off by `OTEL_SDK_DISABLED` or `OTEL_LOGS_EXPORTER=none` stays off.
    /// Looks at every callsite there is.
    ///
    /// ```
    /// use crumbtrail::config::Filter;
    /// use tracing_subscriber::filter::{LevelFilter, Targets};
    ///
    /// let telemetry = crumbtrail::builder(crumbtrail::service!()).build()?;
    /// tracing::dispatcher::with_default(&telemetry.dispatch(), || {
    ///     let query = || tracing::enabled!(target: "sqlx", tracing::Level::TRACE);
    ///     assert!(!query());
    ///     telemetry.reload(Filter::Breadcrumbs, Targets::new().with_default(LevelFilter::TRACE));
    ///     assert!(query());
    /// });
    /// # Ok::<(), crumbtrail::InitError>(())
    /// ```
    pub fn reload(&self, filter: Filter, targets: Targets) {
        let core = &self.inner.core;
        core.config.filters.exchange(filter, targets);
        core.callsites.decide_anew(|metadata| core.config.filters.feeds(metadata));
        layer::ask_everyone();
    }

    /// The recorder for `metrics::set_global_recorder`. [`install`](crate::Builder::install) sets
    /// it by default.
    #[cfg(feature = "metrics-0-24")]
    pub fn recorder(&self) -> crate::metrics::recorder::MetricsRecorder {
        self.inner.extras.recorder.clone()
    }

    /// What libraries get their tracers from that use OpenTelemetry's API, for
    /// [`opentelemetry::global::set_tracer_provider`]; see [`interop`](crate::interop).
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub fn tracer_provider(&self) -> crate::interop::OtelTracerProvider {
        crate::interop::OtelTracerProvider::new(Arc::downgrade(&self.inner.core))
    }

    /// Trace context and baggage for libraries that use OpenTelemetry's API, for
    /// [`opentelemetry::global::set_text_map_propagator`].
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub fn text_map_propagator(&self) -> crate::interop::OtelPropagator {
        crate::interop::OtelPropagator::new(self.inner.core.config.propagators)
    }

    /// Waits until everything recorded before the call is delivered, at most `timeout`. Blocks the
    /// calling thread and no other; needs no runtime and is safe within one, except that an async
    /// task should call it through `spawn_blocking`.
    ///
    /// What is on disk when the time is up is reported as spooled: it is safe, and not an error.
    ///
    /// # Errors
    /// Something is still on its way and in memory only, or was lost while waiting. What was not
    /// delivered is still tried.
    pub fn flush(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        if self.inner.core.is_closed() {
            return Ok(FlushReport::default());
        }
        self.ask(timeout, |deadline, reply| Command::Flush { deadline, reply }).1
    }

    /// As [`flush`](Self::flush), and then ends: nothing is recorded any more. What is not
    /// delivered in time goes to disk if there is a spool for it, or is lost and counted. `timeout`
    /// bounds all signals together. A second call does nothing.
    ///
    /// # Errors
    /// Something was lost.
    pub fn shutdown(&self, timeout: Duration) -> Result<FlushReport, FlushError> {
        if state::is_own_thread() {
            return self.ask(Duration::ZERO, |deadline, reply| Command::Shutdown { deadline, reply }).1;
        }
        let link = self.inner.core.link_here();
        let worker = lock(&link.worker).take();
        let Some(worker) = worker else { return Ok(FlushReport::default()) };
        // First: what is recorded from now on is not recorded, rather than lost between the last look and the end.
        self.inner.core.close();
        self.inner.core.ends();
        let (answered, outcome) = self.ask(timeout, |deadline, reply| Command::Shutdown { deadline, reply });
        // Only a worker that has answered is waited for: it has nothing left to do. One that hangs must not hang us.
        if answered {
            let _ = worker.join();
        }
        outcome
    }

    /// What became of everything recorded so far.
    pub fn stats(&self) -> Stats {
        self.inner.core.stats()
    }

    /// What was wrong with the environment. [`build`](crate::Builder::build) has said it on stderr.
    pub fn warnings(&self) -> &[Warning] {
        &self.inner.extras.warnings
    }

    /// A guard; dropping the last one of them shuts this telemetry down, and blocks meanwhile. See
    /// [`TelemetryGuard`].
    pub fn guard(&self) -> TelemetryGuard {
        TelemetryGuard::new(self.clone())
    }

    /// Whether the worker has answered, and what.
    fn ask(
        &self,
        timeout: Duration,
        command: impl FnOnce(Instant, mpsc::SyncSender<Flushed>) -> Command,
    ) -> (bool, Result<FlushReport, FlushError>) {
        // A hook of the program's runs on the worker, which cannot wait for itself.
        if state::is_own_thread() {
            let undelivered = RecordKind::ALL.iter().map(|signal| self.stats().of(*signal).pending()).sum::<u64>().max(1);
            return (false, Err(FlushError { undelivered, report: FlushReport::default(), timeout: Duration::ZERO }));
        }
        // A year is for ever, and can be added to an instant.
        let timeout = timeout.min(Duration::from_secs(365 * 86_400));
        let link = self.inner.core.link_here();
        let before = self.stats();
        let (reply, flushed) = mpsc::sync_channel(1);
        // The worker answers somewhat before the time is up: it has to count what is left, and to get a processor for it.
        let early = (timeout / 10).min(Duration::from_millis(100));
        let sent = link.commands.send(command(Instant::now() + timeout - early, reply));
        let answer = sent.ok().and_then(|()| flushed.recv_timeout(timeout + Duration::from_millis(150)).ok());
        let undelivered = match answer {
            Some(flushed) => flushed.undelivered,
            None => RecordKind::ALL.iter().map(|signal| self.stats().of(*signal).pending()).sum::<u64>().max(1),
        };
        let report = FlushReport::between(&before, &self.stats());
        let is_well = undelivered == 0 && report.lost() == 0;
        (answer.is_some(), if is_well { Ok(report) } else { Err(FlushError { undelivered, report, timeout }) })
    }
}

/// Keeps telemetry running. Bind it to a name in `main`.
///
/// Dropping the last guard of a telemetry shuts it down: what was recorded is delivered, which
/// blocks the dropping thread for the [shutdown timeout](crate::Builder::with_shutdown_timeout) at
/// most.
///
/// Dropping says on stderr what could not be delivered; [`Telemetry::shutdown`] returns it instead.
#[must_use = "telemetry ends when the guard is dropped; bind it: `let _telemetry = …`"]
#[derive(Debug)]
pub struct TelemetryGuard {
    telemetry: Telemetry,
}

impl TelemetryGuard {
    fn new(telemetry: Telemetry) -> Self {
        telemetry.inner.guards.fetch_add(1, Ordering::Relaxed);
        Self { telemetry }
    }

    /// The telemetry that this guard keeps running.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        // A guard is kept by what does not return before the program ends.
        if std::thread::panicking() && std::thread::current().name() == Some("main") {
            self.telemetry.inner.core.main_ends();
        }
        if self.telemetry.inner.guards.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Err(error) = self.telemetry.shutdown(self.telemetry.inner.extras.shutdown_timeout) {
            crate::diagnose(format_args!("{error}"));
        }
    }
}

/// Makes everything global.
pub(crate) fn install(
    telemetry: Telemetry,
    panic_hook: bool,
    output: Option<Output>,
    metrics_recorder: bool,
) -> Result<TelemetryGuard, InitError> {
    let dispatch = match output {
        #[cfg(feature = "console")]
        Some(output) => {
            let console = crate::console::layer(output, &telemetry.inner.core);
            layer::registered(Registry::default().with(telemetry.layer()).with(console))
        }
        _ => telemetry.dispatch(),
    };
    // The one step that can fail comes first: it is installed whole, or not at all.
    tracing_core::dispatcher::set_global_default(dispatch).map_err(InitError::SubscriberInstalled)?;
    for name in &telemetry.inner.extras.unused {
        tracing::debug!(name, "the variable is set and has no meaning here, see docs/ENVIRONMENT.md");
    }
    #[cfg(feature = "log")]
    if !crate::log_bridge::install() {
        crate::diagnose(format_args!("a logger of the `log` crate was installed before; its records go there and not to crumbtrail"));
    }
    make_known(&telemetry, panic_hook, metrics_recorder);
    Ok(telemetry.guard())
}

/// All that is global but the subscriber.
pub(crate) fn make_known(telemetry: &Telemetry, panic_hook: bool, metrics_recorder: bool) {
    state::active::make_installed(&telemetry.inner.core);
    if panic_hook {
        telemetry.install_panic_hook();
    }
    #[cfg(feature = "metrics-0-24")]
    if metrics_recorder && metrics::set_global_recorder(telemetry.recorder()).is_err() {
        crate::diagnose(format_args!("a metrics recorder was installed before; metrics of the facade go there"));
    }
    #[cfg(not(feature = "metrics-0-24"))]
    let _ = metrics_recorder;
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    if telemetry.inner.extras.opentelemetry_globals {
        opentelemetry::global::set_tracer_provider(telemetry.tracer_provider());
        opentelemetry::global::set_text_map_propagator(telemetry.text_map_propagator());
    }
}
