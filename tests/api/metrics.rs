//! The recorder of the `metrics` facade, as a receiver sees it.
use crate::support::Pipeline;
use crumbtrail_receiver::Metric;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram, with_local_recorder};

fn metric(pipeline: &Pipeline, name: &str) -> Metric {
    pipeline.received().metric(name).unwrap_or_else(|| panic!("no metric {name}")).clone()
}

#[test]
fn a_key_has_one_value_however_often_it_is_asked_for() {
    let pipeline = Pipeline::new(|builder, _| builder);
    with_local_recorder(&pipeline.telemetry.recorder(), || {
        (0..3).for_each(|_| gauge!("queue.depth").increment(1.0));
        gauge!("queue.depth").decrement(0.5);
        [10, 20, 30, 25].into_iter().for_each(|seen| counter!("bytes.read").absolute(seen));
        (0..5).for_each(|_| counter!("orders", "region" => "eu").increment(2));
        counter!("orders", "region" => "us").increment(1);
    });
    assert_eq!(metric(&pipeline, "queue.depth").points[0].value, 2.5);
    assert_eq!(metric(&pipeline, "bytes.read").points[0].value, 30.0);
    let mut orders: Vec<(String, f64)> =
        metric(&pipeline, "orders").points.iter().map(|point| (point.attributes["region"].to_string(), point.value)).collect();
    orders.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(orders, [("eu".to_owned(), 10.0), ("us".to_owned(), 1.0)]);
}

#[test]
fn descriptions_count_whenever_they_are_made() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let recorder = pipeline.telemetry.recorder();
    with_local_recorder(&recorder, || {
        describe_counter!("described.before", Unit::Bytes, "told in time");
        counter!("described.before").increment(1);
        counter!("described.after").increment(1);
        gauge!("gauge.described.after").set(1.0);
    });
    metric(&pipeline, "described.after");
    with_local_recorder(&recorder, || {
        describe_counter!("described.after", Unit::Count, "told late");
        describe_gauge!("gauge.described.after", Unit::Percent, "a gauge told late");
    });
    let told = |name: &str| {
        let metric = metric(&pipeline, name);
        (metric.unit, metric.description)
    };
    assert_eq!(told("described.before"), ("By".to_owned(), "told in time".to_owned()));
    assert_eq!(told("described.after").1, "told late");
    assert_eq!(told("gauge.described.after"), ("%".to_owned(), "a gauge told late".to_owned()));
}

#[test]
fn histograms_have_boundaries_that_fit() {
    let pipeline = Pipeline::new(|builder, _| builder.with_histogram_buckets("basket.size", [1.0, 5.0, 10.0]));
    with_local_recorder(&pipeline.telemetry.recorder(), || {
        describe_histogram!("render.time", Unit::Seconds, "how long a page takes");
        for value in [0.004, 0.03, 3.0] {
            histogram!("render.time").record(value);
            histogram!("basket.size").record(value);
            histogram!("plain").record(value);
        }
        histogram!("plain").record(f64::NAN);
    });
    let seconds = &metric(&pipeline, "render.time").points[0];
    assert_eq!((seconds.count, seconds.bounds[0], seconds.bounds.last()), (3, 0.005, Some(&10.0)));
    assert_eq!(seconds.buckets[0], 1);
    assert_eq!(metric(&pipeline, "basket.size").points[0].bounds, [1.0, 5.0, 10.0]);
    assert_eq!(metric(&pipeline, "plain").points[0].bounds.last(), Some(&10_000.0));
}

#[test]
fn the_number_of_time_series_is_bounded() {
    let pipeline = Pipeline::new(|builder, _| builder);
    with_local_recorder(&pipeline.telemetry.recorder(), || {
        (0..5_000).for_each(|user| counter!("by.user", "user" => user.to_string()).increment(1));
    });
    let metric = metric(&pipeline, "by.user");
    assert!(metric.points.len() <= 2_001, "{}", metric.points.len());
    assert!(metric.points.iter().any(|point| point.attributes.contains_key("otel.metric.overflow")));
    assert_eq!(metric.points.iter().map(|point| point.value).sum::<f64>(), 5_000.0);
}

#[test]
fn the_ledger_is_metrics_too() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        tracing::info!("a log");
        tracing::error!("an error");
    });
    pipeline.received();
    pipeline.receiver.answer_with(Some(500));
    pipeline.run(|| tracing::info!("refused"));
    let _ = pipeline.telemetry.flush(crate::support::PATIENCE);
    pipeline.receiver.answer_with(None);
    let exported = metric(&pipeline, "otel.sdk.exporter.log.exported");
    let point = |signal: &str, error: Option<&str>| {
        let found = exported.points.iter().find(|point| {
            point.attributes["crumbtrail.signal"].as_str() == signal
                && point.attributes.get("error.type").map(|error| error.as_str()) == error
        });
        found.map(|point| point.value)
    };
    let of = |signal, error| point(signal, error);
    assert_eq!(
        (of("exceptions", None), of("logs", None), of("logs", Some("rejected"))),
        (Some(1.0), Some(1.0), Some(1.0)),
        "{exported:#?}"
    );
    assert_eq!(exported.unit, "{log_record}");
    let processed = metric(&pipeline, "otel.sdk.processor.log.processed");
    // The three, and perhaps the account of the refusal.
    assert!((3.0..=4.0).contains(&processed.points.iter().map(|point| point.value).sum::<f64>()), "{processed:#?}");
}
