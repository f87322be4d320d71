//! Records of exceptions are within their limits and whole, whatever came in.

use std::sync::Arc;

use proptest::prelude::*;
use tracing_core::{Interest, Level, Metadata, callsite, metadata};

use super::*;
use crate::{
    exception::{
        CauseDraft, Draft, ErrorId, Mechanism, SourceLocation,
        storm::{ExceptionRate, Storm},
    },
    export::{
        callsites::Callsites,
        exception::{Names, from_draft},
        tests::core,
    },
    scope::ScopeData,
    stack::{in_app::OwnCrates, resolve::ModuleMap},
    trail::{
        encode::{Encoder, Limits},
        record::{Kind, SpanIds, stamp_ids},
    },
};

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, bytes) = ((&self.body, &self.links, &self.place, &self.thread_name), (&self.event, &self.crumbs, &self.open_spans));
        f.debug_tuple("Draft").field(&what).field(&bytes).field(&self.frames).finish()
    }
}

/// Fields under every name that is looked at, as an event or a span has them.
const FIELDS: &[&str] =
    &["message", "error", "user.id", "exception", "exception.type", "log.target", "log.line", "a.b", "a", "\u{1f525}", ""];

struct TestCallsite;

impl callsite::Callsite for TestCallsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        &METADATA
    }
}

static CALLSITE: TestCallsite = TestCallsite;
static METADATA: Metadata<'static> = tracing_core::metadata! {
    name: "event", target: "test", level: Level::ERROR, fields: FIELDS, callsite: &CALLSITE, kind: metadata::Kind::EVENT
};

/// Records of that callsite with values of every kind, short, long and odd; and now and then bytes
/// that are no record.
fn records() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![".{0,60}", ".{0,30}".prop_map(|text| text.repeat(200))];
    let field = (0..FIELDS.len() as u16 + 2, 0u8..10, text, any::<u128>());
    let kind = prop_oneof![Just(Kind::Event), Just(Kind::Span), Just(Kind::SpanOpen), Just(Kind::SpanClose), Just(Kind::Crumb)];
    let record = (kind, proptest::collection::vec(field, 0..12), any::<u64>(), 0u64..4).prop_map(|(kind, fields, time, span)| {
        let mut record = Vec::new();
        let mut encoder = Encoder::new(&mut record, kind, 0, time, Limits::default());
        for (key, kind, text, number) in fields {
            match kind {
                0 => encoder.str(key, &text),
                1 => encoder.debug(key, &text),
                2 => encoder.bytes(key, text.as_bytes()),
                3 => encoder.u64(key, number as u64),
                4 => encoder.i128(key, number as i128),
                5 => encoder.f64(key, f64::from_bits(number as u64)),
                6 => encoder.bool(key, number % 2 == 0),
                7 => encoder.error(key, (&text, true), &[(&text, [number as u64; 2]), (&"cause", [0; 2]), (&text, [1; 2])], None),
                8 => encoder.named(&text, |encoder, key| encoder.str(key, &text)),
                _ => encoder.i64(key, number as i64),
            }
        }
        encoder.finish();
        stamp_ids(&mut record, SpanIds { trace: 1, span, parent: 0, flags: 1 });
        record
    });
    prop_oneof![9 => proptest::collection::vec(record, 0..8).prop_map(|records| records.concat()), 1 => proptest::collection::vec(any::<u8>(), 0..600)]
}

prop_compose! {
    fn drafts()(
        links in proptest::collection::vec((".{0,40}", "\\PC{0,80}"), 1..6), body in proptest::option::of(".{0,200}"), event in records(),
        crumbs in records(), open_spans in proptest::collection::vec(records(), 0..4), frames in proptest::collection::vec(any::<usize>(), 0..100),
        place in proptest::option::of((".{0,30}", any::<u32>())), time in any::<u64>(), exact in any::<bool>(), repeat in 1usize..500,
        thread_name in proptest::option::of(".{0,20}"), flags in any::<u8>(), backtrace in proptest::option::of("( *[0-9]{1,2}: .{0,30}\n *at .{0,30}:[0-9]{1,12}:[0-9]\n){0,5}.{0,40}"),
        tags in proptest::collection::vec((".{0,120}", ".{0,200}"), 0..80),
    ) -> Draft {
        Draft {
            fatal: false,
            level: tracing_core::Level::ERROR,
            details: None,
            knows_literals: true,
            wraps: None,
            preceding: None,
            id: ErrorId::from_bytes([7; 16]),
            time,
            mechanism: Mechanism::Panic,
            ids: SpanIds { trace: 1, span: 2, parent: 0, flags },
            body,
            links: links.into_iter().map(|(type_name, message)| CauseDraft { type_name, exact, message: message.repeat(repeat), ..CauseDraft::default() }).collect(),
            templates: [None, None],
            variant: String::new(),
            event,
            backtrace,
            attachments: vec!["x".repeat(repeat); repeat % 20],
            has_root: exact,
            scopes: [None, Some(Arc::new(ScopeData { tags: tags.into_iter().map(|(key, value)| (key, value.into())).collect(), ..ScopeData::default() }))],
            slot: Storm::new(ExceptionRate::default()).admit(1, 1, 1).slot,
            suppressed: 1,
            lean: false,
            unfinished: false,
            place: place.map(|(file, line)| SourceLocation { file, line, column: line }),
            frames: frames.into(),
            crumbs,
            open_spans,
            thread_name,
            thread_id: Some(1),
            ticket: None,
        }
    }
}

proptest! {
    /// A panic in the panic hook ends the process; this runs in it.
    #[test]
    fn no_draft_makes_it_panic_and_no_record_is_too_large(draft in drafts()) {
        let core = core();
        assert_eq!(core.callsites.get(&METADATA, || 0).0, 0, "the records are of this callsite");
        let mut callsites = Callsites::new(core);
        let mut exception = from_draft(&draft, &mut callsites, Names::Bare(&ModuleMap::of_this_process()), &OwnCrates::default());
        let exported = from_exception(&exception, 1);
        let shown = format!("{exception:?}");
        prop_assert!(!shown.is_empty());
        exception.withhold();
        from_exception(&exception, 1);
        prop_assert!(exported.record.encoded_len() <= limit::RECORD + 1_024, "{}", exported.record.encoded_len());
    }
}
