//! Customers: real HTTP clients, at the same time, for a while.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde_json::json;
use tokio::task::JoinSet;

use crate::shop::Shop;

/// How many answers of each status the clients got; 0: none at all.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<u16, u64>);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(status, count)| match status {
            0 => format!("{count} × no answer"),
            status => format!("{count} × {status}"),
        });
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

const CUSTOMERS: u64 = 24;
/// Numbers that cards could have, and a token like those of customers: none of them is in what
/// arrives.
const CARD: &str = "4000000000000721";
const CARD_THAT_FAILS: &str = "4000000000000713";
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkZW1vIn0.c2VjcmV0LW9mLXRoZS1kZW1v";

/// Sends requests until the time is up.
pub(crate) async fn drive(shop: &Shop, duration: Duration) -> Result<Answers, reqwest::Error> {
    let base = format!("http://{}", shop.address);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let end = tokio::time::Instant::now() + duration;
    let mut customers = JoinSet::new();
    for customer in 0..CUSTOMERS {
        let (client, base) = (client.clone(), base.clone());
        customers.spawn(async move {
            let mut answers = Answers::default();
            let mut turn = customer;
            while tokio::time::Instant::now() < end {
                turn += CUSTOMERS;
                let user = format!("user-{}", turn % 97);
                // Kettles are few: after a while the store refuses the order.
                let item = if turn.is_multiple_of(40) { "kettle" } else { ["tea", "cup"][(turn % 2) as usize] };
                let request = match turn % 50 {
                    // An order that does not exist: the handler panics.
                    49 => client.get(format!("{base}/invoice/{}", 1_000_000 + turn)),
                    0..20 => client.get(format!("{base}/stock/{item}")),
                    // A card that the bank answers strangely for.
                    20 => client.post(format!("{base}/checkout")).json(&json!({"item": "tea", "card": CARD_THAT_FAILS, "cents": 1_250})),
                    _ => client.post(format!("{base}/checkout")).json(&json!({"item": item, "card": CARD, "cents": 990 + turn % 7})),
                };
                let status = request.header("x-user", user).bearer_auth(TOKEN).send().await.map_or(0, |answer| answer.status().as_u16());
                *answers.0.entry(status).or_default() += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answers
        });
    }
    let mut all = Answers::default();
    while let Some(answers) = customers.join_next().await {
        for (status, count) in answers.unwrap_or_default().0 {
            *all.0.entry(status).or_default() += count;
        }
    }
    Ok(all)
}
