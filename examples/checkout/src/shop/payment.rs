//! The service behind: charges cards. Fails three layers down.

use std::{fmt, num::ParseIntError};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use crumbtrail::{Breadcrumb, FlagEvaluation, User, tower::ServerLayer};
use serde_json::json;
use tracing::{debug, error, info, instrument};

use super::{bank::Bank, checkout::Order};

pub(super) fn router(bank: Bank) -> Router {
    // Takes the caller's trace and baggage over; which entries of it become tags was said when crumbtrail was set up.
    Router::new().route("/charge", post(charge)).with_state(bank).layer(ServerLayer::for_axum())
}

async fn charge(State(bank): State<Bank>, headers: HeaderMap, Json(order): Json<Order>) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    crumbtrail::set_user(User::new(header("x-user").unwrap_or("unknown")));
    crumbtrail::set_context("charge", &json!({ "cents": order.cents, "card": order.card, "terminal": { "password": "hunter2" } }));
    debug!(cents = order.cents, "charge asked for");
    match authorise(bank, &order).await {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, cents = order.cents, "charging the card failed");
            StatusCode::BAD_GATEWAY
        }
    }
}

#[instrument(skip_all)]
async fn authorise(mut bank: Bank, order: &Order) -> Result<(), ChargeError> {
    info!("choosing a bank");
    crumbtrail::flag_evaluated(&FlagEvaluation::new("second-bank").with_variant("on").with_provider("demo"));
    tokio::task::yield_now().await;
    let name = if order.card.starts_with('4') { "first" } else { "second" };
    crumbtrail::breadcrumb_with(|| Breadcrumb::new("bank", format!("Chose the {name} bank")).with_data("fee_cents", order.cents / 100));
    ask(&mut bank, name, &order.card).await.map_err(|source| ChargeError { bank: name, source })
}

#[instrument(skip(bank, card))]
async fn ask(bank: &mut Bank, name: &str, card: &str) -> Result<(), BankError> {
    debug!(attempt = 1, "asking the bank");
    let answer = bank.limit(card).await.map_err(BankError::Unreachable)?;
    let limit = limit_in(&answer).map_err(BankError::Answer)?;
    debug!(limit, "the bank answered");
    Ok(())
}

/// The bank writes a dash where a card has no limit; nobody had told.
fn limit_in(answer: &str) -> Result<u32, ParseIntError> {
    answer.parse()
}

#[derive(Debug)]
struct ChargeError {
    bank: &'static str,
    source: BankError,
}

impl fmt::Display for ChargeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} bank did not authorise the charge", self.bank)
    }
}

impl std::error::Error for ChargeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[derive(Debug)]
enum BankError {
    Unreachable(tonic::Status),
    Answer(ParseIntError),
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable(_) => "the bank cannot be reached",
            Self::Answer(_) => "the bank's answer cannot be understood",
        })
    }
}

impl std::error::Error for BankError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreachable(status) => Some(status),
            Self::Answer(error) => Some(error),
        }
    }
}
