//! Who, doing what, in which circumstances: the scope of a request and of the process.

use std::{collections::BTreeMap, time::Duration};

use crate::support::Pipeline;
use crumbtrail::{AttributeValue, FlagEvaluation, Scope, User, testing};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde::Serialize;
use tracing::{Instrument as _, Span, error, field::Empty, info, info_span};

#[derive(Serialize)]
struct Cart {
    items: Vec<&'static str>,
    total: Money,
    coupon: Option<&'static str>,
}

#[derive(Serialize)]
struct Money {
    cents: i64,
    currency: &'static str,
}

#[test]
fn an_exception_says_who_and_in_which_circumstances() {
    let (_, collected) = testing::collect(|| {
        let _request = info_span!("checkout").entered();
        crumbtrail::set_user(User::new("42").with_name("ada").with_roles(["admin", "buyer"]).with_resource_attribute("plan", "pro"));
        crumbtrail::set_tag("region", "eu");
        crumbtrail::set_tag("attempt", 2);
        crumbtrail::set_session("s-1");
        let total = Money { cents: 1999, currency: "EUR" };
        crumbtrail::set_context("cart", &Cart { items: vec!["tea", "cup"], total, coupon: None });
        crumbtrail::flag_evaluated(&FlagEvaluation::new("new-checkout").with_variant("on").with_value(true).with_provider("flagd"));
        crumbtrail::flag_evaluated(&FlagEvaluation::new("dark-mode").with_variant("off"));
        error!("out of stock");
    });
    let exception = collected.exception("out of stock");
    let user = exception.user().expect("a user");
    assert_eq!((user.id(), user.name()), (Some("42"), Some("ada")));
    let attributes: BTreeMap<&str, String> = exception.attributes().map(|(key, value)| (key, format!("{value:?}"))).collect();
    let expected = [
        ("attempt", "2"),
        ("cart.items", r#"["tea","cup"]"#),
        ("cart.total.cents", "1999"),
        ("cart.total.currency", "\"EUR\""),
        ("region", "\"eu\""),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key, value.to_owned())).into());
    assert_eq!(exception.session(), Some("s-1"));
    let flags: Vec<_> = exception.flags().iter().map(|flag| (flag.key(), flag.variant(), flag.value().cloned())).collect();
    assert_eq!(flags, [("new-checkout", Some("on"), Some(AttributeValue::Bool(true))), ("dark-mode", Some("off"), None)]);
    let evaluation = &collected.logs()[0];
    assert_eq!(
        (evaluation.event_name(), evaluation.attribute("feature_flag.key")),
        ("feature_flag.evaluation", Some(&"new-checkout".into()))
    );
}

#[test]
fn the_record_has_it_under_the_conventions_names() {
    let pipeline = Pipeline::new(|builder, _| builder.with_default_pii(true));
    pipeline.run(|| {
        let _request = info_span!("checkout").entered();
        crumbtrail::set_user(User::new("42").with_email("ada@example.org").with_roles(["admin"]));
        crumbtrail::set_session("s-1");
        crumbtrail::flag_evaluated(&FlagEvaluation::new("new-checkout").with_variant("on").with_version("7"));
        error!("out of stock");
    });
    let exception = pipeline.exception("out of stock");
    assert_eq!((exception.text("user.id"), exception.text("user.email"), exception.text("session.id")), ("42", "ada@example.org", "s-1"));
    let flags: serde_json::Value = serde_json::from_str(exception.text("crumbtrail.feature_flags")).unwrap();
    assert_eq!(flags, serde_json::json!([{ "key": "new-checkout", "variant": "on", "version": "7" }]));
}

#[test]
fn the_request_wins_over_the_process_and_the_event_over_both() {
    let (_, collected) = testing::collect(|| {
        let process = Scope::process();
        process.set_tag("region", "eu");
        process.set_tag("shard", 1);
        process.set_tag("tier", "low");
        process.set_user(User::new("nobody"));
        error!("outside");
        {
            let _request = info_span!("request").entered();
            crumbtrail::set_tag("region", "us");
            crumbtrail::set_tag("tier", "middle");
            crumbtrail::set_user(User::new("42"));
            error!(tier = "high", user.id = "43", "inside");
            crumbtrail::clear_user();
            error!("cleared");
        }
        process.remove_tag("shard");
        error!("outside again");
    });
    let of = |marker: &str| {
        let exception = collected.exceptions().iter().find(|exception| exception.message() == marker).expect(marker);
        let tag = |key: &str| exception.attribute(key).map(ToString::to_string);
        (exception.user().and_then(User::id).map(str::to_owned), tag("region"), tag("shard"), tag("tier"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(of("outside"), (some("nobody"), some("eu"), some("1"), some("low")));
    assert_eq!(of("inside"), (some("43"), some("us"), some("1"), some("high")));
    assert_eq!(of("cleared").0, None);
    assert_eq!(of("outside again"), (some("nobody"), some("eu"), None, some("low")));
}

#[test]
fn fields_of_the_root_span_say_the_same_without_an_import() {
    let (_, collected) = testing::collect(|| {
        let request = info_span!("request", user.id = "42", user.name = Empty, session.id = 7, tags.plan = "pro");
        let _entered = request.enter();
        request.record("user.name", "ada");
        info_span!("on behalf of another", user.id = "43").in_scope(|| error!("within"));
        info_span!("child").in_scope(|| error!("beside"));
        info!(feature_flag.key = "new-checkout", feature_flag.result.variant = "on", "flag evaluated");
        crumbtrail::set_user(User::new("44"));
        error!("by hand");
    });
    let of = |marker: &str| collected.exception(marker);
    assert_eq!(of("within").user().and_then(User::id), Some("43"));
    assert_eq!(of("within").user().and_then(User::name), None, "of another user nothing else is known");
    assert_eq!(of("beside").user().and_then(User::name), Some("ada"));
    assert_eq!(of("beside").user().and_then(User::id), Some("42"));
    assert_eq!((of("beside").session(), of("beside").attribute("plan")), (Some("7"), Some(&"pro".into())));
    assert_eq!(of("by hand").user().and_then(User::id), Some("44"), "what is said by hand wins");
    assert_eq!(of("by hand").flags()[0].variant(), Some("on"));
}

#[test]
fn logs_and_spans_say_who_they_are_for_when_asked() {
    let work = || {
        info_span!("first", user.id = "42").in_scope(|| info!("from the root span"));
        info_span!("second").in_scope(|| {
            info!("nobody yet");
            crumbtrail::set_user(User::new("43"));
            info!("by hand");
        });
    };
    let (_, collected) = testing::collect_with(testing::builder().with_user_on_logs(true).with_user_on_spans(true), work);
    let user_of = |body: &str| collected.log(body).attribute("user.id").map(ToString::to_string);
    assert_eq!(user_of("from the root span").as_deref(), Some("42"));
    assert_eq!(user_of("nobody yet"), None);
    assert_eq!(user_of("by hand").as_deref(), Some("43"));
    assert_eq!(collected.span("second").attribute("user.id"), Some(&"43".into()));
    let (_, plain) = testing::collect(work);
    assert_eq!(plain.log("by hand").attribute("user.id"), None, "not by default");
}

#[test]
fn nothing_outlives_its_request_and_everything_is_bounded() {
    let (_, collected) = testing::collect(|| {
        crumbtrail::set_user(User::new("of no request"));
        crumbtrail::set_tag("of", "no request");
        for request in 0..50 {
            let _request = info_span!("request").entered();
            if request % 2 == 0 {
                crumbtrail::set_user(User::new(request.to_string()));
                crumbtrail::set_tag("even", true);
            }
            error!(request, "failed");
        }
        let _request = info_span!("greedy request").entered();
        for number in 0..1_000 {
            crumbtrail::set_tag(&format!("{number}{}", "k".repeat(1_000)), "v".repeat(10_000));
            crumbtrail::set_context(&format!("c{number}"), &vec![number; 1_000]);
            crumbtrail::flag_evaluated(&FlagEvaluation::new(format!("flag {number}")));
        }
        error!("greedy");
    });
    for exception in collected.exceptions().iter().filter(|exception| exception.message() == "failed") {
        let request = exception.attribute("request").and_then(AttributeValue::as_i64).expect("a number");
        let expected = (request % 2 == 0).then(|| request.to_string());
        assert_eq!(exception.user().and_then(User::id), expected.as_deref());
        assert_eq!(exception.attribute("even").is_some(), request % 2 == 0);
        assert_eq!(exception.attribute("of"), None);
    }
    let greedy = collected.exception("greedy");
    assert_eq!((greedy.attributes().count(), greedy.flags().len()), (64 + 16, 32));
    assert_eq!(greedy.flags()[31].key(), "flag 999", "the last evaluated stay");
    assert!(greedy.attributes().all(|(key, value)| key.len() <= 96 && value.to_string().len() <= 8 * 1024));
}

/// Thousands of requests, hundreds at once, on several threads, each with a user of its own,
/// through awaits, spawned tasks and threads: none sees another's.
#[test]
fn users_of_concurrent_requests_never_mix() {
    const REQUESTS: u64 = 4_000;
    let pipeline = Pipeline::new(|builder, _| builder.with_outbox_memory(8 << 20));
    let dispatch = {
        use tracing_subscriber::layer::SubscriberExt as _;
        tracing::Dispatch::new(tracing_subscriber::registry().with(pipeline.telemetry.layer()))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        use tracing::instrument::WithSubscriber as _;
        for some in (0..REQUESTS).collect::<Vec<_>>().chunks(250) {
            let requests = some.iter().map(|number| tokio::spawn(request(*number).with_subscriber(dispatch.clone())));
            for request in requests.collect::<Vec<_>>() {
                request.await.unwrap();
            }
            // More at once would not fit the express lane.
            let telemetry = pipeline.telemetry.clone();
            tokio::task::spawn_blocking(move || telemetry.flush(crate::support::PATIENCE)).await.unwrap().unwrap();
        }
    });
    let received = pipeline.received();
    let mut seen = BTreeMap::new();
    let mut ids = std::collections::BTreeSet::new();
    for exception in received.exceptions() {
        // Where an answer comes too late a request is sent again: what comes twice has the same id.
        if !ids.insert(exception.text("log.record.uid")) {
            continue;
        }
        let number = exception.attributes["request"].to_string();
        assert_eq!(exception.text("user.id"), number);
        assert_eq!(exception.text("tag"), format!("tag of {number}"));
        let steps = crate::support::messages(exception);
        assert!(steps.iter().all(|step| step.ends_with(&format!("of {number}"))), "{number}: {steps:?}");
        *seen.entry(number).or_insert(0) += 1;
    }
    assert_eq!((seen.len() as u64, seen.values().sum::<u64>()), (REQUESTS, 2 * REQUESTS));
}

async fn request(number: u64) {
    let mut random = SmallRng::seed_from_u64(number);
    let span = info_span!("request", tags.tag = format!("tag of {number}"));
    let mut waits = [0; 4].map(|_| random.random_range(0..3));
    let body = async move {
        yields(waits[0]).await;
        crumbtrail::set_user(User::new(number.to_string()));
        crumbtrail::breadcrumb("step", &format!("first of {number}"));
        yields(waits[1]).await;
        // A task, and a thread, that carry the span.
        let task = async move {
            yields(waits[2]).await;
            crumbtrail::breadcrumb("step", &format!("in a task of {number}"));
            error!(request = number, "failed in a task of {number}");
        };
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        use tracing::instrument::WithSubscriber as _;
        tokio::spawn(task.in_current_span().with_subscriber(dispatch.clone())).await.unwrap();
        waits.reverse();
        let span = Span::current();
        let thread = move || {
            tracing::dispatcher::with_default(&dispatch, || {
                span.in_scope(|| crumbtrail::breadcrumb("step", &format!("on a thread of {number}")));
            });
        };
        tokio::task::spawn_blocking(thread).await.unwrap();
        yields(waits[3]).await;
        error!(request = number, "failed at the end of {number}");
    };
    body.instrument(span).await;
}

async fn yields(times: u32) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
    if times == 2 {
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
}
