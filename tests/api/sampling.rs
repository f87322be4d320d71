//! Which traces arrive: the sampler's share, and whole ones wherever something failed or was slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::support::{
    PATIENCE, Pipeline,
    collector::{Collector, all, attribute},
};
use crumbtrail::{Sampler, propagation::SpanContext, stats::Stats};
use crumbtrail_receiver::Received;
use tracing::{Span, error, field::Empty, info, info_span};

fn pipeline(sampler: Sampler) -> Pipeline {
    Pipeline::new(|builder, _| builder.with_sampler(sampler))
}

/// Root, three children one of which has a child of its own, and events.
fn request(fails: bool) {
    let _request = info_span!("request", otel.kind = "server", status = Empty).entered();
    info_span!("authenticate", user = 7, late = Empty).in_scope(|| {
        info!("known");
        Span::current().record("late", "said later");
    });
    info_span!("load").in_scope(|| info_span!("query").in_scope(|| info!(rows = 3, "loaded")));
    let _charge = info_span!("charge").entered();
    if fails {
        error!("card refused");
    }
    info_span!("notify").in_scope(|| {});
}

fn names(received: &Received) -> BTreeSet<&str> {
    received.spans.iter().map(|span| &*span.name).collect()
}

#[test]
fn a_trace_with_an_exception_is_whole_although_it_is_not_sampled() {
    let pipeline = pipeline(Sampler::always_off().keep_errors());
    pipeline.run(|| (0..20).for_each(|number| request(number == 7)));
    let received = pipeline.received();
    assert_eq!(received.spans.len(), 6, "{:?}", names(&received));
    assert_eq!(names(&received), BTreeSet::from(["request", "authenticate", "load", "query", "charge", "notify"]));
    let span = |name: &str| received.spans.iter().find(|span| span.name == name).unwrap();
    for (child, parent) in
        [("authenticate", "request"), ("load", "request"), ("query", "load"), ("charge", "request"), ("notify", "charge")]
    {
        assert_eq!(span(child).parent_span_id, span(parent).span_id, "{child}");
        assert!(span(child).start <= span(child).end && span(child).end <= span("request").end);
    }
    for span in &received.spans {
        assert_eq!((span.flags & 1, span.attributes["crumbtrail.kept"].as_str()), (1, "error"));
        assert!(!span.attributes.contains_key("crumbtrail.trail.truncated"));
    }
    assert_eq!(span("authenticate").attributes["late"].as_str(), "said later");
    assert_eq!((span("charge").status.0, span("charge").events.len()), (2, 1));
    let exception = received.exceptions().next().unwrap();
    assert_eq!((&exception.trace_id, &exception.span_id, exception.flags), (&span("charge").trace_id, &span("charge").span_id, 3));
    let crumbs: Vec<String> =
        crate::support::breadcrumbs(exception).iter().map(|crumb| crumb["message"].as_str().unwrap_or_default().to_owned()).collect();
    let expected = [
        "opened request",
        "opened authenticate",
        "known",
        "closed authenticate",
        "opened load",
        "opened query",
        "loaded",
        "closed query",
        "closed load",
        "opened charge",
    ];
    assert_eq!(crumbs, expected, "as if it had been sampled");
    assert_eq!(received.logs.iter().filter(|log| log.body == "known").count(), 20, "logs do not depend on sampling");
}

#[test]
fn slow_requests_are_kept_by_how_long_their_root_took() {
    let slow = pipeline(Sampler::always_off().keep_slower_than(Duration::ZERO));
    slow.run(|| request(true));
    let received = slow.received();
    assert_eq!(received.spans.len(), 6, "{:?}", names(&received));
    assert!(received.spans.iter().all(|span| span.attributes["crumbtrail.kept"].as_str() == "slow"));
    let fast = pipeline(Sampler::always_off().keep_slower_than(Duration::from_secs(3_600)));
    fast.run(|| request(true));
    assert!(fast.received().spans.is_empty(), "failing is not slow");
}

#[test]
fn what_the_trail_has_lost_is_missing_and_said_to_be() {
    let pipeline = pipeline(Sampler::always_off().keep_errors());
    pipeline.run(|| {
        let _request = info_span!("request").entered();
        info_span!("early").in_scope(|| {});
        (0..2_000).for_each(|number| info!(number, "a step among many"));
        info_span!("recent").in_scope(|| {});
        error!("gave up");
    });
    let received = pipeline.received();
    assert_eq!(names(&received), BTreeSet::from(["request", "recent"]));
    let root = received.spans.iter().find(|span| span.name == "request").unwrap();
    assert_eq!(root.attributes["crumbtrail.trail.truncated"].to_string(), "true");
}

#[test]
fn a_callers_no_is_overruled_by_a_failure_here_and_those_called_later_know() {
    let pipeline = pipeline(Sampler::default().keep_errors());
    let caller: SpanContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02".parse().unwrap();
    pipeline.run(|| {
        let request = caller.in_scope(|| info_span!("request", otel.kind = "server"));
        let _entered = request.enter();
        assert!(!SpanContext::current().unwrap().is_sampled());
        error!("refused");
        assert!(SpanContext::current().unwrap().is_sampled());
    });
    let span = pipeline.span("request");
    assert_eq!((&*span.trace_id, &*span.parent_span_id), ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
}

#[test]
fn tasks_of_a_failed_request_are_kept_wherever_they_run() {
    let pipeline = pipeline(Sampler::always_off().keep_errors());
    pipeline.run(|| {
        let request = info_span!("request");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let dispatch = tracing::dispatcher::get_default(Clone::clone);
                let request = &request;
                scope.spawn(move || {
                    tracing::dispatcher::with_default(&dispatch, || {
                        let _task = info_span!(parent: request, "task", number).entered();
                        if number == 3 {
                            error!("task failed");
                        }
                    });
                });
            }
        });
    });
    let received = pipeline.received();
    assert_eq!(received.spans.iter().filter(|span| span.name == "task").count(), 8);
    assert_eq!(received.spans.len(), 9);
}

/// A span that ends on one thread while another keeps its trace is sent once: not missed, not
/// twice.
#[test]
fn no_span_falls_between_being_held_and_being_kept() {
    const ROUNDS: usize = 400;
    const SPANS: usize = 20;
    let pipeline = pipeline(Sampler::always_off().keep_errors());
    pipeline.run(|| {
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        for _ in 0..ROUNDS {
            let (request, both) = (info_span!("request"), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    tracing::dispatcher::with_default(&dispatch, || {
                        both.wait();
                        (0..SPANS).for_each(|_| drop(info_span!(parent: &request, "step")));
                    });
                });
                both.wait();
                request.in_scope(|| error!("refused"));
            });
        }
    });
    let received = pipeline.received();
    let ids: BTreeSet<&str> = received.spans.iter().map(|span| &*span.span_id).collect();
    assert_eq!((received.spans.len(), ids.len()), (ROUNDS * (SPANS + 1), ROUNDS * (SPANS + 1)));
}

/// What docs/BENCHMARKS.md says of `ratio(0.01).keep_errors()`, counted in the official Collector's
/// own output.
#[test]
fn every_failing_trace_of_a_hundred_thousand_is_whole_in_the_collector() {
    const REQUESTS: usize = 100_000;
    const FAILING: usize = 500;
    let Some(collector) = Collector::start() else { return };
    let telemetry = crumbtrail::builder(crumbtrail::service!().with_name("sampling"))
        .with_endpoint(&collector.http)
        .with_exception_rate(crumbtrail::config::ExceptionRate::unlimited())
        .with_sampler(Sampler::ratio(0.01).keep_errors())
        .with_filter(crumbtrail::config::Filter::Logs, "off".parse().expect("a filter"))
        .build()
        .expect("telemetry");
    let dispatch = {
        use tracing_subscriber::layer::SubscriberExt;
        tracing::Dispatch::new(tracing_subscriber::registry().with(telemetry.layer()))
    };
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let dispatch = &dispatch;
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    (0..REQUESTS / 2).for_each(|number| request(number % (REQUESTS / FAILING) == 50 + thread));
                });
            });
        }
    });
    telemetry.shutdown(PATIENCE).expect("delivered");
    let stats: Stats = telemetry.stats();
    let lines = collector.end();
    let spans = all(&lines, &["resourceSpans", "scopeSpans", "spans"]);
    let mut traces: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for span in &spans {
        traces.entry(span["traceId"].as_str().unwrap()).or_default().push(*span);
    }
    let records = all(&lines, &["resourceLogs", "scopeLogs", "logRecords"]);
    let failed: BTreeSet<&str> = records.iter().map(|record| record["traceId"].as_str().unwrap()).collect();
    assert_eq!(failed.len(), FAILING, "{stats}");
    let is_whole = |trace: &str| traces.get(trace).is_some_and(|spans| spans.len() == 6);
    let whole = failed.iter().filter(|trace| is_whole(trace)).count();
    let healthy = traces.keys().filter(|trace| !failed.contains(**trace)).count();
    println!(
        "of {REQUESTS} requests {FAILING} failed: {whole} of their traces are whole; of {} healthy ones {healthy} arrived",
        REQUESTS - FAILING
    );
    assert_eq!(whole, FAILING, "{stats}");
    assert!((800..1_200).contains(&healthy), "{healthy}");
    let kept = |spans: &[&serde_json::Value]| spans.iter().filter(|span| attribute(span, "crumbtrail.kept").is_some()).count();
    for (trace, spans) in &traces {
        assert!(is_whole(trace) && [0, 6].contains(&kept(spans)), "{trace}: {spans:#?}");
        assert!(kept(spans) == 0 || failed.contains(trace));
    }
}
