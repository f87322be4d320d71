//! Living with OpenTelemetry's own API: libraries that call
//! [`OpenTelemetrySpanExt`](tracing_opentelemetry::OpenTelemetrySpanExt), libraries that use
//! [`opentelemetry::global::tracer`], and services that keep a trace pipeline of their own.
//!
//! - **Span extensions** (`set_parent`, `context`, `set_attribute`, `add_link`, …:
//!   axum-tracing-opentelemetry, reqwest-tracing and their like) work on crumbtrail's spans once
//!   [`Builder::with_span_extensions`](crate::Builder::with_span_extensions) is on. A span pays for
//!   it when one of them is called on it, not before: only then does it get what
//!   `tracing-opentelemetry` keeps of a span, in a registry aside.
//! - **The tracing API**: [`Telemetry::tracer_provider`](crate::Telemetry::tracer_provider), which
//!   [`Builder::with_opentelemetry_globals`](crate::Builder::with_opentelemetry_globals) makes the
//!   global one. Its spans join the trace of the current `tracing` span, or of the current
//!   OpenTelemetry context, and go the same way as all others. With
//!   [`Builder::with_context_activation`](crate::Builder::with_context_activation) that context
//!   follows the `tracing` spans, so that propagators and such libraries find them.
//! - **A pipeline of one's own**: with
//!   [`Builder::with_foreign_context`](crate::Builder::with_foreign_context), crumbtrail exports no
//!   spans, and exceptions and logs carry the ids of whatever OpenTelemetry context is current.

mod activation;
mod bridge;
mod foreign;
mod propagator;
mod span;
mod tracer;
#[cfg(feature = "tracing-opentelemetry-0-33")]
mod v33;

pub use self::{
    propagator::OtelPropagator,
    span::OtelSpan,
    tracer::{OtelTracer, OtelTracerProvider},
};

use std::{
    any::TypeId,
    sync::{Arc, Weak},
};

use opentelemetry::{Context, trace::TraceContextExt as _};
use tracing_core::Dispatch;

use self::span::ids_of;

// What the files that are there for each version know it by.
use crate::{
    state::{Core, SpanState, core::MakeOtherApi, handle::Handle, other_api::OtherApi},
    trail::record::SpanIds,
};
use ::{opentelemetry as api, tracing_opentelemetry as extensions};

/// What is set once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) span_extensions: bool,
    pub(crate) context_activation: bool,
    pub(crate) foreign_context: bool,
    pub(crate) globals: bool,
}

impl Options {
    /// OpenTelemetry's current context is asked for. (Not on every thread at every time: where it
    /// is gone already, asking panics.)
    fn joins_contexts(self) -> bool {
        self.span_extensions || self.context_activation || self.globals
    }
}

impl Options {
    /// What the state is told of it. `None`: nothing of it is asked for.
    pub(crate) fn other_api(self) -> Option<MakeOtherApi> {
        let is_asked_for = self.joins_contexts() || self.foreign_context;
        is_asked_for.then(|| -> MakeOtherApi {
            Box::new(move |core| {
                let bridges = self.span_extensions.then(|| Bridges::new(core));
                Box::new(OpenTelemetry { options: self, bridges })
            })
        })
    }
}

/// OpenTelemetry's API beside `tracing`.
#[derive(Debug)]
struct OpenTelemetry {
    options: Options,
    bridges: Option<Bridges>,
}

impl OtherApi for OpenTelemetry {
    fn apply(&self, core: &Core, id: u64) {
        if let Some(bridges) = self.bridges.as_ref().filter(|bridges| bridges.has_unapplied())
            && let Some(handle) = core.spans.get(id)
        {
            bridges.apply(id, &handle.state);
        }
    }

    fn activate(&self, core: &Arc<Core>, id: u64, state: Option<&SpanState>) {
        if !self.options.context_activation {
            return;
        }
        let known = if state.is_none() { core.spans.get(id) } else { None };
        if let Some(state) = state.or(known.as_ref().map(|handle| &*handle.state)) {
            activation::enter(core, id, state);
        }
    }

    fn deactivate(&self, id: u64) {
        if self.options.context_activation {
            activation::exit(id);
        }
    }

    fn close(&self, core: &Core, id: u64) {
        if let Some(bridges) = self.bridges.as_ref().filter(|bridges| bridges.have_entries())
            && let Some(Handle { state, own: true }) = core.spans.get(id)
        {
            bridges.close(id, &state);
        }
    }

    fn parent(&self) -> Option<(SpanIds, bool)> {
        self.options.joins_contexts().then(current_parent)?
    }

    fn owns_traces(&self) -> bool {
        self.options.foreign_context
    }

    fn current_ids(&self) -> SpanIds {
        current_parent().map_or_else(SpanIds::default, |(ids, _)| ids)
    }

    fn find(&self, id: TypeId) -> Option<*const ()> {
        self.bridges.as_ref()?.find(id)
    }

    fn registered(&self, dispatch: &Dispatch) {
        self.bridges.iter().for_each(|bridges| bridges.registered(dispatch));
    }

    fn needs_registry(&self) -> bool {
        self.bridges.is_some()
    }

    fn sweep(&self) {
        self.bridges.iter().for_each(Bridges::sweep);
    }
}

/// The current OpenTelemetry context's span, as the parent of what begins here; and whether it is
/// another process's.
fn current_parent() -> Option<(SpanIds, bool)> {
    Context::map_current(|context| {
        let span = context.span();
        let context = span.span_context();
        context.is_valid().then(|| (ids_of(context), context.is_remote()))
    })
}

/// Which of a span's entries is this version's.
const SHADOW: usize = 0;

/// The bridges to all versions.
#[derive(Debug)]
struct Bridges {
    current: bridge::Bridge,
    #[cfg(feature = "tracing-opentelemetry-0-33")]
    v33: v33::Bridge,
}

/// Runs for every version.
macro_rules! for_each {
    ($bridges:expr, |$bridge:ident| $run:expr) => {{
        let $bridge = &$bridges.current;
        $run;
        #[cfg(feature = "tracing-opentelemetry-0-33")]
        {
            let $bridge = &$bridges.v33;
            $run;
        }
    }};
}

impl Bridges {
    pub(crate) fn new(core: &Weak<Core>) -> Self {
        Self {
            current: bridge::Bridge::new(core),
            #[cfg(feature = "tracing-opentelemetry-0-33")]
            v33: v33::Bridge::new(core),
        }
    }

    pub(crate) fn registered(&self, dispatch: &Dispatch) {
        for_each!(self, |bridge| bridge.registered(dispatch));
    }

    /// What a subscriber is asked for by span extensions of one of the versions.
    pub(crate) fn find(&self, id: TypeId) -> Option<*const ()> {
        for_each!(self, |bridge| if let Some(found) = bridge.find(id) {
            return Some(found);
        });
        None
    }

    /// Whether a span may have been given a parent that it does not have yet.
    #[inline]
    pub(crate) fn has_unapplied(&self) -> bool {
        for_each!(self, |bridge| if bridge.has_unapplied() {
            return true;
        });
        false
    }

    /// Whether any open span has been asked for.
    pub(crate) fn have_entries(&self) -> bool {
        for_each!(self, |bridge| if bridge.has_entries() {
            return true;
        });
        false
    }

    /// Lets what was said of a span take effect.
    pub(crate) fn apply(&self, id: u64, state: &SpanState) {
        for_each!(self, |bridge| bridge.apply(id, state));
    }

    /// A span closes.
    pub(crate) fn close(&self, id: u64, state: &SpanState) {
        for_each!(self, |bridge| bridge.close(id, state));
    }

    /// Lets go of what was kept of closed spans. On the worker's thread.
    pub(crate) fn sweep(&self) {
        for_each!(self, |bridge| bridge.sweep());
    }
}
