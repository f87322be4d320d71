//! What must not vanish without a word.

use metrics::{Unit, counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};

use crate::support::Pipeline;

/// Report B1: metrics that OpenTelemetry's SDK would leave out, or lose, in silence.
#[test]
fn every_metric_arrives_whatever_it_is_called() {
    let pipeline = Pipeline::new(|builder, _| {
        let builder = builder.with_histogram_buckets("unsorted", [5.0, 1.0, 1.0, f64::INFINITY, f64::NAN]);
        builder.with_histogram_buckets("doubled", [1.0, 1.0])
    });
    with_local_recorder(&pipeline.telemetry.recorder(), || {
        describe_counter!("in.micros", Unit::Microseconds, "a unit that is not ASCII in the facade");
        describe_histogram!("negative", Unit::Count, "goes both ways");
        for name in ["in.micros", "with blanks in it", "crate::module::name", "5xx", "größe", "ключ", ""] {
            counter!(name).increment(1);
        }
        counter!("n".repeat(256)).increment(1);
        counter!("requestCount").increment(2);
        counter!("RequestCount").increment(3);
        counter!("huge").absolute(u64::MAX);
        counter!("twice", "a" => "1", "a" => "2").increment(1);
        gauge!("none").set(f64::NAN);
        gauge!("some").set(1.5);
        histogram!("unsorted").record(2.0);
        histogram!("doubled").record(2.0);
        histogram!("negative").record(-2.0);
        histogram!("negative").record(f64::NAN);
    });
    let received = pipeline.received();
    let names: std::collections::BTreeSet<_> = received.metrics.iter().map(|metric| metric.name.as_str()).filter(|name| !name.contains("crumbtrail.") && !name.starts_with("otel.")).collect();
    let long = "n".repeat(255);
    let expected = ["in.micros", "with_blanks_in_it", "crate.module.name", "metric_5xx", "gr_e", "metric__", "metric_", &long]
        .into_iter()
        .chain(["requestCount", "huge", "twice", "some", "unsorted", "doubled", "negative"]);
    assert_eq!(names, expected.map(|name| if name == "gr_e" { "gr_e" } else { name }).collect());
    let one = |name: &str| received.metric(name).expect("it arrived").points[0].clone();
    assert_eq!(received.metric("in.micros").expect("it arrived").unit, "us");
    assert_eq!(one("requestCount").value, 5.0);
    assert_eq!(one("huge").value, i64::MAX as f64);
    assert_eq!(one("twice").attributes["a"].as_str(), "2");
    assert_eq!((one("unsorted").bounds, one("doubled").bounds), (vec![1.0, 5.0], vec![1.0]));
    assert_eq!((one("negative").value, one("negative").count), (0.0, 1), "it has no sum");
}

/// Reports A12 and D5: names and keys are data, too; and bounded.
#[test]
fn names_of_metrics_are_clean_and_not_without_end() {
    let pipeline = Pipeline::new(|builder, _| builder);
    with_local_recorder(&pipeline.telemetry.recorder(), || {
        counter!("calls.of.ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ").increment(1);
        counter!("calls", "AKIAIOSFODNN7EXAMPLE" => "x").increment(1);
        for number in 0..5_000 {
            counter!(format!("endless.{number}")).increment(1);
        }
    });
    let received = pipeline.received();
    let text = format!("{:?}", received.metrics);
    assert!(!text.contains("ghp_abc") && !text.contains("AKIAIOS"));
    let endless = received.metrics.iter().filter(|metric| metric.name.starts_with("endless.")).count();
    assert!((1_900..2_000).contains(&endless), "{endless}");
}
