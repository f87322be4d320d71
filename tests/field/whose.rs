//! Who and what an exception is about.

use std::{sync::mpsc, thread};

use crumbtrail::{User, propagation::SpanContext};
use tracing::{Dispatch, Span, dispatcher, error, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::{Pipeline, messages};

/// With a subscriber of our own, and with a Registry.
fn dispatches(pipeline: &Pipeline) -> [Dispatch; 2] {
    [pipeline.telemetry.dispatch(), tracing_subscriber::registry().with(pipeline.telemetry.layer()).into()]
}

/// Report A1: a guard over an `await`. Its task goes on, and ends, on another thread.
#[test]
fn a_span_that_was_left_on_another_thread_and_has_ended_is_nobodys() {
    let pipeline = Pipeline::new(|builder, _| builder.with_trail_memory(1 << 20));
    for dispatch in dispatches(&pipeline) {
        dispatcher::with_default(&dispatch, || {
            let elsewhere = |ends: &(dyn Fn() + Sync)| {
                thread::scope(|scope| {
                    scope.spawn(|| dispatcher::with_default(&dispatch, ends)).join().expect("it ends");
                });
            };
            // Some beneath a span of this thread's own, as in a pool that helps while it waits.
            for depth in 0..400 {
                let span = info_span!("dead", user.id = "stranger");
                info!("the stranger's");
                let id = span.id().expect("it is on");
                dispatch.enter(&id);
                crumbtrail::set_user(User::new("stranger"));
                let above = (depth % 7 == 0).then(|| info_span!("above").entered());
                let span = std::sync::Mutex::new(Some(span));
                elsewhere(&|| {
                    dispatch.exit(&id);
                    drop(span.lock().expect("whole").take());
                });
                drop(above);
            }
            assert_eq!(SpanContext::current(), None);
            assert!(Span::current().is_none());
            error!("outside of any span");
            for _ in 0..20 {
                info_span!("anonymous").in_scope(|| {
                    info!("the anonymous one's");
                    error!("an anonymous request fails");
                });
            }
            // What they held is to be had again, by other threads too.
            elsewhere(&|| {
                info_span!("elsewhere").in_scope(|| {
                    info!("the other thread's");
                    error!("another thread fails");
                });
            });
        });
        let outside = pipeline.exceptions("outside of any span");
        assert!(outside.iter().all(|exception| exception.trace_id.is_empty() && exception.text("user.id").is_empty()), "{outside:#?}");
        let anonymous = pipeline.exceptions("an anonymous request fails");
        assert!(anonymous.len() >= 20);
        let traces: std::collections::HashSet<_> = anonymous.iter().map(|exception| &exception.trace_id).collect();
        assert_eq!(traces.len(), anonymous.len());
        for exception in anonymous {
            assert_eq!(exception.text("user.id"), "", "{exception:#?}");
            assert_eq!(messages(&exception), ["the anonymous one's"]);
        }
        for exception in pipeline.exceptions("another thread fails") {
            assert_eq!(messages(&exception), ["the other thread's"]);
        }
    }
}

/// Report B11: threads of a pool that have served and sleep now keep no memory from others.
#[test]
fn threads_that_sleep_keep_no_breadcrumbs_from_others() {
    let pipeline = Pipeline::new(|builder, _| builder.with_trail_memory(1 << 20));
    let dispatch = pipeline.telemetry.dispatch();
    dispatcher::with_default(&dispatch, || {
        thread::scope(|scope| {
            let (asleep, served) = mpsc::channel();
            let ends: Vec<_> = (0..60)
                .map(|_| {
                    let (end, until) = mpsc::channel::<()>();
                    let (asleep, dispatch) = (asleep.clone(), &dispatch);
                    scope.spawn(move || {
                        dispatcher::with_default(dispatch, || {
                            let requests: Vec<_> = (0..8).map(|_| info_span!("request")).collect();
                            for request in requests {
                                // More than one chunk's worth.
                                request.in_scope(|| (0..60).for_each(|step| info!(step, "serving, step by step")));
                                // It ends elsewhere, as tasks do.
                                asleep.send(Some(request)).expect("there is somebody");
                            }
                            asleep.send(None).expect("there is somebody");
                            let _ = until.recv();
                        });
                    });
                    end
                })
                .collect();
            served.iter().filter(Option::is_none).take(60).for_each(drop);
            let late: Vec<_> = (0..20).map(|_| info_span!("late")).collect();
            late.iter().for_each(|request| request.in_scope(|| (0..30).for_each(|step| info!(step, "late"))));
            late.iter().for_each(|request| request.in_scope(|| error!("a late request fails")));
            drop(ends);
        });
    });
    for exception in pipeline.exceptions("a late request fails") {
        assert!(messages(&exception).len() >= 30, "{:?}", messages(&exception));
    }
}
