//! Storms: a share of records for each group, and every exception counted.

use std::sync::Barrier;

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::{config::ExceptionRate, stats::RecordKind};
use crumbtrail_receiver::Log;
use tracing::{error, info, info_span};

#[test]
fn a_group_gets_full_records_then_lean_ones_and_all_are_counted() {
    let pipeline = Pipeline::new(|builder, _| builder.with_exception_rate(ExceptionRate::default().with_full(5, 0).with_lean(7, 0)));
    pipeline.run(|| {
        for number in 0..1_000 {
            let _request = info_span!("request", user.id = number).entered();
            info!("a step");
            error!(error = &std::fmt::Error as &dyn std::error::Error, "payment failed");
        }
        let _request = info_span!("request", user.id = 1_000).entered();
        error!("a failure of another kind");
    });
    let received = pipeline.received();
    let of_storm: Vec<_> = received.exceptions().filter(|exception| exception.body == "payment failed").collect();
    let (lean, full): (Vec<&Log>, Vec<&Log>) =
        of_storm.into_iter().partition(|exception| exception.attributes.contains_key("crumbtrail.lean"));
    assert_eq!((full.len(), lean.len()), (5, 7));
    assert!(
        full.iter().all(|exception| !exception.text("exception.stacktrace").is_empty() && !crate::support::messages(exception).is_empty())
    );
    for exception in lean {
        assert!(exception.text("exception.stacktrace").is_empty() && crate::support::breadcrumbs(exception).is_empty());
        assert!(!exception.text("user.id").is_empty() && !exception.trace_id.is_empty(), "who and where is known all the same");
        assert_eq!(exception.text("crumbtrail.group.id"), full[0].text("crumbtrail.group.id"));
    }
    assert_eq!(
        received.exceptions().filter(|exception| exception.body == "a failure of another kind").count(),
        1,
        "a new group gets through"
    );
    assert_eq!(pipeline.telemetry.stats().suppressed(), 988);
    assert!(pipeline.telemetry.stats().to_string().contains("988 more were only counted"), "{}", pipeline.telemetry.stats());

    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("crumbtrail.exceptions").is_some()).unwrap();
    let points = &received.metric("crumbtrail.exceptions").unwrap().points;
    let mut counts: Vec<(f64, &str)> = points.iter().map(|point| (point.value, point.attributes["exception.type"].as_str())).collect();
    counts.sort_by(|left, right| right.0.total_cmp(&left.0));
    assert_eq!(counts, [(1_000.0, "core::fmt::Error"), (1.0, "error")]);
    assert!(points.iter().all(|point| point.attributes["service.version"].as_str() == env!("CARGO_PKG_VERSION")));
    let failed = received.spans.iter().filter(|span| span.status.0 == 2).count();
    assert_eq!(failed, 1_001, "a span has failed, whether or not its exception has a record");
}

#[test]
fn the_next_record_says_how_many_there_were() {
    let rate = ExceptionRate::default().with_full(1, 600).with_lean(0, 0);
    let pipeline = Pipeline::new(|builder, _| builder.with_exception_rate(rate));
    pipeline.run(|| {
        let raise = || error!("payment failed");
        let is_admitted = || {
            let before = pipeline.telemetry.stats().suppressed();
            raise();
            pipeline.telemetry.stats().suppressed() == before
        };
        for _ in 0..4 {
            (0..50).for_each(|_| raise());
            // A record is due every tenth of a second.
            while !is_admitted() {
                std::thread::yield_now();
            }
        }
    });
    let received = pipeline.received();
    let told: i64 = received
        .exceptions()
        .filter_map(|exception| match exception.attributes.get("crumbtrail.suppressed") {
            Some(crumbtrail_receiver::Value::Int(count)) => Some(*count),
            _ => None,
        })
        .sum();
    let stats = pipeline.telemetry.stats();
    assert!(received.exceptions().count() >= 4 && told >= 50, "{told} {stats}");
    assert_eq!(told as u64, stats.suppressed(), "the last record closes the account");
}

#[test]
fn four_threads_in_a_storm_lose_no_count_and_delay_nothing() {
    const EACH: u64 = 25_000;
    let pipeline = Pipeline::new(|builder, _| builder.with_exception_rate(ExceptionRate::default()));
    let barrier = Barrier::new(4);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                pipeline.run(|| {
                    barrier.wait();
                    let unreadable = "x".parse::<u8>().unwrap_err();
                    for number in 0..EACH {
                        match number % 3 {
                            0 => error!("order {number} failed"),
                            1 => error!(error = &std::fmt::Error as &dyn std::error::Error, "payment failed"),
                            _ => _ = crumbtrail::capture(&unreadable),
                        }
                    }
                    info!("after the storm");
                });
            });
        }
    });
    // 20 full and 100 lean ones at once, then 70 a minute.
    let seconds = began.elapsed().as_secs() + 1;
    pipeline.telemetry.flush(PATIENCE).unwrap();
    let stats = pipeline.telemetry.stats();
    let line = stats.of(RecordKind::Exceptions);
    assert_eq!(line.accepted() + stats.suppressed(), 4 * EACH, "{stats}");
    assert!(line.accepted() <= 3 * (121 + 70 * seconds / 60) && line.lost() == 0, "{seconds} s: {stats}");
    let received = pipeline.receiver.wait_for(PATIENCE, |received| received.metric("crumbtrail.exceptions").is_some()).unwrap();
    let counted: f64 = received.metric("crumbtrail.exceptions").unwrap().points.iter().map(|point| point.value).sum();
    assert_eq!(counted, (4 * EACH) as f64);
    assert_eq!(received.logs.iter().filter(|log| log.body == "after the storm").count(), 4);
}
