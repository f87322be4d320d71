//! What is written into a record is read from it, whatever the bytes.

use super::*;
use crate::trail::encode::{Encoder, Limits};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Field {
    Bool(bool),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Str(String),
    Bytes(Vec<u8>),
}

fn field() -> impl Strategy<Value = Field> {
    prop_oneof![
        any::<bool>().prop_map(Field::Bool),
        any::<i64>().prop_map(Field::I64),
        any::<u64>().prop_map(Field::U64),
        any::<i128>().prop_map(Field::I128),
        any::<u128>().prop_map(Field::U128),
        any::<f64>().prop_map(Field::F64),
        ".{0,200}".prop_map(Field::Str),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Field::Bytes),
    ]
}

fn write(encoder: &mut Encoder<'_>, key: u16, field: &Field) {
    match field {
        Field::Bool(value) => encoder.bool(key, *value),
        Field::I64(value) => encoder.i64(key, *value),
        Field::U64(value) => encoder.u64(key, *value),
        Field::I128(value) => encoder.i128(key, *value),
        Field::U128(value) => encoder.u128(key, *value),
        Field::F64(value) => encoder.f64(key, *value),
        Field::Str(value) => encoder.str(key, value),
        Field::Bytes(value) => encoder.bytes(key, value),
    }
}

fn agrees(field: &Field, value: &Value<'_>) -> bool {
    match (field, value) {
        (Field::Bool(a), Value::Bool(b)) => a == b,
        (Field::I64(a), Value::I64(b)) => a == b,
        (Field::U64(a), Value::U64(b)) => a == b,
        (Field::I128(a), Value::I128(b)) => a == b,
        (Field::U128(a), Value::U128(b)) => a == b,
        (Field::F64(a), Value::F64(b)) => a.to_bits() == b.to_bits(),
        (Field::Str(a), Value::Str(b)) => a.starts_with(b),
        (Field::Bytes(a), Value::Bytes(b)) => a.starts_with(b),
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(fields in prop::collection::vec(field(), 0..40), limit in 0usize..300, room in 256usize..4096) {
        let limits = Limits { fields: 32, value: limit, record: room };
        let mut buf = Vec::new();
        let mut encoder = Encoder::new(&mut buf, Kind::Event, 7, 42, limits);
        for (key, field) in fields.iter().enumerate() {
            write(&mut encoder, key as u16, field);
        }
        encoder.finish();
        prop_assert!(buf.len() <= room && buf.len() % 8 == 0);
        let ids = SpanIds { trace: u128::MAX - 5, span: 3, parent: 9, flags: flag::SAMPLED };
        stamp_ids(&mut buf, ids);

        let (record, rest) = Record::split_first(&buf).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!((record.kind, record.callsite, record.time), (Kind::Event, 7, 42));
        prop_assert_eq!((record.ids.trace, record.ids.span, record.ids.parent), (ids.trace, 3, 9));
        let mut read = 0;
        let mut dropped = 0;
        for (key, value) in record.fields() {
            if key == key::DROPPED {
                let Value::U64(count) = value else { panic!("{value:?}") };
                dropped = count as usize;
            } else {
                prop_assert!(agrees(&fields[usize::from(key)], &value), "{key}: {value:?}");
                read += 1;
            }
        }
        prop_assert_eq!(read + dropped, fields.len());
        let cut = fields.iter().any(|field| matches!(field, Field::Str(text) if text.chars().count() > limit));
        if cut && dropped == 0 {
            prop_assert!(record.truncated());
        }
    }

    #[test]
    fn damaged_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..512), words in 0u16..64, kind in 0u8..6) {
        if bytes.len() > 4 {
            bytes[0..2].copy_from_slice(&words.to_le_bytes());
            bytes[2] = kind;
        }
        for record in records(&bytes) {
            let _ = record.fields().count();
        }
    }
}

#[test]
fn a_value_is_cut_after_so_many_characters() {
    let mut buf = Vec::new();
    let mut encoder = Encoder::new(&mut buf, Kind::Event, 0, 0, Limits { value: 5, ..Limits::default() });
    encoder.str(0, "aéé€xy");
    encoder.debug(1, &format_args!("{}{}", "ab", "€€xy"));
    encoder.finish();
    let (record, _) = Record::split_first(&buf).unwrap();
    let fields: Vec<_> = record.fields().collect();
    assert_eq!(fields, [(0, Value::Str("aéé€x")), (1, Value::Text("ab€€x"))]);
    assert!(record.truncated());
}

#[test]
fn an_unsealed_record_takes_more_fields() {
    let mut buf = Vec::new();
    let mut encoder = Encoder::new(&mut buf, Kind::SpanOpen, 1, 5, Limits::default());
    encoder.bool(0, true);
    let length = encoder.finish();
    buf.truncate(length);
    append_u64(&mut buf, key::END_TIME, 77);
    append_str(&mut buf, key::ERROR_STATUS, "no");
    append_bytes(&mut buf, key::LINK, &[1; 24]);
    set_kind(&mut buf, Kind::Span);
    seal(&mut buf);
    let (record, _) = Record::split_first(&buf).unwrap();
    assert_eq!(record.kind, Kind::Span);
    let fields: Vec<_> = record.fields().collect();
    assert_eq!(
        fields,
        [
            (0, Value::Bool(true)),
            (key::END_TIME, Value::U64(77)),
            (key::ERROR_STATUS, Value::Str("no")),
            (key::LINK, Value::Bytes(&[1; 24])),
        ]
    );
}

/// Report A11: of a record that is shortened, what is half is not there.
#[test]
fn a_shortened_record_keeps_ids_and_names_whole() {
    let mut buf = Vec::new();
    let mut encoder = Encoder::new(&mut buf, Kind::Span, 1, 2, Limits { record: 60_000, ..Limits::default() });
    (0..40).for_each(|key| encoder.str(key, &"x".repeat(500)));
    encoder.named("a name that is not short at all", |encoder, key| encoder.str(key, "value"));
    let length = encoder.finish();
    buf.truncate(length);
    (0..200u8).for_each(|number| append_bytes(&mut buf, key::LINK, &[number; 25]));
    append_bytes(&mut buf, key::EXCEPTION, &[7; 24]);
    seal(&mut buf);
    let mut short = Vec::new();
    assert!(crate::trail::encode::shorten(&buf, 2_048, &mut short));
    assert!(short.len() <= 2_048);
    let (record, _) = Record::split_first(&short).expect("a record");
    let (mut links, mut missing) = (0, 0);
    for (key, value) in record.fields() {
        match (key, value) {
            (key::LINK, Value::Bytes(link)) => {
                assert_eq!(link.len(), 25);
                links += 1;
            }
            (key::DROPPED_LINKS, Value::U64(count)) => missing = count,
            (key::NAME, Value::Str(name)) => assert_eq!(name, "a name that is not short at all"),
            _ => {}
        }
    }
    assert_eq!(links + missing, 200);
    assert!(links > 0 && missing > 0, "{links} {missing}");
}
