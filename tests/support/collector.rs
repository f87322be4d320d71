//! The official Collector, started for a test; and what it wrote.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use crumbtrail_receiver::Peer;
use serde_json::Value;

use super::PATIENCE;

/// A Collector with `collector-config/local.yaml`: OTLP in, a file out.
pub struct Collector {
    process: Process,
    directory: PathBuf,
    /// Where it receives OTLP over HTTP.
    pub http: String,
    /// The same over gRPC.
    pub grpc: String,
}

impl Collector {
    /// `None`, loudly, if there is no binary.
    pub fn start() -> Option<Self> {
        let binary = Peer::Collector.binary()?;
        let name = format!("crumbtrail-collector-{}-{:?}", std::process::id(), std::thread::current().id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let (http, grpc) = (free_address(), free_address());
        let process = Command::new(binary)
            .arg(format!("--config={}", configuration().display()))
            .envs([("OTLP_HTTP_ENDPOINT", http.as_str()), ("OTLP_GRPC_ENDPOINT", grpc.as_str())])
            .env("OTLP_FILE", directory.join("otlp.jsonl"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("stderr")).expect("a file"))
            .spawn()
            .map(Process)
            .expect("the collector starts");
        Some(Self { process, directory, http: format!("http://{http}"), grpc: format!("http://{grpc}") })
    }

    /// Ends it and returns what it received: a line of OTLP JSON for each request.
    pub fn end(self) -> Vec<Value> {
        self.process.terminate();
        let text = std::fs::read_to_string(self.directory.join("otlp.jsonl")).expect("the collector wrote its file");
        std::fs::remove_dir_all(&self.directory).expect("removed");
        text.lines().map(|line| serde_json::from_str(line).expect("OTLP JSON")).collect()
    }
}

/// A started program; ended with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Asks it to end and waits until it has: what it buffered is written then.
    pub fn terminate(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let deadline = Instant::now() + PATIENCE;
        while self.0.try_wait().expect("our child").is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").to_string()
}

/// Every object in the file at a path of keys, arrays flattened.
pub fn all<'a>(lines: &'a [Value], path: &[&str]) -> Vec<&'a Value> {
    path.iter().fold(lines.iter().collect(), |found, key| {
        let next = found.into_iter().filter_map(|value| value.get(key));
        next.flat_map(|value| value.as_array().map_or_else(|| vec![value], |array| array.iter().collect())).collect()
    })
}

pub fn attribute<'a>(of: &'a Value, key: &str) -> Option<&'a Value> {
    let attribute = of["attributes"].as_array()?.iter().find(|attribute| attribute["key"] == key)?;
    attribute["value"].as_object()?.values().next()
}

/// Of the package or of the workspace that it is in.
fn configuration() -> PathBuf {
    let folders = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let known = folders.map(|folder| folder.join("collector-config/local.yaml")).find(|file| file.exists());
    known.expect("collector-config/local.yaml")
}
