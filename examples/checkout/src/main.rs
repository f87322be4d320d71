//! The main job: a shop of three services under load, some of whose requests fail, and what
//! crumbtrail tells about it.
//!
//! ```text
//! load ──HTTP──► checkout (axum, SQLite) ──HTTP──► payment (axum) ──gRPC──► bank (tonic)
//!                  └─ background jobs
//! ```
//!
//! `cargo run -p checkout` needs no other software: it starts an OTLP receiver on
//! loopback and prints what arrived there. With `OTEL_EXPORTER_OTLP_ENDPOINT` set it sends there
//! instead.

mod load;
mod report;
mod shop;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crumbtrail_receiver::Receiver;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let elsewhere = std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
    let receiver = if elsewhere { None } else { Some(Receiver::start()?) };

    let mut builder = crumbtrail::builder(crumbtrail::service!().with_name("shop"))
        .with_env()
        .with_deployment_environment("demo")
        .with_console(false)
        .with_baggage(["customer.plan"]);
    // Deployments stamp it at build time; this is for the demo.
    if let Ok(revision) = std::env::var("CHECKOUT_REVISION") {
        builder = builder.with_resource_attribute("vcs.ref.head.revision", revision);
    }
    if let Some(receiver) = &receiver {
        builder = builder.with_endpoint(receiver.http_endpoint());
    }
    let telemetry = builder.install()?;
    // The panics are part of the show; the default hook would print each of them over it.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    telemetry.telemetry().install_panic_hook();

    let seconds = std::env::var("CHECKOUT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    println!("A shop of three services takes orders for {seconds} s …\n");
    let shop = shop::Shop::open().await?;
    let answers = load::drive(&shop, Duration::from_secs(seconds)).await?;
    shop.close().await;
    std::panic::set_hook(quiet);

    let flushed = {
        let telemetry = telemetry.telemetry().clone();
        tokio::task::spawn_blocking(move || telemetry.flush(Duration::from_secs(10))).await?
    };
    match &receiver {
        Some(receiver) => print!("{}", report::render(&receiver.received())),
        None => println!("Sent to OTEL_EXPORTER_OTLP_ENDPOINT: {flushed:?}"),
    }
    println!("The clients saw {answers}.");
    println!("\nThe ledger:\n{}", telemetry.telemetry().stats());
    Ok(())
}
