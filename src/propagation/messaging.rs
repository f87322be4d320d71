//! Spans at both ends of a queue: the hop keeps the trace, and the trail starts anew where the
//! message is processed.

use tracing::{Span, field::Empty, info_span};

use super::RemoteContext;

/// The span in which a message is sent; write its context into the message with
/// [`inject`](super::inject), in the span. Names and fields are those of the semantic conventions
/// for messaging.
///
/// ```
/// use std::collections::HashMap;
///
/// use crumbtrail::propagation::{consumer_span, extract, inject, producer_span};
///
/// let (_, collected) = crumbtrail::testing::collect(|| {
///     let mut headers = HashMap::new();
///     producer_span("rabbitmq", "orders").in_scope(|| inject(|name, value| _ = headers.insert(name, value)));
///
///     // In another process:
///     let remote = extract(|name| headers.get(name).map(String::as_str));
///     let _process = consumer_span("rabbitmq", "orders", remote).entered();
///     tracing::error!("out of stock");
/// });
/// let [send, process] = collected.spans() else { panic!() };
/// assert_eq!((send.name(), process.name()), ("send orders", "process orders"));
/// assert_eq!((process.trace_id(), process.parent_id()), (send.trace_id(), send.span_id()));
/// assert_eq!(collected.exceptions()[0].breadcrumbs()[0].message(), "opened messaging");
/// ```
pub fn producer_span(system: &str, destination: &str) -> Span {
    span("producer", "send", system, destination)
}

/// The span in which a message is processed: a child of the sender's, with the beginning of a
/// trail. For messages that come in batches, open one for each.
pub fn consumer_span(system: &str, destination: &str, remote: RemoteContext) -> Span {
    remote.in_scope(|| span("consumer", "process", system, destination))
}

fn span(kind: &str, operation: &str, system: &str, destination: &str) -> Span {
    info_span!(
        "messaging",
        otel.kind = kind,
        otel.name = format_args!("{operation} {destination}"),
        messaging.system.name = system,
        messaging.destination.name = destination,
        messaging.operation.name = operation,
        messaging.operation.type = operation,
        messaging.message.id = Empty,
        error.type = Empty,
    )
}
