//! Attribute values, as OpenTelemetry has them: what tags, contexts and breadcrumb data hold.

use crate::trail::record::Value;
use std::fmt;

/// The value of an attribute.
///
/// ```
/// use crumbtrail::AttributeValue;
///
/// assert_eq!(AttributeValue::from("pro").as_str(), Some("pro"));
/// assert_eq!(AttributeValue::from(7_u32), AttributeValue::I64(7));
/// assert_eq!(AttributeValue::from(u64::MAX).to_string(), "18446744073709551615");
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// A truth value.
    Bool(bool),
    /// An integer. What 64 signed bits cannot hold becomes a [`Str`](Self::Str).
    I64(i64),
    /// A number.
    F64(f64),
    /// A text.
    Str(String),
    /// Values in order.
    Array(Vec<AttributeValue>),
}

impl AttributeValue {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::I64(number) => Some(*number),
            _ => None,
        }
    }

    /// The same as JSON. What JSON cannot say (NaN, infinity) is text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Bool(value) => Json::from(*value),
            Self::I64(value) => Json::from(*value),
            Self::F64(value) => serde_json::Number::from_f64(*value).map_or_else(|| Json::from(value.to_string()), Json::Number),
            Self::Str(text) => Json::from(text.as_str()),
            Self::Array(values) => values.iter().map(Self::to_json).collect(),
        }
    }

    /// The same; of a text longer than `limit` bytes, its beginning.
    pub(crate) fn shortened(mut self, limit: usize) -> Self {
        if let Self::Str(text) = &mut self
            && text.len() > limit
        {
            crate::text::truncate(text, limit);
            text.push('…');
        }
        self
    }

    /// Bytes, about.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Str(text) => text.len() + 8,
            Self::Array(values) => values.iter().map(Self::weight).sum::<usize>() + 8,
            _ => 8,
        }
    }
}

impl fmt::Debug for AttributeValue {
    /// As JSON has it: `"pro"`, `7`, `[1,2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

impl fmt::Display for AttributeValue {
    /// Texts without quotes, the rest as JSON has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Str(text) => f.write_str(text),
            other => fmt::Debug::fmt(other, f),
        }
    }
}

macro_rules! from {
    ($($type:ty => |$value:ident| $make:expr),* $(,)?) => {
        $(impl From<$type> for AttributeValue {
            fn from($value: $type) -> Self {
                $make
            }
        })*
    };
}

from! {
    bool => |value| Self::Bool(value),
    i8 => |value| Self::I64(value.into()),
    i16 => |value| Self::I64(value.into()),
    i32 => |value| Self::I64(value.into()),
    i64 => |value| Self::I64(value),
    isize => |value| Self::I64(value as i64),
    u8 => |value| Self::I64(value.into()),
    u16 => |value| Self::I64(value.into()),
    u32 => |value| Self::I64(value.into()),
    u64 => |value| i64::try_from(value).map_or_else(|_| Self::Str(value.to_string()), Self::I64),
    usize => |value| Self::from(value as u64),
    i128 => |value| i64::try_from(value).map_or_else(|_| Self::Str(value.to_string()), Self::I64),
    u128 => |value| i64::try_from(value).map_or_else(|_| Self::Str(value.to_string()), Self::I64),
    f32 => |value| Self::F64(value.into()),
    f64 => |value| Self::F64(value),
    &str => |value| Self::Str(value.to_owned()),
    String => |value| Self::Str(value),
    std::borrow::Cow<'_, str> => |value| Self::Str(value.into_owned()),
}

impl<T: Into<AttributeValue>> From<Vec<T>> for AttributeValue {
    fn from(values: Vec<T>) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }
}

/// A record's value, as hooks and tests see it.
pub(crate) fn attribute_of(value: &Value<'_>) -> AttributeValue {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::I128(value) => (*value).into(),
        Value::U128(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Str(text) | Value::Text(text) => (*text).into(),
        Value::Error { links, .. } => Value::joined(links).into(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::List(values) => values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>().into(),
    }
}

/// The value of a key. Attributes are few, so they are looked through.
pub(crate) fn get<'a>(attributes: &'a [(String, AttributeValue)], key: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

/// Sets the value of a key. One that is new is left out where there are `max` others.
pub(crate) fn set<K>(attributes: &mut Vec<(String, AttributeValue)>, key: K, value: AttributeValue, max: usize)
where
    K: AsRef<str> + Into<String>,
{
    let has_room = attributes.len() < max;
    match attributes.iter_mut().find(|(known, _)| known == key.as_ref()) {
        Some((_, known)) => *known = value,
        None if has_room => attributes.push((key.into(), value)),
        None => {}
    }
}

/// Removes a key and returns its value.
pub(crate) fn remove(attributes: &mut Vec<(String, AttributeValue)>, key: &str) -> Option<AttributeValue> {
    let index = attributes.iter().position(|(known, _)| known == key)?;
    Some(attributes.remove(index).1)
}
