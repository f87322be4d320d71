//! The OpenTelemetry context that follows the `tracing` spans of a thread. Comes in: spans that are
//! entered and left. Goes out: contexts, attached and detached.

use std::{cell::RefCell, sync::Arc};

use opentelemetry::{Context, ContextGuard, trace::TraceContextExt as _};

use super::OtelSpan;
use crate::state::{Core, SpanState};

thread_local! {
    /// By the spans' ids, innermost last.
    static ATTACHED: RefCell<Vec<(u64, ContextGuard)>> = const { RefCell::new(Vec::new()) };
}

/// A span was entered.
pub(crate) fn enter(core: &Arc<Core>, id: u64, state: &SpanState) {
    let guard = Context::current_with_span(OtelSpan::of(core, id, state.current_ids())).attach();
    let _ = ATTACHED.try_with(|attached| attached.borrow_mut().push((id, guard)));
}

/// A span was left, in whatever order.
pub(crate) fn exit(id: u64) {
    let left = ATTACHED.try_with(|attached| {
        let mut attached = attached.borrow_mut();
        let index = attached.iter().rposition(|(known, _)| *known == id)?;
        Some(attached.remove(index).1)
    });
    // Detaching may drop a context, and what is in it: not under the borrow.
    drop(left);
}
