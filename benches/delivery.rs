//! Logs and spans to the official Collector over loopback, crumbtrail and the stock pipeline
//! (opentelemetry-appender-tracing, tracing-opentelemetry, batch processors, opentelemetry-otlp
//! with its defaults) side by side in one run: what is lost at a given rate from one producer, and
//! what the threads behind it cost.
//!
//! `cargo bench --bench delivery` (with `--features grpc` for both transports of logs) prints the
//! table and writes `target/bench/delivery.json`. Needs the Collector: `OTELCOL_BIN`, or what
//! `.ci/collector` has built. Each contender is a process of its own; the Collector's own count
//! says what arrived. "Worker" is the CPU time of the process but for the producer's thread.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use opentelemetry_otlp::WithExportConfig as _;
use serde::{Deserialize, Serialize};
use tracing::{info, info_span};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Records a second.
const RATES: [u64; 2] = [50_000, 200_000];
const SECONDS: u64 = 4;
const ROUNDS: usize = 3;
const CONTENDERS: [&str; 6] = [
    "crumbtrail, logs, http",
    "stock, logs, http",
    "crumbtrail, logs, grpc",
    "stock, logs, grpc",
    "crumbtrail, spans, http",
    "stock, spans, http",
];

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    contender: String,
    rate: u64,
    emitted: u64,
    lost: u64,
    /// Records the program itself knows to be lost.
    counted_lost: Option<u64>,
    worker_ns: f64,
    producer_ns: f64,
}

fn main() {
    if let Ok(contender) = std::env::var("CRUMBTRAIL_BENCH_CONTENDER") {
        let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok()).expect(name);
        return produce(&contender, number("CRUMBTRAIL_BENCH_RATE"));
    }
    let Some(binary) = crumbtrail_receiver::Peer::Collector.binary() else {
        return;
    };
    let mut rows = Vec::new();
    for rate in RATES {
        for contender in CONTENDERS.into_iter().filter(|contender| cfg!(feature = "grpc") || !contender.ends_with("grpc")) {
            let mut rounds: Vec<Row> = (0..ROUNDS).map(|_| round(&binary, contender, rate)).collect();
            rounds.sort_by(|left, right| left.worker_ns.total_cmp(&right.worker_ns));
            let mut row = rounds[ROUNDS / 2].clone();
            // Of all rounds: a loss is a loss.
            (row.emitted, row.lost) = rounds.iter().fold((0, 0), |sum, round| (sum.0 + round.emitted, sum.1 + round.lost));
            row.counted_lost = rounds.iter().map(|round| round.counted_lost).sum();
            println!(
                "{:>7} /s  {:<24} lost {:>7} of {} ({:.2} %){}   worker {:>5.0} ns a record   producer {:>4.0} ns",
                row.rate,
                row.contender,
                row.lost,
                row.emitted,
                100.0 * row.lost as f64 / row.emitted as f64,
                row.counted_lost.map(|lost| format!(", {lost} counted")).unwrap_or_default(),
                row.worker_ns,
                row.producer_ns,
            );
            rows.push(row);
        }
    }
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("delivery.json"), serde_json::to_string_pretty(&rows).expect("JSON")).expect("written");
}

/// One contender, one Collector.
fn round(binary: &PathBuf, contender: &str, rate: u64) -> Row {
    let port = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let (http, grpc, metrics) = (port(), port(), port());
    let collector = Command::new(binary)
        .arg(format!("--config={}/collector-config/throughput.yaml", env!("CARGO_MANIFEST_DIR")))
        .env("OTLP_HTTP_ENDPOINT", format!("127.0.0.1:{http}"))
        .env("OTLP_GRPC_ENDPOINT", format!("127.0.0.1:{grpc}"))
        .env("OTLP_METRICS_PORT", metrics.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Ended)
        .expect("the collector starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while accepted(metrics).is_none() || std::net::TcpStream::connect(("127.0.0.1", grpc)).is_err() {
        assert!(Instant::now() < deadline, "the collector does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let endpoint = format!("http://127.0.0.1:{}", if contender.ends_with("grpc") { grpc } else { http });
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .env("CRUMBTRAIL_BENCH_CONTENDER", contender)
        .env("CRUMBTRAIL_BENCH_RATE", rate.to_string())
        .env("CRUMBTRAIL_BENCH_ENDPOINT", endpoint)
        .stderr(Stdio::null())
        .output()
        .expect("a contender");
    let mut row: Row = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{contender}: {error}"));
    let arrived = if has_spans(contender) { accepted(metrics).map(|(_, spans)| spans) } else { accepted(metrics).map(|(logs, _)| logs) };
    row.lost = row.emitted.saturating_sub(arrived.expect("the collector's count"));
    drop(collector);
    row
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_spans(contender: &str) -> bool {
    contender.contains("spans")
}

/// Log records and spans the Collector says it took. `None`: it does not answer yet.
fn accepted(port: u16) -> Option<(u64, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let text = runtime.block_on(async { reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.ok()?.text().await.ok() })?;
    let sum = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    Some((sum("otelcol_receiver_accepted_log_records"), sum("otelcol_receiver_accepted_spans")))
}

/// A service of one thread that logs, or opens spans, at a steady rate, in bursts of a millisecond.
fn produce(contender: &str, rate: u64) {
    let endpoint = std::env::var("CRUMBTRAIL_BENCH_ENDPOINT").expect("an endpoint");
    let grpc = contender.ends_with("grpc");
    let work = if has_spans(contender) { span } else { log };
    let signal = if has_spans(contender) { crumbtrail::stats::RecordKind::Spans } else { crumbtrail::stats::RecordKind::Logs };
    let finish: Box<dyn FnOnce() -> Option<u64>> = if contender == "stock, spans, http" {
        stock_spans(&endpoint)
    } else if contender.starts_with("stock") {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let exporter = {
            let _entered = runtime.enter();
            let builder = opentelemetry_otlp::LogExporter::builder();
            let built = if grpc {
                builder.with_tonic().with_endpoint(endpoint).build()
            } else {
                let binary = opentelemetry_otlp::Protocol::HttpBinary;
                builder.with_http().with_protocol(binary).with_endpoint(format!("{endpoint}/v1/logs")).build()
            };
            built.expect("an exporter")
        };
        let provider = opentelemetry_sdk::logs::SdkLoggerProvider::builder().with_batch_exporter(exporter).build();
        let bridge = opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&provider);
        let quiet: tracing_subscriber::filter::Targets = "delivery=info".parse().expect("targets");
        use tracing_subscriber::Layer as _;
        tracing_subscriber::registry().with(bridge.with_filter(quiet)).init();
        Box::new(move || {
            let _ = provider.shutdown();
            drop(runtime);
            None
        })
    } else {
        let builder = crumbtrail::builder(crumbtrail::service!()).with_endpoint(endpoint).with_console(false);
        let builder = builder.with_metrics_exporter(crumbtrail::config::Exporter::None);
        #[cfg(feature = "grpc")]
        let builder = if grpc { builder.with_protocol(crumbtrail::config::Protocol::Grpc) } else { builder };
        let guard = builder.install().expect("installed");
        Box::new(move || {
            let _ = guard.telemetry().shutdown(Duration::from_secs(20));
            Some(guard.telemetry().stats().of(signal).lost())
        })
    };
    // Connections and code paths are warm.
    (0..2_000_u64).for_each(work);
    std::thread::sleep(Duration::from_millis(1_500));
    let (process, thread, began) = (cpu(rustix::time::ClockId::ProcessCPUTime), cpu(rustix::time::ClockId::ThreadCPUTime), Instant::now());
    let burst = rate / 1_000;
    for millisecond in 0..SECONDS * 1_000 {
        (0..burst).for_each(|number| work(millisecond * burst + number));
        std::thread::sleep((began + Duration::from_millis(millisecond + 1)).saturating_duration_since(Instant::now()));
    }
    let producer = cpu(rustix::time::ClockId::ThreadCPUTime) - thread;
    let counted_lost = finish();
    let emitted = SECONDS * 1_000 * burst;
    let own = cpu(rustix::time::ClockId::ThreadCPUTime) - thread;
    let worker = (cpu(rustix::time::ClockId::ProcessCPUTime) - process).saturating_sub(own);
    let row = Row {
        contender: contender.to_owned(),
        rate,
        emitted: emitted + 2_000,
        lost: 0,
        counted_lost,
        worker_ns: worker.as_nanos() as f64 / emitted as f64,
        producer_ns: producer.as_nanos() as f64 / emitted as f64,
    };
    println!("{}", serde_json::to_string(&row).expect("JSON"));
}

fn stock_spans(endpoint: &str) -> Box<dyn FnOnce() -> Option<u64>> {
    use opentelemetry::trace::TracerProvider as _;
    let binary = opentelemetry_otlp::Protocol::HttpBinary;
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_protocol(binary);
    let exporter = exporter.with_endpoint(format!("{endpoint}/v1/traces")).build().expect("an exporter");
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let quiet: tracing_subscriber::filter::Targets = "delivery=info".parse().expect("targets");
    use tracing_subscriber::Layer as _;
    tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("bench")).with_filter(quiet)).init();
    Box::new(move || {
        let _ = provider.shutdown();
        None
    })
}

fn log(number: u64) {
    info!(number, user = "someone", amount = 12.5, "an order was placed");
}

/// A request of its own, each.
fn span(number: u64) {
    drop(info_span!("place an order", number, user = "someone", amount = 12.5));
}

fn cpu(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
