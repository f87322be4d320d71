//! What a thread without a subscriber does takes nothing from the thread that has one.
//!
//! While a process has a single subscriber, tracing-core asks the calling thread's whether a
//! callsite is of interest, and that thread may have none.

mod support;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crumbtrail::config::Filter;
use support::Pipeline;
use tracing::{Level, dispatcher, info, warn};
use tracing_subscriber::filter::Targets;

#[test]
fn routes_can_be_exchanged_from_any_thread() {
    let _alone = alone();
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let said = |number: u32| warn!("number {number}");
        said(1);
        elsewhere(|| pipeline.telemetry.reload(Filter::Logs, Targets::new().with_default(Level::INFO)));
        said(2);
        info!("never said before");
    });
    for message in ["number 1", "number 2", "never said before"] {
        pipeline.log(message);
    }
}

#[test]
fn a_callsite_is_not_off_because_a_thread_without_a_subscriber_reached_it_first() {
    let _alone = alone();
    let pipeline = Pipeline::new(|builder, _| builder);
    let said = || warn!("said twice, heard once");
    dispatcher::with_default(&pipeline.telemetry.dispatch(), || {
        elsewhere(said);
        said();
    });
    pipeline.log("said twice, heard once");
}

#[cfg(feature = "testing")]
#[test]
fn a_test_sees_what_another_thread_reached_first() {
    let _alone = alone();
    let said = || warn!("seen by the test");
    let ((), collected) = crumbtrail::testing::collect(|| {
        elsewhere(said);
        said();
    });
    assert_eq!(collected.logs().len(), 1);
}

fn elsewhere(work: impl FnOnce() + Send) {
    thread::scope(|scope| scope.spawn(work).join()).expect("no panic");
}

/// One test at a time: with two subscribers there is nothing to see.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What nobody wants costs a comparison.
#[test]
fn the_most_verbose_level_is_that_of_the_routes() {
    let _alone = alone();
    let pipeline = Pipeline::new(|builder, _| builder);
    let dispatch = pipeline.telemetry.dispatch();
    assert_eq!(tracing::level_filters::LevelFilter::current(), Level::DEBUG);
    drop(dispatch);
}
