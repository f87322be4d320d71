//! What crumbtrail does, as its user and a receiver see it. One binary for all that touches nothing global; what does is beside it, in one of its own.

#[path = "../support/mod.rs"]
mod support;

mod collector;
#[cfg(all(feature = "grpc", feature = "http"))]
mod credentials;
mod delivery;
#[cfg(all(feature = "anyhow", feature = "eyre", feature = "error-stack", feature = "rootcause"))]
mod ecosystem;
mod exceptions;
mod features;
mod from_others;
#[cfg(feature = "tower")]
mod grpc;
mod hooks;
#[cfg(feature = "metrics")]
mod metrics;
mod one_failure;
mod overload;
#[cfg(all(feature = "axum", feature = "reqwest"))]
mod percentiles;
mod privacy;
mod propagation;
mod registry;
mod sampling;
mod scope;
#[cfg(all(feature = "axum", feature = "reqwest"))]
mod server;
mod storms;
mod subscriber;
