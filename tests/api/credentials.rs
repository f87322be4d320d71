//! Who may send, and through whom: tokens that are renewed, proxies. Report E.

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::support::{PATIENCE, Pipeline};
use crumbtrail::config::{EnvVars, Protocol};
use crumbtrail_receiver::{Answer, Receiver};
use tracing::{error, info};

const PROTOCOLS: [Protocol; 2] = [Protocol::HttpProtobuf, Protocol::Grpc];

fn endpoint(receiver: &Receiver, protocol: Protocol) -> String {
    if protocol == Protocol::Grpc { receiver.grpc_endpoint() } else { receiver.http_endpoint() }
}

/// A token ends: nothing is lost, and the program is asked once for all signals.
#[test]
fn refused_headers_are_asked_for_again_and_nothing_is_lost() {
    for protocol in PROTOCOLS {
        let asked = Arc::new(AtomicU64::new(0));
        let pipeline = Pipeline::new(|builder, receiver| {
            let asked = asked.clone();
            let valid = Arc::new(AtomicU64::new(1));
            receiver.answer_by({
                let (valid, arrived) = (valid.clone(), AtomicU64::new(0));
                move |arrival| {
                    // The first token is good for two requests.
                    if arrived.fetch_add(1, Ordering::SeqCst) == 2 {
                        valid.store(2, Ordering::SeqCst);
                    }
                    let expected = format!("Bearer {}", valid.load(Ordering::SeqCst));
                    match (arrival.headers.get("authorization") == Some(&expected), protocol) {
                        (true, _) => Answer::Accept,
                        (false, Protocol::Grpc) => Answer::Code { code: 16, retry_after: None },
                        (false, _) => Answer::Status { status: 401, headers: Vec::new() },
                    }
                }
            });
            builder
                .with_protocol(protocol)
                .with_endpoint(endpoint(receiver, protocol))
                .with_header("authorization", "stale")
                .with_header_provider(move || {
                    let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    // As a token service is at times.
                    if number == 2 {
                        Err("the token service is away".into())
                    } else {
                        Ok(vec![("Authorization".to_owned(), format!("Bearer {}", number.min(2)))])
                    }
                })
        });
        for number in 0..5 {
            pipeline.run(|| {
                info!(number, "a log");
                error!(number, "an error");
            });
            pipeline.telemetry.flush(PATIENCE).expect("delivered");
        }
        let received = pipeline.received();
        assert_eq!((received.logs.len(), received.exceptions().count()), (10, 5), "{protocol:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 3, "{protocol:?}: the first, the one that failed, the new one");
    }
}

/// A program that hangs or panics when it is asked harms nobody.
#[test]
fn a_provider_that_hangs_takes_one_thread() {
    let asked = Arc::new(AtomicU64::new(0));
    let (release, is_released) = std::sync::mpsc::channel::<()>();
    let is_released = Mutex::new(is_released);
    let pipeline = Pipeline::new(|builder, _| {
        let asked = asked.clone();
        builder.with_timeout(std::time::Duration::from_millis(300)).with_header_provider(move || {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                let _ = is_released.lock().expect("one at a time").recv();
                panic!("in the provider");
            }
            Ok(Vec::new())
        })
    });
    pipeline.run(|| error!("an error"));
    assert!(pipeline.telemetry.flush(std::time::Duration::from_secs(1)).is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    drop(release);
    assert_eq!(pipeline.exception("an error").text("exception.message"), "an error");
}

/// By code, and by the environment where that is asked for: a receiver that only the proxy can
/// reach.
#[test]
fn requests_go_through_a_proxy() {
    for (protocol, by_environment) in PROTOCOLS.into_iter().flat_map(|protocol| [(protocol, false), (protocol, true)]) {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let pipeline = Pipeline::new(|builder, receiver| {
            let proxy = format!("http://ada:secret@{}", proxy(&endpoint(receiver, protocol), heads.clone()));
            let builder = builder.with_protocol(protocol);
            if by_environment {
                let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318"), ("HTTP_PROXY", &proxy)];
                builder
                    .with_endpoint("http://collector.example:4318")
                    .with_env_vars(&EnvVars::from_iter(variables))
                    .with_proxy_from_env(true)
            } else {
                builder.with_endpoint("http://collector.example:4318").with_proxy(proxy)
            }
        });
        pipeline.run(|| error!("through a proxy"));
        assert_eq!(pipeline.exception("through").text("exception.message"), "through a proxy");
        let heads = heads.lock().expect("nobody panicked");
        let asks = if protocol == Protocol::Grpc { "CONNECT collector.example:4318 " } else { "POST http://collector.example:4318/v1/" };
        assert!(heads.iter().all(|head: &String| head.starts_with(asks)), "{heads:?}");
        assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains("proxy-authorization: basic ywrhonnly3jlda==")), "{heads:?}");
    }
}

/// Not unless it is asked for, nor to where `NO_PROXY` leads.
#[test]
fn the_environments_proxy_is_not_used_otherwise() {
    for (asked_for, exempt) in [(false, ""), (true, "127.0.0.1")] {
        let pipeline = Pipeline::new(|builder, receiver| {
            let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("an address");
            let environment = EnvVars::from_iter([("HTTP_PROXY", format!("http://{nobody}")), ("NO_PROXY", exempt.to_owned())]);
            builder.with_env_vars(&environment).with_endpoint(receiver.http_endpoint()).with_proxy_from_env(asked_for)
        });
        pipeline.run(|| error!("directly"));
        assert_eq!(pipeline.exception("directly").text("exception.message"), "directly");
    }
}

/// A proxy on loopback that leads everybody to one receiver, and notes what it is asked.
fn proxy(receiver: &str, heads: Arc<Mutex<Vec<String>>>) -> std::net::SocketAddr {
    let target = receiver.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (target, heads) = (target.clone(), heads.clone());
            thread::spawn(move || pass(client, &target, &heads));
        }
    });
    address
}

fn pass(mut client: TcpStream, target: &str, heads: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    heads.lock().expect("nobody panicked").push(String::from_utf8_lossy(&head).into_owned());
    let mut server = TcpStream::connect(target)?;
    if head.starts_with(b"CONNECT") {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    } else {
        server.write_all(&head)?;
    }
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || io::copy(&mut from_client, &mut to_server));
    io::copy(&mut server, &mut client)?;
    Ok(())
}
