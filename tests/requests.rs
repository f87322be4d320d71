//! Trails and requests: what an exception remembers is what its own request did, whatever tasks and
//! threads that took. One installed pipeline for all tests of this binary; each test looks for its
//! own names.

mod support;

use std::{
    fmt,
    sync::{Arc, Mutex, mpsc},
};

use support::{PATIENCE, Pipeline, breadcrumbs, messages};
use tokio::task::yield_now;
use tracing::{Instrument, Span, debug, error, info, info_span, warn};

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn a_request_is_one_however_deep_its_spans_are_and_whichever_handle_goes_first() {
    let pipeline = Pipeline::installed();
    info_span!("the deep request").in_scope(|| {
        info!("at the top of the deep request");
        let mut spans = vec![Span::current()];
        for depth in 0..23 {
            let parent = spans.last().expect("one");
            spans.push(info_span!(parent: parent, "nested", depth));
        }
        let innermost = spans.pop().expect("the last");
        drop(spans);
        innermost.in_scope(|| {
            info!("at the bottom of the deep request");
            error!("the deep request fails");
        });
    });
    let told = messages(&pipeline.exception("the deep request fails"));
    let said: Vec<_> = told.iter().filter(|message| message.contains("of the deep request")).collect();
    assert_eq!(said, ["at the top of the deep request", "at the bottom of the deep request"]);
    let received = pipeline.received();
    let nested: Vec<_> = received.spans.iter().filter(|span| span.name == "nested").collect();
    assert_eq!(nested.len(), 23);
    assert!(nested.iter().all(|span| span.trace_id == nested[0].trace_id));
}

#[test]
fn breadcrumbs_and_fields_survive_yielding_awaits() {
    let pipeline = Pipeline::installed();
    for (runtime, name) in [(current_thread(), "awaits on one thread"), (multi_thread(), "awaits on many threads")] {
        let request = async move {
            info!("before the await");
            yield_now().await;
            Span::current().record("late", 7);
            debug!(step = 2, "after the await");
            yield_now().await;
            error!("{name}");
        };
        runtime.block_on(runtime.spawn(request.instrument(info_span!("request", user.id = "42", late = tracing::field::Empty)))).unwrap();
        let exception = pipeline.exception(name);
        assert_eq!(messages(&exception), ["before the await", "after the await"]);
        assert_eq!(exception.text("user.id"), "42");
        assert_eq!(breadcrumbs(&exception).iter().find(|crumb| crumb["message"] == "after the await").unwrap()["data"]["step"], 2);
        let received = pipeline.received();
        let span = received.spans.iter().find(|span| span.span_id == exception.span_id).expect("its span");
        assert_eq!(span.trace_id, exception.trace_id);
        assert_eq!(span.attributes["late"], crumbtrail_receiver::Value::Int(7));
    }
}

#[test]
fn a_finished_childs_breadcrumbs_remain() {
    let pipeline = Pipeline::installed();
    {
        let _request = info_span!("parent of a finished child").entered();
        {
            let _child = info_span!("finished child").entered();
            warn!(left = 3, "stock is low");
        }
        error!("after the child");
    }
    let exception = pipeline.exception("after the child");
    let texts: Vec<String> = breadcrumbs(&exception).iter().map(|crumb| crumb["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["opened parent of a finished child", "opened finished child", "stock is low", "closed finished child"]);
    assert!(breadcrumbs(&exception)[3]["data"]["duration_ms"].is_number());
}

#[test]
fn two_requests_on_one_task_never_mix() {
    let pipeline = Pipeline::installed();
    let request = |name: &'static str| {
        async move {
            for step in 0..3 {
                info!("{name} step {step}");
                yield_now().await;
            }
            error!("{name} fails");
        }
        .instrument(info_span!("joined request", name))
    };
    current_thread().block_on(async {
        tokio::join!(request("left joined"), request("right joined"));
        tokio::select! {
            () = request("left selected") => {}
            () = async { request("right selected").await; std::future::pending::<()>().await } => {}
        }
    });
    for name in ["left joined", "right joined", "left selected"] {
        let exception = pipeline.exception(&format!("{name} fails"));
        assert_eq!(messages(&exception), [0, 1, 2].map(|step| format!("{name} step {step}")));
    }
}

#[test]
fn tasks_and_threads_with_the_span_keep_the_trail() {
    let pipeline = Pipeline::installed();
    multi_thread().block_on(
        async {
            info!("in the handler");
            tokio::spawn(async { info!("in a task") }.in_current_span()).await.unwrap();
            let span = Span::current();
            tokio::task::spawn_blocking(move || span.in_scope(|| info!("in a blocking task"))).await.unwrap();
            let span = Span::current();
            std::thread::spawn(move || {
                let _entered = span.enter();
                info!("on a thread");
                error!("failed on a thread");
            })
            .join()
            .unwrap();
            error!("failed in the handler");
        }
        .instrument(info_span!("spreading request")),
    );
    let on_thread = pipeline.exception("failed on a thread");
    let in_handler = pipeline.exception("failed in the handler");
    let expected = ["in the handler", "in a task", "in a blocking task", "on a thread"];
    assert_eq!(messages(&on_thread), expected);
    assert_eq!(messages(&in_handler)[..4], expected);
    assert_eq!(messages(&in_handler)[4], "failed on a thread", "an earlier exception is a breadcrumb of the next");
    assert_eq!(on_thread.span_id, in_handler.span_id);
}

#[test]
fn thousands_of_concurrent_requests_keep_apart() {
    let pipeline = Pipeline::installed();
    const REQUESTS: u64 = 3_000;
    let runtime = multi_thread();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..REQUESTS {
            tasks.spawn(
                async move {
                    // A different order of awaits and spawns for each request, the same on every run.
                    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
                    for step in 0..6 {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        match state % 4 {
                            0 => yield_now().await,
                            1 => tokio::spawn(yield_now().in_current_span()).await.unwrap(),
                            2 => async { yield_now().await }.instrument(info_span!("inner")).await,
                            _ => {}
                        }
                        debug!(request = number, step, "crowd step");
                    }
                    if number % 10 == 0 {
                        error!(request = number, "crowd failure");
                    }
                }
                .instrument(info_span!("crowd", user.id = number)),
            );
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let exceptions = pipeline.exceptions("crowd failure");
    assert_eq!(exceptions.len() as u64, REQUESTS / 10);
    for exception in exceptions {
        let number = exception.attributes["request"].to_string();
        assert_eq!(exception.attributes["user.id"].to_string(), number);
        let steps: Vec<String> = breadcrumbs(&exception)
            .iter()
            .filter(|crumb| crumb["category"] == "log")
            .map(|crumb| format!("{} {}", crumb["data"]["request"], crumb["data"]["step"]))
            .collect();
        assert_eq!(steps, (0..6).map(|step| format!("{number} {step}")).collect::<Vec<_>>());
    }
}

/// Report 14.5: an error that is told after its root has ended names that root's trace, never
/// another task's; and has nothing else of it.
#[test]
fn what_is_reported_after_its_root_refers_to_it() {
    let pipeline = Pipeline::installed();
    const TASKS: u64 = 300;
    multi_thread().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..TASKS {
            tasks.spawn(async move {
                async {
                    info!(connection = number, "being served");
                    for _ in 0..number % 4 {
                        yield_now().await;
                    }
                }
                .instrument(info_span!("late root", user.id = number))
                .await;
                if number % 3 == 0 {
                    error!(connection = number, "reported late");
                }
            });
            // Others that fail on the same threads, and have never had a root.
            tasks.spawn(async { error!("never had a root") });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    });
    let received = pipeline.received();
    let number = |attributes: &std::collections::BTreeMap<String, crumbtrail_receiver::Value>, key: &str| attributes[key].to_string();
    let late: Vec<_> = received.exceptions().filter(|exception| exception.body == "reported late").collect();
    let referring = late.iter().filter(|exception| exception.attributes.contains_key("crumbtrail.preceding.trace_id"));
    let referring = referring
        .map(|exception| {
            let root = received.spans.iter().find(|span| span.span_id == exception.text("crumbtrail.preceding.span_id")).expect("its root");
            assert_eq!(exception.text("crumbtrail.preceding.trace_id"), root.trace_id);
            assert_eq!(number(&exception.attributes, "connection"), number(&root.attributes, "user.id"));
        })
        .count();
    // Not where the thread was held up between the two for longer than that is believed.
    assert!(late.len() as u64 == TASKS / 3 && referring > late.len() / 2, "{referring} of {}", late.len());
    for exception in &late {
        assert!(exception.trace_id.is_empty() && !exception.attributes.contains_key("user.id") && messages(exception).is_empty());
    }
    let never: Vec<_> = received.exceptions().filter(|exception| exception.body == "never had a root").collect();
    assert!(!never.is_empty() && never.iter().all(|exception| !exception.attributes.contains_key("crumbtrail.preceding.trace_id")));
}

#[test]
fn a_main_that_is_one_long_span_keeps_its_requests_apart() {
    let pipeline = Pipeline::installed();
    let mut main_span = String::new();
    info_span!("the whole of main").in_scope(|| {
        main_span = crumbtrail::propagation::SpanContext::current().unwrap().to_string();
        for name in ["first served", "second served"] {
            let _request = info_span!("served request", otel.kind = "server", name).entered();
            info!("{name} step");
            error!("{name} failed");
        }
    });
    let (first, second) = (pipeline.exception("first served failed"), pipeline.exception("second served failed"));
    assert_eq!(messages(&first), ["first served step"]);
    assert_eq!(messages(&second), ["second served step"]);
    assert_ne!(first.trace_id, second.trace_id);
    let received = pipeline.received();
    let span = received.spans.iter().find(|span| span.span_id == first.span_id).unwrap();
    assert_eq!((span.kind, span.parent_span_id.as_str()), (2, ""), "a server span that is the root of its trace");
    let [(linked_trace, linked_span)] = &span.links[..] else { panic!("{span:#?}") };
    assert_eq!(format!("00-{linked_trace}-{linked_span}-03"), main_span);
}

#[test]
fn an_explicit_parent_decides() {
    let pipeline = Pipeline::installed();
    let owner = info_span!("explicit owner");
    let other = info_span!("entered other").entered();
    info!(parent: &owner, "belongs to the owner");
    let child = info_span!(parent: &owner, "explicit child");
    error!(parent: &child, "fails in the explicit child");
    error!(parent: None, "has lost its parent");
    drop(child);
    drop(owner);
    drop(other);
    let exception = pipeline.exception("fails in the explicit child");
    assert_eq!(messages(&exception), ["belongs to the owner"]);
    let (child, owner) = (pipeline.span("explicit child"), pipeline.span("explicit owner"));
    assert_eq!(exception.span_id, child.span_id);
    assert_eq!((child.parent_span_id, child.trace_id), (owner.span_id, owner.trace_id));
    // `tracing` does not tell a parent that is filtered out from none (report 14.2).
    let lost = pipeline.exception("has lost its parent");
    assert_eq!(lost.span_id, pipeline.span("entered other").span_id);
}

#[test]
fn spans_may_close_in_any_order_on_any_thread() {
    let pipeline = Pipeline::installed();
    let (outer, inner) = (info_span!("closes first"), info_span!("closes last"));
    let outer_entered = outer.clone().entered();
    let inner_entered = inner.clone().entered();
    drop(outer_entered);
    info!("still in the inner");
    drop(inner_entered);
    info_span!("unrelated").in_scope(|| error!("the stack is whole again"));
    assert_eq!(messages(&pipeline.exception("the stack is whole again")), [""; 0]);
    std::thread::spawn(move || drop((outer, inner))).join().unwrap();
    let log = pipeline.log("still in the inner");
    assert_eq!(log.span_id, pipeline.span("closes last").span_id);
    let first = pipeline.span("closes first");
    assert!(first.end >= first.start);
}

#[test]
fn a_span_may_outlive_its_root() {
    let pipeline = Pipeline::installed();
    let straggler = info_span!("root of a straggler").in_scope(|| {
        info!("while the root was open");
        info_span!("straggler")
    });
    straggler.in_scope(|| error!("the straggler fails"));
    drop(straggler);
    assert_eq!(messages(&pipeline.exception("the straggler fails")), ["while the root was open"]);
    assert_eq!(pipeline.span("straggler").parent_span_id, pipeline.span("root of a straggler").span_id);
}

struct Talks;

impl fmt::Debug for Talks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!(who = ?Murmurs, "said while being shown");
        f.write_str("talks")
    }
}

struct Murmurs;

impl fmt::Debug for Murmurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("murmured, two levels down");
        f.write_str("murmurs")
    }
}

#[test]
fn a_debug_that_logs_is_recorded_one_level_deep() {
    let pipeline = Pipeline::installed();
    let reentrant = || pipeline.telemetry.stats().of(crumbtrail::stats::RecordKind::Logs).lost_to(crumbtrail::stats::LossReason::Reentrant);
    let before = reentrant();
    info_span!("talkative request", value = ?1).in_scope(|| error!(value = ?Talks, "shows what talks"));
    let exception = pipeline.exception("shows what talks");
    assert_eq!(exception.text("value"), "talks");
    assert_eq!(messages(&exception), ["said while being shown"]);
    assert_eq!(pipeline.log("said while being shown").text("who"), "murmurs");
    assert!(!pipeline.received().logs.iter().any(|log| log.body.starts_with("murmured")));
    assert!(reentrant() > before, "what is left out is counted");
}

#[test]
fn a_debug_that_takes_a_lock_does_not_meet_ours() {
    struct Locks(Arc<Mutex<()>>);
    impl fmt::Debug for Locks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _held = self.0.lock().unwrap();
            info!("logged under the lock");
            f.write_str("locked")
        }
    }
    let pipeline = Pipeline::installed();
    let lock = Arc::new(Mutex::new(()));
    let span = info_span!("contended request");
    let (done, finished) = mpsc::channel();
    for _ in 0..2 {
        let (span, lock, done) = (span.clone(), lock.clone(), done.clone());
        std::thread::spawn(move || {
            for _ in 0..500 {
                // One thread holds the lock and logs; the other waits for it while formatting, in the same span and trail.
                span.in_scope(|| {
                    info!(value = ?Locks(lock.clone()), "contended");
                    let _held = lock.lock().unwrap();
                    info!("logged while holding");
                });
            }
            done.send(()).unwrap();
        });
    }
    for _ in 0..2 {
        finished.recv_timeout(PATIENCE).expect("no deadlock");
    }
    let received = pipeline.received();
    assert_eq!(received.logs.iter().filter(|log| log.body == "contended").count(), 1_000);
}

#[test]
fn requests_below_the_spans_route_pass_their_parent_on() {
    let pipeline = Pipeline::installed();
    {
        let _request = info_span!("visible request").entered();
        let _hidden = tracing::debug_span!("hidden step", attempt = 1).entered();
        let _visible = info_span!("visible step").entered();
        error!("below the hidden step");
    }
    let exception = pipeline.exception("below the hidden step");
    let (request, step) = (pipeline.span("visible request"), pipeline.span("visible step"));
    assert_eq!((&exception.span_id, &step.parent_span_id), (&step.span_id, &request.span_id));
    assert!(breadcrumbs(&exception).iter().any(|crumb| crumb["message"] == "opened hidden step"));
    assert!(!pipeline.received().spans.iter().any(|span| span.name == "hidden step"));
}

#[test]
fn records_of_the_log_crate_arrive_with_their_origin() {
    let pipeline = Pipeline::installed();
    {
        let _request = info_span!("request of a log user").entered();
        log::info!(target: "legacy::module", "logged the old way");
        log::debug!(target: "legacy::module", "too quiet for any route");
        log::debug!("quiet, from the own crate");
        log::error!(target: "legacy::module", "failed the old way");
    }
    let log = pipeline.log("logged the old way");
    assert_eq!((log.scope.as_str(), log.text("code.file.path")), ("legacy::module", "tests/requests.rs"));
    assert!(!log.attributes.keys().any(|key| key.starts_with("log.")), "{log:#?}");
    let exception = pipeline.exception("failed the old way");
    assert_eq!(exception.scope, "legacy::module");
    assert_eq!(messages(&exception), ["logged the old way", "quiet, from the own crate"]);
}

#[test]
fn a_long_request_keeps_its_newest_breadcrumbs_and_its_open_spans() {
    let pipeline = Pipeline::installed();
    {
        let _request = info_span!("long request", user.id = "7").entered();
        for number in 0..2_000 {
            debug!(number, "one of many");
        }
        error!("at the end of a long request");
    }
    let exception = pipeline.exception("at the end of a long request");
    let crumbs = breadcrumbs(&exception);
    assert!(crumbs.len() <= 50 && exception.text("crumbtrail.breadcrumbs").len() <= 16 * 1024);
    assert_eq!(crumbs.last().unwrap()["data"]["number"], 1_999);
    assert!(exception.attributes.contains_key("crumbtrail.breadcrumbs_left_out"));
    assert_eq!(exception.text("user.id"), "7");
}

/// Records are made in memory that the ones before have used.
#[test]
fn a_record_has_nothing_of_the_one_before() {
    let pipeline = Pipeline::new(|builder, _| builder.with_span_attribute_limits(5, 100).with_log_attribute_limits(3, 100));
    let remote = crumbtrail::propagation::extract(|name| match name {
        "traceparent" => Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        "tracestate" => Some("vendor=1"),
        _ => None,
    });
    pipeline.run(|| {
        for _ in 0..3 {
            let other = info_span!("other");
            let full = remote.clone().in_scope(|| {
                info_span!(
                    "full",
                    otel.kind = "client",
                    otel.status_code = "error",
                    text = "x",
                    number = 1,
                    yes = true,
                    more = 0.5,
                    much = "too"
                )
            });
            full.follows_from(&other);
            full.in_scope(|| error!("inside"));
            drop(full);
            info!(name: "named", text = "x", number = 1, yes = true, more = 0.5, "said");
            info_span!("plain").in_scope(|| {});
            info!(number = 2);
            pipeline.telemetry.flush(PATIENCE).expect("delivered");
        }
    });
    let received = pipeline.received();
    let (full, plain): (Vec<_>, Vec<_>) = received.spans.iter().filter(|span| span.name != "other").partition(|span| span.name == "full");
    assert_eq!((full.len(), plain.len()), (3, 3));
    for span in full {
        assert_eq!((span.kind, span.status.0, span.links.len(), span.events.len(), &*span.trace_state), (3, 2, 1, 1, "vendor=1"));
        assert_eq!((&*span.parent_span_id, span.dropped_attributes), ("b7ad6b7169203331", 2));
    }
    for span in plain {
        assert_eq!((span.kind, &span.status, span.links.len(), span.events.len(), &*span.trace_state), (1, &(0, String::new()), 0, 0, ""));
        assert_eq!((&*span.parent_span_id, span.dropped_attributes), ("", 0));
        assert_eq!(span.attributes.keys().collect::<Vec<_>>(), ["code.file.path", "code.line.number"]);
    }
    let (named, bare): (Vec<_>, Vec<_>) = received.logs.iter().filter(|log| !log.is_exception()).partition(|log| log.event_name == "named");
    assert_eq!((named.len(), bare.len()), (3, 3));
    assert!(named.iter().all(|log| log.body == "said" && log.dropped_attributes == 3));
    for log in bare {
        assert_eq!((&*log.body, &*log.event_name, log.dropped_attributes, &*log.trace_id), ("", "", 0, ""));
        assert_eq!(log.attributes.keys().collect::<Vec<_>>(), ["code.file.path", "code.line.number", "number"]);
    }
}

/// What the system says of the worker's thread.
#[test]
#[cfg(target_os = "linux")]
fn the_worker_stands_back() {
    // The nineteenth value; the second is the name, in brackets.
    let of = |stat: &str| -> Option<i64> { stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(16)?.parse().ok() };
    let own = std::fs::read_to_string("/proc/thread-self/stat").ok().and_then(|stat| of(&stat)).expect("ours");
    let niceness = || -> Vec<i64> {
        let threads = std::fs::read_dir("/proc/self/task").expect("our threads").flatten();
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        stats.filter(|stat| stat.contains("(crumbtrail)")).filter_map(|stat| Some(of(&stat)? - own)).collect()
    };
    let polite = Pipeline::new(|builder, _| builder.with_worker_niceness(7));
    let default = Pipeline::new(|builder, _| builder);
    for pipeline in [&polite, &default] {
        pipeline.run(|| tracing::info!("all the same"));
        assert_eq!(pipeline.log("all the same").severity_text, "INFO");
    }
    assert!([7, 0].iter().all(|expected| niceness().contains(expected)), "{:?}", niceness());
    assert!(!niceness().contains(&19), "nobody has asked for that");
}
