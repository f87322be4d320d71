//! A program of a package with a library, in a workspace: everything that is built from its sources
//! is the service's own, and nothing else is.

#[path = "../../support/mod.rs"]
mod support;

use crumbtrail_receiver::Receiver;
use support::{PATIENCE, messages};
use tracing::debug;

/// Report 14.6.
#[test]
fn the_library_and_the_workspace_are_the_services_own() {
    let receiver = Receiver::start().expect("a receiver");
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver.http_endpoint()).build().expect("telemetry");
    telemetry.install_panic_hook();
    let caught = tracing::dispatcher::with_default(&telemetry.dispatch(), || {
        let _request = tracing::info_span!("request").entered();
        debug!("the program's own");
        // tower-http is of another workspace.
        tower_says_something();
        std::panic::catch_unwind(crumbtrail_apps::buy)
    });
    assert!(caught.is_err());
    telemetry.shutdown(PATIENCE).expect("delivered");
    let received = receiver.received();
    let exception = received.exceptions().next().expect("a panic");
    assert_eq!(messages(exception), ["the program's own", "somebody buys", "looking at the shelf"]);
    let stack = exception.text("exception.stacktrace");
    assert!(stack.contains("crumbtrail_apps_stock::take"), "{stack}");
    assert_eq!(exception.text("code.function.name"), "crumbtrail_apps_stock::take", "{stack}");
}

/// A DEBUG event of a crate from the registry.
fn tower_says_something() {
    use tower::{Layer as _, Service as _};
    let mut service =
        tower_http_07::trace::TraceLayer::new_for_http().layer(tower::service_fn(|_: axum::http::Request<axum::body::Body>| async {
            Ok::<_, std::convert::Infallible>(axum::http::Response::new(axum::body::Body::empty()))
        }));
    drop(service.call(axum::http::Request::new(axum::body::Body::empty())));
}
