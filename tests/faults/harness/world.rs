//! What surrounds the program: a receiver, a proxy before it, a directory; and the oracle.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crumbtrail_receiver::{Mode, Proxy, Received, Receiver, rustls::ServerConfig};
use serde_json::Value;

use super::{program::Setup, remote::Program};

pub const TRANSPORTS: [&str; 2] = ["http", "grpc"];

/// Long enough for a busy machine, short enough to notice a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub receiver: Receiver,
    pub proxy: Proxy,
    pub directory: tempfile::TempDir,
    transport: &'static str,
    scheme: &'static str,
}

impl World {
    pub fn new(transport: &'static str) -> Self {
        Self::with_tls(transport, None)
    }

    pub fn with_tls(transport: &'static str, tls: Option<ServerConfig>) -> Self {
        let receiver = Receiver::start().expect("a receiver");
        let endpoint = if transport == "grpc" { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
        let target: SocketAddr = endpoint.trim_start_matches("http://").parse().expect("an address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let proxy = Proxy::start(target, tls).expect("a proxy");
        Self { receiver, proxy, directory: tempfile::tempdir().expect("a directory"), transport, scheme }
    }

    /// A setup that leads through the proxy.
    pub fn setup(&self) -> Setup {
        let endpoint = format!("{}://localhost:{}", self.scheme, self.proxy.address().port());
        Setup { endpoint: endpoint.replace("localhost", "127.0.0.1"), protocol: self.transport.to_owned(), ..Setup::default() }
    }

    /// The same, with a spool.
    pub fn spooling(&self) -> Setup {
        Setup { state_dir: Some(self.state_dir()), ..self.setup() }
    }

    pub fn state_dir(&self) -> String {
        self.directory.path().join("state").to_string_lossy().into_owned()
    }

    /// Every file of the spool.
    pub fn segments(&self) -> Vec<std::path::PathBuf> {
        let runs = std::fs::read_dir(self.state_dir()).into_iter().flatten().flatten();
        let files = runs.flat_map(|run| std::fs::read_dir(run.path()).into_iter().flatten().flatten());
        files.map(|file| file.path()).collect()
    }

    pub fn set(&self, mode: Mode) {
        self.proxy.set(mode);
    }

    /// A program that comes after: it takes over what an earlier one left, and delivers it. Returns
    /// its stats.
    pub fn successor(&self) -> Value {
        self.set(Mode::Pass);
        let mut next = Program::start(&self.spooling());
        let flushed = next.ask("flush 20000");
        assert!(flushed["ok"] == true || flushed["undelivered"] == 0, "the successor: {flushed}");
        let stats = next.ask("stats");
        next.ask("shutdown 2000");
        assert_eq!(next.end().code, Some(0));
        stats
    }
}

/// How often each exception arrived, by its id.
pub fn exceptions(received: &Received) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for exception in received.exceptions() {
        *counts.entry(exception.text("log.record.uid").to_owned()).or_default() += 1;
    }
    counts
}

pub fn number(of: &Value, signal: &str, what: &str) -> u64 {
    of[signal][what].as_u64().unwrap_or_else(|| panic!("{signal} {what} in {of}"))
}

/// Every record emitted is delivered, on disk or counted as lost; none is twice.
pub fn conserved(stats: &Value, emitted: &[(&str, u64)]) {
    if let Err(why) = check(stats, emitted) {
        panic!("{why}");
    }
}

/// Asks until it is so, or it hangs.
pub fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it hangs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program's books, once they are so. On a busy machine the last entries may follow the answer
/// to a flush or a shutdown.
pub fn balanced(program: &mut Program, emitted: &[(&str, u64)]) -> Value {
    books(program, emitted).unwrap_or_else(|why| panic!("{why}"))
}

/// The same; or why they are not.
pub fn books(program: &mut Program, emitted: &[(&str, u64)]) -> Result<Value, String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stats = program.ask("stats");
        match check(&stats, emitted) {
            Ok(()) => return Ok(stats),
            Err(why) if Instant::now() > deadline => return Err(why),
            Err(_) => _ = program.ask("sleep 50"),
        }
    }
}

fn check(stats: &Value, emitted: &[(&str, u64)]) -> Result<(), String> {
    for (signal, emitted) in emitted {
        let of = |what| number(stats, signal, what);
        let own = of("accepted") - of("recovered");
        // Outages end in a log record of our own.
        let extra = if *signal == "logs" { 3 } else { 0 };
        if !(*emitted..=emitted + extra).contains(&own) {
            return Err(format!("{emitted} {signal} were emitted: {stats}"));
        }
        if of("accepted") != of("delivered") + of("spooled") + of("lost") + of("pending") {
            return Err(format!("{signal}: {stats}"));
        }
        // The account of an outage may be on its way yet.
        if of("pending") > own - emitted {
            return Err(format!("{signal} are nowhere: {stats}"));
        }
    }
    Ok(())
}
