//! What the server layer makes of requests: real axum services, over loopback or called directly.

use std::{convert::Infallible, sync::Arc};

use crate::support::{PATIENCE, Pipeline};
use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Request, Response, StatusCode},
    response::IntoResponse,
    routing::get,
};
use crumbtrail::{
    Builder, Sampler, Scrubber, User,
    config::{Filter, MetricTemporality},
    tower::{RequestBuilderExt, ServerLayer},
};
use crumbtrail_receiver::{Log, Point, Received, Span};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use tracing::{error, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

/// Everything on one thread, under this pipeline's own subscriber.
fn run<T>(pipeline: &Pipeline, work: impl Future<Output = T>) -> T {
    tracing::dispatcher::with_default(&pipeline.telemetry.dispatch(), || block_on(work))
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).header("host", "shop.example:8443").header("user-agent", "test/1").body(Body::empty()).unwrap()
}

async fn answer(router: &Router, request: Request<Body>) -> (StatusCode, Option<String>, String) {
    let response = router.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let (head, body) = response.into_parts();
    let id = head.headers.get("x-error-id").map(|id| id.to_str().unwrap().to_owned());
    (head.status, id, String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned())
}

/// So long it takes, at least.
const HANDLING: std::time::Duration = std::time::Duration::from_millis(5);

async fn cart(Path(id): Path<u64>) -> String {
    std::thread::sleep(HANDLING);
    format!("cart {id}")
}

async fn refused() -> StatusCode {
    StatusCode::SERVICE_UNAVAILABLE
}

async fn explained() -> impl IntoResponse {
    error!("out of stock");
    let shown = crumbtrail::last_error_id().expect("one was told").to_string();
    (StatusCode::INTERNAL_SERVER_ERROR, shown)
}

async fn panics() -> StatusCode {
    info!("about to divide");
    panic!("division by zero")
}

fn router() -> Router {
    Router::new()
        .route("/cart/{id}", get(cart))
        .route("/refused/{why}", get(refused))
        .route("/explained", get(explained))
        .route("/panics", get(panics))
        .route("/missing", get(|| async { (StatusCode::NOT_FOUND, "no such cart") }))
        .route("/upgrade", get(|| async { Response::builder().status(101).header("upgrade", "websocket").body(Body::empty()).unwrap() }))
        .layer(ServerLayer::for_axum())
}

/// The points of a metric, after everything has been read once more.
fn points(pipeline: &Pipeline, name: &str) -> Vec<Point> {
    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric(name).is_some()).expect("the metric");
    received.metric(name).unwrap().points.clone()
}

fn of_route<'a>(points: &'a [Point], route: &str, status: i64) -> &'a Point {
    let found = points.iter().find(|point| {
        point.attributes.get("http.route").is_some_and(|known| known.as_str() == route)
            && point.attributes.get("http.response.status_code").is_some_and(|known| known.to_string() == status.to_string())
    });
    found.unwrap_or_else(|| panic!("{route} {status}: {points:#?}"))
}

#[test]
fn a_request_is_a_span_by_the_conventions() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let mut request = request("/cart/7?page=2&sig=abc");
        request.headers_mut().insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        request.headers_mut().insert("x-forwarded-for", "203.0.113.7".parse().unwrap());
        assert_eq!(answer(&router(), request).await, (StatusCode::OK, None, "cart 7".to_owned()));
    });
    let span = pipeline.span("GET /cart/{id}");
    let text = |key: &str| span.attributes.get(key).map(ToString::to_string).unwrap_or_default();
    assert_eq!((span.kind, span.status.0, &*span.parent_span_id), (2, 0, "00f067aa0ba902b7"));
    assert_eq!(
        (text("http.request.method"), text("http.route"), text("http.response.status_code")),
        ("GET".into(), "/cart/{id}".into(), "200".into())
    );
    assert_eq!((text("url.path"), text("url.scheme"), text("url.query")), ("/cart/7".into(), "http".into(), "page=2&sig=REDACTED".into()));
    assert_eq!(
        (text("server.address"), text("server.port"), text("user_agent.original")),
        ("shop.example".into(), "8443".into(), "test/1".into())
    );
    assert_eq!(
        (text("network.protocol.version"), text("client.address"), text("error.type")),
        ("1.1".into(), String::new(), String::new())
    );
    let points = points_after_flush(&pipeline, "http.server.request.duration");
    let point = of_route(&points, "/cart/{id}", 200);
    assert_eq!((point.count, point.bounds.len()), (1, 14));
    // Told once, with the first reading after it.
    let all = pipeline.received().metrics;
    let exemplars: Vec<_> = all.iter().flat_map(|metric| &metric.points).flat_map(|point| &point.exemplars).collect();
    assert_eq!(exemplars.iter().map(|(_, trace)| &**trace).collect::<Vec<_>>(), [&*span.trace_id]);
    // Within the span, and around the handler.
    let duration = (span.end - span.start) as f64 / 1e9;
    assert!(point.value >= HANDLING.as_secs_f64() && point.value <= duration + 1e-3, "{duration} s: {point:?}");
}

/// Report 14.11.
#[test]
fn headers_that_were_asked_for_are_on_exceptions() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let names = ["x-tenant", "authorization", "x-absent"].map(axum::http::HeaderName::from_static);
    let router = Router::new().route("/refused/{why}", get(refused)).layer(ServerLayer::for_axum().with_request_headers(names));
    run(&pipeline, async {
        let mut request = request("/refused/why");
        for (name, value) in [("x-tenant", "acme"), ("authorization", "Bearer abc"), ("x-other", "nobody asked")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        answer(&router, request).await;
    });
    let exception = pipeline.exception("answered 503");
    let headers: Vec<(&str, &str)> =
        exception.attributes.keys().filter_map(|key| Some((key.strip_prefix("http.request.header.")?, exception.text(key)))).collect();
    assert_eq!(headers, [("authorization", "[Filtered]"), ("x-tenant", "acme")]);
}

/// A subscriber of our own is given the fields of a request's span as they are, another's visits
/// each.
#[test]
fn a_request_says_the_same_to_us_alone_and_among_others() {
    let configurations: [fn(Builder) -> Builder; 10] = [
        |builder| builder,
        |builder| builder.with_scrubber(Scrubber::none()),
        |builder| builder.with_span_attribute_limits(5, 6),
        |builder| builder.with_scrubber(Scrubber::default().with_denied("cartcode")),
        |builder| builder.with_filter(Filter::Spans, "info,crumbtrail::server=off".parse().unwrap()),
        |builder| {
            let off = || "info,crumbtrail::server=off".parse().unwrap();
            builder.with_filter(Filter::Spans, off()).with_filter(Filter::Breadcrumbs, off())
        },
        |builder| builder.with_default_pii(true),
        |builder| builder.with_scrubber(Scrubber::default().with_denied("url.path")),
        |builder| builder.with_scrubber(Scrubber::default().with_hashed("salt", ["server.address", "http.route"])),
        |builder| builder.with_scrubber(Scrubber::default().with_rule(|text| text.find("cart").map(|at| at..at + 4))),
    ];
    for (number, configure) in configurations.into_iter().enumerate() {
        let [alone, among_others] = [true, false].map(|alone| {
            let pipeline = Pipeline::new(|builder, _| configure(builder));
            if alone {
                run(&pipeline, all_kinds_of_requests())
            } else {
                pipeline.run(|| block_on(all_kinds_of_requests()))
            }
            let received = pipeline.received();
            let said = |span: &Span| (span.name.clone(), span.kind, span.status.clone(), span.attributes.clone(), span.dropped_attributes);
            let crumbs = |exception: &Log| {
                crate::support::breadcrumbs(exception)
                    .iter()
                    .map(|crumb| (crumb["message"].clone(), crumb["data"].clone()))
                    .collect::<Vec<_>>()
            };
            let mut spans: Vec<_> = received.spans.iter().map(said).collect();
            // In which order they arrive is chance.
            spans.sort_by_key(|span| format!("{span:?}"));
            (spans, received.exceptions().map(crumbs).collect::<Vec<_>>())
        });
        assert_eq!(alone, among_others, "configuration {number}");
        assert_eq!(alone.0.len(), if [4, 5].contains(&number) { 1 } else { 7 }, "configuration {number}");
        assert_eq!(alone.1.len(), 2, "configuration {number}: {alone:?}");
        let said = format!("{alone:?}");
        assert_eq!(said.contains("hunter2"), number == 1, "configuration {number}: {said}");
        if [0, 3].contains(&number) {
            assert_eq!(said.contains("0123abcd"), number == 0, "configuration {number}: {said}");
        }
    }
}

async fn all_kinds_of_requests() {
    let router = router();
    let long = format!("/cart/{}", "7".repeat(10_000));
    for (method, uri, agent) in [
        ("GET", "/cart/7?page=2&sig=abc", &b"test password=hunter2"[..]),
        ("POST", "/nowhere", b"cartcode=0123abcd"),
        ("BREW", "/refused/why", b"not \xFF text"),
        ("GET", "/refused/why", b"test/1"),
        ("GET", &long, b""),
    ] {
        let request = Request::builder().method(method).uri(uri).header("host", "shop.example:8443");
        let request = request.header("user-agent", agent).header("x-forwarded-for", "203.0.113.7");
        answer(&router, request.body(Body::empty()).unwrap()).await;
    }
    answer(&router, Request::get("/missing").body(Body::empty()).unwrap()).await;
    // Nothing of the request before is left for it.
    let consumer = info_span!("consumer", number = 1, otel.kind = "consumer");
    consumer.in_scope(|| error!("a message cannot be read"));
}

fn points_after_flush(pipeline: &Pipeline, name: &str) -> Vec<Point> {
    pipeline.telemetry.flush(PATIENCE).unwrap();
    points(pipeline, name)
}

#[test]
fn personal_data_is_there_when_it_may_be() {
    let pipeline = Pipeline::new(|builder, _| builder.with_default_pii(true));
    run(&pipeline, async {
        let mut request = request("/cart/7");
        request.headers_mut().insert("x-forwarded-for", "203.0.113.7, 10.0.0.1".parse().unwrap());
        answer(&router(), request).await;
    });
    assert_eq!(pipeline.span("GET /cart/{id}").attributes["client.address"].as_str(), "203.0.113.7");
}

#[test]
fn an_unexplained_5xx_is_an_exception_and_an_explained_one_is_told_once() {
    for alone in [true, false] {
        let pipeline = Pipeline::new(|builder, _| builder);
        let requests = async { (answer(&router(), request("/refused/twice")).await, answer(&router(), request("/explained")).await) };
        let answers = if alone { run(&pipeline, requests) } else { pipeline.run(|| block_on(requests)) };
        check_errors(&pipeline, answers);
    }
}

type Answer = (StatusCode, Option<String>, String);

fn check_errors(pipeline: &Pipeline, ((status, unexplained, _), (_, explained, shown)): (Answer, Answer)) {
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let received = pipeline.received();
    assert_eq!(received.exceptions().count(), 2);
    let by_id =
        |id: &Option<String>| received.exceptions().find(|one| Some(one.text("crumbtrail.error.id")) == id.as_deref()).expect("the record");
    let of_status = by_id(&unexplained);
    assert_eq!((of_status.text("exception.type"), of_status.text("crumbtrail.mechanism")), ("HTTP 503", "response"));
    assert_eq!(of_status.text("exception.message"), "GET /refused/{why} answered 503 Service Unavailable");
    assert_eq!(of_status.span_id, received.spans.iter().find(|span| span.name == "GET /refused/{why}").unwrap().span_id);
    assert_eq!(by_id(&explained).body, "out of stock");
    assert_eq!(explained, Some(shown), "the handler's own body can show it");
    for span in &received.spans {
        assert_eq!((span.status.0, span.attributes["error.type"].as_str().starts_with('5')), (2, true));
    }
}

/// Features only add: that axum is built in changes no name by itself.
#[test]
fn axums_route_is_the_requests_where_it_is_asked_for() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        for (path, layer) in [("/any/{id}", ServerLayer::new()), ("/axum/{id}", ServerLayer::for_axum())] {
            let app = Router::new().route(path, get(|| async {})).layer(layer);
            answer(&app, request(&path.replace("{id}", "7"))).await;
        }
    });
    let spans = pipeline.received().spans;
    let names: Vec<_> = spans.iter().map(|span| (&*span.name, span.attributes.contains_key("http.route"))).collect();
    assert_eq!(names, [("GET", false), ("GET /axum/{id}", true)]);
}

#[test]
fn unexplained_statuses_are_grouped_by_route_and_status() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        for path in ["/refused/a", "/refused/b"] {
            answer(&router(), request(path)).await;
        }
        let other = Router::new().route("/other", get(refused)).layer(ServerLayer::for_axum());
        answer(&other, request("/other")).await;
    });
    let received = pipeline.received();
    let groups: Vec<&str> = received.exceptions().map(|one| one.text("crumbtrail.group.id")).collect();
    assert!(groups[0] == groups[1] && groups[1] != groups[2], "{groups:?}");
}

#[test]
fn a_handler_that_panics_answers_500_and_is_one_exception() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.telemetry.install_panic_hook();
    let (status, id, body) = run(&pipeline, async { answer(&router(), request("/panics")).await });
    assert_eq!((status, &*body), (StatusCode::INTERNAL_SERVER_ERROR, ""));
    let exception = pipeline.exception("division by zero");
    assert_eq!((exception.text("exception.type"), Some(exception.text("crumbtrail.error.id"))), ("panic", id.as_deref()));
    assert_eq!(crate::support::messages(&exception), ["about to divide"]);
    assert!(pipeline.exceptions("HTTP 500").is_empty(), "the panic explains it");
    let span = pipeline.span("GET /panics");
    assert_eq!(
        (span.status.0, span.attributes["error.type"].as_str(), span.attributes["http.response.status_code"].to_string()),
        (2, "panic", "500".into())
    );

    let outcome = pipeline.run(|| {
        std::panic::catch_unwind(|| {
            let letting = Router::new().route("/panics", get(panics)).layer(ServerLayer::for_axum().without_panic_response());
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(letting.oneshot(request("/panics"))).is_ok()
        })
    });
    assert!(outcome.is_err(), "it goes on where that is wished for");
}

#[test]
fn an_error_of_the_service_itself_is_an_exception() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        type BoxError = Box<dyn std::error::Error + Send + Sync>;
        let boxed =
            tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, BoxError>("12x".parse::<u8>().unwrap_err().into()) });
        let typed = tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>(std::fmt::Error) });
        let layer = ServerLayer::for_axum().with_route(|request| Some(format!("/rpc{}", request.uri().path())));
        assert!(tower::Layer::layer(&layer, boxed).oneshot(request("/boxed")).await.is_err());
        assert!(tower::Layer::layer(&layer, typed).oneshot(request("/typed")).await.is_err());
    });
    assert_eq!(pipeline.exception("invalid digit").text("exception.type"), "core::num::error::ParseIntError");
    assert_eq!(pipeline.exception("an error occurred when formatting").text("exception.type"), "core::fmt::Error");
    assert_eq!(pipeline.span("GET /rpc/typed").status.0, 2);
    for exception in pipeline.received().exceptions() {
        assert!(!exception.attributes.contains_key("code.file.path"), "it comes from no place that the program knows: {exception:?}");
    }
}

#[test]
fn a_services_error_is_told_beside_others_and_once() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let other = tower::service_fn(|_: Request<Body>| async {
            error!("cache is cold");
            Err::<Response<Body>, _>(std::fmt::Error)
        });
        let logged = tower::service_fn(|_: Request<Body>| async {
            error!(error = &std::fmt::Error as &dyn std::error::Error, "giving up");
            Err::<Response<Body>, _>(std::fmt::Error)
        });
        assert!(tower::Layer::layer(&ServerLayer::for_axum(), other).oneshot(request("/other")).await.is_err());
        assert!(tower::Layer::layer(&ServerLayer::for_axum(), logged).oneshot(request("/logged")).await.is_err());
    });
    let received = pipeline.received();
    let mut told: Vec<&str> = received.exceptions().map(|one| one.text("exception.message")).collect();
    told.sort_unstable();
    let error = std::fmt::Error.to_string();
    assert_eq!(told, [&*error, &*error, "cache is cold"], "one for each failure: what the service logged, it has told");
}

#[test]
fn a_span_lasts_as_long_as_the_body() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let (sender, receiver) = mpsc::channel::<Result<http_body::Frame<axum::body::Bytes>, Infallible>>(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let body = Arc::new(std::sync::Mutex::new(Some(Body::new(StreamBody::new(stream)))));
        let router = Router::new()
            .route("/events", get(move || async move { Response::new(body.lock().unwrap().take().unwrap()) }))
            .layer(ServerLayer::for_axum());
        let mut body = router.oneshot(request("/events")).await.unwrap().into_body();
        for number in 0..3 {
            sender.send(Ok(http_body::Frame::data(format!("event {number}").into()))).await.unwrap();
            assert!(body.frame().await.is_some());
            pipeline.telemetry.flush(PATIENCE).unwrap();
            assert!(pipeline.receiver.received().spans.is_empty(), "it is still open");
        }
        drop(sender);
        assert!(body.frame().await.is_none());
    });
    let span = pipeline.span("GET /events");
    assert!(!span.attributes.contains_key("error.type"), "{span:?}");
}

#[test]
fn who_goes_away_is_no_error_of_the_service() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let (held, stalls) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (reached, stall) = (held.clone(), stalls.clone());
        let router = Router::new()
            .route(
                "/slow",
                get(move || async move {
                    reached.notify_one();
                    stall.notified().await;
                }),
            )
            .layer(ServerLayer::for_axum());
        let task = tokio::spawn(router.oneshot(request("/slow")));
        held.notified().await;
        task.abort();
        assert!(task.await.is_err());

        let endless = Router::new()
            .route(
                "/endless",
                get(|| async {
                    Body::new(StreamBody::new(tokio_stream::pending::<Result<http_body::Frame<axum::body::Bytes>, Infallible>>()))
                }),
            )
            .layer(ServerLayer::for_axum());
        drop(endless.oneshot(request("/endless")).await.unwrap());
    });
    for name in ["GET /slow", "GET /endless"] {
        let span = pipeline.span(name);
        assert_eq!((span.attributes["error.type"].as_str(), span.status.0), ("aborted", 0), "{name}");
    }
    assert_eq!(pipeline.received().exceptions().count(), 0);
    let active = points(&pipeline, "http.server.active_requests");
    assert_eq!(active.iter().map(|point| point.value).collect::<Vec<_>>(), [0.0]);
}

#[test]
fn answers_without_a_body_end_at_once() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        // Their bodies are held: the spans must end all the same.
        let upgraded = router().oneshot(request("/upgrade")).await.unwrap();
        let head = Request::head("/cart/7").body(Body::empty()).unwrap();
        let answered = router().oneshot(head).await.unwrap();
        pipeline.telemetry.flush(PATIENCE).unwrap();
        let names: Vec<String> = pipeline.receiver.received().spans.iter().map(|span| span.name.clone()).collect();
        assert_eq!(names, ["GET /upgrade", "HEAD /cart/{id}"]);
        drop((upgraded, answered));
    });
}

#[test]
fn a_flood_of_paths_that_are_not_there_is_one_name_and_one_series() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let router = router();
        for number in 0..2_000 {
            assert_eq!(answer(&router, request(&format!("/wp-admin/{number}.php"))).await.0, StatusCode::NOT_FOUND);
        }
        let odd = Request::builder().method("BREW7").uri("/pot").body(Body::empty()).unwrap();
        answer(&router, odd).await;
    });
    let received = pipeline.received();
    let mut names: Vec<&str> = received.spans.iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["GET", "HTTP"]);
    let odd = received.spans.iter().find(|span| span.name == "HTTP").unwrap();
    assert_eq!(
        (odd.attributes["http.request.method"].as_str(), odd.attributes["http.request.method_original"].as_str()),
        ("_OTHER", "BREW7")
    );
    let points = points(&pipeline, "http.server.request.duration");
    assert_eq!(points.iter().map(|point| point.count).collect::<Vec<_>>().iter().sum::<u64>(), 2_001);
    assert_eq!(points.len(), 2, "{points:#?}");
    assert_eq!(received.exceptions().count(), 0, "4xx is the caller's");
}

#[test]
fn who_pretends_to_speak_grpc_makes_no_series() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let router = router();
        for number in 0..1_200 {
            let mut pretending = request(&format!("/random.Service/{number}"));
            pretending.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            answer(&router, pretending).await;
        }
    });
    // What answered was no gRPC.
    let points = points_after_flush(&pipeline, "http.server.request.duration");
    let series: Vec<_> = points.iter().map(|point| (point.attributes["http.response.status_code"].to_string(), point.count)).collect();
    assert_eq!(series, [("404".to_owned(), 1_200)]);
    assert!(!points[0].attributes.contains_key("http.route"));
    assert!(pipeline.received().metric("rpc.server.call.duration").is_none());
}

#[test]
fn series_are_limited_whatever_routes_a_service_makes_up() {
    let pipeline = Pipeline::new(|builder, _| builder.with_sampler(Sampler::always_off()));
    run(&pipeline, async {
        let layer = ServerLayer::for_axum().with_route(|request| Some(request.uri().path().to_owned()));
        let router = Router::new().fallback(|| async {}).layer(layer);
        for number in 0..1_500 {
            answer(&router, request(&format!("/{number}"))).await;
        }
    });
    let points = points_after_flush(&pipeline, "http.server.request.duration");
    assert_eq!((points.len(), points.iter().map(|point| point.count).sum::<u64>()), (1_001, 1_500));
    assert_eq!(points.iter().find(|point| point.attributes.contains_key("otel.metric.overflow")).unwrap().count, 500);
}

#[test]
fn hostile_headers_are_left_out() {
    let pipeline = Pipeline::new(|builder, _| builder.with_sampler(Sampler::always_off().parent_based().with_remote_limit(5)));
    run(&pipeline, async {
        for number in 1..=200 {
            let mut request = request("/cart/7");
            request.headers_mut().insert("baggage", format!("a=1,{}", "b=2,".repeat(1 << 18)).parse().unwrap());
            let spoofed = format!("00-{number:032x}-00f067aa0ba902b7-01");
            request.headers_mut().insert("traceparent", spoofed.parse().unwrap());
            assert_eq!(answer(&router(), request).await.0, StatusCode::OK);
        }
        let own = Router::new().route("/own", get(|| async {})).layer(ServerLayer::for_axum().without_remote_context());
        let mut request = request("/own");
        request.headers_mut().insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
        answer(&own, request).await;
    });
    let spans = pipeline.received().spans;
    // Five at once, and what comes back while this runs.
    assert!((5..200).contains(&spans.len()), "{}", spans.len());
    assert!(spans.iter().all(|span| span.name == "GET /cart/{id}"));
    assert_eq!(points(&pipeline, "http.server.request.duration").iter().map(|point| point.count).sum::<u64>(), 201, "metrics count all");
}

#[test]
fn the_user_is_told_by_the_request() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, async {
        let layer = ServerLayer::for_axum()
            .with_user(|request| Some(User::new(request.header("x-user")?)))
            .with_error_id_header("x-incident".parse().unwrap());
        let router = Router::new().route("/explained", get(explained)).layer(layer);
        let mut with_user = request("/explained");
        with_user.headers_mut().insert("x-user", "42".parse().unwrap());
        let response = router.oneshot(with_user).await.unwrap();
        assert!(response.headers().contains_key("x-incident") && response.extensions().get::<crumbtrail::ErrorId>().is_some());
    });
    assert_eq!(pipeline.exception("out of stock").text("user.id"), "42");
}

#[test]
fn requests_of_a_real_server_do_not_mix_and_calls_join_them() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let payments = Router::new().route(
        "/charge/{id}",
        get(|Path(id): Path<u64>| async move {
            info!(id, "charging");
            if id % 3 == 0 { StatusCode::BAD_GATEWAY } else { StatusCode::OK }
        }),
    );
    run(&pipeline, async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, payments.layer(ServerLayer::for_axum())).into_future());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let calls = (1..=30u64).map(|id| {
            let client = client.clone();
            tracing::Instrument::instrument(
                async move {
                    let sent = client.get(format!("http://{address}/charge/{id}?sig=x")).send_traced(Some("/charge/{id}")).await.unwrap();
                    if sent.status() != 200 {
                        error!("charge {id} failed");
                    }
                },
                info_span!("order", id),
            )
        });
        for call in calls.map(tokio::spawn).collect::<Vec<_>>() {
            call.await.unwrap();
        }
        server.abort();
    });
    let received = pipeline.received();
    let of_kind = |kind: i32| received.spans.iter().filter(move |span| span.kind == kind);
    assert_eq!((of_kind(1).count(), of_kind(2).count(), of_kind(3).count()), (30, 30, 30));
    for server in of_kind(2) {
        let client = of_kind(3).find(|client| client.span_id == server.parent_span_id).expect("its caller");
        let order = of_kind(1).find(|order| order.span_id == client.parent_span_id).expect("its order");
        assert!(server.trace_id == client.trace_id && client.trace_id == order.trace_id);
        assert_eq!(server.attributes["url.path"].as_str(), format!("/charge/{}", order.attributes["id"]));
        assert_eq!((&*client.name, client.attributes["server.address"].as_str()), ("GET /charge/{id}", "127.0.0.1"));
        assert!(client.attributes["url.full"].as_str().ends_with("?sig=REDACTED"));
    }
    let failed: Vec<_> = received.exceptions().filter(|one| one.body.starts_with("charge ")).collect();
    assert_eq!(failed.len(), 10);
    for exception in failed {
        let crumbs = crate::support::breadcrumbs(exception);
        let call = crumbs.iter().find(|crumb| crumb["category"] == "http").expect("the call");
        assert_eq!(call["message"], "GET 127.0.0.1 /charge/{id} → 502");
        assert_eq!((call["data"]["http.response.status_code"].as_i64(), call["level"].as_str()), (Some(502), Some("warn")));
        assert!(call["data"]["duration_ms"].as_f64().unwrap() > 0.0);
    }
    let told = received.exceptions().filter(|one| one.text("exception.type") == "HTTP 502").count();
    assert_eq!(told, 10, "and the other service tells its own");
    let points = points(&pipeline, "http.client.request.duration");
    assert_eq!(points.iter().map(|point| point.count).sum::<u64>(), 30);
    assert_eq!(points.iter().filter(|point| point.attributes.contains_key("error.type")).map(|point| point.count).sum::<u64>(), 10);
}

#[test]
fn durations_are_told_as_it_is_asked_for() {
    let form = |exponential, temporality| {
        let pipeline = Pipeline::new(|builder, _| builder.with_exponential_histograms(exponential).with_temporality(temporality));
        let mut counts = Vec::new();
        let mut scales = Vec::new();
        for _ in 0..2 {
            run(&pipeline, async {
                for _ in 0..10 {
                    answer(&router(), request("/cart/7")).await;
                }
            });
            pipeline.telemetry.flush(PATIENCE).unwrap();
            let received: Received = pipeline.receiver.received();
            let point = of_route(&received.metric("http.server.request.duration").unwrap().points, "/cart/{id}", 200).clone();
            counts.push(point.count);
            scales.push(point.scale.is_some());
            assert!(!point.exemplars.is_empty(), "{point:?}");
        }
        assert_eq!(scales, [exponential; 2]);
        counts
    };
    assert_eq!(form(false, MetricTemporality::Cumulative), [10, 20]);
    assert_eq!(form(false, MetricTemporality::Delta), [10, 10]);
    assert_eq!(form(true, MetricTemporality::Delta), [10, 10]);
    assert_eq!(form(true, MetricTemporality::Cumulative), [10, 20]);
}

#[test]
fn without_telemetry_requests_pass_through() {
    let subscriber = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_writer(std::io::sink));
    let (status, id, body) = tracing::subscriber::with_default(subscriber, || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer(&router(), request("/cart/7")))
    });
    assert_eq!((status, id, &*body), (StatusCode::OK, None, "cart 7"));
}
