//! What records of all kinds have in common: names of ours, ids, flags.

use crate::trail::record::{SpanIds, flag};

/// Says of a scope which share of the signal's records is missing.
pub(super) const LEFT_OUT: &str = "crumbtrail.left_out.ratio";

/// Says that a value of the record was cut on the caller's side.
pub(super) const TRUNCATED: &str = "crumbtrail.truncated";

/// The flags of a trace as W3C Trace Context has them: sampled, random.
pub(super) fn trace_flags(flags: u8) -> u32 {
    u32::from(flags & flag::SAMPLED) | if flags & flag::RANDOM != 0 { 2 } else { 0 }
}

/// Trace and span id as OTLP has them: big-endian, empty where there is none.
pub(super) fn wire_ids(ids: SpanIds) -> (Vec<u8>, Vec<u8>) {
    let (mut trace, mut span) = (Vec::new(), Vec::new());
    write_ids(ids, &mut trace, &mut span);
    (trace, span)
}

/// The same, into the memory there is.
pub(super) fn write_ids(ids: SpanIds, trace: &mut Vec<u8>, span: &mut Vec<u8>) {
    trace.clear();
    span.clear();
    if ids.trace != 0 && ids.span != 0 {
        trace.extend_from_slice(&ids.trace.to_be_bytes());
        span.extend_from_slice(&ids.span.to_be_bytes());
    }
}
