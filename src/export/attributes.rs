//! The attributes of one log record or span at a time, in memory that the ones before have used.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

use super::value;
use crate::trail::record::Value;

/// Where attributes are put together, and come back to.
#[derive(Default)]
pub(crate) struct Attributes {
    list: Vec<KeyValue>,
    /// Used ones, by whether they held a text: its memory is what is worth keeping.
    texts: Vec<KeyValue>,
    others: Vec<KeyValue>,
}

/// Bytes of a text that are kept for the next.
const MAX_SPARE: usize = 1024;
/// Attributes of either kind that are kept.
const SPARES: usize = 128;

impl Attributes {
    /// Sets an attribute; a later value of a key replaces the earlier.
    pub(crate) fn set(&mut self, key: &str, value: &Value<'_>) {
        match self.list.iter_mut().find(|attribute| attribute.key == key) {
            Some(attribute) => attribute.value = Some(value::from_record(value)),
            None => self.add(key, value),
        }
    }

    /// Sets an attribute that the program has not set itself: its own word counts.
    pub(crate) fn set_default(&mut self, key: &str, value: &Value<'_>) {
        if !self.list.iter().any(|attribute| attribute.key == key) {
            self.add(key, value);
        }
    }

    /// Adds an attribute of which there is none yet.
    pub(crate) fn add(&mut self, key: &str, value: &Value<'_>) {
        let used = if matches!(value, Value::Str(_) | Value::Text(_)) { self.texts.pop() } else { self.others.pop() };
        let mut attribute = used.unwrap_or_default();
        value::key(&mut attribute.key, key);
        match value {
            Value::Str(text) | Value::Text(text) => set_text(&mut attribute.value, text),
            other => attribute.value = Some(value::from_record(other)),
        }
        self.list.push(attribute);
    }

    /// How many there are more than `limit`, the last; they go.
    pub(crate) fn limit(&mut self, limit: usize) -> u32 {
        let over = self.list.len().saturating_sub(limit);
        self.list.truncate(limit);
        u32::try_from(over).unwrap_or(u32::MAX)
    }

    /// The attributes so far, for their record.
    pub(crate) fn take(&mut self) -> Vec<KeyValue> {
        std::mem::take(&mut self.list)
    }

    /// Attributes that have served.
    pub(crate) fn give_back(&mut self, mut used: Vec<KeyValue>) {
        for attribute in used.drain(..) {
            match &attribute.value {
                Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }) if text.capacity() <= MAX_SPARE => {
                    self.texts.push(attribute)
                }
                Some(AnyValue {
                    value: Some(any_value::Value::IntValue(_) | any_value::Value::BoolValue(_) | any_value::Value::DoubleValue(_)),
                }) => {
                    self.others.push(attribute);
                }
                _ => {}
            }
        }
        // A number may come back as a text, and the other way round.
        self.texts.truncate(SPARES);
        self.others.truncate(SPARES);
        // What was left by a record that was not finished goes.
        used.append(&mut self.list);
        used.clear();
        self.list = used;
    }
}

/// Sets a value to a text; into the memory of the text that was there, if it was one.
pub(crate) fn set_text(value: &mut Option<AnyValue>, text: &str) {
    match value {
        Some(AnyValue { value: Some(any_value::Value::StringValue(used)) }) if used.capacity() <= MAX_SPARE => replace(used, text),
        value => *value = Some(value::string(text)),
    }
}

/// Sets a text, into the memory it has.
pub(crate) fn replace(used: &mut String, text: &str) {
    used.clear();
    used.push_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_of_those_before() {
        let mut attributes = Attributes::default();
        let long = "x".repeat(2 * MAX_SPARE);
        let rounds: [&[(&str, Value<'_>)]; 4] = [
            &[("text", Value::Str("a longer text")), ("number", Value::U64(7)), ("large", Value::Str(&long))],
            &[("other", Value::Text("short")), ("text", Value::Str("a")), ("text", Value::F64(0.5)), ("", Value::Bool(true))],
            &[("number", Value::Bytes(b"ab")), ("more", Value::I64(-1)), ("text", Value::Str(""))],
            &[("number", Value::I64(1)), ("number", Value::Str("now a text"))],
        ];
        for round in rounds {
            let mut expected = Vec::new();
            for (key, of_record) in round {
                attributes.set(key, of_record);
                value::set(&mut expected, key, value::from_record(of_record));
            }
            let taken = attributes.take();
            assert_eq!(taken, expected);
            attributes.give_back(taken);
        }
        for number in 0..10 * SPARES {
            let key = format!("key{}", number % 7);
            attributes.set(&key, &Value::U64(u64::MAX));
            attributes.set(&key, &Value::I64(1));
            attributes.set("other", &Value::U64(u64::MAX));
            let used = attributes.take();
            attributes.give_back(used);
        }
        assert!(attributes.texts.len() <= SPARES && attributes.others.len() <= SPARES, "no more than are of use");
        attributes.set("left", &Value::Bool(true));
        attributes.give_back(Vec::new());
        assert!(attributes.take().is_empty());
    }
}
