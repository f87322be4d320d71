//! The `baggage` header, W3C Baggage §3.2: `key=value;property, key=value`, values percent-encoded.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Bytes and entries at most (§3.3.2).
const MAX_BYTES: usize = 8192;
const MAX_ENTRIES: usize = 64;

/// What a value must not hold as it is (§3.2, `baggage-octet`), and the sign of what it holds
/// instead.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// The same for a value that is encoded already: its percent signs stay.
const ILLEGAL: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\');

/// Entries in their order; each as it came, with its properties.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baggage(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    key: String,
    /// Encoded, and what follows it.
    rest: String,
}

impl Entry {
    /// `None`: the key is no token.
    pub(crate) fn new(key: &str, value: &str) -> Option<Self> {
        is_token(key).then(|| Self { key: key.to_owned(), rest: utf8_percent_encode(value, ENCODED).to_string() })
    }

    fn length(&self) -> usize {
        self.key.len() + self.rest.len() + 2
    }
}

impl Baggage {
    /// Reads a header. What is no entry, and what is beyond the limits, is left out.
    pub(crate) fn parse(header: &str) -> Self {
        let mut baggage = Self::default();
        let mut bytes = 0;
        // A header of a megabyte is not read to its end.
        for member in header.split(',').take(4 * MAX_ENTRIES) {
            let Some((key, rest)) = member.split_once('=') else { continue };
            let (key, rest) = (key.trim_matches([' ', '\t']), rest.trim_matches([' ', '\t']));
            bytes += member.len() + 1;
            // The last has no comma.
            if bytes > MAX_BYTES + 1 || baggage.0.len() == MAX_ENTRIES {
                break;
            }
            if !is_token(key) || !rest.bytes().all(|byte| (0x20..0x7F).contains(&byte) || byte == b'\t') {
                continue;
            }
            let entry = Entry { key: key.to_owned(), rest: normal(rest) };
            // What had to be encoded is longer now.
            bytes += (entry.length() - 1).saturating_sub(member.len() + 1);
            if bytes > MAX_BYTES + 1 {
                break;
            }
            baggage.0.push(entry);
        }
        baggage
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The decoded value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.entries().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Keys and decoded values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|Entry { key, rest }| {
            let value = rest.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
            (key.as_str(), percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
    }

    /// Puts an entry in the place of one of the same key, or last if there is room.
    pub(crate) fn insert(&mut self, entry: Entry) {
        self.0.retain(|known| known.key != entry.key);
        let bytes: usize = self.0.iter().map(Entry::length).sum();
        if self.0.len() < MAX_ENTRIES && bytes + entry.length() <= MAX_BYTES {
            self.0.push(entry);
        }
    }
}

impl fmt::Display for Baggage {
    /// As the header has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Entry { key, rest }) in self.0.iter().enumerate() {
            write!(f, "{}{key}={rest}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// A value and its properties without blanks around them, and what a value must not hold
/// percent-encoded.
fn normal(rest: &str) -> String {
    let mut parts = rest.split(';').map(|part| part.trim_matches([' ', '\t']));
    let value = parts.next().unwrap_or_default();
    let mut normal = utf8_percent_encode(value, ILLEGAL).to_string();
    for property in parts {
        normal.push(';');
        // Around its sign blanks are allowed, too (§3.2, `property`).
        let (key, value) = property.split_once('=').map_or((property, None), |(key, value)| (key, Some(value)));
        let key = key.trim_end_matches([' ', '\t']);
        if !is_token(key) {
            normal.pop();
            continue;
        }
        normal.push_str(key);
        if let Some(value) = value {
            normal.push('=');
            normal.extend(utf8_percent_encode(value.trim_start_matches([' ', '\t']), ILLEGAL));
        }
    }
    normal
}

fn is_token(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_read_and_the_rest_is_left_out() {
        let baggage = Baggage::parse("a=1;p=2 ,\tb = x%20y%FF , =3, c, d=, e=1=2, \u{e9}=4, f=\u{e9}");
        let owned = |key, value: &str| (key, value.to_owned());
        assert_eq!(baggage.entries().collect::<Vec<_>>(), [owned("a", "1"), owned("b", "x y\u{fffd}"), owned("d", ""), owned("e", "1=2")]);
        assert_eq!(baggage.to_string(), "a=1;p=2,b=x%20y%FF,d=,e=1=2", "handed on as it came");
        assert_eq!(Baggage::parse(&"a=1,".repeat(1_000)).0.len(), MAX_ENTRIES);
        assert!(Baggage::parse(&format!("a=1,b={},c=3", "x".repeat(1 << 20))).to_string().len() <= MAX_BYTES);
    }

    #[test]
    fn what_is_set_fits_and_replaces() {
        let mut baggage = Baggage::parse("a=1,b=2");
        baggage.insert(Entry::new("a", "x, y; z%").expect("a token"));
        assert_eq!((baggage.get("a").as_deref(), baggage.to_string().as_str()), (Some("x, y; z%"), "b=2,a=x%2C%20y%3B%20z%25"));
        baggage.insert(Entry::new("long", &"x".repeat(9_000)).expect("a token"));
        assert_eq!(baggage.get("long"), None);
        assert_eq!(Entry::new("no token", "1"), None);
    }

    /// Report C3.
    #[test]
    fn what_is_handed_on_keeps_the_limit_and_the_grammar() {
        let quotes = format!("a={}", "\"".repeat(MAX_BYTES - 2));
        assert!(Baggage::parse(&quotes).to_string().len() <= MAX_BYTES);
        let many: String = (0..60).map(|number| format!("k{number}={},", "\"".repeat(56))).collect();
        let kept = Baggage::parse(&many).to_string().len();
        assert!((MAX_BYTES - 200..=MAX_BYTES).contains(&kept), "{kept}");
        assert_eq!(Baggage::parse("a=1;p\"q z;r=2;;s").to_string(), "a=1;r=2;s");
    }

    /// Report C3.
    #[test]
    fn the_limit_is_inclusive_and_blanks_and_quotes_are_as_the_grammar_has_them() {
        let full = format!("a={}", "x".repeat(MAX_BYTES - 2));
        assert_eq!(Baggage::parse(&full).to_string(), full);
        assert!(Baggage::parse(&format!("{full}x")).is_empty());
        let two = format!("a=1,b={}", "x".repeat(MAX_BYTES - 6));
        assert_eq!((two.len(), Baggage::parse(&two).to_string()), (MAX_BYTES, two));
        assert_eq!(Baggage::parse("a=1\t;\tp = 2 ; q ,b=2").to_string(), "a=1;p=2;q,b=2");
        let odd = Baggage::parse(r#"a=x y"z\w,b=%22"#);
        assert_eq!(odd.to_string(), "a=x%20y%22z%5Cw,b=%22");
        assert_eq!((odd.get("a").as_deref(), odd.get("b").as_deref()), (Some(r#"x y"z\w"#), Some("\"")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in "\\PC{0,60}") {
            let mut baggage = Baggage::default();
            baggage.insert(Entry::new("k", &value).expect("a token"));
            prop_assert_eq!(Baggage::parse(&baggage.to_string()).get("k"), Some(value));
        }

        #[test]
        fn nothing_panics(header in "\\PC{0,200}") {
            let _ = Baggage::parse(&header).to_string();
        }
    }
}
