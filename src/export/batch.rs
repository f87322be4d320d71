//! Records of one signal on their way into one request, grouped by instrumentation scope and counted in bytes.
//!
//! A record is encoded as soon as it is made, while it is in the cache, and its memory serves the next one: a batch is bytes. Protobuf allows that: a message may be written in parts, one after the other, and their repeated fields are joined.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::InstrumentationScope,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ScopeSpans, Span},
};
use prost::Message;

/// A request is sent before it grows beyond this, encoded: receivers' limits begin at 4 MiB, backends' at 1 MiB.
pub(crate) const MAX_BYTES: usize = 1_000_000;

/// Room for a batch of a scope is kept for the next one up to this.
const KEEP: usize = 256 * 1024;

/// What can be in a batch.
pub(crate) trait InScope: Sized {
    /// A scope's part of a request with nothing but these records.
    type Part: Message;

    fn part(scope: Option<InstrumentationScope>, records: Vec<Self>) -> Self::Part;

    fn records(part: &mut Self::Part) -> &mut [Self];
}

impl InScope for LogRecord {
    type Part = ScopeLogs;

    fn part(scope: Option<InstrumentationScope>, log_records: Vec<Self>) -> ScopeLogs {
        ScopeLogs { scope, log_records, schema_url: String::new() }
    }

    fn records(part: &mut ScopeLogs) -> &mut [Self] {
        &mut part.log_records
    }
}

impl InScope for Span {
    type Part = ScopeSpans;

    fn part(scope: Option<InstrumentationScope>, spans: Vec<Self>) -> ScopeSpans {
        ScopeSpans { scope, spans, schema_url: String::new() }
    }

    fn records(part: &mut ScopeSpans) -> &mut [Self] {
        &mut part.spans
    }
}

/// Records waiting to be sent.
pub(crate) struct Batch<T: InScope> {
    /// By the scope's name, what was encoded of it.
    scopes: HashMap<Cow<'static, str>, Vec<u8>>,
    count: u64,
    bytes: usize,
    /// Holds one record: the next, or the one before.
    part: T::Part,
}

impl<T: InScope + Default> Default for Batch<T> {
    fn default() -> Self {
        Self { scopes: HashMap::new(), count: 0, bytes: 0, part: T::part(None, vec![T::default()]) }
    }
}

impl<T: InScope> Batch<T> {
    /// Where the next record is made. It holds what the one before was: memory to be used again.
    pub(crate) fn next(&mut self) -> &mut T {
        &mut T::records(&mut self.part)[0]
    }

    /// Takes the record that was made.
    pub(crate) fn push(&mut self, scope: Cow<'static, str>) {
        let encoded = self.scopes.entry(scope).or_default();
        let before = encoded.len();
        // Fails where there is no room: a `Vec` grows.
        let _ = self.part.encode(encoded);
        self.bytes += encoded.len() - before;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn is_full(&self, max_count: u64) -> bool {
        self.count >= max_count || self.bytes >= MAX_BYTES
    }

    /// Everything in it as an encoded request.
    pub(crate) fn request(&mut self, resource: &Resource, schema_url: &str) -> Bytes {
        (self.count, self.bytes) = (0, 0);
        // Scopes stay, empty, until the next request: a service logs from the same places again. But names may be made up as it goes.
        self.scopes.retain(|_, records| !records.is_empty());
        let scopes = self.scopes.iter_mut().map(|(name, records)| {
            let scope = InstrumentationScope { name: name.to_string(), ..Default::default() };
            let mut part = T::part(Some(scope), Vec::new()).encode_to_vec();
            part.append(records);
            records.shrink_to(KEEP);
            part
        });
        let of_resource = Part { resource: Some(resource.clone()), scopes: scopes.collect(), schema_url: schema_url.to_owned() };
        Request { of_resources: vec![of_resource] }.encode_to_vec().into()
    }
}

/// `ExportLogsServiceRequest` and `ExportTraceServiceRequest`, of whose parts all is known but how they are encoded.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    of_resources: Vec<Part>,
}

/// `ResourceLogs` and `ResourceSpans`, whose scopes are encoded already.
#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    scopes: Vec<Vec<u8>>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

/// A request with one log record.
pub(crate) fn single(scope: Cow<'static, str>, record: LogRecord, resource: &Resource, schema_url: &str) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope { name: scope.into_owned(), ..Default::default() };
    let of_scope = LogRecord::part(Some(scope), vec![record]);
    let of_resource = ResourceLogs { resource: Some(resource.clone()), scope_logs: vec![of_scope], schema_url: schema_url.to_owned() };
    ExportLogsServiceRequest { resource_logs: vec![of_resource] }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

    use super::*;

    /// What a receiver reads is what was put in, by scope, in order.
    #[test]
    fn what_was_encoded_in_parts_is_one_request() {
        let resource = Resource { dropped_attributes_count: 7, ..Default::default() };
        let (mut spans, mut logs) = (Batch::<Span>::default(), Batch::<LogRecord>::default());
        for round in 0..3u64 {
            for number in 0..100 {
                let time = round * 1_000 + number;
                let scope = if number % 3 == 0 { "third".into() } else { Cow::Owned(format!("other{}.{round}", number % 3)) };
                *spans.next() = Span { name: "s".repeat(number as usize), start_time_unix_nano: time, ..Default::default() };
                spans.push(scope);
                *logs.next() = LogRecord { time_unix_nano: time, ..Default::default() };
                logs.push("one".into());
            }
            assert_eq!((spans.count(), logs.count(), spans.is_full(100), spans.is_full(101)), (100, 100, true, false));

            let request = ExportTraceServiceRequest::decode(spans.request(&resource, "schema")).unwrap();
            let [of_resource] = &request.resource_spans[..] else { panic!("{request:?}") };
            assert_eq!((of_resource.resource.as_ref(), &*of_resource.schema_url), (Some(&resource), "schema"));
            let mut names: Vec<&str> = of_resource.scope_spans.iter().map(|scope| &*scope.scope.as_ref().unwrap().name).collect();
            names.sort_unstable();
            assert_eq!(names, [&*format!("other1.{round}"), &*format!("other2.{round}"), "third"]);
            for of_scope in &of_resource.scope_spans {
                let times: Vec<u64> = of_scope.spans.iter().map(|span| span.start_time_unix_nano).collect();
                assert!(times.is_sorted() && times.iter().all(|time| time / 1_000 == round), "{times:?}");
                assert!(of_scope.spans.iter().all(|span| span.name.len() as u64 == span.start_time_unix_nano % 1_000));
            }
            assert_eq!(of_resource.scope_spans.iter().map(|scope| scope.spans.len()).sum::<usize>(), 100);

            let request = ExportLogsServiceRequest::decode(logs.request(&resource, "schema")).unwrap();
            assert!(spans.scopes.len() <= 3, "of scopes that are not used any more nothing is kept");
            let times: Vec<u64> = request.resource_logs[0].scope_logs[0].log_records.iter().map(|log| log.time_unix_nano).collect();
            assert_eq!(times, (0..100).map(|number| round * 1_000 + number).collect::<Vec<_>>());
        }
    }
}
