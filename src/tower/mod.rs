//! Middleware for `tower` services (axum, tonic, hyper): one layer around what is served, one
//! around what is called.
//!
//! | | [`ServerLayer`] | [`ClientLayer`] |
//! |-|-|-|
//! | trace context, baggage | taken from the request | written into the request |
//! | span | `server`, from the request to the end of the response's body; it begins the trail | `client`, the same |
//! | exceptions | panics, service errors, 5xx that nothing else explains; their id goes to the client | none: the caller knows whether it has failed |
//! | breadcrumb | | one for each call, when it ends |
//! | metrics, sampled or not | `http.server.request.duration`, `http.server.active_requests` | `http.client.request.duration` |
//!
//! Requests of content type `application/grpc` follow the conventions for RPC instead
//! (`rpc.server.call.duration`, …). Names and attributes are those of the OpenTelemetry semantic
//! conventions 1.45 for HTTP and RPC.
//!
//! ```
//! use axum::{Router, extract::Path, routing::get};
//! use crumbtrail::tower::ServerLayer;
//!
//! let router: Router = Router::new()
//!     .route("/cart/{id}", get(|Path(id): Path<u64>| async move { format!("cart {id}") }))
//!     // Last: outermost.
//!     .layer(ServerLayer::for_axum());
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use tower::ServiceExt;
//!
//! let request = http::Request::get("/cart/7").body(axum::body::Body::empty()).unwrap();
//! let (_, collected) = crumbtrail::testing::collect_async(async {
//!     let response = router.oneshot(request).await.unwrap();
//!     assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "cart 7");
//! })
//! .await;
//! assert_eq!(collected.span("GET /cart/{id}").attribute("http.response.status_code"), Some(&200.into()));
//! # });
//! ```
//!
//! Without an installed crumbtrail all of it passes requests through.

mod body;
mod client;
mod exchange;
mod grpc;
#[cfg(feature = "reqwest-0-13")]
mod reqwest;
mod server;
mod span;

#[cfg(feature = "actix-web-4")]
pub(crate) use self::{
    exchange::{Exchange, Route},
    server::{Config as ServerConfig, Known, begin, observe_panic, passing},
};

#[cfg(feature = "reqwest-0-13")]
pub use self::reqwest::RequestBuilderExt;
pub use self::{
    body::ObservedBody,
    client::{ClientFuture, ClientLayer, ClientService, UrlTemplate},
    server::{RequestInfo, ServerFuture, ServerLayer, ServerService},
};
