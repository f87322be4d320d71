//! A global `EnvFilter`, as the templates of axum have it, with `telemetry.layer()` and
//! `ServerLayer` added: what is filtered for the text output is not taken from the request.
//! (tracing-subscriber 0.3, axum 0.8.)

#[path = "../../support/mod.rs"]
mod support;

use std::{
    io,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use crumbtrail::{ErrorId, config::Filter, tower::ServerLayer};
use http_body_util::BodyExt as _;
use support::{Pipeline, breadcrumbs, messages};
use tokio::sync::oneshot;
use tower::ServiceExt as _;
use tracing::{Instrument as _, debug, error, info, info_span, instrument, warn};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, prelude::*};

const TEMPLATE: &str = "filter=debug,tower_http=debug";

#[derive(Debug, thiserror::Error)]
#[error("no stock of {0}")]
struct OutOfStock(String);

impl IntoResponse for OutOfStock {
    fn into_response(self) -> Response {
        crumbtrail::capture(&self);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

#[instrument]
async fn reserve(item: &str) -> Result<(), OutOfStock> {
    debug!("looking at the shelf");
    warn!("shelf is empty");
    Err(OutOfStock(item.to_owned()))
}

async fn buy(Path(item): Path<String>) -> Result<&'static str, OutOfStock> {
    info!("somebody buys");
    crumbtrail::set_user(crumbtrail::User::new("u-7"));
    reserve(&item).await?;
    Ok("bought")
}

fn app() -> Router {
    Router::new().route("/buy/{item}", get(buy)).route("/bare", get(|| async { StatusCode::BAD_GATEWAY })).layer(ServerLayer::for_axum())
}

/// As `tracing_subscriber::fmt` prints it.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn read(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Text {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Runs it under the subscriber of the template. Returns the text output.
fn run(pipeline: &Pipeline, filter: &str, work: impl Future<Output = ()>) -> String {
    let text = Text::default();
    let subscriber = tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(pipeline.telemetry.layer())
        .with(tracing_subscriber::fmt::layer().with_writer(text.clone()).with_ansi(false));
    tracing::subscriber::with_default(subscriber, || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work);
    });
    text.read()
}

async fn get_from(app: &Router, uri: &str) -> (StatusCode, Option<ErrorId>) {
    let request = Request::get(uri).header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let response = app.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("infallible");
    let (head, body) = response.into_parts();
    body.collect().await.expect("a body");
    (head.status, head.headers.get("x-error-id").map(|id| id.to_str().expect("text").parse().expect("an id")))
}

/// Report 14.1.
#[test]
fn a_filter_for_the_text_output_takes_nothing_from_a_request() {
    for (filter, crumbs) in [(TEMPLATE, &["somebody buys", "looking at the shelf", "shelf is empty"][..]), ("warn", &["shelf is empty"])] {
        let pipeline = Pipeline::new(|builder, _| builder);
        let text = run(&pipeline, filter, async {
            let (status, id) = get_from(&app(), "/buy/tea").await;
            assert_eq!(status, 500);
            let exception = pipeline.exception("no stock of tea");
            assert_eq!(exception.text("crumbtrail.error.id"), id.expect("an id").to_string(), "{filter}");
        });
        assert!(!text.contains("request{") && !text.contains("crumbtrail"), "{filter}: {text}");

        let exception = pipeline.exception("no stock of tea");
        assert_eq!(messages(&exception), crumbs, "{filter}");
        assert_eq!(exception.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736", "{filter}");
        assert_eq!((exception.text("user.id"), exception.text("http.route")), ("u-7", "/buy/{item}"), "{filter}");
        assert_eq!(exception.text("exception.type"), "filter::OutOfStock", "{filter}");
        assert_eq!(pipeline.received().exceptions().count(), 1, "{filter}: one failure, one exception");

        let request = pipeline.span("GET /buy/{item}");
        assert_eq!((request.kind, request.status.0, &*request.parent_span_id), (2, 2, "00f067aa0ba902b7"), "{filter}");
        assert_eq!(request.attributes["http.response.status_code"].to_string(), "500", "{filter}");
        if filter == TEMPLATE {
            let reserve = pipeline.span("reserve");
            assert_eq!((&reserve.trace_id, &reserve.parent_span_id), (&request.trace_id, &request.span_id));
            assert_eq!(exception.span_id, request.span_id, "captured in the handler");
        }
    }
}

/// Report 14.1.
#[test]
fn a_bare_5xx_is_told_once_with_an_id() {
    let pipeline = Pipeline::new(|builder, _| builder);
    run(&pipeline, TEMPLATE, async {
        let (status, id) = get_from(&app(), "/bare").await;
        assert_eq!((status, id.is_some()), (StatusCode::BAD_GATEWAY, true));
    });
    let exception = pipeline.exception("answered 502");
    assert_eq!((exception.text("http.route"), exception.text("exception.type")), ("/bare", "HTTP 502"));
    assert_eq!(exception.attributes["http.response.status_code"].to_string(), "502");
    assert_eq!(pipeline.received().exceptions().count(), 1);
}

/// Report 14.1: what the request has begun and not ended belongs to it, as with any other span.
#[test]
fn a_task_that_outlives_the_response_is_still_its_requests() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let (go, gone) = (oneshot::channel(), oneshot::channel());
    let (waits, says) = (Arc::new(Mutex::new(Some(go.1))), Arc::new(Mutex::new(Some(gone.0))));
    run(&pipeline, TEMPLATE, async {
        let app = Router::new()
            .route(
                "/start",
                get(async move || {
                    info!("starting");
                    let (waits, says) = (waits.lock().expect("once").take(), says.lock().expect("once").take());
                    let job = async move {
                        waits.expect("once").await.expect("told to go on");
                        error!("the job failed");
                        let _ = says.expect("once").send(());
                    };
                    tokio::spawn(job.instrument(info_span!("job")));
                }),
            )
            .layer(ServerLayer::for_axum());
        get_from(&app, "/start").await;
        assert!(pipeline.received().spans.is_empty(), "its request's span is open as long as the job's");
        get_from(&app, "/nowhere").await;
        go.0.send(()).expect("it waits");
        gone.1.await.expect("it ended");
        tokio::task::yield_now().await;
    });
    let exception = pipeline.exception("the job failed");
    let (request, job) = (pipeline.span("GET /start"), pipeline.span("job"));
    assert_eq!((&job.parent_span_id, &exception.span_id), (&request.span_id, &job.span_id));
    assert_eq!(messages(&exception), ["starting"]);
    assert!(request.end >= job.start);
    assert_eq!(pipeline.received().spans.len(), 3);
}

/// The routes are ours to obey: without its span a request still has its story.
#[test]
fn a_request_whose_span_is_off_has_a_trail_and_an_id() {
    let off = || "info,crumbtrail::server=off".parse().expect("a filter");
    let of_request =
        |exception: &crumbtrail_receiver::Log| breadcrumbs(exception).iter().filter(|crumb| crumb["category"] == "log").count();
    for with_crumbs in [true, false] {
        let pipeline = Pipeline::new(|builder, _| {
            let builder = builder.with_filter(Filter::Spans, off());
            if with_crumbs {
                builder
            } else {
                builder.with_filter(Filter::Breadcrumbs, "debug,crumbtrail::server=off".parse().expect("a filter"))
            }
        });
        tracing::dispatcher::with_default(&pipeline.telemetry.dispatch(), || {
            tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
                let (_, id) = get_from(&app(), "/buy/tea").await;
                assert!(id.is_some());
            });
        });
        let exception = pipeline.exception("no stock of tea");
        assert_eq!((exception.text("user.id"), of_request(&exception)), ("u-7", 3));
        assert_eq!(exception.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        let received = pipeline.received();
        let names: Vec<&str> = received.spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["reserve"], "its parent is who called");
        assert_eq!(received.spans[0].parent_span_id, "00f067aa0ba902b7");
        assert_eq!(received.exceptions().count(), 1);
    }
}
