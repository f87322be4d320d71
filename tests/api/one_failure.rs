//! One failure, one exception: what comes after is an echo, a breadcrumb that names it.

use std::{error::Error, fmt};

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::{Exception, ResultExt as _, testing};
use tracing::{Instrument as _, error, info, info_span, instrument};

#[derive(Debug)]
enum Failed {
    Disk,
    Saving(Box<Failed>),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk => f.write_str("disk full"),
            Self::Saving(_) => f.write_str("saving the order failed"),
        }
    }
}

impl Error for Failed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Disk => None,
            Self::Saving(cause) => Some(&**cause),
        }
    }
}

#[instrument(err)]
fn write(fails: bool) -> Result<(), Failed> {
    info!("writing");
    if fails { Err(Failed::Disk) } else { Ok(()) }
}

#[instrument(err)]
fn save(fails: bool) -> Result<(), Failed> {
    write(fails).map_err(|cause| Failed::Saving(Box::new(cause)))
}

#[instrument(err(Debug))]
fn handle(fails: bool) -> Result<(), Failed> {
    save(fails).capture_err()
}

/// As frameworks do.
fn answer(outcome: Result<(), Failed>) {
    if let Err(error) = outcome {
        error!(error = &error as &dyn Error, "request failed");
    }
}

fn echoes(exception: &Exception) -> Vec<String> {
    let ids = exception.breadcrumbs().iter().filter_map(|crumb| crumb.data("crumbtrail.error.id"));
    ids.map(ToString::to_string).collect()
}

#[test]
fn an_error_that_bubbles_is_told_once_and_its_echoes_name_it() {
    let (_, collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        answer(handle(true));
        error!("another failure of the same request");
    });
    let [first, other] = collected.exceptions() else { panic!("{collected:?}") };
    assert_eq!((first.message(), first.mechanism().as_str()), ("disk full", "event"));
    // instrument(err) on the way out, twice; the capture; the framework.
    let echoes = echoes(other);
    assert_eq!(echoes, vec![first.id().to_string(); echoes.len()]);
    assert!(echoes.len() >= 3, "{other:?}");
    assert!(other.breadcrumbs().iter().any(|crumb| crumb.category() == "exception" && crumb.message() == "request failed"));
    let failed: Vec<&str> = collected.spans().iter().filter(|span| span.failure().is_some()).map(|span| span.name()).collect();
    assert_eq!(failed, ["request", "handle", "save", "write"], "every span it went through has failed");
    let events: usize = collected.spans().iter().map(|span| span.events().len()).sum();
    assert_eq!(events, 2, "and one has the span event of it");
}

#[test]
fn a_captured_error_keeps_its_id_on_the_way_out() {
    let ((inner, outer), collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        let cause = Failed::Disk;
        let inner = crumbtrail::capture(&cause);
        (inner, crumbtrail::capture(&Failed::Saving(Box::new(cause))))
    });
    assert_eq!(inner, outer, "the caller quotes the id of the record there is");
    assert_eq!(collected.exceptions().len(), 1);
}

#[test]
fn a_panic_that_a_middleware_reports_is_one_exception() {
    let (_, collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        let outcome = std::panic::catch_unwind(|| panic!("no stock for {}", "tea"));
        let payload = outcome.unwrap_err();
        let text = payload.downcast_ref::<String>().map_or("unknown", String::as_str);
        error!("Service panicked: {text}");
        error!("task 7 panicked with a payload that is not shown");
    });
    let [exception] = collected.exceptions() else { panic!("{collected:?}") };
    assert_eq!((exception.type_name(), exception.message()), ("panic", "no stock for tea"));
}

#[test]
fn a_function_that_goes_on_after_an_error_has_errors_of_its_own() {
    #[instrument(err)]
    fn from_cache() -> Result<(), &'static str> {
        Err("cache is down")
    }
    #[instrument(err)]
    fn load() -> Result<(), &'static str> {
        if from_cache().is_err() {
            info!("asking the database instead");
        }
        Err("database is down")
    }
    let (_, collected) = testing::collect(|| info_span!("request").in_scope(load));
    let messages: Vec<&str> = collected.exceptions().iter().map(Exception::message).collect();
    assert_eq!(messages, ["cache is down", "database is down"]);
}

#[test]
fn what_fails_again_is_another_exception() {
    let (_, collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        for attempt in 0..3 {
            info_span!("attempt", attempt).in_scope(|| error!(attempt, "connection refused"));
        }
        error!("no such user");
    });
    assert_eq!(collected.exceptions().len(), 4, "{collected:?}");
}

#[test]
fn requests_do_not_echo_each_other() {
    let (_, collected) = testing::collect(|| {
        info_span!("one").in_scope(|| error!("connection refused"));
        info_span!("two").in_scope(|| error!(error = %"connection refused", "fetching failed"));
    });
    assert_eq!(collected.exceptions().len(), 2, "{collected:?}");
}

#[test]
fn outside_of_requests_the_thread_remembers() {
    let (_, collected) = testing::collect(|| {
        let error = Failed::Disk;
        crumbtrail::capture(&error);
        error!("fatal: {error}");
        std::thread::spawn(|| {}).join().unwrap();
    });
    assert_eq!(collected.exceptions().len(), 1, "{collected:?}");
}

#[test]
fn echoes_are_found_across_awaits_and_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (_, collected) = runtime.block_on(testing::collect_async(
        async {
            use tracing::instrument::WithSubscriber as _;
            let task = async {
                tokio::task::yield_now().await;
                crumbtrail::capture(&Failed::Disk);
            };
            tokio::spawn(task.in_current_span().with_current_subscriber()).await.unwrap();
            answer(Err(Failed::Saving(Box::new(Failed::Disk))));
        }
        .instrument(info_span!("request")),
    ));
    assert_eq!(collected.exceptions().len(), 1, "{collected:?}");
}

/// Whatever they have in common.
#[test]
fn two_failures_are_two_exceptions() {
    #[derive(Debug)]
    #[allow(dead_code, reason = "its Debug text shows it")]
    struct Refused(&'static str);
    impl fmt::Display for Refused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("connection refused")
        }
    }
    impl Error for Refused {}
    #[derive(Debug)]
    #[allow(dead_code, reason = "its Debug text shows it")]
    struct AlsoRefused(u8);
    impl fmt::Display for AlsoRefused {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("connection refused")
        }
    }
    impl Error for AlsoRefused {}
    #[instrument(err)]
    fn primary() -> Result<(), Refused> {
        Err(Refused("primary"))
    }
    #[instrument(err)]
    fn fallback() -> Result<(), AlsoRefused> {
        Err(AlsoRefused(2))
    }
    let count = |raise: fn()| {
        let (_, collected) = testing::collect(|| info_span!("request").in_scope(raise));
        (collected.exceptions().len(), collected.metric("crumbtrail.exceptions").map_or(0.0, |metric| metric.total()))
    };
    let two = (2, 2.0);
    let by_hand = || {
        let (saved, notified) = (Err::<(), _>("disk is full"), Err::<(), _>("smtp: relay denied"));
        if let Err(error) = saved {
            error!(%error);
        }
        if let Err(error) = notified {
            error!(%error);
        }
    };
    assert_eq!(count(by_hand), two, "in one span, with an error and nothing else");
    assert_eq!(
        count(|| _ = (crumbtrail::capture(&Refused("a")), info!("between"), crumbtrail::capture(&AlsoRefused(1)))),
        two,
        "of one text"
    );
    assert_eq!(count(|| _ = primary().or_else(|_| fallback())), two, "in siblings");
    assert_eq!(count(|| (error!("not found"), error!("gateway certificate not found, payments are down")).1), two, "in part of one text");
}

#[test]
fn what_seems_an_echo_of_a_dropped_exception_is_sent() {
    let pipeline = Pipeline::new(|builder, _| {
        builder.with_before_send(|exception| match exception.message() {
            "Broken pipe" => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        })
    });
    pipeline.run(|| {
        for _ in 0..20 {
            let _request = info_span!("request").entered();
            error!("Broken pipe");
            // The hook has run.
            pipeline.telemetry.flush(PATIENCE).unwrap();
            error!("order lost: Broken pipe");
        }
    });
    assert_eq!(pipeline.exceptions("order lost").len(), 20);
}
