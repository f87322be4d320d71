//! Protobuf, written into a buffer as it goes: a message's length is filled in when it is known.
//! What a varint is, `prost` says.

use prost::encoding::{encode_varint, encoded_len_varint};

use crate::trail::record::Value;

/// The first byte of a field: its tag, below 16, and how its value is written.
pub(super) const fn varint_key(tag: u8) -> u8 {
    key(tag, 0)
}

pub(super) const fn fixed64_key(tag: u8) -> u8 {
    key(tag, 1)
}

pub(super) const fn bytes_key(tag: u8) -> u8 {
    key(tag, 2)
}

pub(super) const fn fixed32_key(tag: u8) -> u8 {
    key(tag, 5)
}

const fn key(tag: u8, wire_type: u8) -> u8 {
    assert!(tag < 16, "a key of one byte");
    tag << 3 | wire_type
}

/// Appends a varint. Most have one byte.
#[inline]
pub(super) fn varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        encode_varint(value, out);
    }
}

/// Appends a field of bytes, of a text or of an encoded message.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.push(key);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field of eight bytes.
#[inline]
pub(super) fn fixed64(out: &mut Vec<u8>, key: u8, value: u64) {
    let mut field = [key; 9];
    field[1..].copy_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&field);
}

/// Appends trace and span id, under these keys.
#[inline]
pub(super) fn ids(out: &mut Vec<u8>, trace: (u8, u128), span: (u8, u64)) {
    let mut fields = [0; 28];
    (fields[0], fields[1]) = (trace.0, 16);
    fields[2..18].copy_from_slice(&trace.1.to_be_bytes());
    (fields[18], fields[19]) = (span.0, 8);
    fields[20..].copy_from_slice(&span.1.to_be_bytes());
    out.extend_from_slice(&fields);
}

/// Bytes of a field of bytes.
pub(super) fn bytes_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Appends a message that `write` writes. What it says comes back.
#[inline]
pub(super) fn message<T>(out: &mut Vec<u8>, key: u8, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    /// A record is seldom shorter than 128 bytes, and seldom longer than 16 KiB.
    const ROOM: usize = 2;
    out.push(key);
    let at = out.len();
    out.extend_from_slice(&[0; ROOM]);
    let said = write(out);
    let length = out.len() - at - ROOM;
    let mut prefix = [0; 10];
    let needed = encoded_len_varint(length as u64);
    encode_varint(length as u64, &mut &mut prefix[..]);
    if needed == ROOM {
        out[at..at + ROOM].copy_from_slice(&prefix[..ROOM]);
    } else {
        out.splice(at..at + ROOM, prefix[..needed].iter().copied());
    }
    said
}

/// Appends an attribute: a `KeyValue` under the key `field`. `name` is its encoded key. `None`, and
/// nothing is appended: a value as few are.
#[inline]
pub(super) fn attribute(out: &mut Vec<u8>, field: u8, name: &[u8], value: &Value<'_>) -> Option<()> {
    let length = any_value_len(value)?;
    let whole = name.len() + bytes_len(length);
    // Most are short, so that all lengths have one byte.
    if let (Ok(whole @ 0..0x80), &(Value::Str(text) | Value::Text(text))) = (u8::try_from(whole), value) {
        out.extend_from_slice(&[field, whole]);
        out.extend_from_slice(name);
        out.extend_from_slice(&[bytes_key(2), length as u8, bytes_key(1), text.len() as u8]);
        out.extend_from_slice(text.as_bytes());
        return Some(());
    }
    out.push(field);
    varint(out, whole as u64);
    out.extend_from_slice(name);
    out.push(bytes_key(2));
    varint(out, length as u64);
    any_value(out, value);
    Some(())
}

/// Bytes of an `AnyValue`. `None`: a value as few are.
#[inline]
pub(super) fn any_value_len(value: &Value<'_>) -> Option<usize> {
    Some(match value {
        Value::Str(text) | Value::Text(text) => bytes_len(text.len()),
        Value::Bool(_) => 2,
        Value::F64(_) => 9,
        Value::I64(number) => 1 + encoded_len_varint(*number as u64),
        // Others are told as texts.
        Value::U64(number) if i64::try_from(*number).is_ok() => 1 + encoded_len_varint(*number),
        _ => return None,
    })
}

/// Appends an `AnyValue`'s field; one that has a [length](any_value_len).
#[inline]
pub(super) fn any_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Str(text) | Value::Text(text) => bytes(out, bytes_key(1), text.as_bytes()),
        Value::Bool(value) => out.extend_from_slice(&[varint_key(2), u8::from(*value)]),
        Value::F64(number) => fixed64(out, fixed64_key(4), number.to_bits()),
        Value::I64(number) => {
            out.push(varint_key(3));
            varint(out, *number as u64);
        }
        Value::U64(number) => {
            out.push(varint_key(3));
            varint(out, *number);
        }
        _ => {}
    }
}
