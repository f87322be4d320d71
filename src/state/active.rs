//! Which telemetry records: that of this thread's subscriber, else the installed one; and which
//! span of it is current. Comes in: the calling thread. Goes out: the shared state, the innermost
//! open span.

use std::{
    any::Any,
    sync::{Arc, OnceLock, Weak},
};

use tracing_core::Dispatch;

use super::{Core, SharedSpan, other_api::OtherApi, thread};
use crate::trail::record::SpanIds;

/// The layer that records on this thread now, else the installed one.
pub(crate) fn active_core() -> Option<Arc<Core>> {
    scoped_core().or_else(installed_core)
}

/// The layer that records on this thread now.
pub(crate) fn scoped_core() -> Option<Arc<Core>> {
    tracing_core::dispatcher::get_default(|dispatch| CrumbtrailLayer::of(dispatch).map(|(layer, _)| layer.core().clone()))
}

/// The telemetry that `install` made global.
pub(crate) fn installed_core() -> Option<Arc<Core>> {
    INSTALLED.get()?.upgrade()
}

/// Makes it the installed one, if there is none.
pub(crate) fn make_installed(core: &Arc<Core>) {
    let _ = INSTALLED.set(Arc::downgrade(core));
}

static INSTALLED: OnceLock<Weak<Core>> = OnceLock::new();

/// The innermost span entered on this thread, as this layer instance sees it.
pub(crate) fn current_state(core: &Arc<Core>) -> Option<SharedSpan> {
    thread::at(|here| here.current(core))?
}

/// The innermost span entered on this thread, as the telemetry sees it that records here.
pub(crate) fn current_ids() -> Option<SpanIds> {
    let core = active_core().filter(|core| core.config.propagators.carries_traces())?;
    Some(current_state(&core)?.current_ids())
}

/// The `tracing-subscriber` layer. Made by [`Telemetry::layer`](crate::Telemetry::layer).
///
/// It must see every span of a request to keep the request's trail; do not put a filter on it, set
/// its [filters](Filter) instead.
#[derive(Clone)]
pub(crate) struct CrumbtrailLayer {
    pub(crate) core: Arc<Core>,
    /// The filters also decide which callsites exist for the whole subscriber. Only when we own the
    /// subscriber.
    pub(crate) narrows: bool,
    /// Whether more is asked for than usual, looked at here as the core is cold: [events or
    /// logs](Enrichment), and times.
    pub(crate) enriches: bool,
    pub(crate) times: bool,
    has_other_api: bool,
    /// The worker runs as long as there is a layer, even if nobody kept a handle.
    _alive: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for CrumbtrailLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrumbtrailLayer").field("filters", &self.core.config.filters).finish_non_exhaustive()
    }
}

impl CrumbtrailLayer {
    pub(crate) fn new(core: Arc<Core>, narrows: bool, alive: Arc<dyn Any + Send + Sync>) -> Self {
        let enrichment = &core.config.enrichment;
        let (enriches, times) = (enrichment.events_on_spans || !enrichment.span_fields.is_empty(), enrichment.span_timings);
        let has_other_api = core.other_api.is_some();
        Self { core, narrows, enriches, times, has_other_api, _alive: alive }
    }

    /// The API beside `tracing`, if there is one.
    #[inline]
    pub(crate) fn other_api(&self) -> Option<&dyn OtherApi> {
        if self.has_other_api { self.core.other_api.as_deref() } else { None }
    }

    /// The layer of a subscriber, if it has one; and whether it has no other.
    pub(crate) fn of(dispatch: &Dispatch) -> Option<(&Self, bool)> {
        let sole = dispatch.downcast_ref::<SoleSubscriber>().map(|sole| (sole.layer(), true));
        sole.or_else(|| dispatch.downcast_ref().map(|layer| (layer, false)))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// A subscriber that has no layer but ours: what [`install`](crate::Builder::install) makes.
pub(crate) struct SoleSubscriber(pub(crate) CrumbtrailLayer);

impl SoleSubscriber {
    pub(crate) fn new(layer: CrumbtrailLayer) -> Self {
        Self(layer)
    }

    pub(crate) fn layer(&self) -> &CrumbtrailLayer {
        &self.0
    }
}
