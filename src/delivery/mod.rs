//! Delivery: encoded requests reach the receiver. Comes in: bytes, and how many records they hold.
//! Goes out: HTTP or gRPC requests; lines in the ledger.
//!
//! Each signal has its own [`lane`]: a queue bounded in bytes and one request under way, so that
//! none waits for another. A request is retried with jittered backoff while its records are young;
//! what is given up is counted. With a spool, requests wait on disk.

mod config;
#[cfg(any(feature = "http", feature = "grpc"))]
mod connect;
mod credentials;
mod failure;
#[cfg(feature = "grpc")]
mod grpc;
mod health;
mod host;
#[cfg(feature = "http")]
mod http;
mod lane;
mod queue;
mod retry;
pub(crate) mod tls;
mod transport;

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use tokio::sync::Notify;

pub use self::config::{Compression, Protocol};
pub(crate) use self::{
    config::{LaneConfig, Proxy},
    credentials::Credentials,
    health::Outage,
    host::Host,
    queue::MAX_BYTES,
};
use self::{health::Health, lane::Lane};
use crate::{
    ledger::{LossReason, RecordKind},
    spool::{Adopted, Spool, Ticket},
};

/// The lanes. Lives on the worker's thread.
pub(crate) struct Delivery {
    lanes: [Option<Rc<Lane>>; RecordKind::ALL.len()],
    health: Rc<Health>,
    progress: Rc<Notify>,
    host: Arc<dyn Host>,
}

/// How far each lane had been filled at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watermark([u64; RecordKind::ALL.len()]);

/// Records that were taken in before a watermark and are neither delivered nor lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) all: u64,
    /// Those that are not on disk.
    pub(crate) in_memory: u64,
}

impl Delivery {
    pub(crate) fn new(host: Arc<dyn Host>, lanes: [Option<LaneConfig>; 4], spool: Option<&Spool>) -> Self {
        let progress = Rc::new(Notify::new());
        let health = Rc::new(Health::new(host.clone()));
        let mut index = 0;
        let lanes = lanes.map(|config| {
            let signal = RecordKind::ALL[index];
            index += 1;
            let chain = spool.and_then(|spool| spool.chain(signal));
            Some(Rc::new(Lane::new(signal, config?, chain, host.clone(), health.clone(), progress.clone())))
        });
        let delivery = Self { lanes, health, progress, host };
        delivery.restart();
        delivery
    }

    /// Begins to send; again, if the runtime is another than before.
    pub(crate) fn restart(&self) {
        for lane in self.lanes.iter().flatten() {
            lane.put_back();
            tokio::task::spawn_local(supervise(lane.clone(), self.host.clone()));
        }
    }

    /// Takes a request in. If a queue is full the oldest of it goes, and is counted.
    pub(crate) fn submit(&self, signal: RecordKind, body: Bytes, records: u64, earlier: Option<Ticket>) {
        match &self.lanes[signal as usize] {
            Some(lane) => lane.submit(body, records, earlier),
            None => self.host.ledger().lost(signal, LossReason::InternalError, records),
        }
    }

    /// Writes a first form of a request to disk, ahead of the request itself.
    pub(crate) fn write_ahead(&self, signal: RecordKind, body: &[u8], records: u64) -> Option<Ticket> {
        self.lanes[signal as usize].as_ref()?.write_ahead(body, records)
    }

    /// Takes in a request that is on disk and nowhere else, accepted and counted as spooled.
    pub(crate) fn take_spooled(&self, signal: RecordKind, ticket: Ticket, records: u64) {
        if let Some(lane) = &self.lanes[signal as usize] {
            lane.take_spooled(ticket, records);
        }
    }

    /// Takes in what processes that are gone have left on disk.
    pub(crate) fn recover(&self, spool: &Spool) {
        spool.adopt(&mut |signal, found| match (&self.lanes[signal as usize], found) {
            (Some(lane), Adopted::Request(ticket, records)) => lane.recover(ticket, records),
            (Some(_), Adopted::Damaged(records)) => self.host.ledger().dropped(signal, LossReason::Damaged, records),
            // This process sends no such signal: it stays where it is.
            (None, _) => {}
        });
    }

    /// A lane of logs or spans has as much as it should have of what it can send.
    pub(crate) fn is_full(&self) -> bool {
        [RecordKind::Logs, RecordKind::Spans]
            .into_iter()
            .filter_map(|signal| self.lanes[signal as usize].as_ref())
            .any(|lane| lane.is_full())
    }

    pub(crate) fn watermark(&self) -> Watermark {
        Watermark(self.lanes.each_ref().map(|lane| lane.as_ref().map_or(0, |lane| lane.next_sequence())))
    }

    pub(crate) fn waiting(&self, watermark: &Watermark) -> Waiting {
        let lanes =
            RecordKind::ALL.iter().filter_map(|signal| Some((self.lanes[*signal as usize].as_ref()?, watermark.0[*signal as usize])));
        lanes.fold(Waiting::default(), |sum, (lane, sequence)| {
            let (all, in_memory) = lane.waiting(sequence);
            Waiting { all: sum.all + all, in_memory: sum.in_memory + in_memory }
        })
    }

    /// Something was delivered or lost since the last call.
    pub(crate) async fn progress(&self) {
        self.progress.notified().await;
    }

    /// An outage that has ended and is to be told of.
    pub(crate) fn ended_outage(&self) -> Option<Outage> {
        self.health.ended()
    }

    /// The end: everything that is still here goes to disk, or is counted as lost to the shutdown.
    /// Returns how much was lost.
    pub(crate) fn give_up(&self) -> u64 {
        self.lanes.iter().flatten().map(|lane| lane.give_up()).sum()
    }
}

/// Runs a lane for ever: a panic in it is ours, and ends neither the lane nor the host.
async fn supervise(lane: Rc<Lane>, host: Arc<dyn Host>) {
    loop {
        let running = lane.clone();
        // It returns only by a panic, or when the runtime ends.
        match tokio::task::spawn_local(async move { running.run().await }).await {
            Err(ended) if ended.is_panic() => {}
            _ => return,
        }
        host.fault("sending");
        lane.abandon_load();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
