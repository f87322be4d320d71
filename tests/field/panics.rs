//! Panics where crumbtrail is not alone.

use axum::{Router, body::Body, http::Request, routing::get};
use crumbtrail::tower::ServerLayer;
use tower::ServiceExt as _;

use crate::support::Pipeline;

async fn fails() -> &'static str {
    panic!("no stock for {}", "tea")
}

/// Report A6: another library's hook has replaced ours (as `color_eyre` does when it is installed later), or there is none.
#[test]
fn a_panic_of_which_no_hook_has_heard_is_told_by_the_middleware() {
    // Nothing is installed here: what the hook would tell is not told.
    let pipeline = Pipeline::new(|builder, _| builder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    pipeline.run(|| {
        let router = Router::new().route("/stock", get(fails)).layer(ServerLayer::new());
        let response = runtime.block_on(router.oneshot(Request::get("/stock").body(Body::empty()).expect("a request"))).expect("an answer");
        assert_eq!(response.status(), 500);
        let id = response.headers().get("x-error-id").expect("an id").to_str().expect("text").to_owned();
        let exception = pipeline.exception("no stock for tea");
        assert_eq!(exception.text("crumbtrail.error.id"), id);
        assert_eq!((exception.text("exception.type"), exception.text("crumbtrail.mechanism"), exception.severity), ("panic", "panic", 17));
    });
    // Where panics go on, too.
    pipeline.run(|| {
        let router = Router::new().route("/more", get(fails)).layer(ServerLayer::new().without_panic_response());
        let request = Request::get("/more").body(Body::empty()).expect("a request");
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(router.oneshot(request))));
        let payload = outcome.expect_err("it goes on");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"no stock for tea"));
    });
    assert_eq!(pipeline.exceptions("no stock for tea").len(), 2);
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in the payload's drop")
        }
    }
}

/// Report D7: what a panic carries panics itself when it is dropped.
#[test]
fn a_payload_that_panics_when_dropped_stays_within_the_middleware() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    async fn explodes() -> &'static str {
        std::panic::panic_any(Bomb)
    }
    pipeline.run(|| {
        let router = Router::new().route("/bomb", get(explodes)).layer(ServerLayer::new());
        let response = runtime.block_on(router.oneshot(Request::get("/bomb").body(Body::empty()).expect("a request"))).expect("an answer");
        assert_eq!(response.status(), 500);
    });
}

thread_local! {
    /// Initialised before anything is traced on its thread, so it goes last.
    static LAST: std::cell::RefCell<Option<Fails>> = const { std::cell::RefCell::new(None) };
}

struct Fails(crumbtrail::Telemetry);

impl Drop for Fails {
    fn drop(&mut self) {
        self.0.capture(&std::fmt::Error);
    }
}

/// Report B4: an error in the destructor of a thread-local value.
#[test]
fn what_fails_when_a_thread_is_ending_is_told() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let (telemetry, dispatch) = (pipeline.telemetry.clone(), pipeline.telemetry.dispatch());
    std::thread::spawn(move || {
        LAST.set(Some(Fails(telemetry)));
        tracing::dispatcher::with_default(&dispatch, || tracing::info!("traced"));
    })
    .join()
    .expect("it ends");
    assert_eq!(pipeline.exceptions("an error occurred when formatting").len(), 1);
}
