//! Panics: on any thread, in a handler, in a hook's way, while formatting. The panic hook is
//! global, so this binary is its own.

mod support;

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

use support::{Pipeline, messages};
use tracing::{Instrument, error, info, info_span};

static PREVIOUS_HOOK: AtomicUsize = AtomicUsize::new(0);

fn pipeline() -> &'static Pipeline {
    static HOOK: std::sync::Once = std::sync::Once::new();
    // A hook of the program's own, there before ours; it logs, as some do.
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            PREVIOUS_HOOK.fetch_add(1, Ordering::SeqCst);
            eprintln!("{info}");
            if info.payload().downcast_ref::<&str>().is_some_and(|text| text.contains("hook logs")) {
                error!("logged by the previous hook");
            }
        }));
    });
    Pipeline::installed()
}

#[test]
fn a_panic_is_an_exception_with_its_trail() {
    let pipeline = pipeline();
    let called = PREVIOUS_HOOK.load(Ordering::SeqCst);
    let outcome = std::thread::Builder::new().name("panicking".to_owned()).spawn(|| {
        let _request = info_span!("panicking request", user.id = "9").entered();
        info!("about to panic");
        let index = std::hint::black_box(7);
        let _ = [1, 2, 3][index];
    });
    assert!(outcome.unwrap().join().is_err(), "unwinding goes on");
    let exception = pipeline.exception("index out of bounds: the len is 3 but the index is 7");
    assert!(PREVIOUS_HOOK.load(Ordering::SeqCst) > called);
    assert_eq!((exception.text("exception.type"), exception.severity, exception.severity_text.as_str()), ("panic", 17, "ERROR"));
    assert_eq!((exception.text("thread.name"), exception.text("user.id")), ("panicking", "9"));
    assert_eq!((exception.text("code.file.path"), exception.text("crumbtrail.mechanism")), ("tests/panics.rs", "panic"));
    assert_eq!(messages(&exception), ["about to panic"]);
    let stack = exception.text("exception.stacktrace");
    let first = stack.lines().next().unwrap();
    assert!(first.contains("panics::a_panic_is_an_exception_with_its_trail"), "the failing code comes first:\n{stack}");
    let span = pipeline.span("panicking request");
    assert_eq!((span.status.0, span.span_id), (2, exception.span_id.clone()));
    assert_eq!(span.events[0].0, "exception");
    assert_eq!(span.events[0].1["crumbtrail.error.id"], exception.attributes["crumbtrail.error.id"]);
}

#[test]
fn a_panicking_task_is_reported_by_the_request_it_belongs_to() {
    let pipeline = pipeline();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let task = async {
            info!("in the doomed task");
            tokio::task::yield_now().await;
            panic!("the doomed task panics");
        };
        assert!(tokio::spawn(task.instrument(info_span!("doomed"))).await.is_err());
    });
    let exception = pipeline.exception("the doomed task panics");
    assert_eq!((messages(&exception), exception.severity), (vec!["in the doomed task".to_owned()], 17));
}

#[test]
fn an_error_in_the_hooks_way_is_one_more_exception() {
    let pipeline = pipeline();
    let _ = std::panic::catch_unwind(|| {
        let _request = info_span!("request of the logging hook").entered();
        panic!("hook logs");
    });
    let (panic, logged) = (pipeline.exceptions("hook logs"), pipeline.exception("logged by the previous hook"));
    assert_eq!(panic.iter().filter(|exception| exception.text("exception.type") == "panic").count(), 1);
    assert_eq!(logged.trace_id, panic[0].trace_id);
}

struct Panics;

impl fmt::Debug for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("Debug panics");
    }
}

impl fmt::Display for Panics {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("Display panics");
    }
}

impl std::error::Error for Panics {}

#[test]
fn a_value_that_panics_while_shown_costs_only_itself() {
    let pipeline = pipeline();
    {
        let _request = info_span!("request of the panicking value", value = ?Panics, after = 1).entered();
        info!(value = ?Panics, after = 2, "still logged");
        error!(error = &Panics as &dyn std::error::Error, "still an exception");
        crumbtrail::capture(&Panics);
    }
    let log = pipeline.log("still logged");
    assert_eq!((log.text("value"), log.attributes["after"].to_string()), ("<panicked>", "2".to_owned()));
    let span = pipeline.span("request of the panicking value");
    assert_eq!((span.attributes["value"].as_str(), span.attributes["after"].to_string()), ("<panicked>", "1".to_owned()));
    let exception = pipeline.exceptions("still an exception").into_iter().find(|exception| exception.body == "still an exception").unwrap();
    assert_eq!(exception.text("exception.message"), "<panicked>");
    let mechanisms: Vec<String> =
        pipeline.exceptions("panics::Panics").iter().map(|exception| exception.text("crumbtrail.mechanism").to_owned()).collect();
    assert_eq!(mechanisms, ["event", "capture"], "the type is known all the same");
    assert!(!pipeline.exceptions("Debug panics").is_empty(), "the panic within Debug was one, too");
}
