//! Runs the cases, several at a time, and says what came of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// What a case has to show, in a few words. A case fails by panicking.
type Shows = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
pub struct Case {
    pub name: String,
    run: Shows,
}

pub fn case(name: impl Into<String>, run: impl Fn() -> String + Send + Sync + 'static) -> Case {
    Case { name: name.into(), run: Arc::new(run) }
}

/// Whether this is the long run.
pub fn is_long() -> bool {
    std::env::var("CRUMBTRAIL_FAULTS").is_ok_and(|value| value == "long")
}

/// For a case that this machine cannot show. With `CRUMBTRAIL_REQUIRE_TOOLS` a tool may not be
/// missing.
pub fn skipped(why: &str, is_a_tool: bool) -> String {
    assert!(!is_a_tool || std::env::var_os("CRUMBTRAIL_REQUIRE_TOOLS").is_none(), "{why}");
    format!("*** SKIPPED: {why} ***")
}

pub fn run(cases: Vec<Case>) -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let cases: Vec<Case> =
        cases.into_iter().filter(|case| wanted.is_empty() || wanted.iter().any(|part| case.name.contains(part))).collect();
    // Panics are the cases' way to fail; they are reported with the case.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let failed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    one(case, &failed);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    println!("\nfaults: {} cases, {} failed, {} s", cases.len(), failed.len(), began.elapsed().as_secs());
    for name in &failed {
        println!("  FAILED {name}");
    }
    println!(
        "test result: {}. {} passed; {} failed",
        if failed.is_empty() { "ok" } else { "FAILED" },
        cases.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(case: &Case, failed: &Mutex<Vec<String>>) {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (case.run)()));
    let took = began.elapsed().as_secs_f64();
    match outcome {
        Ok(shown) => println!("ok      {:<58} {took:5.1} s  {shown}", case.name),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            println!("FAILED  {:<58} {took:5.1} s  {}", case.name, why.unwrap_or_default());
            failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(case.name.clone());
        }
    }
}
