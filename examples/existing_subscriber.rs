//! For people who have a subscriber: crumbtrail is one more layer. It filters what it sees itself
//! and nothing else.
//!
//! `cargo run --example existing_subscriber`

use std::time::Duration;

use tracing::{error, info, info_span, trace};
use tracing_subscriber::{EnvFilter, prelude::*};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_env().build()?;
    tracing_subscriber::registry()
        // `RUST_LOG` is for the text output: as a layer of its own it would take its share from all.
        .with(tracing_subscriber::fmt::layer().with_filter(EnvFilter::builder().parse_lossy("trace")))
        .with(telemetry.layer())
        .try_init()?;
    telemetry.install_panic_hook();

    info_span!("request", user.id = "42").in_scope(|| {
        trace!("the console shows this, no route of crumbtrail wants it");
        info!("both have this");
        error!("and this is an exception");
    });

    // Instead of a guard: ask, and learn what did not arrive.
    if let Err(error) = telemetry.shutdown(Duration::from_millis(500)) {
        println!("{error}\n{}", telemetry.stats());
    }
    Ok(())
}
