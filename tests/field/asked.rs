//! What people ask for in the trackers of other libraries (report E), as a receiver sees it.

use std::{thread, time::Duration};

use crumbtrail::config::Filter;
use tracing::{Level, debug, dispatcher, error, field::Empty, info, info_span, warn};
use tracing_subscriber::filter::Targets;

use crate::support::Pipeline;

/// Report E: opentelemetry-rust #1378, #3221.
#[test]
fn logs_have_the_fields_of_their_spans_that_are_asked_for() {
    let pipeline = Pipeline::new(|builder, _| builder.with_span_fields_on_logs(["order.id", "tenant", "password", "late"]));
    pipeline.run(|| {
        let request = info_span!("request", tenant = "acme", password = "hunter2", secret_plan = "no", late = Empty).entered();
        request.record("late", 1);
        request.record("late", 2);
        let _order = info_span!("order", order.id = 7u64, tenant = "of the order").entered();
        info!("inner");
        info!(order.id = "its own", "own");
        error!("failed");
        drop(_order);
        info!("outer");
    });
    pipeline.run(|| info!("no span"));
    let inner = pipeline.log("inner");
    assert_eq!((inner.text("tenant"), inner.attributes["order.id"].to_string()), ("of the order", "7".to_owned()));
    assert_eq!(inner.attributes["late"].to_string(), "2", "the last word");
    assert_eq!(inner.text("password"), "[Filtered]");
    assert!(!inner.attributes.contains_key("secret_plan"));
    assert_eq!(pipeline.log("own").text("order.id"), "its own");
    let outer = pipeline.log("outer");
    assert_eq!((outer.text("tenant"), outer.attributes.contains_key("order.id")), ("acme", false));
    assert!(!pipeline.log("no span").attributes.contains_key("tenant"));
    // Nothing else has changed: breadcrumbs say what they said.
    assert_eq!(crate::support::messages(&pipeline.exception("failed")), ["inner", "own"]);
}

/// Report E: for Jaeger without a log store.
#[test]
fn events_are_events_of_their_span() {
    let pipeline = Pipeline::new(|builder, _| builder.with_events_on_spans(true).with_logs_exporter(crumbtrail::config::Exporter::None));
    pipeline.run(|| {
        let _order = info_span!("order").entered();
        info!(amount = 7, currency = "EUR", token = "hunter2", "card charged");
        warn!(ratio = f64::NAN, "odd");
        // As `tracing-log` makes one of a record of the `log` crate.
        info!(target: "log", { log.target = "shop::db", log.file = "src/db.rs", log.line = 7u64 }, "bridged");
        (0..500).for_each(|number| info!(number, "many"));
        error!("failed");
    });
    let received = pipeline.received();
    assert!(received.logs.iter().all(|log| log.is_exception()), "logs are off");
    let order = pipeline.span("order");
    let (name, attributes) = &order.events[0];
    assert_eq!((name.as_str(), attributes["amount"].to_string().as_str(), attributes["currency"].as_str()), ("card charged", "7", "EUR"));
    assert_eq!((attributes["level"].as_str(), attributes["token"].as_str()), ("INFO", "[Filtered]"));
    assert_eq!(order.events[1].1["ratio"].as_str(), "NaN");
    let (name, attributes) = &order.events[2];
    assert_eq!((name.as_str(), attributes["target"].as_str(), attributes["code.file.path"].as_str()), ("bridged", "shop::db", "src/db.rs"));
    assert_eq!(order.events.len(), 128);
    assert_eq!(order.events.iter().filter(|(name, _)| name == "exception").count(), 1, "what is said of a failure finds room");
}

/// Report E: as `tracing-opentelemetry` has it.
#[test]
fn spans_say_how_long_they_were_busy() {
    let pipeline = Pipeline::new(|builder, _| builder.with_span_timings(true));
    pipeline.run(|| {
        let job = info_span!("job");
        for _ in 0..2 {
            job.in_scope(|| {
                thread::sleep(Duration::from_millis(20));
                job.in_scope(|| thread::sleep(Duration::from_millis(20)));
            });
        }
        thread::sleep(Duration::from_millis(30));
        // On another thread, too.
        let (job, dispatch) = (&job, dispatcher::get_default(Clone::clone));
        thread::scope(|scope| {
            scope.spawn(|| dispatcher::with_default(&dispatch, || job.in_scope(|| thread::sleep(Duration::from_millis(20)))));
        });
    });
    let job = pipeline.span("job");
    let number = |key: &str| job.attributes[key].to_string().parse::<u64>().expect("a number");
    let whole = job.end - job.start;
    assert_eq!(number("busy_ns") + number("idle_ns"), whole);
    assert!(number("busy_ns") >= 100_000_000 && number("idle_ns") >= 30_000_000, "{job:#?}");
}

/// Report E: filters that are exchanged at run time, whatever the subscriber: a Registry with a
/// filter for each layer, and ours alone.
#[test]
fn routes_are_exchanged_while_the_service_runs() {
    for is_sole in [false, true] {
        let pipeline = Pipeline::new(|builder, _| builder);
        let work = |name: &'static str| {
            debug!(target: "pool::db", password = "hunter2", name, "a query");
            info!(target: "noisy", name, "noise");
            error!(target: "noisy", "{name} failed");
        };
        let all = || {
            let _request = info_span!("request").entered();
            work("before");
            pipeline.telemetry.reload(Filter::Logs, "debug,noisy=off".parse().expect("targets"));
            pipeline.telemetry.reload(Filter::Breadcrumbs, "pool=debug".parse().expect("targets"));
            work("after");
            pipeline.telemetry.reload(Filter::Exceptions, Targets::new());
            work("silent");
        };
        match is_sole {
            true => dispatcher::with_default(&pipeline.telemetry.dispatch(), all),
            false => pipeline.run(all),
        }
        let received = pipeline.received();
        let of = |body: &str| -> Vec<String> {
            received.logs.iter().filter(|log| log.body == body).map(|log| log.text("name").to_owned()).collect()
        };
        assert_eq!((of("a query"), of("noise")), (vec!["after".to_owned(), "silent".to_owned()], vec!["before".to_owned()]), "{is_sole}");
        assert!(received.logs.iter().filter(|log| log.body == "a query").all(|log| log.text("password") == "[Filtered]"));
        let failed: Vec<_> = received.exceptions().map(|exception| exception.text("exception.message")).collect();
        assert_eq!(failed, ["before failed", "after failed"]);
        assert_eq!(crate::support::messages(&pipeline.exception("after")), ["noise", "before failed", "a query"]);
    }
}

/// What the environment has turned off stays off.
#[test]
fn a_disabled_sdk_is_not_woken_by_a_route() {
    let environment = crumbtrail::config::EnvVars::from_iter([("OTEL_SDK_DISABLED", "true")]);
    let pipeline = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    pipeline.telemetry.reload(Filter::Logs, Targets::new().with_default(Level::TRACE));
    pipeline.run(|| info!("nobody hears"));
    pipeline.telemetry.shutdown(crate::support::PATIENCE).expect("nothing to do");
    assert!(pipeline.receiver.received().logs.is_empty());
}

/// Report 14.11: as `RUST_LOG` does for the text output.
#[test]
fn routes_can_be_set_by_the_environment() {
    let environment = crumbtrail::config::EnvVars::from_iter([
        ("CRUMBTRAIL_LOGS", "warn,field=debug"),
        ("CRUMBTRAIL_EXCEPTIONS", "off"),
        ("CRUMBTRAIL_SPANS", "not a=filter="),
    ]);
    let pipeline = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    let warnings: Vec<&str> = pipeline.telemetry.warnings().iter().map(|warning| warning.variable()).collect();
    assert_eq!(warnings, ["CRUMBTRAIL_SPANS"]);
    pipeline.run(|| {
        let _span = info_span!("request").entered();
        tracing::debug!("my own");
        info!(target: "library", "not asked for");
        error!("no exception");
    });
    let received = pipeline.received();
    let logs: Vec<&str> = received.logs.iter().map(|log| &*log.body).collect();
    assert_eq!((logs, received.spans.len(), received.exceptions().count()), (vec!["my own", "no exception"], 1, 0));
}
