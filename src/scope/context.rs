//! A value's parts as attributes, by way of its JSON text. Bounded in depth, number and size: a
//! huge value costs no more than the text's limit.

use std::{
    fmt,
    io::{self, Write},
};

use serde::{
    Serialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{clean::MAX_VALUE, clean_value};
use crate::{
    AttributeValue,
    fork::Once,
    scrub::{FILTERED, Scrubber, Treatment},
    text::cut,
    unwind::guarded,
};

/// Levels below the context's name.
const MAX_DEPTH: usize = 4;
/// Parts of one context, and values of one list.
const MAX_PARTS: usize = 64;
/// Bytes of one context.
const MAX_BYTES: usize = 8 * 1024;
/// Bytes of its text, while it is looked through. What is behind is not looked at.
const MAX_TEXT: usize = 1 << 20;

/// The parts of `value`, each under its whole key. `None`: its `Serialize` failed or panicked,
/// which is said once.
pub(super) fn flatten(name: &str, value: &impl Serialize, scrubber: &Scrubber) -> Option<Vec<(String, AttributeValue)>> {
    let mut text = Text(Vec::new());
    let written = guarded(|| serde_json::to_writer(&mut text, value));
    if !written.is_some_and(|written| written.map_or_else(|error| error.is_io(), |()| true)) {
        static SAID: Once = Once::new();
        SAID.call_once(|| crate::diagnose(format_args!("a context cannot be serialised and is left out")));
        return None;
    }
    let mut parts = Parts { all: Vec::new(), bytes: 0, scrubber };
    let denied = scrubber.key(name) == Treatment::Filter;
    let whole = Part { parts: &mut parts, path: name.to_owned(), depth: 0, denied };
    // A text that was cut ends in an error, as does a limit: what there is, is kept.
    if let Ok(Some(plain)) = whole.deserialize(&mut serde_json::Deserializer::from_slice(&text.0)) {
        let _ = parts.push(name, denied, plain);
    }
    Some(parts.all)
}

/// A text that takes no more than its limit.
struct Text(Vec<u8>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_TEXT - self.0.len();
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Parts<'a> {
    all: Vec<(String, AttributeValue)>,
    bytes: usize,
    scrubber: &'a Scrubber,
}

/// There is no room for more.
struct Full;

impl Parts<'_> {
    fn push(&mut self, path: &str, denied: bool, value: AttributeValue) -> Result<(), Full> {
        let value = self.counted(path.len(), path, denied, value)?;
        // Keys of maps are data.
        self.all.push((self.scrubber.scrub(path).into_owned(), value));
        Ok(())
    }

    /// A value without secrets, for which there is room.
    fn counted(&mut self, key_bytes: usize, path: &str, denied: bool, value: AttributeValue) -> Result<AttributeValue, Full> {
        let bytes = key_bytes + value.weight();
        if self.all.len() >= MAX_PARTS || self.bytes + bytes > MAX_BYTES {
            return Err(Full);
        }
        self.bytes += bytes;
        let is_flag = matches!(value, AttributeValue::Bool(_));
        Ok(if denied && !is_flag { FILTERED.into() } else { clean_value(self.scrubber, path, value) })
    }
}

/// A place in the value. What is plain there is returned; all else becomes parts.
struct Part<'a, 'b> {
    parts: &'a mut Parts<'b>,
    path: String,
    depth: usize,
    /// What is below a key that is a secret is one.
    denied: bool,
}

impl<'b> Part<'_, 'b> {
    fn child(&mut self, name: &str) -> Part<'_, 'b> {
        let denied = self.denied || self.parts.scrubber.key(name) == Treatment::Filter;
        Part { path: format!("{}.{}", self.path, cut(name, 64)), depth: self.depth + 1, denied, parts: self.parts }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_> {
    type Value = Option<AttributeValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.depth > MAX_DEPTH {
            deserializer.deserialize_ignored_any(IgnoredAny)?;
            return Ok(Some("…".into()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_> {
    type Value = Option<AttributeValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(cut(value, MAX_VALUE).into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    /// One attribute if all of it is plain, else an attribute for each part, by number.
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self::Value, A::Error> {
        let (mut plain, mut index) = (Some(Vec::new()), 0);
        let outcome = loop {
            if index >= MAX_PARTS {
                break Err(full());
            }
            let before = self.parts.all.len();
            let child = self.child(&index.to_string());
            let (path, denied) = (child.path.clone(), child.denied);
            let item = match items.next_element_seed(child) {
                Ok(Some(item)) => item,
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            };
            index += 1;
            match (item, &mut plain) {
                (Some(value), Some(values)) => match self.parts.counted(0, &path, denied, value) {
                    Ok(value) => values.push(value),
                    Err(Full) => break Err(full()),
                },
                (Some(value), None) => self.parts.push(&path, denied, value).map_err(|Full| full())?,
                // What came before it has numbers, too. Counted and clean already.
                (None, _) => {
                    let numbered = plain.take().unwrap_or_default().into_iter().enumerate();
                    let numbered = numbered.map(|(number, value)| (format!("{}.{number}", self.path), value));
                    self.parts.all.splice(before..before, numbered).for_each(drop);
                }
            }
        };
        if let Some(values) = plain.filter(|values| !values.is_empty()) {
            self.parts.all.push((self.path, AttributeValue::Array(values)));
        }
        outcome
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Self::Value, A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            let child = self.child(&key);
            let (path, denied) = (child.path.clone(), child.denied);
            if let Some(value) = entries.next_value_seed(child)? {
                self.parts.push(&path, denied, value).map_err(|Full| full())?;
            }
        }
        Ok(None)
    }
}

/// Ends the look through the text.
fn full<E: Error>() -> E {
    E::custom("there is no room for more")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn flat(value: serde_json::Value) -> Vec<String> {
        let parts = flatten("c", &value, &Scrubber::default()).expect("it can be serialised");
        parts.into_iter().map(|(key, value)| format!("{key}={value:?}")).collect()
    }

    #[test]
    fn the_parts_have_whole_keys_and_plain_lists_are_one() {
        let value = json!({ "a": 1, "b": { "c": "x", "d": null }, "e": [1, 2], "f": [{ "g": true }, 3], "h": [], "token": "t" });
        assert_eq!(flat(value), ["c.a=1", "c.b.c=\"x\"", "c.e=[1,2]", "c.f.0.g=true", "c.f.1=3", "c.token=\"[Filtered]\""]);
        assert_eq!(flat(json!("plain")), ["c=\"plain\""]);
    }

    #[test]
    fn what_is_below_a_secret_key_is_secret() {
        let value = json!({ "cookies": { "sid": "a", "on": true }, "token": ["x", { "value": "y" }], "pin": 1, "n": 1 });
        let filtered = "\"[Filtered]\"";
        let expected = [
            format!("c.cookies.sid={filtered}"),
            "c.cookies.on=true".to_owned(),
            "c.n=1".to_owned(),
            format!("c.pin={filtered}"),
            format!("c.token.1.value={filtered}"),
            format!("c.token.0={filtered}"),
        ];
        let mut found = flat(value);
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn depth_number_and_size_have_limits() {
        let deep = (0..100).fold(json!(1), |value, _| json!({ "d": value }));
        assert_eq!(flat(deep), ["c.d.d.d.d.d=\"…\""]);
        let wide: serde_json::Map<_, _> = (0..1_000).map(|number| (format!("k{number}"), json!(number))).collect();
        assert_eq!(flat(wide.into()).len(), MAX_PARTS);
        assert_eq!(flat(json!((0..1_000).collect::<Vec<_>>())).len(), 1);
        assert_eq!(flat(json!(vec!["x".repeat(100); 1_000])).len(), 1, "a long list is one, shorter");
        let long: usize = flat(json!(vec!["x".repeat(5_000); 100])).iter().map(String::len).sum();
        assert!((1_000..=MAX_BYTES).contains(&long), "{long}");
    }

    /// What does not fit into the text is left out, and what is before it is there.
    #[test]
    fn a_huge_value_costs_no_more_than_the_limit() {
        struct Endless;
        impl Serialize for Endless {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(std::iter::repeat_n("x".repeat(1_000), 1_000_000))
            }
        }
        let parts = flatten("c", &Endless, &Scrubber::default()).expect("what there is");
        assert!(matches!(&parts[..], [(key, AttributeValue::Array(values))] if key == "c" && !values.is_empty()), "{parts:?}");
        let mut value = json!({ "a": 1, "text": "x".repeat(100_000) });
        assert_eq!(flat(value.clone()).len(), 2, "one long text is cut");
        value["text"] = "x".repeat(2 << 20).into();
        assert_eq!(flat(value), ["c.a=1"]);
    }

    #[test]
    fn enumerations_are_named_by_their_variants() {
        #[derive(serde::Serialize)]
        enum Payment {
            Cash,
            Card(u8),
            Bank { iban: &'static str },
        }
        let of = |payment: &Payment| flatten("c", payment, &Scrubber::default()).expect("parts");
        assert_eq!(of(&Payment::Cash), [("c".to_owned(), "Cash".into())]);
        assert_eq!(of(&Payment::Card(7)), [("c.Card".to_owned(), 7.into())]);
        assert_eq!(of(&Payment::Bank { iban: "x" })[0].0, "c.Bank.iban");
    }

    #[test]
    fn a_value_that_panics_is_left_out() {
        struct Panics;
        impl Serialize for Panics {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                panic!("in Serialize")
            }
        }
        assert_eq!(flatten("c", &Panics, &Scrubber::default()), None);
    }
}
