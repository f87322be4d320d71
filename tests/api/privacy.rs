//! Planted secrets, in every place where a value can enter, are in nothing that leaves: not on the
//! network, not on disk, not on the console, not in `Debug` texts.

use std::{error::Error, fmt, process::Command, time::Duration};

use crate::support::PATIENCE;
use crumbtrail::{
    Breadcrumb, Builder, FlagEvaluation, Scope, Scrubber, User,
    config::Exporter,
    stats::{LossReason, RecordKind},
    testing,
};
use crumbtrail_receiver::Receiver;
use serde_json::json;
use tracing::{debug, error, field::Empty, info, info_span};

/// A password, a token, a card, a JWT, and what else must not be told. Some are known by their key,
/// some by their form, some by both.
const CANARIES: [(&str, &str); 8] = [
    ("password", "hunter2-canary"),
    ("token", "ghp_canaryCANARY0123456789canaryCANARY01"),
    ("card", "4111111111111111"),
    ("jwt", "eyJhbGciOiJjYW5hcnkifQ.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5Y2FuYXJ5"),
    ("url", "postgres://app:url-canary@db/orders"),
    ("pem", "-----BEGIN PRIVATE KEY-----\nMIIEcanary\n-----END PRIVATE KEY-----"),
    ("aws", "AKIACANARYCANARY1234"),
    ("email", "canary@example.org"),
];

/// What of each must not appear.
const TRACES: [&str; 8] =
    ["hunter2-canary", "canaryCANARY", "4111111111111111", "Y2FuYXJ5", "url-canary", "MIIEcanary", "AKIACANARY", "canary@example"];

/// All of them in one text, as careless programs write them.
fn careless() -> String {
    let keyed = CANARIES.iter().map(|(key, value)| format!("{key}={value}"));
    // Without a key, where the form says enough.
    let bare = CANARIES.iter().skip(1).map(|(_, value)| format!("{:#?} at /v1/{value}", Newtype(value)));
    keyed.chain(bare).collect::<Vec<_>>().join(" and ")
}

#[derive(Debug)]
struct Newtype<'a>(#[allow(dead_code, reason = "its Debug text shows it")] &'a str);

#[derive(Debug)]
struct Careless {
    #[allow(dead_code, reason = "its Debug text shows it")]
    password: &'static str,
    text: String,
    source: Option<Box<Careless>>,
}

impl fmt::Display for Careless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused {}", self.text)
    }
}

impl Error for Careless {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

fn careless_error() -> Careless {
    let cause = Careless { password: "hunter2-canary", text: careless(), source: None };
    Careless { password: "hunter2-canary", text: careless(), source: Some(Box::new(cause)) }
}

/// Uses every way in.
fn leak() {
    let text = careless();
    let password = "hunter2-canary";
    let process = Scope::process();
    process.set_tag("process tag", text.as_str());
    process.set_context("process", &json!({ "deep": { "password": password, "note": text } }));
    let request = info_span!(
        "request",
        password,
        db.password = ?Some(password),
        note = text.as_str(),
        tags.note = text.as_str(),
        user.email = "canary@example.org",
        client.address = "hunter2-canary",
        session.id = text.as_str(),
        card = 4_111_111_111_111_111_u64,
        late = Empty
    );
    let _entered = request.enter();
    request.record("late", text.as_str());
    crumbtrail::set_user(
        User::new(text.as_str()).with_name(&text).with_email("canary@example.org").with_resource_attribute("token", password),
    );
    crumbtrail::set_tag("tag", text.as_str());
    crumbtrail::set_tag("apiKey", password);
    crumbtrail::set_tag("list", vec![text.as_str()]);
    crumbtrail::set_context("cart", &json!({ "token": password, "card": 4_111_111_111_111_111_u64, "notes": [text] }));
    crumbtrail::set_tag(&text, "a key from data");
    crumbtrail::set_context("by key", &json!({ text.as_str(): { text.as_str(): 1 } }));
    crumbtrail::breadcrumb_with(|| Breadcrumb::new(text.as_str(), "by category").with_data(text.as_str(), 1));
    crumbtrail::set_session(&text);
    crumbtrail::flag_evaluated(&FlagEvaluation::new("flag").with_variant(&text).with_value(text.as_str()).with_context(&text));
    Scope::request().copy_baggage(&format!("allowed={}", text.replace(' ', "%20")));
    crumbtrail::breadcrumb("by hand", &text);
    crumbtrail::breadcrumb_with(|| Breadcrumb::new("by hand", "lazy").with_data("secret", password).with_data("note", text.as_str()));
    debug!(password, "debug {text}");
    info!(password, count = 4_111_111_111_111_111_i64, bytes = text.as_bytes(), debug = ?careless_error(), "info {text}");
    info!(authorization = "Bearer hunter2-canary", x_api_key = 1234567890123u64, "headers");
    #[cfg(feature = "log")]
    log::info!("through the log crate {text}");
    error!(password, error = &careless_error() as &dyn Error, "error {text}");
    error!(error = %careless_error(), user.email = "canary@example.org", "another error {text}");
    crumbtrail::capture(&careless_error());
    let panics = std::thread::Builder::new().name(format!("worker password={password}")).spawn({
        let span = request.clone();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        move || tracing::dispatcher::with_default(&dispatch, || span.in_scope(|| panic!("panic {}", careless())))
    });
    let _ = panics.expect("a thread").join();
    let _ = std::panic::catch_unwind(|| panic!("panic here {}", careless()));
    metrics::counter!("requests", "token" => password, "note" => text.clone()).increment(1);
    metrics::histogram!("sizes", "password" => password).record(1.0);
}

fn builder() -> Builder {
    crumbtrail::builder(crumbtrail::service!().with_name("privacy"))
        .with_resource_attribute("deployment.password", "hunter2-canary")
        .with_resource_attribute("deployment.note", careless())
        .with_process_arguments(true)
        .with_baggage(["allowed"])
        .with_user_on_logs(true)
        .with_user_on_spans(true)
}

fn assert_clean(what: &str, text: &str) {
    for trace in TRACES {
        if let Some(at) = text.find(trace) {
            let start = (0..=at.saturating_sub(200)).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
            panic!("{trace} is in {what}: …{}…", &text[start..(at + trace.len()).min(text.len())]);
        }
    }
}

fn run(telemetry: &crumbtrail::Telemetry) {
    use tracing_subscriber::layer::SubscriberExt as _;
    telemetry.install_panic_hook();
    metrics::with_local_recorder(&telemetry.recorder(), || {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), leak);
    });
}

#[test]
fn nothing_planted_is_on_the_network() {
    let receiver = Receiver::start().unwrap();
    let builder = builder().with_endpoint(receiver.http_endpoint());
    assert_clean("Builder's Debug", &format!("{builder:?}"));
    let telemetry = builder.build().unwrap();
    run(&telemetry);
    telemetry.flush(PATIENCE).unwrap();
    let received = receiver.wait_for(PATIENCE, |received| received.metric("requests").is_some()).unwrap();
    assert_clean("what was received", &format!("{received:#?}"));
    assert_clean("Telemetry's Debug", &format!("{telemetry:?}"));
    // What is not secret has arrived all the same.
    assert!(received.exceptions().count() >= 3, "{}", received.exceptions().count());
    assert!(received.logs.iter().any(|log| log.body.starts_with("info password=[Filtered]")), "{:#?}", received.logs);
    assert!(received.exceptions().any(|exception| exception.text("exception.message").starts_with("panic here password=[Filtered]")));
    assert_eq!(received.metric("requests").unwrap().points[0].attributes["token"].as_str(), "[Filtered]");
    let arguments = format!("{:?}", received.logs[0].resource["process.command_args"]);
    assert!(arguments.contains(env!("CARGO_CRATE_NAME")), "{arguments}");
}

#[test]
fn nothing_planted_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let builder = builder().with_endpoint("http://127.0.0.1:1").with_state_dir(directory.path().join("state"));
    let builder = builder.with_spooled_logs(true).with_spooled_spans(true).with_spooled_metrics(true);
    let telemetry = builder.build().unwrap();
    run(&telemetry);
    let _ = telemetry.shutdown(Duration::from_secs(2));
    let files = files_below(directory.path());
    let bytes: usize = files.iter().map(Vec::len).sum();
    assert!(bytes > 20_000, "{bytes} bytes in {} files", files.len());
    files.iter().for_each(|content| assert_clean("a file", &String::from_utf8_lossy(content)));
    assert!(files.iter().any(|content| String::from_utf8_lossy(content).contains("[Filtered]")));
}

fn files_below(path: &std::path::Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![std::fs::read(path).unwrap()] }).collect()
}

/// The program that prints, for the next test.
const VARIABLE: &str = "CRUMBTRAIL_PRIVACY_CONSOLE";

#[test]
fn nothing_planted_is_on_the_console() {
    if std::env::var_os(VARIABLE).is_some() {
        let console = Exporter::Console;
        let builder = builder().with_logs_exporter(console).with_traces_exporter(console).with_metrics_exporter(console);
        let telemetry = builder.build().unwrap();
        std::panic::set_hook(Box::new(|_| {}));
        run(&telemetry);
        telemetry.shutdown(PATIENCE).unwrap();
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["privacy::nothing_planted_is_on_the_console", "--exact", "--nocapture"])
        .env(VARIABLE, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for expected in ["[Filtered]", "SPAN  request", "METER requests"] {
        assert!(stdout.contains(expected), "no {expected} on standard output");
    }
    assert_clean("standard output", &stdout);
    assert_clean("standard error", &stderr);
}

#[test]
fn nothing_planted_is_seen_by_hooks_and_tests() {
    let (_, collected) = testing::collect_with(builder(), leak);
    assert!(collected.exceptions().len() >= 3);
    assert_clean("Debug of what was captured", &format!("{collected:?}"));
    assert_clean("its text", &collected.to_text());
    assert_clean("its JSON", &collected.to_json().to_string());
    let user = User::new("42").with_email("canary@example.org").with_full_name("hunter2-canary");
    assert_clean("User's Debug", &format!("{user:?}"));
}

#[test]
fn hashed_ids_tell_users_apart_and_nothing_else() {
    let scrubber = Scrubber::default().with_hashed("pepper", ["user.id", "account"]);
    let (_, collected) = testing::collect_with(testing::builder().with_scrubber(scrubber), || {
        for id in ["ada", "grace", "ada"] {
            let _request = info_span!("request").entered();
            crumbtrail::set_user(User::new(id));
            error!(account = id, "failed");
        }
    });
    let of = |index: usize| {
        let exception = &collected.exceptions()[index];
        let user = exception.user().expect("a user");
        assert_eq!(user.id(), None);
        (user.hash().map(str::to_owned), exception.attribute("account").map(ToString::to_string))
    };
    assert_eq!(of(0), of(2));
    assert_ne!(of(0), of(1));
    assert_eq!(of(0).0.as_ref().map(String::len), Some(32));
    assert!(!format!("{collected:?}").contains("grace"));
}

#[test]
fn a_rule_that_panics_costs_the_record_and_is_counted() {
    let receiver = Receiver::start().unwrap();
    let scrubber = Scrubber::default().with_rule(|text| if text.contains("poison") { panic!("a rule of the program's own") } else { None });
    let telemetry =
        crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver.http_endpoint()).with_scrubber(scrubber).build().unwrap();
    use tracing_subscriber::layer::SubscriberExt as _;
    tracing::subscriber::with_default(tracing_subscriber::registry().with(telemetry.layer()), || {
        let _request = info_span!("request", note = "poison", other = 1).entered();
        info!("poison of a log");
        error!("poison of an exception");
        crumbtrail::capture(&Careless { password: "", text: "poison".to_owned(), source: None });
        info!("harmless");
    });
    let _ = telemetry.flush(PATIENCE);
    let received = receiver.received();
    assert!(!format!("{received:?}").contains("poison"), "{received:?}");
    assert_eq!((received.logs.len(), received.spans.len()), (1, 1), "{received:#?}");
    let stats = telemetry.stats();
    assert_eq!(stats.of(RecordKind::Logs).lost_to(LossReason::ScrubberFailed), 1);
    assert_eq!(stats.of(RecordKind::Exceptions).lost_to(LossReason::ScrubberFailed), 2);
}

/// A rule's panic goes through the panic hook, which looks at the scope.
#[test]
fn a_rule_that_panics_over_a_scope_blocks_nothing() {
    let scrubber = Scrubber::default().with_rule(|text| if text.contains("poison") { panic!("a rule of the program's own") } else { None });
    let (_, collected) = testing::collect_with(testing::builder().with_scrubber(scrubber), || {
        let _request = info_span!("request").entered();
        crumbtrail::set_tag("tag", "poison");
        crumbtrail::set_user(User::new("poison"));
        crumbtrail::set_session("poison");
        crumbtrail::set_context("context", &json!({ "poison": "poison" }));
        Scope::process().set_tag("process", "poison");
        error!("failed");
    });
    let exception = collected.exception("failed");
    assert_eq!(exception.attribute("tag"), Some(&"[Filtered]".into()));
    assert!(!collected.to_text().contains("poison"), "{}", collected.to_text());
}

#[test]
fn a_secret_at_a_limit_is_known_for_one() {
    let pipeline = crate::support::Pipeline::new(|builder, _| builder.with_log_attribute_limits(128, 24));
    pipeline.run(|| {
        let _request = info_span!("request").entered();
        info!(url = "postgres://app:hunter2-canary@db", bytes = "token=hunter2-canary and more".as_bytes(), "limits");
        let before = "x ".repeat(500);
        crumbtrail::set_tag("long", format!("{before}postgres://app:hunter2-canary@db"));
        error!("{}postgres://app:hunter2-canary@db", "x ".repeat(1_990));
    });
    let received = format!("{:?}", pipeline.received());
    assert_clean("what was received", &received);
    assert!(!received.contains("hunter2"), "not even in part");
}

#[test]
fn a_spans_status_says_no_more_than_its_exception() {
    let scrubber = Scrubber::default().with_rule(|text| text.find("case-").map(|start| start..start + 7));
    let (_, collected) = testing::collect_with(testing::builder().with_scrubber(scrubber), || {
        let _request = info_span!("first").entered();
        let _ = std::panic::catch_unwind(|| panic!("closing case-11"));
    });
    assert_eq!(collected.exceptions()[0].message(), "closing [Filtered]");
    assert!(!collected.span("first").failure().expect("it failed").contains("case-"));
    let builder = testing::builder().with_before_send(|exception| {
        exception.set_message("redacted");
        std::ops::ControlFlow::Continue(())
    });
    let (_, collected) = testing::collect_with(builder, || info_span!("second").in_scope(|| error!("customer Ada Lovelace")));
    assert!(!collected.span("second").failure().expect("it failed").contains("Ada"));
}
