//! What a thread costs: memory of many threads that each log a few lines and then wait, and time of
//! threads that log one line and end.
//!
//! `cargo bench --bench threads` prints both, beside the same threads that log nothing. On Linux.

use std::{
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use crumbtrail_receiver::Receiver;
use tracing::info;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, case, endpoint, threads, lines] = &arguments[..]
        && case == "case"
    {
        return case_of(endpoint, threads.parse().expect("a number"), lines.parse().expect("a number"));
    }
    let receiver = Receiver::start().expect("a receiver");
    println!("KiB of a thread: threads, lines each, with them, without");
    for (threads, lines) in [(10, 1), (10, 1_000), (512, 1), (512, 1_000), (1_000, 1), (10_000, 1)] {
        // In a process of its own: what another case has given back is still there to be taken.
        let kib = |lines: usize| {
            let this = std::env::current_exe().expect("this program");
            let arguments = ["case".to_owned(), receiver.http_endpoint(), threads.to_string(), lines.to_string()];
            let output = std::process::Command::new(this).args(arguments).output().expect("a case");
            String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("a number")
        };
        println!("{threads:7} {lines:6} {:8.1} {:8.1}", kib(lines), kib(0));
    }
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver.http_endpoint()).build().expect("telemetry");
    let dispatch = telemetry.dispatch();
    let time = |lines: usize| {
        let began = Instant::now();
        for _ in 0..THREADS {
            let dispatch = dispatch.clone();
            let thread = std::thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || (0..lines).for_each(|line| info!(line, "a line")));
            });
            thread.join().expect("a thread");
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(THREADS)
    };
    println!("a thread that logs one line and ends: {:.1} µs; one that logs none: {:.1} µs", time(1), time(0));
}

/// Threads that end at once.
const THREADS: u32 = 3_000;

/// Prints the memory that many threads take, each, when all have logged and wait.
fn case_of(endpoint: &str, threads: usize, lines: usize) {
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint(endpoint).build().expect("telemetry");
    let dispatch = telemetry.dispatch();
    tracing::dispatcher::with_default(&dispatch, || info!("the first line"));
    let _ = telemetry.flush(Duration::from_secs(30));
    let before = resident();
    let (logged, end) = (Arc::new(Barrier::new(threads + 1)), Arc::new(Barrier::new(threads + 1)));
    let begun: Vec<_> = (0..threads)
        .map(|_| {
            let (dispatch, logged, end) = (dispatch.clone(), logged.clone(), end.clone());
            std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    for line in 0..lines {
                        info!(line, "a line");
                        // As threads of a service do, that have other work.
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
                logged.wait();
                end.wait();
            })
        })
        .collect::<Result<_, _>>()
        .expect("a thread");
    logged.wait();
    let _ = telemetry.flush(Duration::from_secs(30));
    println!("{}", resident().saturating_sub(before) as f64 / threads as f64);
    end.wait();
    begun.into_iter().for_each(|thread| thread.join().expect("a thread"));
}

/// KiB of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default()
}
