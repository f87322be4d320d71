//! A request in two: for receivers that refuse one for its size or for what one record of it holds.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use prost::Message;

/// An encoded request, and how many records it holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) body: Bytes,
    pub(crate) records: u64,
}

/// Two requests with the records of one, in order. `None`: there is nothing to divide.
pub(crate) fn split(signal: RecordKind, piece: &Piece) -> Option<[Piece; 2]> {
    if piece.records < 2 {
        return None;
    }
    let body = &*piece.body;
    match signal {
        RecordKind::Exceptions | RecordKind::Logs => {
            halves!(ExportLogsServiceRequest::decode(body), resource_logs, scope_logs, log_records, |_: &_| 1)
        }
        RecordKind::Spans => halves!(ExportTraceServiceRequest::decode(body), resource_spans, scope_spans, spans, |_: &_| 1),
        // A metric's points stay together.
        RecordKind::Metrics => halves!(ExportMetricsServiceRequest::decode(body), resource_metrics, scope_metrics, metrics, data_points),
    }
}

/// The three requests differ in the names of their fields only.
macro_rules! halves {
    ($request:expr, $resources:ident, $scopes:ident, $items:ident, $records:expr) => {{
        let mut left = $request.ok()?;
        let items: usize = left.$resources.iter().flat_map(|of| &of.$scopes).map(|scope| scope.$items.len()).sum();
        if items < 2 {
            return None;
        }
        let mut right = left.clone();
        let mut cut = Cut(items / 2);
        for (left, right) in left.$resources.iter_mut().zip(&mut right.$resources) {
            for (left, right) in left.$scopes.iter_mut().zip(&mut right.$scopes) {
                cut.divide(&mut left.$items, &mut right.$items);
            }
        }
        Some([left, right].map(|mut half| {
            half.$resources.iter_mut().for_each(|of| of.$scopes.retain(|scope| !scope.$items.is_empty()));
            half.$resources.retain(|of| !of.$scopes.is_empty());
            let items = half.$resources.iter().flat_map(|of| &of.$scopes).flat_map(|scope| &scope.$items);
            Piece { records: items.map($records).sum::<u64>(), body: half.encode_to_vec().into() }
        }))
    }};
}
use crate::{ledger::RecordKind, otlp::data_points};
use halves;

/// How many items are still to go to the left half.
struct Cut(usize);

impl Cut {
    /// `left` and `right` hold the same items; each keeps its part.
    fn divide<T>(&mut self, left: &mut Vec<T>, right: &mut Vec<T>) {
        let at = self.0.min(left.len());
        self.0 -= at;
        left.truncate(at);
        right.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use proptest::prelude::*;

    fn request(resources: &[Vec<usize>]) -> ExportLogsServiceRequest {
        let mut time = 0;
        let mut log_records = |count: &usize| {
            (0..*count)
                .map(|_| {
                    time += 1;
                    LogRecord { time_unix_nano: time, ..Default::default() }
                })
                .collect()
        };
        let mut scope = |count| ScopeLogs { log_records: log_records(count), ..Default::default() };
        let resource_logs = resources
            .iter()
            .map(|scopes| ResourceLogs { scope_logs: scopes.iter().map(&mut scope).collect(), ..Default::default() })
            .collect();
        ExportLogsServiceRequest { resource_logs }
    }

    fn times(body: &[u8]) -> Vec<u64> {
        let request = ExportLogsServiceRequest::decode(body).unwrap();
        let records = request.resource_logs.iter().flat_map(|of| &of.scope_logs).flat_map(|scope| &scope.log_records);
        records.map(|record| record.time_unix_nano).collect()
    }

    proptest! {
        #[test]
        fn the_halves_are_the_whole(resources in proptest::collection::vec(proptest::collection::vec(0usize..5, 0..4), 0..4)) {
            let request = request(&resources);
            let records = times(&request.encode_to_vec()).len() as u64;
            let piece = Piece { body: request.encode_to_vec().into(), records };
            match split(RecordKind::Logs, &piece) {
                None => prop_assert!(records < 2),
                Some([left, right]) => {
                    prop_assert!(left.records.abs_diff(right.records) <= 1);
                    for half in [&left, &right] {
                        prop_assert_eq!(times(&half.body).len() as u64, half.records);
                    }
                    prop_assert_eq!([times(&left.body), times(&right.body)].concat(), times(&piece.body));
                }
            }
        }
    }
}
