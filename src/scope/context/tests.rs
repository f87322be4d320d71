//! What becomes of a context's value.

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

/// It costs no stack, and no time, beyond the limits.
#[test]
fn a_value_without_end_is_cut() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(2))?;
            map.serialize_entry("id", &1)?;
            map.serialize_entry("next", &Endless)?;
            map.end()
        }
    }
    let parts = flatten("c", &Endless, &Scrubber::default()).expect("what there is");
    assert_eq!(parts.len(), MAX_DEPTH + 2, "{parts:?}");
    let value = json!({ "text": "x".repeat(2 << 20), "order": 7 });
    assert!(flat(value).contains(&"c.order=7".to_owned()), "what is behind a long text");
}

/// Numbers would pass by whatever looks for secrets.
#[test]
fn bytes_are_counted_and_not_shown() {
    struct Bytes;
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(b"hunter2")
        }
    }
    assert_eq!(flatten("c", &Bytes, &Scrubber::default()), Some(vec![("c".to_owned(), "7 bytes".into())]));
}

#[test]
fn a_value_that_panics_is_left_out() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("in Serialize")
        }
    }
    assert_eq!(flatten("c", &Panics, &Scrubber::default()), None);
}
