//! Which way records go.

use tracing_core::{Interest, Level, Metadata, metadata};

use super::*;
use crate::trail::record::{SpanIds, flag};
use crate::{
    exception::storm::ExceptionRate,
    filter::Filters,
    sampling::Sampler,
    scrub::Scrubber,
    state::{CallerConfig, core::CoreParts},
    trail::{
        encode::{Encoder, Limits},
        record::stamp_ids,
    },
};

pub(super) fn core() -> Arc<Core> {
    let config = CallerConfig {
        filters: Filters::new([&"test".to_owned()], false),
        sampler: Sampler::default(),
        event_limits: Limits::default(),
        span_limits: Limits::default(),
        propagators: Default::default(),
        stacktraces: true,
        exports_spans: true,
        trail_memory: 1 << 16,
        outbox_memory: 1 << 16,
        baggage: Vec::new(),
        user_on_logs: false,
        user_on_spans: false,
        enrichment: Default::default(),
        exit_timeout: std::time::Duration::ZERO,
    };
    let parts = CoreParts {
        scrubber: Arc::new(Scrubber::default()),
        rate: ExceptionRate::default(),
        has_hooks: false,
        #[cfg(feature = "testing")]
        takes_scoped_panics: false,
        meters: Arc::new(crate::metrics::Meters::new(Default::default())),
        other_api: None,
        start: Box::new(|_, _| Ok(())),
    };
    Arc::new_cyclic(|this| Core::new(config, parts, this))
}

struct TestCallsite(&'static Metadata<'static>);

impl tracing_core::Callsite for TestCallsite {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0
    }
}

const FIELDS: &[&str] = &["message", "user.id", "number"];
static EVENT: TestCallsite = TestCallsite(&OF_EVENT);
static SPAN: TestCallsite = TestCallsite(&OF_SPAN);
static OF_EVENT: Metadata<'static> = tracing_core::metadata! {
    name: "event", target: "test", level: Level::INFO, fields: FIELDS, callsite: &EVENT, kind: metadata::Kind::EVENT
};
static OF_SPAN: Metadata<'static> = tracing_core::metadata! {
    name: "request", target: "test", level: Level::INFO, fields: FIELDS, callsite: &SPAN, kind: metadata::Kind::SPAN
};

/// Report 15: what most records are is written without a message of it.
#[test]
fn ordinary_records_are_written_directly_and_others_are_made() {
    let core = core();
    let modules = Arc::new(ModuleMap::of_this_process());
    let mut exporter = Exporter::new(core.clone(), OwnCrates::default(), modules, Hooks::default(), SpanLimits::default(), true);
    for (kind, metadata) in [(Kind::Event, &OF_EVENT), (Kind::Span, &OF_SPAN)] {
        let (callsite, _) = core.callsites.get(metadata, || 0);
        let mut write = |fill: &dyn Fn(&mut Encoder<'_>)| {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, kind, callsite, 9, Limits::default());
            fill(&mut encoder);
            encoder.finish();
            stamp_ids(&mut bytes, SpanIds { trace: 1, span: 2, parent: 3, flags: flag::SAMPLED });
            let (record, _) = Record::split_first(&bytes).unwrap();
            assert!(exporter.record(&record, 10), "it is exported either way");
            exporter.write(&record, 10).is_some()
        };
        assert!(write(&|encoder| encoder.str(0, "hello")), "{kind:?}");
        assert!(write(&|encoder| (encoder.debug(0, &"hello"), encoder.str(1, "u1"), encoder.u64(2, 7)).2), "{kind:?}");
        assert!(!write(&|encoder| encoder.bytes(2, b"bytes")), "{kind:?}");
    }
    assert_eq!((exporter.logs.count(), exporter.spans.count()), (5, 5), "each once; and those that were written, again");
}
