//! What callers send along, and what goes on to those who are called.

use std::collections::BTreeMap;

use crate::support::Pipeline;
use crumbtrail::{
    Sampler,
    config::EnvVars,
    propagation::{self, Propagator},
};
use tracing::{error, info_span};

type Headers = BTreeMap<String, String>;

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn extract(headers: &Headers) -> propagation::RemoteContext {
    propagation::extract(|name| headers.get(name).map(String::as_str))
}

fn inject() -> Headers {
    let mut headers = Headers::new();
    propagation::inject(|name, value| _ = headers.insert(name.to_owned(), value));
    headers
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn incoming(sampled: &str) -> Headers {
    headers(&[
        ("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-{sampled}")),
        ("tracestate", "vendor=a:1,ot=th:8;rv:0123456789abcd"),
        ("baggage", "tenant=acme%20ltd;ttl=1, internal=7"),
    ])
}

#[test]
fn one_trace_and_its_state_go_through() {
    let pipeline = Pipeline::new(|builder, _| builder.with_baggage(["tenant"]));
    let outgoing = pipeline.run(|| {
        let _request = extract(&incoming("03")).in_scope(|| info_span!("request", otel.kind = "server")).entered();
        let outgoing = info_span!("call", otel.kind = "client").in_scope(inject);
        error!("refused");
        outgoing
    });
    let (request, call) = (pipeline.span("request"), pipeline.span("call"));
    assert_eq!(outgoing["traceparent"], format!("00-{TRACE}-{}-03", call.span_id), "the random flag is kept");
    assert_eq!(outgoing["tracestate"], incoming("03")["tracestate"]);
    assert_eq!(outgoing["baggage"], "tenant=acme%20ltd;ttl=1,internal=7");
    assert_eq!((&*request.trace_id, &*request.parent_span_id), (TRACE, "00f067aa0ba902b7"));
    assert_eq!(request.trace_state, incoming("03")["tracestate"]);
    assert_eq!(call.trace_state, request.trace_state);
    let exception = pipeline.exception("refused");
    assert_eq!(exception.text("tenant"), "acme ltd");
    assert!(!exception.attributes.contains_key("internal"), "only what is allowed");
}

#[test]
fn a_trace_that_is_kept_has_no_threshold_any_more() {
    let pipeline = Pipeline::new(|builder, _| builder.with_sampler(Sampler::default().keep_errors()));
    let (before, after) = pipeline.run(|| {
        let _request = extract(&incoming("02")).in_scope(|| info_span!("request", otel.kind = "server")).entered();
        let before = inject();
        error!("refused");
        (before, inject())
    });
    assert!(before["traceparent"].ends_with("-02") && after["traceparent"].ends_with("-03"));
    assert_eq!(before["tracestate"], incoming("02")["tracestate"]);
    assert_eq!(after["tracestate"], "vendor=a:1,ot=rv:0123456789abcd");
    assert_eq!(pipeline.span("request").trace_state, after["tracestate"]);
}

#[test]
fn hostile_headers_cost_little_and_are_left_out() {
    let pipeline = Pipeline::new(|builder, _| builder.with_baggage(["a"]));
    pipeline.run(|| {
        let hostile = headers(&[
            ("traceparent", &"0".repeat(1 << 20)),
            ("tracestate", &"a=b,".repeat(1 << 18)),
            ("baggage", &format!("a=1,{}", "x=y,".repeat(1 << 18))),
        ]);
        let _request = extract(&hostile).in_scope(|| info_span!("request", otel.kind = "server")).entered();
        let outgoing = inject();
        assert!(outgoing["baggage"].len() <= 8192 && !outgoing.contains_key("tracestate"), "{outgoing:?}");
        error!("refused");
    });
    let span = pipeline.span("request");
    assert_eq!((&*span.parent_span_id, &*span.trace_state), ("", ""), "a root of its own");
    assert_eq!(pipeline.exception("refused").text("a"), "1");
}

#[test]
fn what_is_carried_is_the_requests_and_no_others() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        for _ in 0..3 {
            let request = extract(&incoming("01")).in_scope(|| info_span!("request"));
            request.in_scope(|| propagation::set_baggage("step", "1, 2"));
            assert_eq!(request.in_scope(inject)["baggage"], "tenant=acme%20ltd;ttl=1,internal=7,step=1%2C%202");
            drop(request);
            // On the same memory, by and by.
            let other = info_span!("other").entered();
            assert_eq!(inject().keys().collect::<Vec<_>>(), ["traceparent"]);
            drop(other);
        }
        assert!(inject().is_empty(), "outside of spans there is nothing to tell");
        extract(&incoming("01")).in_scope(|| {});
        assert!(info_span!("later").in_scope(inject)["traceparent"].find(TRACE).is_none(), "what nobody took over is gone");
    });
}

/// The panic hook wants to know the request while the rule is asked: nothing may be held then.
#[test]
fn a_rule_that_panics_over_baggage_blocks_nobody() {
    let scrubber = crumbtrail::Scrubber::default().with_rule(|text| if text.contains("acme") { panic!("a rule fails") } else { None });
    let pipeline = Pipeline::new(|builder, _| builder.with_baggage(["tenant"]).with_scrubber(scrubber));
    pipeline.telemetry.install_panic_hook();
    let outgoing = pipeline.run(|| {
        let _request = extract(&incoming("01")).in_scope(|| info_span!("request", otel.kind = "server")).entered();
        error!("refused");
        inject()
    });
    assert_eq!(outgoing["baggage"], "tenant=acme%20ltd;ttl=1,internal=7", "what goes on is not ours to change");
    assert_eq!(pipeline.exception("refused").text("tenant"), "[Filtered]");
}

#[test]
fn formats_are_chosen_in_code_or_by_the_environment() {
    let b3 = headers(&[
        ("b3", &format!("{TRACE}-00f067aa0ba902b7-1")),
        ("traceparent", "00-00000000000000000000000000000001-0000000000000001-01"),
    ]);
    let outgoing =
        |pipeline: &Pipeline| pipeline.run(|| extract(&b3).in_scope(|| info_span!("request", otel.kind = "server")).in_scope(inject));
    let in_code = Pipeline::new(|builder, _| builder.with_propagators([Propagator::B3, Propagator::Jaeger]));
    let written = outgoing(&in_code);
    assert_eq!(written.keys().collect::<Vec<_>>(), ["b3", "uber-trace-id"]);
    assert!(written["b3"].starts_with(TRACE) && written["b3"].ends_with("-1"), "{written:?}");

    let environment = EnvVars::from_iter([("OTEL_PROPAGATORS", "b3multi,b3")]);
    let by_variable = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    assert_eq!(outgoing(&by_variable).keys().collect::<Vec<_>>(), ["b3", "x-b3-sampled", "x-b3-spanid", "x-b3-traceid"]);

    let environment = EnvVars::from_iter([("OTEL_PROPAGATORS", "none")]);
    let none = Pipeline::new(|builder, _| builder.with_env_vars(&environment));
    assert!(outgoing(&none).is_empty());
}
