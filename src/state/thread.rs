//! What a thread knows: the spans it has entered, its outbox, its spare states. Per layer instance,
//! because a program may have several.
//!
//! User code never runs while this is borrowed; a re-entrant event (a `Debug` that logs) finds it
//! free.

mod outgoing;
mod overload;

use std::{
    cell::{Cell, RefCell},
    sync::{Arc, Weak},
};

use tokio::task;

use crate::{
    exception::echo::Recent,
    outbox::Producer,
    state::{Core, SharedSpan, SpanState, slab, thread::overload::OverloadControl},
    trail::{
        SharedTrail, Trail,
        record::{SpanIds, flag},
    },
};

/// How deep events may nest: an event, and the events that formatting its fields logs. Deeper ones
/// are dropped and counted.
const MAX_DEPTH: u8 = 2;
/// Spare states and trails a thread keeps for its next spans.
const SPARES: usize = 16;
/// Spans a thread remembers.
const RECENT: usize = 8;
/// Spans entered at once from which on it is looked whether some have ended.
const MANY_ENTERED: usize = 16;
/// A scratch buffer that grew beyond this is not kept.
const KEEP_SCRATCH: usize = 64 * 1024;

/// In place of the id that a subscriber gives a span, for one that only we know. No subscriber's is
/// zero.
pub(crate) const DETACHED: u64 = 0;

thread_local! {
    /// This is a thread of ours. Has no destructor, so it is known to the thread's very end: a hook
    /// may exit here.
    static OURS: Cell<bool> = const { Cell::new(false) };
    static THREAD: Thread = const {
        Thread {
            depth: Cell::new(0),
            panics: Cell::new(0),
            scratch: Cell::new(Vec::new()),
            written: Cell::new(None),
            instances: RefCell::new(Vec::new()),
        }
    };
}

/// The thread-local state. Reached through [`with`].
pub(crate) struct Thread {
    depth: Cell<u8>,
    /// Panics that the hook has told of here.
    panics: Cell<u64>,
    scratch: Cell<Vec<u8>>,
    /// A span's record that waits for it to be opened, and its length without padding.
    written: Cell<Option<(Vec<u8>, usize)>>,
    instances: RefCell<Vec<Instance>>,
}

/// One layer instance's part of a thread.
pub(crate) struct Instance {
    core: u64,
    alive: Weak<Core>,
    entered: Vec<Entered>,
    /// When each was entered, by id; where spans are to say how long they were busy.
    busy: Vec<(u64, u64)>,
    /// Spans this thread opened or entered last, by id: the next to enter is most likely one of
    /// them.
    recent: [Option<Entered>; RECENT],
    /// Made with the first record that is exported; and of which link.
    outbox: Option<Producer>,
    generation: u32,
    overload: OverloadControl,
    states: Vec<SharedSpan>,
    trails: Vec<SharedTrail>,
    /// In the slab, for this thread's next spans.
    pub(crate) free_places: Vec<u32>,
    /// Exceptions of this thread, for those that come outside of requests.
    told: Recent,
    ended: Option<EndedRoot>,
}

/// The root span that ended on a thread last.
#[derive(Clone, Copy)]
pub(crate) struct EndedRoot {
    time: u64,
    task: Option<task::Id>,
    pub(crate) callsite: u32,
    pub(crate) ids: SpanIds,
}

struct Entered {
    id: u64,
    state: SharedSpan,
}

/// Runs `visit` with this thread's part of a layer instance. `None`: a thread of ours has none, nor
/// has one that is ending, nor one that is using it right now.
#[inline]
pub(crate) fn here<T>(core: &Arc<Core>, visit: impl FnOnce(&mut Instance) -> T) -> Option<T> {
    at(|thread| thread.instance(core, visit))?
}

/// Why nothing is recorded.
pub(crate) enum Closed {
    /// This is a thread of ours.
    Ours,
    /// The thread is being torn down; its state is gone.
    Ending,
    /// Events within events within events.
    TooDeep,
}

/// Marks the calling thread as one of ours: nothing is recorded on it.
pub(crate) fn mark_own_thread() {
    OURS.set(true);
}

/// Runs `visit` with the thread's state, unless the thread is ours. For what runs no user code.
#[inline]
pub(crate) fn at<T>(visit: impl FnOnce(&Thread) -> T) -> Option<T> {
    if is_own_thread() { None } else { THREAD.try_with(visit).ok() }
}

/// Runs `record` with the thread's state, unless nothing may be recorded here. For what may run
/// user code, which may log.
#[inline]
pub(crate) fn with<T>(record: impl FnOnce(&Thread) -> T) -> Result<T, Closed> {
    if is_own_thread() {
        return Err(Closed::Ours);
    }
    THREAD
        .try_with(|thread| {
            let depth = thread.depth.get();
            if depth >= MAX_DEPTH {
                return Err(Closed::TooDeep);
            }
            thread.depth.set(depth + 1);
            let _leave = Leave(&thread.depth);
            Ok(record(thread))
        })
        .unwrap_or(Err(Closed::Ending))
}

/// The panic hook tells of a panic of this thread.
pub(crate) fn count_panic() {
    at(|thread| thread.panics.set(thread.panics.get() + 1));
}

/// How many panics of this thread the hook has told of.
#[cfg(feature = "tower")]
#[inline]
pub(crate) fn panics_reported() -> u64 {
    at(|thread| thread.panics.get()).unwrap_or_default()
}

/// Runs the program's code, which may come back here. `false`: it was not run, as this is within
/// too much of it already.
pub(crate) fn nested(run: impl FnOnce()) -> bool {
    let mut run = Some(run);
    let mut take = || {
        if let Some(run) = run.take() {
            run();
        }
    };
    match with(|_| take()) {
        Ok(()) => true,
        Err(Closed::TooDeep) => false,
        // There is nothing to count with; nor is there much left that could come back.
        Err(Closed::Ours | Closed::Ending) => {
            take();
            true
        }
    }
}

/// Whether this is a thread of ours, of which nothing is recorded.
#[inline]
pub(crate) fn is_own_thread() -> bool {
    OURS.get()
}

/// The root span that ended on this thread last, if that was after `since` and in the task that
/// runs now.
pub(crate) fn ended_since(core: &Arc<Core>, since: u64) -> Option<EndedRoot> {
    let ended = at(|thread| thread.instance(core, |instance| instance.ended))???;
    (ended.time >= since && ended.task == task::try_id()).then_some(ended)
}

/// Looks at this thread's exceptions so far. `None`: the thread is ending, or this is within
/// itself.
pub(crate) fn recent<T>(core: &Arc<Core>, look: impl FnOnce(&mut Recent) -> T) -> Option<T> {
    at(|thread| thread.instance(core, |instance| look(&mut instance.told)))?
}

/// Keeps a request's spans, those that have ended and those that will, because of an exception in
/// it.
pub(crate) fn keep_failed(core: &Arc<Core>, state: &SpanState) {
    if let Some(trail) = state.trail().filter(|_| core.config.exports_spans && state.ids.flags & flag::SAMPLED == 0) {
        at(|thread| thread.instance(core, |instance| instance.keep(trail, flag::KEPT_ERROR, core)));
    }
}

struct Leave<'a>(&'a Cell<u8>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Thread {
    /// The thread's buffer; a re-entrant event gets a fresh one.
    #[inline]
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        self.scratch.take()
    }

    #[inline]
    pub(crate) fn return_scratch(&self, scratch: Vec<u8>) {
        if scratch.capacity() <= KEEP_SCRATCH {
            self.scratch.set(scratch);
        }
    }

    /// Keeps the fields of a span that is opened next.
    #[cfg(feature = "tower")]
    pub(crate) fn put_written(&self, record: Vec<u8>, length: usize) {
        self.written.set(Some((record, length)));
    }

    #[inline]
    pub(crate) fn take_written(&self) -> Option<(Vec<u8>, usize)> {
        self.written.take()
    }

    /// This thread's part of a layer instance. `None` only if something above is using it right
    /// now, as in a panic hook.
    #[inline]
    pub(crate) fn instance<T>(&self, core: &Arc<Core>, visit: impl FnOnce(&mut Instance) -> T) -> Option<T> {
        let mut instances = self.instances.try_borrow_mut().ok()?;
        // Mostly there is one.
        let is_first = instances.first().is_some_and(|first| first.core == core.id);
        let index = if is_first { 0 } else { index_of(&mut instances, core) };
        Some(visit(&mut instances[index]))
    }

    /// The innermost entered span. Makes nothing, waits for nothing: a panic hook asks, too.
    pub(crate) fn current(&self, core: &Core) -> Option<SharedSpan> {
        let instances = self.instances.try_borrow().ok()?;
        instances.iter().find(|instance| instance.core == core.id)?.innermost().cloned()
    }
}

#[cold]
fn index_of(instances: &mut Vec<Instance>, core: &Arc<Core>) -> usize {
    instances.iter().position(|instance| instance.core == core.id).unwrap_or_else(|| {
        instances.retain(|instance| instance.alive.strong_count() > 0);
        instances.push(Instance::new(core));
        instances.len() - 1
    })
}

impl Instance {
    /// A root span has ended here.
    #[inline]
    pub(crate) fn root_ended(&mut self, time: u64, state: &SharedSpan) {
        self.ended = Some(EndedRoot { time, task: task::try_id(), callsite: state.callsite, ids: state.ids });
    }

    fn new(core: &Arc<Core>) -> Self {
        Self {
            core: core.id,
            alive: Arc::downgrade(core),
            entered: Vec::with_capacity(16),
            busy: Vec::new(),
            recent: Default::default(),
            outbox: None,
            generation: 0,
            overload: OverloadControl::default(),
            states: Vec::with_capacity(SPARES),
            trails: Vec::with_capacity(SPARES),
            free_places: Vec::with_capacity(slab::OWN + 1),
            told: Recent::new(),
            ended: None,
        }
    }

    /// The innermost span that is entered here, after [`let_go_of_closed`](Self::let_go_of_closed).
    #[inline]
    pub(crate) fn top(&self) -> Option<&SharedSpan> {
        self.entered.last().map(|entered| &entered.state)
    }

    /// The innermost that is open, where nothing can be changed.
    fn innermost(&self) -> Option<&SharedSpan> {
        self.entered.iter().rev().map(|entered| &entered.state).find(|state| !state.is_closed())
    }

    /// A guard that is held over an `await` may be dropped on another thread: its span is left
    /// there, and stays entered here. Once it has ended it is nobody's any more, and must not seem
    /// to be what this thread is doing.
    #[inline]
    pub(crate) fn let_go_of_closed(&mut self) {
        while self.entered.last().is_some_and(|entered| entered.state.is_closed()) {
            self.entered.pop();
        }
    }

    /// Those below one that is open, too; now and then.
    #[cold]
    fn let_go_of_all_closed(&mut self) {
        if self.entered.len().is_power_of_two() {
            self.entered.retain(|entered| !entered.state.is_closed());
        }
    }

    /// Enters a span. One that this thread knows is moved, not counted: a poll costs no atomic
    /// operation.
    #[inline]
    pub(crate) fn enter(&mut self, id: u64, look_up: impl FnOnce() -> Option<SharedSpan>) {
        if self.entered.len() >= MANY_ENTERED {
            self.let_go_of_all_closed();
        }
        let known = self.recent[slot(id)].take_if(|recent| recent.id == id);
        // A state that is not closed is the only one of its id; a closed one may be another span's by now.
        match known.filter(|recent| !recent.state.is_closed()) {
            Some(recent) => self.entered.push(recent),
            None => self.entered.extend(look_up().map(|state| Entered { id, state })),
        }
    }

    /// The span that was entered last was so just now.
    #[cold]
    pub(crate) fn begin_busy(&mut self, id: u64, now: u64) {
        // Those that were left elsewhere are not left here.
        let entered = &self.entered;
        self.busy.retain(|(id, _)| entered.iter().any(|entered| entered.id == *id));
        self.busy.push((id, now));
    }

    /// Enters a span that only we know.
    #[cfg(feature = "tower")]
    pub(crate) fn enter_detached(&mut self, state: &SharedSpan) {
        self.entered.push(Entered { id: DETACHED, state: state.clone() });
    }

    /// Leaves it, in whatever order.
    #[cfg(feature = "tower")]
    pub(crate) fn exit_detached(&mut self, state: &SharedSpan) {
        let is_it = |entered: &Entered| entered.id == DETACHED && SharedSpan::ptr_eq(&entered.state, state);
        if let Some(index) = self.entered.iter().rposition(is_it) {
            self.entered.remove(index);
        }
    }

    /// A span is left now. Time counts once, however often it is entered within itself.
    #[cold]
    pub(crate) fn end_busy(&mut self, id: u64, now: u64) {
        let Some(index) = self.busy.iter().rposition(|(entered, _)| *entered == id) else { return };
        let (_, since) = self.busy.remove(index);
        if self.busy.iter().all(|(entered, _)| *entered != id)
            && let Some(entered) = self.entered.iter().rev().find(|entered| entered.id == id)
        {
            entered.state.add_busy(now.saturating_sub(since));
        }
    }

    /// Leaves a span, in whatever order. A span that was entered elsewhere is not here; that is
    /// fine.
    #[inline]
    pub(crate) fn exit(&mut self, id: u64) {
        let left = match self.entered.last() {
            Some(last) if last.id == id => self.entered.pop(),
            _ => self.entered.iter().rposition(|entered| entered.id == id).map(|index| self.entered.remove(index)),
        };
        // A span that passes its parent's state on has that state under another id, which is not to be remembered.
        if let Some(left) = left.filter(|left| left.state.tracing_id == left.id && !left.state.is_closed()) {
            self.recent[slot(id)] = Some(left);
        }
    }

    /// An open span that this thread remembers.
    #[cfg(feature = "tower")]
    pub(crate) fn known(&self, id: u64) -> Option<&SharedSpan> {
        let recent = self.recent[slot(id)].as_ref().filter(|recent| recent.id == id && !recent.state.is_closed())?;
        Some(&recent.state)
    }

    /// Remembers a span that was just opened: it is likely to be entered next.
    #[inline]
    pub(crate) fn remember(&mut self, id: u64, state: &SharedSpan) {
        self.recent[slot(id)] = Some(Entered { id, state: state.clone() });
    }

    /// A span has got another state.
    #[cfg(feature = "tracing-opentelemetry-0-34")]
    pub(crate) fn replace(&mut self, id: u64, state: &SharedSpan) {
        for entered in self.entered.iter_mut().filter(|entered| entered.id == id) {
            entered.state = state.clone();
        }
        self.recent[slot(id)].take_if(|recent| recent.id == id);
    }

    /// The id of the innermost entered span.
    #[inline]
    pub(crate) fn current_id(&mut self) -> Option<u64> {
        self.let_go_of_closed();
        self.entered.last().map(|entered| entered.id)
    }

    /// Lets go of a span that closes, so that its memory can be used again.
    #[inline]
    pub(crate) fn forget(&mut self, id: u64) {
        self.recent[slot(id)].take_if(|recent| recent.id == id || recent.state.is_closed());
    }

    /// A state for a new span.
    pub(crate) fn spare_state(&mut self) -> SharedSpan {
        self.states.pop().unwrap_or_default()
    }

    /// An empty trail for a new root.
    pub(crate) fn spare_trail(&mut self, core: &Core) -> SharedTrail {
        self.trails.pop().unwrap_or_else(|| SharedTrail::new(Trail::new(core.pool.clone())))
    }

    /// Keeps a closed span's memory for the next one, if nobody else holds it any more.
    #[inline]
    pub(crate) fn recycle(&mut self, mut state: SharedSpan) {
        let is_root = state.parent.is_none();
        let Some(unique) = SharedSpan::get_mut(&mut state) else {
            // Some thread remembers it, and may sleep for long.
            return state.trail().filter(|_| is_root).into_iter().for_each(Trail::retire);
        };
        let (_parent, trail) = unique.clear();
        if self.states.len() < SPARES {
            self.states.push(state);
        }
        let Some(mut trail) = trail else { return };
        match SharedTrail::get_mut(&mut trail).filter(|_| self.trails.len() < SPARES) {
            Some(unique) => {
                unique.reset();
                self.trails.push(trail);
            }
            None if is_root => trail.retire(),
            None => {}
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(core) = self.alive.upgrade().filter(|_| !self.free_places.is_empty()) {
            core.spans.slab.take_back(&mut self.free_places);
        }
    }
}

fn slot(id: u64) -> usize {
    id as usize % RECENT
}
