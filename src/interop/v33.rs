//! Span extensions of `tracing-opentelemetry` 0.33, on OpenTelemetry 0.32: libraries are slower to
//! follow than services. The same source files, with that version's types.

#![allow(clippy::duplicate_mod, unreachable_pub, reason = "the other version's types are public")]

#[path = "bridge.rs"]
mod bridge;
#[path = "span.rs"]
mod span;
#[path = "tracer.rs"]
mod tracer;

use ::{opentelemetry_0_32 as api, tracing_opentelemetry_0_33 as extensions};

pub(super) use self::bridge::Bridge;

/// Which of a span's entries is this version's.
const SHADOW: usize = 1;
