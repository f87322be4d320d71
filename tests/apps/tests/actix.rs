//! A shop on actix-web 4.18, with `crumbtrail::actix_web::Middleware` outermost, over real
//! connections: what arrives of its failures, and what its clients are told. Report 14.10.

#[path = "../../support/mod.rs"]
mod support;

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{OnceLock, mpsc},
};

use actix_web::{
    App, HttpResponse, HttpServer, ResponseError,
    body::BodyStream,
    dev::Service as _,
    error::{ErrorInternalServerError, PayloadError},
    http::StatusCode,
    middleware::from_fn,
    web,
};
use crumbtrail::{User, actix_web::Middleware};
use support::{Pipeline, messages};
use tracing::{debug, error, info};

#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("the payment failed")]
    Payment(#[source] Declined),
    #[error("nobody is in stock control")]
    Stock,
    #[error("no article {0}")]
    Unknown(u32),
}

#[derive(Debug, thiserror::Error)]
#[error("card declined")]
struct Declined;

impl ResponseError for ShopError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error that the middleware is not told of.
#[derive(Debug)]
enum Untold {
    CacheAway { shard: u8 },
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::CacheAway { shard } = self;
        write!(f, "cache shard {shard} is away")
    }
}

impl ResponseError for Untold {}

async fn pay(order: web::Path<u32>) -> Result<&'static str, ShopError> {
    debug!(order = *order, "paying");
    crumbtrail::set_user(User::new("ada"));
    actix_web::rt::task::yield_now().await;
    Err(ShopError::Payment(Declined))
}

async fn stock() -> Result<&'static str, ShopError> {
    let failure = ShopError::Stock;
    error!(error = &failure as &dyn std::error::Error, "looking into stock failed");
    Err(failure)
}

async fn unknown(number: web::Path<u32>) -> Result<&'static str, ShopError> {
    Err(ShopError::Unknown(*number))
}

async fn cache() -> Result<&'static str, Untold> {
    info!("asking the cache");
    Err(Untold::CacheAway { shard: 3 })
}

async fn explode() -> &'static str {
    info!("about to explode");
    panic!("a handler of actix exploded");
}

async fn hello() -> &'static str {
    "hello"
}

async fn broken() -> HttpResponse {
    let parts = [Ok(web::Bytes::from_static(b"the beginning")), Err(PayloadError::EncodingCorrupted)];
    HttpResponse::Ok().body(BodyStream::new(tokio_stream::iter(parts)))
}

async fn endless() -> HttpResponse {
    HttpResponse::Ok().streaming(tokio_stream::StreamExt::map(tokio_stream::pending(), |part: web::Bytes| Ok::<_, PayloadError>(part)))
}

/// The shop, and what records it.
fn shop() -> (&'static Pipeline, SocketAddr) {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let pipeline = Pipeline::installed();
    let address = ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (started, is_started) = mpsc::channel();
        std::thread::spawn(move || {
            let app = || {
                App::new()
                    .route("/pay/{order}", web::post().to(pay))
                    .route("/stock", web::get().to(stock))
                    .route("/article/{number}", web::get().to(unknown))
                    .route("/cache", web::get().to(cache))
                    .route("/explode", web::get().to(explode))
                    .route("/hello/{name}", web::get().to(hello))
                    .route("/bare", web::get().to(|| async { HttpResponse::BadGateway().finish() }))
                    .route("/broken", web::get().to(broken))
                    .route("/endless", web::get().to(endless))
                    .service(web::scope("/inner").wrap(Middleware::new()).route("/{name}", web::get().to(hello)))
                    .service(
                        web::resource("/guarded")
                            .wrap(from_fn(|_, _: actix_web::middleware::Next<actix_web::body::BoxBody>| async {
                                Err::<actix_web::dev::ServiceResponse<actix_web::body::BoxBody>, _>(ErrorInternalServerError(
                                    "the guard is asleep",
                                ))
                            }))
                            .to(hello),
                    )
                    .wrap_fn(|request, next| {
                        assert!(request.path() != "/early", "a middleware of actix exploded");
                        next.call(request)
                    })
                    .wrap(
                        Middleware::new()
                            .with_error_type::<ShopError>()
                            .with_user(|request| Some(User::new(request.headers().get("x-user")?.to_str().ok()?))),
                    )
            };
            let server = HttpServer::new(app).workers(2).disable_signals().listen(listener).expect("a server").run();
            started.send(()).expect("somebody waits");
            actix_web::rt::System::new().block_on(server).expect("served");
        });
        is_started.recv().expect("started");
        address
    });
    (pipeline, *address)
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// An attribute of a span, if it is text.
fn of(span: &crumbtrail_receiver::Span, key: &str) -> String {
    span.attributes.get(key).map_or("", |value| value.as_str()).to_owned()
}

/// Status, `x-error-id`, body.
fn ask(method: &str, path: &str, headers: &str) -> (u16, Option<String>, String) {
    let (_, address) = shop();
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{headers}\r\n").expect("asked");
    let mut answer = Vec::new();
    // One of them breaks off.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    // None, where not even the head has left.
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let id = head.lines().find_map(|line| line.strip_prefix("x-error-id: ")).map(str::to_owned);
    (status, id, body.to_owned())
}

#[test]
fn an_error_of_a_handler_is_one_exception_with_its_causes() {
    let (pipeline, _) = shop();
    let (status, id, body) = ask("POST", "/pay/7?token=abc", &format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n"));
    assert_eq!((status, body.as_str()), (500, "the payment failed"));
    let exception = pipeline.exception("the payment failed");
    assert_eq!(Some(exception.text("crumbtrail.error.id")), id.as_deref());
    assert_eq!(exception.text("exception.type"), "actix::ShopError");
    assert!(exception.text("crumbtrail.chain").contains("card declined"), "{exception:#?}");
    assert_eq!(messages(&exception), ["paying"]);
    assert_eq!(exception.text("user.id"), "ada");
    assert_eq!(exception.trace_id, TRACE);
    for (key, value) in
        [("http.route", "/pay/{order}"), ("http.request.method", "POST"), ("url.path", "/pay/7"), ("server.address", "shop.example")]
    {
        assert_eq!(exception.text(key), value, "{key}");
    }
    assert_eq!(exception.attributes.get("http.response.status_code"), Some(&crumbtrail_receiver::Value::Int(500)));
    let span = pipeline.span("POST /pay/{order}");
    assert_eq!((span.trace_id.as_str(), span.parent_span_id.as_str()), (TRACE, "00f067aa0ba902b7"));
    assert_eq!(of(&span, "error.type"), "500");
}

#[test]
fn an_error_that_was_logged_is_not_told_again() {
    let (pipeline, _) = shop();
    let (status, id, _) = ask("GET", "/stock", "");
    let exception = pipeline.exception("nobody is in stock control");
    assert_eq!((status, Some(exception.text("crumbtrail.error.id"))), (500, id.as_deref()));
}

#[test]
fn a_client_error_is_no_exception() {
    let (pipeline, _) = shop();
    let (status, id, _) = ask("GET", "/article/12", "");
    assert_eq!((status, id), (404, None));
    assert_eq!(of(&pipeline.span("GET /article/{number}"), "error.type"), "");
    assert!(pipeline.exceptions("no article").is_empty());
}

#[test]
fn of_an_error_that_is_none_of_the_standard_librarys_type_and_variant_are_known() {
    let (pipeline, _) = shop();
    let (status, id, _) = ask("GET", "/cache", "x-user: grace\r\n");
    let exception = pipeline.exception("cache shard 3 is away");
    assert_eq!((status, Some(exception.text("crumbtrail.error.id"))), (500, id.as_deref()));
    assert_eq!((exception.text("exception.type"), exception.text("user.id")), ("actix::Untold", "grace"));
    assert_eq!(messages(&exception), ["asking the cache"]);
}

#[test]
fn a_panic_is_a_response_that_names_it() {
    let (pipeline, _) = shop();
    let (status, id, _) = ask("GET", "/explode", "");
    let exception = pipeline.exception("a handler of actix exploded");
    assert_eq!((status, Some(exception.text("crumbtrail.error.id"))), (500, id.as_deref()));
    assert_eq!((exception.text("http.route"), messages(&exception)), ("/explode", vec!["about to explode".to_owned()]));
    assert_eq!(of(&pipeline.span("GET /explode"), "error.type"), "panic");
    // Before there is a future.
    let (status, id, _) = ask("GET", "/early", "");
    let exception = pipeline.exception("a middleware of actix exploded");
    assert_eq!((status, Some(exception.text("crumbtrail.error.id"))), (500, id.as_deref()));
    // Another request on the same worker.
    assert_eq!(ask("GET", "/hello/after", "").0, 200);
}

#[test]
fn what_nothing_explains_is_told_and_an_error_of_middleware_names_its_exception() {
    let (pipeline, _) = shop();
    let (status, id, _) = ask("GET", "/bare", "");
    assert_eq!((status, id.as_deref()), (502, Some(pipeline.exception("GET /bare answered 502").text("crumbtrail.error.id"))));
    let (status, id, body) = ask("GET", "/guarded", "");
    let exception = pipeline.exception("the guard is asleep");
    assert_eq!((status, Some(exception.text("crumbtrail.error.id")), body.as_str()), (500, id.as_deref(), "the guard is asleep"));
}

#[test]
fn a_span_is_as_long_as_the_body() {
    let (pipeline, _) = shop();
    ask("GET", "/broken", "");
    assert_eq!(pipeline.exception(&PayloadError::EncodingCorrupted.to_string()).text("http.route"), "/broken");
    let (_, address) = shop();
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET /endless HTTP/1.1\r\nhost: shop.example\r\n\r\n").expect("asked");
    // The head has arrived; then the client goes.
    stream.read_exact(&mut [0; 12]).expect("an answer");
    drop(stream);
    // The server notices when it does.
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while pipeline.received().spans.iter().all(|span| span.name != "GET /endless") {
        assert!(std::time::Instant::now() < deadline, "the span does not end");
        std::thread::yield_now();
    }
    assert_eq!(of(&pipeline.span("GET /endless"), "error.type"), "aborted");
}

#[test]
fn one_request_is_observed_once_and_measured() {
    let (pipeline, _) = shop();
    assert_eq!(ask("GET", "/inner/joe", ""), (200, None, "hello".to_owned()));
    let span = pipeline.span("GET /inner/{name}");
    for (key, value) in [("http.route", "/inner/{name}"), ("network.protocol.version", "1.1"), ("url.scheme", "http")] {
        assert_eq!(of(&span, key), value);
    }
    // What is not there is called by its method.
    assert_eq!(ask("GET", "/nowhere/at/all", "").0, 404);
    assert!(pipeline.received().spans.iter().any(|span| span.name == "GET" && of(span, "url.path") == "/nowhere/at/all"));
}
