//! Sending. Comes in: batches that are full or old, what the metrics say. Goes out: encoded
//! requests, to delivery, to standard output, or to nobody.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;

use super::Worker;
use crate::{
    console::exporter,
    export::{SCHEMA_URL, config::Destination},
    ledger::RecordKind,
};

impl Worker {
    pub(super) fn send_due(&mut self) {
        let now = Instant::now();
        let due = |since: &mut Option<Instant>, count: u64, delay: Duration| {
            if count == 0 {
                *since = None;
                return false;
            }
            now.duration_since(*since.get_or_insert(now)) >= delay
        };
        if due(&mut self.since[0], self.exporter.logs.count(), self.parts.config.logs.delay) {
            self.send_logs();
        }
        if due(&mut self.since[1], self.exporter.spans.count(), self.parts.config.spans.delay) {
            self.send_spans();
        }
        // At the end they have been read for the last time.
        let is_ending = self.flushes.iter().any(|flush| flush.last && flush.watermark.is_some());
        if now >= self.next_metrics && !is_ending {
            self.next_metrics = now + self.parts.config.metric_interval;
            self.send_metrics();
        }
    }

    pub(super) fn send_all(&mut self) {
        self.send_logs();
        self.send_spans();
        self.send_metrics();
    }

    pub(super) fn send_logs(&mut self) {
        let count = self.exporter.logs.count();
        if count > 0 {
            self.since[0] = None;
            let missing = self.overload.missing(0, self.link.ledger.left_out(), count);
            let request = self.exporter.logs.request(&self.of_resource, SCHEMA_URL, missing);
            self.send(RecordKind::Logs, count, request, exporter::print_logs);
        }
    }

    pub(super) fn send_spans(&mut self) {
        let count = self.exporter.spans.count();
        if count > 0 {
            self.since[1] = None;
            let missing = self.overload.missing(1, self.link.ledger.left_out(), count);
            let request = self.exporter.spans.request(&self.of_resource, SCHEMA_URL, missing);
            self.send(RecordKind::Spans, count, request, exporter::print_spans);
        }
    }

    fn send_metrics(&mut self) {
        if let Some((count, request)) = self.core.meters.collect(&self.resource, SCHEMA_URL) {
            self.link.ledger.accepted(RecordKind::Metrics, count);
            self.send(RecordKind::Metrics, count, request.encode_to_vec().into(), exporter::print_metrics);
        }
    }

    pub(super) fn send<T: Message + Default>(&self, signal: RecordKind, count: u64, request: Bytes, print: impl FnOnce(&T)) {
        #[cfg(feature = "testing")]
        if let Some(sink) = &self.parts.sink {
            sink.request(signal, request);
            return self.link.ledger.delivered(signal, count);
        }
        match self.parts.config.destination(signal) {
            Destination::Otlp(_) => self.delivery.submit(signal, request, count, None),
            Destination::Console => {
                print(&decoded(request));
                self.link.ledger.delivered(signal, count);
            }
            Destination::Nowhere => self.link.ledger.delivered(signal, count),
        }
    }
}

/// What is shown, not sent.
fn decoded<T: Message + Default>(request: Bytes) -> T {
    T::decode(request).unwrap_or_default()
}
