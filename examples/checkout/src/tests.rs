//! The shop's services, real ones over loopback, into the official Collector: one trace through all
//! of them, and the error where it happened.

#[path = "../../../tests/support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{
    PATIENCE,
    collector::{Collector, all, attribute},
};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::shop;

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
