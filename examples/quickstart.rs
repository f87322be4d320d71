//! The smallest service: one line of set-up, one failing job.
//!
//! `cargo run --example quickstart` sends to `http://localhost:4318` if a collector listens there; with
//! `OTEL_LOGS_EXPORTER=console OTEL_TRACES_EXPORTER=console OTEL_METRICS_EXPORTER=console` it prints what it would send.

use crumbtrail::ResultExt;
use tracing::{debug, info_span};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _telemetry = crumbtrail::init(crumbtrail::service!())?;

    let _job = info_span!("job", user.id = "42", file = "orders.csv").entered();
    for line in ["17", "4", "eighteen"] {
        debug!(line, "reading a line"); // a breadcrumb: sent only because the next line fails
        let _ = line.parse::<u32>().captured();
    }
    Ok(())
}
