//! Faults: networks, disks, processes and hosts that misbehave, against a program that uses the
//! public API only. What they look at: every record emitted is delivered, on disk or counted as
//! lost; the program is not noticeably slowed, does not hang, and ends as it should.
//!
//! ```sh
//! cargo test --all-features --test faults              # everything, with some random schedules
//! CRUMBTRAIL_FAULTS=long cargo test --release --all-features --test faults   # a thousand schedules
//! cargo test --all-features --test faults -- spool     # cases whose name has this in it
//! CRUMBTRAIL_FAULTS_SEED=7 cargo test --all-features --test faults -- schedule
//! ```
//!
//! Has no harness: each case starts programs, which are this binary again.

#![allow(unreachable_pub)]

#[cfg(all(feature = "failpoints", target_os = "linux"))]
mod harness;

#[cfg(all(feature = "failpoints", target_os = "linux"))]
fn main() -> std::process::ExitCode {
    if let Ok(setup) = std::env::var(harness::program::VARIABLE) {
        harness::program::run(&setup);
        return std::process::ExitCode::SUCCESS;
    }
    harness::report::run(harness::cases())
}

/// Some of the cases need features that are off by default: the same again with all of them.
#[cfg(not(all(feature = "failpoints", target_os = "linux")))]
fn main() -> std::process::ExitCode {
    if !cfg!(target_os = "linux") {
        println!("the faults are made by means of Linux: nothing was tested");
        return std::process::ExitCode::SUCCESS;
    }
    let status = std::process::Command::new(env!("CARGO"))
        .args(["test", "--all-features", "--test", "faults", "--"])
        .args(std::env::args().skip(1))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    if status.is_ok_and(|status| status.success()) { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
