//! A span that the subscriber does not know: a filter over all layers, or `tracing`'s own for
//! release builds, has taken it away from everybody. What is served all the same has its trace, its
//! trail and its exceptions. Comes in: what the middleware would have opened. Goes out: the same
//! records.
//!
//! Other layers see nothing of it: what their filter hides stays hidden. So `Span::current()` is
//! not it either.

#[cfg(feature = "tower")]
use tracing_core::{
    Callsite, Interest, Metadata,
    field::Value,
    span::{Attributes, Record as Values},
};

#[cfg(feature = "tower")]
use crate::{
    clock::now,
    state::{handle::Handle, thread},
    trail::callsite::feeds,
};
use crate::{
    state::{CrumbtrailLayer, SharedSpan, thread::DETACHED},
    trail::record,
};

/// Ends when it is dropped, and its children have ended.
#[cfg(feature = "tower")]
pub(crate) struct Detached {
    layer: CrumbtrailLayer,
    metadata: &'static Metadata<'static>,
    state: SharedSpan,
    /// `false`: the state is that of an enclosing span, which stands for it.
    own: bool,
}

#[cfg(feature = "tower")]
impl Detached {
    /// Opens one where this thread's subscriber has our layer. `None`: it has not, or a filter of
    /// ours does not want it.
    pub(crate) fn open(attributes: &Attributes<'_>) -> Option<Self> {
        let layer = tracing_core::dispatcher::get_default(|dispatch| CrumbtrailLayer::of(dispatch).map(|(layer, _)| layer.clone()))?;
        if layer.core.is_closed() {
            return None;
        }
        let metadata = attributes.metadata();
        let (callsite, feeds) = layer.look_up(metadata);
        let handle = thread::with(|thread| layer.open_state(thread, attributes, DETACHED, (callsite, feeds | feeds::KIND))).ok()??;
        let Handle { state, own } = handle;
        if state.tracing_id == DETACHED && !state.is_counted() {
            state.count_holders();
        }
        Some(Self { layer, metadata, state, own })
    }

    pub(crate) fn state(&self) -> &SharedSpan {
        &self.state
    }

    /// Runs something in it.
    pub(crate) fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        let _entered = Entered::new(self);
        run()
    }

    /// As `Span::record`.
    pub(crate) fn record(&self, name: &str, value: &dyn Value) {
        let fields = self.metadata.fields();
        if let Some(field) = fields.field(name).filter(|_| self.own) {
            let values = [(&field, Some(value))];
            let values = fields.value_set(&values);
            let _ = thread::with(|thread| self.layer.add_fields(thread, &self.state, &Values::new(&values)));
        }
    }
}

#[cfg(feature = "tower")]
impl Drop for Detached {
    fn drop(&mut self) {
        self.layer.let_go(self.state.clone());
    }
}

#[cfg(feature = "tower")]
struct Entered<'a> {
    span: &'a Detached,
    since: u64,
}

#[cfg(feature = "tower")]
impl<'a> Entered<'a> {
    fn new(span: &'a Detached) -> Self {
        let core = &span.layer.core;
        if let Some(other) = &core.other_api {
            other.activate(core, DETACHED, Some(&span.state));
        }
        thread::here(core, |instance| instance.enter_detached(&span.state));
        Self { span, since: if span.layer.times { now() } else { 0 } }
    }
}

#[cfg(feature = "tower")]
impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let Detached { layer, state, own, .. } = self.span;
        if let Some(other) = &layer.core.other_api {
            other.deactivate(DETACHED);
        }
        thread::here(&layer.core, |instance| instance.exit_detached(state));
        if layer.times && *own {
            state.add_busy(now().saturating_sub(self.since));
        }
    }
}

impl CrumbtrailLayer {
    /// A child has ended, or whoever opened it has dropped it. The last one ends it; where the
    /// subscriber counts, that does.
    pub(super) fn let_go(&self, state: SharedSpan) {
        if !state.let_go() {
            return;
        }
        if state.callsite == record::NO_CALLSITE { self.end_stand_in(DETACHED, state) } else { self.end(DETACHED, state) }
    }
}

/// What a span is made of that no subscriber is asked about.
#[cfg(feature = "tower")]
pub(crate) struct Unregistered(pub(crate) fn() -> &'static Metadata<'static>);

#[cfg(feature = "tower")]
impl Callsite for Unregistered {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        (self.0)()
    }
}
