//! The zeros of the budget: in steady state a request allocates nothing on the caller's thread. The
//! counting allocator is global, so this binary is its own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use tracing::{debug, info, info_span};
use tracing_subscriber::layer::SubscriberExt;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl Fn()) -> u64 {
    // Rings, spares, the Registry's pages and what the first waking of the worker needs are made on first use.
    (0..2_000).for_each(|_| work());
    let before = ALLOCATIONS.get();
    (0..2_000).for_each(|_| work());
    ALLOCATIONS.get() - before
}

fn request() {
    let root = info_span!("request", user.id = 42u64, route = "/cart", late = tracing::field::Empty).entered();
    for step in 0..4u64 {
        let _child = info_span!("step", name = "charge", step, retried = false).entered();
        info!(step, amount = 19.99, currency = "EUR", "charging card");
        debug!(step, "kept in the trail only, {}", step);
    }
    root.record("late", "known");
}

/// Parts of an outbox, each allocated once in a thread's life, when more waits for the worker than
/// ever before.
const PARTS: u64 = 64;

#[test]
fn a_request_allocates_nothing() {
    // Nobody listens: what cannot be sent must not cost the caller either.
    for endpoint in ["http://127.0.0.1:1", "http://127.0.0.1:2"] {
        let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint(endpoint).build().unwrap();
        let on_a_registry = tracing_subscriber::registry().with(telemetry.layer());
        for dispatch in [telemetry.dispatch(), on_a_registry.into()] {
            tracing::dispatcher::with_default(&dispatch, || {
                assert!(allocations(request) <= PARTS, "in 2,000 requests");
                let polled = info_span!("polled");
                assert_eq!(allocations(|| drop(polled.enter())), 0);
            });
        }
        let _ = telemetry.shutdown(std::time::Duration::ZERO);
    }
}

/// Report D3: it was 528 KiB.
#[test]
fn a_thread_that_logs_one_line_takes_little_memory() {
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_endpoint("http://127.0.0.1:3").build().unwrap();
    let dispatch = telemetry.dispatch();
    let bytes_of_a_thread = || {
        let line = || {
            let before = BYTES.get();
            tracing::dispatcher::with_default(&dispatch, || info!("a line"));
            BYTES.get() - before
        };
        std::thread::scope(|scope| scope.spawn(line).join().unwrap())
    };
    let all: Vec<usize> = (0..20).map(|_| bytes_of_a_thread()).collect();
    assert!(all.iter().all(|bytes| *bytes <= 48 << 10), "{all:?}");
    assert!(all.iter().any(|bytes| *bytes > 0), "{all:?}");
    let _ = telemetry.shutdown(std::time::Duration::ZERO);
}
