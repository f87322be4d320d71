//! What must not vanish without a word.

use crumbtrail::stats::RecordKind;
use crumbtrail_receiver::{Answer, Arrival};
use metrics::{Unit, counter, describe_counter, describe_histogram, gauge, histogram, with_local_recorder};

use tracing::{error, info};

use crate::support::{PATIENCE, Pipeline};

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
    let names: std::collections::BTreeSet<_> = received
        .metrics
        .iter()
        .map(|metric| metric.name.as_str())
        .filter(|name| !name.contains("crumbtrail.") && !name.starts_with("otel."))
        .collect();
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

fn is_odd(arrival: &Arrival) -> bool {
    arrival.content.logs.iter().any(|log| log.attributes.contains_key("odd"))
}

/// Report B2: a receiver refuses whole requests for 26 of 512 records. Only those are lost.
#[test]
fn a_refused_request_is_divided_until_only_the_culprits_are_lost() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let refused = |arrival: &Arrival| if is_odd(arrival) { Answer::Status { status: 400, headers: Vec::new() } } else { Answer::Accept };
    pipeline.receiver.answer_by(refused);
    pipeline.run(|| {
        for number in 0..512 {
            if number % 20 == 7 { info!(number, odd = 1, "one of many") } else { info!(number, "one of many") }
        }
    });
    let error = pipeline.telemetry.flush(PATIENCE).expect_err("some are lost");
    assert_eq!((error.undelivered(), error.report().lost()), (0, 26), "{error}");
    assert_eq!(pipeline.receiver.received().logs.iter().filter(|log| log.body == "one of many").count(), 512 - 26);
}

/// Report B6: metrics that become due while a shutdown waits.
#[test]
fn a_clean_shutdown_loses_no_metrics() {
    let pipeline = Pipeline::new(|builder, _| builder.with_metric_interval(std::time::Duration::from_millis(10)));
    // So that others come due meanwhile.
    pipeline.receiver.answer_by(|_| Answer::After(std::time::Duration::from_millis(60), Box::new(Answer::Accept)));
    with_local_recorder(&pipeline.telemetry.recorder(), || counter!("some").increment(1));
    pipeline.run(|| info!("some"));
    let report = pipeline.telemetry.shutdown(PATIENCE).expect("nothing is lost");
    assert_eq!(report.lost(), 0);
    assert_eq!(pipeline.telemetry.stats().of(RecordKind::Metrics).lost(), 0);
}

/// Report B8: a wrong key, a wrong address, a proxy's login page. What is on disk waits until that
/// is mended.
#[test]
fn what_is_on_disk_outlives_a_bad_key() {
    let page = |status| Answer::Status { status, headers: vec![("content-type".to_owned(), "text/html".to_owned())] };
    let answers = [401, 403, 404, 405, 408, 500, 302, 520].map(|status| Answer::Status { status, headers: Vec::new() });
    for answer in answers.into_iter().chain([page(200)]) {
        let directory = tempfile::tempdir().expect("a directory");
        let pipeline = Pipeline::new(|builder, _| builder.with_state_dir(directory.path()));
        let refused = answer.clone();
        pipeline.receiver.answer_by(move |_| refused.clone());
        pipeline.run(|| (0..3).for_each(|number| error!(number, "it fails")));
        let arrived =
            |receiver: &crumbtrail_receiver::Receiver| receiver.arrivals().iter().any(|arrival| arrival.content.exceptions().count() > 0);
        while !arrived(&pipeline.receiver) {
            std::thread::yield_now();
        }
        let stats = pipeline.telemetry.stats();
        assert_eq!(stats.of(RecordKind::Exceptions).lost(), 0, "{answer:?}: {stats}");
        pipeline.receiver.answer_with(None);
        pipeline.telemetry.flush(PATIENCE).expect("delivered");
        assert_eq!(pipeline.exceptions("it fails").len(), 3, "{answer:?}");
    }
}

/// Report B8: a receiver breaks at one request. Those behind it do not wait for that.
#[test]
fn one_request_that_breaks_the_receiver_holds_up_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipeline = Pipeline::new(|builder, _| builder.with_state_dir(directory.path()));
    let breaks = |arrival: &Arrival| arrival.content.exceptions().any(|exception| exception.body == "it breaks");
    pipeline
        .receiver
        .answer_by(move |arrival| if breaks(arrival) { Answer::Status { status: 500, headers: Vec::new() } } else { Answer::Accept });
    pipeline.run(|| error!("it breaks"));
    while !pipeline.receiver.arrivals().iter().any(breaks) {
        std::thread::yield_now();
    }
    let delivered = || pipeline.telemetry.stats().of(RecordKind::Exceptions).delivered();
    for number in 1..=4 {
        pipeline.run(|| error!(number, "it fails"));
        while delivered() < number {
            std::thread::yield_now();
        }
    }
    let stats = pipeline.telemetry.stats();
    assert_eq!(stats.of(RecordKind::Exceptions).lost(), 0, "{stats}");
    pipeline.receiver.answer_with(None);
    pipeline.telemetry.flush(PATIENCE).expect("delivered");
    assert_eq!(delivered(), 5);
}

/// Report B9: many threads log at once. No outbox is full, the receiver is well.
#[test]
fn a_burst_of_many_threads_is_sent_whole() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let dispatch = pipeline.telemetry.dispatch();
    std::thread::scope(|scope| {
        for _ in 0..48 {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    (0..1_200).for_each(|number| info!(number, "a line of some length, as lines of logs mostly are: {}", "x".repeat(100)))
                });
            });
        }
    });
    pipeline.telemetry.flush(PATIENCE).expect("delivered");
    let logs = pipeline.telemetry.stats();
    assert_eq!((logs.of(RecordKind::Logs).lost(), logs.of(RecordKind::Logs).delivered()), (0, 48 * 1_200), "{logs}");
}
