//! What metrics say of requests, whatever is sampled: the percentiles and counts that a load
//! generator sees itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::{Router, extract::Path, routing::get};
use crumbtrail::{Sampler, tower::ServerLayer};
use tower::ServiceExt as _;

use crate::support::{PATIENCE, Pipeline};

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
            .layer(ServerLayer::for_axum());
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
