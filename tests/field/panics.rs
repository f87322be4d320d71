//! Panics where crumbtrail is not alone.

use axum::{Router, body::Body, http::Request, routing::get};
use crumbtrail::tower::ServerLayer;
use tower::ServiceExt as _;
use tracing::error;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{PATIENCE, Pipeline};

async fn fails() -> &'static str {
    panic!("no stock for {}", "tea")
}

/// Report A6: another library's hook has replaced ours (as `color_eyre` does when it is installed
/// later), or there is none.
#[test]
fn a_panic_of_which_no_hook_has_heard_is_told_by_the_middleware() {
    // Nothing is installed here: what the hook would tell is not told.
    let pipeline = Pipeline::new(|builder, _| builder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    pipeline.run(|| {
        let router = Router::new().route("/stock", get(fails)).layer(ServerLayer::for_axum());
        let response = runtime.block_on(router.oneshot(Request::get("/stock").body(Body::empty()).expect("a request"))).expect("an answer");
        assert_eq!(response.status(), 500);
        let id = response.headers().get("x-error-id").expect("an id").to_str().expect("text").to_owned();
        let exception = pipeline.exception("no stock for tea");
        assert_eq!(exception.text("crumbtrail.error.id"), id);
        assert_eq!((exception.text("exception.type"), exception.text("crumbtrail.mechanism"), exception.severity), ("panic", "panic", 17));
    });
    // Where panics go on, too.
    pipeline.run(|| {
        let router = Router::new().route("/more", get(fails)).layer(ServerLayer::for_axum().without_panic_response());
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
        let router = Router::new().route("/bomb", get(explodes)).layer(ServerLayer::for_axum());
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

/// Report D1: so many spans in one another that to drop one after the other, each within the one
/// before, takes more stack than there is.
#[test]
fn a_deep_nest_of_spans_is_dropped_on_a_small_stack() {
    const DEPTH: usize = 20_000;
    let pipeline = Pipeline::new(|builder, _| builder);
    for dispatch in [pipeline.telemetry.dispatch(), tracing_subscriber::registry().with(pipeline.telemetry.layer()).into()] {
        let innermost = tracing::dispatcher::with_default(&dispatch, || {
            (0..DEPTH).fold(tracing::Span::none(), |parent, depth| tracing::info_span!(parent: &parent, "nested", depth))
        });
        let drops = std::thread::Builder::new().stack_size(128 << 10).spawn(move || drop(innermost));
        drops.expect("a thread").join().expect("its stack is enough");
    }
}

/// Report D1: to show an error raises it.
#[test]
fn an_error_that_captures_itself_ends() {
    #[derive(Debug)]
    struct Mirror;
    impl std::fmt::Display for Mirror {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            crumbtrail::capture(self);
            f.write_str("a mirror")
        }
    }
    impl std::error::Error for Mirror {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            crumbtrail::capture(&Mirror);
            None
        }
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        crumbtrail::capture(&Mirror);
    });
    assert!(!pipeline.exceptions("a mirror").is_empty());
}

/// Report D2: a hook runs where the flush would have to be done.
#[test]
fn a_flush_in_a_hook_is_refused_at_once() {
    use std::sync::{Arc, OnceLock};
    let (telemetry, outcomes) = (Arc::new(OnceLock::<crumbtrail::Telemetry>::new()), Arc::new(OnceLock::new()));
    let pipeline = Pipeline::new(|builder, _| {
        let (telemetry, outcomes) = (telemetry.clone(), outcomes.clone());
        builder.with_before_send(move |_| {
            if let Some(telemetry) = telemetry.get() {
                let for_ever = std::time::Duration::MAX;
                let _ = outcomes.set((telemetry.flush(for_ever).is_err(), telemetry.shutdown(for_ever).is_err()));
            }
            std::ops::ControlFlow::Continue(())
        })
    });
    let _ = telemetry.set(pipeline.telemetry.clone());
    pipeline.run(|| error!("a hook looks at this"));
    pipeline.telemetry.flush(PATIENCE).expect("delivered");
    assert_eq!(outcomes.get(), Some(&(true, true)));
    assert_eq!(pipeline.exceptions("a hook looks at this").len(), 1);
}
