//! What the middleware asks of the layer, whose spans it opens. Comes in: a request's span before
//! it is opened, and its id after that. Goes out: the same records as by way of `tracing`, for
//! less.

use std::sync::Arc;

use crate::{
    state::{Core, CrumbtrailLayer, SpanState, thread},
    trail::{
        encode::Encoder,
        record::{self, Kind},
    },
};

/// The telemetry of a thread, and who hears of its spans.
pub(crate) struct Recording {
    pub(crate) core: Arc<Core>,
    pub(crate) audience: Audience,
}

/// Who hears of a thread's spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// We alone.
    Ours,
    /// We among others.
    Shared,
    /// A subscriber that is none of ours, or does not say so (a wrapper without `downcast_raw`):
    /// the program's telemetry is another's, here.
    Others,
}

/// What records on this thread now.
pub(crate) fn recording() -> Option<Recording> {
    let here = tracing_core::dispatcher::get_default(|dispatch| {
        let (layer, is_sole) = CrumbtrailLayer::of(dispatch)?;
        Some(Recording { core: layer.core.clone(), audience: if is_sole { Audience::Ours } else { Audience::Shared } })
    });
    here.or_else(|| Some(Recording { core: crate::state::active::installed_core()?, audience: Audience::Others }))
}

/// Opens a span of ours, for a subscriber that has no other layer. Its fields are written here and
/// now, by their index; `open` says that all are empty.
pub(crate) fn open_written<T>(core: &Core, write: impl FnOnce(&mut Encoder<'_>), open: impl FnOnce() -> T) -> T {
    thread::at(|thread| {
        let mut buf = thread.take_scratch();
        let mut encoder =
            Encoder::new(&mut buf, Kind::SpanOpen, record::NO_CALLSITE, 0, core.config.span_limits).with_scrubber(&core.scrubber);
        write(&mut encoder);
        let length = encoder.finish();
        thread.put_written(buf, length);
    });
    let _untaken = TakeBack;
    open()
}

/// Where a callsite is off nobody takes what was written; nor, should something panic.
struct TakeBack;

impl Drop for TakeBack {
    fn drop(&mut self) {
        thread::at(|thread| thread.take_written().map(|(buf, _)| thread.return_scratch(buf)));
    }
}

/// Adds a number to an open span, under one of its callsite's fields. As `Span::record`, for a
/// subscriber that has no other layer: no table is locked to find a span that the calling thread
/// remembers.
pub(crate) fn record_number(core: &Arc<Core>, id: u64, field: u16, value: u64) {
    let add = |state: &SpanState| state.append(|body| record::append_u64(body, field, value));
    let known = thread::here(core, |instance| instance.known(id).map(|state| add(state))).flatten();
    // Not to its parent, which stands for it where its own filter is off.
    if known.is_none()
        && let Some(handle) = core.spans.get(id).filter(|handle| handle.own)
    {
        add(&handle.state);
    }
}
