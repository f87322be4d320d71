//! The smallest service: one line of set-up, one failing job.
//!
//! `cargo run --example quickstart` sends to `http://localhost:4318` if a collector listens there;
//! with `OTEL_LOGS_EXPORTER=console OTEL_TRACES_EXPORTER=console OTEL_METRICS_EXPORTER=console` it
//! prints what it would send.

use crumbtrail::ResultExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _telemetry = crumbtrail::init(crumbtrail::service!())?;

    let _job = tracing::info_span!("job", user.id = "42").entered();
    tracing::debug!(line = "eighteen", "reading a line"); // a breadcrumb
    let _ = "eighteen".parse::<u32>().capture_err(); // an exception
    Ok(())
} // dropping the guard delivers what is left, for 2 s at most
