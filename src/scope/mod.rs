//! Who a request is for and what it is about: user, tags, contexts, session, feature flags. Comes in: what the program says, on any thread. Goes out: with every exception of the request.
//!
//! It is kept with the trail, so it follows the span tree and ends with the request; nothing hangs on a thread. What is said of the whole process is kept once.

mod context;
mod flag;
mod user;

use std::sync::Arc;

use serde::Serialize;

pub use self::{flag::FlagEvaluation, user::User};
use crate::{
    AttributeValue,
    exception::active_core,
    export::attribute_of,
    fork::Mutex,
    layer::{self, core::Core},
    propagation::Baggage,
    scrub::{SLACK, Scrubber, Treatment},
    text::cut,
    trail::{Trail, record::Record},
};

/// Tags and contexts of one scope at most; the first stay.
const MAX_TAGS: usize = 64;
const MAX_CONTEXTS: usize = 16;
/// Feature flags of one scope at most; the last evaluated stay.
const MAX_FLAGS: usize = 32;
/// Bytes of one value and of one key at most.
const MAX_VALUE: usize = 1024;
const MAX_KEY: usize = 96;

/// Says who the current request is for. See [`Scope::set_user`].
///
/// ```
/// use crumbtrail::User;
///
/// let (_, captured) = crumbtrail::testing::capture(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::set_user(User::new("42").with_name("ada"));
///     tracing::error!("out of stock");
/// });
/// assert_eq!(captured.exceptions()[0].user().and_then(User::id), Some("42"));
/// ```
pub fn set_user(user: User) {
    Scope::request().set_user(user);
}

/// Forgets who the current request is for. See [`Scope::clear_user`].
pub fn clear_user() {
    Scope::request().clear_user();
}

/// An attribute of every exception of the current request. See [`Scope::set_tag`].
///
/// ```
/// let (_, captured) = crumbtrail::testing::capture(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::set_tag("plan", "pro");
///     tracing::error!("out of stock");
/// });
/// assert_eq!(captured.exceptions()[0].attribute("plan"), Some(&"pro".into()));
/// ```
pub fn set_tag(key: &str, value: impl Into<AttributeValue>) {
    Scope::request().set_tag(key, value);
}

/// Attributes of every exception of the current request, from any value that can be serialised. See [`Scope::set_context`].
pub fn set_context(name: &str, value: &impl Serialize) {
    Scope::request().set_context(name, value);
}

/// The session the current request belongs to. See [`Scope::set_session`].
pub fn set_session(id: &str) {
    Scope::request().set_session(id);
}

/// Says what a feature flag was evaluated to: an event (`feature_flag.evaluation`, as the semantic conventions have it), and part of the current request's exceptions from now on.
///
/// ```
/// use crumbtrail::FlagEvaluation;
///
/// let (_, captured) = crumbtrail::testing::capture(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::flag_evaluated(&FlagEvaluation::new("new-checkout").with_variant("on"));
///     tracing::error!("out of stock");
/// });
/// assert_eq!(captured.logs()[0].event_name(), "feature_flag.evaluation");
/// assert_eq!(captured.exceptions()[0].flags()[0].variant(), Some("on"));
/// ```
pub fn flag_evaluated(evaluation: &FlagEvaluation) {
    evaluation.emit();
}

/// What exceptions say of a request, or of the whole process. The request's word wins over the process's, and an event's own fields over both.
///
/// Values are scrubbed when they are set. Setting one takes a lock that is held for a copy; it never blocks on anything else.
///
/// The same can be said without an import, by fields of the request's root span: `user.id`, `user.name`, …, `session.id`, `tags.<key>` (what is set by hand wins over them); and by events with a `feature_flag.key`. `user.*` fields of a span within the request count for what happens in that span.
#[derive(Clone, Debug)]
pub struct Scope {
    of: Of,
}

#[derive(Clone, Debug)]
enum Of {
    Request,
    Process,
}

impl Scope {
    /// The current request: the trail of the span that is current on this thread. Outside of spans there is none, and what is set is dropped (said once, on stderr).
    pub fn request() -> Self {
        Self { of: Of::Request }
    }

    /// The process: every exception that it raises, also those outside of requests. That of the telemetry that records on this thread, else of the installed one.
    pub fn process() -> Self {
        Self { of: Of::Process }
    }

    /// Who is served. Replaces whom an earlier call named. Exceptions always carry it; logs and spans where
    /// [`Builder::with_user_on_logs`](crate::Builder::with_user_on_logs) and
    /// [`with_user_on_spans`](crate::Builder::with_user_on_spans) says so.
    pub fn set_user(&self, user: User) {
        let Some(core) = recording() else { return };
        // The program's own rules run here: under none of our locks.
        let user = user.scrubbed(&core.scrubber);
        self.change(&core, |data| (data.user, data.user_by_hand) = (Some(user), true));
    }

    /// Nobody, or nobody known.
    pub fn clear_user(&self) {
        let Some(core) = recording() else { return };
        self.change(&core, |data| (data.user, data.user_by_hand) = (None, true));
    }

    /// An attribute, named as it is here. At most 64, keys of 96 bytes and values of 1 KiB; longer ones are cut.
    pub fn set_tag(&self, key: &str, value: impl Into<AttributeValue>) {
        let Some(core) = recording() else { return };
        let (key, value) = (clean_key(&core.scrubber, key), clean_value(&core.scrubber, key, value.into()));
        self.change(&core, |data| data.set_tag(key, value));
    }

    /// Takes a tag back.
    pub fn remove_tag(&self, key: &str) {
        let Some(core) = recording() else { return };
        let key = clean_key(&core.scrubber, key);
        self.change(&core, |data| data.tags.retain(|(known, _)| *known != key));
    }

    /// A value's parts as attributes: `cart.items`, `cart.total.cents`. Up to four levels and 64 parts; a list of plain values is one attribute. The value's own `Serialize` runs here and may panic, which costs the context and nothing else.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let (_, captured) = crumbtrail::testing::capture(|| {
    ///     let _request = tracing::info_span!("checkout").entered();
    ///     crumbtrail::set_context("cart", &json!({ "items": 3, "total": { "cents": 1999 }, "password": "hunter2" }));
    ///     tracing::error!("out of stock");
    /// });
    /// let exception = &captured.exceptions()[0];
    /// assert_eq!(exception.attribute("cart.total.cents"), Some(&1999.into()));
    /// assert_eq!(exception.attribute("cart.password"), Some(&"[Filtered]".into()));
    /// ```
    pub fn set_context(&self, name: &str, value: &impl Serialize) {
        let Some(core) = recording() else { return };
        let name = clean_key(&core.scrubber, name);
        // The program's code, so under none of our locks.
        let Some(parts) = context::flatten(&name, value, &core.scrubber) else { return };
        self.change(&core, |data| {
            data.contexts.retain(|(known, _)| *known != name);
            if data.contexts.len() < MAX_CONTEXTS {
                data.contexts.push((name, parts));
            }
        });
    }

    /// The session (`session.id`).
    pub fn set_session(&self, id: &str) {
        let Some(core) = recording() else { return };
        let session = clean(&core.scrubber, "session.id", id);
        self.change(&core, |data| data.session = Some(session));
    }

    /// Copies entries of a `baggage` header (W3C Baggage) that [`Builder::with_baggage`](crate::Builder::with_baggage) allows, as tags of the same name. What does not parse is left out, one entry at a time.
    ///
    /// ```
    /// use crumbtrail::Scope;
    ///
    /// let builder = crumbtrail::testing::builder().with_baggage(["tenant"]);
    /// let (_, captured) = crumbtrail::testing::capture_with(builder, || {
    ///     let _request = tracing::info_span!("checkout").entered();
    ///     Scope::request().copy_baggage("tenant=acme%20ltd;ttl=5, internal=7");
    ///     tracing::error!("out of stock");
    /// });
    /// assert_eq!(captured.exceptions()[0].attribute("tenant"), Some(&"acme ltd".into()));
    /// assert_eq!(captured.exceptions()[0].attribute("internal"), None);
    /// ```
    pub fn copy_baggage(&self, header: &str) {
        let Some(core) = recording() else { return };
        let tags = tags_of(&Baggage::parse(header), &core);
        self.change(&core, |data| tags.into_iter().for_each(|(key, value)| data.set_tag(key, value)));
    }

    /// `change` runs under a lock that a panic hook takes, too: nothing of the program's may run in it.
    fn change(&self, core: &Arc<Core>, change: impl FnOnce(&mut ScopeData)) {
        match self.of {
            Of::Process => core.process_scope.change(change),
            Of::Request => match layer::current_state(core).and_then(|state| state.shared_trail().cloned()) {
                Some(trail) => trail.scope().change(change),
                None => core.say_once_no_request(),
            },
        }
    }
}

/// The telemetry of this thread, while it records.
fn recording() -> Option<Arc<Core>> {
    active_core().filter(|core| !core.is_closed())
}

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
    fn set_tag(&mut self, key: String, value: AttributeValue) {
        let has_room = self.tags.len() < MAX_TAGS;
        match self.tags.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None if has_room => self.tags.push((key, value)),
            None => {}
        }
    }

    fn evaluated(&mut self, flag: FlagEvaluation) {
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

    /// Takes what a root span's fields say, where nothing was said by hand. They are scrubbed already.
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

/// The entries of baggage that are allowed, as tags. Runs the program's own rules for secrets, so under none of our locks.
pub(crate) fn tags_of(baggage: &Baggage, core: &Core) -> Vec<(String, AttributeValue)> {
    let allowed = baggage.entries().filter(|(key, _)| core.baggage.iter().any(|allowed| allowed == key));
    allowed.map(|(key, value)| (clean_key(&core.scrubber, key), clean_value(&core.scrubber, key, value.into()))).collect()
}

/// Takes an evaluated flag from an event.
pub(crate) fn take_flag(core: &Core, trail: Option<&Trail>, record: &Record<'_>, fields: &[&'static str]) {
    let Some(flag) = FlagEvaluation::from_record(record, fields) else { return };
    match trail {
        Some(trail) => trail.scope().change(|data| data.evaluated(flag)),
        None => core.process_scope.change(|data| data.evaluated(flag)),
    }
}

/// What is said of one exception.
pub(crate) fn clean_tags(scrubber: &Scrubber, tags: Vec<(String, AttributeValue)>) -> Vec<(String, AttributeValue)> {
    tags.into_iter().take(MAX_TAGS).map(|(key, value)| (clean_key(scrubber, &key), clean_value(scrubber, &key, value))).collect()
}

/// A key may come from data.
fn clean_key(scrubber: &Scrubber, key: &str) -> String {
    cut(&scrubber.scrub(cut(key, MAX_KEY + SLACK)), MAX_KEY).to_owned()
}

/// Cut after it is clean: what is cut may not be known for a secret any more.
fn clean(scrubber: &Scrubber, key: &str, text: &str) -> String {
    match scrubber.value(key, cut(text, MAX_VALUE + SLACK)) {
        Ok(clean) => cut(&clean, MAX_VALUE).to_owned(),
        Err(_) => crate::scrub::FILTERED.to_owned(),
    }
}

/// Values of one list at most.
const MAX_LIST: usize = 64;

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
