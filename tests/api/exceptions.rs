//! The exception record: every way to raise one, its attributes, its limits.

use std::{collections::BTreeSet, error::Error, fmt, time::Duration};

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::{ErrorReport, ResultExt, config::Filter};
use crumbtrail_receiver::Value;
use tracing::{Level, error, info, info_span};

#[derive(Debug)]
struct Declined {
    code: u32,
    source: std::num::ParseIntError,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "card declined with code {}", self.code)
    }
}

impl Error for Declined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

fn declined(code: u32) -> Declined {
    Declined { code, source: "x".parse::<u8>().unwrap_err() }
}

/// Report A9, too: the span's event names the same type, however long names take.
#[test]
fn the_record_has_exactly_the_documented_attributes() {
    let pipeline = Pipeline::new(|builder, _| builder.with_deployment_environment("test"));
    pipeline.run(|| {
        let _request = info_span!("request", user.id = "42", route = "/pay").entered();
        info!("charging");
        error!(error = &declined(51) as &dyn Error, order = 7, "payment failed");
    });
    let exception = pipeline.exception("payment failed");
    let keys: BTreeSet<&str> = exception.attributes.keys().map(String::as_str).collect();
    let expected = [
        "code.file.path",
        "code.function.name",
        "code.line.number",
        "crumbtrail.breadcrumbs",
        "crumbtrail.chain",
        "crumbtrail.error.id",
        "crumbtrail.group.coarse",
        "crumbtrail.group.id",
        "crumbtrail.mechanism",
        "error.type",
        "exception.message",
        "exception.stacktrace",
        "exception.type",
        "log.record.uid",
        "order",
        "route",
        "thread.id",
        "thread.name",
        "user.id",
    ];
    assert_eq!(keys, expected.into_iter().collect());
    assert_eq!((exception.event_name.as_str(), exception.severity, exception.body.as_str()), ("exception", 17, "payment failed"));
    assert!(exception.time > 0 && exception.trace_id.len() == 32 && exception.span_id.len() == 16 && exception.flags == 3);
    assert_eq!(exception.text("exception.type"), "api::exceptions::Declined");
    assert_eq!(exception.text("exception.message"), "card declined with code 51");
    let chain: serde_json::Value = serde_json::from_str(exception.text("crumbtrail.chain")).unwrap();
    assert_eq!(chain[0]["message"], "card declined with code 51");
    assert_eq!(chain[1]["message"], "invalid digit found in string");
    assert!(!exception.text("exception.stacktrace").contains("invalid digit"), "frames only, never the chain");
    assert!(exception.text("code.function.name").contains("exceptions::"));
    assert_eq!(exception.attributes["order"], Value::Int(7));
    for key in [
        "service.name",
        "service.version",
        "service.instance.id",
        "telemetry.sdk.name",
        "telemetry.distro.name",
        "process.pid",
        "host.name",
        "os.type",
    ] {
        assert!(exception.resource.contains_key(key), "{key}");
    }
    assert_eq!(exception.resource["deployment.environment.name"].as_str(), "test");

    let span = pipeline.span("request");
    assert_eq!(span.status, (2, "card declined with code 51".to_owned()));
    let (name, event) = &span.events[0];
    assert_eq!((name.as_str(), event["exception.type"].as_str()), ("exception", "api::exceptions::Declined"));
    assert!(event["exception.stacktrace"].as_str().len() <= 1_900);
    assert!(!event.contains_key("crumbtrail.breadcrumbs"));
}

#[test]
fn every_way_to_log_an_error_is_understood() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        error!(reason = &declined(1) as &dyn Error, "one, as dyn Error under any name");
        error!(error = %declined(2), "two, as Display");
        error!(err = ?declined(3), "three, as Debug");
        error!(error = %declined(4));
        error!("five, without an error");
        error!(e = "six is a string");
    });
    let of = |marker: &str| {
        let exception = pipeline.exception(marker);
        let text = |key: &str| exception.text(key).to_owned();
        (text("exception.type"), text("exception.message"), exception.body.clone())
    };
    let owned = |kind: &str, message: &str, body: &str| (kind.to_owned(), message.to_owned(), body.to_owned());
    assert_eq!(of("one, as"), owned("api::exceptions::Declined", "card declined with code 1", "one, as dyn Error under any name"));
    assert_eq!(of("two, as"), owned("error", "card declined with code 2", "two, as Display"));
    let (kind, message, _) = of("three, as");
    assert!(kind == "Declined" && message.starts_with("Declined { code: 3"), "{kind} {message}");
    assert_eq!(of("code 4"), owned("error", "card declined with code 4", "card declined with code 4"));
    assert_eq!(of("five, without"), owned("error", "five, without an error", "five, without an error"));
    assert_eq!(of("six is"), owned("error", "six is a string", "six is a string"));
    assert!(!pipeline.exception("two, as").attributes.contains_key("error"), "what became the exception is not repeated");
    assert_eq!(pipeline.received().logs.len(), 6, "one record for each, not a log beside it");
}

#[test]
fn capture_knows_the_exact_type_and_returns_the_records_id() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let (by_hand, boxed) = pipeline.run(|| {
        let _request = info_span!("capturing request").entered();
        let _ = Err::<(), _>(declined(21)).capture_err();
        let boxed: Box<dyn Error> = Box::new(declined(23));
        (crumbtrail::capture(&declined(22)), crumbtrail::capture(&&*boxed))
    });
    let exception = pipeline.exception("code 22");
    assert_eq!(exception.text("crumbtrail.error.id"), by_hand.to_string());
    assert_eq!(exception.text("exception.type"), "api::exceptions::Declined");
    assert!(!exception.attributes.contains_key("crumbtrail.type.guessed"));
    assert_eq!((exception.text("code.file.path"), exception.text("crumbtrail.mechanism")), ("tests/api/exceptions.rs", "capture"));
    assert_eq!(exception.span_id, pipeline.span("capturing request").span_id);
    assert_eq!(pipeline.exception("code 21").text("exception.type"), "api::exceptions::Declined");
    let guessed = pipeline.exception("code 23");
    assert_eq!((guessed.text("crumbtrail.error.id"), guessed.text("exception.type")), (&*boxed.to_string(), "Declined"));
    assert_eq!(guessed.attributes["crumbtrail.type.guessed"], Value::Bool(true));
    assert_eq!(pipeline.span("capturing request").events.len(), 3);
}

#[test]
fn one_defect_is_one_group() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let group = |marker: &str| {
        let groups: BTreeSet<String> =
            pipeline.exceptions(marker).iter().map(|exception| exception.text("crumbtrail.group.id").to_owned()).collect();
        assert_eq!(groups.len(), 1, "{marker}: {groups:?}");
        groups.into_iter().next().unwrap()
    };
    pipeline.run(|| {
        for number in 0..5 {
            error!("order {number} not found");
            error!(error = &declined(number) as &dyn Error, "payment failed");
            crumbtrail::capture(&declined(100 + number));
        }
        error!("basket {} not found", 5);
    });
    let groups = [group("order"), group("payment failed"), group("code 10"), group("basket")];
    assert_eq!(groups.iter().collect::<BTreeSet<_>>().len(), 4, "{groups:?}");
    assert!(groups.iter().all(|group| group.starts_with("v4-") && group.len() == 19));
}

#[test]
fn every_exception_is_counted() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| (0..25).for_each(|number| error!("counted failure {number}")));
    pipeline.telemetry.flush(PATIENCE).unwrap();
    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("crumbtrail.exceptions").is_some()).unwrap();
    let metric = received.metric("crumbtrail.exceptions").unwrap();
    assert_eq!((metric.unit.as_str(), metric.points.len()), ("{exception}", 1));
    let point = &metric.points[0];
    assert_eq!((point.value, point.attributes["exception.type"].as_str()), (25.0, "error"));
    assert_eq!(point.attributes["service.version"].as_str(), env!("CARGO_PKG_VERSION"));
    assert_eq!(point.attributes["crumbtrail.group.id"], pipeline.exceptions("counted failure 3")[0].attributes["crumbtrail.group.id"]);
}

#[test]
fn whatever_a_program_logs_the_record_keeps_its_limits() {
    struct Wide;
    impl fmt::Debug for Wide {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut wide = f.debug_struct("Wide");
            (0..10_000).for_each(|number| _ = wide.field(&format!("field_{number}"), &"x".repeat(20)));
            wide.finish()
        }
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let huge = "é".repeat(5 << 20);
        let request = info_span!("request of extremes", late = tracing::field::Empty);
        let _entered = request.enter();
        info!(wide = ?Wide, "ten thousand fields");
        (0..10_000).for_each(|number| _ = request.record("late", number));
        info!(unsigned = u64::MAX, signed = i64::MIN, wide = u128::MAX, nan = f64::NAN, infinite = f64::INFINITY, flag = true, "numbers at their ends");
        info!(text = "nul \0, bell \u{7}, escape \u{1b}[31m, right to left \u{202e}", lossy = ?std::ffi::OsStr::new("plain"), "strange text");
        info!(bytes = &[0xFFu8, 0xFE, 0x00][..], "bytes that are not text");
        info!(nested = ?((1, ("two", [3, 4])), Some(Some(5))), "nested");
        info!("{huge}");
        error!(wide = ?Wide, huge = huge.as_str(), "{huge}");
    });
    let received = pipeline.received();
    let log = |body: &str| received.logs.iter().find(|log| log.body == body).unwrap_or_else(|| panic!("{body}"));
    let numbers = &log("numbers at their ends").attributes;
    assert_eq!((numbers["unsigned"].as_str(), &numbers["signed"]), ("18446744073709551615", &Value::Int(i64::MIN)));
    assert!(matches!(numbers["nan"], Value::Double(value) if value.is_nan()));
    assert_eq!(log("strange text").text("text"), "nul \0, bell \u{7}, escape \u{1b}[31m, right to left \u{202e}");
    assert_eq!(log("bytes that are not text").attributes["bytes"], Value::Bytes(vec![0xFF, 0xFE, 0x00]));
    assert_eq!(log("nested").text("nested"), "((1, (\"two\", [3, 4])), Some(Some(5)))");
    let wide = log("ten thousand fields");
    assert!(wide.text("wide").len() <= 8 * 1024 && wide.attributes["crumbtrail.truncated"] == Value::Bool(true));
    let giant = received.logs.iter().find(|log| log.body.starts_with("ééé") && !log.is_exception()).unwrap();
    assert!(giant.body.len() <= 8 * 1024 && giant.attributes["crumbtrail.truncated"] == Value::Bool(true));
    let span = received.spans.iter().find(|span| span.name == "request of extremes").unwrap();
    assert!(span.attributes.len() <= 128);

    let exception = received.exceptions().next().unwrap();
    let size: usize = exception.attributes.iter().map(|(key, value)| key.len() + value.to_string().len()).sum();
    assert!(size <= 32 * 1024, "{size}");
    assert!(exception.attributes.len() <= 128);
    assert!(exception.text("exception.message").len() <= 4_000);
    let crumbs = crate::support::breadcrumbs(exception);
    assert!(crumbs.iter().any(|crumb| crumb["message"] == "nested"), "one huge record does not cost the trail the others");
}

#[test]
fn span_fields_of_tracing_opentelemetry_mean_the_same() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let request = info_span!(
            "plain",
            otel.name = "GET /cart",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_message = tracing::field::Empty
        );
        request.record("otel.status_code", "ERROR");
        request.record("otel.status_message", "gone");
        let ok = info_span!("fine", otel.status_code = "ok");
        ok.in_scope(|| error!("an error that the program says is fine"));
        let other = info_span!("followed");
        ok.follows_from(&other);
        drop(info_span!("repeated", value = 1, otel.kind = ?"Producer"));
    });
    let span = pipeline.span("GET /cart");
    assert_eq!((span.kind, span.status), (3, (2, "gone".to_owned())));
    assert!(!span.attributes.keys().any(|key| key.starts_with("otel.")), "{:?}", span.attributes);
    let ok = pipeline.span("fine");
    assert_eq!(ok.status, (1, String::new()));
    assert_eq!(ok.links, [(pipeline.span("followed").trace_id, pipeline.span("followed").span_id)]);
}

#[test]
fn logs_may_be_the_only_signal_of_an_exception() {
    let environment = crumbtrail::config::EnvVars::from_iter([("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "logs")]);
    let pipeline = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    pipeline.run(|| info_span!("logs only").in_scope(|| error!("no span event")));
    assert_eq!(pipeline.exceptions("no span event").len(), 1);
    let span = pipeline.span("logs only");
    assert_eq!((span.events.len(), span.status.0), (0, 2));
}

#[test]
fn chains_are_bounded() {
    // Not zero-sized: such have no places of their own.
    #[derive(Debug)]
    #[allow(dead_code, reason = "it takes room")]
    struct Endless(u8);
    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("round and round")
        }
    }
    impl Error for Endless {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(Box::leak(Box::new(Endless(0))))
        }
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| _ = crumbtrail::capture(&Endless(0)));
    let exception = pipeline.exception("round and round");
    let chain: Vec<serde_json::Value> = serde_json::from_str(exception.text("crumbtrail.chain")).unwrap();
    assert!((2..=32).contains(&chain.len()), "{}", chain.len());
    pipeline.telemetry.shutdown(Duration::from_secs(5)).unwrap();
}

/// Report 14.11: what Sentry's `with_scope` is used for.
#[test]
fn what_is_said_of_one_report_is_in_its_record_alone() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let (upstream, parse) = (std::fmt::Error, "x".parse::<u8>().unwrap_err());
    pipeline.run(|| {
        let import = info_span!("import").entered();
        crumbtrail::set_tag("order.id", "of the request");
        let report = ErrorReport::new(&upstream)
            .with_tag("order.id", 9)
            .with_tag("api_key", "sk_live_9f8e7d")
            .with_level(Level::WARN)
            .with_group("the upstream is away")
            .with_attachment("row 7: password=hunter2 name=ada");
        crumbtrail::capture(&report);
        crumbtrail::capture(&ErrorReport::new(&parse).with_group("the upstream is away"));
        drop(import);
        let _later = info_span!("later").entered();
        crumbtrail::capture(&ErrorReport::new(&std::io::Error::other("shelf is empty")).with_level(Level::WARN));
    });
    let report = pipeline.exception("an error occurred when formatting");
    assert_eq!((report.severity, report.severity_text.as_str()), (13, "WARN"));
    assert_eq!(report.attributes.get("order.id"), Some(&Value::Int(9)), "it wins over the request's");
    assert_eq!(report.text("exception.type"), "core::fmt::Error");
    assert!(report.text("crumbtrail.attachments").contains("row 7") && report.text("crumbtrail.attachments").contains("name=ada"));
    let all = format!("{:?}", pipeline.received());
    assert!(!all.contains("sk_live") && !all.contains("hunter2"), "{all}");
    let other = pipeline.exception("invalid digit");
    assert_eq!(other.text("crumbtrail.group.id"), report.text("crumbtrail.group.id"));
    assert_eq!((other.severity, other.text("order.id")), (17, "of the request"));
    // A warning is no failure.
    assert_eq!(pipeline.exception("shelf is empty").severity, 13);
    let (failed, fine) = (pipeline.span("import"), pipeline.span("later"));
    assert_eq!((failed.status.0, fine.status.0), (2, 0));
    assert_eq!(fine.events.len(), 1, "it is an event of its span all the same");
}

/// A route may make exceptions of warnings: they stay warnings.
#[test]
fn an_exception_of_a_warning_is_no_failure_of_its_span() {
    let pipeline = Pipeline::new(|builder, _| builder.with_filter(Filter::Exceptions, "warn".parse().expect("a filter")));
    pipeline.run(|| {
        info_span!("restock").in_scope(|| tracing::warn!("shelf is nearly empty"));
        info_span!("sell").in_scope(|| error!("shelf is empty"));
    });
    let (warning, failure) = (pipeline.exception("nearly empty"), pipeline.exception("shelf is empty"));
    assert_eq!(
        ((warning.severity, failure.severity), (warning.severity_text.as_str(), failure.severity_text.as_str())),
        ((13, 17), ("WARN", "ERROR"))
    );
    assert_eq!((pipeline.span("restock").status.0, pipeline.span("sell").status.0), (0, 2));
}
