//! What the middleware costs a real service, beside tower-http's `TraceLayer` with the stock
//! OpenTelemetry pair, and axum-tracing-opentelemetry with the same: in one run, by turns.
//! Everything is exported over OTLP/HTTP to a receiver that counts and says thanks.
//!
//! `cargo bench --bench service` prints three tables and writes `target/bench/service.json`:
//!
//! - *Per request*: thread CPU of the caller, requests called one after the other without a
//!   network. The cost is what a contender takes more than the bare service.
//! - *Saturated*: a hello-world axum service in a process of its own, one runtime thread, under a
//!   load generator on loopback. Requests a second; CPU of the whole process for each; records that
//!   arrived for each second of it; and of ours how many were left out (counted by it; the stock
//!   pair does not say). The share of the bare service's requests is the median of the rounds'
//!   shares. `crumbtrail_hundredth` has `with_worker_share(0.01)`.
//! - *Paced*: so many requests a second, in [situations](paced) in which processors are short or
//!   are not: CPU, latency, and what was lost and why; and one in which a receiver takes half of
//!   what is recorded. `-- --paced` prints these only.
//!
//! Every request has two nested spans and three INFO events besides what the middleware makes.

mod load;
mod paced;
mod sink;

use std::{
    any::Any,
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Path, http::Request, routing::get};
use crumbtrail::{stats::RecordKind, tower::ServerLayer};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;
use tracing::{Instrument as _, info, info_span};

use self::sink::Sink;

const CONTENDERS: [&str; 5] = ["bare", "crumbtrail", "crumbtrail_hundredth", "trace_layer_and_stock_pair", "axum_tracing_opentelemetry"];
const ROUNDS: usize = 7;
/// Of saturation, each.
const LOAD: Duration = Duration::from_millis(2_500);
/// Requests that are called in a row: their spans and logs fit into the queues of the stock pair.
const BATCH: usize = 600;
/// Requests at the start of a batch that are not measured: the thread has just slept, and its
/// caches are cold.
const LEAD: usize = 50;

#[derive(Serialize)]
struct Report {
    /// Nanoseconds of thread CPU for a request.
    request_ns: BTreeMap<&'static str, f64>,
    saturated: BTreeMap<&'static str, Saturated>,
    paced: Vec<paced::Row>,
    ratios: BTreeMap<&'static str, f64>,
}

#[derive(Clone, Copy, Serialize)]
struct Saturated {
    requests_per_second: f64,
    /// Of the bare service's of the same round: a machine that others share has minutes in which
    /// everything is slower.
    share: f64,
    process_us_per_request: f64,
    /// Records that arrived, for each second of the process's CPU time.
    delivered_per_cpu_second: f64,
    /// Of the records, those that were left out and counted.
    left_out: f64,
}

/// What one run under load came to.
#[derive(Clone, Copy)]
struct Load {
    requests_per_second: f64,
    process_ns_per_request: f64,
    delivered_per_cpu_second: f64,
    left_out: f64,
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--contender").skip(1);
    if let (Some(contender), Some(what)) = (arguments.next(), arguments.next()) {
        match &*what {
            "hog" => paced::hog(),
            "logs" => paced::log_lines(service(&contender).1),
            "serve" => serve(&contender),
            _ => println!("{}", call(&contender)),
        }
        return;
    }
    let sink = Sink::start();
    if std::env::args().any(|argument| argument == "--paced") {
        paced::rows(&sink);
        return;
    }
    let (mut calls, mut loads) = (BTreeMap::<_, Vec<f64>>::new(), BTreeMap::<_, Vec<Load>>::new());
    for round in 0..ROUNDS {
        for contender in CONTENDERS {
            eprint!("\rround {} of {ROUNDS}: {contender:<30}", round + 1);
            calls.entry(contender).or_default().push(called(contender, &sink));
            loads.entry(contender).or_default().push(saturated(contender, &sink));
        }
    }
    eprintln!();
    let request_ns: BTreeMap<_, _> = calls.into_iter().map(|(name, values)| (name, median(values))).collect();
    let saturated: BTreeMap<_, _> = loads
        .iter()
        .map(|(name, rounds)| {
            let of = |value: fn(&Load) -> f64| median(rounds.iter().map(value).collect());
            let shares = rounds.iter().zip(&loads["bare"]).map(|(load, bare)| load.requests_per_second / bare.requests_per_second);
            let load = Saturated {
                requests_per_second: of(|load| load.requests_per_second),
                share: median(shares.collect()),
                process_us_per_request: of(|load| load.process_ns_per_request) / 1e3,
                delivered_per_cpu_second: of(|load| load.delivered_per_cpu_second),
                left_out: of(|load| load.left_out),
            };
            (*name, load)
        })
        .collect();
    let cost = |name: &str| request_ns[name] - request_ns["bare"];
    let mut ratios = BTreeMap::from([
        ("vs_trace_layer_and_stock_pair", cost("trace_layer_and_stock_pair") / cost("crumbtrail")),
        ("vs_axum_tracing_opentelemetry", cost("axum_tracing_opentelemetry") / cost("crumbtrail")),
        ("process_cpu_of_bare", saturated["crumbtrail"].process_us_per_request / saturated["bare"].process_us_per_request),
        (
            "process_cpu_of_bare_stock_pair",
            saturated["trace_layer_and_stock_pair"].process_us_per_request / saturated["bare"].process_us_per_request,
        ),
    ]);
    // A share that was kept by leaving out does not count.
    if saturated["crumbtrail"].left_out <= 0.01 {
        ratios.insert("kept_of_bare_all_exported", saturated["crumbtrail"].share);
    }
    println!(
        "{:<28}{:>13}{:>13}{:>12}{:>9}{:>17}{:>20}{:>10}",
        "", "ns a request", "of it added", "requests/s", "of bare", "process µs each", "arrived / CPU s", "left out"
    );
    for name in CONTENDERS {
        let load = saturated[name];
        println!(
            "{name:<28}{:>13.0}{:>13.0}{:>12.0}{:>7.0} %{:>17.1}{:>20.0}{:>8.1} %",
            request_ns[name],
            cost(name),
            load.requests_per_second,
            100.0 * load.share,
            load.process_us_per_request,
            load.delivered_per_cpu_second,
            100.0 * load.left_out
        );
    }
    println!();
    ratios.iter().for_each(|(name, ratio)| println!("{name:<44}{ratio:>8.2}"));
    println!();
    let paced = paced::rows(&sink);
    let binary = std::env::current_exe().expect("our own path");
    let directory = binary.ancestors().nth(3).expect("target").join("bench");
    std::fs::create_dir_all(&directory).expect("target/bench");
    let file = std::fs::File::create(directory.join("service.json")).expect("service.json");
    serde_json::to_writer_pretty(file, &Report { request_ns, saturated, paced, ratios }).expect("written");
}

/// What keeps a service's telemetry running.
type Kept = Box<dyn Any + Send>;

/// The service, and its telemetry.
fn service(contender: &str) -> (Router, Kept) {
    let router = Router::new().route("/hello/{name}", get(hello));
    match contender {
        "crumbtrail" | "crumbtrail_hundredth" => {
            let builder = crumbtrail::builder(crumbtrail::service!()).with_env().with_console(false);
            let builder = if contender == "crumbtrail" { builder } else { builder.with_worker_share(0.01) };
            let guard = builder.install().expect("installed");
            (router.layer(ServerLayer::for_axum()), Box::new(guard))
        }
        "trace_layer_and_stock_pair" => {
            let make_span = |request: &Request<Body>| {
                let route = request.extensions().get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str);
                info_span!(
                    "request",
                    otel.name = format_args!("{} {}", request.method(), route.unwrap_or_default()),
                    otel.kind = "server",
                    http.request.method = %request.method(),
                    http.route = route,
                    url.path = request.uri().path()
                )
            };
            (router.layer(tower_http::trace::TraceLayer::new_for_http().make_span_with(make_span)), stock())
        }
        "axum_tracing_opentelemetry" => (router.layer(axum_tracing_opentelemetry::middleware::OtelAxumLayer::default()), stock()),
        _ => (router, Box::new(())),
    }
}

async fn hello(Path(name): Path<String>) -> String {
    info!(name, "greeting");
    async {
        info!(rows = 3, "loaded");
        async { info!(template = "hello", "rendered") }.instrument(info_span!("render")).await;
        format!("hello {name}")
    }
    .instrument(info_span!("load", table = "people"))
    .await
}

/// OpenTelemetry's own pair: spans by tracing-opentelemetry, logs by the appender, both in batches
/// over OTLP/HTTP.
fn stock() -> Kept {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{logs::SdkLoggerProvider, trace::SdkTracerProvider};
    use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let spans = opentelemetry_otlp::SpanExporter::builder().with_http().build().expect("an exporter");
    let logs = opentelemetry_otlp::LogExporter::builder().with_http().build().expect("an exporter");
    let tracers = SdkTracerProvider::builder().with_batch_exporter(spans).build();
    let loggers = SdkLoggerProvider::builder().with_batch_exporter(logs).build();
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(tracing_opentelemetry::layer().with_tracer(tracers.tracer("bench")))
        .with(opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&loggers))
        .init();
    Box::new((tracers, loggers))
}

/// Calls the service one request after the other; nanoseconds of this thread's CPU for each.
fn call(contender: &str) -> f64 {
    let (router, _telemetry) = service(contender);
    // As `axum::serve` does it: layers are applied once, not at every request.
    let router = router.with_state(());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let batch = |requests: usize| {
        runtime.block_on(async {
            let mut begun = 0.0;
            for number in 0..LEAD + requests {
                if number == LEAD {
                    begun = cpu(ClockId::ThreadCPUTime);
                }
                let request =
                    Request::get("/hello/ada").header("host", "localhost:8080").header("user-agent", "bench/1").body(Body::empty());
                let response = router.clone().oneshot(request.expect("a request")).await.expect("an answer");
                assert_eq!(axum::body::to_bytes(response.into_body(), 1_000).await.expect("a body"), "hello ada");
            }
            (cpu(ClockId::ThreadCPUTime) - begun) / requests as f64
        })
    };
    batch(2_000);
    let batches = (0..40).map(|_| {
        // Whoever exports gets time to.
        std::thread::sleep(Duration::from_millis(20));
        batch(BATCH)
    });
    median(batches.collect())
}

fn called(contender: &str, sink: &Sink) -> f64 {
    let output = command(contender, "call", sink).output().expect("a child");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Serves until its input ends; says its address, and whenever it is asked how it is.
fn serve(contender: &str) {
    let (router, telemetry) = service(contender);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    println!("{}", listener.local_addr().expect("bound"));
    answer(telemetry);
    runtime.block_on(async { axum::serve(listener, router).await }).expect("served");
}

/// On a thread of its own, says how the process is whenever it is asked, and ends it when nobody
/// asks any more.
fn answer(telemetry: Kept) {
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            println!("{}", serde_json::to_string(&Account::of(&telemetry)).expect("JSON"));
        }
        std::process::exit(0);
    });
}

/// How a process is.
#[derive(Debug, Deserialize, Serialize)]
struct Account {
    cpu_ns: f64,
    /// Of crumbtrail's own thread.
    worker_ns: f64,
    accepted: u64,
    /// Logs and spans, by reason.
    lost: BTreeMap<String, u64>,
}

impl Account {
    fn of(telemetry: &Kept) -> Self {
        use crumbtrail::stats::LossReason;
        const REASONS: [LossReason; 5] =
            [LossReason::Overload, LossReason::QueueOverflow, LossReason::NetworkError, LossReason::Rejected, LossReason::InternalError];
        let stats = telemetry.downcast_ref::<crumbtrail::TelemetryGuard>().map(|guard| guard.telemetry().stats());
        let lines = || stats.iter().flat_map(|stats| [RecordKind::Logs, RecordKind::Spans].map(|signal| stats.of(signal)));
        let lost = REASONS.map(|reason| (reason.as_str().to_owned(), lines().map(|line| line.lost_to(reason)).sum()));
        Self {
            cpu_ns: cpu(ClockId::ProcessCPUTime),
            worker_ns: worker_ns().unwrap_or_default(),
            accepted: lines().map(|line| line.accepted()).sum(),
            lost: lost.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn lost(&self) -> f64 {
        self.lost.values().sum::<u64>() as f64 / self.accepted.max(1) as f64
    }
}

/// CPU time of the thread that is called crumbtrail. On Linux.
fn worker_ns() -> Option<f64> {
    let mut threads = std::fs::read_dir("/proc/self/task").ok()?.flatten().map(|thread| thread.path());
    let worker = threads.find(|thread| std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "crumbtrail"))?;
    std::fs::read_to_string(worker.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}

/// A process that serves, or does something else.
struct Served {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Served {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
        let (input, output) = (process.stdin.take(), BufReader::new(process.stdout.take().expect("piped")));
        Self { process, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn account(&mut self) -> Account {
        writeln!(self.input.as_mut().expect("piped")).expect("asked");
        serde_json::from_str(&self.line()).expect("an account")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

fn saturated(contender: &str, sink: &Sink) -> Load {
    let mut served = Served::start(command(contender, "serve", sink));
    let address = served.line();
    load::saturate(&address, LOAD / 4);
    let (before, arrived, begun) = (served.account(), sink.records(), Instant::now());
    let requests = load::saturate(&address, LOAD) as f64;
    let (after, arrived, took) = (served.account(), sink.records() - arrived, begun.elapsed());
    let cpu_ns = after.cpu_ns - before.cpu_ns;
    Load {
        requests_per_second: requests / took.as_secs_f64(),
        process_ns_per_request: cpu_ns / requests,
        delivered_per_cpu_second: arrived as f64 / cpu_ns * 1e9,
        left_out: after.lost(),
    }
}

fn command(contender: &str, what: &str, sink: &Sink) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--contender", contender, what]).env("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint()).stderr(Stdio::inherit());
    command
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds.
fn cpu(clock: ClockId) -> f64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
