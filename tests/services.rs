//! The example's services, real ones over loopback, into the official Collector: one trace through all of them, and the error where it happened. And what metrics say of them, whatever is sampled.
#![allow(dead_code, reason = "the example's own clients are not needed")]

#[path = "../examples/checkout/src/shop/mod.rs"]
mod shop;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::{Router, extract::Path, routing::get};
use crumbtrail::{Sampler, tower::ServerLayer};
use serde_json::{Value, json};
use support::{
    PATIENCE, Pipeline,
    collector::{Collector, all, attribute},
};
use tower::ServiceExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

#[test]
fn one_trace_goes_through_all_services_and_the_clients_id_finds_the_record() {
    let Some(collector) = Collector::start() else { return };
    let telemetry = crumbtrail::builder(crumbtrail::service!().with_name("shop").with_crate(env!("CARGO_CRATE_NAME")))
        .with_endpoint(&collector.http)
        .with_baggage(["customer.plan"])
        .build()
        .expect("telemetry");
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    let (status, id) = tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let shop = shop::Shop::open().await.expect("open");
            let order = json!({"item": "tea", "card": "4000000000000713", "cents": 1_250});
            let client = reqwest::Client::builder().no_proxy().build().expect("a client");
            let request = client.post(format!("http://{}/checkout", shop.address)).header("x-user", "user-7").json(&order);
            let answer = request.send().await.expect("an answer");
            let id = answer.headers()["x-error-id"].to_str().expect("text").to_owned();
            let status = answer.status();
            assert_eq!(answer.text().await.expect("a body"), format!("Something went wrong: {id}"));
            shop.close().await;
            (status, id)
        })
    });
    assert_eq!(status, 500);
    telemetry.shutdown(PATIENCE).expect("delivered");
    let lines = collector.end();

    let spans = all(&lines, &["resourceSpans", "scopeSpans", "spans"]);
    let span = |name: &str, kind: i64| {
        let found = spans.iter().find(|span| span["name"] == name && span["kind"] == kind);
        *found.unwrap_or_else(|| panic!("{name} of kind {kind}: {spans:#?}"))
    };
    let chain = [
        span("POST /checkout", 2),
        span("pay", 1),
        span("POST /charge", 3),
        span("POST /charge", 2),
        span("authorise", 1),
        span("ask", 1),
        span("bank.Bank/Limit", 3),
        span("bank.Bank/Limit", 2),
    ];
    for pair in chain.windows(2) {
        assert_eq!((&pair[1]["traceId"], &pair[1]["parentSpanId"]), (&pair[0]["traceId"], &pair[0]["spanId"]));
    }

    let records = all(&lines, &["resourceLogs", "scopeLogs", "logRecords"]);
    let exceptions: Vec<&Value> = records.into_iter().filter(|record| record["eventName"] == "exception").collect();
    let text = |of: &Value, key: &str| attribute(of, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let crumbs = |of: &Value| -> Vec<String> {
        let crumbs: Vec<Value> = serde_json::from_str(&text(of, "crumbtrail.breadcrumbs")).expect("JSON");
        crumbs.iter().map(|crumb| crumb["message"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(exceptions.len(), 2, "{exceptions:#?}");
    let of = |name: &str| *exceptions.iter().find(|one| text(one, "exception.type").ends_with(name)).expect(name);
    let (deep, shown) = (of("ChargeError"), of("Failed"));
    assert_eq!((&deep["traceId"], &deep["spanId"]), (&chain[3]["traceId"], &chain[3]["spanId"]));
    assert_eq!((text(deep, "user.id"), text(deep, "customer.plan")), ("user-7".into(), "pro".into()));
    let of_deep = crumbs(deep);
    assert!(
        of_deep.contains(&"choosing a bank".to_owned()) && of_deep.contains(&"127.0.0.1 bank.Bank/Limit → OK".to_owned()),
        "{of_deep:?}"
    );
    assert!(!of_deep.contains(&"checkout begins".to_owned()), "that is the other service's trail: {of_deep:?}");
    assert_eq!((text(shown, "crumbtrail.error.id"), &shown["traceId"]), (id, &chain[0]["traceId"]));
    let of_shown = crumbs(shown);
    assert!(
        of_shown.contains(&"checkout begins".to_owned()) && of_shown.contains(&"POST 127.0.0.1 /charge → 502".to_owned()),
        "{of_shown:?}"
    );
}

/// The bucket of the 95th percentile, and the count, by route.
fn measured(pipeline: &Pipeline) -> BTreeMap<String, (f64, u64)> {
    pipeline.telemetry.flush(PATIENCE).expect("delivered");
    let received = pipeline.receiver.received();
    let points = &received.metric("http.server.request.duration").expect("the metric").points;
    let of_route = points.iter().map(|point| {
        let rank = (point.count * 95).div_ceil(100);
        let mut below = 0;
        let bucket = point.buckets.iter().position(|count| {
            below += count;
            below >= rank
        });
        let upper = point.bounds.get(bucket.expect("a bucket")).copied().unwrap_or(f64::INFINITY);
        (point.attributes["http.route"].as_str().to_owned(), (upper, point.count))
    });
    of_route.collect()
}

#[test]
fn percentiles_and_counts_are_those_of_the_load_at_every_sampling_ratio() {
    const BOUNDS: [f64; 15] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, f64::INFINITY];
    for ratio in [1.0, 0.1, 0.0] {
        let pipeline = Pipeline::new(|builder, _| builder.with_sampler(Sampler::ratio(ratio).keep_errors()));
        let router = Router::new()
            .route("/quick/{id}", get(|| async { "at once" }))
            .route(
                "/slow/{millis}",
                get(|Path(millis): Path<u64>| async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    "later"
                }),
            )
            .layer(ServerLayer::new());
        // What the load generator sees itself.
        let seen: BTreeMap<&str, Vec<f64>> = pipeline.run(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
                let mut seen = BTreeMap::<&str, Vec<f64>>::new();
                for number in 0..200_u64 {
                    let (route, path) = match number % 2 {
                        0 => ("/quick/{id}", format!("/quick/{number}")),
                        // Around 3, 30 and, one in twenty or more, 130 milliseconds.
                        _ => ("/slow/{millis}", format!("/slow/{}", [3, 3, 30, 30, 130][(number / 2 % 5) as usize])),
                    };
                    let request = axum::http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
                    let begun = Instant::now();
                    let answer = router.clone().oneshot(request).await.expect("an answer");
                    axum::body::to_bytes(answer.into_body(), 1_000).await.expect("a body");
                    seen.entry(route).or_default().push(begun.elapsed().as_secs_f64());
                }
                seen
            })
        });
        let measured = measured(&pipeline);
        assert_eq!(measured.keys().map(String::as_str).collect::<BTreeSet<_>>(), seen.keys().copied().collect());
        for (route, mut times) in seen {
            times.sort_by(f64::total_cmp);
            let percentile = times[(times.len() * 95).div_ceil(100) - 1];
            let (upper, count) = measured[route];
            assert_eq!(count, times.len() as u64, "{route} at {ratio}");
            let index = |value: f64| BOUNDS.iter().position(|bound| value <= *bound).expect("the last is endless");
            let apart = index(percentile).abs_diff(index(upper));
            println!("ratio {ratio}: {route} p95 {percentile:.4} s seen, ≤ {upper} s told, {count} requests");
            assert!(apart <= 1, "{route} at {ratio}: {percentile} s seen, ≤ {upper} s told");
        }
    }
}
