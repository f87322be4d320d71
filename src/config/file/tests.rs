//! What a file says, and what is said of one that says it badly.

use std::time::Duration;

use proptest::prelude::*;

use super::{super::Settings, *};
use crate::{
    config::{Compression, Exporter, MetricTemporality, Protocol, per_signal::Signal},
    propagation::Propagators,
    sampling::Sampler,
};

fn variables() -> EnvVars {
    EnvVars::from_iter([("COLLECTOR", "http://collector:4318"), ("RATIO", "0.25"), ("EMPTY", ""), ("TRICKY", "a: [b, c]\nd: ${COLLECTOR}")])
}

fn read(text: &str) -> (Settings, Vec<String>) {
    let (settings, remarks) =
        parse(&format!("file_format: \"1.0\"\n{text}"), &variables()).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    (settings, remarks.into_iter().map(|((line, column), problem)| format!("{line}:{column} {problem}")).collect())
}

fn refused(text: &str) -> String {
    match parse(&format!("file_format: \"1.0\"\n{text}"), &variables()) {
        Ok(_) => panic!("taken: {text}"),
        Err(problem) => problem,
    }
}

/// The example of docs/CONFIG-FILE.md: all that is known, and nothing in it is not.
#[test]
fn the_pages_example_is_known_whole() {
    let page = include_str!("../../../docs/CONFIG-FILE.md");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let (settings, remarks) = parse(example, &variables()).expect("settings");
    assert_eq!(remarks, [], "{example}");
    let (logs, traces, metrics) = (settings.signal(Signal::Logs), settings.signal(Signal::Traces), settings.signal(Signal::Metrics));
    assert_eq!((logs.exporter, traces.protocol, metrics.exporter), (Some(Exporter::Otlp), Some(Protocol::Grpc), Some(Exporter::Otlp)));
    assert_eq!((logs.compression, logs.delay, logs.max_batch), (Some(Compression::Gzip), Some(Duration::from_secs(1)), Some(2048)));
    assert_eq!((logs.limits.count, traces.limits.count), (Some(64), Some(128)));
    assert_eq!(settings.sampler, Some(Sampler::ratio(0.1).parent_based().keep_errors().keep_slower_than(Duration::from_secs(2))));
    assert_eq!(settings.metrics.temporality, Some(MetricTemporality::Delta));
    assert!(settings.resource.contains(&("service.name".to_owned(), "shop".to_owned())) && settings.filters.len() == 4);
    assert_eq!((settings.spool.directory, settings.trail_memory), (Some("/var/lib/shop".into()), Some(16 << 20)));
}

#[test]
fn variables_have_the_type_that_their_values_have_and_change_no_structure() {
    let of = |value: &str| {
        let (settings, remarks) = read(&format!("resource:\n  attributes:\n    - name: it\n      value: {value}"));
        assert!(remarks.is_empty(), "{remarks:?}");
        settings.resource.into_iter().map(|(_, value)| value).next_back()
    };
    for (written, meant) in [
        ("${COLLECTOR}/v1/logs", Some("http://collector:4318/v1/logs")),
        ("${env:RATIO}", Some("0.25")),
        ("${NOBODY:-by default}", Some("by default")),
        ("${EMPTY:-by default}", Some("by default")),
        ("\"$${RATIO} and $5\"", Some("${RATIO} and $5")),
        ("\"${NOBODY}\"", Some("")),
        // Null: there is no such attribute.
        ("${NOBODY}", None),
        ("${TRICKY}", Some("a: [b, c]\nd: ${COLLECTOR}")),
    ] {
        assert_eq!(of(written).as_deref(), meant, "{written}");
    }
    let (settings, _) = read("tracer_provider:\n  processors: []\n  sampler:\n    trace_id_ratio_based:\n      ratio: ${RATIO}");
    assert_eq!(settings.sampler, Some(Sampler::ratio(0.25)));
}

#[test]
fn what_is_not_known_is_told_where_it_is_and_the_rest_counts() {
    let (settings, remarks) = read("disabled: true\ntracer_provder:\n  processors: []\nresource:\n  attributes: []\n  atributes_list: a=1");
    assert_eq!(settings.disabled, Some(true));
    assert_eq!(remarks, ["3:1 tracer_provder is not known here; ignored", "7:3 resource.atributes_list is not known here; ignored"]);
    let (settings, remarks) =
        read("logger_provider:\n  processors:\n    - batch:\n        exporter:\n          zipkin:\n            endpoint: x");
    assert_eq!(settings.signal(Signal::Logs).exporter, Some(Exporter::None));
    assert!(remarks.iter().any(|remark| remark.starts_with("6:11 ") && remark.contains("zipkin")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("no exporter is known here")), "{remarks:?}");
}

#[test]
fn what_cannot_be_is_refused_where_it_is() {
    for (text, place, about) in [
        ("disabled: perhaps", "2:1", "boolean"),
        ("resource:\n  attributes:\n    - value: 1", "4:7", "name"),
        ("a: b: c", "2:", ""),
        ("disabled: ${1X}", "2:11", "no name of a variable"),
        ("attribute_limits:\n  attribute_count_limit: many", "3:3", "expected a number"),
        ("disabled: ${RATIO", "2:11", "has no end"),
        ("disabled: true\ndisabled: false", "3:", "uplicate"),
        ("tracer_provider:\n  sampler:\n    trace_id_ratio_based:\n      ratio: 2", "3:3 tracer_provider.sampler", "not from 0 to 1"),
        (
            "logger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:\n            endpoint: ftp://x",
            "processors.0.batch.exporter.otlp_http.endpoint",
            "not an http:// or https:// URL with a port from 0 to 65535",
        ),
        ("crumbtrail/console: loud", "2:1 crumbtrail/console", "none of auto,"),
    ] {
        let problem = refused(text);
        assert!(problem.contains(place) && problem.contains(about), "{text}: {problem}");
        assert!(!problem.contains("is used") && !problem.contains("ignored"), "nothing is done instead: {problem}");
    }
    assert!(parse("file_format: \"0.4\"", &variables()).is_err_and(|problem| problem.contains("0.4")));
    assert!(parse("disabled: true", &variables()).is_err_and(|problem| problem.contains("file_format")));
}

/// The specification: what there is no provider for is not sent.
#[test]
fn a_signal_without_a_provider_is_not_sent() {
    let (settings, _) = read("logger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:");
    let exporters = Signal::ALL.map(|signal| settings.signal(signal).exporter);
    assert_eq!(exporters, [Some(Exporter::Otlp), Some(Exporter::None), Some(Exporter::None)]);
}

/// A text is what was written, whatever it looks like.
#[test]
fn what_looks_like_a_number_stays_a_text() {
    for version in ["1.10", "12e4567", "007", "0x10", "true"] {
        let (settings, _) = read(&format!("resource:\n  attributes:\n    - {{name: service.version, value: {version}}}"));
        assert_eq!(settings.resource, [("service.version".to_owned(), version.to_owned())]);
    }
    let headers = "logger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:\n            headers:\n              - {name: api-key, value: 12345678}";
    let (settings, remarks) = read(headers);
    assert!(remarks.is_empty() && settings.signal(Signal::Logs).headers.is_some_and(|headers| headers[0].1 == "12345678"));
}

/// A section whose keys are all commented out is one that says nothing.
#[test]
fn an_empty_section_is_none() {
    let (settings, remarks) = read(
        "resource:\nattribute_limits:\npropagator:\ncrumbtrail/filters:\ncrumbtrail/records:\ntracer_provider:\n  processors:\n  limits:\n  sampler:\nmeter_provider:\n  readers:",
    );
    assert_eq!((settings.sampler, settings.filters.len(), settings.resource.len()), (None, 0, 0));
    assert_eq!(settings.propagators, Some(Propagators::NONE), "the schema: where nothing is said there is none");
    assert_eq!(remarks.len(), 2, "nothing is sent: {remarks:?}");
    let (settings, remarks) = read("tracer_provider:\n  sampler: {jaeger_remote/development: {endpoint: x}}");
    assert_eq!((settings.sampler, remarks.len()), (None, 3), "{remarks:?}");
}

#[test]
fn deep_nesting_is_refused_before_it_is_read() {
    let sequences = refused(&format!("a:\n{}x", "- ".repeat(100_000)));
    assert!(sequences.contains("nested too deeply"), "{sequences}");
    assert!(refused(&format!("a: {}", "[".repeat(100_000))).contains("2:"));
}

#[test]
fn keys_are_not_shown() {
    for mistaken in [
        "logger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:\n            headers: api-key=hunter2",
        "crumbtrail/connection: http://user:hunter2@proxy",
        "crumbtrail/memory: {trails: hunter2}",
        "disabled: ${KEY:hunter2}",
        "disabled: hunter2",
    ] {
        let problem = refused(mistaken);
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    let text = "logger_provider:\n  processors:\n    - batch:\n        exporter:\n          otlp_http:\n            headers:\n              - name: api-key\n                value: hunter2";
    let (settings, remarks) = read(text);
    assert!(!format!("{settings:?} {remarks:?}").contains("hunter2"));
}

proptest! {
    /// Whatever it is, it is taken or refused.
    #[test]
    fn no_file_panics(text in ".{0,300}", structured in "([a-z_/]{1,12}: ?(\\$\\{[A-Z:-]{0,8}\\}?|[0-9.]+|\\{|\\[|- |\n  ?)?\n){0,20}") {
        let _ = parse(&text, &variables());
        let _ = parse(&format!("file_format: \"1.0\"\n{structured}"), &variables());
    }
}
