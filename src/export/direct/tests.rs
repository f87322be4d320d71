//! Either way a record becomes the same.

use std::cell::Cell;

use opentelemetry_proto::tonic::{
    logs::v1::ScopeLogs,
    trace::v1::{ScopeSpans, Span},
};
use proptest::{prelude::*, test_runner::TestRunner};
use tracing_core::Level;

use super::*;
use crate::{
    export::{attributes::Attributes, span::SpanLimits, span_events::SpanEvents},
    trail::{
        encode::{Encoder, Limits},
        record::{append_u64, flag, seal, stamp_ids},
    },
};

/// Fields as most callsites have them; of one name and more, as few have.
const NAMES: [&str; 9] = ["message", "a", "a.b", "user.id", "otel.name", "otel.kind", "log.target", "x", LONG];
const SELDOM: [&str; 6] = ["otel.status_code", "otel.status_message", "code.line.number", "\u{1f525}", "", "message"];
const LONG: &str = "a.name.that.is.so.long.that.neither.it.nor.the.attribute.which.has.it.have.a.length.that.would.be.written.in.a.single.byte.of.a.varint";

/// Callsites of which now and then two fields have one name.
fn callsites() -> impl Strategy<Value = Callsite> {
    let level = prop_oneof![Just(Level::TRACE), Just(Level::DEBUG), Just(Level::INFO), Just(Level::WARN), Just(Level::ERROR)];
    let name = prop_oneof![Just("request"), Just("event src/main.rs:7"), Just("device.app.lifecycle"), Just("")];
    let fields = proptest::sample::subsequence(&NAMES[..], 0..=NAMES.len()).prop_shuffle();
    let seldom = prop_oneof![19 => Just(None), 1 => proptest::sample::select(&SELDOM[..]).prop_map(Some)];
    (name, level, fields, seldom, any::<bool>(), 0u32..300).prop_map(|(name, level, mut fields, seldom, is_placed, line)| {
        fields.extend(seldom);
        Callsite {
            name,
            level,
            treatments: vec![crate::scrub::Treatment::Keep; fields.len()],
            fields,
            file: is_placed.then_some("src/main.rs"),
            line: is_placed.then_some(line),
            ..Callsite::none()
        }
    })
}

/// A callsite and a record of it, with values of every kind. In few of them a field comes twice, or
/// one that the callsite does not have.
fn records_of(kind: Kind) -> impl Strategy<Value = (Callsite, Vec<u8>)> {
    let text = prop_oneof![9 => ".{0,40}", 1 => ".{100,300}", 1 => Just("server".to_owned()), 1 => Just("y".repeat(40_000))];
    let field = (0..NAMES.len(), 0u8..100, text, any::<u64>());
    let flags = prop_oneof![19 => Just(flag::SAMPLED | flag::RANDOM), 1 => any::<u8>()];
    let fields = (proptest::collection::vec(field, 0..8), 0u8..20);
    (callsites(), fields, any::<u64>(), any::<[u8; 3]>(), flags).prop_map(move |(site, (mut fields, seldom), time, ids, flags)| {
        let mut seen = Vec::new();
        fields.retain_mut(|(key, ..)| {
            *key = if seldom == 0 { *key } else { *key % site.fields.len().max(1) };
            let is_new = !seen.contains(key) && *key < site.fields.len();
            seen.push(*key);
            is_new || seldom < 2
        });
        let mut record = Vec::new();
        let mut encoder = Encoder::new(&mut record, kind, 0, time, Limits { value: 30_000, record: 60_000, ..Limits::default() });
        for (key, kind, text, number) in fields {
            // Names and kinds of spans are mostly texts.
            let is_name = site.fields.get(key).is_some_and(|name| name.starts_with("otel.")) && !number.is_multiple_of(10);
            let key = key as u16;
            match if is_name { u8::MAX } else { kind } {
                0 => encoder.bytes(key, text.as_bytes()),
                1 => encoder.i128(key, i128::from(number) - (1 << 63)),
                2 => encoder.error(key, (&text, true), &[(&text, [1; 2]), (&"cause", [0; 2])], None),
                3 => encoder.named(&text, |encoder, key| encoder.str(key, &text)),
                4 => encoder.u64(key, number),
                5..20 => encoder.debug(key, &text),
                20..30 => encoder.f64(key, f64::from_bits(number)),
                30..40 => encoder.bool(key, number.is_multiple_of(2)),
                40..50 => encoder.i64(key, number as i64),
                50..60 => encoder.u64(key, number % 1_000),
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
        (site, record)
    })
}

fn by_message(record: &Record<'_>, site: &Callsite, limit: usize) -> Vec<u8> {
    let mut attributes = Attributes::default();
    if record.kind == Kind::Span {
        let (mut span, limits) = (Span::default(), (SpanLimits::default(), &SpanEvents::new(true)));
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

/// Compares the two for many records, and sees to it that it does.
fn is_the_same_either_way(kind: Kind) {
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) });
    // All, and those of three fields and more: how many there were, and how many were written directly.
    let counts = Cell::new([(0, 0); 2]);
    let limits = prop_oneof![19 => Just(128usize), 1 => 0usize..12];
    let outcome = runner.run(&(records_of(kind), limits), |((site, record), limit)| {
        let (record, _) = Record::split_first(&record).expect("a record");
        let written = directly(&record, &site, limit);
        let mut now = counts.get();
        let many = record.fields().filter(|(key, _)| usize::from(*key) < site.fields.len()).count() >= 3;
        for (all, direct) in now.iter_mut().take(1 + usize::from(many)) {
            (*all, *direct) = (*all + 1, *direct + u32::from(written.is_some()));
        }
        counts.set(now);
        if let Some(written) = written {
            prop_assert_eq!(written, by_message(&record, &site, limit));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let counts = counts.get();
    let [(_, direct), (many, many_direct)] = counts;
    assert!(direct > 1_000 && many > 500 && many_direct * 2 > many, "{direct} directly; of {many} with three fields, {many_direct}");
}

#[test]
fn a_log_record_is_the_same_either_way() {
    is_the_same_either_way(Kind::Event);
}

#[test]
fn a_span_is_the_same_either_way() {
    is_the_same_either_way(Kind::Span);
}

#[test]
fn a_callsite_of_very_many_fields_goes_the_other_way() {
    const MANY: [&str; 65] = {
        let mut many = [""; 65];
        let mut index = 0;
        while index < many.len() {
            many[index] = LONG.split_at(index + 1).0;
            index += 1;
        }
        many
    };
    for (count, is_direct) in [(64, true), (65, false)] {
        let site = Callsite { fields: MANY[..count].to_vec(), ..Callsite::none() };
        assert_eq!(Site::new(&site, Kind::Event, 128, |_| 0).is_some(), is_direct, "{count}");
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
