//! What is said of spans and exceptions, and in which words.

use std::{error::Error, fmt, sync::Arc};

use crumbtrail::{AttributeValue, User, propagation::SpanContext, testing};
use tracing::{Span, dispatcher, error, field::Empty, info, info_span};

use crate::support::Pipeline;

/// Report A7: a long job says its sums over and over.
#[test]
fn the_last_word_of_a_span_counts() {
    let (_, collected) = testing::collect(|| {
        let job = info_span!("job", messages = Empty, user.id = "guest", total = Empty, note = Empty).entered();
        for number in 1..=3_000u64 {
            Span::current().record("messages", number);
            Span::current().record("note", "n".repeat(200));
        }
        Span::current().record("user.id", "ada");
        Span::current().record("total", 7);
        for _ in 0..2_000 {
            let other = info_span!(parent: None, "other");
            job.follows_from(&other);
        }
        error!("the job fails at last");
    });
    let job = collected.spans().iter().find(|span| span.name() == "job").expect("it arrived");
    assert_eq!((job.attribute("messages"), job.attribute("total")), (Some(&3_000.into()), Some(&7.into())));
    assert_eq!(job.attribute("user.id"), Some(&"ada".into()));
    assert_eq!(job.failure(), Some("the job fails at last"));
    assert_eq!(job.events().len(), 1);
    assert_eq!(collected.exceptions()[0].user().and_then(User::id), Some("ada"));
}

/// Report A7: what finds no room is counted.
#[test]
fn links_that_do_not_fit_are_counted() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let job = info_span!("job");
        let other = info_span!("other");
        (0..2_000).for_each(|_| _ = job.follows_from(&other));
    });
    let job = pipeline.span("job");
    assert_eq!((job.links.len(), job.dropped_links), (128, 2_000 - 128));
}

/// Report A8: one value, one form.
#[test]
fn roles_are_a_list_wherever_they_are() {
    let builder = testing::builder().with_user_on_logs(true).with_user_on_spans(true);
    let (_, collected) = testing::collect_with(builder, || {
        let _request = info_span!("request").entered();
        crumbtrail::set_user(User::new("1").with_roles(["admin", "ops"]));
        info!("logged");
        error!("failed");
    });
    let roles = AttributeValue::from(vec!["admin".to_owned(), "ops".to_owned()]);
    assert_eq!(collected.logs()[0].attribute("user.roles"), Some(&roles));
    assert_eq!(collected.spans()[0].attribute("user.roles"), Some(&roles));
    assert_eq!(
        collected.exceptions()[0].user().and_then(|user| user.attributes().find(|(key, _)| *key == "user.roles")),
        Some(("user.roles", &roles))
    );
}

/// Report A8: what the program says itself is what it says.
#[test]
fn the_programs_own_keys_win() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        error!(error.kind = "x", error.type = "mine", code.file.path = "generated.sql", code.line.number = 3, "it fails");
        info!(code.file.path = "generated.sql", log.target = "a target", log.file = "a file", "it is said");
        info_span!("query", code.file.path = "generated.sql").in_scope(|| ());
    });
    let exception = pipeline.exception("it fails");
    assert_eq!(exception.text("error.type"), "mine");
    assert_eq!((exception.text("code.file.path"), exception.attributes["code.line.number"].to_string().as_str()), ("generated.sql", "3"));
    assert!(!exception.attributes.keys().any(|key| key.starts_with("field.error")), "{exception:#?}");
    let log = pipeline.log("it is said");
    assert_eq!((log.text("code.file.path"), log.text("log.target"), log.text("log.file")), ("generated.sql", "a target", "a file"));
    assert_eq!(pipeline.span("query").attributes["code.file.path"].as_str(), "generated.sql");
}

#[derive(Debug)]
struct Shared;

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shared")
    }
}

impl Error for Shared {}

/// Report A14.
#[test]
fn types_behind_pointers_and_texts_are_named() {
    let (_, collected) = testing::collect(|| {
        crumbtrail::capture(&Arc::new(Shared));
        let boxed: Box<dyn Error> = Box::new(Arc::new(Shared));
        info_span!("one").in_scope(|| error!(error = &*boxed, "failed"));
        let text: Box<dyn Error + Send + Sync> = "out of stock".into();
        info_span!("two").in_scope(|| crumbtrail::capture(&text));
    });
    let types: Vec<_> = collected.exceptions().iter().map(|exception| exception.type_name()).collect();
    assert_eq!(types, ["field::words::Shared", "field::words::Shared", "alloc::string::String"]);
}

/// Report A14: function, file and line of a record are of one place.
#[test]
fn the_origin_is_one_place() {
    #[inline(never)]
    fn fails() {
        error!("it fails here");
    }
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(fails);
    let exception = pipeline.exception("it fails here");
    assert!(exception.text("code.function.name").ends_with("::fails"), "{exception:#?}");
    assert!(exception.text("code.file.path").ends_with("words.rs"));
    // By default an environment is named.
    assert_eq!(
        exception.resource["deployment.environment.name"].as_str(),
        if cfg!(debug_assertions) { "development" } else { "production" }
    );
}

/// Report A14.
#[test]
fn the_current_span_is_that_of_the_telemetry_that_records_here() {
    let (first, second) = (Pipeline::new(|builder, _| builder), Pipeline::new(|builder, _| builder));
    let (one, two) = (first.telemetry.dispatch(), second.telemetry.dispatch());
    dispatcher::with_default(&one, || {
        let _outer = info_span!("outer").entered();
        let outer = SpanContext::current().expect("entered");
        dispatcher::with_default(&two, || {
            assert_eq!(SpanContext::current(), None, "nothing is entered here");
            let _inner = info_span!("inner").entered();
            assert_ne!(SpanContext::current().map(|inner| inner.trace_id()), Some(outer.trace_id()));
        });
        assert_eq!(SpanContext::current(), Some(outer));
    });
}
