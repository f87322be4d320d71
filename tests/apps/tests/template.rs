//! A service from one of axum's templates becomes observable by the lines of the README, and by
//! nothing else.

#[path = "../../support/mod.rs"]
mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use crumbtrail_receiver::Receiver;
use support::{PATIENCE, messages};

/// The README's `diff` blocks: what each adds, and the line that is before it.
fn added() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).expect("the README");
    let blocks = readme.split("```diff\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut added = Vec::new();
    for block in blocks {
        let lines: Vec<&str> = block.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[1].starts_with('+')) {
            added.push((pair[0][1..].to_owned(), pair[1][1..].to_owned()));
        }
    }
    added
}

/// Report 14, "two lines and one dependency line".
#[test]
fn the_program_is_the_template_and_the_two_lines_of_the_readme() {
    let program = include_str!("../src/bin/template.rs");
    let added = added();
    assert_eq!(added.len(), 2, "{added:?}");
    for (before, line) in &added {
        // The README's indentation is that of a diff.
        let found = program.lines().zip(program.lines().skip(1)).any(|pair| pair == (before.as_str(), line.as_str()));
        assert!(found, "{before:?} then {line:?}");
    }
    let ours: Vec<&str> = program.lines().filter(|line| line.contains("crumbtrail::")).collect();
    assert_eq!(ours.len(), 2, "nothing else in it is crumbtrail's: {ours:?}");
}

/// Ends with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn its_failures_are_told_with_what_led_up_to_them() {
    let receiver = Receiver::start().expect("a receiver");
    let mut command = Command::new(env!("CARGO_BIN_EXE_template"));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint()).env_remove("RUST_LOG");
    let mut service = Running(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the service"));
    let mut output = BufReader::new(service.0.stdout.take().expect("its output"));
    let address = loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).expect("its output") > 0, "it ended");
        if let Some(address) = line.trim_end().strip_prefix("listening on ") {
            break address.to_owned();
        }
    };
    let mut connection = TcpStream::connect(&address).expect("it listens");
    connection.write_all(b"GET /orders/7 HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    let id = answer.lines().find_map(|line| line.strip_prefix("x-error-id: ")).expect("the id of the error");

    let received = receiver.wait_for(PATIENCE, |received| received.exceptions().count() > 0).expect("an exception");
    let exceptions: Vec<_> = received.exceptions().collect();
    assert_eq!(exceptions.len(), 1, "{exceptions:#?}");
    let exception = exceptions[0];
    assert_eq!(exception.text("crumbtrail.error.id"), id);
    assert_eq!((exception.text("http.route"), exception.text("exception.type")), ("/orders/{id}", "HTTP 500"));
    assert_eq!((exception.text("url.path"), exception.attributes["http.response.status_code"].to_string().as_str()), ("/orders/7", "500"));
    assert!(messages(exception).contains(&"looking the order up".to_owned()), "{exception:#?}");
    assert_eq!(exception.trace_id.len(), 32);
}
