//! One request and its parts, side by side in one run: the Registry with a no-op layer (the
//! control), the stock pair (tracing-opentelemetry + opentelemetry-appender-tracing, batch
//! processors, exporters that do nothing), and crumbtrail.
//!
//! `cargo bench --bench request` prints the table and writes `target/bench/request.json`. Figures
//! are thread CPU time and allocations of the *calling* thread, medians of interleaved rounds. Each
//! contender has a process of its own, because `tracing`'s global default subscriber is one a
//! process, and a scoped one is not what services use.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeMap,
    hint::black_box,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tracing::{info, info_span};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Clone, Serialize, Deserialize)]
struct Row {
    name: String,
    cpu_ns: f64,
    allocs: f64,
    bytes: f64,
}

#[derive(Serialize)]
struct Report {
    rows: Vec<Row>,
    ratios: BTreeMap<&'static str, f64>,
}

const CONTENDERS: [&str; 7] = [
    "registry",
    "stock_sampled",
    "stock_unsampled",
    "crumbtrail_sampled",
    "crumbtrail_unsampled",
    "crumbtrail_trail_only",
    "crumbtrail_layer",
];
/// Processes of each contender, interleaved; the median of their medians counts.
const ROUNDS: usize = 5;
/// Every contender works this long before it is measured.
const WARM_UP: Duration = Duration::from_millis(600);
/// Batches within a process, and requests in a batch: together with the lead small enough for every
/// queue (2,048 records).
const BATCHES: usize = 60;
const REQUESTS: usize = 150;
/// Requests at the start of a batch that are not measured: the thread has just slept in a flush,
/// and its caches are cold.
const LEAD: usize = 30;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--contender") {
        return contend(&arguments.next().expect("which contender"));
    }
    let mut all: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for round in 0..ROUNDS {
        for contender in CONTENDERS {
            eprint!("\rround {} of {ROUNDS}: {contender:<24}", round + 1);
            for row in run(contender) {
                all.entry(row.name.clone()).or_default().push(row);
            }
        }
    }
    eprintln!();
    let rows: Vec<Row> = all
        .into_iter()
        .map(|(name, rows)| Row {
            name,
            cpu_ns: median(rows.iter().map(|row| row.cpu_ns)),
            allocs: median(rows.iter().map(|row| row.allocs)),
            bytes: median(rows.iter().map(|row| row.bytes)),
        })
        .collect();
    let cpu = |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.cpu_ns).expect("every row was measured");
    let ratios = BTreeMap::from([
        ("request_sampled", cpu("stock_sampled/request") / cpu("crumbtrail_sampled/request")),
        ("request_unsampled", cpu("stock_unsampled/request") / cpu("crumbtrail_unsampled/request")),
        ("request_sampled_in_composed_subscriber", cpu("stock_sampled/request") / cpu("crumbtrail_layer/request")),
        ("event", cpu("stock_sampled/event") / cpu("crumbtrail_sampled/event")),
        ("child_span", cpu("stock_sampled/child_span") / cpu("crumbtrail_sampled/child_span")),
        ("poll", cpu("stock_sampled/poll") / cpu("crumbtrail_sampled/poll")),
        ("two_threads_over_one", cpu("crumbtrail_sampled/request_2_threads") / cpu("crumbtrail_sampled/request")),
    ]);
    println!("{:<44}{:>12}{:>10}{:>10}", "thread CPU of the caller, medians", "ns", "allocs", "bytes");
    for row in &rows {
        println!("{:<44}{:>12.1}{:>10.2}{:>10.0}", row.name, row.cpu_ns, row.allocs, row.bytes);
    }
    println!();
    for (name, ratio) in &ratios {
        println!("{name:<44}{ratio:>12.2}");
    }
    let directory = target_directory();
    std::fs::create_dir_all(&directory).expect("target/bench");
    let file = std::fs::File::create(directory.join("request.json")).expect("request.json");
    serde_json::to_writer_pretty(file, &Report { rows, ratios }).expect("written");
}

/// `target/bench`, from where this binary lies: `target/release/deps/request-…`.
fn target_directory() -> std::path::PathBuf {
    let binary = std::env::current_exe().expect("our own path");
    binary.ancestors().nth(3).expect("target").join("bench")
}

fn run(contender: &str) -> Vec<Row> {
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--contender", contender])
        .stderr(Stdio::inherit())
        .output()
        .expect("a process for the contender");
    assert!(output.status.success(), "{contender} failed: {:?}", output.status);
    serde_json::from_slice(&output.stdout).expect("rows")
}

/// Measures one contender and prints its rows as JSON.
fn contend(contender: &str) {
    let (flush, _keep): (Box<dyn Fn()>, Box<dyn std::any::Any>) = match contender {
        "registry" => {
            Registry::default().with(Noop).init();
            (Box::new(|| {}), Box::new(()))
        }
        "stock_sampled" => stock::install(true),
        "stock_unsampled" => stock::install(false),
        other => crumbtrail_install(other),
    };
    // Past start-up: caches, lazily made rings, the worker's first measurement of the clock.
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        (0..REQUESTS).for_each(|_| request());
        flush();
    }
    let mut rows = vec![
        measure(&format!("{contender}/request"), 1, REQUESTS, &*flush, request),
        measure_threads(&format!("{contender}/request_2_threads"), &*flush),
    ];
    {
        let _span = info_span!("request", route = "/cart", user.id = 42u64, cold = false).entered();
        rows.push(measure(&format!("{contender}/event"), 10, REQUESTS, &*flush, || {
            (0..10u64).for_each(event);
        }));
        rows.push(measure(&format!("{contender}/child_span"), 1, REQUESTS, &*flush, || child(3)));
        let polled = info_span!("polled", route = "/cart", attempt = 1u64, cold = false);
        rows.push(measure(&format!("{contender}/poll"), 10, REQUESTS, &*flush, || {
            (0..10).for_each(|_| drop(black_box(&polled).enter()));
        }));
    }
    if contender == "crumbtrail_sampled" {
        rows.push(measure("crumbtrail_sampled/disabled_callsite", 10, REQUESTS, &*flush, || {
            (0..10u64).for_each(|number| tracing::trace!(target: "off", number, "never"));
        }));
        // The error alone: what its surroundings cost is not its cost.
        let mut samples: Vec<(u64, u64, u64)> = (0..200).map(|_| error_once(&*flush)).collect();
        samples.sort_unstable();
        let (cpu, allocs, bytes) = samples[samples.len() / 2];
        let name = "crumbtrail_sampled/error_30_frames_100_records".to_owned();
        rows.push(Row { name, cpu_ns: cpu as f64, allocs: allocs as f64, bytes: bytes as f64 });
    }
    serde_json::to_writer(std::io::stdout(), &rows).expect("rows");
    std::io::stdout().flush().expect("rows");
    std::process::exit(0);
}

/// CPU time, allocations and bytes of one error, 30 frames deep, in a request with 100 records of
/// trail.
fn error_once(flush: &dyn Fn()) -> (u64, u64, u64) {
    let _span = info_span!("request", route = "/cart").entered();
    (0..100u64).for_each(|number| info!(number, "a step"));
    deep(30, &|| {
        let (before, allocated) = (thread_cpu(), counts());
        tracing::error!(error = &std::fmt::Error as &dyn std::error::Error, "it failed");
        ERROR_COST.set((thread_cpu() - before, counts().0 - allocated.0, counts().1 - allocated.1));
    });
    flush();
    ERROR_COST.get()
}

thread_local! {
    static ERROR_COST: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
}

#[inline(never)]
fn deep(frames: usize, then: &dyn Fn()) {
    if frames == 0 {
        then()
    } else {
        deep(frames - 1, then)
    }
    black_box(frames);
}

/// A request: one root and four child spans, ten events of three fields.
fn request() {
    let _root = info_span!("request", route = "/cart", user.id = black_box(42u64), cold = false).entered();
    for number in 0..4 {
        child_with_events(number);
    }
    event(8);
    event(9);
}

fn child_with_events(number: u64) {
    let _child = info_span!("step", name = "charge", attempt = black_box(number), retried = false).entered();
    event(number);
    event(number + 1);
}

fn child(number: u64) {
    let _child = info_span!("step", name = "charge", attempt = black_box(number), retried = false).entered();
}

fn event(number: u64) {
    info!(order = black_box(number), amount = 19.99, currency = "EUR", "charging card");
}

/// Runs batches of `count` operations and returns the median CPU time, allocations and bytes of
/// one; `operations` are in one call.
fn measure(name: &str, operations: usize, count: usize, flush: &dyn Fn(), operation: impl Fn()) -> Row {
    for _ in 0..count {
        operation();
    }
    flush();
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        for _ in 0..LEAD {
            operation();
        }
        let (allocs, bytes) = counts();
        let start = thread_cpu();
        for _ in 0..count {
            operation();
        }
        let cpu = thread_cpu() - start;
        let (allocs_after, bytes_after) = counts();
        samples.push((cpu, allocs_after - allocs, bytes_after - bytes));
        flush();
    }
    let per = (count * operations) as f64;
    Row {
        name: name.to_owned(),
        cpu_ns: median(samples.iter().map(|sample| sample.0 as f64 / per)),
        allocs: median(samples.iter().map(|sample| sample.1 as f64 / per)),
        bytes: median(samples.iter().map(|sample| sample.2 as f64 / per)),
    }
}

/// The same request on two threads at once: the cost of one must not grow.
fn measure_threads(name: &str, flush: &dyn Fn()) -> Row {
    let barrier = std::sync::Barrier::new(2);
    let rows: Vec<Row> = std::thread::scope(|scope| {
        let work = || {
            (0..10).for_each(|_| request());
            barrier.wait();
            // No flush in between: it would hold one thread up and leave the other alone.
            measure(
                name,
                1,
                REQUESTS / 2,
                &|| {
                    barrier.wait();
                },
                request,
            )
        };
        let (left, right) = (scope.spawn(work), scope.spawn(work));
        vec![left.join().expect("measured"), right.join().expect("measured")]
    });
    flush();
    Row { name: name.to_owned(), ..rows.into_iter().max_by(|a, b| a.cpu_ns.total_cmp(&b.cpu_ns)).expect("two rows") }
}

struct Noop;
impl<S: tracing::Subscriber> Layer<S> for Noop {}

mod stock {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        logs::{LogBatch, LogExporter, SdkLoggerProvider},
        trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter},
    };
    use tracing_subscriber::{Layer as _, Registry, layer::SubscriberExt, util::SubscriberInitExt};

    #[derive(Debug)]
    struct Nothing;

    impl SpanExporter for Nothing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Ok(())
        }
    }

    impl LogExporter for Nothing {
        async fn export(&self, _: LogBatch<'_>) -> OTelSdkResult {
            Ok(())
        }
    }

    pub(super) fn install(sampled: bool) -> (Box<dyn Fn()>, Box<dyn std::any::Any>) {
        let sampler = if sampled { Sampler::AlwaysOn } else { Sampler::AlwaysOff };
        let tracers = SdkTracerProvider::builder().with_batch_exporter(Nothing).with_sampler(sampler).build();
        let loggers = SdkLoggerProvider::builder().with_batch_exporter(Nothing).build();
        Registry::default()
            .with(tracing_opentelemetry::layer().with_tracer(tracers.tracer("bench")))
            .with(opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&loggers).boxed())
            .init();
        let flush = {
            let (tracers, loggers) = (tracers.clone(), loggers.clone());
            move || {
                tracers.force_flush().expect("flushed");
                loggers.force_flush().expect("flushed");
            }
        };
        (Box::new(flush), Box::new((tracers, loggers)))
    }
}

fn crumbtrail_install(contender: &str) -> (Box<dyn Fn()>, Box<dyn std::any::Any>) {
    use crumbtrail::{
        Sampler,
        config::{Exporter, Filter},
    };
    // The worker makes everything it would send, down to the decision where to; nothing leaves.
    let mut builder = crumbtrail::builder(crumbtrail::service!().with_crate("request"))
        // Every error gets its full record: that is what is measured.
        .with_exception_rate(crumbtrail::config::ExceptionRate::unlimited())
        .with_logs_exporter(Exporter::None)
        .with_traces_exporter(Exporter::None)
        .with_metrics_exporter(Exporter::None);
    if contender != "crumbtrail_trail_only" {
        builder = builder.with_logs_exporter(Exporter::Otlp).with_traces_exporter(Exporter::Otlp).with_endpoint(discarding_receiver());
    }
    if contender == "crumbtrail_unsampled" {
        builder = builder.with_sampler(Sampler::always_off());
    }
    let off = tracing_subscriber::filter::Targets::new();
    if contender == "crumbtrail_trail_only" {
        builder = builder.with_filter(Filter::Logs, off).with_sampler(Sampler::always_off());
    }
    let telemetry = builder.build().expect("telemetry");
    if contender == "crumbtrail_layer" {
        Registry::default().with(telemetry.layer()).init();
    } else {
        telemetry.dispatch().init();
    }
    telemetry.install_panic_hook();
    let flushed = telemetry.clone();
    let flush = move || {
        // Two threads that never rest outrun a receiver on the same two cores; what its lane then drops is counted, and is no reason not to measure.
        if let Err(error) = flushed.flush(Duration::from_secs(10)) {
            assert_eq!(error.undelivered(), 0, "{error}");
        }
    };
    (Box::new(flush), Box::new(telemetry))
}

/// Answers everything with success and holds nothing. One that remembers what it gets, as the test
/// kit's, takes nine tenths of the process's CPU, and with it the memory that the caller is measured
/// on.
fn discarding_receiver() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("a socket of tokio's");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket of tokio's");
            let discard = async |mut body: axum::body::Body| while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {};
            axum::serve(listener, axum::Router::new().fallback(discard)).await.expect("served");
        });
    });
    endpoint
}

/// Counts allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

fn counts() -> (u64, u64) {
    ALLOCATED.try_with(Cell::get).unwrap_or_default()
}

fn count(bytes: usize) {
    let _ = ALLOCATED.try_with(|cell| {
        let (allocs, total) = cell.get();
        cell.set((allocs + 1, total + bytes as u64));
    });
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// CPU time of the calling thread, nanoseconds.
fn thread_cpu() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
