//! A paste service on axum 0.8 with SQLite behind `spawn_blocking`, its errors in one enumeration,
//! and tower-http's timeout: what arrives of each way to fail. (rusqlite 0.40, thiserror 2.)

#[path = "../../support/mod.rs"]
mod support;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use crumbtrail::tower::ServerLayer;
use http_body_util::BodyExt as _;
use rusqlite::Connection;
use support::{Pipeline, messages};
use tower::ServiceExt as _;
use tower_http_07::timeout::TimeoutLayer;
use tracing::{debug, info, instrument};

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("no paste {0}")]
    NotFound(u32),
    #[error("the paste is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    #[error("a task was lost")]
    Task(#[from] tokio::task::JoinError),
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => {
                crumbtrail::capture(&self);
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        (status, self.to_string()).into_response()
    }
}

type Database = Arc<Mutex<Connection>>;

/// Runs it where it may block, in the request's span.
#[instrument(skip_all)]
async fn query<T: Send + 'static>(
    database: &Database,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, AppError> {
    let (database, span) = (database.clone(), tracing::Span::current());
    let task = tokio::task::spawn_blocking(move || {
        span.in_scope(|| {
            debug!("asking the database");
            run(&database.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
        })
    });
    Ok(task.await??)
}

async fn create(State(database): State<Database>, text: Bytes) -> Result<String, AppError> {
    const LIMIT: usize = 64;
    if text.len() > LIMIT {
        return Err(AppError::TooLarge { limit: LIMIT });
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let id = query(&database, move |database| {
        database.execute("insert into pastes (text) values (?1)", [&text])?;
        Ok(database.last_insert_rowid())
    })
    .await?;
    info!(id, "created");
    Ok(id.to_string())
}

async fn read(State(database): State<Database>, Path(id): Path<u32>) -> Result<String, AppError> {
    let found = query(&database, move |database| database.query_row("select text from pastes where id = ?1", [id], |row| row.get(0))).await;
    match found {
        Err(AppError::Database(rusqlite::Error::QueryReturnedNoRows)) => Err(AppError::NotFound(id)),
        found => found,
    }
}

async fn statistics(State(database): State<Database>) -> Result<String, AppError> {
    let count: i64 = query(&database, |database| database.query_row("select count(*) from visits", [], |row| row.get(0))).await?;
    Ok(count.to_string())
}

async fn poisoned(State(database): State<Database>) -> Result<String, AppError> {
    query(&database, |_| -> rusqlite::Result<()> { panic!("a row that cannot be") }).await?;
    Ok(String::new())
}

async fn slow() -> &'static str {
    info!("waiting for a lock");
    pending().await
}

fn app() -> Router {
    let database = Connection::open_in_memory().expect("a database");
    database.execute_batch("create table pastes (id integer primary key, text text not null)").expect("a table");
    Router::new()
        .route("/", post(create))
        .route("/{id}", get(read))
        .route("/statistics", get(statistics))
        .route("/poisoned", get(poisoned))
        // Around this one alone: the others take as long as the machine does.
        .route("/slow", get(slow).layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_millis(50))))
        .with_state(Arc::new(Mutex::new(database)))
        .layer(ServerLayer::for_axum())
}

async fn ask(app: &Router, request: Request<Body>) -> (StatusCode, Option<String>, String) {
    let (head, body) = app.clone().oneshot(request).await.expect("infallible").into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let id = head.headers.get("x-error-id").map(|id| id.to_str().expect("text").to_owned());
    (head.status, id, String::from_utf8_lossy(&body).into_owned())
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

#[test]
fn every_way_to_fail_is_one_record() {
    let pipeline = Pipeline::installed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let app = app();
    let ask = |request| runtime.block_on(ask(&app, request));

    let (status, id, made) = ask(Request::post("/").body(Body::from("hello")).expect("a request"));
    assert_eq!((status, id), (StatusCode::OK, None));
    assert_eq!(ask(get_of(&format!("/{made}"))).2, "hello");
    // What the client got wrong is nobody's exception.
    assert_eq!(ask(get_of("/77")).0, StatusCode::NOT_FOUND);
    assert_eq!(ask(Request::post("/").body(Body::from("x".repeat(65))).expect("a request")).0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(pipeline.received().exceptions().count(), 0);

    let (status, id, _) = ask(get_of("/statistics"));
    let exception = pipeline.exception("the database failed");
    assert_eq!((status.as_u16(), id.as_deref()), (500, Some(exception.text("crumbtrail.error.id"))));
    assert_eq!((exception.text("exception.type"), exception.text("http.route")), ("paste::AppError", "/statistics"));
    assert!(exception.text("crumbtrail.chain").contains("no such table: visits"), "{exception:#?}");
    assert_eq!(messages(&exception), ["asking the database"]);
    assert!(!exception.trace_id.is_empty());
    let first_own = exception.text("exception.stacktrace").lines().find(|line| line.contains("paste::")).expect("own frames").to_owned();
    assert!(first_own.contains("AppError as axum_core::response::into_response::IntoResponse>::into_response"), "{first_own}");

    let (status, id, _) = ask(get_of("/poisoned"));
    let panic = pipeline.exception("a row that cannot be");
    assert_eq!(
        (panic.text("exception.type"), panic.text("http.route"), messages(&panic)),
        ("panic", "/poisoned", vec!["asking the database".to_owned()])
    );
    // The lost task is the same failure once more.
    assert_eq!((status.as_u16(), id.as_deref()), (500, Some(panic.text("crumbtrail.error.id"))));

    let (status, id, _) = ask(get_of("/slow"));
    let late = pipeline.exception("GET /slow answered 504");
    assert_eq!((status.as_u16(), id.as_deref()), (504, Some(late.text("crumbtrail.error.id"))));
    assert_eq!(messages(&late), ["waiting for a lock"]);
    assert_eq!(pipeline.received().exceptions().count(), 3);
    // What people paste is theirs.
    assert!(!format!("{:?}", pipeline.received()).contains("hello"));
}
