//! A receiver that counts records and says thanks. It reads no further than it must for that: what
//! it takes of the machine is not the contenders'.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::Router;
use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Runs as long as this process.
pub(super) struct Sink {
    endpoint: String,
    records: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start() -> Self {
        Self::of(None)
    }

    /// One that takes so many records a second: who sends more waits for its answers.
    pub(super) fn slow(records: u32) -> Self {
        Self::of(Some(Duration::from_secs(1) / records))
    }

    fn of(each: Option<Duration>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("bound");
        let records = Arc::new(AtomicU64::new(0));
        let counted = records.clone();
        let free_at = Arc::new(Mutex::new(Instant::now()));
        std::thread::spawn(move || {
            let router = Router::new().fallback(move |uri: axum::http::Uri, body: Bytes| {
                // Metrics are not what is compared. A request that is compressed is not looked into, and counts for nothing.
                let records = if uri.path().ends_with("metrics") { 0 } else { count(body, 3) };
                let until = each.map(|each| {
                    let mut free_at = free_at.lock().expect("nobody panicked");
                    *free_at = (*free_at).max(Instant::now()) + each * records as u32;
                    *free_at
                });
                let counted = counted.clone();
                async move {
                    if let Some(until) = until {
                        tokio::time::sleep_until(until.into()).await;
                    }
                    counted.fetch_add(records, Ordering::Relaxed);
                    ([("content-type", "application/x-protobuf")], Vec::<u8>::new())
                }
            });
            runtime.block_on(async { axum::serve(listener, router.layer(axum::extract::DefaultBodyLimit::disable())).await })
        });
        Self { endpoint: format!("http://{address}"), records }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Logs and spans so far.
    pub(super) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

/// A request has its resources as field 1, those their scopes as field 2, those their records as
/// field 2.
fn count(mut message: Bytes, depth: u32) -> u64 {
    let mut found = 0;
    while message.has_remaining() {
        let Ok((tag, wire_type)) = decode_key(&mut message) else { return found };
        if wire_type == WireType::LengthDelimited && tag == (if depth == 3 { 1 } else { 2 }) {
            let Some(length) = decode_varint(&mut message).ok().filter(|length| *length <= message.len() as u64) else { return found };
            let inner = message.split_to(length as usize);
            found += if depth == 1 { 1 } else { count(inner, depth - 1) };
        } else if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_err() {
            return found;
        }
    }
    found
}
