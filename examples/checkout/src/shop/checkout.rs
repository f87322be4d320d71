//! The service customers talk to.

use std::sync::PoisonError;

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use crumbtrail::{
    FlagEvaluation, User, propagation,
    tower::{RequestBuilderExt, ServerLayer},
};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, instrument};

use super::Store;

pub(super) fn router(store: Store) -> Router {
    Router::new()
        .route("/stock/{item}", get(stock))
        .route("/checkout", post(checkout))
        .route("/invoice/{order}", get(invoice))
        .with_state(store)
        // Last: around everything. Who it is for is in a header here; a real shop asks its sessions.
        .layer(ServerLayer::for_axum().with_user(|request| Some(User::new(request.header("x-user").unwrap_or("guest")))))
}

async fn stock(State(store): State<Store>, Path(item): Path<String>) -> Result<Json<i64>, Failed> {
    let left = left_of(&store, &item)?;
    info!(item, left, "stock asked for");
    Ok(Json(left))
}

#[derive(Deserialize, Serialize)]
pub(super) struct Order {
    pub(super) item: String,
    pub(super) card: String,
    pub(super) cents: i64,
}

async fn checkout(State(store): State<Store>, request: Request) -> Result<(StatusCode, String), Failed> {
    let user = request.headers().get("x-user").and_then(|user| user.to_str().ok()).unwrap_or("guest").to_owned();
    let plan = if user.ends_with(['1', '3', '7']) { "pro" } else { "free" };
    crumbtrail::set_user(User::new(&*user).with_name(format!("{user} of the demo")));
    crumbtrail::set_tag("customer.plan", plan);
    crumbtrail::flag_evaluated(&FlagEvaluation::new("second-bank").with_variant("on").with_provider("demo"));
    // As careless as logging gets: what comes out has no token in it.
    debug!(headers = ?request.headers(), "headers");
    let body = axum::body::to_bytes(request.into_body(), 64 * 1024).await.map_err(|_| Failed::Unreadable)?;
    let order: Order = serde_json::from_slice(&body).map_err(|_| Failed::Unreadable)?;
    crumbtrail::set_context("order", &order);
    info!(item = order.item, cents = order.cents, "checkout begins");
    let left = left_of(&store, &order.item)?;
    debug!(left, "reserving one");
    reserve(&store, &order)?;
    crumbtrail::breadcrumb("stock", &format!("Reserved one {}", order.item));
    pay(&store, &order, &user, plan).await?;
    let id = book(&store, &user, &order)?;
    metrics::counter!("orders.taken", "item" => order.item.clone()).increment(1);
    info!(order = id, "order taken");
    Ok((StatusCode::CREATED, id.to_string()))
}

/// The handler with the bug: an invoice of an order that has none.
async fn invoice(State(store): State<Store>, Path(order): Path<i64>) -> String {
    debug!(order, "looking the order up");
    let database = store.database.lock().unwrap_or_else(PoisonError::into_inner);
    let cents = database.query_row("SELECT cents FROM orders WHERE id = ?1", [order], |row| row.get::<_, i64>(0)).ok();
    drop(database);
    format!("{} cents", cents.expect("every order has an amount"))
}

fn left_of(store: &Store, item: &str) -> Result<i64, Failed> {
    let database = store.database.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(database.query_row("SELECT left FROM stock WHERE item = ?1", [item], |row| row.get(0))?)
}

#[instrument(skip_all, fields(item = order.item))]
fn reserve(store: &Store, order: &Order) -> Result<(), Failed> {
    let database = store.database.lock().unwrap_or_else(PoisonError::into_inner);
    database.execute("UPDATE stock SET left = left - 1 WHERE item = ?1", [&order.item])?;
    Ok(())
}

#[instrument(skip_all)]
async fn pay(store: &Store, order: &Order, user: &str, plan: &str) -> Result<(), Failed> {
    // Goes along with every call of this request.
    propagation::set_baggage("customer.plan", plan);
    debug!(cents = order.cents, "asking the payment service");
    let answer = store
        .client
        .post(format!("http://{}/charge", store.payment))
        .header("x-user", user)
        .json(order)
        .send_traced(Some("/charge"))
        .await
        .map_err(Failed::Unreachable)?;
    info!(status = answer.status().as_u16(), "the payment service answered");
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.is_server_error() => Err(Failed::Payment { status: status.as_u16() }),
        status => Err(Failed::Declined { status: status.as_u16() }),
    }
}

fn book(store: &Store, user: &str, order: &Order) -> Result<i64, Failed> {
    let database = store.database.lock().unwrap_or_else(PoisonError::into_inner);
    database.execute("INSERT INTO orders (user, item, cents) VALUES (?1, ?2, ?3)", (user, &order.item, order.cents))?;
    Ok(database.last_insert_rowid())
}

#[derive(Debug)]
pub(super) enum Failed {
    Unreadable,
    Declined { status: u16 },
    Payment { status: u16 },
    Unreachable(reqwest::Error),
    Database(rusqlite::Error),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable => f.write_str("the order cannot be read"),
            Self::Declined { status } => write!(f, "the payment was declined with status {status}"),
            Self::Payment { status } => write!(f, "the payment service failed with status {status}"),
            Self::Unreachable(_) => f.write_str("the payment service cannot be reached"),
            Self::Database(_) => f.write_str("the order could not be stored"),
        }
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable | Self::Declined { .. } | Self::Payment { .. } => None,
            Self::Unreachable(error) => Some(error),
            Self::Database(error) => Some(error),
        }
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Unreadable => StatusCode::BAD_REQUEST.into_response(),
            // The customer's trouble, not ours: a warning with its cause, not an exception.
            Self::Declined { .. } => StatusCode::PAYMENT_REQUIRED.into_response(),
            Self::Payment { .. } | Self::Unreachable(_) | Self::Database(_) => {
                // The customer gets an id to quote, never the message. (It is in the header `x-error-id`, too.)
                let id = crumbtrail::capture(&self);
                (StatusCode::INTERNAL_SERVER_ERROR, format!("Something went wrong: {id}")).into_response()
            }
        }
    }
}
