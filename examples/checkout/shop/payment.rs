//! The service behind: charges cards. Fails three layers down.

use std::{fmt, num::ParseIntError};

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::post,
};
use crumbtrail::{Breadcrumb, FlagEvaluation, Scope, User, propagation::SpanContext};
use serde_json::json;
use tracing::{Instrument, debug, error, info, info_span, instrument};

use super::checkout::Order;

pub(super) fn router() -> Router {
    Router::new().route("/charge", post(charge)).layer(middleware::from_fn(in_the_callers_trace))
}

/// A server span below the caller's span, which is in another service.
async fn in_the_callers_trace(request: Request, next: Next) -> Response {
    let open = || info_span!("request", otel.name = "POST /charge", otel.kind = "server", http.route = "/charge");
    let remote = request.headers().get("traceparent").and_then(|header| header.to_str().ok()?.parse::<SpanContext>().ok());
    let span = match remote {
        Some(remote) => remote.in_scope(open),
        None => open(),
    };
    next.run(request).instrument(span).await
}

async fn charge(headers: HeaderMap, Json(order): Json<Order>) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    crumbtrail::set_user(User::new(header("x-user").unwrap_or("unknown")));
    // Which entries of it become tags was said when crumbtrail was set up.
    Scope::request().copy_baggage(header("baggage").unwrap_or_default());
    crumbtrail::set_context("charge", &json!({ "cents": order.cents, "card": order.card, "terminal": { "password": "hunter2" } }));
    debug!(cents = order.cents, "charge asked for");
    match authorise(&order).await {
        Ok(()) => StatusCode::OK,
        Err(error) => {
            error!(error = &error as &dyn std::error::Error, cents = order.cents, "charging the card failed");
            StatusCode::BAD_GATEWAY
        }
    }
}

#[instrument(skip_all)]
async fn authorise(order: &Order) -> Result<(), ChargeError> {
    info!("choosing a bank");
    crumbtrail::flag_evaluated(&FlagEvaluation::new("second-bank").with_variant("on").with_provider("demo"));
    tokio::task::yield_now().await;
    let bank = if order.card.starts_with('4') { "first" } else { "second" };
    crumbtrail::breadcrumb_with(|| Breadcrumb::new("bank", format!("Chose the {bank} bank")).with_data("fee_cents", order.cents / 100));
    ask(bank, &order.card).map_err(|source| ChargeError { bank, source })
}

#[instrument(skip(card))]
fn ask(bank: &str, card: &str) -> Result<(), BankError> {
    debug!(attempt = 1, "asking the bank");
    let limit = limit_of(card).map_err(BankError::Answer)?;
    debug!(limit, "the bank answered");
    Ok(())
}

/// The bank writes a dash where a card has no limit; nobody had told.
fn limit_of(card: &str) -> Result<u32, ParseIntError> {
    let answer = if card.ends_with("13") { "-" } else { "5000" };
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
    Answer(ParseIntError),
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bank's answer cannot be understood")
    }
}

impl std::error::Error for BankError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let Self::Answer(error) = self;
        Some(error)
    }
}
