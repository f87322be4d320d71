//! Whole processes: `init` from the environment, a panic on the main thread, what is delivered before the process ends.
//! Has no harness, because a test's thread is never the main one.

mod support;

use std::process::{Command, ExitStatus};

use crumbtrail_receiver::{Log, Receiver};
use support::{PATIENCE, messages};

fn main() {
    match std::env::var("CRUMBTRAIL_TEST_CHILD").as_deref() {
        Ok("panics") => panics_on_the_main_thread(),
        Ok("survives") => survives_a_task_on_the_main_thread(),
        _ => {
            a_panic_that_ends_the_process_is_fatal_and_delivered();
            a_caught_panic_on_the_main_thread_is_not_fatal();
            println!("test result: ok. 2 passed; 0 failed");
        }
    }
}

fn a_panic_that_ends_the_process_is_fatal_and_delivered() {
    let (status, exception) = run("panics");
    assert_eq!(status.code(), Some(101), "the exit status of a panic is unchanged");
    assert_eq!((exception.severity, exception.severity_text.as_str()), (21, "FATAL"), "{exception:#?}");
    assert_eq!((exception.text("exception.message"), exception.text("thread.name")), ("main panics", "main"));
    assert_eq!(messages(&exception), ["about to panic"]);
    assert_eq!(exception.resource["service.name"].as_str(), "named-by-the-environment");
}

fn a_caught_panic_on_the_main_thread_is_not_fatal() {
    let (status, exception) = run("survives");
    assert!(status.success());
    assert_eq!((exception.severity, exception.text("thread.name")), (17, "main"), "{exception:#?}");
}

fn run(child: &str) -> (ExitStatus, Log) {
    let receiver = Receiver::start().expect("a receiver");
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .env("CRUMBTRAIL_TEST_CHILD", child)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint())
        .env("OTEL_SERVICE_NAME", "named-by-the-environment")
        .output()
        .expect("a child");
    let received = receiver.wait_for(PATIENCE, |received| received.exceptions().count() > 0);
    let received = received.unwrap_or_else(|| panic!("no exception arrived: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status, received.exceptions().next().expect("one").clone())
}

fn panics_on_the_main_thread() {
    let _telemetry = crumbtrail::init(crumbtrail::service!()).expect("installed");
    let _request = tracing::info_span!("request").entered();
    tracing::info!("about to panic");
    panic!("main panics");
}

fn survives_a_task_on_the_main_thread() {
    let _telemetry = crumbtrail::init(crumbtrail::service!()).expect("installed");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(async { tokio::spawn(async { panic!("a task panics") }).await });
    assert!(outcome.is_err());
}
