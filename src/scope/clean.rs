//! Keys and values that a program sets, without secrets and within limits.

use crate::{
    AttributeValue,
    scrub::{SLACK, Scrubber, Treatment},
    text::cut,
};

/// Tags of one scope at most; the first stay.
pub(super) const MAX_TAGS: usize = 64;
/// Bytes of one value and of one key at most.
pub(super) const MAX_VALUE: usize = 1024;
const MAX_KEY: usize = 96;
/// Values of one list at most.
const MAX_LIST: usize = 64;

/// What is said of one exception.
pub(crate) fn clean_tags(scrubber: &Scrubber, tags: Vec<(String, AttributeValue)>) -> Vec<(String, AttributeValue)> {
    tags.into_iter().take(MAX_TAGS).map(|(key, value)| (clean_key(scrubber, &key), clean_value(scrubber, &key, value))).collect()
}

/// A key may come from data.
pub(super) fn clean_key(scrubber: &Scrubber, key: &str) -> String {
    cut(&scrubber.scrub(cut(key, MAX_KEY + SLACK)), MAX_KEY).to_owned()
}

/// Cut after it is clean: what is cut may not be known for a secret any more.
pub(super) fn clean(scrubber: &Scrubber, key: &str, text: &str) -> String {
    match scrubber.value(key, cut(text, MAX_VALUE + SLACK)) {
        Ok(clean) => cut(&clean, MAX_VALUE).to_owned(),
        Err(_) => crate::scrub::FILTERED.to_owned(),
    }
}

pub(crate) fn clean_value(scrubber: &Scrubber, key: &str, value: AttributeValue) -> AttributeValue {
    match value {
        AttributeValue::Str(text) => AttributeValue::Str(clean(scrubber, key, &text)),
        AttributeValue::Array(values) => {
            AttributeValue::Array(values.into_iter().take(MAX_LIST).map(|value| clean_value(scrubber, key, value)).collect())
        }
        AttributeValue::Bool(value) => AttributeValue::Bool(value),
        AttributeValue::I64(number) if scrubber.is_card_number(number.unsigned_abs().into()) => filtered(),
        other => match scrubber.key(key) {
            Treatment::Keep => other,
            Treatment::Filter => filtered(),
            Treatment::Hash => AttributeValue::Str(scrubber.hash(&other.to_string())),
        },
    }
}

fn filtered() -> AttributeValue {
    AttributeValue::Str(crate::scrub::FILTERED.to_owned())
}
