//! The process and its host: every runtime, every way to die, forks, limits, faults of our own.

use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

use crumbtrail_receiver::Mode;

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case, skipped},
    world::{TRANSPORTS, World, conserved, exceptions, number},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in TRANSPORTS {
        for (threads, name) in [(0, "current-thread"), (1, "one worker"), (2, "two workers")] {
            cases.push(case(format!("process: flush within a runtime, {name}, {transport}"), move || within_runtime(transport, threads)));
        }
        cases.push(case(format!("process: flush within a runtime, current-thread, {transport}, stock"), move || {
            stock_within_runtime(transport)
        }));
        cases.push(case(format!("process: an unfiltered subscriber, one event, {transport}"), move || feedback(transport, false)));
        cases.push(case(format!("process: an unfiltered subscriber, one event, {transport}, stock"), move || feedback(transport, true)));
        cases.push(case(format!("process: fork, {transport}"), move || fork(transport)));
    }
    cases.push(case("process: fork with a spool, the parent dies", fork_with_spool));
    cases.push(case("process: exit without a goodbye", || dies("exit 0", Some(0))));
    cases.push(case("process: abort", || dies("abort", None)));
    for (how, code) in [
        ("double-panic", None),
        ("panic-in-extern-c", None),
        ("panic-in-thread-local", None),
        ("panic-in-drop", Some(0)),
        ("panic-in-debug", Some(0)),
    ] {
        cases.push(case(format!("process: {how}"), move || panics(how, code)));
    }
    cases.push(case("process: standard error is full", full_stderr));
    cases.push(case("process: main returns, the guard delivers", main_returns));
    cases.push(case("process: descriptors closed and used again", closed_descriptors));
    cases.push(case("process: out of file descriptors", out_of_files));
    cases.push(case("process: a limit to the size of files", file_size_limit));
    cases.push(case("process: no thread to be had", no_threads));
    for step in ["worker::turn", "lane::attempt"] {
        cases.push(case(format!("process: a fault of our own at {step}"), move || own_fault(step)));
    }
    cases.push(case("process: names are found while callers never rest", names_in_a_storm));
    cases.push(case("process: clocks that lie", lying_clock));
    cases
}

fn within_runtime(transport: &'static str, threads: u64) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&world.setup());
    program.ask(&format!("emit-in-runtime all 20 0 {threads}"));
    let flushed = program.ask(&format!("flush-in-runtime 20000 {threads}"));
    assert_eq!(flushed["ok"], true, "{flushed}");
    let received = world.receiver.received();
    assert_eq!((exceptions(&received).len(), received.spans.len()), (20, 20));
    format!("delivered in {} ms", flushed["ms"])
}

fn stock_within_runtime(transport: &'static str) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { stock: true, current_thread: true, ..world.setup() });
    program.ask("emit all 20");
    let flushed = program.ask("flush 2000");
    format!("stock: {} ms, {} of 60 records", flushed["ms"], world.receiver.received().logs.len() + world.receiver.received().spans.len())
}

/// Whatever the subscriber's filters, exporting produces nothing that is exported again.
fn feedback(transport: &'static str, stock: bool) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { unfiltered: true, stock, ..world.setup() });
    program.ask("emit exceptions 1");
    program.ask("sleep 10000");
    let arrivals = world.receiver.arrivals();
    let exports = arrivals.iter().filter(|arrival| arrival.signal != "metrics").count();
    if stock {
        let bytes: usize = arrivals.iter().map(|arrival| arrival.bytes).sum();
        return format!("stock: {exports} exports, {} kB in 10 s", bytes / 1000);
    }
    assert!((1..=2).contains(&exports), "{exports} exports: {arrivals:#?}");
    format!("{exports} exports in 10 s")
}

fn fork(transport: &'static str) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&world.setup());
    program.ask("emit exceptions 5");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    program.tell("fork 7 10000");
    let child: serde_json::Value = serde_json::from_str(&program.line().expect("the child speaks")).expect("JSON");
    let parent: serde_json::Value = serde_json::from_str(&program.line().expect("the parent speaks")).expect("JSON");
    assert_eq!((child["flush"]["ok"].as_bool(), parent["status"].as_i64()), (Some(true), Some(0)), "{child}");
    assert!(child["emit_ms"].as_u64().unwrap() < 1_000 && child["flush"]["ms"].as_u64().unwrap() < 5_000, "{child}");
    conserved(&child["stats"], &[("exceptions", 7), ("logs", 7), ("spans", 7)]);
    program.ask("emit exceptions 3");
    assert_eq!(program.ask("flush 20000")["ok"], true, "the parent goes on");
    conserved(&program.ask("stats"), &[("exceptions", 8)]);
    let received = world.receiver.received();
    assert_eq!(exceptions(&received).len(), 15);
    let instances: std::collections::BTreeSet<_> =
        received.exceptions().map(|exception| exception.resource["service.instance.id"].as_str().to_owned()).collect();
    assert_eq!(instances.len(), 2, "the child is an instance of its own");
    format!("the child delivers 7 of 7, flush in {} ms; the parent goes on", child["flush"]["ms"])
}

/// Report 15: a worker that always has more to take still sees that names have been found.
fn names_in_a_storm() -> String {
    let world = World::new("http");
    // What is sent does not hold the worker up: the newest takes the place of the oldest.
    world.set(Mode::Refuse);
    let mut program = Program::start(&Setup { tells_names: true, ..world.setup() });
    program.ask("failpoint naming::learn 1 delay");
    let said = program.ask("storm 4");
    assert_eq!(said["named"], true, "{said}");
    format!("after {} ms", said["ms"])
}

/// The child has files of its own, and does not keep the parent's from being taken over.
fn fork_with_spool() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    program.ask("emit exceptions 5");
    program.ask("flush 1000");
    program.tell("fork 7 1000");
    let child: serde_json::Value = serde_json::from_str(&program.line().expect("the child speaks")).expect("JSON");
    assert_eq!(number(&child["stats"], "exceptions", "spooled"), 7, "{child}");
    program.line();
    assert_eq!(std::fs::read_dir(world.state_dir()).unwrap().count(), 2, "each has its own");
    program.kill();
    program.wait();
    let stats = world.successor();
    assert_eq!(number(&stats, "exceptions", "delivered"), 12, "{stats}");
    "12 of 12 from two directories".to_owned()
}

/// Ends without a shutdown: exceptions are on disk.
fn dies(how: &str, code: Option<i32>) -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    program.ask("emit exceptions 10");
    program.ask("panic 1");
    // The worker gets a moment, as it would between an error and an orderly exit.
    program.ask("sleep 1000");
    program.tell(how);
    let ended = program.wait();
    assert_eq!(ended.code, code, "{}", ended.stderr);
    let stats = world.successor();
    assert_eq!(number(&stats, "exceptions", "delivered"), 11, "{stats}");
    "11 of 11 delivered by the next process".to_owned()
}

/// Ways to panic that may end the process from within the panic: the first record is on disk.
fn panics(how: &'static str, code: Option<i32>) -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    program.tell(how);
    if code.is_some() {
        assert!(program.line().is_some(), "it lives");
        program.tell("exit 0");
    }
    let ended = program.wait();
    assert_eq!(ended.code, code, "{}", ended.stderr);
    assert!(ended.stderr.contains("panicked"), "the hook that was there has run, too: {}", ended.stderr);
    let stats = world.successor();
    let received = world.receiver.received();
    let messages: Vec<&str> = received.exceptions().map(|exception| exception.text("exception.message")).collect();
    assert!(messages.contains(&how), "{stats} {messages:?}");
    format!("{} records, the first among them", exceptions(&received).len())
}

/// Whatever is said about trouble goes nowhere, and nobody dies of it.
fn full_stderr() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start_as(&world.spooling(), |command| {
        command.stderr(std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"));
    });
    program.ask("emit exceptions 5");
    program.ask("flush 1000");
    world.set(Mode::Pass);
    assert_eq!(program.ask("flush 20000")["ok"], true);
    program.ask("shutdown 2000");
    assert_eq!(exceptions(&world.receiver.received()).len(), 5);
    "5 of 5 delivered".to_owned()
}

fn main_returns() -> String {
    let world = World::new("grpc");
    let mut program = Program::start(&world.setup());
    program.ask("emit all 10");
    let ended = program.end();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let received = world.receiver.received();
    assert_eq!((exceptions(&received).len(), received.spans.len()), (10, 10));
    "30 of 30 delivered by dropping the guard".to_owned()
}

/// A daemon closes what it does not know; the numbers get other owners. Nothing of ours goes there.
fn closed_descriptors() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let victim = world.directory.path().join("victim");
    let mut program = Program::start_as(&world.spooling(), |command| {
        command.env("CRUMBTRAIL_FAULTS_VICTIM", &victim);
    });
    program.ask("emit exceptions 3");
    // Until the names of the frames are found: the standard library of a debug build ends a program that closes a file whose descriptor is gone.
    program.ask("sleep 500");
    program.ask("close-descriptors");
    program.ask("panic 1");
    program.ask("emit exceptions 3");
    program.ask("sleep 1000");
    let written = std::fs::read(&victim).expect("the victim");
    program.kill();
    program.wait();
    // What wakes tokio's event loop is a descriptor of its own, to which it adds a one, eight bytes long; that is not ours to check.
    let is_wake_up = |bytes: &[u8]| bytes == 1_u64.to_ne_bytes();
    assert!(written.chunks(8).all(is_wake_up), "{} bytes went to somebody else's file", written.len());
    let stats = world.successor();
    assert!(number(&stats, "exceptions", "delivered") >= 3, "{stats}");
    "nothing recorded went to the file that took the numbers".to_owned()
}

/// No file can be opened: the hook writes to the one that is; when there are files again, all is
/// delivered.
fn out_of_files() -> String {
    let world = World::new("http");
    let mut program = Program::start(&world.spooling());
    program.ask("emit exceptions 1");
    program.ask("flush 20000");
    program.ask("limit-files 3");
    world.set(Mode::Refuse);
    program.ask("panic 1");
    program.ask("emit exceptions 5");
    program.ask("flush 1000");
    let stats = program.ask("stats");
    assert_eq!((number(&stats, "exceptions", "lost"), number(&stats, "exceptions", "spooled")), (0, 6), "{stats}");
    world.set(Mode::Pass);
    program.ask("limit-files 256");
    let flushed = program.ask("flush 20000");
    assert_eq!(flushed["ok"], true, "{flushed}");
    assert_eq!(exceptions(&world.receiver.received()).len(), 7);
    "6 on disk without a descriptor to spare; 7 of 7 delivered later".to_owned()
}

fn file_size_limit() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    program.ask("limit-file-size 20000");
    program.ask("emit exceptions 50");
    program.ask("panic 1");
    program.ask("flush 1000");
    let stats = program.ask("stats");
    assert_eq!(number(&stats, "exceptions", "spooled") + number(&stats, "exceptions", "pending"), 51, "{stats}");
    world.set(Mode::Pass);
    assert_eq!(program.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 51);
    format!("{} on disk, the others in memory, 51 of 51 delivered", number(&stats, "exceptions", "spooled"))
}

/// The operating system refuses a thread: an error, not a panic.
fn no_threads() -> String {
    let setup = serde_json::to_string(&Setup { endpoint: "http://127.0.0.1:9".to_owned(), ..Setup::default() }).expect("a setup");
    let place = tempfile::tempdir().expect("a directory");
    let exe = place.path().join("program");
    std::fs::copy(std::env::current_exe().expect("our own path"), &exe).expect("copied");
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions");
    let output = Command::new("prlimit")
        .args(["--nproc=1:1", "--"])
        .arg(exe)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env(super::program::VARIABLE, setup)
        .uid(65_534)
        .output();
    let Ok(output) = output else { return skipped("only root can become a user with no threads to spare", false) };
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said} {errors}");
    assert!(said.contains("could not be started") && !errors.contains("panicked"), "{said} {errors}");
    "an Err that says so".to_owned()
}

/// A panic in the worker or in a lane: counted; it goes on.
fn own_fault(step: &'static str) -> String {
    let world = World::new("http");
    let mut program = Program::start(&world.setup());
    program.ask("emit exceptions 3");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    program.ask(&format!("failpoint {step} 2 panic"));
    program.ask("emit all 50 100");
    program.ask("flush 10000");
    let stats = program.ask("stats");
    assert!(stats["faults"].as_u64() >= Some(1), "{stats}");
    conserved(&stats, &[("exceptions", 53), ("logs", 50), ("spans", 50)]);
    let lost: u64 = ["exceptions", "logs", "spans"].iter().map(|signal| number(&stats, signal, "lost")).sum();
    program.ask("emit exceptions 5");
    assert_eq!(program.ask("flush 20000")["ok"], true, "it goes on");
    program.ask("shutdown 2000");
    assert_eq!(program.end().code, Some(0));
    format!("counted, {lost} records lost to it and counted, it goes on")
}

/// An hour back, 1960, 2300: nothing panics, nothing waits for years.
fn lying_clock() -> String {
    let library = ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];
    let Some(library) = library.into_iter().find(|path| std::path::Path::new(path).exists()) else {
        return skipped("libfaketime is not installed", true);
    };
    let mut shown = Vec::new();
    for time in ["-1h", "@1960-01-01 00:00:00", "@2300-01-01 00:00:00"] {
        let world = World::new("http");
        world.receiver.answer_by(|_| crumbtrail_receiver::Answer::Accept);
        world.set(Mode::Refuse);
        let mut program = Program::start_as(&world.spooling(), |command| {
            command.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        });
        program.ask("emit all 5");
        program.ask("panic 1");
        std::thread::sleep(Duration::from_millis(300));
        world.set(Mode::Pass);
        let flushed = program.ask("flush 20000");
        assert_eq!((flushed["ok"].as_bool(), exceptions(&world.receiver.received()).len()), (Some(true), 6), "{time}: {flushed}");
        shown.push(time);
    }
    format!("{}: all delivered", shown.join(", "))
}
