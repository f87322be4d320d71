//! The worker's side: records become OpenTelemetry. Comes in: records and drafts. Goes out: encoded
//! requests, to delivery.
//!
//! Most logs and spans are written as OTLP straight from their records ([`direct`]); what is rarer
//! becomes messages of `opentelemetry-proto` first. There are no SDK objects in between;
//! `docs/ARCHITECTURE.md` says why.

mod attributes;
mod batch;
mod breadcrumbs;
mod callsites;
mod common;
pub(crate) mod config;
mod cpu_share;
mod direct;
mod exception;
mod exception_record;
mod log;
mod outage;
mod overload;
pub(crate) mod resource;
mod span;
mod span_events;
mod spares;
mod symbol_queue;
pub(crate) mod thread;
mod timestamp;
mod value;
mod wire;
pub(crate) mod worker;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, logs::v1::LogRecord, resource::v1::Resource, trace::v1::Span,
};
use prost::Message;

pub(crate) use self::span::SpanLimits;
use self::{attributes::Attributes, batch::Batch, callsites::Callsites, direct::Site, exception::Names, span_events::SpanEvents};

use crate::{
    Exception,
    clock::now,
    delivery::Outage,
    exception::Draft,
    hooks::{self, Hooks},
    ledger::{LossReason, RecordKind},
    spool::{Ticket, Writer},
    stack::{
        in_app::OwnCrates,
        resolve::{ModuleMap, Resolver},
    },
    state::Core,
    trail::{
        callsite::Callsite,
        record::{Kind, NO_CALLSITE, Record, records},
    },
};

/// The version of the semantic conventions whose keys are emitted.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// Records in one go.
const RUN: usize = 64;

/// Turns records into batches.
pub(crate) struct Exporter {
    core: Arc<Core>,
    callsites: Callsites,
    own: OwnCrates,
    /// `None` while it is at work elsewhere.
    resolver: Option<Resolver>,
    span_limits: SpanLimits,
    span_events: SpanEvents,
    modules: Arc<ModuleMap>,
    hooks: Hooks,
    #[cfg(feature = "console")]
    pub(crate) printer: Option<crate::console::Printer>,
    #[cfg(feature = "testing")]
    shares_names: bool,
    attributes: Attributes,
    sites: Sites,
    /// It was said that trails have too little memory.
    told_starved: bool,
    pub(crate) logs: Batch<LogRecord>,
    pub(crate) spans: Batch<Span>,
}

impl Exporter {
    pub(crate) fn new(
        core: Arc<Core>,
        own: OwnCrates,
        modules: Arc<ModuleMap>,
        hooks: Hooks,
        span_limits: SpanLimits,
        exception_span_events: bool,
    ) -> Self {
        Self {
            callsites: Callsites::new(core.clone()),
            core,
            resolver: Some(Resolver::new(own.clone())),
            own,
            span_limits,
            span_events: SpanEvents::new(exception_span_events),
            modules,
            hooks,
            #[cfg(feature = "console")]
            printer: None,
            #[cfg(feature = "testing")]
            shares_names: false,
            attributes: Attributes::default(),
            sites: Sites::default(),
            told_starved: false,
            logs: Batch::default(),
            spans: Batch::default(),
        }
    }

    /// An exception, with names where they are known, and bare where the resolver is away. It is
    /// made before the spans that carry it.
    ///
    /// # Errors
    /// Why it is not to be sent.
    pub(crate) fn exception(&mut self, draft: &Draft, named: bool) -> Result<Exception, LossReason> {
        let mut exception = self.model(draft, named);
        let cleaned = if draft.unfinished { hooks::finish_scrubbing(&mut exception, &self.core.scrubber) } else { Ok(()) };
        let outcome = cleaned.and_then(|()| self.hooks.apply(&mut exception));
        let labels = exception::labels(&exception);
        if !draft.lean {
            self.core.storm.name(draft.slot, labels.clone());
        }
        self.core.storm.count_made(labels);
        match outcome {
            Ok(()) => {
                #[cfg(feature = "console")]
                if let Some(printer) = self.printer {
                    printer.print(&exception);
                }
                Ok(exception)
            }
            Err(reason) => {
                self.span_events.forget(draft.id);
                self.core.has_dropped(draft.id);
                Err(reason)
            }
        }
    }

    /// A first form, for the case that the last is never made: it says nothing that a hook might
    /// take out.
    pub(crate) fn first_form(&mut self, draft: &Draft, resource: &Resource) -> ExportLogsServiceRequest {
        let mut exception = self.model(draft, false);
        if draft.unfinished || !self.hooks.is_empty() {
            exception.withhold();
        }
        self.request(&exception, resource)
    }

    /// Its request. Spans that close from now on carry the exception in this form.
    pub(crate) fn request(&mut self, exception: &Exception, resource: &Resource) -> ExportLogsServiceRequest {
        let exported = exception_record::from_exception(exception, now());
        self.span_events.remember(exception.id, exported.span_event);
        batch::single(exported.scope, exported.record, resource, SCHEMA_URL)
    }

    fn model(&mut self, draft: &Draft, named: bool) -> Exception {
        let names = match &mut self.resolver {
            Some(resolver) if named => Names::Resolved(resolver),
            _ => Names::Bare(&self.modules),
        };
        let mut exception = exception::from_draft(draft, &mut self.callsites, names, &self.own);
        // Without a stack it is grouped as those were that had one.
        if draft.lean
            && let Some(labels) = self.core.storm.labels(draft.slot)
        {
            exception.regroup(&labels);
        }
        exception
    }

    /// The resolver is back; or gone, and there is a new one.
    pub(crate) fn resolver_returns(&mut self, resolver: Option<Resolver>) {
        if resolver.is_none() {
            self.core.fault("naming frames");
        }
        self.resolver = Some(resolver.unwrap_or_else(|| Resolver::new(self.own.clone())));
    }

    /// Works for a test: debug information that others have read is not read again.
    #[cfg(feature = "testing")]
    pub(crate) fn share_names(&mut self) {
        self.resolver = Some(Resolver::left_by_another(&self.own));
        self.shares_names = true;
    }

    /// Says, as a log record, what an outage has cost.
    pub(crate) fn outage(&mut self, outage: &Outage) {
        *self.logs.next() = outage::record(outage, now());
        self.logs.push("crumbtrail".into());
    }

    /// Takes a run of records from the outboxes, up to where a batch is full; returns what is left.
    /// One that `hold` takes is not looked at. A panic on the way is ours: it costs the record it
    /// met, and is counted.
    pub(crate) fn records<'a>(
        &mut self,
        bytes: &'a [u8],
        observed: u64,
        [max_logs, max_spans]: [u64; 2],
        mut hold: impl FnMut(&Record<'_>) -> bool,
    ) -> &'a [u8] {
        let (mut rest, mut accepted) = (bytes, [0, 0]);
        for record in records(bytes).take(RUN) {
            rest = &rest[record.as_bytes().len()..];
            if hold(&record) {
                continue;
            }
            let signal = if record.kind == Kind::Span { RecordKind::Spans } else { RecordKind::Logs };
            accepted[usize::from(signal == RecordKind::Spans)] += 1;
            if !catch_unwind(AssertUnwindSafe(|| self.record(&record, observed))).unwrap_or(false) {
                self.core.ledger().lost(signal, LossReason::InternalError, 1);
            }
            if self.logs.is_full(max_logs) || self.spans.is_full(max_spans) {
                break;
            }
        }
        self.core.ledger().accepted(RecordKind::Logs, accepted[0]);
        self.core.ledger().accepted(RecordKind::Spans, accepted[1]);
        rest
    }

    /// `false`: nothing can be made of it.
    fn record(&mut self, record: &Record<'_>, observed: u64) -> bool {
        self.write(record, observed).is_some() || self.make(record, observed)
    }

    /// `None`: it is not as most are.
    #[inline]
    fn write(&mut self, record: &Record<'_>, observed: u64) -> Option<()> {
        let index = record.callsite as usize;
        if matches!(self.sites.0.get(index), None | Some(Known::Unmet)) {
            self.meet(record)?;
        }
        let Known::Direct(known) = self.sites.0.get(index)? else { return None };
        match record.kind {
            Kind::Event => self.logs.write(known.scope, |out| direct::write_log(record, known, observed, out)),
            Kind::Span => self.spans.write(known.scope, |out| direct::write_span(record, known, out)),
            Kind::SpanOpen | Kind::SpanClose | Kind::Crumb => None,
        }
    }

    /// The first record of a callsite: what all of them have in common is encoded.
    #[cold]
    fn meet(&mut self, record: &Record<'_>) -> Option<()> {
        let site = self.callsites.get(record.callsite)?;
        let known = match record.kind {
            Kind::Event => Site::new(&site, record.kind, self.core.config.event_limits.fields, |target| self.logs.scope(target)),
            Kind::Span => Site::new(&site, record.kind, self.core.config.span_limits.fields, |target| self.spans.scope(target)),
            Kind::SpanOpen | Kind::SpanClose | Kind::Crumb => None,
        };
        let index = record.callsite as usize;
        if self.sites.0.len() <= index {
            self.sites.0.resize_with(index + 1, || Known::Unmet);
        }
        self.sites.0[index] = known.map_or(Known::ByMessage, Known::Direct);
        Some(())
    }

    /// By messages. `false`: nothing can be made of it.
    fn make(&mut self, record: &Record<'_>, observed: u64) -> bool {
        let known = self.callsites.get(record.callsite);
        let Some(site) = known.or_else(|| (record.callsite == NO_CALLSITE).then(|| Arc::new(Callsite::none()))) else { return false };
        match record.kind {
            Kind::Event => {
                let scope =
                    log::from_event(record, &site, observed, self.core.config.event_limits.fields, &mut self.attributes, self.logs.next());
                self.logs.push(scope);
            }
            Kind::Span => {
                let scope = span::from_record(
                    record,
                    &site,
                    (self.span_limits, &self.span_events),
                    self.core.config.span_limits.fields,
                    &mut self.attributes,
                    self.spans.next(),
                );
                self.spans.push(scope);
            }
            Kind::SpanOpen | Kind::SpanClose | Kind::Crumb => return false,
        }
        true
    }

    /// What is to be done on every turn.
    pub(crate) fn tidy(&self) {
        self.core.other_api.iter().for_each(|other| other.sweep());
    }

    /// What is to be done now and then.
    pub(crate) fn housekeeping(&mut self) {
        self.logs.give_back();
        self.spans.give_back();
        self.resolver.iter_mut().for_each(Resolver::sweep);
        if !self.told_starved && self.core.pool.starved() > 0 {
            self.told_starved = true;
            crate::diagnose(format_args!(
                "more requests are open than the memory of their breadcrumbs holds, so some exceptions have few or none; Builder::with_trail_memory gives more"
            ));
        }
    }
}

#[cfg(feature = "testing")]
impl Drop for Exporter {
    fn drop(&mut self) {
        if self.shares_names {
            self.resolver.take().into_iter().for_each(Resolver::leave);
        }
    }
}

/// Writes an exception to disk from the thread it happened on, for the case that the process does
/// not live to send it. Runs in the panic hook: no file is read, no user code runs, nothing can
/// panic. So hooks cannot see it, and where there are any it says no more than which defect it is.
pub(crate) fn spool_at_once(core: &Arc<Core>, resource: &Resource, at_once: &AtOnce, spool: &Writer, draft: &Draft) -> Option<Ticket> {
    let mut callsites = Callsites::new(core.clone());
    let mut exception = exception::from_draft(draft, &mut callsites, Names::Bare(&at_once.modules), &at_once.own);
    if draft.unfinished || at_once.withholds {
        exception.withhold();
    }
    let exported = exception_record::from_exception(&exception, now());
    spool.append(&batch::single(exported.scope, exported.record, resource, SCHEMA_URL).encode_to_vec())
}

/// What [`spool_at_once`] knows beforehand.
pub(crate) struct AtOnce {
    pub(crate) modules: Arc<ModuleMap>,
    pub(crate) own: OwnCrates,
    /// Hooks would have to see it first.
    pub(crate) withholds: bool,
}

/// What is known of callsites, by id.
#[derive(Default)]
struct Sites(Vec<Known>);

enum Known {
    /// No record of it has come.
    Unmet,
    Direct(Site),
    /// Its records are encoded by way of messages.
    ByMessage,
}

#[cfg(test)]
mod tests;
