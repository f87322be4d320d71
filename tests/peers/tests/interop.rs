//! Crates that know nothing of crumbtrail, with crumbtrail installed: ids agree, traces go through,
//! nothing comes twice.

use std::{sync::OnceLock, time::Duration};

use axum::{Router, body::Body, http::Request, routing::get};
use axum_tracing_opentelemetry::middleware::{OtelAxumLayer, OtelInResponseLayer};
use crumbtrail::{Builder, Telemetry, TelemetryGuard, propagation::SpanContext};
use crumbtrail_receiver::{Received, Receiver, Span};
use opentelemetry::{
    Context, KeyValue, global,
    trace::{FutureExt as _, Link, Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use tower::ServiceExt as _;
use tracing::{error, info, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

struct Pipeline {
    receiver: Receiver,
    telemetry: Telemetry,
    _guard: Option<TelemetryGuard>,
}

impl Pipeline {
    fn new(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let receiver = Receiver::start().expect("a receiver");
        let builder = crumbtrail::builder(crumbtrail::service!().with_name("interop")).with_endpoint(receiver.http_endpoint());
        let telemetry = configure(builder.with_span_extensions(true)).build().expect("telemetry");
        propagator(&telemetry);
        Self { receiver, telemetry, _guard: None }
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(self.telemetry.layer()), work)
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.run(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work))
    }

    fn received(&self) -> Received {
        self.telemetry.flush(PATIENCE).expect("delivered");
        self.receiver.received()
    }

    fn span(&self, name: &str) -> Span {
        let received = self.received();
        let found: Vec<&Span> = received.spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {:#?}", received.spans);
        found[0].clone()
    }
}

/// The propagator is the process's: any telemetry's with the default formats will do.
fn propagator(telemetry: &Telemetry) {
    static SET: OnceLock<()> = OnceLock::new();
    SET.get_or_init(|| global::set_text_map_propagator(telemetry.text_map_propagator()));
}

fn request(uri: &str) -> Request<Body> {
    Request::get(uri).header("traceparent", format!("00-{TRACE}-{PARENT}-01")).body(Body::empty()).unwrap()
}

#[test]
fn axum_tracing_opentelemetry_continues_the_callers_trace() {
    let pipeline = Pipeline::new(|builder| builder);
    let header = pipeline.block_on(async {
        let handler = || async {
            info!("loading");
            info_span!("query").in_scope(|| error!("no rows"));
            SpanContext::current().unwrap().to_string()
        };
        let router = Router::new().route("/cart/{id}", get(handler)).layer(OtelInResponseLayer).layer(OtelAxumLayer::default());
        let response = router.oneshot(request("/cart/7")).await.unwrap();
        response.headers()["traceparent"].to_str().unwrap().to_owned()
    });
    let (server, query) = (pipeline.span("GET /cart/{id}"), pipeline.span("query"));
    assert_eq!((&*server.trace_id, &*server.parent_span_id, server.kind), (TRACE, PARENT, 2));
    assert_eq!((&*query.trace_id, &query.parent_span_id), (TRACE, &server.span_id));
    assert!(header.contains(TRACE) && header.contains(&server.span_id), "the response names our span: {header}");
    assert_eq!(server.attributes["http.response.status_code"].to_string(), "200");
    let received = pipeline.received();
    assert_eq!((received.spans.len(), received.exceptions().count()), (2, 1), "nothing comes twice: {:#?}", received.spans);
    let exception = received.exceptions().next().unwrap();
    assert_eq!((&*exception.trace_id, &exception.span_id), (TRACE, &query.span_id));
    let log = received.logs.iter().find(|log| log.body == "loading").unwrap();
    assert_eq!((&*log.trace_id, &log.span_id), (TRACE, &server.span_id));
}

#[test]
fn span_extensions_say_what_they_say_of_crumbtrails_spans() {
    let pipeline = Pipeline::new(|builder| builder);
    let linked = opentelemetry::trace::SpanContext::new(7.into(), 9.into(), opentelemetry::TraceFlags::SAMPLED, true, Default::default());
    let context = pipeline.run(|| {
        let early = info_span!("early", field = 1);
        early.set_attribute("before", "it starts");
        early.add_link(linked.clone());
        early.set_status(Status::error("so it is"));
        drop(early);

        let request = info_span!("request");
        let context = request.in_scope(|| {
            let inner = info_span!("inner").entered();
            inner.set_attribute("count", 3_i64);
            inner.set_attribute("password", "hunter2");
            inner.add_event("cache miss", vec![KeyValue::new("key", "cart:7")]);
            let context = inner.context();
            inner.set_attribute("after", true);
            context
        });
        drop(request);
        info_span!("untouched").in_scope(|| {});
        context
    });
    let inner = pipeline.span("inner");
    let span = context.span();
    assert_eq!(span.span_context().trace_id().to_string(), inner.trace_id);
    assert_eq!(span.span_context().span_id().to_string(), inner.span_id);
    assert_eq!(inner.parent_span_id, pipeline.span("request").span_id);
    let text = |key: &str| inner.attributes[key].to_string();
    assert_eq!((text("count"), text("password"), text("after")), ("3".into(), "[Filtered]".into(), "true".into()));
    assert_eq!((inner.events[0].0.as_str(), inner.events[0].1["key"].as_str()), ("cache miss", "cart:7"));
    let early = pipeline.span("early");
    assert_eq!((early.attributes["before"].as_str(), early.attributes["field"].to_string()), ("it starts", "1".into()));
    assert_eq!(early.links, [(format!("{:032x}", 7), format!("{:016x}", 9))]);
    assert_eq!(early.status, (2, "so it is".to_owned()));
    assert!(!pipeline.span("untouched").attributes.contains_key("crumbtrail.span"));
}

#[test]
fn spans_below_their_route_keep_what_is_said_of_them_to_themselves() {
    let pipeline = Pipeline::new(|builder| builder);
    pipeline.run(|| {
        let remote = |tenant: &str| {
            let headers = std::collections::HashMap::from([
                ("traceparent".to_owned(), format!("00-{TRACE}-{PARENT}-01")),
                ("baggage".to_owned(), format!("tenant={tenant}")),
            ]);
            global::get_text_map_propagator(|propagator| propagator.extract(&headers))
        };
        for number in 0..200 {
            let unknown = tracing::debug_span!("below the route");
            let _ = unknown.set_parent(remote("a"));
            unknown.set_attribute("number", number);
            let other = tracing::debug_span!("another");
            use opentelemetry::baggage::BaggageExt as _;
            assert!(other.context().baggage().is_empty() && !other.context().span().span_context().is_valid());
        }
    });
    assert!(pipeline.received().spans.is_empty());
}

#[test]
fn a_message_without_a_context_begins_a_trace_under_context_activation() {
    let pipeline = Pipeline::new(|builder| builder.with_context_activation(true));
    pipeline.run(|| {
        let _loop = info_span!("loop").entered();
        for _ in 0..2 {
            crumbtrail::propagation::consumer_span("kafka", "orders", crumbtrail::propagation::RemoteContext::default()).in_scope(|| {});
        }
    });
    let received = pipeline.received();
    let of = |name: &str| received.spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (outer, inner) = (of("loop"), of("process orders"));
    assert!(inner[0].trace_id != outer[0].trace_id && inner[0].trace_id != inner[1].trace_id);
    assert!(inner.iter().all(|span| span.parent_span_id.is_empty()));
}

#[test]
fn the_callers_trace_state_and_long_events_are_not_lost() {
    let pipeline = Pipeline::new(|builder| builder);
    pipeline.run(|| {
        let headers = std::collections::HashMap::from([
            ("traceparent".to_owned(), format!("00-{TRACE}-{PARENT}-01")),
            ("tracestate".to_owned(), "vendor=1".to_owned()),
        ]);
        let request = info_span!("request");
        request.set_parent(global::get_text_map_propagator(|propagator| propagator.extract(&headers))).unwrap();
        let _entered = request.enter();
        request.add_event("long", vec![KeyValue::new("text", "x".repeat(100_000)), KeyValue::new("password", "hunter2")]);
    });
    let span = pipeline.span("request");
    assert_eq!((&*span.trace_id, &*span.trace_state), (TRACE, "vendor=1"));
    assert_eq!((span.events[0].0.as_str(), span.events[0].1["password"].as_str()), ("long", "[Filtered]"));
    assert!(span.events[0].1["text"].as_str().len() < 1_100);
}

#[test]
fn a_parent_may_be_set_until_the_span_is_entered() {
    let pipeline = Pipeline::new(|builder| builder);
    pipeline.run(|| {
        let remote = global::get_text_map_propagator(|propagator| {
            let headers = std::collections::HashMap::from([("traceparent".to_owned(), format!("00-{TRACE}-{PARENT}-01"))]);
            propagator.extract(&headers)
        });
        for _ in 0..100 {
            let span = info_span!("request");
            span.set_parent(remote.clone()).unwrap();
            let _entered = span.enter();
            info_span!("child").in_scope(|| {});
            assert!(span.set_parent(Context::new()).is_err(), "too late");
        }
        // The same memory, by and by, for spans that nobody has said anything of.
        for _ in 0..100 {
            info_span!("other").in_scope(|| {});
        }
    });
    let received = pipeline.received();
    let named = |name: &str| received.spans.iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
    assert_eq!((named("request").len(), named("child").len(), named("other").len()), (100, 100, 100));
    assert!(named("request").iter().all(|span| span.trace_id == TRACE && span.parent_span_id == PARENT));
    assert!(named("child").iter().all(|span| span.trace_id == TRACE));
    assert!(named("other").iter().all(|span| span.trace_id != TRACE && span.parent_span_id.is_empty()));
}

/// As libraries do that know OpenTelemetry's API alone.
async fn library(tracer: &impl opentelemetry::trace::Tracer<Span: Send + Sync + 'static>) {
    let span = tracer
        .span_builder("SELECT carts")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("db.system.name", "sqlite"), KeyValue::new("db.password", "hunter2")])
        .with_links(vec![Link::with_context(opentelemetry::trace::SpanContext::new(
            7.into(),
            9.into(),
            Default::default(),
            true,
            Default::default(),
        ))])
        .start(tracer);
    let context = Context::current_with_span(span);
    async {
        let context = Context::current();
        context.span().add_event("rows", vec![KeyValue::new("count", 3_i64)]);
        context.span().set_status(Status::error("locked"));
        let mut nested = tracer.start("nested");
        nested.record_error(&std::fmt::Error);
        nested.end();
    }
    .with_context(context)
    .await;
}

#[test]
fn a_library_on_opentelemetrys_api_joins_the_trace_and_the_delivery() {
    let pipeline = Pipeline::new(|builder| builder);
    let tracer = pipeline.telemetry.tracer_provider().tracer("some-library");
    pipeline.block_on(async { tracing::Instrument::instrument(library(&tracer), info_span!("request")).await });
    let (request, query, nested) = (pipeline.span("request"), pipeline.span("SELECT carts"), pipeline.span("nested"));
    assert_eq!((&query.trace_id, &query.parent_span_id, query.kind), (&request.trace_id, &request.span_id, 3));
    assert_eq!((&nested.trace_id, &nested.parent_span_id), (&request.trace_id, &query.span_id));
    assert_eq!((&*query.scope, query.status.clone(), query.links.len()), ("some-library", (2, "locked".to_owned()), 1));
    assert_eq!((query.attributes["db.system.name"].as_str(), query.attributes["db.password"].as_str()), ("sqlite", "[Filtered]"));
    assert_eq!((query.events[0].0.as_str(), query.events[0].1["count"].to_string()), ("rows", "3".into()));
    let received = pipeline.received();
    let exception = received.exceptions().next().expect("record_error is an exception");
    assert_eq!((&exception.trace_id, exception.text("exception.message")), (&request.trace_id, &*std::fmt::Error.to_string()));
    assert_eq!(received.spans.len(), 3);
    assert!(pipeline.telemetry.stats().to_string().contains("spans"), "{}", pipeline.telemetry.stats());
}

#[test]
fn an_error_told_to_a_boxed_span_is_an_exception() {
    let pipeline = Pipeline::new(|builder| builder);
    global::set_tracer_provider(pipeline.telemetry.tracer_provider());
    pipeline.run(|| {
        let _request = info_span!("request").entered();
        let mut span = global::tracer("some-library").start("query");
        span.record_error(&std::io::Error::other("database is locked"));
        span.end();
    });
    let received = pipeline.received();
    let exception = received.exceptions().next().expect("an exception");
    assert_eq!((exception.text("exception.message"), &exception.trace_id), ("database is locked", &pipeline.span("query").trace_id));
    assert_eq!(pipeline.span("request").status.0, 2, "it happened in the request");
}

#[test]
fn a_tracing_span_within_an_opentelemetry_context_joins_it() {
    let pipeline = Pipeline::new(|builder| builder);
    let tracer = pipeline.telemetry.tracer_provider().tracer("some-library");
    pipeline.run(|| {
        let _attached = Context::current_with_span(tracer.start("job")).attach();
        info_span!("step").in_scope(|| error!("out of paper"));
    });
    let (job, step) = (pipeline.span("job"), pipeline.span("step"));
    assert_eq!((&step.trace_id, &step.parent_span_id), (&job.trace_id, &job.span_id));
    assert_eq!(pipeline.received().exceptions().next().unwrap().trace_id, job.trace_id);
}

#[test]
fn opentelemetrys_context_follows_where_that_is_wished_for() {
    let pipeline = Pipeline::new(|builder| builder.with_context_activation(true));
    let seen = |of: &tracing::Span| of.in_scope(|| Context::map_current(|context| context.span().span_context().span_id().to_string()));
    let (outer, inner) = pipeline.run(|| {
        let outer = info_span!("outer");
        let inner = info_span!(parent: &outer, "inner");
        let ids = (seen(&outer), seen(&inner));
        // Left in another order than entered.
        let (first, second) = (outer.enter(), inner.enter());
        drop(first);
        assert_eq!(Context::map_current(|context| context.span().span_context().span_id().to_string()), ids.1);
        drop(second);
        assert!(!Context::current().span().span_context().is_valid());
        ids
    });
    assert_eq!((pipeline.span("outer").span_id, pipeline.span("inner").span_id), (outer, inner));
}

#[test]
fn grpc_clients_and_servers_of_others_carry_the_trace() {
    use tonic::{body::Body, server::NamedService};
    use tonic_tracing_opentelemetry::middleware::{client::OtelGrpcLayer, server};

    #[derive(Clone)]
    struct Health;
    impl NamedService for Health {
        const NAME: &'static str = "shop.Health";
    }
    impl tower::Service<Request<Body>> for Health {
        type Response = axum::http::Response<Body>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            error!("unhealthy");
            std::future::ready(Ok(tonic::Status::unavailable("unhealthy").into_http()))
        }
    }
    let pipeline = Pipeline::new(|builder| builder);
    pipeline.block_on(async {
        let call = async {
            let service = tower::ServiceBuilder::new().layer(OtelGrpcLayer).layer(server::OtelGrpcLayer::default()).service(Health);
            let call = Request::post("http://127.0.0.1/shop.Health/Check").header("content-type", "application/grpc").body(Body::empty());
            let _ = service.oneshot(call.unwrap()).await;
        };
        tracing::Instrument::instrument(call, info_span!("order")).await;
    });
    let received = pipeline.received();
    let order = pipeline.span("order");
    let of_kind =
        |kind: i32| received.spans.iter().find(|span| span.kind == kind).unwrap_or_else(|| panic!("{kind}: {:#?}", received.spans));
    let (client, server) = (of_kind(3), of_kind(2));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&order.trace_id, &order.span_id));
    assert_eq!((&server.trace_id, &server.parent_span_id), (&order.trace_id, &client.span_id));
    assert_eq!(received.exceptions().next().unwrap().trace_id, order.trace_id);
    assert_eq!(received.spans.len(), 3);
}

#[test]
fn reqwest_tracing_which_is_a_version_behind_sends_the_trace_on() {
    opentelemetry_0_32::global::set_text_map_propagator(opentelemetry_sdk_0_32::propagation::TraceContextPropagator::new());
    let pipeline = Pipeline::new(|builder| builder);
    let seen = pipeline.block_on(async {
        let echo = |request: Request<Body>| async move { request.headers()["traceparent"].to_str().unwrap().to_owned() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, Router::new().route("/", get(echo))).into_future());
        let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::builder().no_proxy().build().unwrap())
            .with(reqwest_tracing::TracingMiddleware::default())
            .build();
        let order = info_span!("order");
        let call = async { client.get(format!("http://{address}/")).send().await.unwrap().text().await.unwrap() };
        let seen = tracing::Instrument::instrument(call, order).await;
        server.abort();
        seen
    });
    let received = pipeline.received();
    let order = pipeline.span("order");
    let call = received.spans.iter().find(|span| span.kind == 3).unwrap_or_else(|| panic!("{:#?}", received.spans));
    assert_eq!((&call.trace_id, &call.parent_span_id), (&order.trace_id, &order.span_id));
    assert_eq!(seen, format!("00-{}-{}-01", call.trace_id, call.span_id));
    assert_eq!(received.spans.len(), 2, "nothing comes twice");
}

#[test]
fn a_pipeline_of_ones_own_is_kept_and_gets_exceptions_and_breadcrumbs() {
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
    let own = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(own.clone()).build();
    let receiver = Receiver::start().expect("a receiver");
    let builder = crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver.http_endpoint());
    let telemetry = builder.with_foreign_context(true).build().expect("telemetry");
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("own"))).with(telemetry.layer());
    tracing::subscriber::with_default(subscriber, || {
        let _request = info_span!("request").entered();
        info!("charging card");
        info_span!("payment").in_scope(|| error!("card refused"));
    });
    telemetry.shutdown(PATIENCE).expect("delivered");
    let received = receiver.received();
    assert!(received.spans.is_empty(), "their spans are their own pipeline's");
    let spans = own.get_finished_spans().unwrap();
    let payment = spans.iter().find(|span| span.name == "payment").unwrap();
    let exception = received.exceptions().next().unwrap();
    assert_eq!(exception.trace_id, payment.span_context.trace_id().to_string());
    assert_eq!(exception.span_id, payment.span_context.span_id().to_string());
    assert!(exception.text("crumbtrail.breadcrumbs").contains("charging card"));
}
