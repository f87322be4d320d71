//! The program's own code before an exception leaves.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::{
    User,
    errors::Mechanism,
    stats::{LossReason, RecordKind},
    testing,
};
use crumbtrail_receiver::Receiver;
use tracing::{error, info, info_span};

const GO_ON: ControlFlow<()> = ControlFlow::Continue(());

#[test]
fn a_hook_sees_what_will_be_sent_and_its_changes_arrive() {
    let pipeline = Pipeline::new(|builder, _| {
        builder.with_before_send(|exception| {
            assert_eq!((exception.type_name(), exception.mechanism()), ("core::fmt::Error", Mechanism::Event));
            assert_eq!(exception.user().and_then(User::id), Some("42"));
            assert!(exception.frames().iter().any(|frame| frame.is_own() && frame.function().contains("hooks::")));
            assert_eq!(exception.attribute("order"), Some(&7.into()));
            assert_eq!(exception.breadcrumbs().messages(), ["charging card"]);
            exception.set_message("rewritten");
            exception.set_attribute("team", "payments");
            exception.remove_attribute("order");
            exception.set_user(Some(User::new("43")));
            exception.breadcrumbs_mut().iter_mut().for_each(|crumb| crumb.set_data("seen", true));
            exception.set_group("all that is left of payments");
            GO_ON
        })
    });
    pipeline.run(|| {
        let _request = info_span!("request", user.id = "42").entered();
        info!("charging card");
        error!(error = &std::fmt::Error as &dyn std::error::Error, order = 7, "payment failed");
    });
    let exception = pipeline.exception("payment failed");
    assert_eq!((exception.text("exception.message"), exception.text("team"), exception.text("user.id")), ("rewritten", "payments", "43"));
    assert!(!exception.attributes.contains_key("order"));
    assert!(crate::support::breadcrumbs(&exception).iter().all(|crumb| crumb["data"]["seen"] == true));
    let other = testing::collect_with(
        testing::builder().with_before_send(|exception| {
            exception.set_group("all that is left of payments");
            GO_ON
        }),
        || error!("something else"),
    );
    assert_eq!(other.1.exceptions()[0].group(), exception.text("crumbtrail.group.id"), "the same name, the same group");
    let span = pipeline.span("request");
    assert_eq!(span.events[0].1["exception.message"].as_str(), "rewritten", "its span says the same");
}

#[test]
fn what_a_hook_drops_or_panics_over_is_counted_and_nothing_else_happens() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let pipeline = Pipeline::new(|builder, _| {
        builder.with_before_send(move |exception| {
            count.fetch_add(1, Ordering::SeqCst);
            match exception.message() {
                "dropped" => ControlFlow::Break(()),
                "fatal for the hook" => panic!("in the hook"),
                _ => {
                    error!("what a hook logs is not recorded");
                    GO_ON
                }
            }
        })
    });
    pipeline.run(|| {
        let _request = info_span!("request").entered();
        error!("dropped");
        error!("fatal for the hook");
        error!("kept");
    });
    let outcome = pipeline.telemetry.flush(PATIENCE);
    assert_eq!(outcome.unwrap_err().report().lost(), 1, "a panic is a loss; what was dropped on purpose is none");
    let received = pipeline.receiver.received();
    let messages: Vec<&str> = received.exceptions().map(|exception| exception.text("exception.message")).collect();
    assert_eq!(messages, ["kept"]);
    let stats = pipeline.telemetry.stats();
    let line = stats.of(RecordKind::Exceptions);
    assert_eq!(
        (line.lost_to(LossReason::Filtered), line.lost_to(LossReason::CallbackError), line.delivered(), line.pending()),
        (1, 1, 1, 0)
    );
    assert_eq!((seen.load(Ordering::SeqCst), stats.internal_panics()), (3, 0), "once for each exception");
    pipeline.telemetry.flush(PATIENCE).unwrap();
}

#[test]
fn breadcrumbs_can_be_changed_and_dropped() {
    let builder = testing::builder().with_before_breadcrumb(|crumb| match crumb.message() {
        "dropped" => ControlFlow::Break(()),
        "panics" => panic!("in the hook"),
        _ => {
            crumb.set_message(crumb.message().to_uppercase());
            crumb.remove_data("noise");
            GO_ON
        }
    });
    let (_, collected) = testing::collect_with(builder, || {
        let _request = info_span!("request").entered();
        info!("dropped");
        info!("panics");
        info!(noise = 1, signal = 2, "changed");
        error!("failed");
    });
    let crumbs = collected.exceptions()[0].breadcrumbs();
    assert_eq!(crumbs.messages(), ["CHANGED"]);
    assert_eq!((crumbs[1].data("noise"), crumbs[1].data("signal")), (None, Some(&2.into())));
}

/// What is on disk before the hooks have seen an exception says which defect it is and no more.
#[test]
fn what_no_hook_has_seen_is_withheld() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let builder = crumbtrail::builder(crumbtrail::service!()).with_endpoint("http://127.0.0.1:1").with_state_dir(&state);
    // The hook never answers: as if the process had died before.
    let telemetry = builder
        .with_before_send(|_| {
            std::thread::sleep(Duration::from_secs(3_600));
            GO_ON
        })
        .build()
        .unwrap();
    telemetry.install_panic_hook();
    use tracing_subscriber::layer::SubscriberExt as _;
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        let _request = info_span!("request", user.id = "user-of-the-request").entered();
        crumbtrail::set_tag("tag", "tag-of-the-request");
        crumbtrail::breadcrumb("step", "step-of-the-request");
        let _ = std::panic::catch_unwind(|| panic!("message-of-the-panic"));
    });
    let runs = std::fs::read_dir(&state).unwrap().map(|run| run.unwrap().path());
    let files: Vec<_> =
        runs.flat_map(|run| std::fs::read_dir(run).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap())).collect();
    let text = files.iter().map(|file| String::from_utf8_lossy(file).into_owned()).collect::<String>();
    assert!(text.contains("tests/api/hooks.rs") && text.contains("crumbtrail.group.id") && text.contains("withheld"), "{text}");
    for secret in ["user-of-the-request", "tag-of-the-request", "step-of-the-request", "message-of-the-panic"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    // Nobody can wait for it.
    std::mem::forget(telemetry);
}

#[test]
fn a_hook_runs_once_also_where_names_have_to_be_found_first() {
    let receiver = Receiver::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let telemetry = crumbtrail::builder(crumbtrail::service!())
        .with_endpoint(receiver.http_endpoint())
        .with_state_dir(directory.path().join("state"))
        .with_before_send(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            GO_ON
        })
        .build()
        .unwrap();
    use tracing_subscriber::layer::SubscriberExt as _;
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        (0..10).for_each(|number| error!(number, "failed"));
    });
    telemetry.flush(PATIENCE).unwrap();
    assert_eq!((seen.load(Ordering::SeqCst), receiver.received().exceptions().count()), (10, 10));
    assert!(receiver.received().exceptions().all(|exception| exception.text("exception.message") == "failed"));
}
