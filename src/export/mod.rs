//! The worker's side: records become OpenTelemetry. Comes in: records and drafts. Goes out: encoded requests, to delivery.
//!
//! OTLP messages are built straight from the records (`opentelemetry-proto`), one encoding, no intermediate SDK objects; `docs/ARCHITECTURE.md` says why.

mod batch;
mod breadcrumbs;
mod exception;
mod lean;
mod log;
pub(crate) mod resource;
mod span;
mod timestamp;
mod value;
pub(crate) mod worker;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use opentelemetry_proto::tonic::{logs::v1::LogRecord, trace::v1::Span};

pub(crate) use self::span::SpanLimits;
use self::{batch::Batch, lean::LeanEvents};
use crate::{
    clock::now,
    exception::Draft,
    layer::core::Core,
    ledger::{Lost, Signal},
    stack::{in_app::OwnCrates, resolve::Resolver},
    trail::{
        callsite::Callsite,
        record::{Kind, Record, SpanIds, records},
    },
};

/// The version of the semantic conventions whose keys are emitted.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Says that a value of the record was cut on the caller's side.
const TRUNCATED: &str = "crumbtrail.truncated";

/// Turns records into batches.
pub(crate) struct Exporter {
    core: Arc<Core>,
    callsites: Callsites,
    resolver: Resolver,
    span_limits: SpanLimits,
    lean: LeanEvents,
    pub(crate) exceptions: Batch<LogRecord>,
    pub(crate) logs: Batch<LogRecord>,
    pub(crate) spans: Batch<Span>,
}

impl Exporter {
    pub(crate) fn new(core: Arc<Core>, own: OwnCrates, span_limits: SpanLimits, exception_span_events: bool) -> Self {
        Self {
            callsites: Callsites { core: core.clone(), known: HashMap::new() },
            core,
            resolver: Resolver::new(own),
            span_limits,
            lean: LeanEvents::new(exception_span_events),
            exceptions: Batch::default(),
            logs: Batch::default(),
            spans: Batch::default(),
        }
    }

    /// Takes one exception. Before the spans that carry it.
    pub(crate) fn exception(&mut self, draft: &Draft) {
        self.core.ledger.accepted(Signal::Exceptions, 1);
        let exported = exception::from_draft(draft, &mut self.callsites, &mut self.resolver, now());
        self.lean.remember(draft.id, exported.lean);
        self.exceptions.push(exported.scope, exported.record);
    }

    /// Takes a run of records from the outboxes, up to where a batch is full; returns what is left. A panic on the way is ours: it costs the record it met, and is counted.
    pub(crate) fn records<'a>(&mut self, bytes: &'a [u8], observed: u64, max_batch: &[u64; 2]) -> &'a [u8] {
        let mut rest = bytes;
        for record in records(bytes) {
            rest = &rest[record.as_bytes().len()..];
            let signal = if record.kind == Kind::Span { Signal::Spans } else { Signal::Logs };
            self.core.ledger.accepted(signal, 1);
            if !catch_unwind(AssertUnwindSafe(|| self.record(&record, observed))).unwrap_or(false) {
                self.core.ledger.lost(signal, Lost::InternalError, 1);
            }
            if self.logs.is_full(max_batch[0]) || self.spans.is_full(max_batch[1]) {
                break;
            }
        }
        rest
    }

    /// `false`: nothing can be made of it.
    fn record(&mut self, record: &Record<'_>, observed: u64) -> bool {
        let Some(site) = self.callsites.get(record.callsite) else { return false };
        match record.kind {
            Kind::Event => {
                let (scope, log) = log::from_event(record, &site, observed);
                self.logs.push(scope, log);
            }
            Kind::Span => {
                let (scope, span) = span::from_record(record, &site, self.span_limits, &self.lean);
                self.spans.push(scope, span);
            }
            Kind::SpanOpen | Kind::SpanClose => return false,
        }
        true
    }

    /// What is to be done now and then.
    pub(crate) fn housekeeping(&mut self) {
        self.resolver.sweep();
    }
}

/// The worker's copy of the callsite table.
pub(crate) struct Callsites {
    core: Arc<Core>,
    known: HashMap<u32, Arc<Callsite>>,
}

impl Callsites {
    fn get(&mut self, id: u32) -> Option<Arc<Callsite>> {
        if let Some(known) = self.known.get(&id) {
            return Some(known.clone());
        }
        let site = self.core.callsites.by_id(id)?;
        self.known.insert(id, site.clone());
        Some(site)
    }
}

/// Trace and span id as OTLP has them: big-endian, empty where there is none.
fn wire_ids(ids: SpanIds) -> (Vec<u8>, Vec<u8>) {
    if ids.trace == 0 || ids.span == 0 {
        return (Vec::new(), Vec::new());
    }
    (ids.trace.to_be_bytes().to_vec(), ids.span.to_be_bytes().to_vec())
}
