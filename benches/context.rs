//! What privacy and storms cost: the scrubber on texts of every kind, and four threads in a storm
//! of errors.
//!
//! `cargo bench --bench context` prints the figures and writes `target/bench/context.json`. Figures
//! are thread CPU time, medians of rounds. What an event costs, scrubber included, is `cargo bench
//! --bench request`.

use std::{
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crumbtrail::{Scrubber, Telemetry, config::ExceptionRate, stats::RecordKind};
use crumbtrail_receiver::Receiver;
use serde::Serialize;
use tracing::error;

#[derive(Serialize)]
struct Report {
    scrubber: Vec<Scrubbed>,
    storm: Vec<Storm>,
}

/// Of each KiB of text.
#[derive(Serialize)]
struct Scrubbed {
    text: &'static str,
    ns_per_kib: f64,
    finds: bool,
}

#[derive(Serialize)]
struct Storm {
    what: &'static str,
    threads: usize,
    ns_per_error: f64,
    errors_per_second: f64,
    /// CPU of the rest of the process (the worker), of all that the errors' threads used.
    worker_share: f64,
    records: u64,
    only_counted: u64,
    uncounted: i64,
}

const ROUNDS: usize = 15;
/// What a storm is measured with.
const STORM: Duration = Duration::from_millis(800);
const THREADS: usize = 4;

fn main() {
    let scrubber: Vec<Scrubbed> = texts().into_iter().map(|(name, text)| scrubbed(name, &text)).collect();
    for row in &scrubber {
        println!("scrubber  {:<44}{:>9.0} ns per KiB", row.text, row.ns_per_kib);
    }
    let storm: Vec<Storm> = vec![
        storm("event with a &dyn Error", ExceptionRate::default(), |_| {
            error!(error = &std::fmt::Error as &dyn std::error::Error, "payment failed");
        }),
        storm("event with a number in its text", ExceptionRate::default(), |number| error!("order {number} failed")),
        storm("capture", ExceptionRate::default(), |_| {
            crumbtrail::capture(&std::fmt::Error);
        }),
        storm("event, no limit (for comparison)", ExceptionRate::unlimited(), |_| {
            error!(error = &std::fmt::Error as &dyn std::error::Error, "payment failed");
        }),
    ];
    for row in &storm {
        println!(
            "storm     {:<34}{:>9.0} ns an error on its thread, {:>9.0} /s, worker {:>4.1} %, {} records, {} only counted, {} lost count",
            row.what,
            row.ns_per_error,
            row.errors_per_second,
            100.0 * row.worker_share,
            row.records,
            row.only_counted,
            row.uncounted
        );
    }
    let binary = std::env::current_exe().expect("our own path");
    let directory = binary.ancestors().nth(3).expect("target").join("bench");
    std::fs::create_dir_all(&directory).expect("target/bench");
    let file = std::fs::File::create(directory.join("context.json")).expect("context.json");
    serde_json::to_writer_pretty(file, &Report { scrubber, storm }).expect("written");
}

/// A KiB of what services say; 64 of what an attacker might, to whom a scrubber that is not linear
/// would be a gift.
fn texts() -> Vec<(&'static str, String)> {
    let repeated = |piece: &str, length: usize| piece.repeat(length.div_ceil(piece.len()))[..length].to_owned();
    let (kib, long) = (|piece| repeated(piece, 1024), |piece| repeated(piece, 64 * 1024));
    vec![
        ("words", kib("the quick brown fox jumps over the lazy dog ")),
        ("a Debug text", kib("Order { id: 4711, user: \"ada\", items: [Item { sku: \"A-12\", count: 2 }], total: 19.99 } ")),
        ("JSON", kib(r#"{"id":4711,"user":"ada","items":[{"sku":"A-12","count":2}],"total":19.99,"note":null},"#)),
        ("a URL and its query", kib("GET https://shop.example/cart/4711?page=2&sort=price&filter=tea#top ")),
        ("hexadecimal and base64", kib("4bf92f3577b34da6a3ce929d0e0e4736 dGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcw ")),
        ("digits", kib("1732312345678901234 4111111111111112 0049123456789 ")),
        ("many secrets", kib("password=hunter2 token: abc https://u:p@h/ 4111111111111111 Bearer abcdef0123456789 ")),
        ("colons", long(":a:b=c:d=e::")),
        ("at signs", long("a@b.c@d.e@f")),
        ("dashes", long("-----BEGIN-----")),
        ("half a token, over and over", long("eyJ-")),
        ("an open bracket, over and over", long("password=[Filtered")),
        ("an open quote, over and over", long("password=\"[Filtered ")),
        ("an empty value, over and over", long("password=\"\" ")),
    ]
}

fn scrubbed(text: &'static str, content: &str) -> Scrubbed {
    let scrubber = Scrubber::default();
    let times = 400 * 1024 / content.len();
    let rounds = (0..ROUNDS).map(|_| {
        let begun = cpu(libc::CLOCK_THREAD_CPUTIME_ID);
        for _ in 0..times {
            black_box(scrubber.scrub(black_box(content)));
        }
        (cpu(libc::CLOCK_THREAD_CPUTIME_ID) - begun) / (times * content.len()) as f64 * 1024.0
    });
    Scrubbed { text, ns_per_kib: median(rounds.collect()), finds: scrubber.scrub(content) != content }
}

/// All threads raise the same error as fast as they can.
fn storm(what: &'static str, rate: ExceptionRate, raise: fn(u64)) -> Storm {
    let receiver = Receiver::start().expect("a receiver");
    let telemetry = crumbtrail::builder(crumbtrail::service!().with_name("storm"))
        .with_endpoint(receiver.http_endpoint())
        .with_exception_rate(rate)
        .build()
        .expect("telemetry");
    let dispatch = telemetry.dispatch();
    // The stack's names are found once.
    tracing::dispatcher::with_default(&dispatch, || raise(0));
    let _ = telemetry.flush(Duration::from_secs(30));

    let (barrier, ends, raised) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (barrier, ends, raised, dispatch) = (barrier.clone(), ends.clone(), raised.clone(), dispatch.clone());
            std::thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    barrier.wait();
                    let begun = cpu(libc::CLOCK_THREAD_CPUTIME_ID);
                    let mut count = 0;
                    while !ends.load(Ordering::Relaxed) {
                        raise(count);
                        count += 1;
                    }
                    raised.fetch_add(count, Ordering::Relaxed);
                    (count, cpu(libc::CLOCK_THREAD_CPUTIME_ID) - begun)
                })
            })
        })
        .collect();
    barrier.wait();
    let (begun, process) = (Instant::now(), cpu(libc::CLOCK_PROCESS_CPUTIME_ID));
    std::thread::sleep(STORM);
    ends.store(true, Ordering::Relaxed);
    let counts: Vec<(u64, f64)> = threads.into_iter().map(|thread| thread.join().expect("it ends")).collect();
    let (took, process) = (begun.elapsed(), cpu(libc::CLOCK_PROCESS_CPUTIME_ID) - process);
    let (errors, used) = counts.iter().fold((0, 0.0), |(errors, used), (count, cpu)| (errors + count, used + cpu));
    let _ = telemetry.flush(Duration::from_secs(60));
    Storm {
        what,
        threads: THREADS,
        ns_per_error: used / errors as f64,
        errors_per_second: errors as f64 / took.as_secs_f64(),
        worker_share: (process - used).max(0.0) / used,
        records: telemetry.stats().of(RecordKind::Exceptions).accepted(),
        only_counted: telemetry.stats().suppressed(),
        uncounted: uncounted(&telemetry, raised.load(Ordering::Relaxed)),
    }
}

/// Every error is a record, or counted as one that got none.
fn uncounted(telemetry: &Telemetry, raised: u64) -> i64 {
    let stats = telemetry.stats();
    raised as i64 - (stats.of(RecordKind::Exceptions).accepted() + stats.suppressed()) as i64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Nanoseconds.
#[allow(unsafe_code)]
fn cpu(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the one place it is given.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
