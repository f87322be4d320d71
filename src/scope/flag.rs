//! Feature flags, in the semantic conventions' terms (`feature_flag.*`).

use tracing::{Level, event};

use crate::{AttributeValue, attribute::attribute_of, trail::record::Record};

pub(super) const KEY: &str = "feature_flag.key";
const VARIANT: &str = "feature_flag.result.variant";
const VALUE: &str = "feature_flag.result.value";
const REASON: &str = "feature_flag.result.reason";
const PROVIDER: &str = "feature_flag.provider.name";
const CONTEXT: &str = "feature_flag.context.id";
const SET: &str = "feature_flag.set.id";
const VERSION: &str = "feature_flag.version";

/// What a feature flag was evaluated to. See [`flag_evaluated`](crate::flag_evaluated).
#[derive(Clone, Debug, PartialEq)]
pub struct FlagEvaluation {
    key: String,
    /// Whole keys.
    attributes: Vec<(&'static str, AttributeValue)>,
}

impl FlagEvaluation {
    /// An evaluation of the flag with this key (`feature_flag.key`).
    pub fn new(key: impl Into<String>) -> Self {
        Self { key: key.into(), attributes: Vec::new() }
    }

    /// `feature_flag.result.variant`: the name of the result, such as `on`.
    #[must_use]
    pub fn with_variant(self, variant: impl Into<String>) -> Self {
        self.with(VARIANT, variant.into())
    }

    /// Sets the result itself (`feature_flag.result.value`).
    #[must_use]
    pub fn with_value(self, value: impl Into<AttributeValue>) -> Self {
        self.with(VALUE, value.into())
    }

    /// `feature_flag.result.reason`: `static`, `default`, `targeting_match`, `split`, `cached`,
    /// `disabled`, `stale`, `error`.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        self.with(REASON, reason.into())
    }

    /// Names the system that holds the flag (`feature_flag.provider.name`).
    #[must_use]
    pub fn with_provider(self, name: impl Into<String>) -> Self {
        self.with(PROVIDER, name.into())
    }

    /// `feature_flag.context.id`: for whom it was evaluated.
    #[must_use]
    pub fn with_context(self, id: impl Into<String>) -> Self {
        self.with(CONTEXT, id.into())
    }

    /// Names the set the flag belongs to (`feature_flag.set.id`).
    #[must_use]
    pub fn with_set(self, id: impl Into<String>) -> Self {
        self.with(SET, id.into())
    }

    /// Sets the version of the flag's rules (`feature_flag.version`).
    #[must_use]
    pub fn with_version(self, version: impl Into<String>) -> Self {
        self.with(VERSION, version.into())
    }

    /// The key of the feature flag (`feature_flag.key`).
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name of the result.
    pub fn variant(&self) -> Option<&str> {
        self.get(VARIANT)?.as_str()
    }

    /// The value the flag was evaluated to.
    pub fn value(&self) -> Option<&AttributeValue> {
        self.get(VALUE)
    }

    fn get(&self, wanted: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value)
    }

    fn with(mut self, key: &'static str, value: impl Into<AttributeValue>) -> Self {
        self.attributes.retain(|(known, _)| *known != key);
        self.attributes.push((key, value.into()));
        self
    }

    /// As an event like any other; whoever listens hears it.
    pub(super) fn emit(&self) {
        let text = |key| self.get(key).map(ToString::to_string);
        event!(
            name: "feature_flag.evaluation",
            target: "feature_flag",
            Level::INFO,
            feature_flag.key = self.key,
            feature_flag.result.variant = text(VARIANT),
            feature_flag.result.value = self.get(VALUE).map(|value| match value {
                AttributeValue::Bool(value) => value as &dyn tracing::Value,
                AttributeValue::I64(value) => value,
                AttributeValue::F64(value) => value,
                AttributeValue::Str(value) => value,
                AttributeValue::Array(_) => &"[…]",
            }),
            feature_flag.result.reason = text(REASON),
            feature_flag.provider.name = text(PROVIDER),
            feature_flag.context.id = text(CONTEXT),
            feature_flag.set.id = text(SET),
            feature_flag.version = text(VERSION),
        );
    }

    pub(super) fn from_record(record: &Record<'_>, fields: &[&'static str]) -> Option<Self> {
        const KEYS: [&str; 7] = [VARIANT, VALUE, REASON, PROVIDER, CONTEXT, SET, VERSION];
        let mut flag = Self::new("");
        for (index, value) in record.fields() {
            let Some(name) = fields.get(usize::from(index)) else { continue };
            if *name == KEY {
                flag.key = attribute_of(&value).to_string();
            } else if let Some(key) = KEYS.into_iter().find(|key| key == name) {
                flag = flag.with(key, attribute_of(&value));
            }
        }
        (!flag.key.is_empty()).then_some(flag)
    }

    /// `{"key": …, "variant": …}`, short names, for the exception record.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({ "key": self.key });
        for (key, value) in &self.attributes {
            let short = key.trim_start_matches("feature_flag.").trim_start_matches("result.");
            json[short] = value.to_json();
        }
        json
    }
}
