//! The official OpenTelemetry Collector, and rotel as a second independent receiver: what they
//! write is what was sent.
//!
//! The binaries come from `OTELCOL_BIN` and `ROTEL_BIN`, else from where `.ci/collector` and
//! `.ci/rotel` put them. Without them these tests say so and pass; with
//! `CRUMBTRAIL_REQUIRE_COLLECTOR=1` they fail.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    PATIENCE,
    collector::{Collector, Process, all, attribute, free_address},
};
#[cfg(any(feature = "grpc", feature = "json"))]
use crumbtrail::config::Protocol;
use crumbtrail::{Builder, config::Compression};
use crumbtrail_receiver::Peer;
use serde_json::Value;
use tracing::{debug, error, info, info_span};

/// A request that ends in an exception. Returns the trace id of the request.
fn incident(configure: impl Fn(Builder) -> Builder) -> String {
    let builder = crumbtrail::builder(crumbtrail::service!().with_name("incident").with_crate("collector").with_revision("abc123"));
    let telemetry = configure(builder).build().expect("telemetry");
    let trace = {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(telemetry.layer());
        tracing::subscriber::with_default(subscriber, || {
            let _request = info_span!("checkout", otel.kind = "server", user.id = "42").entered();
            info!(items = 3, "basket loaded");
            {
                let _payment = info_span!("payment").entered();
                debug!(amount = 19.99, "charging card");
                let error = "x".parse::<u8>().unwrap_err();
                error!(error = &error as &dyn std::error::Error, "payment failed");
            }
            format!("{:032x}", crumbtrail::propagation::SpanContext::current().unwrap().trace_id())
        })
    };
    #[cfg(feature = "metrics-0-24")]
    metrics::with_local_recorder(&telemetry.recorder(), || {
        metrics::describe_counter!("orders", metrics::Unit::Count, "orders taken");
        metrics::counter!("orders", "region" => "eu").increment(7);
        metrics::histogram!("basket_seconds").record(0.2);
    });
    // The receiver may still be starting: delivery retries until it listens.
    telemetry.shutdown(PATIENCE).expect("delivered");
    trace
}

fn through_the_collector(configure: impl Fn(Builder, &str, &str) -> Builder) {
    let Some(collector) = Collector::start() else { return };
    let trace = incident(|builder| configure(builder, &collector.http, &collector.grpc));
    let lines = collector.end();
    let text = format!("{lines:#?}");

    let records = all(&lines, &["resourceLogs", "scopeLogs", "logRecords"]);
    let [exception] = records.iter().filter(|record| record["eventName"] == "exception").collect::<Vec<_>>()[..] else { panic!("{text}") };
    let keys: Vec<&str> = exception["attributes"].as_array().unwrap().iter().map(|attribute| attribute["key"].as_str().unwrap()).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    let documented = [
        "code.file.path",
        "code.function.name",
        "code.line.number",
        "crumbtrail.breadcrumbs",
        "crumbtrail.error.id",
        "crumbtrail.group.coarse",
        "crumbtrail.group.id",
        "crumbtrail.mechanism",
        "error.type",
        "exception.message",
        "exception.stacktrace",
        "exception.type",
        "log.record.uid",
        "thread.id",
        "thread.name",
        "user.id",
    ];
    assert_eq!(sorted, documented);
    assert_eq!(exception["severityNumber"], 17);
    assert_eq!(exception["body"]["stringValue"], "payment failed");
    assert_eq!(attribute(exception, "exception.type").unwrap(), "core::num::error::ParseIntError");
    let crumbs: Vec<Value> = serde_json::from_str(attribute(exception, "crumbtrail.breadcrumbs").unwrap().as_str().unwrap()).unwrap();
    let texts: Vec<&str> = crumbs.iter().map(|crumb| crumb["message"].as_str().unwrap()).collect();
    assert_eq!(texts, ["opened checkout", "basket loaded", "opened payment", "charging card"]);

    let spans = all(&lines, &["resourceSpans", "scopeSpans", "spans"]);
    let span = |name: &str| *spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("{name}: {text}"));
    let (checkout, payment) = (span("checkout"), span("payment"));
    assert_eq!((&exception["traceId"], &exception["spanId"]), (&payment["traceId"], &payment["spanId"]));
    assert_eq!((payment["traceId"].as_str(), &payment["parentSpanId"]), (Some(&*trace), &checkout["spanId"]));
    assert_eq!((payment["status"]["code"].as_i64(), payment["events"][0]["name"].as_str()), (Some(2), Some("exception")));
    let log = records.iter().find(|record| record["body"]["stringValue"] == "basket loaded").expect("the log");
    assert_eq!((&log["traceId"], &log["spanId"]), (&checkout["traceId"], &checkout["spanId"]));
    let resource = all(&lines, &["resourceLogs", "resource"])[0];
    assert_eq!(attribute(resource, "vcs.ref.head.revision").unwrap(), "abc123");

    let metrics = all(&lines, &["resourceMetrics", "scopeMetrics", "metrics"]);
    let names: Vec<&str> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"crumbtrail.exceptions"), "{names:?}");
    #[cfg(feature = "metrics-0-24")]
    {
        let orders = metrics.iter().find(|metric| metric["name"] == "orders").unwrap();
        assert_eq!((orders["description"].as_str(), orders["sum"]["isMonotonic"].as_bool()), (Some("orders taken"), Some(true)));
        assert_eq!(orders["sum"]["dataPoints"][0]["asInt"], "7");
    }
}

#[test]
fn the_official_collector_receives_everything_over_http() {
    through_the_collector(|builder, http, _| builder.with_endpoint(http));
}

#[test]
#[cfg(all(feature = "json", feature = "zstd"))]
fn the_official_collector_receives_json() {
    through_the_collector(|builder, http, _| {
        builder.with_endpoint(http).with_protocol(Protocol::HttpJson).with_compression(Compression::Zstd)
    });
}

#[test]
#[cfg(feature = "gzip")]
fn the_official_collector_receives_compressed_requests() {
    through_the_collector(|builder, http, _| builder.with_endpoint(http).with_compression(Compression::Gzip));
}

#[test]
#[cfg(feature = "grpc")]
fn the_official_collector_receives_everything_over_grpc() {
    through_the_collector(|builder, _, grpc| builder.with_endpoint(grpc).with_protocol(Protocol::Grpc));
}

fn through_rotel(configure: impl Fn(Builder, &str, &str) -> Builder) {
    let Some(binary) = Peer::Rotel.binary() else { return };
    let (http, grpc) = (free_address(), free_address());
    let pid_file = std::env::temp_dir().join(format!("crumbtrail-rotel-{}-{}", std::process::id(), http.replace(':', "-")));
    let mut rotel = Command::new(binary)
        .args(["start", "--debug-log", "traces", "--debug-log", "metrics", "--debug-log", "logs", "--debug-log-verbosity", "detailed"])
        .envs([("ROTEL_OTLP_HTTP_ENDPOINT", http.as_str()), ("ROTEL_OTLP_GRPC_ENDPOINT", grpc.as_str()), ("ROTEL_EXPORTER", "blackhole")])
        .env("ROTEL_PID_FILE", &pid_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map(Process)
        .expect("rotel starts");
    let output = rotel.0.stdout.take().expect("piped");
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let trace = incident(|builder| configure(builder, &format!("http://{http}"), &format!("http://{grpc}")));
    let wanted = [
        "payment failed",
        "EventName: exception",
        "crumbtrail.breadcrumbs",
        "charging card",
        "core::num::error::ParseIntError",
        "crumbtrail.exceptions",
        &trace,
    ];
    let mut seen = String::new();
    let deadline = Instant::now() + PATIENCE;
    while let Some(missing) = wanted.iter().find(|text| !seen.contains(**text)) {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.max(Duration::from_millis(1))) {
            Ok(line) => seen.push_str(&(line + "\n")),
            Err(_) => panic!("rotel did not print {missing:?}:\n{seen}"),
        }
    }
    let _ = std::fs::remove_file(pid_file);
}

#[test]
fn rotel_receives_everything_over_http() {
    through_rotel(|builder, http, _| builder.with_endpoint(http));
}

#[test]
#[cfg(feature = "grpc")]
fn rotel_receives_everything_over_grpc() {
    through_rotel(|builder, _, grpc| builder.with_endpoint(grpc).with_protocol(Protocol::Grpc));
}
