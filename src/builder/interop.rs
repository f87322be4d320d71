//! Beside OpenTelemetry's own API, see [`interop`](crate::interop).

use super::Builder;
use crate::config::Exporter;

impl Builder {
    /// Whether `tracing-opentelemetry`'s `OpenTelemetrySpanExt` works on crumbtrail's spans, see
    /// [`interop`](crate::interop); not by default. There must be no `OpenTelemetryLayer` beside
    /// it.
    pub fn with_span_extensions(mut self, extensions: bool) -> Self {
        self.interop.span_extensions = extensions;
        self
    }

    /// Whether OpenTelemetry's current context follows the spans of `tracing`, see
    /// [`interop`](crate::interop); not by default. Every entering and leaving of a span costs more
    /// then: a context is made, attached and detached.
    pub fn with_context_activation(mut self, activation: bool) -> Self {
        self.interop.context_activation = activation;
        self
    }

    /// Whether [`install`](Self::install) makes crumbtrail's [tracer
    /// provider](crate::Telemetry::tracer_provider) and
    /// [propagator](crate::Telemetry::text_map_propagator) OpenTelemetry's global ones, see
    /// [`interop`](crate::interop); not by default.
    pub fn with_opentelemetry_globals(mut self, globals: bool) -> Self {
        self.interop.globals = globals;
        self
    }

    /// For services that keep a trace pipeline of their own (`OpenTelemetryLayer`, with its context
    /// activation): exceptions and logs carry the ids of OpenTelemetry's current context, and
    /// crumbtrail exports no spans. Not by default.
    pub fn with_foreign_context(mut self, foreign: bool) -> Self {
        self.interop.foreign_context = foreign;
        if foreign {
            self = self.with_traces_exporter(Exporter::None);
        }
        self
    }
}
