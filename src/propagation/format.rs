//! The formats in which a trace context travels.

use std::fmt::Write as _;

use super::{
    Baggage, RemoteContext, SpanContext,
    remote::{RemoteParts, trace_state},
    span_context::{DEBUG, DEFERRED, SAMPLED},
};

/// A format of trace context or baggage, as `OTEL_PROPAGATORS` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Propagator {
    /// `traceparent` and `tracestate` (W3C Trace Context).
    TraceContext,
    /// `baggage` (W3C Baggage).
    Baggage,
    /// `b3`, the single header.
    B3,
    /// `x-b3-traceid` and its like.
    B3Multi,
    /// `uber-trace-id`.
    Jaeger,
}

impl Propagator {
    const ALL: [(Self, &'static str); 5] = [
        (Self::TraceContext, "tracecontext"),
        (Self::Baggage, "baggage"),
        (Self::B3, "b3"),
        (Self::B3Multi, "b3multi"),
        (Self::Jaeger, "jaeger"),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(propagator, _)| *propagator)
    }
}

/// The propagators in use. The first that finds a context gives it; all write theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagators(u8);

impl Default for Propagators {
    fn default() -> Self {
        [Propagator::TraceContext, Propagator::Baggage].into_iter().collect()
    }
}

impl FromIterator<Propagator> for Propagators {
    fn from_iter<I: IntoIterator<Item = Propagator>>(propagators: I) -> Self {
        Self(propagators.into_iter().fold(0, |all, propagator| all | 1 << propagator as u8))
    }
}

impl Propagators {
    pub(crate) const NONE: Self = Self(0);

    fn has(self, propagator: Propagator) -> bool {
        self.0 & 1 << propagator as u8 != 0
    }

    /// Whether one of them begins with this header (in lower case): without any, there is nothing
    /// to extract.
    #[cfg(feature = "tower")]
    pub(crate) fn recognize(self, header: &str) -> bool {
        let propagator = match header {
            "traceparent" => Propagator::TraceContext,
            "baggage" => Propagator::Baggage,
            "b3" | "x-b3-traceid" => return self.has(Propagator::B3) || self.has(Propagator::B3Multi),
            "uber-trace-id" => Propagator::Jaeger,
            _ => return false,
        };
        self.has(propagator)
    }

    /// Whether one of them tells the trace.
    pub(crate) fn carries_traces(self) -> bool {
        self.0 & !(1 << Propagator::Baggage as u8) != 0
    }

    pub(crate) fn extract<'a>(self, get: &impl Fn(&str) -> Option<&'a str>) -> RemoteContext {
        let mut parts = RemoteParts::default();
        if self.has(Propagator::TraceContext)
            && let Some(span) = get("traceparent").and_then(|header| header.parse().ok())
        {
            parts.span = Some(span);
            parts.trace_state = get("tracestate").map(trace_state).unwrap_or_default();
        }
        let others = [
            (Propagator::B3, b3 as fn(&dyn Fn(&str) -> Option<&'a str>) -> Option<SpanContext>),
            (Propagator::B3Multi, b3_multi),
            (Propagator::Jaeger, jaeger),
        ];
        for (propagator, read) in others {
            // Of B3 either form is read: who calls may not use ours (B3, "Multiple header and single header").
            let is_b3 = matches!(propagator, Propagator::B3 | Propagator::B3Multi);
            if parts.span.is_none() && (self.has(propagator) || is_b3 && (self.has(Propagator::B3) || self.has(Propagator::B3Multi))) {
                parts.span = read(get);
            }
        }
        if self.has(Propagator::Baggage) {
            parts.baggage = get("baggage").map(Baggage::parse).unwrap_or_default();
        }
        RemoteContext(parts)
    }

    /// Writes what has only been read: there may be no trace in it.
    pub(crate) fn pass(
        self,
        context: Option<SpanContext>,
        trace_state: &str,
        baggage: Option<&Baggage>,
        set: &mut impl FnMut(&'static str, String),
    ) {
        match context {
            Some(context) => self.inject(&context, trace_state, baggage, set),
            None => self.inject_baggage(baggage, set),
        }
    }

    pub(crate) fn inject(
        self,
        context: &SpanContext,
        trace_state: &str,
        baggage: Option<&Baggage>,
        set: &mut impl FnMut(&'static str, String),
    ) {
        let (is_debug, is_deferred) = (context.flags & DEBUG != 0, context.flags & DEFERRED != 0);
        let (trace, span, sampled) = (context.trace_id(), context.span_id(), u8::from(context.is_sampled()));
        if self.has(Propagator::TraceContext) {
            set("traceparent", context.to_string());
            if !trace_state.is_empty() {
                set("tracestate", trace_state.to_owned());
            }
        }
        if self.has(Propagator::B3) {
            match (is_debug, is_deferred) {
                (true, _) => set("b3", format!("{trace:032x}-{span:016x}-d")),
                (false, true) => set("b3", format!("{trace:032x}-{span:016x}")),
                (false, false) => set("b3", format!("{trace:032x}-{span:016x}-{sampled}")),
            }
        }
        if self.has(Propagator::B3Multi) {
            set("x-b3-traceid", format!("{trace:032x}"));
            set("x-b3-spanid", format!("{span:016x}"));
            if is_debug {
                set("x-b3-flags", "1".to_owned());
            } else if !is_deferred {
                set("x-b3-sampled", sampled.to_string());
            }
        }
        if self.has(Propagator::Jaeger) {
            set("uber-trace-id", format!("{trace:032x}:{span:016x}:0:{sampled}"));
        }
        self.inject_baggage(baggage, set);
    }

    fn inject_baggage(self, baggage: Option<&Baggage>, set: &mut impl FnMut(&'static str, String)) {
        if let Some(baggage) = baggage.filter(|_| self.has(Propagator::Baggage)) {
            let mut header = String::new();
            let _ = write!(header, "{baggage}");
            set("baggage", header);
        }
    }
}

/// Hexadecimal digits, at most so many; zero is no id.
fn id(text: &str, digits: usize) -> Option<u128> {
    let is_hex = !text.is_empty() && text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|id| is_hex && *id != 0)
}

fn context(trace: &str, span: &str, flags: u8) -> Option<SpanContext> {
    Some(SpanContext { trace: id(trace, 32)?, span: id(span, 16)? as u64, flags })
}

/// What B3 says of sampling: `1`, `0`, `d` for debug, or nothing, and then whoever receives it
/// decides.
fn b3_flags(decision: Option<&str>, is_debug: bool) -> u8 {
    match decision.map(str::trim) {
        _ if is_debug => SAMPLED | DEBUG,
        Some("d") => SAMPLED | DEBUG,
        Some("1" | "true") => SAMPLED,
        Some(_) => 0,
        None => DEFERRED,
    }
}

/// `{trace}-{span}-{sampled}-{parent}`, the last two optional. A lone `0` or `1` says nothing of a
/// trace.
fn b3<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Option<SpanContext> {
    let mut parts = get("b3")?.trim().split('-');
    context(parts.next()?, parts.next()?, b3_flags(parts.next(), false))
}

fn b3_multi<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Option<SpanContext> {
    let is_debug = get("x-b3-flags").map(str::trim) == Some("1");
    context(get("x-b3-traceid")?.trim(), get("x-b3-spanid")?.trim(), b3_flags(get("x-b3-sampled"), is_debug))
}

/// `{trace}:{span}:{parent}:{flags}`, the colons perhaps percent-encoded.
fn jaeger<'a>(get: &dyn Fn(&str) -> Option<&'a str>) -> Option<SpanContext> {
    let header = get("uber-trace-id")?.trim();
    // Longer ones are none; they are not copied to find out.
    let header = if header.len() <= 128 { header.replace("%3A", ":").replace("%3a", ":") } else { return None };
    let mut parts = header.split(':');
    let (trace, span, _parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    context(trace, span, u8::from_str_radix(flags, 16).ok()? & SAMPLED)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn read(propagator: Propagator, headers: &[(&str, &str)]) -> Option<String> {
        let headers: HashMap<&str, &str> = headers.iter().copied().collect();
        let remote = Propagators::from_iter([propagator]).extract(&|name| headers.get(name).copied());
        remote.span_context().map(|context| context.to_string())
    }

    #[test]
    fn other_formats_are_read_as_their_documents_say() {
        let expected = Some("00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01".to_owned());
        let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
        assert_eq!(read(Propagator::B3, &[("b3", &format!("{trace}-{span}-1-05e3ac9a4f6e3b90"))]), expected);
        assert_eq!(read(Propagator::B3, &[("b3", &format!("{trace}-{span}-d"))]), expected);
        assert_eq!(read(Propagator::B3, &[("b3", "0")]), None);
        let short = Some("00-000000000000000064fe8b2a57d3eff7-e457b5a2e4d86bd1-00".to_owned());
        assert_eq!(read(Propagator::B3, &[("b3", &format!("64fe8b2a57d3eff7-{span}"))]), short);
        let multi = [("x-b3-traceid", trace), ("x-b3-spanid", span), ("x-b3-sampled", "1")];
        assert_eq!(read(Propagator::B3Multi, &multi), expected);
        assert_eq!(read(Propagator::B3Multi, &multi[..1]), None);
        // Report C4: the other form, too.
        assert_eq!(read(Propagator::B3, &multi), expected);
        assert_eq!(read(Propagator::B3Multi, &[("b3", &format!("{trace}-{span}-1"))]), expected);
        assert_eq!(read(Propagator::Jaeger, &[("uber-trace-id", &format!("{trace}:{span}:0:1"))]), expected);
        assert_eq!(read(Propagator::Jaeger, &[("uber-trace-id", &format!("{trace}%3A{span}%3A0%3A3"))]), expected);
        assert_eq!(read(Propagator::Jaeger, &[("uber-trace-id", "0:1:0:1")]), None);
        assert_eq!(read(Propagator::TraceContext, &multi), None, "only what is asked for");
    }

    /// Report C4: what B3 says of debugging is handed on, and what it does not say is not made up.
    #[test]
    fn b3_keeps_its_decision() {
        let (trace, span) = ("80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1");
        for (end, decision) in [("-d", Some(true)), ("-1", Some(true)), ("-0", Some(false)), ("", None)] {
            let header = format!("{trace}-{span}{end}");
            let propagators = Propagators::from_iter([Propagator::B3]);
            let context = propagators.extract(&|name| (name == "b3").then_some(&*header)).span_context().expect("a context");
            assert_eq!(context.decision(), decision);
            let mut written = HashMap::new();
            propagators.inject(&context, "", None, &mut |name, value| _ = written.insert(name, value));
            assert_eq!(written["b3"], header);
            written.clear();
            Propagators::from_iter([Propagator::B3Multi]).inject(&context, "", None, &mut |name, value| _ = written.insert(name, value));
            let again = propagators.extract(&|name| written.get(name).map(String::as_str)).span_context();
            assert_eq!(again, Some(context));
        }
    }

    proptest! {
        #[test]
        fn what_one_process_writes_another_reads(trace in 1u128.., span in 1u64.., sampled in any::<bool>(), which in 0usize..5) {
            let (propagator, _) = Propagator::ALL[which];
            let propagators = Propagators::from_iter([propagator]);
            let context = SpanContext { trace, span, flags: u8::from(sampled) };
            let mut headers = HashMap::new();
            propagators.inject(&context, "", None, &mut |name, value| _ = headers.insert(name, value));
            let found = propagators.extract(&|name| headers.get(name).map(String::as_str)).span_context();
            prop_assert_eq!(found, (propagator != Propagator::Baggage).then_some(context));
            #[cfg(feature = "tower")]
            prop_assert_eq!(headers.keys().any(|name| propagators.recognize(name)), found.is_some());
        }

        #[test]
        fn nothing_panics(text in "[0-9a-fA-F:%-]{0,80}|\\PC{0,80}") {
            let all: Propagators = Propagator::ALL.iter().map(|(propagator, _)| *propagator).collect();
            let _ = all.extract(&|_| Some(&*text));
        }
    }
}
