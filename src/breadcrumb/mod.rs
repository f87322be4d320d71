//! Breadcrumbs: what happened before. Most of them crumbtrail leaves itself; these are the ones
//! left by hand, and what hooks and tests see of all.

mod record;

pub(crate) use self::record::leave_breadcrumb;
#[cfg(feature = "tracing-opentelemetry-0-34")]
pub(crate) use self::record::write_named;
#[cfg(feature = "log")]
pub(crate) use self::record::write_pairs;

use std::{
    fmt,
    ops::Deref,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value as Json, json};
use tracing_core::Level;

use crate::{
    AttributeValue, attribute,
    state::{self, active_core},
};

/// Values of one breadcrumb.
const MAX_DATA: usize = 32;

/// Leaves a breadcrumb in the trail of the current request. It is exported only with an exception
/// of that request. Outside of requests it is dropped.
///
/// Costs about as much as an event, and no more where nothing listens. Secrets are taken out at
/// once.
///
/// ```
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("edit photo").entered();
///     crumbtrail::breadcrumb("filter", "Applied sepia");
///     tracing::error!("out of memory");
/// });
/// let crumbs = collected.exceptions()[0].breadcrumbs();
/// assert_eq!((crumbs[1].category(), crumbs[1].message()), ("filter", "Applied sepia"));
/// ```
pub fn breadcrumb(category: &str, message: &str) {
    leave(|| Breadcrumb::new(category, message));
}

/// Leaves a breadcrumb that is made only if there is a trail to hold it.
///
/// ```
/// use crumbtrail::Breadcrumb;
///
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("search").entered();
///     crumbtrail::breadcrumb_with(|| Breadcrumb::new("query", "SELECT").with_data("rows", 3).with_level(tracing::Level::DEBUG));
///     tracing::error!("gave up");
/// });
/// assert_eq!(collected.exceptions()[0].breadcrumbs()[1].data("rows"), Some(&3.into()));
/// ```
pub fn breadcrumb_with(make: impl FnOnce() -> Breadcrumb) {
    leave(make);
}

fn leave(make: impl FnOnce() -> Breadcrumb) {
    if let Some(core) = active_core().filter(|core| !core.is_closed())
        && let Some(state) = state::current_state(&core)
    {
        leave_breadcrumb(&core, &state, false, make);
    }
}

/// One thing that happened before an exception.
#[derive(Clone, PartialEq)]
pub struct Breadcrumb {
    /// Nanoseconds since the Unix epoch; 0 until it is left.
    pub(crate) time: u64,
    pub(crate) category: String,
    pub(crate) level: Level,
    pub(crate) message: String,
    /// Where it comes from: an event's or span's target.
    pub(crate) target: String,
    pub(crate) data: Vec<(String, AttributeValue)>,
    /// A span was opened or closed.
    pub(crate) of_span: bool,
}

impl Breadcrumb {
    /// A breadcrumb of level INFO. The category says what kind of thing happened, in one word;
    /// crumbtrail's own are `log`, `span`, `exception`, `http`, `db`, `rpc`, `messaging` and
    /// `flag`.
    pub fn new(category: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            time: 0,
            category: category.into(),
            level: Level::INFO,
            message: message.into(),
            target: String::new(),
            data: Vec::new(),
            of_span: false,
        }
    }

    /// Sets the breadcrumb's level; `INFO` by default.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Adds a value to the breadcrumb under a key. At most 32; a later value of a key replaces an
    /// earlier one.
    #[must_use]
    pub fn with_data(mut self, key: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.set_data(key, value);
        self
    }

    /// The time at which it happened.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.time)
    }

    /// The kind of thing that happened: `log`, `http`, `exception`, or one of your own.
    pub fn category(&self) -> &str {
        &self.category
    }

    /// The breadcrumb's level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The breadcrumb's message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The target of the event or span; empty for those left by hand.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The value of a key.
    pub fn data(&self, key: &str) -> Option<&AttributeValue> {
        attribute::get(&self.data, key)
    }

    /// Replaces the message.
    pub fn set_message(&mut self, message: impl Into<String>) {
        self.message = message.into();
    }

    /// Sets a value of the breadcrumb, or replaces it.
    pub fn set_data(&mut self, key: impl Into<String>, value: impl Into<AttributeValue>) {
        attribute::set(&mut self.data, key.into(), value.into(), MAX_DATA);
    }

    /// Removes a value from the breadcrumb and returns it.
    pub fn remove_data(&mut self, key: &str) -> Option<AttributeValue> {
        attribute::remove(&mut self.data, key)
    }

    /// `{"timestamp", "category", "level", "target", "message", "data": {…}}`.
    pub(crate) fn to_json(&self, timestamp: String) -> Json {
        let mut json = json!({ "timestamp": timestamp, "category": self.category, "level": self.level.as_str().to_ascii_lowercase() });
        if !self.target.is_empty() {
            json["target"] = Json::from(self.target.as_str());
        }
        if !self.message.is_empty() {
            json["message"] = Json::from(self.message.as_str());
        }
        if !self.data.is_empty() {
            json["data"] = Json::Object(self.data.iter().map(|(key, value)| (key.clone(), value.to_json())).collect::<Map<_, _>>());
        }
        json
    }
}

/// Levels by number: 1 is ERROR, 5 is TRACE.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// As records have it.
pub(crate) fn number_of(level: Level) -> u64 {
    LEVELS.iter().zip(1..).find(|(known, _)| **known == level).map_or(3, |(_, number)| number)
}

/// The level of a [`number`](number_of).
pub(crate) fn level_of(number: u64) -> Level {
    LEVELS.iter().zip(1..).find(|(_, known)| *known == number).map_or(Level::INFO, |(level, _)| *level)
}

impl fmt::Debug for Breadcrumb {
    /// A line: `INFO [log] charging card amount=1999`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] {}", self.level, self.category, self.message)?;
        self.data.iter().try_for_each(|(key, value)| write!(f, " {key}={value:?}"))
    }
}

/// The breadcrumbs of an exception, oldest first.
#[derive(Clone, Default, PartialEq)]
pub struct Breadcrumbs(pub(crate) Vec<Breadcrumb>);

impl Breadcrumbs {
    /// The messages of events and of breadcrumbs left by hand, oldest first; spans that were opened
    /// and closed are left out.
    pub fn messages(&self) -> Vec<&str> {
        self.0.iter().filter(|crumb| !crumb.of_span).map(Breadcrumb::message).collect()
    }

    /// Keeps those of which `keep` says so. It may change them, too.
    pub fn retain(&mut self, keep: impl FnMut(&mut Breadcrumb) -> bool) {
        self.0.retain_mut(keep);
    }

    /// Iterates over the breadcrumbs, to change them in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Breadcrumb> {
        self.0.iter_mut()
    }
}

impl Deref for Breadcrumbs {
    type Target = [Breadcrumb];

    fn deref(&self) -> &[Breadcrumb] {
        &self.0
    }
}

impl fmt::Debug for Breadcrumbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}
