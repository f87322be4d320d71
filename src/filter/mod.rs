//! Filters: which events and spans become exceptions, logs, spans and breadcrumbs. Decided once per
//! callsite, and again when a filter is exchanged.

pub(crate) mod hidden;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tracing_core::{Level, LevelFilter, Metadata};
use tracing_subscriber::filter::Targets;

use crate::{fork::Mutex, scope, service::is_within_workspace, trail::callsite::feeds};

/// What an event or span may become. Each has a filter, set by
/// [`Builder::with_filter`](crate::Builder::with_filter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Events that become exception records. Default: `error`.
    Exceptions,
    /// Events that are exported as log records. Default: `info`.
    Logs,
    /// Spans that exist for crumbtrail: they are exported, carry ids, and their roots begin trails.
    /// Default: `info`.
    Spans,
    /// Events and spans that leave a breadcrumb in the trail of their request. Default: `debug` for
    /// the service's own crate, `info` elsewhere.
    Breadcrumbs,
}

/// The four filters, which may be exchanged while the service runs.
#[derive(Debug)]
pub(crate) struct Filters {
    /// As they were set up: a forked child begins with these again, should it have been forked just
    /// while they were looked at.
    initial: Arc<Set>,
    exchanged: Mutex<Option<Arc<Set>>>,
    is_exchanged: AtomicBool,
    /// Those that stay as they are: nothing is sent by them.
    fixed: Vec<Filter>,
    /// Nothing is recorded, but what callers send along goes on through spans of a kind.
    passes_on: bool,
}

#[derive(Clone, Debug)]
struct Set {
    exceptions: Targets,
    logs: Targets,
    spans: Targets,
    breadcrumbs: Targets,
    /// DEBUG of all that is built from the workspace's sources is a breadcrumb, too.
    workspace: bool,
}

/// The target of the events that `tracing-log` makes of `log` records.
const BRIDGE_TARGET: &str = "log";

/// The target of sqlx's queries.
pub(super) const QUERIES: &str = "sqlx::query";

impl Filters {
    /// The defaults for a service with these crates of its own, and perhaps all of its workspace.
    pub(crate) fn new<'a>(own_crates: impl IntoIterator<Item = &'a String>, workspace: bool) -> Self {
        let level = |level: LevelFilter| Targets::new().with_default(level);
        // A call leaves one breadcrumb, when it ends. What sqlx says of a query, it says at DEBUG.
        let mut breadcrumbs =
            level(LevelFilter::INFO).with_target("crumbtrail::client", LevelFilter::OFF).with_target(QUERIES, LevelFilter::DEBUG);
        for own in own_crates {
            breadcrumbs = breadcrumbs.with_target(own.as_str(), LevelFilter::DEBUG);
        }
        let [exceptions, logs, spans] = [LevelFilter::ERROR, LevelFilter::INFO, LevelFilter::INFO].map(level);
        let filters = Set { exceptions, logs, spans, breadcrumbs, workspace };
        Self {
            initial: Arc::new(filters),
            exchanged: Mutex::default(),
            is_exchanged: AtomicBool::new(false),
            fixed: Vec::new(),
            passes_on: false,
        }
    }

    /// Where axum-tracing-opentelemetry and its like put their spans: at TRACE, below a target of
    /// their own.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn add_span_extensions(&mut self) {
        let filters = Arc::make_mut(&mut self.initial);
        filters.spans = std::mem::take(&mut filters.spans).with_target("otel::tracing", LevelFilter::TRACE);
    }

    pub(crate) fn set(&mut self, filter: Filter, targets: Targets) {
        Arc::make_mut(&mut self.initial).set(filter, targets);
    }

    /// Off, and so it stays.
    pub(crate) fn turn_off(&mut self, filter: Filter) {
        self.set(filter, Targets::new());
        self.fixed.push(filter);
    }

    /// While the service runs.
    pub(crate) fn exchange(&self, filter: Filter, targets: Targets) {
        if !self.fixed.contains(&filter) {
            let mut exchanged = self.exchanged.lock();
            Arc::make_mut(exchanged.get_or_insert_with(|| self.initial.clone())).set(filter, targets);
            self.is_exchanged.store(true, Ordering::Release);
        }
    }

    /// The SDK is disabled: only propagation goes on.
    pub(crate) fn only_pass_on(&mut self) {
        self.passes_on = true;
    }

    pub(crate) fn passes_on(&self) -> bool {
        self.passes_on
    }

    /// A record of the `log` crate asks each time: nothing is locked as long as nothing was
    /// exchanged.
    fn filters(&self) -> Cow<'_, Arc<Set>> {
        let exchanged = if self.is_exchanged.load(Ordering::Acquire) { self.exchanged.lock().clone() } else { None };
        exchanged.map_or(Cow::Borrowed(&self.initial), Cow::Owned)
    }

    /// Looks at the directives of one filter.
    pub(super) fn with<T>(&self, filter: Filter, look: impl FnOnce(&Targets) -> T) -> T {
        let filters = self.filters();
        look(match filter {
            Filter::Exceptions => &filters.exceptions,
            Filter::Logs => &filters.logs,
            Filter::Spans => &filters.spans,
            Filter::Breadcrumbs => &filters.breadcrumbs,
        })
    }

    /// What a callsite feeds; 0 if nothing wants it.
    pub(crate) fn feeds(&self, metadata: &Metadata<'_>) -> u8 {
        let crumb = if self.filters().is_of_workspace(metadata) { feeds::CRUMB } else { 0 };
        let has = |what: fn(&str) -> bool| if metadata.fields().iter().any(|field| what(field.name())) { feeds::SCOPE } else { 0 };
        if metadata.is_span() {
            let kind = if metadata.fields().field("otel.kind").is_some() { feeds::KIND } else { 0 };
            return match crumb | self.feeds_as(metadata.target(), metadata.level(), true) {
                0 if self.passes_on => kind,
                0 => 0,
                feeds => feeds | kind | has(scope::is_of_user),
            };
        }
        if metadata.target() == BRIDGE_TARGET && metadata.fields().field("log.target").is_some() {
            // The real target is known only when the record comes.
            let filters = self.filters();
            let wanted = most([&filters.exceptions, &filters.logs, &filters.breadcrumbs]).is_none_or(|hint| metadata.level() <= &hint);
            return if wanted { feeds::BRIDGE } else { 0 };
        }
        // A flag counts for the exceptions to come, whether or not its event is wanted elsewhere.
        let flag = if self.filters().most() == Some(LevelFilter::OFF) { 0 } else { has(scope::is_of_flag) };
        match crumb | self.feeds_as(metadata.target(), metadata.level(), false) {
            0 => flag,
            feeds => feeds | flag | has(scope::is_of_user),
        }
    }

    /// The same for a target and level that only the record knows.
    pub(crate) fn feeds_as(&self, target: &str, level: &Level, is_span: bool) -> u8 {
        let filters = self.filters();
        let feed = |targets: &Targets, bit: u8| if targets.would_enable(target, level) { bit } else { 0 };
        let crumb = feed(&filters.breadcrumbs, feeds::CRUMB);
        if is_span {
            crumb | feed(&filters.spans, feeds::SPAN)
        } else {
            crumb | feed(&filters.logs, feeds::LOG) | feed(&filters.exceptions, feeds::EXCEPTION)
        }
    }

    /// The most verbose level any filter wants.
    pub(crate) fn max_level_hint(&self) -> Option<LevelFilter> {
        // The level of a request's span is not known.
        if self.passes_on { Some(LevelFilter::TRACE) } else { self.filters().most() }
    }
}

impl Set {
    fn set(&mut self, filter: Filter, targets: Targets) {
        match filter {
            Filter::Exceptions => self.exceptions = targets,
            Filter::Logs => self.logs = targets,
            Filter::Spans => self.spans = targets,
            Filter::Breadcrumbs => (self.breadcrumbs, self.workspace) = (targets, false),
        }
    }

    /// (This library is in the workspace of its own tests.)
    fn is_of_workspace(&self, metadata: &Metadata<'_>) -> bool {
        let is_ours = || metadata.target().split("::").next() == Some("crumbtrail");
        self.workspace && *metadata.level() <= Level::DEBUG && metadata.file().is_some_and(is_within_workspace) && !is_ours()
    }

    fn most(&self) -> Option<LevelFilter> {
        let of_workspace = if self.workspace { LevelFilter::DEBUG } else { LevelFilter::OFF };
        self.most_of_targets().map(|most| most.max(of_workspace))
    }

    fn most_of_targets(&self) -> Option<LevelFilter> {
        most([&self.exceptions, &self.logs, &self.spans, &self.breadcrumbs])
    }
}

fn most<const N: usize>(targets: [&Targets; N]) -> Option<LevelFilter> {
    targets
        .into_iter()
        .map(|targets| targets.iter().map(|(_, level)| level).chain(targets.default_level()).max().unwrap_or(LevelFilter::OFF))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_keep_debug_of_the_own_crate_for_the_trail() {
        let filters = Filters::new([&"shop".to_owned()], false);
        assert_eq!(filters.feeds_as("shop::cart", &Level::DEBUG, false), feeds::CRUMB);
        assert_eq!(filters.feeds_as("hyper", &Level::DEBUG, false), 0);
        assert_eq!(filters.feeds_as("hyper", &Level::INFO, false), feeds::CRUMB | feeds::LOG);
        assert_eq!(filters.feeds_as("hyper", &Level::ERROR, false), feeds::CRUMB | feeds::LOG | feeds::EXCEPTION);
        assert_eq!(filters.feeds_as("hyper", &Level::INFO, true), feeds::CRUMB | feeds::SPAN);
        assert_eq!(filters.max_level_hint(), Some(LevelFilter::DEBUG));
    }
}
