//! What the threads and the worker share, and what each thread keeps for itself. Below `layer`,
//! which writes it as `tracing` calls; and below whoever asks what is current.
//!
//! - [`core`]: one telemetry, whole; [`config`]: what it goes by; [`link`]: the way from its threads
//!   to its worker, [`restart`] in a forked child
//! - [`thread`]: what one thread keeps: spans entered, its outbox
//! - [`span`], [`body`]: an open span; [`open_spans`]: all of them by id; [`slab`]: those of a
//!   subscriber without a Registry; [`handle`]: what an id leads to
//! - [`active`]: which telemetry records here, and which span is current; [`ids`]: what new spans
//!   are called
//! - [`other_api`]: OpenTelemetry's own API beside `tracing`, as far as the state has to know of it

pub(crate) mod active;
mod body;
mod config;
pub(crate) mod core;
mod enrichment;
pub(crate) mod handle;
pub(crate) mod ids;
pub(crate) mod link;
pub(crate) mod open_spans;
pub(crate) mod other_api;
mod restart;
#[cfg(feature = "tower")]
mod rpc_methods;
pub(crate) mod slab;
pub(crate) mod span;
pub(crate) mod thread;

pub(crate) use self::{
    active::{CrumbtrailLayer, SoleSubscriber, active_core, current_ids, current_state},
    config::CallerConfig,
    core::Core,
    enrichment::Enrichment,
    link::{Command, Flushed, WorkerLink},
    span::{SharedSpan, SpanState},
    thread::{is_own_thread, mark_own_thread},
};
