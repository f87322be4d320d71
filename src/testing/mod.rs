//! The test kit: what a piece of code would send, caught in a scope of its own, for a service's own
//! tests.
//!
//! ```
//! use crumbtrail::testing::collect;
//!
//! fn charge() {
//!     let _request = tracing::info_span!("checkout").entered();
//!     tracing::debug!(cents = 1999, "charging card");
//!     tracing::error!("card refused");
//! }
//!
//! let (_, collected) = collect(charge);
//! assert_eq!(collected.exceptions()[0].breadcrumbs().messages(), ["charging card"]);
//! assert_eq!(collected.exception("refused").message(), "card refused");
//! assert_eq!(collected.spans()[0].name(), "checkout");
//! ```
//!
//! Every scope has a telemetry of its own: nothing global is set but a panic hook, once, before the
//! one that is there, and tests that run in parallel do not see each other. What is caught went the
//! whole way, through scrubber, hooks and grouping; it is only not sent.
//!
//! A scope is that of its thread, as `tracing`'s scoped subscribers are. Code that starts threads
//! or tasks takes it along: [`Instrument`](tracing::Instrument) with a span of the scope, or
//! `WithSubscriber` with the current subscriber.

mod sink;
mod snapshot;
mod view;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tracing_core::{Dispatch, dispatcher};
use tracing_subscriber::{layer::SubscriberExt as _, registry::Registry};

pub(crate) use self::sink::Sink;
pub use self::view::{Collected, Log, Metric, Point, Span};

use crate::{Builder, Telemetry, config::Exporter, exception::storm::ExceptionRate, service::ServiceInfo};

/// Runs `work` and returns what it returned, with everything it would have sent. Unlike the
/// default, no share limits the records of a group.
///
/// # Panics
/// If `work` does: to look at a panic's exception, catch the panic within.
///
/// ```
/// let (outcome, collected) = crumbtrail::testing::collect(|| std::panic::catch_unwind(|| panic!("out of stock")));
/// assert!(outcome.is_err());
/// assert_eq!((collected.exceptions()[0].type_name(), collected.exceptions()[0].message()), ("panic", "out of stock"));
/// ```
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Collected) {
    collect_with(builder(), work)
}

/// As [`collect`], with hooks, a scrubber or filters of the service's own. Where it would send is
/// set aside.
pub fn collect_with<T>(builder: Builder, work: impl FnOnce() -> T) -> (T, Collected) {
    let collection = Collection::new(builder);
    let outcome = collection.enter(work);
    (outcome, collection.end())
}

/// As [`collect`], for a future: the scope is that of its polls, on whichever thread they are.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (_, collected) = crumbtrail::testing::collect_async(async {
///     tokio::task::yield_now().await;
///     tracing::error!("card refused");
/// })
/// .await;
/// assert_eq!(collected.exceptions().len(), 1);
/// # });
/// ```
pub async fn collect_async<T>(work: impl Future<Output = T>) -> (T, Collected) {
    collect_async_with(builder(), work).await
}

/// As [`collect_async`], with a builder of the service's own.
pub async fn collect_async_with<T>(builder: Builder, work: impl Future<Output = T>) -> (T, Collected) {
    let collection = Collection::new(builder);
    let outcome = Scoped { collection: &collection, work: Box::pin(work) }.await;
    (outcome, collection.end())
}

/// What [`collect`] uses: the crate under test is the service's own, by the variables that `cargo
/// test` sets.
pub fn builder() -> Builder {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "test".to_owned());
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).unwrap_or_default();
    // `exceptions-0123456789abcdef` is the crate `exceptions`; doc tests are one of the last two.
    let program = program.rsplit_once('-').map_or(program.as_str(), |(name, _)| name);
    let own = [package.replace('-', "_"), program.replace('-', "_"), "rust_out".to_owned(), "doctest_bundle_2024".to_owned()];
    let service = ServiceInfo { workspace: std::env::var("CARGO_MANIFEST_DIR").ok(), ..ServiceInfo::new(package).with_version("0.0.0") };
    crate::builder(service).with_own_crates(own).with_exception_rate(ExceptionRate::unlimited())
}

/// The patience for the worker: it has nothing to send, so this is for machines that are very busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// One capture.
struct Collection {
    telemetry: Telemetry,
    dispatch: Dispatch,
    sink: Arc<Sink>,
}

impl Collection {
    #[expect(clippy::expect_used, reason = "a test without a thread for its telemetry cannot go on")]
    fn new(builder: Builder) -> Self {
        let sink = Arc::<Sink>::default();
        let otlp = Exporter::Otlp;
        let builder = builder.with_logs_exporter(otlp).with_traces_exporter(otlp).with_metrics_exporter(otlp);
        let telemetry = builder.with_sink(sink.clone()).build().expect("the telemetry of a test");
        crate::exception::panic::install_scoped_hook();
        // A test's code may well reach a callsite on a thread without it first.
        let dispatch = crate::layer::registered(Registry::default().with(telemetry.layer()));
        Self { telemetry, dispatch, sink }
    }

    fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let work = || dispatcher::with_default(&self.dispatch, work);
        #[cfg(feature = "metrics-0-24")]
        return metrics::with_local_recorder(&self.telemetry.recorder(), work);
        #[cfg(not(feature = "metrics-0-24"))]
        work()
    }

    fn end(self) -> Collected {
        // Whatever is wrong shows in what is there.
        let _ = self.telemetry.shutdown(PATIENCE);
        self.sink.take()
    }
}

struct Scoped<'a, F> {
    collection: &'a Collection,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Scoped<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let collection = self.collection;
        collection.enter(|| self.work.as_mut().poll(context))
    }
}
