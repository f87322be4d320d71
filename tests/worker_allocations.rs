//! Report 15: the worker allocates for requests, not for records. The counting allocator is global,
//! so this binary is its own, and has one test.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tracing::{info, info_span};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The test's own threads.
    static IS_OURS: Cell<bool> = const { Cell::new(false) };
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_OURS.try_with(Cell::get).unwrap_or(true) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads requests and says thanks to each; its address.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        IS_OURS.set(true);
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            std::thread::spawn(move || {
                IS_OURS.set(true);
                let (mut reader, mut writer, mut line, mut body) =
                    (BufReader::new(stream.try_clone().expect("cloned")), stream, String::new(), Vec::new());
                loop {
                    let mut length = 0;
                    loop {
                        line.clear();
                        if reader.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        match line.trim().split_once(": ") {
                            Some(("content-length", value)) => length = value.parse().expect("a length"),
                            None if line.trim().is_empty() => break,
                            _ => {}
                        }
                    }
                    body.resize(length, 0);
                    reader.read_exact(&mut body).expect("a body");
                    writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("answered");
                }
            });
        }
    });
    format!("http://{address}")
}

fn request() {
    let _root = info_span!("request", user.id = 42u64, otel.kind = "server", route = "/cart").entered();
    for step in 0..4u64 {
        let _child = info_span!("step", name = "charge", step).entered();
        info!(step, amount = 19.99, currency = "EUR", retried = false, "charging card");
    }
}

#[test]
fn the_worker_allocates_nothing_for_a_record() {
    IS_OURS.set(true);
    const REQUESTS: u64 = 20_000;
    const RECORDS: u64 = REQUESTS * 9;
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint(receiver()).build().expect("telemetry");
    tracing::dispatcher::with_default(&telemetry.dispatch(), || {
        let run = || {
            for batch in 0..REQUESTS {
                request();
                // Whatever the machine, all of it is to be sent.
                if batch % 400 == 399 {
                    telemetry.flush(Duration::from_secs(60)).expect("delivered");
                }
            }
        };
        run();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run();
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        // Two requests for each flush, which hyper allocates for, and one for each metric.
        assert!(allocations * 10 < RECORDS, "{allocations} for {RECORDS} records");
        println!("{allocations} allocations for {RECORDS} records");
    });
    let stats = telemetry.stats();
    for signal in [crumbtrail::stats::RecordKind::Logs, crumbtrail::stats::RecordKind::Spans] {
        assert_eq!(stats.of(signal).lost(), 0, "{stats}");
    }
}
