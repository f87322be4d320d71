//! Typed raw values become OTLP values, keys become valid ones.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};

use crate::AttributeValue;
use crate::{text::cut, trail::record::Value};

/// Bytes of an attribute's key at most.
const MAX_KEY: usize = 100;

/// A string value.
pub(crate) fn string(text: impl Into<String>) -> AnyValue {
    any(any_value::Value::StringValue(text.into()))
}

/// An integer value.
pub(crate) fn int(number: i64) -> AnyValue {
    any(any_value::Value::IntValue(number))
}

/// A number.
pub(crate) fn double(number: f64) -> AnyValue {
    any(any_value::Value::DoubleValue(number))
}

/// A truth value.
pub(crate) fn bool(value: bool) -> AnyValue {
    any(any_value::Value::BoolValue(value))
}

/// A record's value. Integers that OTLP's 64 signed bits cannot hold become strings, as the
/// specification has it.
pub(crate) fn from_record(value: &Value<'_>) -> AnyValue {
    match value {
        Value::Bool(value) => any(any_value::Value::BoolValue(*value)),
        Value::I64(value) => int(*value),
        Value::U64(value) => i64::try_from(*value).map_or_else(|_| string(value.to_string()), int),
        Value::I128(value) => i64::try_from(*value).map_or_else(|_| string(value.to_string()), int),
        Value::U128(value) => i64::try_from(*value).map_or_else(|_| string(value.to_string()), int),
        Value::F64(value) => double(*value),
        Value::Str(text) | Value::Text(text) => string(*text),
        Value::Error { links, .. } => string(Value::joined(links)),
        Value::Bytes(bytes) => any(any_value::Value::BytesValue(bytes.to_vec())),
        Value::List(values) => {
            any(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(|value| string(*value)).collect() }))
        }
    }
}

/// A JSON value; what OTLP has no like for is a text.
pub(crate) fn from_json(value: &serde_json::Value) -> AnyValue {
    use serde_json::Value as Json;
    match value {
        Json::Bool(value) => bool(*value),
        Json::Number(number) => number.as_i64().map_or_else(|| double(number.as_f64().unwrap_or(f64::NAN)), int),
        Json::String(text) => string(text.as_str()),
        Json::Array(values) => any(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(from_json).collect() })),
        other => string(other.to_string()),
    }
}

/// Its OTLP form; texts are cut at `limit` bytes.
pub(crate) fn from_attribute(value: &AttributeValue, limit: usize) -> AnyValue {
    match value {
        AttributeValue::Bool(value) => bool(*value),
        AttributeValue::I64(value) => int(*value),
        AttributeValue::F64(value) => double(*value),
        AttributeValue::Str(text) => string(cut(text, limit)),
        AttributeValue::Array(values) => {
            any(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(|value| from_attribute(value, limit)).collect() }))
        }
    }
}

/// An attribute. A key is at most 100 bytes and has an ASCII letter or digit, or backends refuse
/// the whole request.
pub(crate) fn attribute(key: &str, value: AnyValue) -> KeyValue {
    let mut attribute = KeyValue { value: Some(value), ..Default::default() };
    self::key(&mut attribute.key, key);
    attribute
}

/// Sets the key of an attribute, into the memory it has.
pub(crate) fn key(out: &mut String, key: &str) {
    let key = cut(key, MAX_KEY);
    out.clear();
    if !key.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        out.push_str("field.");
    }
    out.push_str(key);
}

/// Sets an attribute; a later value of a key replaces the earlier.
pub(crate) fn set(attributes: &mut Vec<KeyValue>, key: &str, value: AnyValue) {
    match attributes.iter_mut().find(|attribute| attribute.key == key) {
        Some(attribute) => attribute.value = Some(value),
        None => attributes.push(attribute(key, value)),
    }
}

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_stay_exact() {
        assert_eq!(from_record(&Value::U64(u64::MAX)), string("18446744073709551615"));
        assert_eq!(from_record(&Value::U64(7)), int(7));
        assert_eq!(from_record(&Value::I128(i128::from(i64::MIN))), int(i64::MIN));
    }

    #[test]
    fn every_key_is_acceptable_to_backends() {
        assert_eq!(attribute("🔥", int(1)).key, "field.🔥");
        assert_eq!(attribute("", int(1)).key, "field.");
        assert_eq!(attribute(&"é".repeat(100), int(1)).key.len(), 100 + "field.".len());
    }
}
