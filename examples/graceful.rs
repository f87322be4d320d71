//! An axum service that ends well: on SIGTERM or ctrl-c it takes no new connections, serves what it
//! is serving for at most ten seconds more, and delivers its telemetry.
//!
//! `cargo run --example graceful --features axum,signal`, then `curl -i localhost:8080/cart/7`
//! (twice), then ctrl-c.

use std::time::Duration;

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use crumbtrail::tower::ServerLayer;
use tracing::{error, info};

async fn cart(Path(id): Path<u64>) -> Result<String, StatusCode> {
    info!(id, "loading the cart");
    if id.is_multiple_of(2) {
        return Ok(format!("cart {id}\n"));
    }
    error!("cart {id} has an odd number");
    Err(StatusCode::INTERNAL_SERVER_ERROR) // with x-error-id
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Delivers what is left when it is dropped, within two seconds.
    let _telemetry = crumbtrail::init(crumbtrail::service!())?;
    let app = Router::new().route("/cart/{id}", get(cart)).layer(ServerLayer::for_axum());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let serve = |signal| axum::serve(listener, app).with_graceful_shutdown(signal).into_future();
    match crumbtrail::shutdown::until_signal(serve, Duration::from_secs(10)).await {
        Some(outcome) => outcome?,
        None => eprintln!("some requests took too long; they are cut off"),
    }
    Ok(())
}
