//! Records of one signal on their way into one request, grouped by instrumentation scope and
//! counted in bytes.
//!
//! A record is encoded as soon as it is read, while it is in the cache: a batch is bytes. Protobuf
//! allows that: a message may be written in parts, one after the other, and their repeated fields
//! are joined.

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

use super::{
    spares::Spares,
    value,
    wire::{bytes, bytes_key, bytes_len, varint},
};
use crate::delivery::MAX_BYTES;

/// Memory of records that the scopes of a batch keep at most, all together. More than twice a
/// batch.
const MAX_SPARE: usize = 3 * MAX_BYTES;

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
    /// Those of the program's targets, in the order in which they were met.
    scopes: Vec<Scope>,
    known: HashMap<&'static str, usize>,
    /// Names that are made up as it goes.
    others: HashMap<String, Scope>,
    count: u64,
    bytes: usize,
    /// Holds one record: the next, or the one before.
    part: T::Part,
    spares: Spares,
}

/// Of one instrumentation scope: what is said of it, and its records.
struct Scope {
    name: Cow<'static, str>,
    head: Vec<u8>,
    /// What the head says of records that are missing.
    missing: Option<f64>,
    records: Vec<u8>,
}

impl Scope {
    fn new(name: Cow<'static, str>) -> Self {
        let mut scope = Self { name, head: Vec::new(), missing: None, records: Vec::new() };
        scope.set_head(None);
        scope
    }

    fn set_head(&mut self, missing: Option<f64>) {
        let attributes = missing.map(|missing| value::attribute(super::common::LEFT_OUT, value::double(missing))).into_iter().collect();
        let scope = InstrumentationScope { name: self.name.to_string(), attributes, ..Default::default() };
        self.head.clear();
        // The same field of logs and of spans. Fails where there is no room: a `Vec` grows.
        let _ = ScopeLogs { scope: Some(scope), ..Default::default() }.encode(&mut self.head);
        self.missing = missing;
    }

    /// Of its part of a request.
    fn len(&self) -> usize {
        self.head.len() + self.records.len()
    }
}

impl<T: InScope + Default> Default for Batch<T> {
    fn default() -> Self {
        Self {
            scopes: Vec::new(),
            known: HashMap::new(),
            others: HashMap::new(),
            count: 0,
            bytes: 0,
            part: T::part(None, vec![T::default()]),
            spares: Spares::default(),
        }
    }
}

impl<T: InScope> Batch<T> {
    /// The place of a scope, for [`write`](Self::write).
    pub(crate) fn scope(&mut self, name: &'static str) -> usize {
        *self.known.entry(name).or_insert_with(|| {
            self.scopes.push(Scope::new(Cow::Borrowed(name)));
            self.scopes.len() - 1
        })
    }

    /// Takes a record that is written where it is to stay: a field of its scope's part. `None`:
    /// none was written.
    #[inline]
    pub(crate) fn write(&mut self, scope: usize, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) -> Option<()> {
        let records = &mut self.scopes.get_mut(scope)?.records;
        let mut whole = Whole { sound: records.len(), records };
        write(whole.records)?;
        self.bytes += whole.records.len() - whole.sound;
        whole.sound = whole.records.len();
        self.count += 1;
        Some(())
    }

    /// Where the next record is made. It holds what the one before was: memory to be used again.
    pub(crate) fn next(&mut self) -> &mut T {
        &mut T::records(&mut self.part)[0]
    }

    /// Takes the record that was made.
    pub(crate) fn push(&mut self, scope: Cow<'static, str>) {
        let records = match scope {
            Cow::Borrowed(name) => {
                let place = self.scope(name);
                &mut self.scopes[place].records
            }
            Cow::Owned(name) => match self.known.get(&*name) {
                Some(place) => &mut self.scopes[*place].records,
                None => &mut self.others.entry(name).or_insert_with_key(|name| Scope::new(Cow::Owned(name.clone()))).records,
            },
        };
        let before = records.len();
        // Fails where there is no room: a `Vec` grows.
        let _ = self.part.encode(records);
        self.bytes += records.len() - before;
        self.count += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn is_full(&self, max_count: u64) -> bool {
        self.count >= max_count || self.bytes >= MAX_BYTES
    }

    /// Everything in it as an encoded request of this encoded resource, which says the share of
    /// records that is `missing` beside them. Its memory is used again when it has been sent.
    pub(crate) fn request(&mut self, resource: &[u8], schema_url: &str, missing: Option<f64>) -> Bytes {
        (self.count, self.bytes) = (0, 0);
        let outdated = |scope: &&mut Scope| !scope.records.is_empty() && scope.missing != missing;
        self.scopes.iter_mut().chain(self.others.values_mut()).filter(outdated).for_each(|scope| scope.set_head(missing));
        let parts = || self.scopes.iter().chain(self.others.values()).filter(|scope| !scope.records.is_empty());
        let length = bytes_len(resource.len()) + parts().map(|part| bytes_len(part.len())).sum::<usize>() + bytes_len(schema_url.len());
        let mut request = self.spares.take(bytes_len(length));
        // The only one of its resources: its length, and a part for each scope.
        request.push(bytes_key(1));
        varint(&mut request, length as u64);
        bytes(&mut request, bytes_key(1), resource);
        for part in parts() {
            request.push(bytes_key(2));
            varint(&mut request, part.len() as u64);
            request.extend_from_slice(&part.head);
            request.extend_from_slice(&part.records);
        }
        bytes(&mut request, bytes_key(3), schema_url.as_bytes());
        // Their memory stays for the next batch: a service logs from the same places again. Where all
        // together keep too much, each is cut to twice what it has just had.
        let spare: usize = self.scopes.iter().map(|scope| scope.records.capacity()).sum();
        for scope in &mut self.scopes {
            let held = scope.records.len();
            scope.records.clear();
            if spare > MAX_SPARE {
                scope.records.shrink_to(2 * held);
            }
        }
        self.others.clear();
        self.spares.lend(request)
    }

    /// Frees what has not been needed since this was last asked for.
    pub(crate) fn give_back(&mut self) {
        if self.spares.give_back() && self.count == 0 {
            self.scopes.iter_mut().for_each(|scope| scope.records = Vec::new());
        }
    }
}

/// Of a record that was begun and is not finished, nothing stays.
struct Whole<'a> {
    records: &'a mut Vec<u8>,
    sound: usize,
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        self.records.truncate(self.sound);
    }
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
        let encoded = resource.encode_to_vec();
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

            let request = ExportTraceServiceRequest::decode(spans.request(&encoded, "schema", None)).unwrap();
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

            let missing = (round == 1).then_some(0.25);
            let request = ExportLogsServiceRequest::decode(logs.request(&encoded, "schema", missing)).unwrap();
            let of_scope = request.resource_logs[0].scope_logs[0].scope.as_ref().unwrap();
            let said: Vec<_> = of_scope.attributes.iter().map(|said| (&*said.key, said.value.clone().unwrap())).collect();
            assert_eq!(
                said,
                missing.map(|missing| (crate::export::common::LEFT_OUT, value::double(missing))).into_iter().collect::<Vec<_>>()
            );
            assert!(spans.scopes.len() == 1 && spans.others.is_empty(), "of scopes with made-up names nothing is kept");
            let times: Vec<u64> = request.resource_logs[0].scope_logs[0].log_records.iter().map(|log| log.time_unix_nano).collect();
            assert_eq!(times, (0..100).map(|number| round * 1_000 + number).collect::<Vec<_>>());
        }
    }

    /// Report 15: its memory is bounded where each of many scopes fills a batch in turn.
    #[test]
    fn what_many_scopes_once_needed_is_not_kept_for_all() {
        const NAMES: [&str; 26] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y",
            "z",
        ];
        let mut logs = Batch::<LogRecord>::default();
        for round in 0..4 {
            for name in NAMES {
                let scope = logs.scope(name);
                while !logs.is_full(u64::MAX) {
                    logs.write(scope, |out| {
                        out.extend_from_slice(&[7; 1_000]);
                        Some(())
                    });
                }
                let _ = logs.request(&[], "", None);
                let spare: usize = logs.scopes.iter().map(|scope| scope.records.capacity()).sum();
                assert!(spare <= MAX_SPARE, "{spare} bytes, round {round}, {name}");
            }
        }
    }
}
