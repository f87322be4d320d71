//! A service as axum's templates have it, and the lines of crumbtrail's README.

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use tower_http_07::trace::TraceLayer;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

#[tokio::main]
async fn main() {
    tracing_subscriber::registry()
        .with(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| format!("{}=debug,tower_http=debug", env!("CARGO_CRATE_NAME")).into()),
        )
        .with(tracing_subscriber::fmt::layer())
        .with(crumbtrail::layer(crumbtrail::service!()).expect("telemetry"))
        .init();

    let app = Router::new()
        .route("/", get(handler))
        .route("/orders/{id}", get(order))
        .layer(TraceLayer::new_for_http())
        .layer(crumbtrail::tower::ServerLayer::for_axum());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("listening on {}", listener.local_addr().expect("an address"));
    axum::serve(listener, app).await.expect("served");
}

async fn handler() -> &'static str {
    "Hello, World!"
}

async fn order(Path(id): Path<u32>) -> StatusCode {
    tracing::debug!(id, "looking the order up");
    StatusCode::INTERNAL_SERVER_ERROR
}
