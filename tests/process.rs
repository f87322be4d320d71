//! Whole processes: `init` from the environment, every way to end, what is delivered before that.
//! Has no harness, because a test's thread is never the main one.

mod support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use crumbtrail_receiver::{Log, Received, Receiver};
use support::{PATIENCE, messages};

/// What a child does, by its name.
const CHILDREN: [(&str, fn()); 18] = [
    ("panics", panics_on_the_main_thread),
    ("survives", survives_a_task_on_the_main_thread),
    ("catches", catches_on_the_main_thread),
    ("exits", exits_without_dropping_the_guard),
    ("exits by us", exits_by_our_own_function),
    ("own hook", has_a_hook_that_exits),
    ("double panic", panics_while_it_unwinds),
    ("no guard", panics_before_there_is_a_guard),
    ("fails", fails_as_a_command_does),
    ("replaced", fails_after_it_was_replaced),
    ("has a logger", has_a_logger_already),
    ("returns an error", returns_an_error),
    ("filtered", fails_below_a_filter),
    ("unfiltered", fails_beside_a_layer_that_wants_everything),
    ("reports late", reports_errors_after_their_spans),
    ("overloads", records_more_than_is_exported),
    ("prints", fails_in_a_container),
    ("layer alone", fails_with_a_layer_and_no_guard),
];

const TESTS: [fn(); 15] = [
    a_panic_that_ends_the_process_is_fatal_and_delivered,
    a_caught_panic_on_the_main_thread_is_not_fatal,
    what_was_recorded_last_is_delivered_however_the_process_ends,
    a_panic_while_another_unwinds_is_delivered,
    a_group_does_not_depend_on_how_long_the_process_lives,
    a_program_that_was_replaced_names_its_own_frames,
    a_logger_that_is_there_is_no_failure,
    pairs_of_the_log_crate_arrive,
    an_error_that_main_returns_is_fatal_and_delivered,
    what_a_global_filter_hides_is_said_once_with_the_remedy,
    an_error_that_is_reported_after_its_span_is_said_once_with_the_remedy,
    what_sending_says_of_itself_is_in_no_layer_of_the_hosts,
    an_overload_is_said_when_it_begins_and_when_it_has_ended,
    a_container_prints_a_json_object_a_line,
    the_console_is_as_the_environment_has_it,
];

fn main() {
    if let Ok(name) = std::env::var("CRUMBTRAIL_TEST_CHILD") {
        let child = CHILDREN.iter().find(|(known, _)| *known == name).expect("a child of ours");
        return child.1();
    }
    TESTS.iter().for_each(|test| test());
    println!("test result: ok. {} passed; 0 failed", TESTS.len());
}

fn a_panic_that_ends_the_process_is_fatal_and_delivered() {
    let (status, exception) = run("panics");
    assert_eq!(status.code(), Some(101), "the exit status of a panic is unchanged");
    assert_eq!((exception.severity, exception.severity_text.as_str()), (21, "FATAL"), "{exception:#?}");
    assert_eq!((exception.text("exception.message"), exception.text("thread.name")), ("main panics", "main"));
    assert_eq!(messages(&exception), ["about to panic"]);
    assert_eq!(exception.resource["service.name"].as_str(), "named-by-the-environment");
}

/// Report A5: severity depends on what happened, not on what frames are called.
fn a_caught_panic_on_the_main_thread_is_not_fatal() {
    for child in ["survives", "catches"] {
        let (status, exception) = run(child);
        assert!(status.success());
        assert_eq!((exception.severity, exception.text("thread.name")), (17, "main"), "{exception:#?}");
    }
}

/// Reports B3, B14: without a state directory.
fn what_was_recorded_last_is_delivered_however_the_process_ends() {
    for (child, code, message) in [
        ("exits", 3, "the last word"),
        ("exits by us", 5, "the last word"),
        ("own hook", 4, "main panics"),
        ("no guard", 101, "too early"),
        ("layer alone", 0, "the last word"),
    ] {
        let (status, exception) = run(child);
        assert_eq!((status.code(), exception.text("exception.message")), (Some(code), message), "{child}");
    }
}

/// Report B3.
fn a_panic_while_another_unwinds_is_delivered() {
    let (status, received) = run_with("double panic", |_| {});
    assert!(!status.success());
    let messages: Vec<_> = received.exceptions().map(|exception| exception.text("exception.message")).collect();
    assert_eq!(messages, ["the first", "the second", "panic in a destructor during cleanup"]);
    assert!(received.exceptions().any(|exception| exception.severity == 21), "{messages:?}");
}

/// Report E: what std prints and what is told agree.
fn an_error_that_main_returns_is_fatal_and_delivered() {
    let (status, exception) = run("returns an error");
    assert_eq!(status.code(), Some(1));
    assert_eq!((exception.severity, exception.text("crumbtrail.mechanism")), (21, "main"), "{exception:#?}");
    assert_eq!(exception.text("exception.message"), "cannot start");
    assert!(exception.text("crumbtrail.chain").contains("no configuration"), "{exception:#?}");
    assert!(exception.text("code.file.path").ends_with("tests/process.rs"), "{exception:#?}");
    assert_eq!(messages(&exception), ["about to start"]);
}

/// Report 14.1.
fn what_a_global_filter_hides_is_said_once_with_the_remedy() {
    let receiver = Receiver::start().expect("a receiver");
    let output = command(&std::env::current_exe().expect("our own path"), "filtered", &receiver).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let about: Vec<&str> = said.lines().filter(|line| line.contains("a filter over all layers")).collect();
    assert_eq!(about.len(), 1, "{said}");
    assert!(about[0].contains("(exceptions: error; logs: info; spans: info; breadcrumbs: info, crumbtrail=debug)"), "{said}");
    assert!(about[0].contains(".with_filter(tracing_subscriber::EnvFilter::from_default_env())"), "{said}");
}

/// Report 14.5: whose it is cannot be told, so nothing is claimed.
fn an_error_that_is_reported_after_its_span_is_said_once_with_the_remedy() {
    let receiver = Receiver::start().expect("a receiver");
    let output = command(&std::env::current_exe().expect("our own path"), "reports late", &receiver).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let about: Vec<&str> = said.lines().filter(|line| line.contains("just after the span \"handle\"")).collect();
    assert_eq!(about.len(), 1, "{said}");
    assert!(about[0].contains("tests/process.rs:") && about[0].contains("#[instrument(err)]"), "{said}");
    assert!(receiver.received().exceptions().all(|exception| exception.trace_id.is_empty()));
}

/// Report 14.7: hyper's and the SDK's own events, on our threads; not those on the host's.
fn what_sending_says_of_itself_is_in_no_layer_of_the_hosts() {
    let receiver = Receiver::start().expect("a receiver");
    let output = command(&std::env::current_exe().expect("our own path"), "unfiltered", &receiver).output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(receiver.received().exceptions().count() == 1, "it was sent");
    let heard = String::from_utf8_lossy(&output.stdout);
    assert_eq!(heard.lines().collect::<Vec<_>>(), ["process failed", "hyper the host's own", "log the host's own, too"]);
}

/// Report 15.
fn an_overload_is_said_when_it_begins_and_when_it_has_ended() {
    let receiver = Receiver::start().expect("a receiver");
    let output = command(&std::env::current_exe().expect("our own path"), "overloads", &receiver).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("crumbtrail: ")).collect();
    let [begins, ended] = lines[..] else { panic!("{said}") };
    assert!(begins.contains("more is recorded than can be exported"), "{begins}");
    let counted = format!("{} logs and {} spans were left out", counted(&output.stdout, "logs"), counted(&output.stdout, "spans"));
    assert!(ended.contains("than could be exported") && ended.ends_with(&counted), "{ended}, {counted}");
}

/// What the child says it has counted.
fn counted(said: &[u8], what: &str) -> u64 {
    let said = String::from_utf8_lossy(said);
    said.lines().find_map(|line| line.strip_prefix(what)).and_then(|count| count.trim().parse().ok()).expect("a count")
}

/// What the child "prints" leaves on standard error, with these variables.
#[cfg(feature = "console")]
fn printed(variables: &[(&str, &str)]) -> (String, Received) {
    let receiver = Receiver::start().expect("a receiver");
    let mut command = command(&std::env::current_exe().expect("our own path"), "prints", &receiver);
    let output = command.envs(variables.iter().copied()).env_remove("RUST_LOG").output().expect("a child");
    assert!(output.status.success());
    (String::from_utf8(output.stderr).expect("text"), receiver.received())
}

/// Report 14.7: nobody sits at a terminal. What was captured is there, too, as it was reported.
#[cfg(feature = "console")]
fn a_container_prints_a_json_object_a_line() {
    let (printed, received) = printed(&[]);
    let lines: Vec<serde_json::Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {printed}"));
    let info = line("about to start");
    assert_eq!((&info["level"], &info["target"], &info["span"]), (&"INFO".into(), &"process".into(), &"run".into()));
    assert_eq!((&info["fields"]["attempt"], &info["fields"]["password"]), (&2.into(), &"[Filtered]".into()));
    let failed = line("start failed");
    assert_eq!(failed["fields"]["error"], "no configuration");
    let collected = line("out of memory");
    let record = received.exceptions().find(|exception| exception.text("exception.message") == "out of memory").expect("its record");
    assert_eq!(collected["crumbtrail.error.id"], record.text("crumbtrail.error.id"));
    assert_eq!(collected["exception.type"], record.text("exception.type"));
    assert!(collected["frames"][0].as_str().is_some_and(|frame| frame.contains("fails_in_a_container")), "{collected}");
    for line in [info, failed, collected] {
        assert_eq!(line["trace_id"], record.trace_id, "{line}");
    }
    if cfg!(feature = "log") {
        assert_eq!((&line("by way of log")["target"], &line("by way of log")["fields"]), (&"shop::db".into(), &serde_json::Value::Null));
    }
    assert_eq!(lines.len(), 3 + usize::from(cfg!(feature = "log")), "{printed}");
}

/// Report 14.7.
#[cfg(feature = "console")]
fn the_console_is_as_the_environment_has_it() {
    let (text, _) = printed(&[("CRUMBTRAIL_CONSOLE", "text")]);
    assert!(text.contains(" INFO run: process: about to start attempt=2 password=[Filtered]\n"), "{text}");
    assert!(text.contains(" ERROR std::io::error::Error: out of memory\n    at ") && !text.contains('\u{1b}'), "{text}");
    let (compact, received) = printed(&[("CRUMBTRAIL_CONSOLE", "compact")]);
    assert_eq!(compact.lines().count(), 3 + usize::from(cfg!(feature = "log")), "{compact}");
    assert_eq!(received.exceptions().count(), 2);
    let (nothing, received) = printed(&[("CRUMBTRAIL_CONSOLE", "off")]);
    assert_eq!((nothing.as_str(), received.exceptions().count()), ("", 2));
    let (errors, _) = printed(&[("CRUMBTRAIL_CONSOLE", "loud")]);
    assert!(errors.lines().next().is_some_and(|line| line.contains("CRUMBTRAIL_CONSOLE") && line.contains("json")), "{errors}");
}

#[cfg(not(feature = "console"))]
fn a_container_prints_a_json_object_a_line() {}

#[cfg(not(feature = "console"))]
fn the_console_is_as_the_environment_has_it() {}

/// Report A11: a command that fails at once, three times, and with `RUST_BACKTRACE`.
fn a_group_does_not_depend_on_how_long_the_process_lives() {
    let runs = ["0", "0", "0", "1"].map(|backtrace| {
        let (_, received) = run_with("fails", |command| _ = command.env("RUST_BACKTRACE", backtrace));
        let mut exceptions: Vec<Log> = received.exceptions().cloned().collect();
        exceptions.sort_by_key(|exception| exception.time);
        assert_eq!(exceptions.len(), 2, "{exceptions:#?}");
        exceptions
    });
    for number in 0..2 {
        let of = |key: &'static str| runs.iter().map(move |exceptions| exceptions[number].text(key));
        let coarse: std::collections::HashSet<_> = of("crumbtrail.group.coarse").collect();
        assert_eq!(coarse.len(), 1, "{coarse:?}");
        // Where there was no time for names, that is said.
        let is_whole = |exceptions: &&Vec<Log>| !exceptions[number].attributes.contains_key("crumbtrail.group.provisional");
        let whole: Vec<_> = runs.iter().filter(is_whole).map(|exceptions| exceptions[number].text("crumbtrail.group.id")).collect();
        assert!(whole.windows(2).all(|pair| pair[0] == pair[1]), "{whole:?}");
    }
}

/// Report A10: another program is put in its place, as deploys do; then that one is changed where
/// it lies.
fn a_program_that_was_replaced_names_its_own_frames() {
    let receiver = Receiver::start().expect("a receiver");
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("program");
    let ourselves = std::env::current_exe().expect("our own path");
    std::fs::copy(&ourselves, &program).expect("copied");
    let mut child = Talking::start(&program, "replaced", &receiver);
    assert_eq!(child.says(), "ready");
    let other = directory.path().join("other");
    std::fs::copy(&ourselves, &other).expect("copied");
    std::fs::rename(&other, &program).expect("replaced");
    child.is_told("fail");
    assert_eq!(child.says(), "failed");
    std::fs::OpenOptions::new().write(true).open(&program).and_then(|file| file.set_len(4096)).expect("cut off");
    child.is_told("fail");
    assert_eq!(child.says(), "failed");
    std::fs::remove_file(&program).expect("removed");
    child.is_told("fail");
    assert_eq!(child.says(), "failed");
    assert!(child.ends().success(), "it goes on");
    let received = receiver.received();
    let exceptions: Vec<_> = received.exceptions().collect();
    assert_eq!(exceptions.len(), 3);
    for exception in exceptions {
        assert!(exception.text("code.function.name").ends_with("fails_in_its_own_function"), "{exception:#?}");
        assert!(exception.text("exception.stacktrace").contains("fails_after_it_was_replaced"), "{exception:#?}");
    }
}

/// Report B5.
fn a_logger_that_is_there_is_no_failure() {
    let (status, exception) = run("has a logger");
    assert!(status.success());
    assert_eq!(exception.body, "installed all the same");
}

/// Report A8: what `log` has as `key = value`.
fn pairs_of_the_log_crate_arrive() {
    let (_, received) = run_with("exits", |_| {});
    let log = received.logs.iter().find(|log| log.body == "by way of log").expect("it arrived");
    assert_eq!((log.text("plan"), log.attributes["items"].to_string().as_str()), ("pro", "3"), "{log:#?}");
    assert_eq!(log.text("password"), "[Filtered]");
    assert!(log.text("code.file.path").ends_with("process.rs"));
    let exception = received.exceptions().find(|exception| exception.body == "failed by way of log").expect("it arrived");
    assert_eq!(
        (exception.text("exception.message"), exception.attributes["order"].to_string().as_str()),
        ("no route", "7"),
        "{exception:#?}"
    );
    let first = exception.text("exception.stacktrace").lines().next().unwrap_or_default();
    assert!(first.contains("exits_without_dropping_the_guard"), "{first}");
}

fn run(child: &str) -> (ExitStatus, Log) {
    let (status, received) = run_with(child, |_| {});
    let exception = received.exceptions().find(|exception| !exception.body.contains("by way of log")).expect("an exception").clone();
    (status, exception)
}

/// Runs a child to its end. What it sent had arrived by then.
fn run_with(child: &str, change: impl FnOnce(&mut Command)) -> (ExitStatus, Received) {
    let receiver = Receiver::start().expect("a receiver");
    let mut command = command(&std::env::current_exe().expect("our own path"), child, &receiver);
    change(&mut command);
    let output = command.output().expect("a child");
    let received = receiver.wait_for(PATIENCE, |received| received.exceptions().count() > 0);
    let received = received.unwrap_or_else(|| panic!("{child}: no exception arrived: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status, received)
}

fn command(program: &Path, child: &str, receiver: &Receiver) -> Command {
    let mut command = Command::new(program);
    command.env("CRUMBTRAIL_TEST_CHILD", child).env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint());
    command.env("OTEL_SERVICE_NAME", "named-by-the-environment").env_remove("RUST_BACKTRACE");
    command
}

/// A child that does a step when it is told to.
struct Talking {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Talking {
    fn start(program: &Path, child: &str, receiver: &Receiver) -> Self {
        let mut child = command(program, child, receiver).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
        let says = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, says }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn is_told(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().expect("a pipe"), "{what}").expect("it listens");
    }

    fn ends(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("our child")
    }
}

fn init() -> crumbtrail::TelemetryGuard {
    crumbtrail::init(crumbtrail::service!()).expect("installed")
}

fn panics_on_the_main_thread() {
    let _telemetry = init();
    let _request = tracing::info_span!("request").entered();
    tracing::info!("about to panic");
    panic!("main panics");
}

fn survives_a_task_on_the_main_thread() {
    let _telemetry = init();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(async { tokio::spawn(async { panic!("a task panics") }).await });
    assert!(outcome.is_err());
}

fn catches_on_the_main_thread() {
    let _telemetry = init();
    assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
}

fn exits_without_dropping_the_guard() {
    let guard = init();
    let telemetry = guard.telemetry().clone();
    std::mem::forget(guard);
    log::info!(plan = "pro", items = 3, password = "hunter2"; "by way of log");
    log::error!(order = 7, err = "no route"; "failed by way of log");
    // Its frames are to have names, however busy the machine is.
    let _ = telemetry.flush(PATIENCE);
    tracing::error!("the last word");
    std::process::exit(3);
}

fn exits_by_our_own_function() {
    let _telemetry = init();
    tracing::error!("the last word");
    crumbtrail::exit(5);
}

fn has_a_hook_that_exits() {
    let _telemetry = init();
    let ours = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ours(info);
        std::process::exit(4);
    }));
    panic!("main panics");
}

fn panics_while_it_unwinds() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("the second");
        }
    }
    let _telemetry = init();
    let _panics = Panics;
    panic!("the first");
}

fn panics_before_there_is_a_guard() {
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_env().build().expect("telemetry");
    telemetry.install_panic_hook();
    let _guard = if std::hint::black_box(true) { panic!("too early") } else { telemetry.guard() };
}

/// Its own crate is let through, all others are not.
fn fails_below_a_filter() {
    use tracing_subscriber::{filter::Targets, prelude::*};
    let guard = crumbtrail::builder(crumbtrail::service!()).with_env().build().expect("telemetry").guard();
    let own = Targets::new().with_target("process", tracing::Level::DEBUG);
    tracing_subscriber::registry().with(own).with(guard.telemetry().layer()).init();
    for _ in 0..2 {
        tracing::error!("failed");
        guard.telemetry().flush(PATIENCE).expect("delivered");
    }
}

/// Prints targets and messages of all events.
fn fails_beside_a_layer_that_wants_everything() {
    use tracing::field::{Field, Visit};
    use tracing_subscriber::{Layer, layer::Context, prelude::*};

    struct Everything;

    impl<S: tracing::Subscriber> Layer<S> for Everything {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            event.record(&mut Message(event.metadata().target()));
        }
    }

    struct Message(&'static str);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                println!("{} {value:?}", self.0);
            }
        }
    }

    let guard = crumbtrail::builder(crumbtrail::service!()).with_env().build().expect("telemetry").guard();
    tracing_subscriber::registry().with(Everything).with(guard.telemetry().layer()).init();
    tracing::error!("failed");
    guard.telemetry().flush(PATIENCE).expect("delivered");
    tracing::trace!(target: "hyper", "the host's own");
    log::info!(target: "hyper::client", "the host's own, too");
    guard.telemetry().flush(PATIENCE).expect("delivered");
}

/// Report 14.8: nothing is there that could be dropped.
fn fails_with_a_layer_and_no_guard() {
    use tracing_subscriber::prelude::*;
    tracing_subscriber::registry().with(crumbtrail::layer(crumbtrail::service!()).expect("telemetry")).init();
    tracing::error!("the last word");
}

/// Of whose output somebody collects the lines.
/// As servers on bare tokio do.
fn reports_errors_after_their_spans() {
    #[tracing::instrument]
    fn handle(message: u32) -> Result<(), std::num::ParseIntError> {
        "no number".parse::<u32>().map(drop)
    }
    let _guard = crumbtrail::init(crumbtrail::service!()).expect("installed");
    // The thread may be held up between the two.
    for message in 0..200 {
        if let Err(error) = handle(message) {
            tracing::error!(error = &error as &dyn std::error::Error, "connection error");
        }
    }
}

/// While a hook holds the worker up.
fn records_more_than_is_exported() {
    use crumbtrail::stats::{LossReason, RecordKind};
    let (is_there, there) = std::sync::mpsc::channel();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let builder = crumbtrail::builder(crumbtrail::service!()).with_env().with_console(false).with_outbox_memory(64 << 10);
    let builder = builder.with_before_send(move |_| {
        let _ = is_there.send(());
        let _ = gate.lock().expect("nobody panicked").recv();
        std::ops::ControlFlow::Continue(())
    });
    let guard = builder.install().expect("installed");
    tracing::error!("holds the worker up");
    there.recv().expect("it is held up");
    for number in 0..2_000 {
        tracing::info_span!("request", number).in_scope(|| tracing::info!("served"));
    }
    drop(open);
    let telemetry = guard.telemetry().clone();
    telemetry.flush(PATIENCE).expect("delivered");
    drop(guard);
    for signal in [RecordKind::Logs, RecordKind::Spans] {
        println!("{} {}", signal.as_str(), telemetry.stats().of(signal).lost_to(LossReason::Overload));
    }
}

fn fails_in_a_container() {
    let _telemetry = crumbtrail::init(crumbtrail::service!()).expect("telemetry");
    let _run = tracing::info_span!("run").entered();
    tracing::info!(attempt = 2, password = "hunter2", "about to start");
    tracing::error!(error = &NoConfiguration as &dyn std::error::Error, "start failed");
    log::info!(target: "shop::db", "by way of log");
    crumbtrail::capture(&std::io::Error::other("out of memory"));
}

#[derive(Debug)]
struct NoConfiguration;

impl std::fmt::Display for NoConfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no configuration")
    }
}

impl std::error::Error for NoConfiguration {}

/// What `fn main() -> Result<(), MainError>` does.
fn returns_an_error() {
    fn main() -> Result<(), crumbtrail::errors::MainError> {
        let _telemetry = init();
        let _run = tracing::info_span!("run").entered();
        tracing::info!("about to start");
        let settings: Result<(), _> = Err(NoConfiguration);
        anyhow::Context::context(settings, "cannot start")?;
        Ok(())
    }
    let code = std::process::Termination::report(main());
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

fn fails_as_a_command_does() {
    let _telemetry = init();
    let error: Box<dyn std::error::Error> = Box::new(NoConfiguration);
    tracing::error!(error = &*error, "cannot start");
    let name = std::env::var("CRUMBTRAIL_TEST_CHILD").unwrap_or_default();
    crumbtrail::capture(&anyhow::anyhow!("{name} is no command"));
}

#[inline(never)]
fn fails_in_its_own_function(guard: &crumbtrail::TelemetryGuard) {
    tracing::error!("it fails");
    guard.telemetry().flush(PATIENCE).expect("delivered");
}

fn fails_after_it_was_replaced() {
    let guard = init();
    println!("ready");
    for _ in std::io::stdin().lines() {
        fails_in_its_own_function(&guard);
        println!("failed");
    }
}

fn has_a_logger_already() {
    struct Silent;
    impl log::Log for Silent {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, _: &log::Record<'_>) {}
        fn flush(&self) {}
    }
    static SILENT: Silent = Silent;
    log::set_logger(&SILENT).expect("the first");
    let _telemetry = init();
    tracing::error!("installed all the same");
}
