//! A minute without a receiver, beside the stock pipeline in the same minute; and the end of a
//! program whose receiver is dead.

use std::time::{Duration, Instant};

use crumbtrail_receiver::Mode;

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case},
    world::{PATIENCE, TRANSPORTS, World, balanced, exceptions, number},
};

const RATE: u64 = 20;
const SECONDS: u64 = 60;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in TRANSPORTS {
        for (name, mode) in [("away", Mode::Refuse), ("accepts, silent", Mode::Silent)] {
            cases.push(case(format!("outage of 60 s, receiver {name}, {transport}"), move || outage(transport, mode)));
            cases.push(case(format!("outage of 60 s, receiver {name}, {transport}, stock"), move || stock_outage(transport, mode)));
        }
        cases.push(case(format!("shutdown, silent receiver, {transport}"), move || shutdown(transport, false)));
        cases.push(case(format!("shutdown, silent receiver, {transport}, spool"), move || shutdown(transport, true)));
        cases.push(case(format!("shutdown, silent receiver, {transport}, stock"), move || stock_shutdown(transport)));
    }
    cases
}

/// Exceptions at a steady rate, one minute of it without a receiver: all of them arrive, soon after
/// its return.
fn outage(transport: &'static str, mode: Mode) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&world.setup());
    program.ask(&format!("emit exceptions {} {RATE}", 2 * RATE));
    assert_eq!(program.ask("flush 20000")["ok"], true);
    world.set(mode);
    let before = program.ask("memory")["bytes"].as_u64().expect("bytes");
    let said = program.ask(&format!("emit exceptions {} {RATE}", SECONDS * RATE));
    world.set(Mode::Pass);
    let back = Instant::now();
    let all = (SECONDS + 2) * RATE;
    let arrived = world.receiver.wait_for(PATIENCE, |received| exceptions(received).len() as u64 == all);
    let took = back.elapsed();
    let unique = exceptions(&world.receiver.received()).len() as u64;
    assert!(arrived.is_some(), "{} of {all} have not arrived: {}", all - unique, program.ask("stats"));
    assert!(took < Duration::from_secs(5), "the last came {took:?} after the return");
    program.ask("flush 20000");
    let stats = balanced(&mut program, &[("exceptions", all), ("logs", 0)]);
    assert_eq!(number(&stats, "exceptions", "lost"), 0);
    let outage = world.receiver.wait_for(PATIENCE, |received| received.logs.iter().any(|log| log.event_name == "crumbtrail.outage"));
    assert!(outage.is_some(), "the outage is told of");
    program.ask("shutdown 2000");
    let ended = program.end();
    assert_eq!(ended.stderr.matches("cannot deliver").count().min(4), ended.stderr.matches("cannot deliver").count(), "{}", ended.stderr);
    let grown = said["memory"].as_u64().expect("bytes").saturating_sub(before) >> 20;
    format!(
        "lost 0 of {all}; delivered {:.1} s after the return; p99 of an error {} µs; memory +{grown} MiB",
        took.as_secs_f64(),
        said["p99_ns"].as_u64().unwrap_or(0) / 1000
    )
}

fn stock_outage(transport: &'static str, mode: Mode) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { stock: true, ..world.setup() });
    program.ask(&format!("emit exceptions {} {RATE}", 2 * RATE));
    program.ask("flush 0");
    world.set(mode);
    program.ask(&format!("emit exceptions {} {RATE}", SECONDS * RATE));
    world.set(Mode::Pass);
    program.ask("sleep 6000");
    let shutdown = program.ask("shutdown 0");
    let arrived = world.receiver.received().logs.len() as u64;
    format!(
        "stock: lost {} of {}; shutdown {}",
        ((SECONDS + 2) * RATE).saturating_sub(arrived),
        (SECONDS + 2) * RATE,
        shutdown["text"].as_str().unwrap_or_default()
    )
}

/// Three signals wait for a receiver that says nothing; the program ends all the same, in time.
fn shutdown(transport: &'static str, spool: bool) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&if spool { world.spooling() } else { world.setup() });
    world.set(Mode::Silent);
    program.ask("emit all 10");
    let said = program.ask("shutdown 2000");
    let took = said["ms"].as_u64().expect("ms");
    assert!(took <= 2_200, "it took {took} ms");
    let stats = balanced(&mut program, &[("exceptions", 10), ("logs", 10), ("spans", 10)]);
    let (exceptions_lost, spooled) = (number(&stats, "exceptions", "lost"), number(&stats, "exceptions", "spooled"));
    assert_eq!((exceptions_lost, spooled), if spool { (0, 10) } else { (10, 0) });
    assert_eq!(program.end().code, Some(0));
    if spool {
        let next = world.successor();
        assert_eq!((number(&next, "exceptions", "recovered"), number(&next, "exceptions", "delivered")), (10, 10), "{next}");
        assert_eq!(exceptions(&world.receiver.received()).len(), 10);
        assert!(world.segments().is_empty(), "what is delivered is deleted: {:?}", world.segments());
    }
    format!(
        "{took} ms for three signals{}",
        if spool { "; 10 exceptions spooled, delivered by the next process" } else { ", every loss counted" }
    )
}

fn stock_shutdown(transport: &'static str) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { stock: true, ..world.setup() });
    world.set(Mode::Silent);
    program.ask("emit all 10");
    let said = program.ask("shutdown 2000");
    format!("stock: {} ms", said["ms"])
}
