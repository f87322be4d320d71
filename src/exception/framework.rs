//! What web frameworks say of a request that has failed: "response failed" and the like, at ERROR,
//! by one callsite for all requests. The failure itself is told by who knows it: the handler that
//! captures or logs an error, or the middleware that sees the response.

use std::sync::Arc;

use super::{
    Echo,
    echo::{MAX_AGE_IN_REQUEST, MAX_AGE_ON_THREAD},
};
use crate::{
    state::{Core, SpanState, thread},
    trail::record::{Record, Value},
};

/// The targets of the middleware's own spans.
pub(crate) const SERVER_TARGET: &str = "crumbtrail::server";

/// Crates whose ERROR events, within a request, tell of it as a whole.
const CRATES: [&str; 10] =
    ["actix_http", "actix_web", "poem", "rocket", "salvo_core", "salvo_extra", "tonic", "tower_http", "tracing_actix_web", "warp"];

/// Those of them that speak of requests only: also where no request of ours is under way, as around
/// our middleware.
const OF_REQUESTS: [&str; 2] = ["tower_http", "tracing_actix_web"];

/// Whether an event with this target is a framework's.
pub(super) fn is_framework(target: &str) -> bool {
    CRATES.contains(&crate_of(target))
}

fn crate_of(target: &str) -> &str {
    target.split("::").next().unwrap_or_default()
}

/// The target that a record of the `log` crate says it has.
pub(super) fn bridged_target<'a>(record: &Record<'a>, fields: &[&str]) -> Option<&'a str> {
    let key = fields.iter().position(|name| *name == "log.target")?;
    record.fields().find_map(|(index, value)| match value {
        Value::Str(text) | Value::Text(text) if usize::from(index) == key => Some(text),
        _ => None,
    })
}

/// What such an event, at `time`, tells of once more: an exception that there is, or one that the
/// middleware will make, which sees the response. `None`: it is all there is.
pub(super) fn echo(core: &Arc<Core>, state: Option<&SpanState>, target: &str, time: u64) -> Option<Echo> {
    let trail = state.and_then(|state| state.trail());
    let last = match trail {
        Some(trail) => trail.recent().last_since(time.saturating_sub(MAX_AGE_IN_REQUEST)),
        // A server that cannot start is news, whatever failed before.
        None if !OF_REQUESTS.contains(&crate_of(target)) => return None,
        None => thread::recent(core, |recent| recent.last_since(time.saturating_sub(MAX_AGE_ON_THREAD))).flatten(),
    };
    match last {
        // What a hook of the program's did not want is not told by another name.
        Some(id) => Some(Echo(Some(id).filter(|id| !core.is_dropped(*id)))),
        None => is_served(core, state?).then_some(Echo(None)),
    }
}

/// Whether our own middleware is around it.
fn is_served(core: &Core, state: &SpanState) -> bool {
    let root = std::iter::successors(Some(state), |span| span.parent.as_deref()).last().unwrap_or(state);
    let is_ours = core.callsites.by_id(root.callsite).is_some_and(|site| site.target == SERVER_TARGET);
    is_ours || root.trail().is_some_and(|trail| trail.is_served())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framework_is_known_by_its_crate() {
        assert!(is_framework("tower_http::trace::on_failure") && is_framework("rocket"));
        assert!(!is_framework("tower_http_extras::trace") && !is_framework("shop::rocket") && !is_framework(""));
    }
}
