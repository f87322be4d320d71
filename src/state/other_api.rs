//! Another tracing API in the same program, whose spans and contexts are to be one with
//! `tracing`'s. [`interop`](crate::interop) is that for OpenTelemetry's; most programs have none.

#[cfg(feature = "tracing-opentelemetry-0-34")]
use std::any::TypeId;
use std::{fmt, sync::Arc};

use tracing_core::Dispatch;

use super::{Core, SpanState};
use crate::trail::record::SpanIds;

/// What the layer tells it, and asks of it.
pub(crate) trait OtherApi: fmt::Debug + Send + Sync {
    /// What it has said of an open span takes effect, before the span is entered or becomes a
    /// parent.
    fn apply(&self, core: &Core, id: u64);

    /// Its current context follows a span that is entered here; looked up by its id, where the
    /// state is not at hand.
    fn activate(&self, core: &Arc<Core>, id: u64, state: Option<&SpanState>);

    /// A span is left.
    fn deactivate(&self, id: u64);

    /// A span is about to lose its state: what was said of it takes effect, what was kept of it
    /// goes.
    fn close(&self, core: &Core, id: u64);

    /// The span of its current context, as the parent of what begins here; and whether that is
    /// another process's.
    fn parent(&self) -> Option<(SpanIds, bool)>;

    /// Traces are its own: logs and exceptions carry the ids of its current context, and nothing is
    /// propagated here.
    fn owns_traces(&self) -> bool;

    /// The span of its current context; zeros where there is none.
    fn current_ids(&self) -> SpanIds;

    /// What a subscriber is asked for in its name. The pointer lives as long as `self`.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    fn find(&self, id: TypeId) -> Option<*const ()>;

    /// A subscriber with our layer was registered.
    fn registered(&self, dispatch: &Dispatch);

    /// It looks for a Registry in the subscriber.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    fn needs_registry(&self) -> bool;

    /// Lets go of what was kept of closed spans. On the worker's thread.
    fn sweep(&self);
}
