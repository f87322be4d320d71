//! What the middleware costs a real service, beside tower-http's `TraceLayer` with the stock OpenTelemetry pair, and
//! axum-tracing-opentelemetry with the same: in one run, by turns.
//!
//! `cargo bench --bench service` prints two tables and writes `target/bench/service.json`:
//!
//! - *Per request*: thread CPU of the caller, requests called one after the other without a network. The cost is what a
//!   contender takes more than the bare service. `ratios` are of these costs.
//! - *Saturated*: a hello-world axum service in a process of its own, one runtime thread, under a load generator on
//!   loopback; everything is exported over OTLP/HTTP to a receiver that only says thanks. Requests a second, CPU of the
//!   whole process for each, and of ours how many of the records were left out for want of time (counted by it; the stock
//!   pair does not say). The share of the bare service's requests is the median of the rounds' shares. `crumbtrail_unlimited` is a worker that keeps to no share of the processors.
//!
//! Every request has two nested spans and three INFO events besides what the middleware makes.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Path, http::Request, routing::get};
use crumbtrail::{Signal, tower::ServerLayer};
use rustix::time::ClockId;
use serde::Serialize;
use tower::ServiceExt as _;
use tracing::{Instrument as _, info, info_span};

const CONTENDERS: [&str; 5] = ["bare", "crumbtrail", "crumbtrail_unlimited", "trace_layer_and_stock_pair", "axum_tracing_opentelemetry"];
const ROUNDS: usize = 7;
/// Of saturation, each.
const LOAD: Duration = Duration::from_millis(2_500);
const CONNECTIONS: usize = 32;
/// Requests that are called in a row: their spans and logs fit into the queues of the stock pair.
const BATCH: usize = 600;
/// Requests at the start of a batch that are not measured: the thread has just slept, and its caches are cold.
const LEAD: usize = 50;

#[derive(Serialize)]
struct Report {
    /// Nanoseconds of thread CPU for a request.
    request_ns: BTreeMap<&'static str, f64>,
    saturated: BTreeMap<&'static str, Saturated>,
    ratios: BTreeMap<&'static str, f64>,
}

#[derive(Clone, Copy, Serialize)]
struct Saturated {
    requests_per_second: f64,
    /// Of the bare service's of the same round: a machine that others share has minutes in which everything is slower.
    share: f64,
    process_us_per_request: f64,
    /// Of the records, those that were left out and counted.
    left_out: f64,
}

/// What one run under load came to.
#[derive(Clone, Copy)]
struct Load {
    requests_per_second: f64,
    process_ns_per_request: f64,
    left_out: f64,
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--contender").skip(1);
    if let (Some(contender), Some(what)) = (arguments.next(), arguments.next()) {
        let contender = CONTENDERS.into_iter().find(|known| *known == contender).expect("a contender");
        return if what == "serve" { serve(contender) } else { println!("{}", call(contender)) };
    }
    let sink = sink();
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
                left_out: of(|load| load.left_out),
            };
            (*name, load)
        })
        .collect();
    let cost = |name: &str| request_ns[name] - request_ns["bare"];
    let ratios = BTreeMap::from([
        ("vs_trace_layer_and_stock_pair", cost("trace_layer_and_stock_pair") / cost("crumbtrail")),
        ("vs_axum_tracing_opentelemetry", cost("axum_tracing_opentelemetry") / cost("crumbtrail")),
        ("kept_of_bare_requests_per_second", saturated["crumbtrail"].share),
    ]);
    println!(
        "{:<32}{:>14}{:>14}{:>14}{:>12}{:>18}{:>12}",
        "", "ns a request", "of it added", "requests/s", "of bare", "process µs each", "left out"
    );
    for name in CONTENDERS {
        let load = saturated[name];
        println!(
            "{name:<32}{:>14.0}{:>14.0}{:>14.0}{:>10.0} %{:>18.1}{:>10.0} %",
            request_ns[name],
            cost(name),
            load.requests_per_second,
            100.0 * load.share,
            load.process_us_per_request,
            100.0 * load.left_out
        );
    }
    println!();
    ratios.iter().for_each(|(name, ratio)| println!("{name:<44}{ratio:>8.2}"));
    let binary = std::env::current_exe().expect("our own path");
    let directory = binary.ancestors().nth(3).expect("target").join("bench");
    std::fs::create_dir_all(&directory).expect("target/bench");
    let file = std::fs::File::create(directory.join("service.json")).expect("service.json");
    serde_json::to_writer_pretty(file, &Report { request_ns, saturated, ratios }).expect("written");
}

/// What keeps a service's telemetry running.
type Kept = Box<dyn std::any::Any + Send>;

/// The service, and its telemetry.
fn service(contender: &str) -> (Router, Kept) {
    let router = Router::new().route("/hello/{name}", get(hello));
    match contender {
        "crumbtrail" | "crumbtrail_unlimited" => {
            let builder = crumbtrail::builder(crumbtrail::service!()).from_env().with_console(false);
            let builder = if contender == "crumbtrail" { builder } else { builder.with_worker_share(1.0) };
            let guard = builder.install().expect("installed");
            (router.layer(ServerLayer::new()), Box::new(guard))
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

/// OpenTelemetry's own pair: spans by tracing-opentelemetry, logs by the appender, both in batches over OTLP/HTTP.
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

fn called(contender: &str, sink: &str) -> f64 {
    let output = command(contender, "call", sink).output().expect("a child");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")
}

/// Serves until its input ends; says its address, and whenever it is asked its CPU time and what of the records was left out.
fn serve(contender: &str) {
    let (router, telemetry) = service(contender);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    println!("{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            println!("{} {}", cpu(ClockId::ProcessCPUTime), telemetry.downcast_ref().map_or(0.0, left_out));
        }
        std::process::exit(0);
    });
    runtime.block_on(async { axum::serve(listener, router).await }).expect("served");
}

/// Of the logs and spans so far.
fn left_out(guard: &crumbtrail::Guard) -> f64 {
    let stats = guard.telemetry().stats();
    let lines = [Signal::Logs, Signal::Spans].map(|signal| (stats.signal(signal).lost(), stats.signal(signal).accepted()));
    lines.iter().map(|line| line.0 as f64).sum::<f64>() / lines.iter().map(|line| line.1 as f64).sum::<f64>().max(1.0)
}

struct Served {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Served {
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn cpu_and_left_out(&mut self) -> (f64, f64) {
        writeln!(self.input).expect("asked");
        let line = self.line();
        let (cpu, left_out) = line.split_once(' ').expect("two numbers");
        (cpu.parse().expect("a number"), left_out.parse().expect("a number"))
    }
}

fn saturated(contender: &str, sink: &str) -> Load {
    let mut process = command(contender, "serve", sink).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child");
    let (input, output) = (process.stdin.take().expect("piped"), BufReader::new(process.stdout.take().expect("piped")));
    let mut served = Served { process, input, output };
    let address = served.line();
    load(&address, LOAD / 4);
    let ((before, _), begun) = (served.cpu_and_left_out(), Instant::now());
    let requests = load(&address, LOAD) as f64;
    let ((after, left_out), took) = (served.cpu_and_left_out(), begun.elapsed());
    drop(served.input);
    let _ = served.process.wait();
    Load { requests_per_second: requests / took.as_secs_f64(), process_ns_per_request: (after - before) / requests, left_out }
}

/// Keeps every connection busy; how many answers there were. One thread, many connections: each has one request under way.
fn load(address: &str, duration: Duration) -> u64 {
    const REQUEST: &[u8] = b"GET /hello/ada HTTP/1.1\r\nhost: localhost:8080\r\nuser-agent: bench/1\r\n\r\n";
    let (answers, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| TcpStream::connect(address).expect("it listens")).collect();
            streams.iter_mut().for_each(|stream| {
                stream.set_nodelay(true).expect("set");
                stream.write_all(REQUEST).expect("sent");
            });
            let mut buffer = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                for stream in &mut streams {
                    // An answer is small: it comes whole.
                    let length = stream.read(&mut buffer).expect("an answer");
                    assert!(buffer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
                    answers.fetch_add(1, Ordering::Relaxed);
                    stream.write_all(REQUEST).expect("sent");
                }
            }
        });
        std::thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
    });
    answers.into_inner()
}

/// A receiver that reads and says thanks. Runs as long as this process.
fn sink() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let router = Router::new().fallback(|_: bytes::Bytes| async { ([("content-type", "application/x-protobuf")], Vec::<u8>::new()) });
        runtime.block_on(async { axum::serve(listener, router.layer(axum::extract::DefaultBodyLimit::disable())).await })
    });
    format!("http://{address}")
}

fn command(contender: &str, what: &str, sink: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--contender", contender, what]).env("OTEL_EXPORTER_OTLP_ENDPOINT", sink).stderr(Stdio::inherit());
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
