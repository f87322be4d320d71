//! Either way a record becomes the same.

use opentelemetry_proto::tonic::{
    logs::v1::ScopeLogs,
    trace::v1::{ScopeSpans, Span},
};
use proptest::prelude::*;
use tracing_core::Level;

use super::*;
use crate::{
    export::{attributes::Attributes, lean::LeanEvents, span::SpanLimits},
    trail::{
        encode::{Encoder, Limits},
        record::{append_u64, flag, seal, stamp_ids},
    },
};

const NAMES: [&str; 13] = [
    "message",
    "a",
    "a.b",
    "user.id",
    "otel.name",
    "otel.kind",
    "otel.status_code",
    "otel.status_message",
    "code.line.number",
    "log.target",
    "\u{1f525}",
    "",
    "x",
];

/// Callsites of which now and then two fields have one name.
fn callsites() -> impl Strategy<Value = Callsite> {
    let level = prop_oneof![Just(Level::TRACE), Just(Level::DEBUG), Just(Level::INFO), Just(Level::WARN), Just(Level::ERROR)];
    let name = prop_oneof![Just("request"), Just("event src/main.rs:7"), Just("device.app.lifecycle"), Just("")];
    let fields = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 0..8);
    (name, level, fields, any::<bool>(), 0u32..300).prop_map(|(name, level, fields, is_placed, line)| Callsite {
        name,
        level,
        treatments: vec![crate::scrub::Treatment::Keep; fields.len()],
        fields,
        file: is_placed.then_some("src/main.rs"),
        line: is_placed.then_some(line),
        ..Callsite::none()
    })
}

/// A record of eight fields at most, each once or twice, with values of every kind.
fn record(kind: Kind) -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![9 => ".{0,40}", 1 => ".{100,300}", 1 => Just("server".to_owned()), 1 => Just("y".repeat(40_000))];
    let field = (0u16..9, 0u8..30, text, any::<u64>());
    let flags = prop_oneof![6 => Just(flag::SAMPLED | flag::RANDOM), 1 => any::<u8>()];
    (proptest::collection::vec(field, 0..6), any::<u64>(), any::<[u8; 3]>(), flags).prop_map(move |(fields, time, ids, flags)| {
        let mut record = Vec::new();
        let mut encoder = Encoder::new(&mut record, kind, 0, time, Limits { value: 30_000, record: 60_000, ..Limits::default() });
        for (key, kind, text, number) in fields {
            match kind {
                0 => encoder.bytes(key, text.as_bytes()),
                1 => encoder.i128(key, i128::from(number) - (1 << 63)),
                2 => encoder.error(key, (&text, true), &[(&text, [1; 2]), (&"cause", [0; 2])], None),
                3 => encoder.named(&text, |encoder, key| encoder.str(key, &text)),
                4 => encoder.u64(key, number),
                5..9 => encoder.debug(key, &text),
                9..13 => encoder.f64(key, f64::from_bits(number)),
                13..17 => encoder.bool(key, number.is_multiple_of(2)),
                17..20 => encoder.i64(key, number as i64),
                20..23 => encoder.u64(key, number % 1_000),
                _ => encoder.str(key, &text),
            }
        }
        encoder.finish();
        if kind == Kind::Span {
            // Without the padding, which ends a record's fields.
            let padded = record.len();
            while record.last() == Some(&0xFF) && record.len() + 8 > padded {
                record.pop();
            }
            append_u64(&mut record, key::END_TIME, time.wrapping_add(5));
            seal(&mut record);
        }
        stamp_ids(&mut record, SpanIds { trace: (ids[0] % 3).into(), span: (ids[1] % 3).into(), parent: (ids[2] % 2).into(), flags });
        record
    })
}

fn by_message(record: &Record<'_>, site: &Callsite, limit: usize) -> Vec<u8> {
    let mut attributes = Attributes::default();
    if record.kind == Kind::Span {
        let (mut span, limits) = (Span::default(), (SpanLimits::default(), &LeanEvents::new(true)));
        crate::export::span::from_record(record, site, limits, limit, &mut attributes, &mut span);
        return span.encode_to_vec();
    }
    let mut log = LogRecord::default();
    log::from_event(record, site, 77, limit, &mut attributes, &mut log);
    log.encode_to_vec()
}

/// In the form in which messages are encoded. `None`: it goes the other way.
fn directly(record: &Record<'_>, site: &Callsite, limit: usize) -> Option<Vec<u8>> {
    let known = Site::new(site, record.kind, limit, |_| 0)?;
    let mut out = Vec::new();
    if record.kind == Kind::Span {
        write_span(record, &known, &mut out)?;
        let [span] = &ScopeSpans::decode(&*out).expect("a part").spans[..] else { panic!("one span") };
        return Some(span.encode_to_vec());
    }
    write_log(record, &known, 77, &mut out)?;
    let [log] = &ScopeLogs::decode(&*out).expect("a part").log_records[..] else { panic!("one log record") };
    Some(log.encode_to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_log_record_is_the_same_either_way(site in callsites(), record in record(Kind::Event), limit in prop_oneof![Just(128usize), 0usize..12]) {
        let (record, _) = Record::split_first(&record).unwrap();
        if let Some(written) = directly(&record, &site, limit) {
            prop_assert_eq!(written, by_message(&record, &site, limit));
        }
    }

    #[test]
    fn a_span_is_the_same_either_way(site in callsites(), record in record(Kind::Span), limit in prop_oneof![Just(128usize), 0usize..12]) {
        let (record, _) = Record::split_first(&record).unwrap();
        if let Some(written) = directly(&record, &site, limit) {
            prop_assert_eq!(written, by_message(&record, &site, limit));
        }
    }
}

#[test]
fn most_records_are_written_directly() {
    let site = Callsite {
        fields: vec!["message", "user.id", "otel.kind", "number"],
        file: Some("src/main.rs"),
        line: Some(7),
        ..Callsite::none()
    };
    for kind in [Kind::Event, Kind::Span] {
        for text in ["", "server", &"x".repeat(20_000)] {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, kind, 0, 9, Limits { value: 30_000, record: 100_000, ..Limits::default() });
            encoder.str(0, text);
            encoder.debug(1, &text);
            encoder.str(2, text);
            encoder.i64(3, -1);
            encoder.finish();
            stamp_ids(&mut bytes, SpanIds { trace: 1, span: 2, parent: 3, flags: flag::SAMPLED | flag::TRUNCATED });
            let (record, _) = Record::split_first(&bytes).unwrap();
            assert_eq!(directly(&record, &site, 128), Some(by_message(&record, &site, 128)), "{kind:?} {}", text.len());
        }
    }
}
