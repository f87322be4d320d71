//! From what an event, a captured error or a panic says to a draft on its way to the worker.

use std::sync::Arc;

use super::{
    Draft, ErrorId, Mechanism,
    echo::{self, Relation, Seen},
    raised::Raised,
    storm::{Admission, Verdict},
};
use crate::{
    ledger::{LossReason, RecordKind},
    outbox::Weight as _,
    stack,
    state::{Core, SpanState, ids, thread},
    trail::record::SpanIds,
};

/// Breadcrumbs copied from the trail at most, in bytes.
const MAX_CRUMBS: usize = 16 * 1024;
/// Open spans whose fields come along at most, besides the root's.
const MAX_OPEN_SPANS: usize = 32;
/// The same of a lean one.
const MAX_LEAN_SPANS: usize = 4;

/// Adds what all three ways share and sends the draft off. `Err`: it is an echo of this exception.
pub(super) fn raise(core: &Arc<Core>, state: Option<&SpanState>, id: ErrorId, time: u64, mut raised: Raised<'_>) -> Result<(), ErrorId> {
    core.notice_fork();
    // What rules or hooks of the program's may yet take out is not said of a span now.
    let told = !(raised.unfinished || core.has_hooks);
    let relation = relation(core, state, id, time, &raised);
    if let Some(Relation::Wraps(earlier)) = relation {
        raised.wraps = Some(earlier);
    }
    let is_failure = raised.level == tracing_core::Level::ERROR;
    let description = raised.description.as_deref().or(raised.links.first().map(|link| link.message.as_str()));
    let description = description.filter(|_| told).unwrap_or_default();
    let failed = state.filter(|_| is_failure);
    if let Some(Relation::Echo(earlier)) = relation {
        failed.into_iter().for_each(|state| state.mark_failed(description));
        return Err(earlier);
    }
    let is_reported_outside = state.is_none() && matches!(raised.mechanism, Mechanism::Event | Mechanism::Capture);
    let preceding = is_reported_outside.then(|| preceding_root(core, time)).flatten();
    if is_failure && core.config.sampler.keeps_errors() {
        state.into_iter().for_each(|state| thread::keep_failed(core, state));
    }
    let admission = core.storm.admit(raised.at, raised.key, time);
    if admission.verdict == Verdict::Counted {
        failed.into_iter().for_each(|state| state.mark_failed(description));
        return Ok(());
    }
    // First a copy of the spans: of their own exceptions, they know only the earlier ones.
    let (open_spans, has_root) = open_spans(state, if admission.verdict == Verdict::Lean { MAX_LEAN_SPANS } else { MAX_OPEN_SPANS });
    state.into_iter().for_each(|state| state.mark_exception(id.to_bytes(), time, Some(description).filter(|_| is_failure)));
    let draft = Draft { open_spans, has_root, preceding, ..draft(core, state, id, time, raised, &admission) };
    core.storm.charge(draft.weight(), time);
    send(core, Box::new(draft));
    Ok(())
}

/// What it has to do with the exceptions before it. Unless it is an echo, it is remembered.
fn relation(core: &Arc<Core>, state: Option<&SpanState>, id: ErrorId, time: u64, raised: &Raised<'_>) -> Option<Relation> {
    let trail = state.and_then(|state| state.trail());
    let links: Vec<(&str, u64)> = raised.links.iter().map(|link| (link.message.as_str(), link.address.0[0])).collect();
    let spans: Vec<u64> = ancestry(state).take(MAX_OPEN_SPANS).map(|span| span.ids.span).collect();
    let seen = Seen {
        place: raised.at,
        spans: &spans,
        time,
        is_panic: raised.mechanism == Mechanism::Panic,
        links: &links,
        debug: raised.debug,
        body: raised.body.as_deref(),
        is_news: raised.has_own_fields || trail.is_some_and(|trail| !trail.is_quiet()),
        is_passed_on: raised.only_error && trail.is_some_and(|trail| trail.is_quiet()),
    };
    if let Some(trail) = trail {
        trail.exception_raised();
    }
    let earlier = match trail {
        Some(trail) => trail.recent().in_request(&seen),
        None => thread::recent(core, |recent| recent.on_thread(&seen)).flatten(),
    };
    // Of what a hook has dropped there is no record that could be echoed.
    let earlier = earlier.filter(|(Relation::Echo(id) | Relation::Wraps(id))| !core.is_dropped(*id));
    if !matches!(earlier, Some(Relation::Echo(_))) {
        let remembered = echo::links(&seen);
        if let Some(trail) = trail {
            trail.recent().remember(id, &seen, remembered.clone());
        }
        thread::recent(core, |recent| recent.remember(id, &seen, remembered));
    }
    earlier
}

/// A span and those around it.
fn ancestry(state: Option<&SpanState>) -> impl Iterator<Item = &SpanState> {
    std::iter::successors(state, |span| span.parent.as_deref())
}

/// The root span that has just ended in the same task, for an error that is reported outside of any
/// span, at `time`. It may be that one's, or of what the task has begun since: nobody can tell. So
/// the exception refers to it, and has nothing of it; and that is said once.
fn preceding_root(core: &Arc<Core>, time: u64) -> Option<SpanIds> {
    const JUST: u64 = 20_000_000;
    let ended = thread::ended_since(core, time.saturating_sub(JUST))?;
    core.after_its_end.call_once(|| {
        let Some(span) = core.callsites.by_id(ended.callsite) else { return };
        crate::diagnose(format_args!(
            "an error was reported outside of any span, just after the span \"{}\" ({}:{}) had ended in the same task. If it is that one's error, it refers to its trace (crumbtrail.preceding.trace_id), and has neither its user nor its breadcrumbs: let the function report it (`#[instrument(err)]`), or report it within the span",
            span.name,
            span.file.unwrap_or("unknown"),
            span.line.unwrap_or_default()
        ));
    });
    Some(ended.ids)
}

/// Records of the open spans, innermost first, and whether the last is the root: it tells who is
/// served, so it comes along whatever the limit.
fn open_spans(state: Option<&SpanState>, limit: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut records, mut has_root) = (Vec::new(), false);
    for span in ancestry(state) {
        has_root = span.parent.is_none();
        if has_root || records.len() < limit {
            records.push(span.snapshot());
        }
    }
    (records, has_root)
}

/// What is known at once, but for the open spans.
fn draft(core: &Arc<Core>, state: Option<&SpanState>, id: ErrorId, time: u64, raised: Raised<'_>, admission: &Admission) -> Draft {
    let Admission { verdict, suppressed, slot } = *admission;
    let lean = verdict == Verdict::Lean;
    let trail = state.and_then(|state| state.trail());
    let thread = std::thread::current();
    Draft {
        id,
        time,
        mechanism: raised.mechanism,
        ids: ids::in_span(core, state),
        body: raised.body,
        links: raised.links,
        templates: raised.templates,
        variant: raised.variant,
        knows_literals: core.literals.are_known(),
        wraps: raised.wraps,
        preceding: None,
        event: raised.event.to_vec(),
        place: raised.place,
        frames: if core.config.stacktraces && !lean && !raised.stackless { stack::capture() } else { Box::default() },
        backtrace: raised.backtrace,
        attachments: raised.attachments,
        level: raised.level,
        details: raised.details,
        crumbs: trail.filter(|_| !lean).map(|trail| trail.read(MAX_CRUMBS)).unwrap_or_default(),
        open_spans: Vec::new(),
        has_root: false,
        scopes: [core.process_scope.get(), trail.and_then(|trail| trail.scope().get())],
        thread_name: thread.name().map(|name| match raised.unfinished {
            // Here the program's own rules must not be asked; they are, later.
            true => core.scrubber.text_without_rules(name).into_owned(),
            false => core.scrubber.scrub(name).into_owned(),
        }),
        thread_id: number_of(&thread),
        slot,
        suppressed,
        lean,
        unfinished: raised.unfinished,
        fatal: raised.fatal,
        ticket: None,
    }
}

/// Hands a draft to the worker.
fn send(core: &Arc<Core>, mut draft: Box<Draft>) {
    let link = core.link_here();
    if draft.mechanism == Mechanism::Panic {
        // The process may not live to see the worker take it.
        draft.ticket = link.spool(&draft);
    }
    let Err(mut refused) = link.express.push(draft, &link.waker) else { return };
    core.storm.count(refused.slot);
    // What is on disk already is not lost for want of room on the way.
    let spooled = refused.ticket.take().map(|ticket| link.spooled.push(ticket));
    match spooled {
        Some(Ok(())) => link.waker.wake(),
        Some(Err(ticket)) => {
            ticket.acknowledge();
            link.ledger.dropped(RecordKind::Exceptions, LossReason::QueueOverflow, 1);
        }
        None => link.ledger.dropped(RecordKind::Exceptions, LossReason::QueueOverflow, 1),
    }
}

/// `ThreadId` shows its number only in `Debug`.
fn number_of(thread: &std::thread::Thread) -> Option<i64> {
    let shown = format!("{:?}", thread.id());
    shown.trim_start_matches("ThreadId(").trim_end_matches(')').parse().ok()
}
