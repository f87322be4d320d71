//! What is known of a request, or of the whole process. Scrubbed. Copied when it changes while an
//! exception holds on to it.

use std::sync::Arc;

use super::{FlagEvaluation, User, clean::MAX_TAGS, flag};
use crate::{
    AttributeValue,
    attribute::{self, attribute_of},
    fork::Mutex,
    propagation::Baggage,
    trail::record::Record,
};

/// Feature flags of one scope at most; the last evaluated stay.
const MAX_FLAGS: usize = 32;

/// What is known. Scrubbed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScopeData {
    pub(crate) user: Option<User>,
    /// The user, or that there is none, was said by hand.
    pub(crate) user_by_hand: bool,
    pub(crate) session: Option<String>,
    pub(crate) tags: Vec<(String, AttributeValue)>,
    /// Name, and parts with whole keys.
    pub(crate) contexts: Vec<(String, Vec<(String, AttributeValue)>)>,
    /// The last evaluated last.
    pub(crate) flags: Vec<FlagEvaluation>,
    /// What goes along with calls. Not exported.
    pub(crate) baggage: Baggage,
}

impl ScopeData {
    pub(super) fn set_tag(&mut self, key: String, value: AttributeValue) {
        attribute::set(&mut self.tags, key, value, MAX_TAGS);
    }

    pub(super) fn evaluated(&mut self, flag: FlagEvaluation) {
        self.flags.retain(|known| known.key() != flag.key());
        if self.flags.len() >= MAX_FLAGS {
            self.flags.remove(0);
        }
        self.flags.push(flag);
    }

    /// Takes a caller's baggage over, and what of it becomes [tags](tags_of).
    pub(crate) fn take_baggage(&mut self, baggage: Baggage, tags: Vec<(String, AttributeValue)>) {
        tags.into_iter().for_each(|(key, value)| self.set_tag(key, value));
        self.baggage = baggage;
    }

    /// Takes what a root span's fields say, where nothing was said by hand. They are scrubbed
    /// already.
    pub(crate) fn take_span(&mut self, record: &Record<'_>, fields: &[&'static str]) {
        if self.user_by_hand {
            return;
        }
        for (key, value) in record.fields() {
            if let Some(name) = fields.get(usize::from(key)).filter(|name| is_of_user(name)) {
                self.user.get_or_insert_default().set(name, attribute_of(&value));
            }
        }
    }

    /// Nobody is served, whatever the root span says.
    pub(crate) fn denies_user(&self) -> bool {
        self.user_by_hand && self.user.is_none()
    }
}

/// A scope's place: copied when it is changed while an exception holds on to it.
#[derive(Debug, Default)]
pub(crate) struct ScopeCell(Mutex<Option<Arc<ScopeData>>>);

impl ScopeCell {
    pub(crate) fn change(&self, change: impl FnOnce(&mut ScopeData)) {
        let mut data = self.0.lock();
        change(Arc::make_mut(data.get_or_insert_default()));
    }

    pub(crate) fn get(&self) -> Option<Arc<ScopeData>> {
        self.0.lock().clone()
    }

    pub(crate) fn clear(&mut self) {
        *self.0.get_mut() = None;
    }
}

/// Whether a field of this name says who is served.
pub(crate) fn is_of_user(field: &str) -> bool {
    field.starts_with("user.")
}

/// Whether an event with a field of this name evaluates a feature flag.
pub(crate) fn is_of_flag(field: &str) -> bool {
    field == flag::KEY
}
