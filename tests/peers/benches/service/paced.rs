//! So many requests a second where processors are idle, short or rationed: nothing may be lost as
//! long as it can be carried, and requests are to be answered as fast as without.

use std::{
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Kept, Served, command, load, median, sink::Sink};

const DURATION: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const CONTENDERS: [&str; 3] = ["bare", "crumbtrail", "trace_layer_and_stock_pair"];

/// What is done, and beside what.
#[derive(Clone, Copy)]
struct Situation {
    name: &'static str,
    rate: u32,
    /// A process for each processor that does nothing else than take it.
    has_hogs: bool,
    /// Of the service: one processor; so much of one, in percent.
    is_pinned: bool,
    quota: Option<u32>,
    gzip: bool,
    /// So many records a second are all that the receiver takes.
    receiver: Option<u32>,
    /// No service: a batch job of so many threads that log so many lines together; as many as they
    /// can, if the rate is 0.
    batch: u32,
}

const fn requests(name: &'static str, rate: u32) -> Situation {
    Situation { name, rate, has_hogs: false, is_pinned: false, quota: None, gzip: false, receiver: None, batch: 0 }
}

const SITUATIONS: [Situation; 16] = [
    requests("idle", 5_000),
    requests("idle", 6_000),
    requests("idle", 20_000),
    Situation { is_pinned: true, ..requests("pinned to one CPU", 3_000) },
    Situation { quota: Some(100), ..requests("quota of one CPU", 4_000) },
    Situation { quota: Some(50), ..requests("quota of half a CPU", 2_000) },
    Situation { quota: Some(30), ..requests("quota of 0.3 CPU", 1_500) },
    Situation { has_hogs: true, ..requests("a hog per CPU", 2_000) },
    Situation { has_hogs: true, ..requests("a hog per CPU", 5_000) },
    Situation { has_hogs: true, ..requests("a hog per CPU", 20_000) },
    Situation { has_hogs: true, gzip: true, ..requests("a hog per CPU, gzip", 2_000) },
    // Twice what can be carried: a request makes six records.
    Situation { receiver: Some(60_000), ..requests("receiver of 60,000/s", 20_000) },
    Situation { is_pinned: true, batch: 1, ..requests("log lines, one CPU", 19_000) },
    Situation { batch: 1, ..requests("all lines of 1 thread", 0) },
    Situation { batch: 2, ..requests("all lines of 2 threads", 0) },
    Situation { batch: 4, ..requests("all lines of 4 threads", 0) },
];

#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    situation: &'static str,
    rate: u32,
    contender: &'static str,
    /// Requests a second that were answered.
    answered: f64,
    /// Of one processor.
    cpu: f64,
    /// Logs and spans that the receiver has counted, a second. (Not of what is compressed.)
    arrived: f64,
    /// Of our worker's CPU time, for each of them.
    worker_ns: f64,
    p50_us: f64,
    p99_us: f64,
    /// Of the records, and why.
    lost: f64,
    reasons: String,
}

/// Prints a table, in the order of the situations.
pub(super) fn rows(sink: &Sink) -> Vec<Row> {
    println!(
        "{:<22}{:>9}  {:<28}{:>12}{:>8}{:>10}{:>10}{:>12}{:>11}  lost",
        "paced", "rate/s", "", "answered/s", "CPU", "p50 µs", "p99 µs", "arrived/s", "worker ns"
    );
    let mut rows = Vec::new();
    for situation in SITUATIONS {
        let slow = situation.receiver.map(Sink::slow);
        let sink = slow.as_ref().unwrap_or(sink);
        for contender in CONTENDERS.into_iter().filter(|contender| situation.batch == 0 || *contender != "bare") {
            let runs: Option<Vec<Row>> = (0..ROUNDS).map(|_| run(&situation, contender, sink)).collect();
            let Some(runs) = runs else {
                println!("{:<22}{:>9}  not measured: no control group can be made here", situation.name, situation.rate);
                break;
            };
            let of = |value: fn(&Row) -> f64| median(runs.iter().map(value).collect());
            // A loss is a loss, in whichever round.
            let worst = runs.iter().max_by(|left, right| left.lost.total_cmp(&right.lost)).expect("some");
            let row = Row {
                answered: of(|row| row.answered),
                cpu: of(|row| row.cpu),
                p50_us: of(|row| row.p50_us),
                p99_us: of(|row| row.p99_us),
                arrived: of(|row| row.arrived),
                worker_ns: of(|row| row.worker_ns),
                ..worst.clone()
            };
            println!(
                "{:<22}{:>9}  {:<28}{:>12.0}{:>6.0} %{:>10.0}{:>10.0}{:>12.0}{:>11.0}  {}",
                row.situation,
                row.rate,
                row.contender,
                row.answered,
                100.0 * row.cpu,
                row.p50_us,
                row.p99_us,
                row.arrived,
                row.worker_ns,
                match contender {
                    "crumbtrail" => format!("{:.2} % {}", 100.0 * row.lost, row.reasons),
                    "bare" => String::new(),
                    _ => "unsaid".to_owned(),
                }
            );
            rows.push(row);
        }
    }
    rows
}

/// `None`: the situation cannot be made here.
fn run(situation: &Situation, contender: &'static str, sink: &Sink) -> Option<Row> {
    let what = if situation.batch > 0 { "logs" } else { "serve" };
    let mut service = command(contender, what, sink);
    service.env(RATE, situation.rate.to_string()).env(THREADS, situation.batch.to_string());
    if situation.is_pinned {
        service = wrapped("taskset", &["-c", "0"], service);
    }
    if situation.gzip {
        service.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    }
    // It goes after its process.
    let _quota;
    let mut served = Served::start(service);
    if let Some(percent) = situation.quota {
        _quota = Quota::of(served.process.id(), percent)?;
    }
    let address = served.line();
    let _hogs: Vec<Hog> = (0..if situation.has_hogs { processors() } else { 0 }).map(|_| Hog::start(sink)).collect();
    let drive = |duration| {
        if situation.batch == 0 {
            return load::pace(&address, situation.rate, duration);
        }
        std::thread::sleep(duration);
        vec![0]
    };
    drive(DURATION / 6);
    let (before, arrived, begun) = (served.account(), sink.records(), Instant::now());
    let mut took = drive(DURATION);
    let (after, arrived, lasted) = (served.account(), (sink.records() - arrived) as f64, begun.elapsed().as_secs_f64());
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    Some(Row {
        situation: situation.name,
        rate: situation.rate,
        contender,
        answered: took.len() as f64 / lasted,
        cpu: (after.cpu_ns - before.cpu_ns) / 1e9 / lasted,
        arrived: arrived / lasted,
        worker_ns: if arrived > 0.0 { (after.worker_ns - before.worker_ns) / arrived } else { 0.0 },
        p50_us: at(0.5),
        p99_us: at(0.99),
        lost: after.lost(),
        reasons: after.lost.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", "),
    })
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The same, started by another program.
fn wrapped(program: &str, arguments: &[&str], of: Command) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg(of.get_program()).args(of.get_args());
    command.envs(of.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

struct Hog(Child);

impl Hog {
    fn start(sink: &Sink) -> Self {
        Self(command("bare", "hog", sink).spawn().expect("a child"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes a processor until it is ended.
pub(super) fn hog() {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(3) + 1);
    }
}

/// What a batch job is told.
const RATE: &str = "CRUMBTRAIL_BENCH_RATE";
const THREADS: &str = "CRUMBTRAIL_BENCH_THREADS";

/// A batch job: threads that log lines, in bursts of a millisecond, or without a rest.
pub(super) fn log_lines(telemetry: Kept) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    let (rate, threads): (u64, u64) = (number(RATE), number(THREADS));
    println!("no address");
    super::answer(telemetry);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for millisecond in 1.. {
                    for row in 0..if rate == 0 { 1_000 } else { rate / threads / 1_000 } {
                        tracing::info!(row, table = "people", "a row was imported");
                    }
                    if rate > 0 {
                        std::thread::sleep((begun + Duration::from_millis(millisecond)).saturating_duration_since(Instant::now()));
                    }
                }
            });
        }
    });
}

/// A control group of its own, of either version, which goes when its process has.
struct Quota(PathBuf);

impl Quota {
    fn of(process: u32, percent: u32) -> Option<Self> {
        const PERIOD: u32 = 100_000;
        let quota = percent * (PERIOD / 100);
        let of_first = [("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())];
        let of_second = [("cpu.max", format!("{quota} {PERIOD}"))];
        let make = |root: &str, limits: &[(&str, String)]| {
            let group = Self(PathBuf::from(format!("{root}/crumbtrail-bench-{process}")));
            std::fs::create_dir(&group.0).ok()?;
            limits.iter().try_for_each(|(file, limit)| std::fs::write(group.0.join(file), limit)).ok()?;
            std::fs::write(group.0.join("cgroup.procs"), process.to_string()).ok()?;
            Some(group)
        };
        match std::fs::exists("/sys/fs/cgroup/cgroup.controllers") {
            Ok(true) => make("/sys/fs/cgroup", &of_second),
            _ => make("/sys/fs/cgroup/cpu", &of_first),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Its process is ending.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("left: {}", self.0.display());
    }
}
