//! A service that keeps a list of todos, as axum's example of that name does, with one way to
//! observe it or none: `--features crumbtrail`, `stock`, `sentry`. Prints what it weighs when it
//! has answered a thousand requests and failed at one.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, RwLock},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::prelude::*;
use uuid::Uuid;

#[derive(Clone, Deserialize, Serialize)]
struct Todo {
    #[serde(default = "Uuid::new_v4")]
    id: Uuid,
    text: String,
}

type Todos = Arc<RwLock<HashMap<Uuid, Todo>>>;

async fn list(State(todos): State<Todos>) -> impl IntoResponse {
    let todos: Vec<Todo> = todos.read().expect("no panic").values().take(20).cloned().collect();
    tracing::info!(count = todos.len(), "listed");
    Json(todos)
}

async fn create(State(todos): State<Todos>, Json(todo): Json<Todo>) -> impl IntoResponse {
    tracing::info!(id = %todo.id, "created");
    todos.write().expect("no panic").insert(todo.id, todo.clone());
    (StatusCode::CREATED, Json(todo))
}

async fn one(Path(id): Path<String>) -> StatusCode {
    let error = id.parse::<u64>().expect_err("no number");
    tracing::error!(error = &error as &dyn std::error::Error, "no such todo");
    StatusCode::INTERNAL_SERVER_ERROR
}

fn main() {
    let filter = || tracing_subscriber::EnvFilter::new("info");
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(filter());

    #[cfg(feature = "crumbtrail")]
    let telemetry = {
        let telemetry = crumbtrail::builder(crumbtrail::service!()).with_env().build().expect("telemetry");
        tracing_subscriber::registry().with(telemetry.layer()).with(text).init();
        telemetry
    };

    #[cfg(feature = "stock")]
    let (tracer, logger) = {
        use opentelemetry::trace::TracerProvider as _;
        let tracer = opentelemetry_sdk::trace::SdkTracerProvider::builder()
            .with_batch_exporter(opentelemetry_otlp::SpanExporter::builder().with_http().build().expect("an exporter"))
            .build();
        let logger = opentelemetry_sdk::logs::SdkLoggerProvider::builder()
            .with_batch_exporter(opentelemetry_otlp::LogExporter::builder().with_http().build().expect("an exporter"))
            .build();
        tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(tracer.tracer("footprint")).with_filter(filter()))
            .with(opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&logger).with_filter(filter()))
            .with(text)
            .init();
        (tracer, logger)
    };

    #[cfg(feature = "sentry")]
    let guard = {
        let dsn =
            format!("http://key@{}/1", std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default().trim_start_matches("http://"));
        let options = sentry::ClientOptions::new().traces_sample_rate(1.0).attach_stacktrace(true);
        let guard = sentry::init((dsn, options));
        tracing_subscriber::registry()
            .with(sentry::integrations::tracing::SpanLayer::new())
            .with(sentry::integrations::tracing::LogLayer::new())
            .with(text)
            .init();
        guard
    };

    #[cfg(not(any(feature = "crumbtrail", feature = "stock", feature = "sentry")))]
    tracing_subscriber::registry().with(text).init();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let address = runtime.block_on(async {
        let router = Router::new().route("/todos", get(list).post(create)).route("/todos/{id}", get(one)).with_state(Todos::default());
        #[cfg(feature = "crumbtrail")]
        let router = router.layer(crumbtrail::tower::ServerLayer::for_axum());
        #[cfg(feature = "stock")]
        let router = router.layer(tower_http::trace::TraceLayer::new_for_http().make_span_with(|_: &_| tracing::info_span!("request")));
        #[cfg(feature = "sentry")]
        let router = router
            .layer(sentry::integrations::tower::SentryHttpLayer::new().enable_transaction())
            .layer(sentry::integrations::tower::NewSentryLayer::<axum::http::Request<axum::body::Body>>::new_from_top());
        #[cfg(not(any(feature = "crumbtrail", feature = "stock", feature = "sentry")))]
        let router = router.layer(tower_http::trace::TraceLayer::new_for_http());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    for number in 0..1_000 {
        ask(address, "POST", "/todos", &format!("{{\"text\":\"todo {number}\"}}"));
    }
    ask(address, "GET", "/todos", "");
    ask(address, "GET", "/todos/seven", "");

    // Delivered, with what that takes.
    #[cfg(feature = "stock")]
    {
        tracer.force_flush().expect("delivered");
        logger.force_flush().expect("delivered");
    }
    #[cfg(feature = "sentry")]
    assert!(guard.close(Some(std::time::Duration::from_secs(10))), "delivered");
    #[cfg(feature = "crumbtrail")]
    telemetry.flush(std::time::Duration::from_secs(10)).expect("delivered");

    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("unknown").trim().to_owned();
    println!("{resident}");
}

fn ask(address: SocketAddr, method: &str, path: &str, body: &str) {
    let mut stream = TcpStream::connect(address).expect("connected");
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .expect("asked");
    stream.read_to_end(&mut Vec::new()).expect("answered");
}
