//! What a caller has sent along, until the span is opened that takes it over.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::{Baggage, SpanContext, span_context::DEBUG};

/// What came with a request or message: the caller's span, its trace state, and baggage. Made by
/// [`extract`](super::extract).
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
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn trace_state(&self) -> &str {
        &self.0.trace_state
    }

    /// Keys and decoded values of the baggage.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.baggage.entries()
    }

    /// Runs `open`, in which the first local root span (or span of `otel.kind` server or consumer)
    /// becomes a child of the caller's span and takes its trace state and baggage. Does not reach
    /// other threads or past an `.await`: open the span, then instrument the future with it.
    pub fn in_scope<T>(self, open: impl FnOnce() -> T) -> T {
        self.offered(open).0
    }

    /// The same, and what no span has taken over.
    pub(crate) fn offered<T>(self, open: impl FnOnce() -> T) -> (T, Option<Self>) {
        struct Restore(Option<Box<RemoteParts>>, Option<SpanContext>);
        impl Drop for Restore {
            fn drop(&mut self) {
                set_carried(self.0.take());
                SPAN.set(self.1.take());
            }
        }
        let RemoteParts { span, trace_state, baggage } = self.0;
        let is_debug = span.is_some_and(|span| span.flags & DEBUG != 0);
        let carried =
            (!trace_state.is_empty() || !baggage.is_empty() || is_debug).then(|| Box::new(RemoteParts { span, trace_state, baggage }));
        let _restore = Restore(replace_carried(carried), SPAN.replace(span));
        let opened = open();
        let (span, carried) = (SPAN.take(), take_carried());
        let untaken =
            (span.is_some() || carried.is_some()).then(|| RemoteParts { span, ..carried.map(|parts| *parts).unwrap_or_default() });
        (opened, untaken.map(Self))
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
        Self { span: SPAN.take(), carried: take_carried() }
    }

    /// The same; or of the caller whose own span nobody sees here.
    pub(crate) fn take_or_passing() -> Self {
        let own = Self::take();
        if own.span.is_some() || own.carried.is_some() {
            return own;
        }
        let passing = PASSING.try_with(|passing| passing.borrow().clone()).ok().flatten();
        passing.map_or(own, |Passing(parts)| Self { span: parts.span, carried: Some(Box::new((*parts).clone())) })
    }

    /// Trace state, whether the trace is marked for debugging, baggage.
    pub(crate) fn into_carried(self) -> Option<(String, bool, Baggage)> {
        let is_debug = self.span.is_some_and(|span| span.flags & DEBUG != 0);
        self.carried.map(|carried| (carried.trace_state, is_debug, carried.baggage))
    }
}

/// What a caller has sent along, where no span of ours takes it over: nothing is recorded, or the
/// request's span is filtered out. It is handed on all the same, and what is recorded in its scope
/// belongs to the caller's trace.
#[derive(Clone, Debug)]
pub(crate) struct Passing(Arc<RemoteParts>);

impl Passing {
    /// `None`: there is nothing to hand on.
    #[cfg(feature = "tower")]
    pub(crate) fn of(remote: RemoteContext) -> Option<Self> {
        let has_some = remote.0.span.is_some() || !remote.0.baggage.is_empty();
        has_some.then(|| Self(Arc::new(remote.0)))
    }

    /// In whose scope the calling thread is; or what the next span would take over.
    pub(crate) fn current() -> Option<Self> {
        PASSING.try_with(|passing| passing.borrow().clone()).ok().flatten().or_else(|| {
            let (span, carried) = (SPAN.take(), take_carried());
            SPAN.set(span);
            set_carried(carried.clone());
            let parts = carried.map(|parts| *parts).unwrap_or_default();
            (span.is_some() || !parts.baggage.is_empty()).then(|| Self(Arc::new(RemoteParts { span, ..parts })))
        })
    }

    /// Runs a part of what is done for the caller.
    #[cfg(feature = "tower")]
    pub(crate) fn in_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        struct Restore(Option<Passing>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let _ = PASSING.try_with(|passing| *passing.borrow_mut() = self.0.take());
            }
        }
        let _restore = Restore(PASSING.try_with(|passing| passing.borrow_mut().replace(self.clone())).ok().flatten());
        run()
    }

    pub(crate) fn span(&self) -> Option<SpanContext> {
        self.0.span
    }

    pub(crate) fn trace_state(&self) -> &str {
        &self.0.trace_state
    }

    pub(crate) fn baggage(&self) -> &Baggage {
        &self.0.baggage
    }
}

/// A thread that is ending may have none any more; then nothing is carried.
fn take_carried() -> Option<Box<RemoteParts>> {
    CARRIED.try_with(Cell::take).ok().flatten()
}

fn set_carried(carried: Option<Box<RemoteParts>>) {
    let _ = CARRIED.try_with(|cell| cell.set(carried));
}

fn replace_carried(carried: Option<Box<RemoteParts>>) -> Option<Box<RemoteParts>> {
    CARRIED.try_with(|cell| cell.replace(carried)).ok().flatten()
}

thread_local! {
    static SPAN: Cell<Option<SpanContext>> = const { Cell::new(None) };
    static PASSING: RefCell<Option<Passing>> = const { RefCell::new(None) };
    static CARRIED: Cell<Option<Box<RemoteParts>>> = const { Cell::new(None) };
}

/// Bytes and entries of a trace state (W3C Trace Context §3.3.1.5, §3.3.1.1).
const MAX_BYTES: usize = 512;
const MAX_ENTRIES: usize = 32;

/// A trace state that may be handed on; empty if the header is not one (§3.3.1, by the stricter
/// grammar of level 1 where that differs).
pub(super) fn trace_state(header: &str) -> String {
    const BLANKS: [char; 2] = [' ', '\t'];
    let header = header.trim_matches(BLANKS);
    let is_entry = |entry: &str| match entry.trim_matches(BLANKS).split_once('=') {
        Some((key, value)) => is_key(key) && is_value(value),
        None => entry.trim_matches(BLANKS).is_empty(),
    };
    let is_valid = header.len() <= MAX_BYTES && header.split(',').count() <= MAX_ENTRIES && header.split(',').all(is_entry);
    if is_valid { header.to_owned() } else { String::new() }
}

/// `vendor`, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let is_part = |part: &str, longest: usize, begins: fn(u8) -> bool| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        part.len() <= longest && part.bytes().next().is_some_and(begins) && part.bytes().all(is_inner)
    };
    let begins: fn(u8) -> bool = |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match key.split_once('@') {
        None => is_part(key, 256, begins),
        Some((tenant, system)) => is_part(tenant, 241, begins) && is_part(system, 14, |byte| byte.is_ascii_lowercase()),
    }
}

/// Printable, without the signs that divide; its last character is no blank.
fn is_value(value: &str) -> bool {
    let is_inner = |byte: u8| (0x20..0x7F).contains(&byte) && !matches!(byte, b',' | b'=');
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_inner) && !value.ends_with(' ')
}

/// A trace state without OpenTelemetry's sampling threshold (`ot=th:…`): the trace was kept for
/// another reason, with a probability that nobody knows.
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
        // Report C3.
        let valid = ["1a=b", "a_-*/0=b", "fw529a3039@dt=x", "a=b ,c=d", "a=b,,c=d"];
        valid.iter().for_each(|header| assert_eq!(trace_state(header), *header));
        let (long, longest) = (format!("{}=1", "z".repeat(257)), format!("{}=1", "z".repeat(256)));
        assert_eq!(trace_state(&longest), longest);
        let vendor = [format!("{}@v=1", "t".repeat(242)), format!("t@{}=1", "v".repeat(15))];
        for header in
            ["_a=1", "-a=1", "@a=1", "a@=1", "a@@b=1", "a@b@c=1", "a =1", "A=1", "a.b=1", "a=b=c", "a=", &long, &vendor[0], &vendor[1]]
        {
            assert_eq!(trace_state(header), "", "{header}");
        }
    }

    #[test]
    fn only_the_threshold_goes() {
        assert_eq!(without_threshold("a=1,ot=th:c;rv:0123,b=2"), "a=1,ot=rv:0123,b=2");
        assert_eq!(without_threshold("ot=th:0"), "");
        assert_eq!(without_threshold("a=th:1"), "a=th:1");
    }
}
