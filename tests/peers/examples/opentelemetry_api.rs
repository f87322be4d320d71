//! A library that knows OpenTelemetry's tracing API alone, in a service on `tracing`: its spans
//! join the request's trace and go the same way.
//!
//! `cargo run -p crumbtrail-peers --example opentelemetry_api` prints what it sent.

use crumbtrail::config::Exporter;
use opentelemetry::{
    KeyValue, global,
    trace::{Span as _, Tracer as _},
};
use tracing::info_span;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _telemetry = crumbtrail::builder(crumbtrail::service!())
        .with_logs_exporter(Exporter::Console)
        .with_traces_exporter(Exporter::Console)
        .with_metrics_exporter(Exporter::None)
        .with_opentelemetry_globals(true)
        .install()?;
    let _request = info_span!("request", otel.kind = "server").entered();

    // Somewhere in the library:
    let mut span = global::tracer("some-library").start("SELECT carts");
    span.set_attribute(KeyValue::new("db.system.name", "sqlite"));
    span.record_error(&std::fmt::Error); // an exception record of the request
    span.end();
    Ok(())
}
