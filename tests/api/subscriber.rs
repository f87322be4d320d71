//! The subscriber that `install` makes does what the layer does on a Registry: any program leaves
//! the same spans, logs and exceptions.

use std::thread;

use crate::support::Pipeline;
use crumbtrail_receiver::{Attributes, Received, Span as Sent};
use proptest::prelude::*;
use tracing::{Dispatch, Id, Span, error, field::Empty, info, info_span, trace_span, warn};
use tracing_subscriber::layer::SubscriberExt as _;

/// What a program does next. Numbers choose among the handles it has.
#[derive(Clone, Debug)]
enum Step {
    Open(Parent, usize),
    /// Not enabled by any route.
    OpenDisabled,
    Clone(usize),
    /// The current span, by the subscriber's own account.
    Current,
    Drop(usize),
    DropElsewhere(usize),
    /// Does the next steps in a span.
    In(usize, Vec<Step>),
    Record(usize),
    Follow(usize, usize),
    Say(u8),
    SayIn(usize),
}

#[derive(Clone, Debug)]
enum Parent {
    Context,
    Root,
    Of(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0usize..8;
    let parent = prop_oneof![3 => Just(Parent::Context), 1 => Just(Parent::Root), 2 => number().prop_map(Parent::Of)];
    let leaf = prop_oneof![
        4 => (parent, number()).prop_map(|(parent, kind)| Step::Open(parent, kind)),
        1 => Just(Step::OpenDisabled),
        1 => number().prop_map(Step::Clone),
        1 => Just(Step::Current),
        3 => number().prop_map(Step::Drop),
        1 => number().prop_map(Step::DropElsewhere),
        1 => number().prop_map(Step::Record),
        1 => (number(), number()).prop_map(|(span, other)| Step::Follow(span, other)),
        3 => (0u8..4).prop_map(Step::Say),
        1 => number().prop_map(Step::SayIn),
    ];
    let nested = leaf
        .prop_recursive(4, 40, 8, |inner| (0usize..8, prop::collection::vec(inner, 0..8)).prop_map(|(span, steps)| Step::In(span, steps)));
    prop::collection::vec(nested, 1..25)
}

/// The handles a program has, and what it has done: names for what comes.
#[derive(Default)]
struct Program {
    handles: Vec<Span>,
    entered: Vec<Option<Id>>,
    done: u64,
}

impl Program {
    fn handle(&self, number: usize) -> Option<Span> {
        (!self.handles.is_empty()).then(|| self.handles[number % self.handles.len()].clone())
    }

    fn take(&mut self, number: usize) -> Option<Span> {
        (!self.handles.is_empty()).then(|| self.handles.swap_remove(number % self.handles.len()))
    }

    fn run(&mut self, case: u64, steps: &[Step]) {
        for step in steps {
            self.done += 1;
            let number = self.done;
            match step {
                Step::Open(parent, kind) => {
                    let parent = match parent {
                        Parent::Context => None,
                        Parent::Root => Some(Span::none()),
                        Parent::Of(of) => self.handle(*of),
                    };
                    let kind = ["server", "consumer"].get(*kind).copied();
                    self.handles.push(match parent {
                        None => info_span!("span", case, number, late = Empty, otel.kind = kind),
                        Some(parent) => info_span!(parent: &parent, "span", case, number, late = Empty, otel.kind = kind),
                    });
                }
                Step::OpenDisabled => self.handles.push(trace_span!(target: "elsewhere", "disabled")),
                Step::Clone(of) => self.handles.extend(self.handle(*of)),
                Step::Current => self.handles.push(Span::current()),
                Step::Drop(of) => drop(self.take(*of)),
                Step::DropElsewhere(of) => {
                    let span = self.take(*of);
                    let here = tracing::dispatcher::get_default(Clone::clone);
                    // (The Registry lets go of a span's parent only where it is the thread's own subscriber.)
                    thread::spawn(move || tracing::dispatcher::with_default(&here, || drop(span))).join().unwrap();
                }
                Step::In(of, steps) => match self.handle(*of) {
                    // (Of a span that is entered within itself, the Registry says that the one between is the current one.)
                    Some(span) if !self.entered.contains(&span.id()) => {
                        self.entered.push(span.id());
                        span.in_scope(|| self.run(case, steps));
                        self.entered.pop();
                    }
                    _ => self.run(case, steps),
                },
                Step::Record(of) => {
                    if let Some(span) = self.handle(*of) {
                        span.record("late", number);
                    }
                }
                Step::Follow(of, other) => {
                    if let (Some(span), Some(other)) = (self.handle(*of), self.handle(*other)) {
                        span.follows_from(&other);
                    }
                }
                Step::Say(0) => error!(case, number, "failed"),
                Step::Say(1) => warn!(case, number, "warned"),
                Step::Say(_) => info!(case, number, "said"),
                Step::SayIn(of) => {
                    if let Some(span) = self.handle(*of) {
                        info!(parent: &span, case, number, "said of");
                    }
                }
            }
        }
    }
}

/// What a program left, without what differs from run to run: spans are called by their number,
/// traces by that of their first span.
fn left_by(received: &Received, case: u64) -> Vec<String> {
    let number =
        |attributes: &Attributes, key: &str| attributes.get(key).map_or(0, |number| number.to_string().parse::<u64>().unwrap_or(0));
    let of_case = |attributes: &Attributes| number(attributes, "case") == case;
    let spans: Vec<&Sent> = received.spans.iter().filter(|span| of_case(&span.attributes)).collect();
    let name = |id: &str| spans.iter().find(|span| span.span_id == id).map_or(0, |span| number(&span.attributes, "number"));
    let trace = |id: &str| spans.iter().filter(|span| span.trace_id == id).map(|span| number(&span.attributes, "number")).min();
    let of_spans = spans.iter().map(|span| {
        let (own, parent, trace, links) = (
            number(&span.attributes, "number"),
            name(&span.parent_span_id),
            trace(&span.trace_id),
            span.links.iter().map(|(_, id)| name(id)).collect::<Vec<_>>(),
        );
        let rest = (span.kind, span.events.len(), span.attributes.get("late"), &span.status);
        format!("span {own} in {parent} of {trace:?}, linked to {links:?}: {rest:?}")
    });
    let of_logs = received.logs.iter().filter(|log| of_case(&log.attributes)).map(|log| {
        let crumbs = if log.is_exception() { crate::support::messages(log) } else { Vec::new() };
        let (own, span, trace) = (number(&log.attributes, "number"), name(&log.span_id), trace(&log.trace_id));
        format!("{} {own} in {span} of {trace:?}: {crumbs:?}", log.body)
    });
    let mut left: Vec<String> = of_spans.chain(of_logs).collect();
    // Exceptions come by a way of their own, and so does what other threads have.
    left.sort_unstable();
    left
}

#[test]
fn any_program_leaves_the_same() {
    let pipelines = [(); 2].map(|()| {
        Pipeline::new(|builder, _| builder.with_stacktraces(false).with_exception_rate(crumbtrail::config::ExceptionRate::unlimited()))
    });
    let [registry, own] = &pipelines;
    let subscribers: [Dispatch; 2] = [tracing_subscriber::registry().with(registry.telemetry.layer()).into(), own.telemetry.dispatch()];
    let cases = std::cell::Cell::new(0);
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&steps(), |steps| {
        let case = cases.get() + 1;
        cases.set(case);
        let left = [0, 1].map(|index| {
            tracing::dispatcher::with_default(&subscribers[index], || Program::default().run(case, &steps));
            left_by(&pipelines[index].received(), case)
        });
        prop_assert_eq!(&left[0], &left[1]);
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
