//! tower-http's `TraceLayer`, versions 0.6 and 0.7, inside and outside of `ServerLayer`, with and
//! without its spans: a request has one story.

#[path = "../../support/mod.rs"]
mod support;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::get,
};
use crumbtrail::tower::ServerLayer;
use http_body_util::BodyExt as _;
use support::{Pipeline, messages};
use tower::ServiceExt as _;
use tracing::info;
use tracing_subscriber::{EnvFilter, prelude::*};

#[derive(Debug, thiserror::Error)]
#[error("the ledger is locked")]
struct Locked;

async fn captured() -> StatusCode {
    info!("about to pay");
    crumbtrail::capture(&Locked);
    StatusCode::INTERNAL_SERVER_ERROR
}

async fn logged() -> StatusCode {
    info!("about to pay");
    tracing::error!(error = &Locked as &dyn std::error::Error, "payment failed");
    StatusCode::INTERNAL_SERVER_ERROR
}

fn routes() -> Router {
    Router::new()
        .route("/captured", get(captured))
        .route("/logged", get(logged))
        .route("/bare", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
}

/// Each way to put the two together, by its name.
fn services() -> Vec<(&'static str, Router)> {
    let (theirs_06, theirs_07) = (tower_http_06::trace::TraceLayer::new_for_http, tower_http_07::trace::TraceLayer::new_for_http);
    vec![
        ("0.6 inside", routes().layer(theirs_06()).layer(ServerLayer::for_axum())),
        ("0.6 outside", routes().layer(ServerLayer::for_axum()).layer(theirs_06())),
        ("0.7 inside", routes().layer(theirs_07()).layer(ServerLayer::for_axum())),
        ("0.7 outside", routes().layer(ServerLayer::for_axum()).layer(theirs_07())),
    ]
}

/// Report 14.2.
#[test]
fn what_a_trace_layer_says_of_a_failure_is_no_second_one() {
    for filter in ["trace", "trace_layer=debug,tower_http=debug", "warn"] {
        for (name, service) in services() {
            for (path, text, type_name) in [
                ("/captured", "the ledger is locked", "trace_layer::Locked"),
                ("/logged", "the ledger is locked", "trace_layer::Locked"),
                ("/bare", "answered 503", "HTTP 503"),
            ] {
                let about = format!("{name}, {filter}, {path}");
                let pipeline = Pipeline::new(|builder, _| builder);
                let subscriber = tracing_subscriber::registry().with(EnvFilter::new(filter)).with(pipeline.telemetry.layer());
                let id = tracing::subscriber::with_default(subscriber, || {
                    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
                        let request = Request::get(path).body(Body::empty()).expect("a request");
                        let response = service.clone().oneshot(request).await.expect("infallible");
                        let id = response.headers().get("x-error-id").expect("an id").to_str().expect("text").to_owned();
                        response.into_body().collect().await.expect("a body");
                        id
                    })
                });
                let exception = pipeline.exception(text);
                assert_eq!(exception.text("crumbtrail.error.id"), id, "{about}");
                assert_eq!((exception.text("exception.type"), exception.text("http.route")), (type_name, path), "{about}");
                let received = pipeline.received();
                assert_eq!(received.exceptions().count(), 1, "{about}: {:#?}", received.exceptions().collect::<Vec<_>>());
                let request = pipeline.span(&format!("GET {path}"));
                assert_eq!(exception.trace_id, request.trace_id, "{about}");
                assert!(path == "/bare" || filter == "warn" || messages(&exception).contains(&"about to pay".to_owned()), "{about}");
                // An ERROR event is never less than a log.
                let echo = pipeline.log("response failed");
                assert!(echo.text("crumbtrail.error.id").is_empty() || echo.text("crumbtrail.error.id") == id, "{about}");
                if name.ends_with("inside") {
                    assert_eq!(echo.trace_id, request.trace_id, "{about}");
                }
            }
        }
    }
}

/// Report 14.2: without a middleware of ours its word is all there is.
#[test]
fn alone_a_trace_layer_is_heard() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
            for path in ["/bare", "/captured"] {
                let service = routes().layer(tower_http_07::trace::TraceLayer::new_for_http());
                let request = Request::get(path).body(Body::empty()).expect("a request");
                service.oneshot(request).await.expect("infallible");
            }
        });
    });
    let received = pipeline.received();
    let types: Vec<&str> = received.exceptions().map(|exception| exception.text("exception.message")).collect();
    assert_eq!(types.len(), 2, "{types:?}");
    assert!(types.contains(&"response failed") && types.contains(&"the ledger is locked"), "{types:?}");
}

/// Outside of requests a framework has failures of its own.
#[test]
fn a_server_that_cannot_start_is_news() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        crumbtrail::capture(&Locked);
        tracing::error!(target: "rocket::server", "failed to bind: address in use");
    });
    assert_eq!(pipeline.exceptions("failed to bind").len(), 1);
}
