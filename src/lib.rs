//! Error events and panics as OpenTelemetry exception records, with the breadcrumbs that led up to
//! them.
//!
//! crumbtrail is one [`tracing-subscriber`](https://docs.rs/tracing-subscriber) layer. Every
//! request keeps a **trail**: a small ring of what happened, written in nanoseconds and thrown away
//! when all goes well. When something fails — an `error!` event, a captured error, a panic — the
//! trail leaves with it: who, doing what, where, in which release. Logs, spans and metrics go to
//! the same collector over OTLP, correlated.
//!
//! ```no_run
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let _telemetry = crumbtrail::init(crumbtrail::service!())?;
//!
//!     let _request = tracing::info_span!("checkout", user.id = "42").entered();
//!     tracing::debug!(amount = 1999, "charging card"); // kept in the trail, sent only with an error
//!     if let Err(error) = charge() {
//!         tracing::error!(error = &error as &dyn std::error::Error, "payment failed");
//!     }
//!     Ok(())
//! }
//! # fn charge() -> Result<(), std::io::Error> { Ok(()) }
//! ```
//!
//! # Concepts
//!
//! - **Exception**: an ERROR event, a [`capture`]d error or a panic. It becomes one log record with
//!   EventName `exception`, and counts in the metric `crumbtrail.exceptions`.
//! - **[Scope]**: who a request is for and in which circumstances; it ends with the request.
//!   Secrets are taken out by a [`Scrubber`] before anything is recorded.
//! - **Trail**: what the request did before. It begins at a root span, and at any span of
//!   `otel.kind` server or consumer, and ends with it. It follows the span tree: through `.await`s,
//!   into spawned tasks and threads that carry the span.
//! - **[Filter](config::Filter)**: which events and spans become exceptions, logs, spans and
//!   breadcrumbs.
//! - **Worker**: one thread of our own that encodes and sends. The calling thread allocates nothing
//!   for an event, waits for nothing, and is told what was lost only through [`Telemetry::stats`].
//! - **[Ledger](stats::Stats)**: every record ends as delivered, spooled on disk
//!   ([`Builder::with_state_dir`]), or lost for a stated reason.
//!
//! # Overload
//!
//! Queues are bounded, so more may be recorded than can be exported. As long as there is room in a
//! thread's outbox ([`Builder::with_outbox_memory`]) everything is exported. From when it is half
//! full on, requests that begin on that thread are left out as wholes, rather than that many lose a
//! part each: each with the same probability, the higher the fuller it is, all of them from three
//! quarters on. So it settles where just that is left out which cannot be carried. What is left out
//! are spans, and logs below WARN, counted as
//! [`LossReason::Overload`](stats::LossReason::Overload); so are logs below WARN outside of
//! requests, one by one. A log is only left out where its thread has no room: a request that goes
//! on for long, or on another thread, may have logs without spans. Those whom such a request calls
//! are told that the trace is not sampled. Its trail is kept as ever: an exception in it arrives,
//! with its breadcrumbs, and with [`Sampler::keep_errors`] so does its trace. Metrics count every
//! request.
//!
//! While it lasts, [`Stats::is_overloaded`](stats::Stats::is_overloaded) is true, and the
//! instrumentation scopes of what is exported have the attribute `crumbtrail.left_out.ratio` (a
//! double, 0 to 1): of all logs, or spans, that the process has recorded since the request before,
//! the share that is missing. A line on stderr says when it begins, and another when it has ended,
//! if it did not end less than a minute before.
//!
//! Exceptions have a queue of their own. A record that finds no room at all is dropped
//! ([`LossReason::QueueOverflow`](stats::LossReason::QueueOverflow)), be it a warning. The memory
//! of `n` threads that record is at most `n` outboxes; that of worker and queues some 130 MB, of
//! which 56 MB are exceptions.
//!
//! # Ending
//!
//! | how the process ends | what is sent of what was recorded last |
//! |---|---|
//! | `main` returns and drops the [`TelemetryGuard`], also by a panic | all, within the [shutdown
//! timeout](Builder::with_shutdown_timeout) |
//! | [`exit`], `std::process::exit`; `main` returns and leaves the guard in a static | all, within the [exit timeout](Builder::with_exit_timeout) |
//! | a panic where panics abort, or while another unwinds, or in an `extern "C"` function | all: the panic hook waits, within the exit timeout |
//! | `std::process::abort`, `_exit`, a signal that kills, power | nothing. With a [state directory](Builder::with_state_dir) the next process sends what is on disk |
//!
//! Signals that ask for an end are the program's to hear, by [`shutdown::until_signal`] or
//! otherwise; then `main` returns.
//!
//! # Features
//!
//! Features only add: none of them changes what a program does that does not ask for it. Those for
//! a crate whose next version will be another (0.x) carry its version.
//!
//! | for | on by default | others |
//! |---|---|---|
//! | transport | `http` (OTLP over HTTP), `gzip` | `grpc`, `json` (OTLP as JSON), `zstd`, `tls` (rustls with the system's roots; the program's cryptography, else Graviola), `tls-bundled-roots` |
//! | what is recorded | `metrics-0-24` (a recorder for the facade), `log` (records of the `log` crate) | `anyhow`, `eyre-0-6`, `error-stack-0-8`, `rootcause-0-13` (errors of these crates can be [`capture`]d) |
//! | middleware | | `tower`, `axum-0-8`, `actix-web-4`, `reqwest-0-13`, `reqwest-middleware-0-5` |
//! | OpenTelemetry's own API | | `tracing-opentelemetry-0-34`, `tracing-opentelemetry-0-33` |
//! | where it ends up | `spool` (undelivered exceptions wait on disk), `console` (events and captured errors on standard error: text on a terminal, JSON lines otherwise) | `cli` (the program `crumbtrail`) |
//! | and | | `config-file` (a file instead of the environment), `testing` (the test kit), `shutdown` (a graceful end) |

// docs.rs says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr))]

#[cfg(feature = "actix-web-4")]
pub mod actix_web;
mod attribute;
mod breadcrumb;
mod bucket;
mod builder;
mod clock;
pub mod config;
mod console;
mod delivery;
mod ending;
mod error;
mod exception;
mod export;
mod failpoint;
mod filter;
mod fork;
mod hooks;
#[cfg(feature = "tracing-opentelemetry-0-34")]
pub mod interop;
mod layer;
mod ledger;
mod lock;
#[cfg(feature = "log")]
mod log_bridge;
mod main_error;
mod metrics;
mod otlp;
mod outbox;
pub mod propagation;
mod random;
#[cfg(unix)]
mod rlimit;
mod sampling;
mod scope;
mod scrub;
mod service;
#[cfg(all(feature = "shutdown", unix))]
pub mod shutdown;
pub mod spool;
mod stack;
mod state;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
#[cfg(feature = "tower")]
pub mod tower;
mod trail;
mod unwind;

pub use crate::{
    attribute::AttributeValue,
    breadcrumb::{Breadcrumb, breadcrumb, breadcrumb_with},
    builder::{Builder, builder},
    ending::exit,
    error::InitError,
    exception::{ErrorId, ErrorReport, Exception, ResultExt, capture, last_error_id},
    sampling::Sampler,
    scope::{FlagEvaluation, Scope, User, clear_user, flag_evaluated, set_context, set_session, set_tag, set_user},
    scrub::Scrubber,
    telemetry::{Telemetry, TelemetryGuard},
};

/// What can be captured, what `main` can return, and what an [`Exception`] is made of.
pub mod errors {
    pub use crate::{
        breadcrumb::Breadcrumbs,
        exception::{Capture, CaptureParts, Cause, DynError, Mechanism, ParseErrorIdError, Reported, StdError},
        main_error::MainError,
        stack::resolve::Frame,
    };

    #[cfg(feature = "anyhow")]
    pub use crate::exception::Anyhow;
    #[cfg(feature = "error-stack-0-8")]
    pub use crate::exception::ErrorStack;
    #[cfg(feature = "eyre-0-6")]
    pub use crate::exception::Eyre;
    #[cfg(feature = "rootcause-0-13")]
    pub use crate::exception::RootCause;
}

/// The ledger: what became of every record. See [`Telemetry::stats`].
pub mod stats {
    pub use crate::{
        error::FlushError,
        ledger::{FlushReport, LossReason, RecordKind, RecordStats, Stats},
    };
}

/// Sets everything up from the environment and installs it:
/// [`builder`]`(service).`[`with_env`](Builder::with_env)`().`[`install`](Builder::install)`()`.
///
/// # Errors
/// A global subscriber is installed already, or the worker thread could not be started.
pub fn init(service: config::ServiceInfo) -> Result<TelemetryGuard, InitError> {
    builder(service).with_env().install()
}

/// One layer more for a subscriber that there is:
/// [`builder`]`(service).`[`with_env`](Builder::with_env)`().`[`into_layer`](Builder::into_layer)`()`.
/// Panics and what the `metrics` facade is told are included.
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// let subscriber = tracing_subscriber::registry().with(crumbtrail::layer(crumbtrail::service!())?).with(tracing_subscriber::fmt::layer());
/// tracing::subscriber::with_default(subscriber, || {
///     let _request = tracing::info_span!("request").entered();
///     assert!(crumbtrail::propagation::SpanContext::current().is_some());
/// });
/// # Ok::<(), crumbtrail::InitError>(())
/// ```
///
/// # Errors
/// The environment asks for what cannot work, or the worker thread could not be started.
pub fn layer<S>(service: config::ServiceInfo) -> Result<impl tracing_subscriber::Layer<S> + Send + Sync + use<S>, InitError>
where
    S: tracing_core::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> + Send + Sync,
{
    builder(service).with_env().into_layer()
}

/// Says something about ourselves: on stderr, never through `tracing`, and not at all if stderr is
/// closed.
fn diagnose(message: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "crumbtrail: {message}");
}

/// The README's examples, and those of the pages that it leads to. Each stands as it is read, so
/// they need the features that they show.
#[cfg(all(doctest, feature = "testing", feature = "axum-0-8", feature = "anyhow", feature = "shutdown"))]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/GUIDE.md")]
    struct Guide;
    #[doc = include_str!("../docs/SERVICES.md")]
    struct Services;
    #[doc = include_str!("../docs/PRIVACY.md")]
    struct Privacy;
    #[doc = include_str!("../docs/DELIVERY.md")]
    struct Delivery;
}
