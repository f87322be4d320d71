//! A service on axum-tracing-opentelemetry, with crumbtrail as its only layer: that crate's
//! middleware opens the spans and takes the caller's trace over, crumbtrail exports them, and its
//! exceptions have the trail.
//!
//! `cargo run -p crumbtrail-peers --example axum_tracing_opentelemetry` calls itself once and
//! prints what it sent.

use axum::{Router, body::Body, http::Request, routing::get};
use axum_tracing_opentelemetry::middleware::{OtelAxumLayer, OtelInResponseLayer};
use crumbtrail::config::Exporter;
use tower::ServiceExt as _;
use tracing::{error, info};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // For a look: a line each, on stdout. Without this it goes to OTEL_EXPORTER_OTLP_ENDPOINT.
    let console = Exporter::Console;
    let builder = crumbtrail::builder(crumbtrail::service!()).with_logs_exporter(console).with_traces_exporter(console);
    // The one line that makes `OpenTelemetrySpanExt` work; and OpenTelemetry's propagator, which that crate asks.
    let _telemetry = builder.with_metrics_exporter(Exporter::None).with_span_extensions(true).with_opentelemetry_globals(true).install()?;

    let handler = || async {
        info!("loading");
        error!("no such cart");
        "sorry"
    };
    let app = Router::new().route("/cart/{id}", get(handler)).layer(OtelInResponseLayer).layer(OtelAxumLayer::default());
    let request = Request::get("/cart/7").header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = app.oneshot(request.body(Body::empty())?).await?;
    println!("the response's traceparent: {}", answer.headers()["traceparent"].to_str()?);
    Ok(())
}
