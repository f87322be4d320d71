//! How `OpenTelemetrySpanExt` finds crumbtrail's spans.
//!
//! Its methods ask the current subscriber for two things: the `OpenTelemetryLayer` behind an opaque
//! type, and the registry that layer was made for, in which they look up the span's data. Both are
//! ours to answer: the layer is made for [`Bridge`], which is no registry but makes an entry in one
//! aside (the shadow) when a span is first asked for. So the price is paid by those spans alone,
//! and nothing is exported by that layer: its tracer hands out [`OtelSpan`](super::OtelSpan)s that
//! stand for crumbtrail's own.
//!
//! Entries are closed by the worker: registries of one thread share a count of spans that are
//! closing, so that one which closes a span while another does would keep it for ever.

use std::{
    any::TypeId,
    sync::{
        OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing_core::{
    Dispatch, Event, Interest, Kind, Level, Metadata, Subscriber, callsite,
    dispatcher::WeakDispatch,
    field::Value,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Registry,
    layer::{Layered, SubscriberExt as _},
    registry::{Data, LookupSpan},
};

use super::{
    SHADOW,
    api::trace::TracerProvider as _,
    extensions::{self, OpenTelemetryLayer},
    tracer::{OtelTracer, OtelTracerProvider},
};
use crate::{
    fork::Mutex,
    state::{Core, SpanState},
};

/// What looks spans up for `tracing-opentelemetry`.
pub(crate) struct Bridge {
    core: Weak<Core>,
    shadow: Layered<OpenTelemetryLayer<Registry, OtelTracer>, Registry>,
    /// Answers in the name of a layer that is made for this bridge.
    answers: OnceLock<OpenTelemetryLayer<Bridge, OtelTracer>>,
    /// The subscriber that the layer is part of; of several, the last.
    dispatch: Mutex<Option<WeakDispatch>>,
    /// Entries that have not been told of yet, see [`has_unapplied`](Self::has_unapplied).
    unapplied: AtomicUsize,
    /// Entries of spans that are open.
    open: AtomicUsize,
    /// Entries of spans that have closed.
    closed: Mutex<Vec<u64>>,
}

/// The field by which the tracer knows for which span it is asked.
pub(super) const MARK: &str = "crumbtrail.span";

impl Bridge {
    pub(crate) fn new(core: &Weak<Core>) -> Self {
        let tracer = || OtelTracerProvider::new(core.clone()).tracer("crumbtrail");
        let quiet = extensions::layer().with_tracer(tracer());
        let quiet =
            quiet.with_location(false).with_threads(false).with_tracked_inactivity(false).with_target(false).with_context_activation(false);
        let bridge = Self {
            core: core.clone(),
            shadow: Registry::default().with(quiet),
            answers: OnceLock::new(),
            dispatch: Mutex::default(),
            unapplied: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closed: Mutex::default(),
        };
        let _ = bridge.answers.set(OpenTelemetryLayer::new(tracer()));
        bridge
    }

    pub(crate) fn registered(&self, dispatch: &Dispatch) {
        *self.dispatch.lock() = Some(dispatch.downgrade());
    }

    /// What the subscriber is asked for, if it is one of these: this bridge, or the layer that is
    /// made for it.
    pub(crate) fn find(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        let answers = self.answers.get()?;
        // SAFETY: the layer's own answer, handed on: it points into `answers`, which lives as long as `self`.
        #[allow(unsafe_code)]
        unsafe {
            tracing_subscriber::Layer::<Self>::downcast_raw(answers, id)
        }
    }

    /// Whether a span may have been given a parent that it does not have yet.
    #[inline]
    pub(crate) fn has_unapplied(&self) -> bool {
        self.unapplied.load(Ordering::Relaxed) > 0
    }

    /// Whether any open span has been asked for.
    pub(crate) fn has_entries(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Lets what was said of a span by span extensions take effect: a parent, attributes, links.
    pub(crate) fn apply(&self, id: u64, state: &SpanState) {
        if state.entries.ids[SHADOW].load(Ordering::Relaxed) == 0 || state.entries.applied[SHADOW].swap(true, Ordering::Relaxed) {
            return;
        }
        self.unapplied.fetch_sub(1, Ordering::Relaxed);
        let dispatch = self.dispatch.lock().as_ref().and_then(WeakDispatch::upgrade);
        if let Some(dispatch) = dispatch {
            // Makes `tracing-opentelemetry` start the span, which asks our tracer for it.
            let _ = extensions::get_otel_context(&Id::from_u64(id), &dispatch);
        }
    }

    /// A span closes. Its data is let go of later.
    pub(crate) fn close(&self, id: u64, state: &SpanState) {
        self.apply(id, state);
        let shadow = state.entries.ids[SHADOW].swap(0, Ordering::Relaxed);
        if shadow != 0 {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.closed.lock().push(shadow);
        }
    }

    /// Lets go of the data of closed spans. On the worker's thread, which closes no others.
    pub(crate) fn sweep(&self) {
        let closed = std::mem::take(&mut *self.closed.lock());
        for shadow in closed {
            self.shadow.try_close(Id::from_u64(shadow));
        }
    }

    /// The entry of a span, made at its first use. `None`: crumbtrail does not know the span.
    fn shadow_of(&self, id: u64) -> Option<u64> {
        let state = self.core.upgrade().and_then(|core| core.spans.get(id)).map(|handle| handle.state);
        let state = state?;
        let known = state.entries.ids[SHADOW].load(Ordering::Acquire);
        if known != 0 {
            return Some(known);
        }
        let fresh = self.enter_in_shadow(state.tracing_id);
        Some(match state.entries.ids[SHADOW].compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {
                self.unapplied.fetch_add(1, Ordering::Relaxed);
                self.open.fetch_add(1, Ordering::Relaxed);
                fresh
            }
            Err(other) => {
                self.closed.lock().push(fresh);
                other
            }
        })
    }

    fn enter_in_shadow(&self, id: u64) -> u64 {
        let fields = METADATA.fields();
        let opened = fields.field(MARK).map(|field| {
            // As a signed number: of others, `tracing-opentelemetry` makes texts.
            let id = id.cast_signed();
            let values = [(&field, Some(&id as &dyn Value))];
            let values = fields.value_set(&values);
            self.shadow.new_span(&Attributes::new_root(&METADATA, &values)).into_u64()
        });
        opened.unwrap_or(0)
    }
}

impl<'a> LookupSpan<'a> for Bridge {
    type Data = Data<'a>;

    fn span_data(&'a self, id: &Id) -> Option<Data<'a>> {
        if let Some(shadow) = self.shadow_of(id.into_u64()) {
            return self.shadow.span_data(&Id::from_u64(shadow));
        }
        // Who asks expects an entry. It is this call's alone: what is said of it reaches nobody.
        let shadow = self.enter_in_shadow(0);
        let data = self.shadow.span_data(&Id::from_u64(shadow));
        self.closed.lock().push(shadow);
        data
    }
}

/// Only so that a layer can be made for it; it is nobody's subscriber.
impl Subscriber for Bridge {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Entries have no callsite that anybody could be interested in.
struct Nowhere;

impl callsite::Callsite for Nowhere {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &METADATA
    }
}

static NOWHERE: Nowhere = Nowhere;

static METADATA: Metadata<'static> = tracing_core::metadata! {
    name: "shadow",
    target: "crumbtrail::interop",
    level: Level::TRACE,
    fields: &[MARK],
    callsite: &NOWHERE,
    kind: Kind::SPAN,
};

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge").finish_non_exhaustive()
    }
}
