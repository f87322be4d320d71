//! The spool: processes that die at every step of writing it, damaged files, directories that are
//! full, hostile or not there.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use crumbtrail_receiver::Mode;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case, skipped},
    world::{self, World, balanced, conserved, exceptions, number},
};

/// Every named step of writing, and how often it is passed before the end comes: early, and in the
/// middle of work.
const STEPS: [&str; 12] = [
    "spool::run::create",
    "spool::run::locked",
    "spool::run::ready",
    "spool::segment::create",
    "spool::hook::before",
    "spool::hook::after",
    "spool::append::before",
    "spool::append::after",
    "spool::acknowledge::before",
    "spool::acknowledge::after",
    "spool::segment::remove",
    "spool::adopt",
];

pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = STEPS.into_iter().map(|step| case(format!("spool: SIGKILL at {step}"), move || killed_at(step))).collect();
    cases.push(case("spool: a panic's record is on disk when the hook returns", hook));
    cases.push(case("spool: exceptions outlive SIGKILL in an outage, and come once", killed_in_outage));
    cases.push(case("spool: one byte flipped", flipped));
    cases.push(case("spool: cut short, and with rubbish in it", rubbish));
    cases.push(case("spool: full, the oldest makes room", overflow));
    cases.push(case("spool: too old", expired));
    cases.push(case("spool: logs and spans, if asked for", other_signals));
    cases.push(case("spool: ten processes share a directory", shared));
    cases.push(case("spool: what sixty dead processes left, with forty descriptors", many_dead));
    for (name, prepare) in HOSTILE {
        cases.push(case(format!("spool: directory {name}"), move || hostile(name, prepare)));
    }
    cases.push(case("spool: planted files are left alone", planted));
    cases.push(case("spool: a full file system", full_file_system));
    cases.push(case("spool: a read-only file system", read_only));
    cases.push(case("spool: I/O errors", io_errors));
    cases.push(case("spool: the systemd variable", systemd));
    cases.push(case("spool: emptied by hand, to JSON", replayed_to_json));
    cases.push(case("spool: emptied by hand, to an endpoint", replayed_to_endpoint));
    cases
}

/// Killed at a step, while its receiver is away. What the program knew to be written, and every
/// panic whose hook had returned, is delivered by the next one.
fn killed_at(step: &'static str) -> String {
    let is_first = ["::run::", "segment::", "adopt"].iter().any(|part| step.contains(part));
    let needs_receiver = ["acknowledge", "remove"].iter().any(|part| step.contains(part));
    // Steps that a process passes once, and those it passes with every record.
    let occasions: &[u64] = if is_first { &[1] } else { &[1, 3] };
    let mut outcomes = Vec::new();
    for occasion in occasions {
        let world = World::new("http");
        let left = if step == "spool::adopt" { 5 } else { 0 };
        if left > 0 {
            leave_exceptions(&world, left);
        }
        world.set(if needs_receiver { Mode::Pass } else { Mode::Refuse });
        let mut program = Program::start_as(&world.spooling(), |command| {
            command.env("CRUMBTRAIL_FAULTS_KILL_AT", format!("{step} {occasion}"));
        });
        let mut safe = 0;
        let panics = (0..6).flat_map(|number| [format!("panic {number}"), "flush 500".to_owned()]);
        let died = panics.chain(["shutdown 2000".to_owned()]).any(|command| {
            let answer = program.try_ask(&command);
            safe += u64::from(answer.is_some() && command.starts_with("panic"));
            answer.is_none()
        });
        assert!(died, "it never came to {step} a {occasion}. time");
        assert_eq!(program.wait().signal, Some(9));
        let before = exceptions(&world.receiver.received());
        let next = world.successor();
        let after = exceptions(&world.receiver.received());
        assert!(after.len() as u64 >= safe + left, "{safe} were safe, {} arrived; the successor: {next}", after.len());
        assert!(after.values().all(|count| *count <= 2), "{after:?}");
        let twice = after.values().filter(|count| **count > 1).count();
        // A batch that was acknowledged and not yet marked may come again; so may one whose second form was written and the first not yet marked.
        assert!(twice <= before.len().max(1), "{twice} of {} came twice", before.len());
        outcomes.push(format!("{safe} safe, {} delivered, {twice} twice", after.len()));
    }
    outcomes.join("; ")
}

/// A program that dies in an outage with this many exceptions on disk.
fn leave_exceptions(world: &World, count: u64) {
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    program.ask(&format!("emit exceptions {count}"));
    let flushed = program.ask("flush 1500");
    assert_eq!(flushed["spooled"].as_u64(), Some(count), "{flushed}");
    program.kill();
    program.wait();
}

fn hook() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&world.spooling());
    for number in 0..20 {
        assert_eq!(program.ask(&format!("panic {number}"))["panicked"], true);
    }
    // No flush, no rest: the worker may not have seen one of them.
    program.kill();
    program.wait();
    let stats = world.successor();
    let counts = exceptions(&world.receiver.received());
    assert_eq!(counts.len(), 20, "{stats}");
    let received = world.receiver.received();
    let one = received.exceptions().find(|exception| exception.text("exception.message") == "panic 7").expect("the seventh");
    assert!(one.text("exception.stacktrace").contains("faults"), "{}", one.text("exception.stacktrace"));
    assert_eq!(one.text("thread.name"), "panics");
    format!("20 of 20, {} twice", counts.values().filter(|count| **count > 1).count())
}

fn killed_in_outage() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 200);
    let stats = world.successor();
    conserved(&stats, &[("exceptions", 0)]);
    assert_eq!((number(&stats, "exceptions", "recovered"), number(&stats, "exceptions", "delivered")), (200, 200));
    let counts = exceptions(&world.receiver.received());
    assert_eq!((counts.len(), counts.values().copied().max()), (200, Some(1)));
    assert!(world.segments().is_empty(), "{:?}", world.segments());
    assert_eq!(fs::read_dir(world.state_dir()).unwrap().count(), 0, "no directory is left");
    let received = world.receiver.received();
    let one = received.exceptions().next().expect("one");
    // Names if there was time for them, places in the binary otherwise.
    assert!(["::emit", "faults-"].iter().any(|part| one.text("exception.stacktrace").contains(part)), "{one:#?}");
    "200 of 200, each once, nothing left on disk".to_owned()
}

/// Any one byte of a spool: at most one record is lost, and that is noticed.
fn flipped() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 20);
    let [segment] = &world.segments()[..] else { panic!("{:?}", world.segments()) };
    let run = segment.parent().expect("a directory").to_owned();
    let whole = fs::read(segment).expect("readable");
    let mut random = rand::rngs::SmallRng::seed_from_u64(42);
    let (mut lost_total, trials) = (0, if super::report::is_long() { 200 } else { 25 });
    for trial in 0..trials {
        let at = random.random_range(0..whole.len());
        let mut damaged = whole.clone();
        damaged[at] ^= (random.next_u32() as u8).max(1);
        fs::create_dir_all(&run).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(segment, &damaged).unwrap();
        fs::set_permissions(segment, fs::Permissions::from_mode(0o600)).unwrap();
        let before = exceptions(&world.receiver.received());
        let stats = world.successor();
        let after = exceptions(&world.receiver.received());
        let came = after.iter().filter(|(id, count)| before.get(*id) != Some(count)).count();
        let noticed = number(&stats, "exceptions", "lost");
        assert!(came == 20 || (came == 19 && noticed == 1), "trial {trial}, byte {at}: {came} came, {noticed} noticed");
        lost_total += 20 - came;
    }
    format!("{trials} trials × 20 records: {lost_total} lost, at most one a trial, each noticed")
}

fn rubbish() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 20);
    let [segment] = &world.segments()[..] else { panic!("{:?}", world.segments()) };
    let whole = fs::read(segment).expect("readable");
    let mut content = vec![0x55; 4_000];
    content.extend_from_slice(&whole[..whole.len() - 10]);
    fs::write(segment, content).unwrap();
    let stats = world.successor();
    assert_eq!((number(&stats, "exceptions", "delivered"), number(&stats, "exceptions", "lost")), (19, 2), "{stats}");
    "19 of 20 from a file with 4 kB of rubbish before and 10 bytes missing".to_owned()
}

fn overflow() -> String {
    let world = World::new("http");
    let limit = 2 << 20;
    let mut program = Program::start(&Setup { spool_limit: Some(limit), ..world.spooling() });
    // So that the frames have their names.
    program.ask("emit exceptions 1");
    program.ask("flush 20000");
    world.set(Mode::Refuse);
    // At a time, what the express lane holds if the worker gets no processor. The last are told by their number.
    let (some, last) = (600, 700);
    let mut emitted = 0;
    for count in [some, some, some, some, last] {
        program.ask(&format!("emit exceptions {count} 1000 1000"));
        emitted += count;
        program.ask("flush 1000");
        // Taken, before there are more than the lane holds.
        world::until(|| number(&program.ask("stats"), "exceptions", "accepted") > emitted);
    }
    program.ask("shutdown 2000");
    let stats = balanced(&mut program, &[("exceptions", emitted + 1)]);
    let (spooled, lost) = (number(&stats, "exceptions", "spooled"), number(&stats, "exceptions", "lost"));
    assert!(spooled > 100 && lost > 0 && stats["text"].as_str().unwrap().contains("spool_overflow"), "{stats}");
    let on_disk: u64 = world.segments().iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(on_disk <= limit + (64 << 10), "{on_disk} bytes on disk");
    program.kill();
    program.wait();
    let next = world.successor();
    assert_eq!(number(&next, "exceptions", "delivered"), spooled, "{next}");
    let received = world.receiver.received();
    let newest = received.exceptions().filter_map(|exception| match exception.attributes.get("number") {
        Some(crumbtrail_receiver::Value::Int(number)) => Some(*number as u64),
        _ => None,
    });
    assert_eq!(newest.max(), Some(last - 1), "the newest are kept");
    format!("{spooled} kept in {} kB, {lost} counted as lost to spool_overflow", on_disk / 1000)
}

fn expired() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 5);
    let mut next = Program::start(&Setup { spool_age_ms: Some(0), ..world.spooling() });
    next.ask("flush 5000");
    let stats = next.ask("stats");
    assert_eq!((number(&stats, "exceptions", "lost"), number(&stats, "exceptions", "delivered")), (5, 0), "{stats}");
    assert!(stats["text"].as_str().unwrap().contains("5 lost to expired"), "{stats}");
    "5 of 5 given up and counted".to_owned()
}

fn other_signals() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut program = Program::start(&Setup { spooled: vec!["logs".to_owned(), "spans".to_owned()], ..world.spooling() });
    program.ask("emit all 300");
    program.ask("flush 5000");
    // In all more than one request may carry; at a time, what an outbox holds if the worker gets no processor.
    for _ in 0..8 {
        program.ask("emit logs 150 2000 1000");
        program.ask("flush 1000");
    }
    const LOGS: u64 = 300 + 8 * 150;
    let stats = balanced(&mut program, &[("exceptions", 300), ("logs", LOGS), ("spans", 300)]);
    assert_eq!((number(&stats, "logs", "spooled"), number(&stats, "spans", "spooled")), (LOGS, 300), "{stats}");
    program.kill();
    program.wait();
    let next = world.successor();
    assert_eq!([number(&next, "logs", "recovered"), number(&next, "spans", "recovered")], [LOGS, 300], "{next}");
    let received = world.receiver.received();
    assert_eq!(received.spans.len(), 300);
    let largest = world.receiver.arrivals().iter().map(|arrival| arrival.bytes).max().expect("requests");
    assert!(largest <= 1_100_000, "a request of {largest} bytes");
    format!("{LOGS} logs and 300 spans outlived SIGKILL, in requests of up to {} kB", largest / 1_000)
}

fn shared() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let mut programs: Vec<Program> = (0..10).map(|_| Program::start(&world.spooling())).collect();
    for program in &mut programs {
        program.ask("emit exceptions 10");
    }
    for program in &mut programs {
        program.ask("flush 1000");
    }
    for mut program in programs {
        program.kill();
        program.wait();
    }
    // Three successors at once: each directory is one's.
    world.set(Mode::Pass);
    let mut successors: Vec<Program> = (0..3).map(|_| Program::start(&world.spooling())).collect();
    let mut recovered = 0;
    for successor in &mut successors {
        successor.ask("flush 20000");
        recovered += number(&successor.ask("stats"), "exceptions", "recovered");
    }
    let counts = exceptions(&world.receiver.received());
    assert_eq!((recovered, counts.len(), counts.values().copied().max()), (100, 100, Some(1)));
    "100 exceptions of ten dead processes, each taken over once".to_owned()
}

/// A service that died sixty times in an outage: what it left takes no descriptors from the next
/// life.
fn many_dead() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 3);
    let runs: Vec<_> = fs::read_dir(world.state_dir()).unwrap().map(|run| run.unwrap().path()).collect();
    let [run] = &runs[..] else { panic!("{runs:?}") };
    for number in 1..60 {
        let copied = Command::new("cp").arg("-a").arg(run).arg(run.with_file_name(format!("{number:032x}.run"))).status();
        assert!(copied.is_ok_and(|status| status.success()));
    }
    let mut program = Program::start_under(&world.spooling(), "prlimit", &["--nofile=40:40", "--"]);
    program.ask("flush 1000");
    let stats = program.ask("stats");
    assert_eq!((number(&stats, "exceptions", "recovered"), number(&stats, "exceptions", "spooled")), (180, 180), "{stats}");
    assert_eq!(fs::read_dir(world.state_dir()).unwrap().count(), 1, "all is in the living one's directory");
    world.set(Mode::Pass);
    assert_eq!(program.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).values().sum::<usize>(), 180);
    "180 records of 60 directories, moved to its own and delivered".to_owned()
}

type Prepare = fn(&Path);

const HOSTILE: [(&str, Prepare); 5] = [
    ("is a symbolic link", |path| {
        fs::create_dir(path.with_extension("elsewhere")).unwrap();
        symlink(path.with_extension("elsewhere"), path).unwrap();
    }),
    ("is writable to all", |path| {
        fs::create_dir(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }),
    ("is another user's", |path| {
        fs::create_dir(path).unwrap();
        // Only root can give it away; anybody else's is somebody else's already.
        std::os::unix::fs::chown(path, Some(65_534), None).unwrap_or_else(|_| {
            fs::remove_dir(path).unwrap();
            symlink("/", path).unwrap();
        });
    }),
    ("is a file", |path| fs::write(path, "not a directory").unwrap()),
    ("cannot be made", |path| {
        // Below a file there are no directories, not even for root.
        fs::write(path.parent().unwrap().join("file"), "").unwrap();
        let _ = fs::remove_file(path);
        symlink(path.parent().unwrap().join("file/below"), path).unwrap();
    }),
];

/// Not used, said once; everything else works.
fn hostile(name: &str, prepare: Prepare) -> String {
    let world = World::new("http");
    let path = world.directory.path().join("state");
    prepare(&path);
    let mut program = Program::start(&world.spooling());
    program.ask("emit exceptions 5");
    program.ask("panic 1");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 6);
    let written = fs::read_dir(&path).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(written, 0, "something was written to a directory that {name}");
    program.ask("shutdown 2000");
    let ended = program.end();
    assert_eq!(ended.stderr.matches("state directory").count(), 1, "{}", ended.stderr);
    "not used, said once; 6 of 6 delivered from memory".to_owned()
}

/// A directory of a process that is gone, made by somebody who wants to be read or followed.
fn planted() -> String {
    let world = World::new("http");
    let run = Path::new(&world.state_dir()).join("0123456789abcdef.run");
    fs::create_dir_all(&run).unwrap();
    for directory in [run.parent().unwrap(), &run] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let secret = world.directory.path().join("secret");
    fs::write(&secret, "canary").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&secret, run.join("exceptions-00000001.seg")).unwrap();
    fs::hard_link(&secret, run.join("exceptions-00000002.seg")).unwrap();
    let giant = fs::File::create(run.join("exceptions-00000003.seg")).unwrap();
    giant.set_len(1 << 40).unwrap();
    giant.write_all_at(b"CtF1", 0).unwrap();
    fs::create_dir(run.join("exceptions-00000004.seg")).unwrap();
    fs::write(run.join("exceptions-..seg"), "x").unwrap();
    Command::new("mkfifo").arg(run.join("exceptions-00000005.seg")).status().expect("mkfifo");
    symlink("/", run.parent().unwrap().join("ffff.run")).unwrap();
    let mut program = Program::start(&world.spooling());
    let before = program.ask("memory")["bytes"].as_u64().expect("bytes");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    let grown = program.ask("memory")["bytes"].as_u64().expect("bytes").saturating_sub(before) >> 20;
    assert!(grown < 32, "{grown} MiB more");
    program.ask("emit exceptions 5");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 5);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "canary");
    "links, a pipe, a directory and a file of 1 TiB: none read, none touched".to_owned()
}

/// Runs in a directory of its own file system; `None` where that may not be mounted.
fn mounted(options: &str, run: impl FnOnce(&World) -> String) -> String {
    let world = World::new("http");
    let path = world.state_dir();
    fs::create_dir(&path).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", &path]).output();
    if !mount.is_ok_and(|output| output.status.success()) {
        return skipped("no file system can be mounted here", false);
    }
    let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&world)));
    let _ = Command::new("umount").arg(&path).status();
    shown.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn full_file_system() -> String {
    mounted("size=64k,mode=700", |world| {
        world.set(Mode::Refuse);
        let mut program = Program::start(&world.spooling());
        program.ask("emit exceptions 100 0 500");
        for number in 0..10 {
            program.ask(&format!("panic {number}"));
        }
        program.ask("flush 1000");
        let stats = program.ask("stats");
        let (spooled, pending) = (number(&stats, "exceptions", "spooled"), number(&stats, "exceptions", "pending"));
        assert_eq!(spooled + pending, 110, "{stats}");
        world.set(Mode::Pass);
        assert_eq!(program.ask("flush 20000")["ok"], true);
        assert_eq!(exceptions(&world.receiver.received()).len(), 110);
        program.ask("shutdown 2000");
        let ended = program.end();
        assert_eq!(ended.stderr.matches("cannot be written to the spool").count(), 1, "{}", ended.stderr);
        format!("{spooled} on disk, {pending} in memory, said once; 110 of 110 delivered")
    })
}

fn read_only() -> String {
    mounted("size=64k,mode=700,ro", |world| {
        let mut program = Program::start(&world.spooling());
        program.ask("emit exceptions 5");
        assert_eq!(program.ask("flush 20000")["ok"], true);
        program.ask("shutdown 2000");
        let ended = program.end();
        assert_eq!(ended.stderr.matches("state directory").count(), 1, "{}", ended.stderr);
        assert_eq!(exceptions(&world.receiver.received()).len(), 5);
        "not used, said once; 5 of 5 delivered from memory".to_owned()
    })
}

/// Writes fail as on a dying disk, from some point on.
fn io_errors() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    if !Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("strace is not to be had", true);
    }
    let inject = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EIO:when=4+"];
    let mut program = Program::start_under(&world.spooling(), "strace", &inject);
    program.ask("emit exceptions 20");
    program.ask("panic 1");
    program.ask("flush 1500");
    let stats = program.ask("stats");
    assert_eq!(number(&stats, "exceptions", "spooled") + number(&stats, "exceptions", "pending"), 21, "{stats}");
    world.set(Mode::Pass);
    assert_eq!(program.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 21);
    format!("{} on disk before it died, 21 of 21 delivered", number(&stats, "exceptions", "spooled"))
}

fn systemd() -> String {
    let world = World::new("http");
    world.set(Mode::Refuse);
    let setup = Setup { from_env: true, ..world.setup() };
    let given = format!("{}:/nonexistent", world.directory.path().display());
    let mut program = Program::start_as(&setup, |command| {
        command.env("STATE_DIRECTORY", &given);
    });
    program.ask("panic 1");
    program.kill();
    program.wait();
    let next = Setup { state_dir: Some(world.directory.path().join("crumbtrail").to_string_lossy().into_owned()), ..world.setup() };
    world.set(Mode::Pass);
    let mut next = Program::start(&next);
    assert_eq!(next.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 1);
    "the first of $STATE_DIRECTORY is used".to_owned()
}

fn replay(world: &World, to: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_crumbtrail"))
        .args(["replay", &world.state_dir(), "--to", to])
        .env_clear()
        .output()
        .expect("the program")
}

fn replayed_to_json() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 12);
    // One that runs keeps what is its own.
    let mut running = Program::start(&Setup { state_dir: None, ..world.spooling() });
    let output = replay(&world, "jsonl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let record = |line: &serde_json::Value| line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0].clone();
    assert_eq!(lines.len(), 12);
    assert!(lines.iter().all(|line| record(line)["eventName"] == "exception" && record(line)["timeUnixNano"].is_string()), "{}", lines[0]);
    assert!(String::from_utf8_lossy(&replay(&world, "jsonl").stderr).contains("0 records"), "it is empty now");
    running.ask("stats");
    "12 lines of OTLP JSON; the spool is empty".to_owned()
}

fn replayed_to_endpoint() -> String {
    let world = World::new("http");
    leave_exceptions(&world, 12);
    let mut running = Program::start(&world.spooling());
    running.ask("flush 500");
    // The one that runs has taken them over: they are not to be had by hand.
    let output = replay(&world, &world.receiver.http_endpoint());
    assert!(String::from_utf8_lossy(&output.stderr).contains("0 records found"), "{}", String::from_utf8_lossy(&output.stderr));
    running.kill();
    running.wait();
    let output = replay(&world, &world.receiver.http_endpoint());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = exceptions(&world.receiver.received());
    assert_eq!((counts.len(), counts.values().copied().max()), (12, Some(1)));
    assert!(world.segments().is_empty());
    format!("12 of 12, said: {}", String::from_utf8_lossy(&output.stderr).trim())
}
