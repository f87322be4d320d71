//! What the conventions and formats demand.

use std::collections::HashSet;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode},
    routing::post,
};
use crumbtrail::{
    propagation::SpanContext,
    tower::{ClientLayer, RequestBuilderExt as _, ServerLayer},
};
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
            let router =
                Router::new().route("/items/{id}", post(|| async { StatusCode::INTERNAL_SERVER_ERROR })).layer(ServerLayer::for_axum());
            for number in 0..50 {
                let request =
                    |path: String| Request::post(path).header("content-type", "application/grpc").body(Body::empty()).expect("a request");
                let _ = router.clone().oneshot(request(format!("/items/{number}"))).await;
                let _ = ServerLayer::for_axum().layer(plain).oneshot(request(format!("/evil.Service{number}/Method"))).await;
            }
        });
    });
    let received = pipeline.received();
    let names: HashSet<_> = received.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, HashSet::from(["POST", "POST /items/{id}"]));
    let groups: HashSet<_> = received.exceptions().map(|exception| exception.text("crumbtrail.group.id")).collect();
    assert_eq!(groups.len(), 2);
    let received =
        pipeline.receiver.wait_for(PATIENCE, |received| received.metric("http.server.request.duration").is_some()).expect("metrics");
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
            let brew = Request::builder()
                .method(Method::from_bytes(b"BREW").expect("a method"))
                .uri("http://pot/")
                .body(Body::empty())
                .expect("it");
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
        let router = Router::new().route("/x", post(|| async { StatusCode::BAD_GATEWAY })).layer(ServerLayer::for_axum());
        let request = Request::post("/x").body(Body::empty()).expect("a request");
        let _ = runtime().block_on(router.oneshot(request));
    });
    assert_eq!(pipeline.span("POST /x").status, (2, String::new()));
    let exception = pipeline.exception("POST /x answered 502");
    assert_eq!(exception.resource["telemetry.sdk.name"].as_str(), "crumbtrail");
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Calls a service that itself calls another; returns the headers of that call.
async fn headers_of_the_next_call(router: impl FnOnce(Router) -> Router, headers: &[(&str, &str)]) -> axum::http::HeaderMap {
    let (sent, received) = tokio::sync::oneshot::channel();
    let sent = std::sync::Mutex::new(Some(sent));
    let sent = std::sync::Arc::new(sent);
    let handler = move || {
        let sent = sent.clone();
        async move {
            tokio::task::yield_now().await;
            let next = service_fn(move |request: Request<Body>| {
                let sent = sent.lock().expect("whole").take();
                sent.into_iter().for_each(|sent| _ = sent.send(request.headers().clone()));
                async { Ok::<_, std::convert::Infallible>(axum::http::Response::new(Body::empty())) }
            });
            let call = Request::get("http://next/").body(Body::empty()).expect("a request");
            ClientLayer::new().layer(next).oneshot(call).await.expect("an answer");
            tracing::error!("it fails within");
        }
    };
    let router = router(Router::new().route("/", axum::routing::get(handler)));
    let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    received.await.expect("it was called")
}

/// Report C1: what is switched off is recording. What callers send along goes on.
#[test]
fn a_disabled_sdk_passes_context_on() {
    let environment = crumbtrail::config::EnvVars::from_iter([("OTEL_SDK_DISABLED", "true")]);
    let pipeline = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    for dispatch in [pipeline.telemetry.dispatch(), registry_with(&pipeline)] {
        tracing::dispatcher::with_default(&dispatch, || {
            let headers = [("traceparent", PARENT), ("tracestate", "vendor=1"), ("baggage", "tenant=acme")];
            let sent = runtime().block_on(headers_of_the_next_call(|router| router.layer(ServerLayer::for_axum()), &headers));
            for (name, value) in headers {
                assert_eq!(sent.get(name).map(|value| value.to_str().expect("text")), Some(value));
            }
            // And without the middleware.
            let remote = crumbtrail::propagation::extract(|name| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value));
            let mut sent = std::collections::HashMap::new();
            remote.clone().in_scope(|| crumbtrail::propagation::inject(|name, value| _ = sent.insert(name, value)));
            assert_eq!((sent["traceparent"].as_str(), sent["baggage"].as_str()), (PARENT, "tenant=acme"));
            sent.clear();
            let span = remote.in_scope(|| tracing::info_span!("request", otel.kind = "server"));
            span.in_scope(|| crumbtrail::propagation::inject(|name, value| _ = sent.insert(name, value)));
            assert_eq!(sent["traceparent"], PARENT);
        });
    }
    assert!(pipeline.receiver.received().logs.is_empty());
}

fn registry_with(pipeline: &Pipeline) -> tracing::Dispatch {
    use tracing_subscriber::layer::SubscriberExt as _;
    tracing_subscriber::registry().with(pipeline.telemetry.layer()).into()
}

/// Report C2: the request's own span is filtered out. Its trace goes on through it.
#[test]
fn a_span_below_the_filter_does_not_cut_the_trace() {
    use crumbtrail::config::Filter;
    type Subscriber = fn(&Pipeline) -> tracing::Dispatch;
    let strict: [(&str, Subscriber); 2] = [
        ("our route", |pipeline| pipeline.telemetry.dispatch()),
        ("a global filter", |pipeline| {
            use tracing_subscriber::layer::SubscriberExt as _;
            let filter = tracing_subscriber::filter::LevelFilter::WARN;
            tracing_subscriber::registry().with(filter).with(pipeline.telemetry.layer()).into()
        }),
    ];
    for (number, (what, dispatch)) in strict.into_iter().enumerate() {
        let pipeline =
            Pipeline::new(
                |builder, _| if number == 0 { builder.with_filter(Filter::Spans, "warn".parse().expect("targets")) } else { builder },
            );
        tracing::dispatcher::with_default(&dispatch(&pipeline), || {
            let headers = [("traceparent", PARENT), ("baggage", "tenant=acme")];
            let sent = runtime().block_on(headers_of_the_next_call(|router| router.layer(ServerLayer::for_axum()), &headers));
            let next = sent["traceparent"].to_str().expect("text");
            assert!(next.starts_with(&PARENT[..35]), "{what}: {next}");
            assert_eq!(sent["baggage"], "tenant=acme", "{what}");
            let remote: SpanContext = PARENT.parse().expect("a context");
            let request = remote.in_scope(|| tracing::debug_span!("request", otel.kind = "server"));
            let _request = request.entered();
            if number == 0 {
                tracing::warn_span!("child").in_scope(|| tracing::warn!("a log in a child"));
                tracing::error!("an error in the request");
            }
        });
        assert_eq!(pipeline.exception("it fails within").trace_id, TRACE, "{what}");
        if number == 0 {
            assert_eq!(pipeline.span("child").parent_span_id, "00f067aa0ba902b7");
            assert_eq!(pipeline.log("a log in a child").trace_id, TRACE);
            assert_eq!(pipeline.exception("an error in the request").trace_id, TRACE);
        }
    }
}

/// Report C2: only the middleware's span is filtered out. What the caller has sent goes to the
/// handler's.
#[test]
fn the_handlers_span_takes_over_what_was_sent() {
    use tracing_subscriber::layer::SubscriberExt as _;
    let pipeline = Pipeline::new(|builder, _| builder);
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_target("crumbtrail::server", tracing_subscriber::filter::LevelFilter::OFF);
    let subscriber = tracing_subscriber::registry().with(filter).with(pipeline.telemetry.layer());
    let handler = || {
        use tracing::Instrument as _;
        let handles = async {
            let next = service_fn(|request: Request<Body>| async move {
                let of = |name| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default();
                assert_eq!(
                    (&of("traceparent")[3..35], of("tracestate").as_str(), of("baggage").as_str()),
                    (TRACE, "vendor=1", "tenant=acme")
                );
                Ok::<_, std::convert::Infallible>(axum::http::Response::new(Body::empty()))
            });
            assert_eq!(crumbtrail::propagation::baggage("tenant").as_deref(), Some("acme"));
            let call = Request::get("http://next/").body(Body::empty()).expect("a request");
            ClientLayer::new().layer(next).oneshot(call).await.expect("an answer");
        };
        handles.instrument(tracing::info_span!("handles"))
    };
    let router = Router::new().route("/", axum::routing::get(handler)).layer(ServerLayer::for_axum());
    let headers = [("traceparent", PARENT), ("tracestate", "vendor=1"), ("baggage", "tenant=acme")];
    let request = headers.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
    tracing::subscriber::with_default(subscriber, || {
        let answer = runtime().block_on(router.oneshot(request.body(Body::empty()).expect("a request"))).expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    });
    assert_eq!((pipeline.span("handles").trace_id, pipeline.span("handles").trace_state), (TRACE.to_owned(), "vendor=1".to_owned()));
}

/// Report C3: W3C Trace Context, as its test suite asks (strict, levels 1 and 2): what is not valid
/// begins a new trace, or is not handed on.
#[test]
fn trace_context_is_taken_by_the_letter() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let sent = |headers: &[(&str, &str)]| {
        pipeline.run(|| runtime().block_on(headers_of_the_next_call(|router| router.layer(ServerLayer::for_axum()), headers)))
    };
    let trace = |headers: &axum::http::HeaderMap| headers["traceparent"].to_str().expect("text")[3..35].to_owned();
    let (id, span) = ("12345678901234567890123456789012", "1234567890123456");
    for valid in [
        format!("00-{id}-{span}-01"),
        format!("00-{id}-{span}-00"),
        format!("cc-{id}-{span}-01"),
        format!("cc-{id}-{span}-01-what-the-future-will-be-like"),
        format!("fe-{id}-{span}-01"),
        format!(" 00-{id}-{span}-01\t"),
    ] {
        assert_eq!(trace(&sent(&[("traceparent", &valid)])), id, "{valid:?}");
    }
    for invalid in [
        format!("00-{id}-{span}-01."),
        format!("00-{id}-{span}-01-what"),
        format!("cc-{id}-{span}-01.what"),
        format!("ff-{id}-{span}-01"),
        format!("0-{id}-{span}-01"),
        format!(".0-{id}-{span}-01"),
        format!("00-{id}{span}-01"),
        format!("00-00000000000000000000000000000000-{span}-01"),
        format!("00-.2345678901234567890123456789012-{span}-01"),
        format!("00-{}-{span}-01", "1234567890123456789012345678901"),
        format!("00-{id}-0000000000000000-01"),
        format!("00-{id}-.234567890123456-01"),
        format!("00-{id}-{span}-.1"),
        format!("00-{id}-{span}-1"),
        format!("00-{id}-{span}-001"),
        format!("00-{}-{span}-01", "ABCDEF78901234567890123456789012"),
        format!("00-{id}-{span}-0A"),
    ] {
        assert_ne!(trace(&sent(&[("traceparent", &invalid)])), id, "{invalid:?}");
    }
    let parent = format!("00-{id}-{span}-01");
    let twice = sent(&[("traceparent", &parent), ("traceparent", PARENT)]);
    assert!(![id, TRACE].contains(&trace(&twice).as_str()), "two are none");
    let state = |states: &[&str]| {
        let headers: Vec<_> = std::iter::once(("traceparent", &*parent)).chain(states.iter().map(|state| ("tracestate", *state))).collect();
        let sent = sent(&headers);
        assert_eq!(trace(&sent), id);
        sent.get("tracestate").map(|state| state.to_str().expect("text").replace([' ', '\t'], ""))
    };
    assert_eq!(state(&["foo=1,bar=2"]).as_deref(), Some("foo=1,bar=2"));
    assert_eq!(state(&["foo=1", "bar=2"]).as_deref(), Some("foo=1,bar=2"), "several headers are one");
    assert_eq!(state(&["foo=1 \t , \t bar=2, \t baz=3"]).as_deref(), Some("foo=1,bar=2,baz=3"));
    assert_eq!(state(&["foo=1,"]).as_deref(), Some("foo=1,"));
    for invalid in [
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "foo@=1,bar=2",
        "@foo=1,bar=2",
        "foo@@bar=1,bar=2",
        "foo@bar@baz=1,bar=2",
        "foo=bar=baz",
        "foo=,bar=3",
        "foo",
        "_foo=1",
    ] {
        assert_eq!(state(&[invalid]), None, "{invalid:?}");
    }
    let (key, longer) = (format!("{}=1", "z".repeat(256)), format!("{}=1", "z".repeat(257)));
    assert_eq!(state(&[&key]), Some(key.clone()));
    assert_eq!(state(&[&longer]), None);
    let many = (0..33).map(|number| format!("bar{number}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&[&many]), None);
    let stateless = sent(&[("tracestate", "foo=1")]);
    assert!(!stateless.contains_key("tracestate"), "without a trace it belongs to none");
}

/// Report C8: limits concern attributes and count characters.
#[test]
fn limits_are_of_attributes() {
    let pipeline = Pipeline::new(|builder, _| builder.with_span_attribute_limits(3, 3).with_log_attribute_limits(128, 3));
    pipeline.run(|| {
        let span = tracing::info_span!(
            "plain",
            a = "äöüß",
            b = 2,
            c = 3,
            d = 4,
            otel.name = "a long name",
            otel.kind = "server",
            late = tracing::field::Empty
        );
        span.record("late", 5);
        span.in_scope(|| {
            tracing::info!(text = "äöüß", "logged");
            tracing::error!("a long status");
        });
        drop(span);
    });
    let span = pipeline.span("a long name");
    assert_eq!((span.kind, span.status.1.as_str()), (2, "a long status"));
    assert_eq!(span.attributes.len(), 3, "{:?}", span.attributes);
    assert_eq!(span.attributes["a"].as_str(), "äöü");
    // c, d, late, code.file.path, code.line.number; a mark says that a value was cut.
    assert!(span.attributes.contains_key("crumbtrail.truncated"));
    assert_eq!(span.dropped_attributes, 5);
    assert_eq!(pipeline.log("logged").text("text"), "äöü");
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        use tracing::field::Empty;
        // As many as a span may have.
        let span =
            tracing::info_span!("many", f0 = Empty, f1 = Empty, f2 = Empty, f3 = Empty, f4 = Empty, f5 = Empty, f6 = Empty, f7 = Empty);
        (0..8).for_each(|number| _ = span.record(&*format!("f{number}"), number));
    });
    assert_eq!(pipeline.span("many").dropped_attributes, 0);
}

/// Report C9.
#[test]
fn ok_is_final_and_flags_are_whole() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let span = tracing::info_span!("settled", otel.status_code = tracing::field::Empty);
        span.in_scope(|| tracing::info!("in a trace of its own"));
        span.record("otel.status_code", "ok");
        span.record("otel.status_code", "error");
    });
    assert_eq!(pipeline.span("settled").status.0, 1);
    assert_eq!(pipeline.log("in a trace of its own").flags, 3, "sampled, and random");
}

/// Report C10: a router within a router, both with the layer.
#[test]
fn a_request_is_observed_once() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let inner = Router::new().route("/cart/{id}", post(|| async { StatusCode::BAD_GATEWAY })).layer(ServerLayer::for_axum());
        let router = ServerLayer::for_axum().layer(Router::new().nest("/shop", inner).layer(ServerLayer::for_axum()));
        let request = Request::post("/shop/cart/7").body(Body::empty()).expect("a request");
        let response = runtime().block_on(router.oneshot(request)).expect("an answer");
        assert!(response.headers().contains_key("x-error-id"));
    });
    let span = pipeline.span("POST /shop/cart/{id}");
    assert_eq!(span.attributes["http.route"].as_str(), "/shop/cart/{id}");
    assert_eq!(pipeline.received().spans.len(), 1);
    assert_eq!(pipeline.received().exceptions().count(), 1);
    let received =
        pipeline.receiver.wait_for(PATIENCE, |received| received.metric("http.server.request.duration").is_some()).expect("metrics");
    let points = &received.metric("http.server.request.duration").expect("it is there").points;
    assert_eq!((points.len(), points[0].count, points[0].attributes["http.route"].as_str()), (1, 1, "/shop/cart/{id}"));
}

/// Report C11: where this library's own code opens a span or logs an event is no place in the
/// program.
#[test]
fn our_own_sources_are_no_place_in_the_program() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        crumbtrail::propagation::producer_span("rabbitmq", "orders").in_scope(|| ());
        crumbtrail::flag_evaluated(&crumbtrail::FlagEvaluation::new("dark").with_variant("on"));
        let router = Router::new().route("/x", post(|| async { StatusCode::OK })).layer(ServerLayer::for_axum());
        let _ = runtime().block_on(router.oneshot(Request::post("/x").body(Body::empty()).expect("a request")));
    });
    let received = pipeline.received();
    assert_eq!((received.spans.len(), received.logs.len()), (2, 1));
    assert!(received.spans.iter().all(|span| !span.attributes.contains_key("code.file.path")), "{:#?}", received.spans);
    assert!(!received.logs[0].attributes.contains_key("code.file.path"), "{:#?}", received.logs);
    // Report C6: names of one version of the conventions.
    assert_eq!(pipeline.span("send orders").attributes["messaging.system.name"].as_str(), "rabbitmq");
}

/// Report C12: the common form of a collector's or agent's address.
#[cfg(unix)]
#[test]
fn a_unix_socket_is_an_endpoint() {
    use std::os::unix::net::UnixListener;
    for protocol in [crumbtrail::config::Protocol::HttpProtobuf, crumbtrail::config::Protocol::Grpc] {
        let receiver = crumbtrail_receiver::Receiver::start().expect("a receiver");
        let tcp = if protocol == crumbtrail::config::Protocol::Grpc { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
        let address = tcp.trim_start_matches("http://").to_owned();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("otel.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, tcp) = (socket.expect("a connection"), std::net::TcpStream::connect(&address).expect("the receiver"));
                let pairs = [(socket.try_clone().expect("a copy"), tcp.try_clone().expect("a copy"))];
                let [(mut from_socket, mut to_tcp)] = pairs;
                let (mut from_tcp, mut to_socket) = (tcp, socket);
                std::thread::spawn(move || std::io::copy(&mut from_socket, &mut to_tcp));
                std::thread::spawn(move || std::io::copy(&mut from_tcp, &mut to_socket));
            }
        });
        let telemetry = crumbtrail::builder(crumbtrail::service!())
            .with_protocol(protocol)
            // Of all signals, and of one.
            .with_env_vars(&crumbtrail::config::EnvVars::from_iter([
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("unix:{}", path.display())),
                ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", format!("unix://{}", path.display())),
            ]))
            .build()
            .expect("telemetry");
        tracing::dispatcher::with_default(&telemetry.dispatch(), || tracing::error!("through a socket"));
        telemetry.shutdown(PATIENCE).expect("delivered");
        assert_eq!(receiver.received().exceptions().count(), 1, "{protocol:?}");
    }
}
