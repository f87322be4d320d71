//! What metrics may be called and measured in. Comes in: what programs call theirs. Goes out: names
//! and units that OpenTelemetry's SDK takes; it makes instruments without a word that do nothing of
//! any others.
//!
//! | a name | becomes |
//! |---|---|
//! | with `::` | with `.` there |
//! | with other bytes than ASCII letters, digits, `_`, `.`, `-`, `/` | with `_` for each run of them |
//! | that begins with another byte than a letter | `metric_` and the name |
//! | of more than 255 bytes | its first 255 |
//! | that differs from an earlier one in nothing but case | the earlier one |

use std::{borrow::Cow, collections::HashMap};

use metrics::Unit;

use crate::fork::{Mutex, Once};

/// Bytes of a name at most (metrics API specification, "Instrument name syntax").
const MAX: usize = 255;
/// Names of one program at most; they are meant to be few, and labels to be many.
const MAX_NAMES: usize = 2_000;

/// The names there are, by their small letters: to OpenTelemetry `requestCount` and `RequestCount`
/// are one.
pub(super) struct Names {
    spellings: Mutex<HashMap<String, String>>,
    too_many: Once,
    changed: Once,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { spellings: Mutex::default(), too_many: Once::new(), changed: Once::new() }
    }

    /// The name under which a metric is told. `None`: there are too many.
    pub(super) fn of<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        let valid = valid(name);
        let Some(first) = self.first(&valid) else {
            self.too_many.call_once(|| {
                crate::diagnose(format_args!(
                    "more than {MAX_NAMES} names of metrics; others are left out, {name:?} is the first. What varies belongs into a label"
                ));
            });
            return None;
        };
        let Some(first) = first.or((valid != name).then(|| valid.into_owned())) else { return Some(Cow::Borrowed(name)) };
        self.changed.call_once(|| {
            crate::diagnose(format_args!(
                "the metric {name:?} is called {first:?}: a name is ASCII letters, digits, `_`, `.`, `-`, `/`, begins with a letter, is no longer than {MAX}, and differs from others not only in case"
            ));
        });
        Some(Cow::Owned(first))
    }

    /// The spelling that came first, if it is another. `None`: there are too many names.
    fn first(&self, valid: &str) -> Option<Option<String>> {
        let mut spellings = self.spellings.lock();
        let lower = valid.to_ascii_lowercase();
        let has_room = spellings.len() < MAX_NAMES;
        match spellings.get(&lower) {
            Some(first) => Some((first != valid).then(|| first.clone())),
            None if has_room => {
                spellings.insert(lower, valid.to_owned());
                Some(None)
            }
            None => None,
        }
    }
}

/// What the program calls it as it is sent, but that of two names that differ in case only the
/// first one counts.
pub(super) fn as_sent(name: &str) -> String {
    valid(name).into_owned()
}

fn valid(name: &str) -> Cow<'_, str> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/');
    if name.len() <= MAX && name.bytes().all(is_valid) && name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len().min(MAX));
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        out.push_str("metric_");
    }
    let mut in_run = false;
    for character in name.replace("::", ".").chars() {
        let valid = u8::try_from(character).is_ok_and(is_valid);
        if valid {
            out.push(character);
        } else if !in_run {
            out.push('_');
        }
        in_run = !valid;
    }
    out.truncate(MAX);
    Cow::Owned(out)
}

/// A unit in UCUM's words, which are ASCII (semantic conventions, "Instrument units").
pub(super) fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "",
        Unit::Percent => "%",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Nanoseconds => "ns",
        Unit::Tebibytes => "TiBy",
        Unit::Gibibytes => "GiBy",
        Unit::Mebibytes => "MiBy",
        Unit::Kibibytes => "KiBy",
        Unit::Bytes => "By",
        Unit::TerabitsPerSecond => "Tbit/s",
        Unit::GigabitsPerSecond => "Gbit/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::KilobitsPerSecond => "kbit/s",
        Unit::BitsPerSecond => "bit/s",
        Unit::CountPerSecond => "1/s",
    }
}

/// Boundaries in order, each once, none infinite: the last bucket has no upper end anyway.
pub(super) fn boundaries(mut bounds: Vec<f64>) -> Vec<f64> {
    bounds.retain(|bound| bound.is_finite());
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_name_becomes_one_that_is_taken(name in "\\PC{0,300}|[a-zA-Z_./-]{0,300}") {
            let valid = valid(&name);
            prop_assert!(valid.len() <= MAX && valid.starts_with(|first: char| first.is_ascii_alphabetic()), "{}", valid);
            prop_assert!(valid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte)));
            prop_assert_eq!(super::valid(&valid), valid.clone(), "twice is once");
        }
    }
}
