//! A tunnel as command-line tools are that carry local ports to a public host: anyhow throughout, a
//! span for each connection, failures of connections as warnings that the log's reader is to see
//! and the one on call is not; until a route says otherwise. (anyhow 1, tokio 1.)

#[path = "../../support/mod.rs"]
mod support;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use crumbtrail::config::Filter;
use crumbtrail_receiver::Received;
use support::Pipeline;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tracing::{Instrument as _, info, info_span, instrument, warn};

/// The public end: each control connection says a secret and which port it carries, and gets what
/// comes to a port of ours.
async fn serve(control: TcpListener) {
    loop {
        let Ok((stream, address)) = control.accept().await else { return };
        tokio::spawn(
            async move {
                info!("incoming connection");
                match handle(stream).await {
                    Ok(()) => info!("connection exited"),
                    Err(err) => warn!(%err, "connection exited with error"),
                }
            }
            .instrument(info_span!("control", ?address)),
        );
    }
}

async fn handle(mut stream: TcpStream) -> anyhow::Result<()> {
    let hello =
        timeout(Duration::from_secs(30), line(&mut stream)).await.context("no handshake")?.context("closed before the handshake")?;
    let Some(port) = hello.strip_prefix("secret=hunter2 open ") else { bail!("invalid secret") };
    let port: u16 = port.parse().with_context(|| format!("no port: {port}"))?;
    carry(&mut stream, port).await
}

/// Up to its end, and not a byte further: what follows is to be carried.
async fn line(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            byte => line.push(byte),
        }
    }
}

/// One public connection, to the port behind it and back.
#[instrument(skip(stream))]
async fn carry(stream: &mut TcpStream, port: u16) -> anyhow::Result<()> {
    let mut behind = TcpStream::connect(("127.0.0.1", port)).await.with_context(|| format!("could not connect to 127.0.0.1:{port}"))?;
    info!("connected");
    stream.write_all(b"ok\n").await?;
    tokio::io::copy_bidirectional(stream, &mut behind).await.context("while carrying")?;
    Ok(())
}

async fn say(address: SocketAddr, words: String) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(words.as_bytes()).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut answer = String::new();
    // Where the other side fails it may reset.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// A connection that works, one with a wrong secret, one to a port where nobody is, one that says
/// nothing.
fn tunnelled(pipeline: &Pipeline) -> Received {
    pipeline.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let control = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = control.local_addr().expect("an address");
            tokio::spawn(serve(control));
            let behind = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = behind.local_addr().expect("an address").port();
            tokio::spawn(async move {
                let (mut stream, _) = behind.accept().await.expect("somebody");
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await.expect("said again");
            });
            assert_eq!(say(address, format!("secret=hunter2 open {port}\nhello\n")).await, "ok\nhello\n");
            say(address, "secret=guessed open 22\n".to_owned()).await;
            say(address, "secret=hunter2 open 1\n".to_owned()).await;
            say(address, String::new()).await;
            // Their tasks end after their connections.
            while pipeline.received().spans.iter().filter(|span| span.name == "control").count() < 4 {
                tokio::task::yield_now().await;
            }
        });
    });
    pipeline.received()
}

const FAILURES: [&str; 3] = ["closed before the handshake", "could not connect to 127.0.0.1:1", "invalid secret"];

#[test]
fn a_connections_warnings_are_logs_of_its_trace() {
    let received = tunnelled(&Pipeline::new(|builder, _| builder));
    assert_eq!(received.exceptions().count(), 0, "a warning wakes nobody");
    let warnings: Vec<_> = received.logs.iter().filter(|log| log.body == "connection exited with error").collect();
    let mut failures: Vec<&str> = warnings.iter().map(|log| log.text("err")).collect();
    failures.sort_unstable();
    assert_eq!(failures, FAILURES);
    let traces: std::collections::BTreeSet<&str> = warnings.iter().map(|log| &*log.trace_id).collect();
    assert_eq!(traces.len(), 3, "each is of its own connection");
    for warning in warnings {
        let span = received.spans.iter().find(|span| span.span_id == warning.span_id).expect("its span");
        assert_eq!((&*span.name, span.attributes["address"].to_string().contains("127.0.0.1:")), ("control", true));
    }
    let carried = received.spans.iter().filter(|span| span.name == "carry").count();
    assert_eq!(carried, 2, "one that worked, one to a port where nobody is");
    assert!(!format!("{received:?}").contains("hunter2"));
}

/// For a tool of which the failures of connections are all there is to know.
#[test]
fn a_route_makes_exceptions_of_them() {
    let route = "warn".parse().expect("a route");
    let received = tunnelled(&Pipeline::new(|builder, _| builder.with_filter(Filter::Exceptions, route)));
    let mut exceptions: Vec<_> = received.exceptions().collect();
    exceptions.sort_unstable_by_key(|exception| exception.text("exception.message").to_owned());
    let messages: Vec<&str> = exceptions.iter().map(|exception| exception.text("exception.message")).collect();
    assert_eq!(messages, FAILURES);
    let groups = |key: &str| exceptions.iter().map(|exception| exception.text(key)).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!((groups("crumbtrail.group.id"), groups("crumbtrail.group.coarse")), (3, 1), "three defects, told in one place");
    for exception in exceptions {
        assert_eq!((exception.severity_text.as_str(), support::messages(exception)[0].as_str()), ("WARN", "incoming connection"));
        assert!(exception.text("address").starts_with("127.0.0.1:"), "{exception:#?}");
    }
}
