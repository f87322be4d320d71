//! What a filter over all layers takes away from ours. Comes in: the subscriber, and our filters.
//! Goes out: one line on stderr with the remedy, where they disagree. Asked by the worker, with the
//! first records: filters are the program's own code, and may log.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing_core::{Callsite, Dispatch, Interest, Kind, Level, Metadata, callsite::Identifier, dispatcher::WeakDispatch, field::FieldSet};
use tracing_subscriber::filter::Targets;

use crate::{
    filter::{Filter, Filters, QUERIES},
    fork::Mutex,
};

/// A subscriber that is still to be asked.
#[derive(Default)]
pub(crate) struct Unasked {
    is_there: AtomicBool,
    dispatch: Mutex<Option<WeakDispatch>>,
}

impl Unasked {
    pub(crate) fn put(&self, dispatch: &Dispatch) {
        *self.dispatch.lock() = Some(dispatch.downgrade());
        self.is_there.store(true, Ordering::Release);
    }

    /// Asks it, and says what it hides.
    pub(crate) fn ask(&self, filters: &Filters) {
        if !self.is_there.swap(false, Ordering::Acquire) {
            return;
        }
        let dispatch = self.dispatch.lock().take();
        let hidden = dispatch.and_then(|dispatch| dispatch.upgrade()).map(|dispatch| hidden(&dispatch, filters));
        if let Some(hidden) = hidden.filter(|hidden| !hidden.is_empty()) {
            crate::diagnose(format_args!(
                "a filter over all layers hides from crumbtrail what its filters ask for ({}). If it is meant for the text output, give it to that layer alone: `.with(tracing_subscriber::fmt::layer().with_filter(tracing_subscriber::EnvFilter::from_default_env()))`. If it is meant for crumbtrail, too, set its filters alike, by `Builder::with_filter`",
                hidden.join("; ")
            ));
        }
    }
}

/// For each filter the directives of which nothing comes through: `breadcrumbs: info, shop=debug`.
fn hidden(dispatch: &Dispatch, filters: &Filters) -> Vec<String> {
    let all = [(Filter::Exceptions, "exceptions"), (Filter::Logs, "logs"), (Filter::Spans, "spans"), (Filter::Breadcrumbs, "breadcrumbs")];
    let of_route = |(filter, name): (Filter, &str)| {
        let kind = if filter == Filter::Spans { Kind::SPAN } else { Kind::EVENT };
        let hidden: Vec<String> = filters.with(filter, |targets| {
            let is_hidden = |(target, level): &(Option<&str>, Level)| !passes(dispatch, target.unwrap_or(ANY), *level, kind.clone());
            wanted(targets).filter(is_hidden).map(directive).collect()
        });
        (!hidden.is_empty()).then(|| format!("{name}: {}", hidden.join(", ")))
    };
    all.into_iter().filter_map(of_route).collect()
}

/// A target that no directive names.
const ANY: &str = "any_other_crate";

fn wanted(targets: &Targets) -> impl Iterator<Item = (Option<&str>, Level)> {
    let of_all = targets.default_level().into_iter().map(|level| (None, level));
    // Nobody asked for these, and not everybody has them.
    let named = targets.iter().map(|(target, level)| (Some(target), level)).filter(|(target, _)| *target != Some(QUERIES));
    of_all.chain(named).filter_map(|(target, level)| Some((target.filter(|target| !target.is_empty()), level.into_level()?)))
}

fn directive((target, level): (Option<&str>, Level)) -> String {
    let level = level.as_str().to_ascii_lowercase();
    target.map_or(level.clone(), |target| format!("{target}={level}"))
}

fn passes(dispatch: &Dispatch, target: &str, level: Level, kind: Kind) -> bool {
    let fields = FieldSet::new(&["message"], Identifier(&NOWHERE));
    dispatch.enabled(&Metadata::new("crumbtrail asks", target, level, None, None, Some(target), fields, kind))
}

/// No callsite has these questions.
struct Nowhere;

static NOWHERE: Nowhere = Nowhere;

static METADATA: Metadata<'static> = tracing_core::metadata! {
    name: "crumbtrail asks",
    target: "crumbtrail",
    level: Level::ERROR,
    fields: &["message"],
    callsite: &NOWHERE,
    kind: Kind::EVENT
};

impl Callsite for Nowhere {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &METADATA
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _};

    use super::*;

    fn under(filter: Targets, filters: &Filters) -> Vec<String> {
        hidden(&Dispatch::new(tracing_subscriber::registry().with(filter)), filters)
    }

    #[test]
    fn what_is_hidden_is_told_by_route() {
        let filters = Filters::new([&"shop".to_owned()], false);
        let all = Targets::new().with_default(LevelFilter::DEBUG);
        assert_eq!(under(all, &filters), [""; 0]);
        let warnings = Targets::new().with_default(LevelFilter::WARN);
        assert_eq!(under(warnings, &filters), ["logs: info", "spans: info", "breadcrumbs: info, shop=debug"]);
        let of_templates = Targets::new().with_target("shop", LevelFilter::DEBUG).with_target("tower_http", LevelFilter::DEBUG);
        assert_eq!(under(of_templates, &filters), ["exceptions: error", "logs: info", "spans: info", "breadcrumbs: info"]);
    }

    #[test]
    fn what_the_routes_do_not_want_is_not_missed() {
        let mut filters = Filters::new([&"shop".to_owned()], false);
        let warnings = || Targets::new().with_default(LevelFilter::WARN);
        [Filter::Logs, Filter::Spans, Filter::Breadcrumbs].into_iter().for_each(|filter| filters.set(filter, warnings()));
        assert_eq!(under(warnings(), &filters), [""; 0]);
    }
}
