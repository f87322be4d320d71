//! A service that keeps its traces in tracing-opentelemetry and the SDK, and takes exceptions and
//! breadcrumbs from crumbtrail: the ids are those of its own pipeline.
//!
//! `cargo run -p crumbtrail-peers --example own_pipeline` prints both ids.

use crumbtrail::config::Exporter;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::{error, info, info_span};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Whatever it was before.
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();

    let telemetry = crumbtrail::builder(crumbtrail::service!())
        .with_foreign_context(true)
        .with_logs_exporter(Exporter::Console)
        .with_metrics_exporter(Exporter::None)
        .build()?;
    tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("own"))).with(telemetry.layer()).init();
    telemetry.install_panic_hook();
    let guard = telemetry.guard();

    info_span!("request").in_scope(|| {
        info!("charging card");
        error!("card refused");
    });
    drop(guard);
    println!("its own span: trace {}", spans.get_finished_spans()?[0].span_context.trace_id());
    Ok(())
}
