//! OpenTelemetry's tracing API, on crumbtrail's records.

use std::sync::{Arc, Weak};

use super::api::{
    Context, InstrumentationScope, Value,
    trace::{SpanBuilder, TraceContextExt as _, Tracer, TracerProvider},
};

use super::{
    bridge::MARK,
    span::{OtelSpan, Own, ids_of},
};
use crate::{
    interop::foreign,
    state::{self, Core, ids},
};

/// Makes tracers for libraries that use OpenTelemetry's API. From
/// [`Telemetry::tracer_provider`](crate::Telemetry::tracer_provider).
#[derive(Clone, Debug)]
pub struct OtelTracerProvider {
    core: Weak<Core>,
}

impl OtelTracerProvider {
    pub(crate) fn new(core: Weak<Core>) -> Self {
        Self { core }
    }
}

impl TracerProvider for OtelTracerProvider {
    type Tracer = OtelTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> OtelTracer {
        OtelTracer { core: self.core.clone(), scope: Arc::from(scope.name()) }
    }
}

/// Made by [`OtelTracerProvider`].
#[derive(Clone, Debug)]
pub struct OtelTracer {
    core: Weak<Core>,
    scope: Arc<str>,
}

impl Tracer for OtelTracer {
    type Span = OtelSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> OtelSpan {
        let Some(core) = self.core.upgrade().filter(|core| !core.is_closed()) else { return OtelSpan::none() };
        let parent_span = parent.span();
        let parent_context = parent_span.span_context();
        let marked = builder.attributes.iter().flatten().find(|attribute| attribute.key.as_str() == MARK).map(|attribute| &attribute.value);
        if let Some(Value::I64(id)) = marked {
            // For a span of `tracing`, which is there already.
            let id = id.cast_unsigned();
            let Some(state) = core.spans.get(id).map(|handle| handle.state) else { return OtelSpan::none() };
            let state = if parent_context.is_valid() && parent_context.span_id().to_bytes() != state.ids.span.to_be_bytes() {
                if let Some(trail) = state.trail().filter(|_| parent_context.is_remote()) {
                    trail.set_trace_state(parent_context.trace_state().header());
                }
                foreign::reparent(&core, id, &state, ids_of(parent_context), parent_context.is_remote())
            } else {
                state
            };
            let mut span = OtelSpan::of(&core, id, state.current_ids());
            span.take(builder);
            return span;
        }
        let enclosing = state::current_state(&core);
        // Within an OpenTelemetry context the parent is that context's; else the current span of `tracing`.
        let ids = match &enclosing {
            _ if parent_context.is_valid() => ids::below(&core, ids_of(parent_context), parent_context.is_remote()),
            Some(state) => ids::below(&core, state.current_ids(), false),
            None => ids::of_root(&core, None),
        };
        OtelSpan::own(Own::new(core, enclosing, ids, self.scope.clone(), builder))
    }
}
