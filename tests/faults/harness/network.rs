//! What receivers answer and networks do, both transports: what is tried again, what is not, and
//! that nothing is lost uncounted.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use crumbtrail_receiver::{Answer, Arrival, Mode};

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case},
    world::{TRANSPORTS, World, balanced, exceptions, number},
};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (status, retried) in [
        (301, false),
        (302, false),
        (307, false),
        (308, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, false),
        (413, false),
        (429, true),
        (500, false),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
        (599, false),
    ] {
        let answer = move || Answer::Status { status, headers: vec![("location".to_owned(), "http://127.0.0.1:9/v1/logs".to_owned())] };
        cases.push(case(format!("network: HTTP status {status}"), move || refusal("http", answer(), retried)));
    }
    // OTLP specification: CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
    for code in 1..=16 {
        let retried = [1, 4, 10, 11, 14, 15].contains(&code);
        cases.push(case(format!("network: gRPC code {code}"), move || refusal("grpc", Answer::Code { code, retry_after: None }, retried)));
    }
    let retry_info = Answer::Code { code: 8, retry_after: Some(Duration::from_millis(100)) };
    cases.push(case("network: gRPC code 8 with RetryInfo", move || refusal("grpc", retry_info.clone(), true)));
    cases.push(case("network: Retry-After in seconds", || waits("http", Duration::from_secs(3), |_| retry_after("3".to_owned()))));
    cases.push(case("network: Retry-After as a date", || {
        waits("http", Duration::from_secs(3), |_| retry_after(httpdate(SystemTime::now() + Duration::from_secs(4))))
    }));
    cases.push(case("network: RetryInfo", || {
        waits("grpc", Duration::from_secs(3), |_| Answer::Code { code: 14, retry_after: Some(Duration::from_secs(3)) })
    }));
    for transport in ["http", "json", "grpc"] {
        cases.push(case(format!("network: partial success, {transport}"), move || partial_success(transport)));
        cases.push(case(format!("network: a poison record, {transport}"), move || poison(transport)));
        cases.push(case(format!("network: requests refused for their size, {transport}"), move || too_large(transport)));
        for compression in ["none", "gzip", "zstd"] {
            cases.push(case(format!("network: {transport} with compression {compression}"), move || arrives(transport, compression)));
        }
        cases.push(case(format!("network: an answer lost after the request was taken, {transport}"), move || ambiguous(transport)));
    }
    for transport in TRANSPORTS {
        for mode in [Mode::Refuse, Mode::Silent, Mode::Drip, Mode::ResetInBody, Mode::CloseBeforeAnswer, Mode::HalfClose] {
            cases.push(case(format!("network: {mode:?}, then well, {transport}"), move || sick(transport, mode)));
        }
        cases.push(case(format!("network: flapping every 300 ms, {transport}"), move || flapping(transport)));
        cases.push(case(format!("network: a slow receiver, {transport}"), move || slow(transport)));
        cases.push(case(format!("network: an answer beyond 4 MiB, {transport}"), move || large_answer(transport)));
    }
    cases.push(case("network: an answer that never ends", endless));
    cases.push(case("network: an answer whose body stalls", stalled_body));
    cases.push(case("network: a proxy that was asked for, and none that was not", forward_proxy));
    cases
}

fn retry_after(value: String) -> Answer {
    Answer::Status { status: 503, headers: vec![("retry-after".to_owned(), value)] }
}

fn httpdate(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// Answers the first requests of each signal with something else.
fn at_first(count: usize, answer: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> impl Fn(&Arrival) -> Answer + Send + Sync {
    let seen: Mutex<BTreeMap<&'static str, usize>> = Mutex::default();
    move |arrival| {
        let mut seen = seen.lock().unwrap();
        let times = seen.entry(arrival.signal).or_default();
        *times += 1;
        if *times <= count { answer(arrival) } else { Answer::Accept }
    }
}

/// A refusal that is worth another try is tried again and delivered; any other is counted, and not
/// repeated for ever.
fn refusal(transport: &'static str, answer: Answer, retried: bool) -> String {
    let world = World::new(transport);
    if retried {
        world.receiver.answer_by(at_first(1, move |_| answer.clone()));
    } else {
        world.receiver.answer_by(move |_| answer.clone());
    }
    let mut program = Program::start(&world.setup());
    program.ask("emit all 4");
    program.ask("flush 20000");
    let stats = balanced(&mut program, &[("exceptions", 4), ("logs", 4), ("spans", 4)]);
    for signal in ["exceptions", "logs", "spans"] {
        let (delivered, lost) = (number(&stats, signal, "delivered"), number(&stats, signal, "lost"));
        assert!(if retried { lost == 0 && delivered >= 4 } else { delivered == 0 && lost == 4 }, "{signal}: {stats}");
    }
    // Metrics come anew every two seconds, however long this takes.
    let requests = world.receiver.arrivals().iter().filter(|arrival| arrival.signal != "metrics").count();
    assert!(requests <= 60, "{requests} requests");
    program.ask("shutdown 2000");
    let ended = program.end();
    assert_eq!(ended.code, Some(0));
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    format!("{}; {requests} requests", if retried { "tried again, delivered" } else { "lost and counted" })
}

/// No request before the time the receiver asked for.
fn waits(transport: &'static str, at_least: Duration, answer: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> String {
    let world = World::new(transport);
    world.receiver.answer_by(at_first(1, answer));
    let mut program = Program::start(&world.setup());
    program.ask("emit exceptions 3");
    assert_eq!(program.ask("flush 20000")["ok"], true);
    let arrivals = world.receiver.arrivals();
    let of_exceptions: Vec<_> = arrivals.iter().filter(|arrival| arrival.content.exceptions().count() > 0).collect();
    let pause = of_exceptions[1].at - of_exceptions[0].at;
    assert!(pause >= at_least, "the second came after {pause:?}");
    assert_eq!(exceptions(&world.receiver.received()).len(), 3);
    format!("the next request {:.1} s later", pause.as_secs_f64())
}

/// What the receiver says it refused is lost, and the rest is not sent again.
fn partial_success(transport: &'static str) -> String {
    let world = World::new(transport);
    world.receiver.answer_by(|_| Answer::Partial { rejected: 1, message: "too many".to_owned() });
    let setup = Setup { protocol: transport.to_owned(), ..world.setup() };
    let mut program = Program::start(&setup);
    program.ask("emit all 5");
    program.ask("flush 20000");
    let stats = balanced(&mut program, &[("exceptions", 5), ("logs", 5), ("spans", 5)]);
    // One a request: the spans and the logs go in one each, exceptions in a few.
    assert_eq!([number(&stats, "spans", "lost"), number(&stats, "logs", "lost")], [1, 1], "{stats}");
    assert_eq!(exceptions(&world.receiver.received()).values().copied().max(), Some(1), "sent once");
    program.ask("shutdown 2000");
    let ended = program.end();
    assert!(ended.stderr.contains("too many"), "{}", ended.stderr);
    "what it refused is counted, the rest not sent again".to_owned()
}

/// One record of a batch is refused with the whole batch: its neighbours arrive.
fn poison(transport: &'static str) -> String {
    let world = World::new(if transport == "json" { "http" } else { transport });
    let is_poison = |arrival: &Arrival| {
        arrival.content.logs.iter().any(|log| log.attributes.get("number") == Some(&crumbtrail_receiver::Value::Int(37)))
    };
    let grpc = transport == "grpc";
    world.receiver.answer_by(move |arrival| match (is_poison(arrival), grpc) {
        (false, _) => Answer::Accept,
        (true, true) => Answer::Code { code: 3, retry_after: None },
        (true, false) => Answer::Status { status: 400, headers: Vec::new() },
    });
    let mut program = Program::start(&Setup { protocol: transport.to_owned(), ..world.setup() });
    program.ask("emit logs 100");
    program.ask("flush 20000");
    let stats = balanced(&mut program, &[("logs", 100)]);
    assert_eq!(number(&stats, "logs", "lost"), 1, "{stats}");
    let received = world.receiver.received();
    let records = received.logs.iter().filter(|log| log.body == "log").count();
    assert_eq!(records, 99);
    let requests = world.receiver.arrivals().iter().filter(|arrival| arrival.content.logs.iter().any(|log| log.body == "log")).count();
    assert!(requests <= 1 + 2 * 7, "{requests} requests for one culprit among 100");
    format!("99 of 100 delivered in {requests} requests, the culprit counted")
}

/// A receiver that takes small requests only gets small ones.
fn too_large(transport: &'static str) -> String {
    let world = World::new(if transport == "json" { "http" } else { transport });
    let grpc = transport == "grpc";
    world.receiver.answer_by(move |arrival| match (arrival.bytes > 60_000, grpc) {
        (false, _) => Answer::Accept,
        // As Go's gRPC says it, and as tonic says it.
        (true, true) if arrival.bytes > 300_000 => Answer::Code { code: 8, retry_after: None },
        (true, true) => Answer::Code { code: 11, retry_after: None },
        (true, false) => Answer::Status { status: 413, headers: Vec::new() },
    });
    let mut program = Program::start(&Setup { protocol: transport.to_owned(), outbox: Some(8 << 20), ..world.setup() });
    program.ask("emit logs 200 0 2000");
    program.ask("flush 30000");
    let stats = balanced(&mut program, &[("logs", 200)]);
    assert_eq!(number(&stats, "logs", "lost"), 0, "{stats}");
    format!("all of 200 × 2 kB through a limit of 60 kB, {} requests", world.receiver.arrivals().len())
}

fn arrives(transport: &'static str, compression: &str) -> String {
    let world = World::new(if transport == "json" { "http" } else { transport });
    let mut program = Program::start(&Setup { protocol: transport.to_owned(), compression: compression.to_owned(), ..world.setup() });
    program.ask("emit all 50");
    let flushed = program.ask("flush 20000");
    assert_eq!((&flushed["ok"], flushed["lost"].as_u64()), (&serde_json::Value::Bool(true), Some(0)), "{flushed}");
    let received = world.receiver.received();
    assert_eq!((exceptions(&received).len(), received.spans.len(), received.logs.len()), (50, 50, 100));
    let arrivals = world.receiver.arrivals();
    let headers = &arrivals[0].headers;
    assert!(headers["user-agent"].contains("OTel-OTLP-Exporter-Rust/"), "{headers:?}");
    let encoding = headers.get("content-encoding").or(headers.get("grpc-encoding")).map(String::as_str);
    assert!(if compression == "none" { matches!(encoding, None | Some("identity")) } else { encoding == Some(compression) }, "{headers:?}");
    // One for each lane, used again.
    assert!(world.proxy.accepted() <= 5, "{} connections", world.proxy.accepted());
    format!("150 records arrived through {} connections", world.proxy.accepted())
}

/// The receiver took it, the answer was lost: it comes again with the same id, and is not lost.
fn ambiguous(transport: &'static str) -> String {
    let world = World::new(if transport == "json" { "http" } else { transport });
    world.receiver.answer_by(at_first(1, |_| Answer::KeepAndHang));
    let mut program = Program::start(&Setup { protocol: transport.to_owned(), timeout_ms: Some(500), ..world.setup() });
    program.ask("emit exceptions 10");
    let flushed = program.ask("flush 20000");
    assert_eq!(flushed["ok"], true, "{flushed}");
    let counts = exceptions(&world.receiver.received());
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|count| *count <= 2), "{counts:?}");
    assert_eq!(number(&program.ask("stats"), "exceptions", "delivered"), 10);
    format!("10 of 10, {} twice with the same log.record.uid", counts.values().filter(|count| **count == 2).count())
}

/// Trouble, and then none: no exception is lost, callers notice nothing.
fn sick(transport: &'static str, mode: Mode) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { timeout_ms: Some(1_000), ..world.setup() });
    program.ask("emit all 5");
    program.ask("flush 20000");
    let well = program.ask("emit exceptions 60 30");
    let before = program.ask("memory")["bytes"].as_u64().expect("bytes");
    world.set(mode);
    let said = program.ask("emit exceptions 60 30");
    let logs = program.ask("emit logs 2000 1000 200");
    world.set(Mode::Pass);
    let flushed = program.ask("flush 30000");
    let stats = balanced(&mut program, &[("exceptions", 125), ("logs", 2_005), ("spans", 5)]);
    assert_eq!((number(&stats, "exceptions", "lost"), number(&stats, "logs", "lost")), (0, 0), "{flushed} {stats}");
    assert_eq!(exceptions(&world.receiver.received()).len(), 125);
    let p99 = logs["p99_ns"].as_u64().expect("ns");
    assert!(p99 < 1_000_000, "the p99 of an event was {p99} ns");
    let grown = logs["memory"].as_u64().expect("bytes").saturating_sub(before) >> 20;
    assert!(grown < 64, "{grown} MiB more");
    let micros = |said: &serde_json::Value| said["p50_ns"].as_u64().unwrap_or(0) / 1_000;
    format!(
        "lost 0 of 2,130; p99 of an event {} µs; an error {} µs (before: {}); memory +{grown} MiB",
        p99 / 1_000,
        micros(&said),
        micros(&well)
    )
}

fn flapping(transport: &'static str) -> String {
    let world = World::new(transport);
    let mut program = Program::start(&Setup { timeout_ms: Some(1_000), ..world.setup() });
    program.tell("emit exceptions 200 50");
    for mode in [
        Mode::Refuse,
        Mode::Pass,
        Mode::Silent,
        Mode::Pass,
        Mode::ResetInBody,
        Mode::Pass,
        Mode::CloseBeforeAnswer,
        Mode::Pass,
        Mode::HalfClose,
        Mode::Pass,
    ]
    .iter()
    .cycle()
    .take(15)
    {
        world.set(*mode);
        std::thread::sleep(Duration::from_millis(300));
    }
    program.line();
    world.set(Mode::Pass);
    program.ask("flush 30000");
    let stats = balanced(&mut program, &[("exceptions", 200)]);
    assert_eq!(number(&stats, "exceptions", "lost"), 0, "{stats}");
    let counts = exceptions(&world.receiver.received());
    assert_eq!(counts.len(), 200);
    format!("lost 0 of 200, {} came twice", counts.values().filter(|count| **count > 1).count())
}

/// Two seconds for each answer: slow is not away.
fn slow(transport: &'static str) -> String {
    let world = World::new(transport);
    world.receiver.answer_by(|_| Answer::After(Duration::from_secs(2), Box::new(Answer::Accept)));
    let mut program = Program::start(&world.setup());
    program.ask("emit all 500 250");
    let flushed = program.ask("flush 30000");
    let stats = balanced(&mut program, &[("exceptions", 500), ("logs", 500), ("spans", 500)]);
    assert_eq!(
        (flushed["ok"].as_bool(), number(&stats, "exceptions", "lost"), number(&stats, "logs", "lost")),
        (Some(true), 0, 0),
        "{stats}"
    );
    assert_eq!(exceptions(&world.receiver.received()).values().copied().max(), Some(1), "each once");
    "lost 0 of 1,500, each once".to_owned()
}

/// It is not read to the end, and the request not sent again. Over HTTP the status has said that it
/// was taken; over gRPC that would have come behind.
fn large_answer(transport: &'static str) -> String {
    let world = World::new(transport);
    world.receiver.answer_by(|_| Answer::Partial { rejected: 0, message: "x".repeat(5 << 20) });
    let mut program = Program::start(&world.setup());
    program.ask("emit exceptions 3");
    program.ask("flush 20000");
    let stats = balanced(&mut program, &[("exceptions", 3)]);
    assert_eq!(number(&stats, "exceptions", if transport == "http" { "delivered" } else { "lost" }), 3, "{stats}");
    assert_eq!(exceptions(&world.receiver.received()).values().copied().max(), Some(1));
    "sent once, counted".to_owned()
}

fn endless() -> String {
    let world = World::new("http");
    let mut program = Program::start(&world.setup());
    // Reads the debug information, which stays for a while.
    program.ask("emit exceptions 1");
    program.ask("flush 20000");
    world.receiver.answer_by(at_first(1, |_| Answer::Endless));
    let before = program.ask("memory")["bytes"].as_u64().expect("bytes");
    program.ask("emit all 5");
    let flushed = program.ask("flush 20000");
    assert_eq!(flushed["ok"], true, "{flushed}");
    let grown = program.ask("memory")["bytes"].as_u64().expect("bytes").saturating_sub(before) >> 20;
    assert!(grown < 64, "{grown} MiB more");
    assert_eq!(exceptions(&world.receiver.received()).values().copied().max(), Some(1), "the status had said it");
    format!("cut off after 4 MiB; memory +{grown} MiB")
}

/// The status was good: that the body does not end is no reason to send it again.
fn stalled_body() -> String {
    let world = World::new("http");
    world.receiver.answer_by(|_| Answer::StalledBody);
    let mut program = Program::start(&Setup { timeout_ms: Some(2_000), ..world.setup() });
    program.ask("emit exceptions 3");
    let flushed = program.ask("flush 20000");
    assert_eq!(flushed["ok"], true, "{flushed}");
    assert_eq!(exceptions(&world.receiver.received()).values().copied().max(), Some(1));
    "3 of 3, each once".to_owned()
}

/// A proxy from code is used; one from the environment is not.
fn forward_proxy() -> String {
    let world = World::new("http");
    let seen = Arc::new(AtomicUsize::new(0));
    let address = forwarder(seen.clone());
    let elsewhere = Setup { endpoint: world.receiver.http_endpoint(), ..world.setup() };
    let mut direct = Program::start_as(&elsewhere, |command| {
        command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9").env("ALL_PROXY", "http://127.0.0.1:9");
    });
    direct.ask("emit exceptions 3");
    assert_eq!(direct.ask("flush 20000")["ok"], true);
    let mut through = Program::start(&Setup { proxy: Some(format!("http://user:secret@{address}")), ..elsewhere });
    through.ask("emit exceptions 4");
    assert_eq!(through.ask("flush 20000")["ok"], true);
    assert_eq!(exceptions(&world.receiver.received()).len(), 7);
    assert!(seen.load(Ordering::SeqCst) > 0, "the proxy was not used");
    "used when asked for; HTTP_PROXY not heeded".to_owned()
}

/// The least of a forward proxy: one request for each connection, with credentials.
fn forwarder(seen: Arc<AtomicUsize>) -> std::net::SocketAddr {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let mut client = client;
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head).into_owned();
                let Some(rest) = text.strip_prefix("POST http://") else { return };
                let Some((host, rest)) = rest.split_once('/') else { return };
                if !text.to_ascii_lowercase().contains("proxy-authorization: basic") {
                    return;
                }
                seen.fetch_add(1, Ordering::SeqCst);
                let mut server = std::net::TcpStream::connect(host).unwrap();
                write!(server, "POST /{rest}").unwrap();
                let mut back = server.try_clone().unwrap();
                let mut to = client.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut client, &mut server));
                let _ = std::io::copy(&mut back, &mut to);
            });
        }
    });
    address
}
