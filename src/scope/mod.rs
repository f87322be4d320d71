//! Who a request is for and what it is about: user, tags, contexts, session, feature flags. Comes
//! in: what the program says, on any thread. Goes out: with every exception of the request.
//!
//! It is kept with the trail, so it follows the span tree and ends with the request; nothing hangs
//! on a thread. What is said of the whole process is kept once.

mod clean;
mod context;
mod data;
mod flag;
mod user;

use std::sync::Arc;

use serde::Serialize;

use self::clean::{clean, clean_key};
pub(crate) use self::{
    clean::{clean_tags, clean_value},
    data::{ScopeCell, ScopeData, is_of_flag, is_of_user},
};
pub use self::{flag::FlagEvaluation, user::User};

use crate::{
    AttributeValue,
    propagation::Baggage,
    state::{self, Core, active_core},
    trail::{Trail, record::Record},
};

/// Contexts of one scope at most; the first stay.
const MAX_CONTEXTS: usize = 16;

/// Says who the current request is for. See [`Scope::set_user`].
///
/// ```
/// use crumbtrail::User;
///
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::set_user(User::new("42").with_name("ada"));
///     tracing::error!("out of stock");
/// });
/// assert_eq!(collected.exceptions()[0].user().and_then(User::id), Some("42"));
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
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::set_tag("plan", "pro");
///     tracing::error!("out of stock");
/// });
/// assert_eq!(collected.exceptions()[0].attribute("plan"), Some(&"pro".into()));
/// ```
pub fn set_tag(key: &str, value: impl Into<AttributeValue>) {
    Scope::request().set_tag(key, value);
}

/// Attributes of every exception of the current request, from any value that can be serialised. See
/// [`Scope::set_context`].
pub fn set_context(name: &str, value: &impl Serialize) {
    Scope::request().set_context(name, value);
}

/// The session the current request belongs to. See [`Scope::set_session`].
pub fn set_session(id: &str) {
    Scope::request().set_session(id);
}

/// Says what a feature flag was evaluated to: an event (`feature_flag.evaluation`, as the semantic
/// conventions have it), and part of the current request's exceptions from now on.
///
/// ```
/// use crumbtrail::FlagEvaluation;
///
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("checkout").entered();
///     crumbtrail::flag_evaluated(&FlagEvaluation::new("new-checkout").with_variant("on"));
///     tracing::error!("out of stock");
/// });
/// assert_eq!(collected.logs()[0].event_name(), "feature_flag.evaluation");
/// assert_eq!(collected.exceptions()[0].flags()[0].variant(), Some("on"));
/// ```
pub fn flag_evaluated(evaluation: &FlagEvaluation) {
    evaluation.emit();
}

/// What exceptions say of a request, or of the whole process. The request's word wins over the
/// process's, and an event's own fields over both.
///
/// Values are scrubbed when they are set. Setting one takes a lock that is held for a copy; it
/// never blocks on anything else.
///
/// The same can be said without an import, by fields of the request's root span: `user.id`,
/// `user.name`, …, `session.id`, `tags.<key>` (what is set by hand wins over them); and by events
/// with a `feature_flag.key`. `user.*` fields of a span within the request count for what happens
/// in that span.
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
    /// The current request: the trail of the span that is current on this thread. Outside of spans
    /// there is none, and what is set is dropped (said once, on stderr).
    pub fn request() -> Self {
        Self { of: Of::Request }
    }

    /// The process: every exception that it raises, also those outside of requests. That of the
    /// telemetry that records on this thread, else of the installed one.
    pub fn process() -> Self {
        Self { of: Of::Process }
    }

    /// Sets the user who is served. Replaces whom an earlier call named. Exceptions always carry
    /// it; logs and spans where [`Builder::with_user_on_logs`](crate::Builder::with_user_on_logs)
    /// and [`with_user_on_spans`](crate::Builder::with_user_on_spans) says so.
    pub fn set_user(&self, user: User) {
        let Some(core) = recording() else { return };
        // The program's own rules run here: under none of our locks.
        let user = user.scrubbed(&core.scrubber);
        self.change(&core, |data| (data.user, data.user_by_hand) = (Some(user), true));
    }

    /// Says that nobody is served, or nobody who is known.
    pub fn clear_user(&self) {
        let Some(core) = recording() else { return };
        self.change(&core, |data| (data.user, data.user_by_hand) = (None, true));
    }

    /// An attribute, named as it is here. At most 64, keys of 96 bytes and values of 1 KiB; longer
    /// ones are cut.
    pub fn set_tag(&self, key: &str, value: impl Into<AttributeValue>) {
        let Some(core) = recording() else { return };
        let (key, value) = (clean_key(&core.scrubber, key), clean_value(&core.scrubber, key, value.into()));
        self.change(&core, |data| data.set_tag(key, value));
    }

    /// Removes a tag from the request or the process.
    pub fn remove_tag(&self, key: &str) {
        let Some(core) = recording() else { return };
        let key = clean_key(&core.scrubber, key);
        self.change(&core, |data| data.tags.retain(|(known, _)| *known != key));
    }

    /// A value's parts as attributes: `cart.items`, `cart.total.cents`. Up to four levels and 64
    /// parts; a list of plain values is one attribute. The value's own `Serialize` runs here and
    /// may panic, which costs the context and nothing else.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let (_, collected) = crumbtrail::testing::collect(|| {
    ///     let _request = tracing::info_span!("checkout").entered();
    ///     crumbtrail::set_context("cart", &json!({ "items": 3, "total": { "cents": 1999 }, "password": "hunter2" }));
    ///     tracing::error!("out of stock");
    /// });
    /// let exception = &collected.exceptions()[0];
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

    /// Sets the session's id (`session.id`).
    pub fn set_session(&self, id: &str) {
        let Some(core) = recording() else { return };
        let session = clean(&core.scrubber, "session.id", id);
        self.change(&core, |data| data.session = Some(session));
    }

    /// Copies entries of a `baggage` header (W3C Baggage) that
    /// [`Builder::with_baggage`](crate::Builder::with_baggage) allows, as tags of the same name.
    /// What does not parse is left out, one entry at a time.
    ///
    /// ```
    /// use crumbtrail::Scope;
    ///
    /// let builder = crumbtrail::testing::builder().with_baggage(["tenant"]);
    /// let (_, collected) = crumbtrail::testing::collect_with(builder, || {
    ///     let _request = tracing::info_span!("checkout").entered();
    ///     Scope::request().copy_baggage("tenant=acme%20ltd;ttl=5, internal=7");
    ///     tracing::error!("out of stock");
    /// });
    /// assert_eq!(collected.exceptions()[0].attribute("tenant"), Some(&"acme ltd".into()));
    /// assert_eq!(collected.exceptions()[0].attribute("internal"), None);
    /// ```
    pub fn copy_baggage(&self, header: &str) {
        let Some(core) = recording() else { return };
        let tags = tags_of(&Baggage::parse(header), &core);
        self.change(&core, |data| tags.into_iter().for_each(|(key, value)| data.set_tag(key, value)));
    }

    /// `change` runs under a lock that a panic hook takes, too: nothing of the program's may run in
    /// it.
    fn change(&self, core: &Arc<Core>, change: impl FnOnce(&mut ScopeData)) {
        match self.of {
            Of::Process => core.process_scope.change(change),
            Of::Request => match state::current_state(core).and_then(|state| state.shared_trail().cloned()) {
                Some(trail) => trail.scope().change(change),
                None => core.diagnose_no_request(),
            },
        }
    }
}

/// The telemetry of this thread, while it records.
fn recording() -> Option<Arc<Core>> {
    active_core().filter(|core| !core.is_closed())
}

/// The entries of baggage that are allowed, as tags. Runs the program's own rules for secrets, so
/// under none of our locks.
pub(crate) fn tags_of(baggage: &Baggage, core: &Core) -> Vec<(String, AttributeValue)> {
    let allowed = baggage.entries().filter(|(key, _)| core.config.baggage.iter().any(|allowed| allowed == key));
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
