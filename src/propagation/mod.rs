//! Trace context and baggage across processes: out of the carrier that a request or message comes
//! with, and into those that go out.
//!
//! The formats are those of `OTEL_PROPAGATORS`, by default W3C Trace Context (level 2: the random
//! flag is kept) and W3C Baggage. A carrier is anything that gives and takes texts by name: HTTP
//! headers, message headers, environment variables.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use crumbtrail::propagation;
//!
//! let incoming = HashMap::from([
//!     ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
//!     ("baggage", "tenant=acme"),
//! ]);
//! let (outgoing, _) = crumbtrail::testing::collect(|| {
//!     let remote = propagation::extract(|name| incoming.get(name).copied());
//!     let _request = remote.in_scope(|| tracing::info_span!("GET /cart", otel.kind = "server")).entered();
//!     let mut outgoing = HashMap::new();
//!     propagation::inject(|name, value| _ = outgoing.insert(name, value));
//!     outgoing
//! });
//! assert!(outgoing["traceparent"].starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
//! assert_eq!(outgoing["baggage"], "tenant=acme");
//! ```

mod baggage;
mod format;
mod messaging;
mod remote;
mod span_context;

#[cfg(feature = "tower")]
use crate::state::Core;

pub(crate) use self::{
    baggage::{Baggage, Entry},
    format::Propagators,
    remote::{Passing, Remote, without_threshold},
};
pub use self::{
    format::Propagator,
    messaging::{consumer_span, producer_span},
    remote::RemoteContext,
    span_context::{ParseError, SpanContext},
};
use crate::state::{self, active_core};

impl SpanContext {
    /// The current span of this thread. `None` outside of spans that a crumbtrail layer tracks.
    pub fn current() -> Option<Self> {
        state::current_ids().map(Self::of)
    }
}

/// Reads what a caller has sent along. `get` returns the value under a name (in lower case), if
/// there is one.
///
/// What is malformed or beyond the limits (a `traceparent` or `b3` of another form, a `tracestate`
/// over 512 bytes, baggage over 8,192 bytes or 64 entries) is left out, and the rest taken: a
/// request is never refused for its tracing headers. Costs a few look-ups; allocates only for trace
/// state and baggage.
pub fn extract<'a>(get: impl Fn(&str) -> Option<&'a str>) -> RemoteContext {
    let propagators = active_core().map_or_else(Propagators::default, |core| core.config.propagators);
    propagators.extract(&get)
}

/// The same out of HTTP's headers, where a name may have several values.
#[cfg(feature = "tower")]
pub(crate) fn extract_http(core: &Core, headers: &http::HeaderMap) -> RemoteContext {
    use http::HeaderName;
    const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
    const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
    // Names that are known beforehand need not be read.
    let one = |name: &str| match name {
        "traceparent" => headers.get(TRACEPARENT)?.to_str().ok(),
        "tracestate" => headers.get(TRACESTATE)?.to_str().ok(),
        "baggage" => headers.get(BAGGAGE)?.to_str().ok(),
        name => headers.get(name)?.to_str().ok(),
    };
    let several = |name: HeaderName| headers.get_all(name).iter().nth(1).is_some();
    // Two callers' ids are nobody's (W3C Trace Context §4.3).
    let is_ambiguous = several(TRACEPARENT);
    let one = |name: &str| if is_ambiguous && name == "traceparent" { None } else { one(name) };
    if !several(BAGGAGE) && !several(TRACESTATE) {
        return core.config.propagators.extract(&one);
    }
    let joined =
        |name: HeaderName| headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).take(64).collect::<Vec<_>>().join(",");
    let (baggage, trace_state) = (joined(BAGGAGE), joined(TRACESTATE));
    core.config.propagators.extract(&|name| match name {
        "baggage" => Some(&*baggage),
        "tracestate" => Some(&*trace_state),
        name => one(name),
    })
}

/// Writes the current span's context, and the request's baggage, into what goes out. `set` takes a
/// name in lower case and a value that is a valid header. Nothing is written outside of spans.
pub fn inject(mut set: impl FnMut(&'static str, String)) {
    let Some(core) = active_core() else { return };
    // Whoever keeps a trace pipeline of their own has a propagator of their own: the ids here are nobody's.
    if core.owner_of_traces().is_some() {
        return;
    }
    let Some(state) = state::current_state(&core) else {
        // Nothing of ours is around this; what came in goes on.
        let Some(passing) = Passing::current() else { return };
        let baggage = Some(passing.baggage()).filter(|baggage| !baggage.is_empty());
        return core.config.propagators.pass(passing.span(), passing.trace_state(), baggage, &mut set);
    };
    let mut context = SpanContext::of(state.current_ids());
    if state.trail().is_some_and(|trail| trail.is_debugged()) {
        context.flags |= span_context::DEBUG;
    }
    let trail = state.trail();
    let trace_state =
        trail.and_then(|trail| trail.trace_state()).map(|text| if state.kept() == 0 { text.to_owned() } else { without_threshold(text) });
    let scope = trail.and_then(|trail| trail.scope().get());
    let baggage = scope.as_deref().map(|scope| &scope.baggage).filter(|baggage| !baggage.is_empty());
    core.config.propagators.inject(&context, trace_state.as_deref().unwrap_or_default(), baggage, &mut set);
}

/// The decoded value of an entry of the current request's baggage: what a caller sent, or
/// [`set_baggage`] set.
///
/// ```
/// use crumbtrail::propagation;
///
/// let (tenant, _) = crumbtrail::testing::collect(|| {
///     let _request = tracing::info_span!("request").entered();
///     propagation::set_baggage("tenant", "acme ltd");
///     propagation::baggage("tenant")
/// });
/// assert_eq!(tenant.as_deref(), Some("acme ltd"));
/// ```
pub fn baggage(key: &str) -> Option<String> {
    let Some(state) = state::current_state(&active_core()?) else { return Passing::current()?.baggage().get(key) };
    state.trail()?.scope().get()?.baggage.get(key)
}

/// Sets an entry of the current request's baggage, which goes along with everything that is called
/// from now on: to other companies, too, so nothing secret. An entry that is no valid one, or one
/// too many, is left out.
pub fn set_baggage(key: &str, value: &str) {
    let trail = active_core().and_then(|core| state::current_state(&core)).and_then(|state| state.shared_trail().cloned());
    if let (Some(trail), Some(entry)) = (trail, Entry::new(key, value)) {
        trail.scope().change(|data| data.baggage.insert(entry));
    }
}
