//! Random schedules of faults, from a seed: at the end the books balance.

use std::time::Duration;

use crumbtrail_receiver::{Answer, Mode};
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case, is_long},
    world::{TRANSPORTS, World, books, exceptions, number},
};

pub fn cases() -> Vec<Case> {
    let seeds: Vec<u64> = match std::env::var("CRUMBTRAIL_FAULTS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..if is_long() { 1_000 } else { 48 }).collect(),
    };
    let chunks = seeds.chunks(if is_long() { 50 } else { 8 }).map(<[u64]>::to_vec);
    chunks
        .map(|seeds| {
            let (first, last) = (seeds[0], seeds[seeds.len() - 1]);
            case(format!("schedule: seeds {first} to {last}"), move || {
                let totals = seeds
                    .iter()
                    .map(|seed| schedule(*seed))
                    .fold([0; 4], |sum, next| std::array::from_fn(|index| sum[index] + next[index]));
                let [emitted, delivered, spooled, lost] = totals;
                format!("{emitted} records: {delivered} delivered, {spooled} spooled, {lost} lost and counted, 0 uncounted")
            })
        })
        .collect()
}

/// Emitted, delivered, spooled, lost.
fn schedule(seed: u64) -> [u64; 4] {
    let mut random = SmallRng::seed_from_u64(seed);
    let transport = TRANSPORTS[random.random_range(0..2)];
    let world = World::new(transport);
    let with_spool = random.random_bool(0.5);
    let setup = if with_spool { world.spooling() } else { world.setup() };
    let setup = Setup {
        timeout_ms: Some(random.random_range(100..600)),
        compression: if random.random() { "gzip".to_owned() } else { String::new() },
        ..setup
    };
    let mut program = Program::start(&setup);
    let (mut each, mut exceptions_only) = (0, 0);
    for _ in 0..random.random_range(3..9) {
        let modes = [Mode::Pass, Mode::Refuse, Mode::Silent, Mode::Drip, Mode::ResetInBody, Mode::CloseBeforeAnswer, Mode::HalfClose];
        world.set(modes[random.random_range(0..modes.len())]);
        let grpc = transport == "grpc";
        let answers = random.random_range(0..7);
        let calm = random.random_range(1..4);
        world.receiver.answer_by({
            let count = std::sync::atomic::AtomicU64::new(0);
            move |_| {
                if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 4 < calm {
                    return Answer::Accept;
                }
                let status = |status| Answer::Status { status, headers: Vec::new() };
                let code = |code| Answer::Code { code, retry_after: None };
                match (answers, grpc) {
                    (0, false) => status(503),
                    (0, true) => code(14),
                    (1, false) => status(400),
                    (1, true) => code(3),
                    (2, false) => status(413),
                    (2, true) => code(8),
                    (3, false) => status(500),
                    (3, true) => code(13),
                    (4, _) => Answer::Partial { rejected: 1, message: "some".to_owned() },
                    (5, _) => Answer::KeepAndHang,
                    _ => Answer::After(Duration::from_millis(50), Box::new(Answer::Accept)),
                }
            }
        });
        let (count, pause) = (random.random_range(1..60), random.random_range(0..120));
        if random.random_bool(0.6) {
            program.ask(&format!("emit all {count}"));
            each += count;
        } else {
            program.ask(&format!("emit exceptions {count} 0 {}", random.random_range(0..2000)));
            exceptions_only += count;
        }
        match random.random_range(0..5) {
            0 => drop(program.ask("flush 200")),
            1 => {
                program.ask("panic 1");
                exceptions_only += 1;
            }
            _ => drop(program.ask(&format!("sleep {pause}"))),
        }
    }
    if random.random_bool(0.5) {
        world.set(Mode::Pass);
    }
    let shutdown = program.ask("shutdown 1000");
    assert!(shutdown["ms"].as_u64().is_some_and(|ms| ms < 1_400), "seed {seed}: {shutdown}");
    let emitted_exceptions = each + exceptions_only;
    let stats = books(&mut program, &[("exceptions", emitted_exceptions), ("logs", each), ("spans", each)])
        .unwrap_or_else(|why| panic!("seed {seed}: the books do not balance: {why}"));
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "seed {seed}: {}", ended.stderr);
    assert_eq!(stats["faults"], 0, "seed {seed}: {}", ended.stderr);
    let unique = exceptions(&world.receiver.received()).len() as u64;
    let (delivered, spooled, lost) =
        (number(&stats, "exceptions", "delivered"), number(&stats, "exceptions", "spooled"), number(&stats, "exceptions", "lost"));
    // What a partial success refused was kept by the receiver all the same; what was spooled or lost to a missing answer may have arrived.
    assert!(unique >= delivered && unique <= emitted_exceptions, "seed {seed}: {unique} arrived, {stats}");
    if with_spool {
        world.receiver.answer_by(|_| Answer::Accept);
        let next = world.successor();
        assert_eq!(number(&next, "exceptions", "recovered"), spooled, "seed {seed}: {next}");
        let unique = exceptions(&world.receiver.received()).len() as u64;
        assert!(unique >= emitted_exceptions - lost, "seed {seed}: {unique} of {emitted_exceptions} arrived, {lost} were counted as lost");
    }
    let sum = |what| ["exceptions", "logs", "spans"].iter().map(|signal| number(&stats, signal, what)).sum::<u64>();
    [emitted_exceptions + 2 * each, sum("delivered"), sum("spooled"), sum("lost")]
}
