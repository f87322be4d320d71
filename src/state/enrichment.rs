//! What a program may ask for besides what is always sent. Set once, by the builder.

/// What logs and spans are to carry besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Enrichment {
    /// Fields of enclosing spans that logs carry, too.
    pub(crate) span_fields: Vec<String>,
    /// Events are events of their span, too.
    pub(crate) events_on_spans: bool,
    /// Spans say how long they were busy, and idle.
    pub(crate) span_timings: bool,
}
