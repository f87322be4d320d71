//! The place of a span in a trace, and its text in a `traceparent` header.

use std::{fmt, str::FromStr};

use super::RemoteContext;
use crate::trail::record::{SpanIds, flag};

/// The place of a span in a distributed trace, as the `traceparent` header carries it.
///
/// Going out, [`SpanContext::current`] is where the calling code is; its `Display` is the header's
/// value. Coming in, parse the header and open the request's span [in its
/// scope](SpanContext::in_scope).
///
/// ```
/// use crumbtrail::propagation::SpanContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let remote: SpanContext = header.parse()?;
/// assert!(remote.is_sampled());
/// assert_eq!(remote.to_string(), header);
///
/// let span = remote.in_scope(|| tracing::info_span!("GET /cart", otel.kind = "server"));
/// # drop(span);
/// # Ok::<(), crumbtrail::propagation::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) flags: u8,
}

impl SpanContext {
    pub(crate) fn of(ids: SpanIds) -> Self {
        let sampled = if ids.flags & flag::SAMPLED != 0 { SAMPLED } else { 0 };
        let random = if ids.flags & flag::RANDOM != 0 { RANDOM } else { 0 };
        Self { trace: ids.trace, span: ids.span, flags: sampled | random }
    }

    /// The trace id, 16 bytes; its `{:032x}` is the usual form.
    pub fn trace_id(&self) -> u128 {
        self.trace
    }

    /// The span id, 8 bytes; its `{:016x}` is the usual form.
    pub fn span_id(&self) -> u64 {
        self.span
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Runs `open`, in which the first local root span (or span of `otel.kind` server or consumer)
    /// becomes a child of this context. Does not reach other threads or past an `.await`: open the
    /// span, then instrument the future with it. As [`RemoteContext::in_scope`], for a trace
    /// context alone.
    pub fn in_scope<T>(self, open: impl FnOnce() -> T) -> T {
        RemoteContext::from(self).in_scope(open)
    }

    /// What the caller has decided about the trace; `None`: it left that to others.
    pub(crate) fn decision(&self) -> Option<bool> {
        (self.flags & DEFERRED == 0).then(|| self.is_sampled())
    }

    pub(crate) fn record_flags(&self) -> u8 {
        flag::REMOTE_PARENT | if self.flags & RANDOM != 0 { flag::RANDOM } else { 0 }
    }
}

impl fmt::Display for SpanContext {
    /// Version 00 of `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags & (SAMPLED | RANDOM))
    }
}

impl FromStr for SpanContext {
    type Err = ParseError;

    /// Reads a `traceparent` header (W3C Trace Context §3.2). A version after 00 may carry more
    /// parts; they are ignored, and of its flags only the known ones are kept.
    fn from_str(header: &str) -> Result<Self, ParseError> {
        let mut parts = header.trim_matches([' ', '\t']).splitn(5, '-');
        let mut hex = |digits: usize| {
            parts
                .next()
                .filter(|part| part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
                .ok_or(ParseError(()))
        };
        let number = |text: &str| u128::from_str_radix(text, 16).map_err(|_| ParseError(()));
        let version = number(hex(2)?)?;
        let trace = number(hex(32)?)?;
        let span = number(hex(16)?)? as u64;
        let flags = number(hex(2)?)? as u8 & (SAMPLED | RANDOM);
        let more = parts.next().is_some();
        if version == 0xFF || trace == 0 || span == 0 || (version == 0 && more) {
            return Err(ParseError(()));
        }
        Ok(Self { trace, span, flags })
    }
}

/// The text is not a `traceparent` header of W3C Trace Context. Start a new trace instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent; expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, ids not zero")]
pub struct ParseError(());

pub(super) const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;
/// B3: sampled, and marked for debugging all along.
pub(super) const DEBUG: u8 = 0x40;
/// B3: the caller has not decided.
pub(super) const DEFERRED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context = SpanContext { trace, span, flags };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn nothing_panics(header in ".{0,80}") {
            let _ = header.parse::<SpanContext>();
        }
    }

    #[test]
    fn the_recommendation_decides() {
        let parses = |header: &str| header.parse::<SpanContext>().is_ok();
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        assert!(parses(&format!("00-{ids}-01")));
        assert!(parses(&format!("cc-{ids}-01-what-the-future-will-be")));
        assert!(!parses(&format!("00-{ids}-01-more")));
        assert!(!parses(&format!("ff-{ids}-01")));
        assert!(!parses(&format!("00-{}-01", ids.to_uppercase())));
        assert!(!parses("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!parses("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"));
        assert!(!parses("00-4bf92f3577b34da6a3ce929d0e0e47-36-00f067aa0ba902b7-01"));
    }
}
