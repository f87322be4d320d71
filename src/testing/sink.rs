//! Where a captured scope's worker puts what it would send.

use std::sync::Mutex;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

use super::view::{Collected, Log, Metric, Span};
use crate::{Exception, ledger::RecordKind, lock::lock};

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct Sink(Mutex<Collected>);

impl Sink {
    pub(crate) fn exception(&self, exception: Exception) {
        self.with(|captured| captured.exceptions.push(exception));
    }

    /// A request as it would be sent. Exceptions come [as such](Self::exception).
    pub(crate) fn request(&self, signal: RecordKind, request: Bytes) {
        match signal {
            RecordKind::Exceptions => {}
            RecordKind::Logs => self.logs(Message::decode(request).unwrap_or_default()),
            RecordKind::Spans => self.spans(Message::decode(request).unwrap_or_default()),
            RecordKind::Metrics => self.metrics(Message::decode(request).unwrap_or_default()),
        }
    }

    fn logs(&self, request: ExportLogsServiceRequest) {
        let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let logs = scopes.flat_map(|scope| {
            let target = scope.scope.unwrap_or_default().name;
            scope.log_records.into_iter().map(move |record| Log::new(target.clone(), record))
        });
        self.with(|captured| captured.logs.extend(logs));
    }

    fn spans(&self, request: ExportTraceServiceRequest) {
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.with(|captured| captured.spans.extend(scopes.flat_map(|scope| scope.spans).map(Span::new)));
    }

    fn metrics(&self, request: ExportMetricsServiceRequest) {
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        // The last reading says all there is.
        let metrics = scopes.flat_map(|scope| scope.metrics).map(Metric::new).collect();
        self.with(|captured| captured.metrics = metrics);
    }

    pub(super) fn take(&self) -> Collected {
        let mut captured = self.with(std::mem::take);
        captured.sort();
        captured
    }

    fn with<T>(&self, change: impl FnOnce(&mut Collected) -> T) -> T {
        change(&mut lock(&self.0))
    }
}
