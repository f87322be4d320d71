//! More is recorded than can be sent: what is left out is left out whole, and counted; exceptions
//! are not.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::support::{PATIENCE, Pipeline, breadcrumbs};
use crumbtrail::{
    Sampler,
    stats::{LossReason, RecordKind},
};
use crumbtrail_receiver::{Received, Value};
use tracing::{error, info, info_span, warn};

/// What the worker waits at.
#[derive(Default)]
struct Gate {
    /// The worker is there; the gate is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, is_open)| !*is_open).unwrap());
    }

    /// Until it is opened. Within a pipeline of [`overloaded`].
    fn hold_up_the_worker(&self) {
        error!("holds the worker up");
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(is_there, _)| !*is_there).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// A pipeline whose worker is held up in a hook, and whose outbox is small.
fn overloaded(sampler: Sampler) -> (Pipeline, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let of_hook = gate.clone();
    let pipeline = Pipeline::new(|builder, _| {
        builder.with_sampler(sampler).with_outbox_memory(64 * 1024).with_before_send(move |_| {
            of_hook.pass();
            ControlFlow::Continue(())
        })
    });
    (pipeline, gate)
}

/// Two spans and a log record; some have a warning more, some fail.
fn request(number: u64) {
    let _request = info_span!("request", number).entered();
    info_span!("load", number).in_scope(|| info!(number, "loaded"));
    if number.is_multiple_of(50) {
        warn!(number, "slow");
    }
    if number % 100 == 99 {
        error!(number, "refused");
    }
}

/// Which request it is of.
fn number(attributes: &BTreeMap<String, Value>) -> Option<i64> {
    match attributes.get("number") {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// Names of spans and bodies of logs, by request.
fn by_request(received: &Received) -> BTreeMap<i64, Vec<&str>> {
    let mut found = BTreeMap::<i64, Vec<&str>>::new();
    let spans = received.spans.iter().filter_map(|span| Some((number(&span.attributes)?, &*span.name)));
    let logs = received.logs.iter().filter_map(|log| Some((number(&log.attributes)?, &*log.body)));
    for (number, what) in spans.chain(logs) {
        found.entry(number).or_default().push(what);
    }
    found.values_mut().for_each(|names| names.sort_unstable());
    found
}

#[test]
fn requests_are_left_out_whole_and_counted() {
    const REQUESTS: u64 = 2_000;
    let (pipeline, gate) = overloaded(Sampler::always_on());
    pipeline.run(|| {
        gate.hold_up_the_worker();
        (0..REQUESTS).for_each(request);
        let long = info_span!("long", number = 1_000_000).entered();
        info!(number = 1_000_000, "in need");
        gate.open();
        // What was lost before is no fault of the flush.
        pipeline.received();
        info!(number = 1_000_000, "later");
        drop(long);
        (REQUESTS..REQUESTS + 30).for_each(request);
    });
    let received = pipeline.received();
    let found = by_request(&received);

    let whole = ["load", "loaded", "request"];
    let mut is_left_out = Vec::new();
    for number in 0..REQUESTS + 30 {
        let names = found.get(&(number as i64)).cloned().unwrap_or_default();
        let names: Vec<&str> = names.into_iter().filter(|name| !["slow", "refused"].contains(name)).collect();
        assert!(names.is_empty() || names == whole, "request {number} arrived in part: {names:?}");
        is_left_out.push(names.is_empty());
    }
    let left_out = is_left_out.iter().filter(|is_left_out| **is_left_out).count() as u64;
    assert!(!is_left_out[0] && is_left_out[REQUESTS as usize - 1], "as long as there is room, all is sent");
    assert!(!is_left_out[REQUESTS as usize..].contains(&true), "when there is room again, all is sent again");
    assert_eq!(found[&1_000_000], ["later"], "of what was left out, logs come as soon as there is room; its trace is not sampled");

    let logs = |body: &str| received.logs.iter().filter(|log| log.body == body).count();
    assert_eq!(logs("slow"), 41, "no warning is left out");
    let exceptions: Vec<_> = received.exceptions().filter(|log| log.body == "refused").collect();
    assert_eq!(exceptions.len(), 20, "and no exception");
    for exception in exceptions {
        let messages: Vec<String> = breadcrumbs(exception).iter().map(|crumb| crumb["message"].as_str().unwrap().to_owned()).collect();
        assert_eq!(messages[..4], ["opened request", "opened load", "loaded", "closed load"]);
    }

    let stats = pipeline.telemetry.stats();
    let (spans, logs) = (stats.of(RecordKind::Spans), stats.of(RecordKind::Logs));
    assert_eq!((spans.lost_to(LossReason::Overload), logs.lost_to(LossReason::Overload)), (2 * left_out + 1, left_out + 1), "{stats}");
    assert_eq!((spans.lost_to(LossReason::QueueOverflow), logs.lost_to(LossReason::QueueOverflow)), (0, 0), "{stats}");
    assert_eq!(spans.accepted(), 2 * (REQUESTS + 30) + 1);
    assert_eq!((spans.pending(), logs.pending()), (0, 0));
}

#[test]
fn a_failing_trace_is_kept_also_then() {
    const REQUESTS: u64 = 1_000;
    let (pipeline, gate) = overloaded(Sampler::always_on().keep_errors());
    pipeline.run(|| {
        gate.hold_up_the_worker();
        (0..REQUESTS).for_each(request);
        gate.open();
    });
    let received = pipeline.received();
    let failed = received.spans.iter().filter(|span| number(&span.attributes).is_some_and(|number| number % 100 == 99));
    assert_eq!(failed.count(), 20);
    let kept = received.spans.iter().filter(|span| span.attributes.get("crumbtrail.kept").is_some_and(|why| why.as_str() == "error"));
    let stats = pipeline.telemetry.stats();
    assert!(kept.count() >= 10, "most of them began when there was no room: {stats}");
    let spans = stats.of(RecordKind::Spans);
    assert_eq!((spans.accepted(), spans.pending()), (2 * REQUESTS, 0), "kept or missing, each is counted once: {stats}");
    assert_eq!(spans.delivered(), received.spans.len() as u64);
    assert!(spans.lost_to(LossReason::Overload) > 0);
}

/// A span that outlives its root, on another thread.
#[test]
fn a_straggler_of_a_request_that_was_left_out_is_counted_too() {
    for sampler in [Sampler::always_on(), Sampler::always_on().keep_errors()] {
        let (pipeline, gate) = overloaded(sampler);
        let straggler: JoinHandle<()> = pipeline.run(|| {
            gate.hold_up_the_worker();
            (0..1_000).map(|number| number * 100 + 1).for_each(request);
            let root = info_span!("root").entered();
            let span = info_span!("straggler");
            let dispatch = tracing::dispatcher::get_default(Clone::clone);
            drop(root);
            thread::spawn(move || tracing::dispatcher::with_default(&dispatch, || drop(span)))
        });
        straggler.join().unwrap();
        gate.open();
        let received = pipeline.received();
        let stats = pipeline.telemetry.stats();
        let spans = stats.of(RecordKind::Spans);
        assert_eq!(spans.accepted(), 2_002, "{stats}");
        assert_eq!(spans.accepted(), spans.delivered() + spans.lost_to(LossReason::Overload), "{stats}");
        assert!(!received.spans.iter().any(|span| ["root", "straggler"].contains(&&*span.name)));
    }
}

/// Report 15: with the worker held up, the outbox fills to where requests are left out, first few
/// of them and then more, and what is exported of that time says how much is missing.
#[test]
fn what_is_left_out_is_left_out_evenly_and_the_scope_says_how_much() {
    const REQUESTS: u64 = 2_000;
    let (pipeline, gate) = overloaded(Sampler::always_on());
    pipeline.run(|| {
        gate.hold_up_the_worker();
        (0..REQUESTS).for_each(request);
        assert!(!pipeline.telemetry.stats().is_overloaded(), "the worker has not seen it yet");
        gate.open();
    });
    let patience = Instant::now() + PATIENCE;
    while !pipeline.telemetry.stats().is_overloaded() && Instant::now() < patience {
        thread::yield_now();
    }
    let received = pipeline.received();
    let is_sent: Vec<bool> = {
        let found = by_request(&received);
        (0..REQUESTS).map(|number| found.get(&(number as i64)).is_some_and(|names| names.contains(&"load"))).collect()
    };
    let first = is_sent.iter().position(|is_sent| !is_sent).expect("some are left out");
    let last = is_sent.iter().rposition(|is_sent| *is_sent).expect("some are sent");
    let between = &is_sent[first..last];
    let sent = |of: &[bool]| of.iter().filter(|is_sent| **is_sent).count();
    let (all, at_first, at_last) = (sent(between), sent(&between[..between.len() / 10]), sent(&between[between.len() / 2..]));
    let counts = format!("{all} of {} sent, of the first tenth {at_first}, of the last half {at_last}", between.len());
    assert!(between.len() > 100 && all > 20 && all * 4 < between.len() * 3, "{counts}");
    assert!(at_first * 4 > between.len() / 10 && at_first > at_last, "first few are left out, and then more: {counts}");

    let stats = pipeline.telemetry.stats();
    assert!(stats.is_overloaded() && stats.to_string().ends_with("overloaded: more is recorded than can be exported"), "{stats}");
    let spans = stats.of(RecordKind::Spans);
    let expected = spans.lost_to(LossReason::Overload) as f64 / spans.accepted() as f64;
    let of_spans: Vec<_> = received.spans.iter().filter_map(|span| ratio(&span.scope_attributes)).collect();
    assert!(!of_spans.is_empty() && of_spans.iter().all(|ratio| (ratio - expected).abs() < 0.05), "{expected}: {of_spans:?}");
    let of_logs = received.logs.iter().filter(|log| log.body == "loaded").find_map(|log| ratio(&log.scope_attributes));
    assert!(of_logs.is_some_and(|ratio| ratio > 0.5), "{of_logs:?}");

    // And what is exported later does not.
    pipeline.run(|| (0..10).for_each(|number| request(1_000_000 + number)));
    let received = pipeline.received();
    let later = received.spans.iter().filter(|span| number(&span.attributes).is_some_and(|number| number >= 1_000_000));
    assert!(later.clone().count() == 20 && later.clone().all(|span| ratio(&span.scope_attributes).is_none()));
}

fn ratio(scope: &BTreeMap<String, Value>) -> Option<f64> {
    match scope.get("crumbtrail.left_out.ratio") {
        Some(Value::Double(ratio)) => Some(*ratio),
        _ => None,
    }
}
