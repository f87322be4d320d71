//! What crumbtrail does, as its user and a receiver see it. One binary for all that touches nothing
//! global; what does is beside it, in one of its own.

#[path = "../support/mod.rs"]
mod support;

mod collector;
#[cfg(feature = "config-file")]
mod config_file;
#[cfg(all(feature = "grpc", feature = "http"))]
mod credentials;
mod delivery;
#[cfg(all(feature = "anyhow", feature = "eyre-0-6", feature = "error-stack-0-8", feature = "rootcause-0-13"))]
mod ecosystem;
mod exceptions;
mod features;
mod from_others;
#[cfg(feature = "tower")]
mod grpc;
mod hooks;
#[cfg(feature = "metrics-0-24")]
mod metrics;
mod one_failure;
mod overload;
#[cfg(all(feature = "axum-0-8", feature = "reqwest-0-13"))]
mod percentiles;
mod privacy;
mod propagation;
mod registry;
mod sampling;
mod scope;
#[cfg(all(feature = "axum-0-8", feature = "reqwest-0-13"))]
mod server;
mod storms;
mod subscriber;
