//! The program under test: a small service that does what its standard input says, and uses the
//! public API only. Its twin does the same with the stock exporters.

use std::{
    io::{BufRead as _, Write as _},
    ops::ControlFlow,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crumbtrail::{
    Builder, Telemetry, TelemetryGuard,
    config::{Compression, Protocol},
    stats::RecordKind,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{error, info, info_span};

/// How it is set up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    pub endpoint: String,
    /// `http`, `json` or `grpc`.
    pub protocol: String,
    pub stock: bool,
    pub state_dir: Option<String>,
    pub spooled: Vec<String>,
    pub spool_limit: Option<u64>,
    pub spool_age_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub compression: String,
    pub headers: Vec<(String, String)>,
    pub certificate: Option<String>,
    pub client: Option<(String, String)>,
    pub proxy: Option<String>,
    pub from_env: bool,
    /// Its exceptions tell whether they have names: see `storm`.
    pub tells_names: bool,
    /// Sees everything there is to see.
    pub unfiltered: bool,
    pub outbox: Option<usize>,
    /// The stock twin's exporters live on a runtime of one thread.
    pub current_thread: bool,
}

/// The variable that makes this binary the program.
pub const VARIABLE: &str = "CRUMBTRAIL_FAULTS_PROGRAM";

/// Runs until its input ends.
pub fn run(setup: &str) {
    let setup: Setup = serde_json::from_str(setup).expect("a setup");
    // A step of the start comes before any command.
    if let Ok(kill_at) = std::env::var("CRUMBTRAIL_FAULTS_KILL_AT")
        && let Some((step, occasion)) = kill_at.split_once(' ')
    {
        failpoint(step, occasion.parse().expect("a number"), "kill");
    }
    let mut telemetry: Box<dyn Running> =
        if setup.stock { Box::new(super::stock::Stock::start(&setup)) } else { Box::new(Ours::start(&setup)) };
    say(&json!({ "started": std::process::id() }));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        match words[0] {
            // kind, how many, how many a second (0: as fast as can be), bytes of padding
            "emit" => say(&emit(words[1], number(2), number(3), number(4) as usize)),
            // threads: they log without rest, and meanwhile an exception is made; does it have names?
            "storm" => say(&storm(number(1))),
            "panic" => {
                let text = format!("panic {}", number(1));
                let outcome = std::thread::Builder::new().name("panics".to_owned()).spawn(move || panic!("{text}")).unwrap().join();
                say(&json!({ "panicked": outcome.is_err() }));
            }
            "double-panic" => {
                let _first = PanicsOnDrop("the second");
                panic!("double-panic");
            }
            "panic-in-drop" => {
                let outcome = std::thread::spawn(|| drop(PanicsOnDrop("panic-in-drop"))).join();
                say(&json!({ "panicked": outcome.is_err() }));
            }
            "panic-in-extern-c" => panics_in_extern_c(),
            "panic-in-thread-local" => {
                thread_local!(static LAST: PanicsOnDrop = const { PanicsOnDrop("panic-in-thread-local") });
                let _ = std::thread::spawn(|| LAST.with(|_| {})).join();
            }
            "panic-in-debug" => {
                info!(value = ?PanicsInDebug, "a value that cannot be shown");
                say(&json!({}));
                let _ = std::thread::spawn(|| panic!("panic-in-debug")).join();
            }
            "flush" => say(&timed(|| telemetry.flush(Duration::from_millis(number(1))))),
            "flush-in-runtime" => {
                let runtime = runtime(number(2));
                say(&timed(|| runtime.block_on(async { telemetry.flush(Duration::from_millis(number(1))) })));
            }
            "emit-in-runtime" => {
                let runtime = runtime(number(4));
                say(&runtime.block_on(async { emit(words[1], number(2), number(3), 0) }));
            }
            "shutdown" => say(&timed(|| telemetry.shutdown(Duration::from_millis(number(1))))),
            "stats" => say(&telemetry.stats()),
            "debug" => say(&json!({ "debug": telemetry.debug() })),
            "sleep" => {
                std::thread::sleep(Duration::from_millis(number(1)));
                say(&json!({}));
            }
            "memory" => say(&json!({ "bytes": memory() })),
            // step, on which occasion, what happens
            "failpoint" => {
                failpoint(words[1], number(2), words[3]);
                say(&json!({}));
            }
            "close-descriptors" => {
                close_descriptors();
                say(&json!({}));
            }
            "limit-files" => {
                let limit = rustix::process::Rlimit { current: Some(number(1)), maximum: None };
                let old = rustix::process::getrlimit(rustix::process::Resource::Nofile);
                rustix::process::setrlimit(rustix::process::Resource::Nofile, rustix::process::Rlimit { maximum: old.maximum, ..limit })
                    .unwrap();
                say(&json!({}));
            }
            // Beyond it a write ends the process, unless nobody tries.
            "limit-file-size" => {
                let limit = rustix::process::Rlimit { current: Some(number(1)), maximum: Some(number(1)) };
                rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
                say(&json!({}));
            }
            "fork" => say(&fork(telemetry.as_mut(), number(1), number(2))),
            "drop" => {
                let began = Instant::now();
                telemetry = Box::new(Gone);
                say(&json!({ "ms": began.elapsed().as_millis() as u64 }));
            }
            "exit" => std::process::exit(number(1) as i32),
            "abort" => std::process::abort(),
            "return" => return,
            other => panic!("{other} is no command"),
        }
    }
}

struct PanicsOnDrop(&'static str);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

struct PanicsInDebug;

impl std::fmt::Debug for PanicsInDebug {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("in Debug")
    }
}

extern "C" fn panics_in_extern_c() {
    panic!("panic-in-extern-c");
}

/// What both twins can do.
pub trait Running {
    fn flush(&mut self, timeout: Duration) -> Value;
    fn shutdown(&mut self, timeout: Duration) -> Value;
    fn stats(&self) -> Value;
    fn debug(&self) -> String;
}

struct Gone;

impl Running for Gone {
    fn flush(&mut self, _: Duration) -> Value {
        json!({})
    }

    fn shutdown(&mut self, _: Duration) -> Value {
        json!({})
    }

    fn stats(&self) -> Value {
        json!({})
    }

    fn debug(&self) -> String {
        String::new()
    }
}

struct Ours {
    telemetry: Telemetry,
    setup: Builder,
    guard: TelemetryGuard,
}

impl Ours {
    fn start(setup: &Setup) -> Self {
        let mut builder = crumbtrail::builder(crumbtrail::service!().with_name("program").with_crate("faults"))
            .with_console(false)
            .with_exception_rate(crumbtrail::config::ExceptionRate::unlimited())
            .with_log_schedule_delay(Duration::from_millis(200))
            .with_span_schedule_delay(Duration::from_millis(200))
            .with_metric_interval(Duration::from_secs(2));
        if setup.from_env {
            builder = builder.with_env();
        }
        if !setup.endpoint.is_empty() {
            builder = builder.with_endpoint(&setup.endpoint);
        }
        builder = match setup.protocol.as_str() {
            "grpc" => builder.with_protocol(Protocol::Grpc),
            "json" => builder.with_protocol(Protocol::HttpJson),
            _ => builder,
        };
        builder = match setup.compression.as_str() {
            "gzip" => builder.with_compression(Compression::Gzip),
            "zstd" => builder.with_compression(Compression::Zstd),
            _ => builder,
        };
        if let Some(path) = &setup.state_dir {
            builder = builder.with_state_dir(path);
        }
        if let Some(bytes) = setup.spool_limit {
            builder = builder.with_spool_limit(bytes);
        }
        if let Some(age) = setup.spool_age_ms {
            builder = builder.with_spool_age(Duration::from_millis(age));
        }
        if let Some(timeout) = setup.timeout_ms {
            builder = builder.with_timeout(Duration::from_millis(timeout));
        }
        let is_spooled = |signal: RecordKind| setup.spooled.iter().any(|name| name == signal.as_str());
        builder = builder.with_spooled_logs(is_spooled(RecordKind::Logs));
        builder = builder.with_spooled_spans(is_spooled(RecordKind::Spans)).with_spooled_metrics(is_spooled(RecordKind::Metrics));
        for (name, value) in &setup.headers {
            builder = builder.with_header(name, value);
        }
        if let Some(pem) = &setup.certificate {
            builder = builder.with_certificate(pem.as_str());
        }
        if let Some((chain, key)) = &setup.client {
            builder = builder.with_client_certificate(chain.as_str(), key.as_str());
        }
        if let Some(proxy) = &setup.proxy {
            builder = builder.with_proxy(proxy);
        }
        if let Some(bytes) = setup.outbox {
            builder = builder.with_outbox_memory(bytes);
        }
        if setup.tells_names {
            builder = builder.with_before_send(|exception| {
                let _ = NAMED.set(exception.frames().iter().any(|frame| frame.function().contains("storm")));
                ControlFlow::Continue(())
            });
        }
        let guard = if setup.unfiltered {
            use crumbtrail::config::Filter;
            use tracing_subscriber::prelude::*;
            let all = [Filter::Logs, Filter::Spans, Filter::Breadcrumbs];
            let all =
                all.into_iter().fold(builder.clone(), |builder, route| builder.with_filter(route, "trace".parse().expect("a filter")));
            let telemetry = all.build().expect("telemetry");
            tracing_subscriber::registry().with(telemetry.layer()).init();
            telemetry.guard()
        } else {
            builder.clone().install().unwrap_or_else(|error| {
                say(&json!({ "refused": error.to_string(), "debug": format!("{error:?}") }));
                std::process::exit(3)
            })
        };
        Self { telemetry: guard.telemetry().clone(), setup: builder, guard }
    }
}

impl Running for Ours {
    fn flush(&mut self, timeout: Duration) -> Value {
        outcome(self.telemetry.flush(timeout))
    }

    fn shutdown(&mut self, timeout: Duration) -> Value {
        outcome(self.telemetry.shutdown(timeout))
    }

    fn stats(&self) -> Value {
        let stats = self.telemetry.stats();
        let line = |signal: RecordKind| {
            let line = stats.of(signal);
            json!({
                "accepted": line.accepted(), "recovered": line.recovered(), "delivered": line.delivered(),
                "spooled": line.spooled(), "lost": line.lost(), "pending": line.pending(),
            })
        };
        json!({
            "exceptions": line(RecordKind::Exceptions), "logs": line(RecordKind::Logs), "spans": line(RecordKind::Spans), "metrics": line(RecordKind::Metrics),
            "faults": stats.internal_panics(), "text": stats.to_string(),
        })
    }

    fn debug(&self) -> String {
        format!("{:?} {:?} {:?} {:?}", self.telemetry, self.setup, self.guard, self.telemetry.warnings())
    }
}

fn outcome(outcome: Result<crumbtrail::stats::FlushReport, crumbtrail::stats::FlushError>) -> Value {
    match outcome {
        Ok(report) => json!({ "ok": true, "delivered": report.delivered(), "spooled": report.spooled(), "lost": report.lost() }),
        Err(error) => {
            json!({ "ok": false, "undelivered": error.undelivered(), "spooled": error.report().spooled(), "lost": error.report().lost(), "text": error.to_string() })
        }
    }
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

fn timed(run: impl FnOnce() -> Value) -> Value {
    let began = Instant::now();
    let mut said = run();
    said["ms"] = json!(began.elapsed().as_millis() as u64);
    said
}

fn runtime(threads: u64) -> tokio::runtime::Runtime {
    match threads {
        0 => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads as usize).enable_all().build().unwrap(),
    }
}

/// Emits, at a steady rate if there is one, and tells how long the calls took.
fn emit(kind: &str, count: u64, rate: u64, padding: usize) -> Value {
    let padding = "x".repeat(padding);
    let began = Instant::now();
    let mut took = Vec::with_capacity(count as usize);
    for number in 0..count {
        if let Some(nanos) = (1_000_000_000 * number).checked_div(rate) {
            std::thread::sleep((began + Duration::from_nanos(nanos)).saturating_duration_since(Instant::now()));
        }
        let before = Instant::now();
        match kind {
            "exceptions" => error!(number, padding = padding.as_str(), "exception"),
            "logs" => info!(number, padding = padding.as_str(), "log"),
            "spans" => drop(info_span!("span", number, padding = padding.as_str())),
            // One of each.
            "all" => {
                let _span = info_span!("span", number).entered();
                info!(number, "log");
                error!(number, "exception in a span");
            }
            other => panic!("{other} cannot be emitted"),
        }
        took.push(before.elapsed().as_nanos() as u64);
    }
    took.sort_unstable();
    let at = |part: f64| took.get(((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or(0);
    json!({ "emitted": count, "p50_ns": at(0.5), "p99_ns": at(0.99), "max_ns": at(1.0), "memory": memory() })
}

/// Whether the first exception had names.
static NAMED: OnceLock<bool> = OnceLock::new();

fn storm(threads: u64) -> Value {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                // To be told as texts, by the worker: more work for it than for who records them.
                let n = u128::MAX;
                while !is_over.load(Ordering::Relaxed) {
                    info!(a = n, b = n, c = n, d = n, e = n, f = n, g = n, h = n, i = n, j = n, k = n, l = n, "log");
                }
            });
        }
        error!("exception in a storm");
        let began = Instant::now();
        let named = NAMED.wait();
        is_over.store(true, Ordering::Relaxed);
        json!({ "named": named, "ms": began.elapsed().as_millis() as u64 })
    })
}

/// Resident bytes.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn failpoint(name: &str, occasion: u64, what: &str) {
    let seen = std::sync::atomic::AtomicU64::new(0);
    let what = what.to_owned();
    fail::cfg_callback(name, move || {
        if seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 != occasion {
            return;
        }
        match what.as_str() {
            "kill" => {
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                std::thread::park();
            }
            "panic" => panic!("a fault at a named step"),
            // Longer than records are held for names, shorter than exceptions wait for them.
            "delay" => std::thread::sleep(Duration::from_millis(1_500)),
            other => panic!("{other} is no outcome"),
        }
    })
    .expect("a failpoint");
}

/// As daemons do, and then the numbers are used again.
#[allow(unsafe_code)]
fn close_descriptors() {
    for number in 3..256 {
        // SAFETY: this is what the test is about; the owners of these descriptors must notice.
        unsafe { libc::close(number) };
    }
    let victim = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(std::env::var("CRUMBTRAIL_FAULTS_VICTIM").expect("a path"))
        .expect("a file");
    let _taken: Vec<_> = (0..64).map(|_| std::mem::ManuallyDrop::new(victim.try_clone().expect("a descriptor"))).collect();
    std::mem::forget(victim);
}

/// Forks; the child emits and flushes, and tells how long that took through its exit.
#[allow(unsafe_code)]
fn fork(telemetry: &mut dyn Running, emits: u64, timeout: u64) -> Value {
    // SAFETY: the child allocates and locks, which is what programs that fork do, and the point of the test.
    match unsafe { libc::fork() } {
        0 => {
            let began = Instant::now();
            emit("all", emits, 0, 0);
            let emitted = began.elapsed().as_millis() as u64;
            let flushed = timed(|| telemetry.flush(Duration::from_millis(timeout)));
            say(&json!({ "child": std::process::id(), "emit_ms": emitted, "flush": flushed, "stats": telemetry.stats() }));
            let shutdown = timed(|| telemetry.shutdown(Duration::from_millis(timeout)));
            std::process::exit(i32::from(shutdown["ok"] != true && shutdown["ok"] != Value::Null))
        }
        child => {
            let mut status = 0;
            // SAFETY: a plain wait for our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            json!({ "status": status })
        }
    }
}
