//! What the conventions and formats demand.

use std::collections::HashSet;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
    routing::post,
};
use crumbtrail::tower::{ClientLayer, RequestBuilderExt as _, ServerLayer};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{PATIENCE, Pipeline};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Report A13: whoever calls claims that it is gRPC.
#[test]
fn what_a_client_claims_makes_no_names() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let plain = service_fn(|_: Request<Body>| async {
        let mut response = axum::http::Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok::<_, std::convert::Infallible>(response)
    });
    pipeline.run(|| {
        runtime().block_on(async {
            let router = Router::new().route("/items/{id}", post(|| async { StatusCode::INTERNAL_SERVER_ERROR })).layer(ServerLayer::new());
            for number in 0..50 {
                let request = |path: String| Request::post(path).header("content-type", "application/grpc").body(Body::empty()).expect("a request");
                let _ = router.clone().oneshot(request(format!("/items/{number}"))).await;
                let _ = ServerLayer::new().layer(plain).oneshot(request(format!("/evil.Service{number}/Method"))).await;
            }
        });
    });
    let received = pipeline.received();
    let names: HashSet<_> = received.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, HashSet::from(["POST", "POST /items/{id}"]));
    let groups: HashSet<_> = received.exceptions().map(|exception| exception.text("crumbtrail.group.id")).collect();
    assert_eq!(groups.len(), 2);
    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("http.server.request.duration").is_some()).expect("metrics");
    assert_eq!(received.metric("http.server.request.duration").expect("it is there").points.len(), 2);
    let active = received.metric("http.server.active_requests").expect("it is there");
    assert!(active.points.iter().all(|point| point.value == 0.0), "{active:#?}");
}

/// Report C7.
#[test]
fn a_client_says_what_it_spoke_and_asked_for() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        runtime().block_on(async {
            let answers = service_fn(|request: Request<Body>| async move {
                let mut response = axum::http::Response::new(Body::empty());
                *response.version_mut() = axum::http::Version::HTTP_2;
                if request.uri().path() == "/fails" { Err("refused") } else { Ok(response) }
            });
            let client = ClientLayer::new().layer(answers);
            let brew = Request::builder().method(Method::from_bytes(b"BREW").expect("a method")).uri("http://pot/").body(Body::empty()).expect("it");
            client.clone().oneshot(brew).await.expect("an answer");
            let fails = Request::get("http://pot/fails").body(Body::empty()).expect("a request");
            assert!(client.oneshot(fails).await.is_err());
            // Nobody listens there.
            let call = reqwest::Client::builder().no_proxy().build().expect("a client").get("http://127.0.0.1:1/x").send_traced(None).await;
            assert!(call.is_err());
        });
    });
    let received = pipeline.received();
    let brewed = received.spans.iter().find(|span| span.name == "HTTP").expect("it was called");
    let text = |key: &str| brewed.attributes.get(key).map(ToString::to_string);
    assert_eq!((text("http.request.method"), text("http.request.method_original")), (Some("_OTHER".into()), Some("BREW".into())));
    assert_eq!(text("network.protocol.version"), Some("2".into()));
    for span in received.spans.iter().filter(|span| span.name == "GET") {
        assert!(!span.attributes.contains_key("network.protocol.version"), "{span:#?}");
    }
}

/// Report C7: a status code is an attribute, and no description.
#[test]
fn a_status_does_not_repeat_its_code() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let router = Router::new().route("/x", post(|| async { StatusCode::BAD_GATEWAY })).layer(ServerLayer::new());
        let request = Request::post("/x").body(Body::empty()).expect("a request");
        let _ = runtime().block_on(router.oneshot(request));
    });
    assert_eq!(pipeline.span("POST /x").status, (2, String::new()));
    let exception = pipeline.exception("POST /x answered 502");
    assert_eq!(exception.resource["telemetry.sdk.name"].as_str(), "crumbtrail");
}
