//! Delivery as a service sees it: every runtime, both protocols, a flush that tells the truth,
//! losses that are counted.

use std::time::Duration;

use crate::support::{PATIENCE, Pipeline};
#[cfg(feature = "grpc")]
use crumbtrail::config::Protocol;
use crumbtrail::{
    Sampler,
    config::{Compression, EnvVars, Exporter},
    propagation::SpanContext,
    stats::{LossReason, RecordKind},
};
use tracing::{error, info, info_span, warn};

fn work() {
    let _request = info_span!("request").entered();
    info!("a log");
    error!("an error");
}

fn assert_all_arrived(pipeline: &Pipeline) {
    let received = pipeline.received();
    let counts = (received.exceptions().count(), received.logs.len() - received.exceptions().count(), received.spans.len());
    assert_eq!(counts, (1, 1, 1));
    assert!(received.metric("crumbtrail.exceptions").is_some());
    let stats = pipeline.telemetry.stats();
    for signal in [RecordKind::Exceptions, RecordKind::Logs, RecordKind::Spans] {
        let line = stats.of(signal);
        assert_eq!((line.accepted(), line.delivered(), line.lost(), line.pending()), (1, 1, 0, 0), "{stats}");
    }
}

fn protocols() -> Vec<(&'static str, Pipeline)> {
    let http = Pipeline::new(|builder, _| builder.with_compression(Compression::Gzip));
    #[cfg(feature = "grpc")]
    let grpc = Pipeline::new(|builder, receiver| {
        builder.with_protocol(Protocol::Grpc).with_endpoint(receiver.grpc_endpoint()).with_compression(Compression::Gzip)
    });
    vec![
        ("http", http),
        #[cfg(feature = "grpc")]
        ("grpc", grpc),
    ]
}

#[test]
fn it_works_without_any_runtime() {
    for (_, pipeline) in protocols() {
        pipeline.run(work);
        assert_all_arrived(&pipeline);
    }
}

#[test]
fn it_works_inside_every_runtime_and_after_it() {
    for threads in [None, Some(1), Some(2)] {
        for (protocol, pipeline) in protocols() {
            let runtime = match threads {
                None => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
                Some(threads) => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap(),
            };
            // Flushing on the runtime's own thread blocks it; the worker needs nothing of it.
            runtime.block_on(async { pipeline.run(work) });
            runtime.block_on(async { pipeline.telemetry.flush(PATIENCE) }).unwrap_or_else(|error| panic!("{protocol}: {error}"));
            drop(runtime);
            assert_all_arrived(&pipeline);
            pipeline.run(|| info!("after the runtime is gone"));
            pipeline.log("after the runtime is gone");
        }
    }
}

#[test]
fn a_flush_covers_what_other_threads_recorded_before_it() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let telemetry = &pipeline.telemetry;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                use tracing_subscriber::layer::SubscriberExt;
                let subscriber = tracing_subscriber::registry().with(telemetry.layer());
                tracing::subscriber::with_default(subscriber, || (0..500).for_each(|number| info!(thread, number, "one of many")));
            });
        }
    });
    assert_eq!(pipeline.received().logs.len(), 2_000);
}

#[test]
fn requests_stay_small() {
    let pipeline = Pipeline::new(|builder, _| builder.with_outbox_memory(64 << 20));
    let padding = "x".repeat(4_000);
    pipeline.run(|| (0..2_000).for_each(|number| info!(number, padding = padding.as_str(), "large")));
    let received = pipeline.received();
    assert_eq!(received.logs.len(), 2_000);
    assert!(received.largest_request <= 1_100_000, "{}", received.largest_request);
}

#[test]
fn what_overflows_is_counted() {
    let pipeline = Pipeline::new(|builder, _| builder.with_outbox_memory(0));
    let emitted = 20_000;
    // Of warnings none is left out as long as there is room, so they overflow; of others some are.
    pipeline.run(|| {
        (0..emitted / 2).for_each(|number| {
            warn!(number, "burst");
            info!(number, "burst")
        })
    });
    let arrived = pipeline.receiver.wait_for(Duration::ZERO, |_| true).map(|_| pipeline.telemetry.flush(PATIENCE));
    assert!(arrived.is_some());
    let stats = pipeline.telemetry.stats();
    let logs = stats.of(RecordKind::Logs);
    assert_eq!(logs.accepted(), emitted);
    let received = pipeline.receiver.received().logs;
    let warnings = received.iter().filter(|log| log.severity_text == "WARN").count() as u64;
    let others = received.len() as u64 - warnings;
    assert_eq!(warnings + logs.lost_to(LossReason::QueueOverflow), emitted / 2, "{stats}");
    assert_eq!(others + logs.lost_to(LossReason::Overload), emitted / 2, "{stats}");
    assert!(warnings >= others, "{warnings} of {stats}");
}

#[test]
fn the_last_guard_shuts_down_and_not_the_first() {
    let pipeline = Pipeline::new(|builder, _| builder);
    let (first, last) = (pipeline.telemetry.guard(), pipeline.telemetry.guard());
    drop(first);
    pipeline.run(|| info!("between"));
    drop(last);
    pipeline.run(|| info!("after"));
    let bodies: Vec<String> = pipeline.receiver.received().logs.into_iter().map(|log| log.body).collect();
    assert_eq!(bodies, ["between"]);
}

#[test]
fn a_refused_request_is_lost_and_said_to_be() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.receiver.answer_with(Some(400));
    pipeline.run(work);
    let error = pipeline.telemetry.flush(PATIENCE).unwrap_err();
    assert_eq!((error.undelivered(), error.report().lost() >= 3), (0, true), "{error}");
    assert_eq!(pipeline.telemetry.stats().of(RecordKind::Exceptions).lost_to(LossReason::Rejected), 1);
}

#[test]
fn an_unavailable_receiver_is_tried_again() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.receiver.answer_with(Some(503));
    pipeline.run(work);
    let error = pipeline.telemetry.flush(Duration::from_secs(6)).unwrap_err();
    assert!(error.undelivered() >= 3, "{error}");
    pipeline.receiver.answer_with(None);
    let report = pipeline.telemetry.flush(PATIENCE).unwrap();
    assert!(report.delivered() >= 3 && report.lost() == 0, "{report}");
    // The outage is in the data, too.
    let told = pipeline.receiver.wait_for(PATIENCE, |received| received.logs.iter().any(|log| log.event_name == "crumbtrail.outage"));
    let received = told.expect("an account of the outage");
    let account = received.logs.iter().find(|log| log.event_name == "crumbtrail.outage").unwrap();
    let crumbtrail_receiver::Value::Double(seconds) = account.attributes["crumbtrail.outage.duration"] else { panic!("{account:#?}") };
    assert!((1.0..60.0).contains(&seconds) && account.body.contains("nothing was lost"), "{account:#?}");
    assert!(account.text("crumbtrail.outage.reason").contains("503"));
    assert_eq!((received.exceptions().count(), received.spans.len()), (1, 1));
}

#[test]
fn an_unreachable_receiver_costs_a_bounded_shutdown_and_every_loss_is_counted() {
    let pipeline = Pipeline::new(|builder, _| builder.with_endpoint("http://127.0.0.1:1"));
    pipeline.run(work);
    let error = pipeline.telemetry.shutdown(Duration::from_secs(4)).unwrap_err();
    assert!(error.undelivered() >= 3, "{error}");
    let stats = pipeline.telemetry.stats();
    for signal in [RecordKind::Exceptions, RecordKind::Logs, RecordKind::Spans] {
        assert_eq!(stats.of(signal).lost_to(LossReason::Shutdown), 1, "{stats}");
    }
    assert_eq!(pipeline.telemetry.shutdown(Duration::from_secs(1)).map(|report| report.lost()), Ok(0), "a second call does nothing");
    pipeline.run(work);
    assert_eq!(pipeline.telemetry.stats(), stats, "nothing is recorded any more");
}

#[test]
fn the_environment_decides_what_code_does_not() {
    let receiver = crumbtrail_receiver::Receiver::start().unwrap();
    let endpoint = receiver.http_endpoint();
    let environment = EnvVars::from_iter([
        ("OTEL_SERVICE_NAME", "from-the-environment"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=payments,deployment.environment.name=staging"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &format!("{endpoint}/v1/logs")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "2"),
        ("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "4"),
        ("VCS_REF", "abc123"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ]);
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_env_vars(&environment).build().unwrap();
    assert_eq!(telemetry.warnings().len(), 1, "{:?}", telemetry.warnings());
    {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(telemetry.layer());
        tracing::subscriber::with_default(subscriber, || {
            let _request = info_span!("unsampled").entered();
            info!(first = "abcdefgh", second = 2, third = 3, "limited");
            error!("in an unsampled trace");
        });
    }
    telemetry.shutdown(PATIENCE).unwrap();
    let received = receiver.received();
    assert_eq!((received.spans.len(), received.metrics.len(), received.logs.len()), (0, 0, 2));
    let exception = received.exceptions().next().expect("exceptions do not depend on sampling");
    // Not sampled; the trace's id is random.
    assert_eq!((exception.flags, exception.trace_id.len()), (2, 32));
    for (key, value) in [
        ("service.name", "from-the-environment"),
        ("team", "payments"),
        ("deployment.environment.name", "staging"),
        ("vcs.ref.head.revision", "abc123"),
    ] {
        assert_eq!(exception.resource[key].as_str(), value);
    }
    let log = received.logs.iter().find(|log| !log.is_exception()).unwrap();
    // Two in all: what says that a value was cut is one of them; of five others, four were dropped.
    let attributes = (log.text("first"), &log.attributes["crumbtrail.truncated"], log.attributes.len(), log.dropped_attributes);
    assert_eq!(attributes, ("abcd", &crumbtrail_receiver::Value::Bool(true), 2, 4), "{log:#?}");
    assert_eq!(log.body, "limited", "the body is no attribute");
    assert_eq!(exception.body, "in an unsampled trace");
}

#[test]
fn a_disabled_sdk_does_nothing_at_all() {
    let environment = EnvVars::from_iter([("OTEL_SDK_DISABLED", "true")]);
    let pipeline = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    pipeline.run(work);
    assert_eq!(pipeline.received().requests, 0);
}

#[test]
fn a_signal_may_go_nowhere() {
    let pipeline = Pipeline::new(|builder, _| builder.with_logs_exporter(Exporter::None));
    pipeline.run(work);
    let received = pipeline.received();
    assert_eq!((received.logs.len(), received.spans.len()), (0, 1));
    assert_eq!(received.spans[0].events[0].0, "exception", "the span still says what happened");
}

#[test]
fn a_trace_crosses_processes() {
    let caller = Pipeline::new(|builder, _| builder);
    let callee = Pipeline::new(|builder, _| builder.with_sampler(Sampler::always_off().parent_based()));
    let header = caller.run(|| info_span!("client", otel.kind = "client").in_scope(|| SpanContext::current().unwrap().to_string()));
    callee.run(|| {
        let remote: SpanContext = header.parse().unwrap();
        let _request = remote.in_scope(|| info_span!("server", otel.kind = "server")).entered();
        assert_eq!(SpanContext::current().unwrap().trace_id(), remote.trace_id());
        drop(info_span!("next root of its own", otel.kind = "server"));
    });
    let (client, server) = (caller.span("client"), callee.span("server"));
    assert_eq!((server.trace_id, server.parent_span_id), (client.trace_id, client.span_id));
    assert_eq!(server.flags & 0x303, 0x303, "remote parent, random, and sampled because the caller was");
    assert!(!callee.received().spans.iter().any(|span| span.name.starts_with("next root")), "the context is used once");
}

#[test]
fn other_layers_see_what_we_do_not_want() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    struct Counts(Arc<AtomicUsize>);
    impl<S: tracing::Subscriber> Layer<S> for Counts {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    for ours_first in [true, false] {
        let seen = Arc::new(AtomicUsize::new(0));
        let counts = Counts(seen.clone());
        let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if ours_first {
            Box::new(tracing_subscriber::registry().with(pipeline.telemetry.layer()).with(counts))
        } else {
            Box::new(tracing_subscriber::registry().with(counts).with(pipeline.telemetry.layer()))
        };
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!("wanted by the other layer only");
            info!("wanted by both");
        });
        assert_eq!(seen.load(Ordering::SeqCst), 2, "ours first: {ours_first}");
    }
    assert_eq!(pipeline.received().logs.len(), 2);
}

#[test]
fn the_worker_runs_as_long_as_there_is_a_layer() {
    use tracing_subscriber::layer::SubscriberExt;
    let receiver = crumbtrail_receiver::Receiver::start().unwrap();
    let layer = crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver.http_endpoint()).build().unwrap().layer();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        info!("nobody kept a handle");
        let arrived = receiver.wait_for(PATIENCE, |received| !received.logs.is_empty());
        assert!(arrived.is_some());
        error!("said last");
    });
    // The subscriber is gone, and with it the last layer: what is left is still sent.
    assert!(receiver.wait_for(PATIENCE, |received| received.exceptions().count() == 1).is_some());
}

#[test]
fn a_span_that_ends_with_its_thread_is_counted_and_leaves_nothing_behind() {
    use tracing_subscriber::layer::SubscriberExt;
    struct Held(Option<(tracing::Span, tracing::Dispatch)>);
    impl Drop for Held {
        fn drop(&mut self) {
            if let Some((span, dispatch)) = self.0.take() {
                tracing::dispatcher::with_default(&dispatch, || drop(span));
            }
        }
    }
    thread_local! {
        static HELD: std::cell::RefCell<Held> = const { std::cell::RefCell::new(Held(None)) };
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(pipeline.telemetry.layer()));
    let threads = 20;
    for _ in 0..threads {
        let dispatch = dispatch.clone();
        // The slot is made first, so that it is destroyed after crumbtrail's own thread-local state.
        let hold = move || {
            HELD.with_borrow(|_| {});
            tracing::dispatcher::with_default(&dispatch, || {
                let span = info_span!("held to the end");
                HELD.with_borrow_mut(|held| held.0 = Some((span, dispatch.clone())));
            });
        };
        std::thread::spawn(hold).join().unwrap();
    }
    tracing::dispatcher::with_default(&dispatch, || (0..50).for_each(|_| info_span!("afterwards").in_scope(|| error!("its own"))));
    let received = pipeline.received();
    let stats = pipeline.telemetry.stats();
    let spans = stats.of(RecordKind::Spans);
    let arrived = received.spans.iter().filter(|span| span.name == "held to the end").count() as u64;
    assert_eq!(arrived + spans.lost_to(LossReason::ThreadEnding), threads, "{stats}");
    assert_eq!(received.spans.iter().filter(|span| span.name == "afterwards").count(), 50);
    let roots: std::collections::BTreeSet<_> = received.exceptions().map(|exception| &exception.trace_id).collect();
    assert_eq!(roots.len(), 50, "no span took over what another left");
}

#[test]
fn a_storm_of_errors_does_not_keep_anything_from_being_sent() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let pipeline = Pipeline::new(|builder, _| builder);
    let (stop, raised) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pipeline.run(|| {
                while !stop.load(Ordering::Relaxed) {
                    error!("again");
                    raised.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        // While it rages, exceptions arrive and a flush is answered.
        let arrived = pipeline.receiver.wait_for(PATIENCE, |received| received.exceptions().count() >= 200);
        // It waits for what was recorded before, and not for what comes meanwhile: its hour is not used.
        let (done, flushed) = std::sync::mpsc::channel();
        let telemetry = &pipeline.telemetry;
        scope.spawn(move || done.send(telemetry.flush(Duration::from_secs(3600))));
        let flushed = flushed.recv_timeout(PATIENCE);
        stop.store(true, Ordering::Relaxed);
        assert!(arrived.is_some());
        if let Err(error) = flushed.expect("answered while it rages") {
            assert_eq!(error.undelivered(), 0, "{error}");
        }
    });
    let _ = pipeline.telemetry.flush(PATIENCE);
    let stats = pipeline.telemetry.stats();
    let line = stats.of(RecordKind::Exceptions);
    assert_eq!(line.accepted(), raised.load(Ordering::Relaxed), "{stats}");
    assert_eq!(line.delivered() + line.lost(), line.accepted(), "{stats}");
    assert_eq!(pipeline.receiver.received().exceptions().count() as u64, line.delivered());
}

#[test]
fn for_ever_is_a_timeout_like_any_other() {
    let pipeline = Pipeline::new(|builder, _| builder.with_metric_interval(Duration::MAX));
    pipeline.run(work);
    pipeline.telemetry.flush(Duration::MAX).unwrap();
    assert_all_arrived(&pipeline);
    pipeline.telemetry.shutdown(Duration::MAX).unwrap();
}

#[test]
fn secrets_are_not_shown() {
    let telemetry = crumbtrail::builder(crumbtrail::service!())
        .with_endpoint("http://user:hunter2@127.0.0.1:1")
        .with_header("api-key", "hunter2")
        .build()
        .unwrap();
    assert!(!format!("{telemetry:?} {:?}", telemetry.layer::<tracing_subscriber::Registry>().type_id()).contains("hunter2"));
    let builder = crumbtrail::builder(crumbtrail::service!()).with_header("api-key", "hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    let error = crumbtrail::builder(crumbtrail::service!()).with_endpoint("http://user:hunter2@ho st").build().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

use std::any::Any as _;
