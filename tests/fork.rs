//! Processes that fork, as prefork servers and daemons do: children that hang, count or name
//! themselves as their parent does. Reports D4 and C13. Has no harness: the main thread forks, and
//! its children are to end as they say.
#![allow(unsafe_code)]

mod support;

use std::{
    collections::{HashSet, VecDeque},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use crumbtrail::{Telemetry, TelemetryGuard, config::MetricTemporality};
use crumbtrail_receiver::{Metric, Received, Receiver};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use support::PATIENCE;

const CHILDREN: usize = 300;
const AT_ONCE: usize = 8;

fn main() {
    children_of_a_busy_process_tell_their_own_errors_and_do_not_hang();
    for temporality in [MetricTemporality::Cumulative, MetricTemporality::Delta] {
        a_child_counts_from_its_own_start(temporality);
    }
    println!("test result: ok. 3 passed; 0 failed");
}

/// Report D4: whatever lock another thread held when the process was forked.
fn children_of_a_busy_process_tell_their_own_errors_and_do_not_hang() {
    let receiver = Receiver::start().expect("a receiver");
    let configure = |builder: crumbtrail::Builder| {
        // Names would take each child a while, in which its parent does not fork.
        builder.with_sampler(crumbtrail::Sampler::ratio(0.01)).with_stacktraces(false)
    };
    let (telemetry, _guard) = start(&receiver, configure);
    let dispatch = dispatch(&telemetry);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (dispatch, telemetry, is_over) = (&dispatch, &telemetry, &is_over);
            scope.spawn(move || {
                tracing::dispatcher::with_default(dispatch, || {
                    metrics::with_local_recorder(&telemetry.recorder(), || {
                        (0..).take_while(|_| !is_over.load(Ordering::Relaxed)).for_each(|round| churn(worker, round))
                    });
                });
            });
        }
        let mut children = VecDeque::new();
        for number in 0..CHILDREN {
            children.push_back(Child::fork(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    let _request = tracing::info_span!("request", otel.kind = "server").entered();
                    crumbtrail::set_user(crumbtrail::User::new(format!("of-child-{number}")));
                    tracing::info!("a breadcrumb of child {number}");
                    tracing::error!(number, "child {number} failed");
                    metrics::with_local_recorder(&telemetry.recorder(), || {
                        metrics::counter!("children", "number" => number.to_string()).increment(1);
                        metrics::histogram!("busy", "worker" => "0").record(1.0);
                    });
                });
                telemetry.shutdown(PATIENCE).is_ok()
            }));
            if children.len() == AT_ONCE {
                children.pop_front().into_iter().for_each(Child::ends);
            }
        }
        children.into_iter().for_each(Child::ends);
        is_over.store(true, Ordering::Relaxed);
    });
    let received = receiver.received();
    let told: Vec<_> = received.exceptions().filter(|exception| exception.text("exception.message").starts_with("child")).collect();
    assert_eq!(told.len(), CHILDREN);
    for exception in &told {
        let number = exception.text("exception.message").split(' ').nth(1).expect("a number");
        assert_eq!(exception.text("user.id"), format!("of-child-{number}"));
        assert_eq!(support::messages(exception), [format!("a breadcrumb of child {number}")]);
    }
    for key in ["crumbtrail.error.id", "trace"] {
        let ids: HashSet<_> = told.iter().map(|told| if key == "trace" { &*told.trace_id } else { told.text(key) }).collect();
        assert_eq!(ids.len(), CHILDREN, "children that share their parent's next {key}");
    }
    let instances: HashSet<_> = told.iter().map(|exception| exception.resource["service.instance.id"].as_str()).collect();
    assert_eq!(instances.len(), CHILDREN);
}

/// What a service does on each of its threads.
fn churn(worker: usize, round: u64) {
    let request = tracing::info_span!("churn", otel.kind = "server", worker, later = tracing::field::Empty);
    request.in_scope(|| {
        crumbtrail::set_user(crumbtrail::User::new("the-parents-user"));
        crumbtrail::set_tag("round", round);
        tracing::debug!(round, "something");
        request.record("later", round);
        tracing::info_span!("inner").in_scope(|| tracing::debug!("more"));
        let _ = crumbtrail::capture(&std::io::Error::other("of the parent"));
        metrics::counter!("churned", "worker" => worker.to_string(), "round" => (round % 100).to_string()).increment(1);
        metrics::histogram!("busy", "worker" => worker.to_string()).record(round as f64);
    });
}

/// Report C13: a child of which nothing is heard but that it counts.
fn a_child_counts_from_its_own_start(temporality: MetricTemporality) {
    let receiver = Receiver::start().expect("a receiver");
    let (telemetry, guard) = start(&receiver, |builder| builder.with_temporality(temporality));
    let recorder = telemetry.recorder();
    let count = |by| {
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("counted").increment(by);
            metrics::gauge!("level").increment(by as f64);
            metrics::histogram!("measured").record(by as f64);
        });
    };
    let kept = metrics::with_local_recorder(&recorder, || metrics::counter!("kept"));
    kept.increment(100);
    count(100);
    tracing::dispatcher::with_default(&dispatch(&telemetry), || tracing::error!("the parent's"));
    telemetry.flush(PATIENCE).expect("delivered");
    // Not yet told when it forks.
    kept.increment(10);
    count(10);
    let parent = received(&receiver, "counted", 100.0).resource["service.instance.id"].as_str().to_owned();
    let forked = now();
    let child = Child::fork(|| {
        kept.increment(7);
        count(7);
        loop {
            std::thread::park();
        }
    });
    let of_child = |received: &Received| -> Vec<Metric> {
        received.metrics.iter().filter(|metric| metric.resource["service.instance.id"].as_str() != parent).cloned().collect()
    };
    let has_all = |received: &Received| {
        ["counted", "level", "measured", "kept"].iter().all(|name| of_child(received).iter().any(|metric| metric.name == *name))
    };
    let heard = receiver.wait_for(PATIENCE, has_all).expect("a child that only counts is heard of");
    child.killed();
    for metric in of_child(&heard).iter().filter(|metric| ["counted", "measured", "kept"].contains(&&*metric.name)) {
        for point in &metric.points {
            assert!(point.start >= forked, "{temporality:?}: {} counts from before its process", metric.name);
        }
    }
    for name in ["counted", "measured", "kept"] {
        let told: Vec<f64> = of_child(&heard).iter().filter(|metric| metric.name == name).map(|metric| metric.points[0].value).collect();
        // With delta the later ones have nothing to add.
        assert_eq!(told.first(), Some(&7.0), "{temporality:?}: {name} {told:?}");
        assert!(told.iter().all(|told| *told == 7.0 || *told == 0.0), "{temporality:?}: {name} {told:?}");
    }
    let errors = of_child(&heard).into_iter().filter(|metric| metric.name == "crumbtrail.exceptions");
    assert_eq!(errors.flat_map(|metric| metric.points).map(|point| point.value).sum::<f64>(), 0.0, "{temporality:?}: the parent's errors");
    // Nothing is missing at the parent's.
    telemetry.shutdown(PATIENCE).expect("delivered");
    drop(guard);
    let all = receiver.received();
    let of_parent = all.metrics.iter().filter(|metric| metric.resource["service.instance.id"].as_str() == parent && metric.name == "kept");
    let told: Vec<f64> = of_parent.map(|metric| metric.points[0].value).collect();
    match temporality {
        MetricTemporality::Delta => assert_eq!(told.iter().sum::<f64>(), 110.0, "{told:?}"),
        _ => assert_eq!(told.last(), Some(&110.0), "{told:?}"),
    }
}

fn start(receiver: &Receiver, configure: impl FnOnce(crumbtrail::Builder) -> crumbtrail::Builder) -> (Telemetry, TelemetryGuard) {
    let builder = crumbtrail::builder(crumbtrail::service!().with_name("forks").with_crate(env!("CARGO_CRATE_NAME")))
        .with_endpoint(receiver.http_endpoint())
        .with_metric_interval(std::time::Duration::from_millis(50));
    let telemetry = configure(builder).build().expect("telemetry");
    (telemetry.clone(), telemetry.guard())
}

fn dispatch(telemetry: &Telemetry) -> tracing::Dispatch {
    use tracing_subscriber::layer::SubscriberExt as _;
    tracing_subscriber::registry().with(telemetry.layer()).into()
}

/// The metric, once its only point has this value.
fn received(receiver: &Receiver, name: &str, value: f64) -> Metric {
    let is_it = |metric: &Metric| metric.name == name && metric.points[0].value == value;
    let received = receiver.wait_for(PATIENCE, |received| received.metrics.iter().any(is_it)).expect("it arrives");
    received.metrics.into_iter().find(is_it).expect("it has")
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as u64
}

/// A forked child of this process.
struct Child(Pid);

impl Child {
    /// `run` says whether all went well. Nothing else of the process runs there, nor does it end as
    /// a process of its own would.
    fn fork(run: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child's thread is the only one there; what it needs of others' locks is what is tested.
        match unsafe { libc::fork() } {
            0 => {
                let is_well = run();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!is_well)) }
            }
            child => Self(Pid::from_raw(child).expect("it was forked")),
        }
    }

    fn ends(self) {
        let deadline = Instant::now() + PATIENCE * 2;
        loop {
            if let Some((_, status)) = waitpid(Some(self.0), WaitOptions::NOHANG).expect("our child") {
                assert_eq!(status.exit_status(), Some(0), "{status:?}");
                return;
            }
            if Instant::now() > deadline {
                self.killed();
                panic!("a child hangs");
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn killed(self) {
        kill_process(self.0, Signal::KILL).expect("our child");
        waitpid(Some(self.0), WaitOptions::empty()).expect("our child");
    }
}
