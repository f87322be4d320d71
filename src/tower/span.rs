//! The span of a request, from either side. Comes in: its fields, where it begins and as they
//! become known. Goes out: a span that every layer sees; or, where a filter takes that away from
//! all of them, one of ours alone.

use tracing::{Span, Value};

pub(super) enum RequestSpan {
    /// The subscriber's.
    Shared(Span),
    /// One that no subscriber knows.
    Detached(Detached),
}

impl RequestSpan {
    /// Runs something in the span.
    #[inline]
    pub(super) fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        match self {
            Self::Shared(span) => span.in_scope(run),
            Self::Detached(span) => span.in_scope(run),
        }
    }

    pub(super) fn record(&self, field: &str, value: impl Value) {
        match self {
            Self::Shared(span) => drop(span.record(field, value)),
            Self::Detached(span) => span.record(field, &value),
        }
    }

    /// The subscriber's, if it is that.
    pub(super) fn shared(&self) -> Option<&Span> {
        match self {
            Self::Shared(span) => Some(span),
            Self::Detached(_) => None,
        }
    }

    /// What is kept of it. Asked for only where something is to be told of it.
    pub(super) fn state(&self, core: &Core, audience: Audience) -> Option<SharedSpan> {
        match self {
            // Another subscriber's span has an id that is another span's here.
            Self::Shared(span) => Some(core.spans.get(span.id().filter(|_| audience != Audience::Others)?.into_u64())?.state),
            Self::Detached(span) => Some(SharedSpan::clone(span.state())),
        }
    }
}

/// Opens the span of a request as `tracing` does; or, where nobody would see that, one of ours.
macro_rules! request_span {
    (target: $target:literal, name: $name:literal, $($($field:ident).+ = $value:expr),+ $(,)?) => {{
        let span = tracing::info_span!(target: $target, $name, $($($field).+ = $value),+);
        if span.is_disabled() {
            $crate::tower::span::detached_span!(span, target: $target, name: $name, $($($field).+ = $value),+)
        } else {
            $crate::tower::span::RequestSpan::Shared(span)
        }
    }};
}
pub(super) use request_span;

/// The same span where `$disabled` is what `tracing` has made of it.
macro_rules! detached_span {
    ($disabled:expr, target: $target:literal, name: $name:literal, $($($field:ident).+ = $value:expr),+ $(,)?) => {{
        static CALLSITE: $crate::layer::Unregistered = $crate::layer::Unregistered(|| &METADATA);
        static METADATA: tracing_core::Metadata<'static> = tracing_core::metadata! {
            name: $name,
            target: $target,
            level: tracing_core::Level::INFO,
            fields: &[$(stringify!($($field).+)),+],
            callsite: &CALLSITE,
            kind: tracing_core::Kind::SPAN
        };
        let fields = METADATA.fields();
        let mut all = fields.iter();
        let open = |values: &tracing_core::field::ValueSet<'_>| {
            $crate::layer::Detached::open(&tracing_core::span::Attributes::new(&METADATA, values))
        };
        // There is one for each value.
        let opened = (|| open(&fields.value_set(&[$((&all.next()?, Some(&$value as &dyn tracing::Value))),+])))();
        opened.map_or($crate::tower::span::RequestSpan::Shared($disabled), $crate::tower::span::RequestSpan::Detached)
    }};
}
pub(super) use detached_span;

/// The span of an RPC, from either side: the target of a span is its callsite's.
macro_rules! rpc_span {
    (target: $target:literal, name: $name:literal, kind: $kind:literal, span: $name_of_span:expr, method: $method:expr, host: $host:expr, port: $port:expr) => {
        $crate::tower::span::request_span!(
            target: $target,
            name: $name,
            otel.name = $name_of_span,
            otel.kind = $kind,
            rpc.system.name = "grpc",
            rpc.method = $method,
            rpc.method_original = tracing::field::Empty,
            server.address = $host,
            server.port = $port,
            rpc.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
            http.response.status_code = tracing::field::Empty,
        )
    };
}
use crate::{
    layer::{Audience, Detached},
    state::{Core, SharedSpan},
};
pub(super) use rpc_span;
