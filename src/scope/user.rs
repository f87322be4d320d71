//! Whom a request is for, in the semantic conventions' terms (`user.*`).

use std::fmt;

use super::{clean, clean_value};
use crate::{
    AttributeValue, attribute,
    scrub::{Scrubber, Treatment},
};

/// Of one user, its id and name among them.
const MAX_ATTRIBUTES: usize = 16;

/// A user: an id, and what else may be told. See [`set_user`](crate::set_user).
///
/// The id is the one thing that is always sent; make it one that means something to your own
/// systems only, or have it [hashed](crate::Scrubber::with_hashed). E-mail address and full name
/// are sent only if [personal data](crate::Builder::with_default_pii) is.
#[derive(Clone, Default, PartialEq)]
pub struct User {
    /// Whole keys; each once.
    attributes: Vec<(String, AttributeValue)>,
}

impl User {
    /// A user with this id (`user.id`).
    pub fn new(id: impl Into<String>) -> Self {
        Self::default().with("user.id", id.into())
    }

    /// `user.name`, the name they log in with.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        self.with("user.name", name.into())
    }

    /// Sets the e-mail address (`user.email`). Not sent by default.
    #[must_use]
    pub fn with_email(self, email: impl Into<String>) -> Self {
        self.with("user.email", email.into())
    }

    /// Sets the full name (`user.full_name`). Not sent by default.
    #[must_use]
    pub fn with_full_name(self, name: impl Into<String>) -> Self {
        self.with("user.full_name", name.into())
    }

    /// Sets the roles (`user.roles`).
    #[must_use]
    pub fn with_roles<R: Into<String>>(self, roles: impl IntoIterator<Item = R>) -> Self {
        self.with("user.roles", roles.into_iter().map(Into::into).collect::<Vec<String>>())
    }

    /// `user.<key>`, for what else matters.
    #[must_use]
    pub fn with_resource_attribute(self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.with(&format!("user.{key}"), value)
    }

    /// The error id, by which the record is found (`crumbtrail.error.id`).
    pub fn id(&self) -> Option<&str> {
        self.get("user.id")?.as_str()
    }

    /// The name they log in with.
    pub fn name(&self) -> Option<&str> {
        self.get("user.name")?.as_str()
    }

    /// The keyed hash of an id that is not told.
    pub fn hash(&self) -> Option<&str> {
        self.get("user.hash")?.as_str()
    }

    /// Every attribute, with its whole key.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.attributes.iter().map(|(key, value)| (&**key, value))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&AttributeValue> {
        attribute::get(&self.attributes, key)
    }

    /// A field of a narrower place: another id is another user, of whom nothing else is known.
    pub(crate) fn narrow(user: &mut Option<Self>, key: &str, value: AttributeValue) {
        let is_other = key == "user.id" && user.as_ref().and_then(Self::id).is_some_and(|known| known != value.to_string());
        if is_other {
            *user = None;
        }
        user.get_or_insert_default().set(key, value);
    }

    pub(crate) fn set(&mut self, key: &str, value: AttributeValue) {
        // The conventions have them as strings; programs have numbers.
        let value = if matches!(key, "user.id" | "user.name" | "user.hash") { value.to_string().into() } else { value };
        attribute::set(&mut self.attributes, key, value, MAX_ATTRIBUTES);
    }

    /// Without what must not be told: that is left out, rather than shown as filtered.
    pub(super) fn scrubbed(self, scrubber: &Scrubber) -> Self {
        let mut user = Self::default();
        for (key, value) in self.attributes {
            match scrubber.key(&key) {
                Treatment::Filter => {}
                Treatment::Hash if key == "user.id" => user.set("user.hash", clean(scrubber, &key, &value.to_string()).into()),
                _ => user.set(&key, clean_value(scrubber, &key, value)),
            }
        }
        user
    }

    fn with(mut self, key: &str, value: impl Into<AttributeValue>) -> Self {
        self.set(key, value.into());
        self
    }
}

impl fmt::Debug for User {
    /// The keys that are known, and of their values the id alone: the rest may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        for (key, value) in &self.attributes {
            match &**key {
                "user.id" | "user.hash" => shown.entry(key, value),
                _ => shown.entry(key, &"…"),
            };
        }
        shown.finish()
    }
}
