//! What the layer keeps of a span while it is open: its identity, its parent, its trail, and its
//! record so far.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::{
    fork::{Guard, Mutex},
    state::body::Body,
    text::cut,
    trail::{
        SharedTrail, Trail,
        record::{self, HEADER_BYTES, Kind, Part, SpanIds, flag, key},
    },
};

/// An [`Arc`](std::sync::Arc) without weak references: whether somebody else holds it is read, not
/// locked.
pub(crate) type SharedSpan = triomphe::Arc<SpanState>;

/// An open span. Immutable but for its body, whose lock no user code ever runs under; so a panic
/// hook may take it.
#[derive(Default)]
pub(crate) struct SpanState {
    /// Its id in the Registry.
    pub(crate) tracing_id: u64,
    pub(crate) ids: SpanIds,
    pub(crate) callsite: u32,
    /// What the callsite feeds.
    pub(crate) feeds: u8,
    /// The enclosing span of the same trace.
    pub(crate) parent: Option<SharedSpan>,
    /// Its request's. None: its parent has it, or that one's, not far up; so that most spans do not
    /// count in it.
    trail: Option<SharedTrail>,
    /// How far up.
    trail_above: u8,
    /// What another API keeps with it.
    pub(crate) entries: Entries,
    /// The span is closed; its id may be another's by now.
    closed: AtomicBool,
    /// Who keeps it open, besides whoever opened it its children. 0: the subscriber counts them,
    /// and says when it closes.
    holders: AtomicU32,
    /// For how long it was entered so far, nanoseconds; where that is asked for.
    busy: AtomicU64,
    body: Mutex<Body>,
}

/// Versions of [another API](super::other_api)'s types that can be served at once.
pub(crate) const VERSIONS: usize = if cfg!(feature = "tracing-opentelemetry-0-34") { 2 } else { 0 };

/// What another API keeps with an open span, for each version.
#[derive(Default)]
#[cfg_attr(not(feature = "tracing-opentelemetry-0-34"), allow(dead_code))]
pub(crate) struct Entries {
    /// Their ids where it keeps them; 0: nobody has asked for one.
    pub(crate) ids: [AtomicU64; VERSIONS],
    /// What was said of the span there has taken effect.
    pub(crate) applied: [AtomicBool; VERSIONS],
}

/// Bytes of what an error status says.
const MAX_DESCRIPTION: usize = 256;
/// How far up a span looks for its trail.
const MAX_ABOVE: u8 = 4;

impl SpanState {
    /// Fills a fresh or recycled state. `record` is the open record without its padding.
    pub(crate) fn open(
        &mut self,
        tracing_id: u64,
        ids: SpanIds,
        (callsite, feeds): (u32, u8),
        parent: Option<SharedSpan>,
        trail: Option<SharedTrail>,
        record: &[u8],
    ) {
        self.tracing_id = tracing_id;
        self.ids = ids;
        (self.callsite, self.feeds) = (callsite, feeds);
        self.trail_above = if trail.is_some() { 0 } else { parent.as_ref().map_or(0, |parent| parent.trail_above + 1) };
        (self.parent, self.trail) = (parent, trail);
        *self.closed.get_mut() = false;
        *self.holders.get_mut() = 0;
        *self.busy.get_mut() = 0;
        self.entries = Entries::default();
        self.body.get_mut().begin(record);
    }

    /// Empties the state for its next span and returns what it held.
    pub(crate) fn clear(&mut self) -> (Option<SharedSpan>, Option<SharedTrail>) {
        self.body.get_mut().clear();
        (self.parent.take(), self.trail.take())
    }

    /// The same span with other ids, at the same place of the same request.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn moved(&self, ids: SpanIds) -> Self {
        let mut body = self.body().clone();
        record::clear_ids(&mut body.bytes);
        record::stamp_ids(&mut body.bytes, ids);
        Self {
            tracing_id: self.tracing_id,
            ids,
            callsite: self.callsite,
            feeds: self.feeds,
            parent: self.parent.clone(),
            trail: self.trail.clone(),
            trail_above: self.trail_above,
            entries: Entries {
                ids: self.entries.ids.each_ref().map(|id| AtomicU64::new(id.load(Ordering::Relaxed))),
                applied: self.entries.applied.each_ref().map(|applied| AtomicBool::new(applied.load(Ordering::Relaxed))),
            },
            closed: AtomicBool::new(false),
            holders: AtomicU32::new(self.holders.load(Ordering::Relaxed)),
            busy: AtomicU64::new(self.busy()),
            body: Mutex::new(body),
        }
    }

    /// Its request's.
    #[inline]
    pub(crate) fn trail(&self) -> Option<&Trail> {
        self.shared_trail().map(|trail| &**trail)
    }

    /// The same, for who keeps it longer than the span.
    #[inline]
    pub(crate) fn shared_trail(&self) -> Option<&SharedTrail> {
        let mut span = self;
        loop {
            match &span.trail {
                Some(trail) => return Some(trail),
                None => span = span.parent.as_deref()?,
            }
        }
    }

    /// What a child is to have of it.
    #[inline]
    pub(crate) fn trail_for_child(&self) -> Option<SharedTrail> {
        if self.trail_above < MAX_ABOVE { None } else { self.shared_trail().cloned() }
    }

    /// Looks at its fields as they are now.
    pub(crate) fn with_parts<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = Part<'_>>) -> T) -> T {
        let body = self.body();
        look(&mut record::parts(body.bytes.get(HEADER_BYTES..).unwrap_or_default()))
    }

    /// It was entered for so long, nanoseconds.
    pub(crate) fn add_busy(&self, nanos: u64) {
        self.busy.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// When it was opened.
    pub(crate) fn started(&self) -> u64 {
        record::time(&self.body().bytes)
    }

    /// It closes when everybody who holds it open has let go, see [`let_go`](Self::let_go).
    #[cfg(feature = "tower")]
    pub(crate) fn count_holders(&self) {
        self.holders.store(1, Ordering::Relaxed);
    }

    /// A child is opened; nothing to do where the subscriber counts.
    #[inline]
    pub(crate) fn hold_open(&self) {
        if self.is_counted() {
            self.holders.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether its holders are counted here.
    #[inline]
    pub(crate) fn is_counted(&self) -> bool {
        self.holders.load(Ordering::Relaxed) != 0
    }

    /// Returns whether it closes now.
    pub(crate) fn let_go(&self) -> bool {
        self.is_counted() && self.holders.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn mark_closed(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Adds the fields of an encoded record, given without padding. A later value of a field
    /// replaces the earlier.
    pub(crate) fn append_fields_of(&self, record: &[u8]) {
        self.body().append_fields(record.get(HEADER_BYTES..).unwrap_or_default());
    }

    /// Adds a field to the record, if there is room; else it is counted.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.body().append(write);
    }

    /// Notes that an exception of another record went through this span: an error status follows
    /// from it.
    pub(crate) fn mark_failed(&self, description: &str) {
        self.body().append_failure(|body| record::append_str(body, key::ERROR_STATUS, cut(description, MAX_DESCRIPTION)));
    }

    /// Links another span, as `follows_from` does.
    pub(crate) fn link(&self, to: SpanIds) {
        self.body().append(|body| append_link(body, to));
    }

    /// The same, and what else is said of it, see [`append_link_with`].
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn link_with(&self, to: SpanIds, more: &str) {
        self.body().append(|body| append_link_with(body, to, more));
    }

    /// Notes that an exception happened in this span: an `exception` span event follows from it,
    /// and an error status if one is described.
    pub(crate) fn mark_exception(&self, id: [u8; 16], time: u64, description: Option<&str>) {
        self.body().append_failure(|body| {
            let mut mark = [0; 24];
            mark[..16].copy_from_slice(&id);
            mark[16..].copy_from_slice(&time.to_le_bytes());
            record::append_bytes(body, key::EXCEPTION, &mark);
            if let Some(description) = description {
                record::append_str(body, key::ERROR_STATUS, cut(description, MAX_DESCRIPTION));
            }
        });
    }

    /// Who it is, to others: its ids, and whether its trace is sampled or kept by now.
    #[inline]
    pub(crate) fn current_ids(&self) -> SpanIds {
        SpanIds { flags: self.ids.flags | self.kept(), ..self.ids }
    }

    /// What its trace was marked with, when it was kept although it is not sampled.
    #[inline]
    pub(crate) fn kept(&self) -> u8 {
        if self.ids.flags & flag::SAMPLED != 0 { 0 } else { self.trail().map_or(0, |trail| trail.kept()) }
    }

    /// The whole span as one finished record with these flags, for `take` to read; and its trail.
    pub(crate) fn finish(this: &mut SharedSpan, end: u64, flags: u8, take: impl FnOnce(&[u8], Option<&Trail>)) {
        let finish = |body: &mut Vec<u8>, trail: Option<&Trail>| {
            record::append_u64(body, key::END_TIME, end);
            record::set_kind(body, Kind::Span);
            record::add_flags(body, flags);
            record::seal(body);
            take(body, trail);
        };
        // A span that closes is mostly nobody else's any more; then there is nothing to lock.
        match SharedSpan::get_mut(this) {
            Some(Self { body, trail, parent, callsite, ids, .. }) => {
                let trail = trail.as_deref().or_else(|| parent.as_deref()?.trail());
                let body = body.get_mut();
                body.begin_if_lost(*callsite, *ids);
                finish(body.whole(), trail)
            }
            None => finish(this.body().whole(), this.trail()),
        }
    }

    /// A copy of the record as it is now, sealed.
    pub(crate) fn snapshot(&self) -> Vec<u8> {
        let mut copy = self.body().whole().clone();
        record::seal(&mut copy);
        copy
    }

    fn body(&self) -> Guard<'_, Body> {
        let mut body = self.body.lock();
        body.begin_if_lost(self.callsite, self.ids);
        body
    }
}

/// Its parents one by one, if nobody else has them: one that drops the next from within would need
/// a stack as deep as the spans are.
impl Drop for SpanState {
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(Ok(mut parent)) = next.map(SharedSpan::try_unwrap) {
            next = parent.parent.take();
        }
    }
}

/// Appends a link to an open record.
pub(crate) fn append_link(body: &mut Vec<u8>, to: SpanIds) {
    append_link_with(body, to, "");
}

/// The same, and what else is said of it, as JSON: `{"trace_state", "attributes"}`.
pub(crate) fn append_link_with(body: &mut Vec<u8>, to: SpanIds, more: &str) {
    let mut link = Vec::with_capacity(25 + more.len());
    link.extend_from_slice(&to.trace.to_be_bytes());
    link.extend_from_slice(&to.span.to_be_bytes());
    link.push(to.flags & (flag::SAMPLED | flag::RANDOM | flag::REMOTE_PARENT));
    link.extend_from_slice(more.as_bytes());
    record::append_bytes(body, key::LINK, &link);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::record::Record;

    /// In a forked child a thread of the parent's was changing it. It is a span all the same.
    #[test]
    fn a_span_whose_record_was_lost_is_whole() {
        let ids = SpanIds { trace: 7, span: 8, ..SpanIds::default() };
        let mut span = SharedSpan::default();
        let state = SharedSpan::get_mut(&mut span).expect("nobody else's");
        state.open(1, ids, (3, 0), None, None, &record::header_only(Kind::SpanOpen, 3, 5, ids));
        // Never to be released.
        std::mem::forget(state.body.lock());
        SpanState::finish(&mut span, u64::MAX, 0, |bytes, _| {
            let (record, rest) = Record::split_first(bytes).expect("a record");
            assert_eq!((record.kind, record.callsite, record.ids, rest.len()), (Kind::Span, 3, ids, 0));
            assert_eq!(record.end_time(), u64::MAX);
        });
    }
}
