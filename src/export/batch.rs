//! Records of one signal on their way into one request, grouped by instrumentation scope and counted in bytes.

use std::{borrow::Cow, collections::HashMap};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::InstrumentationScope,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;

/// A request is sent before it grows beyond this, encoded: receivers' limits begin at 4 MiB, backends' at 1 MiB.
pub(crate) const MAX_BYTES: usize = 1_000_000;

/// Records waiting to be sent.
pub(crate) struct Batch<T> {
    scopes: HashMap<Cow<'static, str>, Vec<T>>,
    count: u64,
    bytes: usize,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { scopes: HashMap::new(), count: 0, bytes: 0 }
    }
}

impl<T: Message> Batch<T> {
    pub(crate) fn push(&mut self, scope: Cow<'static, str>, record: T) {
        self.bytes += record.encoded_len() + 8;
        self.count += 1;
        self.scopes.entry(scope).or_default().push(record);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn is_full(&self, max_count: u64) -> bool {
        self.count >= max_count || self.bytes >= MAX_BYTES
    }

    /// Scopes stay, empty: a service logs from the same places again.
    fn take(&mut self) -> impl Iterator<Item = (InstrumentationScope, Vec<T>)> + '_ {
        (self.count, self.bytes) = (0, 0);
        self.scopes.retain(|_, records| records.capacity() > 0);
        self.scopes.iter_mut().filter(|(_, records)| !records.is_empty()).map(|(name, records)| {
            let scope = InstrumentationScope { name: name.to_string(), ..Default::default() };
            (scope, std::mem::take(records))
        })
    }
}

impl Batch<LogRecord> {
    /// Everything in it as a request.
    pub(crate) fn request(&mut self, resource: &Resource, schema_url: &str) -> ExportLogsServiceRequest {
        let scope_logs =
            self.take().map(|(scope, log_records)| ScopeLogs { scope: Some(scope), log_records, schema_url: String::new() }).collect();
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource: Some(resource.clone()), scope_logs, schema_url: schema_url.to_owned() }],
        }
    }
}

impl Batch<Span> {
    /// Everything in it as a request.
    pub(crate) fn request(&mut self, resource: &Resource, schema_url: &str) -> ExportTraceServiceRequest {
        let scope_spans = self.take().map(|(scope, spans)| ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }).collect();
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, schema_url: schema_url.to_owned() }],
        }
    }
}

/// A request with one log record.
pub(crate) fn single(scope: Cow<'static, str>, record: LogRecord, resource: &Resource, schema_url: &str) -> ExportLogsServiceRequest {
    let mut batch = Batch::default();
    batch.push(scope, record);
    batch.request(resource, schema_url)
}
