//! A service that is asked to end: what it serves is served, what it has recorded is delivered, and
//! a stream without end does not keep it. Has no harness: the service is this program, started
//! anew, because a signal is the whole process's.

mod support;

use std::{
    convert::Infallible,
    io::{BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Response, routing::get};
use crumbtrail::tower::ServerLayer;
use crumbtrail_receiver::Receiver;
use http_body_util::StreamBody;
use rustix::process::{Pid, Signal, kill_process};
use support::PATIENCE;
use tracing::{error, info};

fn main() {
    match std::env::var("CRUMBTRAIL_TEST_CHILD").as_deref() {
        Ok("service") => service(),
        _ => {
            what_is_being_served_is_served_and_delivered();
            a_second_signal_ends_it_at_once();
            println!("test result: ok. 2 passed; 0 failed");
        }
    }
}

/// Serves until it is asked to end, and two seconds more.
fn service() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let telemetry = crumbtrail::init(crumbtrail::service!()).expect("installed");
    // Another part of the program listens, too.
    let own = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM]).expect("signals");
    std::thread::spawn(move || {
        let mut own = own;
        own.forever().for_each(|_| println!("told"));
    });
    let grace = if std::env::var_os("CRUMBTRAIL_TEST_PATIENT").is_some() { PATIENCE } else { Duration::from_secs(2) };
    let finished = runtime.block_on(async {
        let router = Router::new().route("/slow", get(slow)).route("/endless", get(endless)).layer(ServerLayer::for_axum());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("bound"));
        crumbtrail::shutdown::until_signal(|signal| axum::serve(listener, router).with_graceful_shutdown(signal).into_future(), grace).await
    });
    println!("finished {}", finished.is_some());
    runtime.shutdown_background();
    drop(telemetry);
    println!("delivered");
}

async fn slow() -> &'static str {
    println!("serving");
    crumbtrail::shutdown::signal().await;
    error!("almost too late");
    "served"
}

async fn endless() -> Response<Body> {
    info!("streaming");
    println!("serving");
    Response::new(Body::new(StreamBody::new(tokio_stream::pending::<Result<http_body::Frame<axum::body::Bytes>, Infallible>>())))
}

struct Service {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    address: String,
}

impl Service {
    fn start(receiver: &Receiver, patient: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command.env("CRUMBTRAIL_TEST_CHILD", "service").env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint()).stdout(Stdio::piped());
        if patient {
            command.env("CRUMBTRAIL_TEST_PATIENT", "1");
        }
        let mut process = command.spawn().expect("a child");
        let mut lines = BufReader::new(process.stdout.take().expect("piped"));
        let address = line(&mut lines);
        Self { process, lines, address }
    }

    fn request(&mut self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
        assert_eq!(line(&mut self.lines), "serving");
        stream
    }

    fn ask_to_end(&self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).expect("it runs");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn line(lines: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

fn what_is_being_served_is_served_and_delivered() {
    let receiver = Receiver::start().expect("a receiver");
    let mut service = Service::start(&receiver, false);
    let (mut slow, _endless) = (service.request("/slow"), service.request("/endless"));
    let asked = Instant::now();
    service.ask_to_end();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("served"), "{answer}");
    let mut said = [line(&mut service.lines), line(&mut service.lines), line(&mut service.lines)];
    said.sort();
    assert_eq!(said, ["delivered", "finished false", "told"], "the stream did not keep it, and others were told");
    assert!(service.process.wait().expect("ended").success());
    assert!(asked.elapsed() < PATIENCE);
    let received = receiver.received();
    let names: Vec<&str> = received.spans.iter().map(|span| &*span.name).collect();
    assert!(names.contains(&"GET /slow"), "{names:?}");
    assert_eq!(received.exceptions().map(|one| &*one.body).collect::<Vec<_>>(), ["almost too late"]);
    assert!(received.logs.iter().any(|log| log.body == "streaming"));
}

fn a_second_signal_ends_it_at_once() {
    let receiver = Receiver::start().expect("a receiver");
    let mut service = Service::start(&receiver, true);
    let _endless = service.request("/endless");
    service.ask_to_end();
    assert_eq!(line(&mut service.lines), "told");
    service.ask_to_end();
    let status = service.process.wait().expect("ended");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "{status}");
}
