//! OpenTelemetry's propagator interface, on crumbtrail's formats.

use opentelemetry::{
    Context,
    baggage::BaggageExt as _,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::TraceContextExt as _,
};

use super::span::{context_of, ids_of};
use crate::{
    propagation::{Baggage, Entry, Propagators, SpanContext},
    trail::record::{SpanIds, flag},
};

/// Writes and reads the formats of [`Builder::with_propagators`](crate::Builder::with_propagators),
/// for [`opentelemetry::global::set_text_map_propagator`]. From
/// [`Telemetry::text_map_propagator`](crate::Telemetry::text_map_propagator).
#[derive(Debug)]
pub struct OtelPropagator {
    propagators: Propagators,
    fields: Vec<String>,
}

impl OtelPropagator {
    pub(crate) fn new(propagators: Propagators) -> Self {
        let mut fields = Vec::new();
        let any = SpanContext::of(SpanIds { trace: 1, span: 1, ..SpanIds::default() });
        let baggage = Baggage::parse("a=b");
        propagators.inject(&any, "a=b", Some(&baggage), &mut |name, _| fields.push(name.to_owned()));
        Self { propagators, fields }
    }
}

impl TextMapPropagator for OtelPropagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let span = context.span();
        let span = span.span_context();
        let mut baggage = Baggage::default();
        for (key, (value, _)) in context.baggage().iter() {
            if let Some(entry) = Entry::new(key.as_str(), value.as_str()) {
                baggage.insert(entry);
            }
        }
        // The random flag is not one that OpenTelemetry's type knows.
        let of_span = SpanContext::of(ids_of(span));
        let baggage = Some(&baggage).filter(|baggage| !baggage.is_empty());
        self.propagators.inject(&of_span, &span.trace_state().header(), baggage, &mut |name, value| {
            // Without a span there is still its baggage to tell.
            if span.is_valid() || name == "baggage" {
                injector.set(name, value);
            }
        });
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let remote = self.propagators.extract(&|name| extractor.get(name));
        let mut context = context.clone();
        if let Some(span) = remote.span_context() {
            let flags = if span.is_sampled() { flag::SAMPLED } else { 0 };
            let ids = SpanIds { trace: span.trace_id(), span: span.span_id(), parent: 0, flags };
            let state = remote.trace_state().parse().unwrap_or_default();
            let of_span = context_of(ids, true);
            context = context.with_remote_span_context(opentelemetry::trace::SpanContext::new(
                of_span.trace_id(),
                of_span.span_id(),
                of_span.trace_flags(),
                true,
                state,
            ));
        }
        let baggage: Vec<_> = remote.entries().map(|(key, value)| opentelemetry::KeyValue::new(key.to_owned(), value)).collect();
        if baggage.is_empty() { context } else { context.with_baggage(baggage) }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}
