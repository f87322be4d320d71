//! A program whose telemetry is installed, and a part of it that has another subscriber. One
//! process: what is installed is global.

mod support;

use std::collections::HashSet;

use axum::{Router, body::Body, http::Request, http::StatusCode, routing::get};
use crumbtrail::tower::ServerLayer;
use support::Pipeline;
use tower::ServiceExt as _;
use tracing::{Span, info_span};

#[test]
fn another_subscribers_span_is_not_taken_for_one_of_ours() {
    let pipeline = Pipeline::installed();
    let ours: Vec<Span> = (0..500).map(|_| info_span!("ours")).collect();
    let ids: HashSet<_> = ours.iter().filter_map(Span::id).collect();
    let router = Router::new().route("/", get(|| async { StatusCode::INTERNAL_SERVER_ERROR })).layer(ServerLayer::for_axum());
    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        let id = info_span!("another's").id().expect("it is on");
        assert!(ids.contains(&id), "an id that is a span's of ours, too: {id:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let response = runtime.block_on(router.oneshot(Request::get("/").body(Body::empty()).expect("a request"))).expect("an answer");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    });
    drop(ours);
    let received = pipeline.received();
    // The failure is told, and measured; of whom it is nobody knows.
    let exception = pipeline.exception("GET / answered 500");
    assert_eq!(exception.trace_id, "");
    assert!(received.metric("http.server.request.duration").is_some());
    assert_eq!(received.spans.len(), 500);
    assert!(received.spans.iter().all(|span| !span.attributes.contains_key("http.response.status_code") && span.status.0 == 0));
}
