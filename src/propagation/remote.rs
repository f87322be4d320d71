//! What a caller has sent along, until the span is opened that takes it over.

use std::cell::Cell;

use super::{Baggage, SpanContext};

/// What came with a request or message: the caller's span, its trace state, and baggage. Made by [`extract`](super::extract).
#[derive(Clone, Debug, Default)]
pub struct RemoteContext(pub(super) RemoteParts);

#[derive(Clone, Debug, Default)]
pub(super) struct RemoteParts {
    pub(super) span: Option<SpanContext>,
    /// Only with a span.
    pub(super) trace_state: String,
    pub(super) baggage: Baggage,
}

impl RemoteContext {
    /// The caller's span, if it sent one.
    pub fn span_context(&self) -> Option<SpanContext> {
        self.0.span
    }

    /// The decoded value of a baggage entry.
    pub fn baggage(&self, key: &str) -> Option<String> {
        self.0.baggage.get(key)
    }

    /// The caller's trace state; empty if it sent none.
    #[cfg(feature = "tracing-opentelemetry")]
    pub(crate) fn trace_state(&self) -> &str {
        &self.0.trace_state
    }

    /// Keys and decoded values of the baggage.
    #[cfg(feature = "tracing-opentelemetry")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.baggage.entries()
    }

    /// Runs `open`, in which the first local root span (or span of `otel.kind` server or consumer) becomes a child of the caller's span and takes its trace state and baggage. Does not reach other threads or past an `.await`: open the span, then instrument the future with it.
    pub fn in_scope<T>(self, open: impl FnOnce() -> T) -> T {
        struct Restore(Option<Box<RemoteParts>>, Option<SpanContext>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CARRIED.set(self.0.take());
                SPAN.set(self.1.take());
            }
        }
        let RemoteParts { span, trace_state, baggage } = self.0;
        let carried = (!trace_state.is_empty() || !baggage.is_empty()).then(|| Box::new(RemoteParts { span, trace_state, baggage }));
        let _restore = Restore(CARRIED.replace(carried), SPAN.replace(span));
        open()
    }
}

impl From<SpanContext> for RemoteContext {
    fn from(span: SpanContext) -> Self {
        Self(RemoteParts { span: Some(span), ..RemoteParts::default() })
    }
}

/// What the next root takes over. A span context alone, as most are, needs no memory.
#[derive(Default)]
pub(crate) struct Remote {
    pub(crate) span: Option<SpanContext>,
    carried: Option<Box<RemoteParts>>,
}

impl Remote {
    pub(crate) fn take() -> Self {
        Self { span: SPAN.take(), carried: CARRIED.take() }
    }

    pub(crate) fn into_carried(self) -> Option<(String, Baggage)> {
        self.carried.map(|carried| (carried.trace_state, carried.baggage))
    }
}

thread_local! {
    static SPAN: Cell<Option<SpanContext>> = const { Cell::new(None) };
    static CARRIED: Cell<Option<Box<RemoteParts>>> = const { Cell::new(None) };
}

/// Bytes and entries of a trace state (W3C Trace Context §3.3.1.5, §3.3.1.1).
const MAX_BYTES: usize = 512;
const MAX_ENTRIES: usize = 32;

/// A trace state that may be handed on; empty if the header is not one.
pub(super) fn trace_state(header: &str) -> String {
    let header = header.trim_matches([' ', '\t']);
    let is_entry = |entry: &str| match entry.trim_matches([' ', '\t']).split_once('=') {
        Some((key, value)) => {
            let is_key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
            !key.is_empty() && key.bytes().all(is_key) && !value.is_empty() && value.bytes().all(|byte| (0x20..0x7F).contains(&byte))
        }
        None => entry.trim_matches([' ', '\t']).is_empty(),
    };
    let is_valid = header.len() <= MAX_BYTES && header.split(',').count() <= MAX_ENTRIES && header.split(',').all(is_entry);
    if is_valid { header.to_owned() } else { String::new() }
}

/// A trace state without OpenTelemetry's sampling threshold (`ot=th:…`): the trace was kept for another reason, with a probability that nobody knows.
pub(crate) fn without_threshold(trace_state: &str) -> String {
    let entries = trace_state.split(',').filter_map(|entry| match entry.trim_matches([' ', '\t']).strip_prefix("ot=") {
        None => Some(entry.to_owned()),
        Some(parts) => {
            let rest: Vec<&str> = parts.split(';').filter(|part| !part.starts_with("th:")).collect();
            (!rest.is_empty()).then(|| format!("ot={}", rest.join(";")))
        }
    });
    entries.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_state_is_handed_on_whole_or_not_at_all() {
        assert_eq!(trace_state(" vendor=a:b;c, ot=th:8;rv:1 "), "vendor=a:b;c, ot=th:8;rv:1");
        assert_eq!(trace_state("Vendor=1"), "");
        assert_eq!(trace_state("vendor"), "");
        assert_eq!(trace_state(&format!("a={}", "x".repeat(600))), "");
        assert_eq!(trace_state(&"a=b,".repeat(40)), "");
    }

    #[test]
    fn only_the_threshold_goes() {
        assert_eq!(without_threshold("a=1,ot=th:c;rv:0123,b=2"), "a=1,ot=rv:0123,b=2");
        assert_eq!(without_threshold("ot=th:0"), "");
        assert_eq!(without_threshold("a=th:1"), "a=th:1");
    }
}
