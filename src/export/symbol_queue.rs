//! Exceptions that wait for the names of their frames. Comes in: drafts. Goes out: the same in
//! order, and whether their names are known. Reading debug information for the first time takes a
//! while (0.1 s for a small program, seconds for a large one on a busy machine), so it happens on a
//! helper thread of the worker's runtime, and delivery goes on.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use crate::{
    exception::{Draft, ErrorId},
    failpoint::step,
    outbox::Weight as _,
    stack::resolve::Resolver,
};

/// An exception does not wait for longer than this; it goes without names then.
const PATIENCE: Duration = Duration::from_secs(10);

/// So long it is waited whether a panic of the main thread ends the process. Unwinding takes less,
/// and at its end the guard in `main` tells.
const VERDICT: Duration = Duration::from_secs(1);

/// Exceptions that wait at most, in number and bytes; the oldest go without names.
const MAX_WAITING: (usize, usize) = (256, 8 << 20);
/// When no thread was to be had, another is asked for after this long; until then exceptions go
/// without names.
const REFUSED: Duration = Duration::from_secs(30);

/// The queue, and the resolver while it is at work.
#[derive(Default)]
pub(super) struct SymbolQueue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// How many have come so far.
    come: u64,
    at_work: Option<JoinHandle<Resolver>>,
    /// When there was no thread to be had for it.
    refused: Option<Instant>,
    /// It has been at work for longer than anybody waits: nobody waits for it any more.
    is_stuck: bool,
}

struct Waiting {
    draft: Box<Draft>,
    since: Instant,
    /// Its span's event is known, without names.
    has_event: bool,
}

/// What is to be done with the oldest.
pub(super) enum Next {
    /// Its names are known.
    Named(Box<Draft>),
    /// It goes without.
    Bare(Box<Draft>),
    /// It waits, or there is none.
    Nothing,
}

impl SymbolQueue {
    pub(super) fn push(&mut self, draft: Box<Draft>) {
        (self.bytes, self.come) = (self.bytes + draft.weight(), self.come + 1);
        self.waiting.push_back(Waiting { draft, since: Instant::now(), has_event: false });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many have come so far.
    pub(super) fn come(&self) -> u64 {
        self.come
    }

    /// Whether one of the first `come` still waits.
    pub(super) fn waits_for(&self, come: u64) -> bool {
        self.come - (self.waiting.len() as u64) < come
    }

    /// Whether this one waits.
    pub(super) fn waits(&self, id: ErrorId) -> bool {
        self.waiting.iter().any(|waiting| waiting.draft.id == id)
    }

    /// Those that have come since the last call.
    pub(super) fn without_event(&mut self) -> impl Iterator<Item = &Draft> {
        let fresh = |waiting| {
            let Waiting { draft, has_event, .. }: &mut Waiting = waiting;
            (!std::mem::replace(has_event, true)).then_some(&**draft)
        };
        self.waiting.iter_mut().filter_map(fresh)
    }

    /// The oldest, if it need not wait. `resolver` is `None` while it is at work; `at_once`: none
    /// may wait any longer. `is_fatal`: whether a panic is known to end the process.
    pub(super) fn next(&mut self, resolver: Option<&Resolver>, at_once: bool, is_fatal: impl Fn(ErrorId) -> bool) -> Next {
        let Some(Waiting { draft, since, .. }) = self.waiting.front() else { return Next::Nothing };
        let known = resolver.is_some_and(|resolver| resolver.knows(&draft.frames, &draft.types()));
        self.is_stuck |= self.at_work.is_some() && since.elapsed() > PATIENCE;
        let too_many = self.waiting.len() > MAX_WAITING.0 || self.bytes > MAX_WAITING.1;
        let refused = self.refused.is_some_and(|refused| refused.elapsed() < REFUSED);
        let is_undecided = draft.may_be_fatal() && since.elapsed() < VERDICT && !is_fatal(draft.id);
        if is_undecided && !(at_once || too_many) {
            return Next::Nothing;
        }
        if !(known || at_once || too_many || refused || self.is_stuck || since.elapsed() > PATIENCE) {
            return Next::Nothing;
        }
        let Some(Waiting { draft, .. }) = self.waiting.pop_front() else { return Next::Nothing };
        self.bytes = self.bytes.saturating_sub(draft.weight());
        if known { Next::Named(draft) } else { Next::Bare(draft) }
    }

    /// How long the oldest has waited.
    pub(super) fn waited(&self) -> Duration {
        self.waiting.front().map_or(Duration::ZERO, |waiting| waiting.since.elapsed())
    }

    /// Sends the resolver to work for all that wait. `false`: there is no thread for it.
    pub(super) fn begin(&mut self, resolver: &mut Option<Resolver>) -> bool {
        if self.waiting.is_empty() || self.at_work.is_some() {
            return true;
        }
        let Some(mut at_work) = resolver.take() else { return true };
        let texts = |draft: &Draft| draft.opaque_texts().into_iter().flatten().map(str::to_owned).collect::<Vec<_>>();
        let wanted = self.waiting.iter().map(|Waiting { draft, .. }| (draft.frames.clone(), draft.types(), texts(draft)));
        let wanted: Vec<_> = wanted.collect();
        let learn = move || {
            step("naming::learn");
            // Types first: they are few, and what an alert is called by.
            wanted.iter().for_each(|(_, types, _)| at_work.learn(&[], types));
            wanted.iter().for_each(|(stack, ..)| at_work.learn(stack, &[]));
            wanted.iter().flat_map(|(.., texts)| texts).for_each(|text| _ = at_work.is_literal(text));
            at_work
        };
        // The runtime panics where the operating system refuses a thread.
        match catch_unwind(AssertUnwindSafe(|| tokio::task::spawn_blocking(learn))) {
            Ok(at_work) => (self.at_work, self.refused) = (Some(at_work), None),
            Err(_) => self.refused = Some(Instant::now()),
        }
        self.at_work.is_some()
    }

    /// The resolver, when it comes back; never if it is not away. `None`: it met a fault and is
    /// gone.
    pub(super) async fn done(&mut self) -> Option<Resolver> {
        match &mut self.at_work {
            Some(at_work) => {
                let resolver = at_work.await.ok();
                (self.at_work, self.is_stuck) = (None, false);
                resolver
            }
            None => std::future::pending().await,
        }
    }
}
