//! The services. `checkout` keeps stock and orders in SQLite and asks `payment` over HTTP, which
//! asks the bank over gRPC; all report to the same crumbtrail.

mod bank;
mod checkout;
mod payment;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::Connection;
use tracing::{Instrument, info, info_span, warn};

/// The running shop.
pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    jobs: tokio::task::JoinHandle<()>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) database: Arc<Mutex<Connection>>,
    pub(crate) payment: SocketAddr,
    pub(crate) client: reqwest::Client,
}

impl Shop {
    pub(crate) async fn open() -> Result<Self, Box<dyn std::error::Error>> {
        let database = Connection::open_in_memory()?;
        database.execute_batch(
            "CREATE TABLE stock (item TEXT PRIMARY KEY, left INTEGER NOT NULL CHECK (left >= 0));
             CREATE TABLE orders (id INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL, cents INTEGER NOT NULL);
             INSERT INTO stock VALUES ('tea', 100000), ('kettle', 12), ('cup', 100000);",
        )?;
        let (bank, bank_server) = bank::open().await?;
        let (payment, payment_server) = serve(payment::router(bank::Bank::at(bank)?)).await?;
        let store = Store { database: Arc::new(Mutex::new(database)), payment, client: reqwest::Client::new() };
        let (address, server) = serve(checkout::router(store.clone())).await?;
        Ok(Self { address, jobs: tokio::spawn(jobs(store)), servers: vec![bank_server, payment_server, server] })
    }

    pub(crate) async fn close(self) {
        self.jobs.abort();
        self.servers.iter().for_each(tokio::task::JoinHandle::abort);
        let _ = self.jobs.await;
    }
}

async fn serve(router: axum::Router) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            warn!(%error, "a server ended");
        }
    });
    Ok((address, server))
}

/// Background work: a trail of its own for each run. Every third report meets a bug.
async fn jobs(store: Store) {
    for run in 1u32.. {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let store = store.clone();
        let job = async move {
            let orders: Vec<i64> = {
                let database = store.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let rows = database.prepare("SELECT cents FROM orders ORDER BY id DESC LIMIT 100");
                rows.and_then(|mut rows| rows.query_map([], |row| row.get(0))?.collect()).unwrap_or_default()
            };
            info!(orders = orders.len(), "summing up recent orders");
            metrics::gauge!("orders.recent").set(orders.len() as f64);
            let recent = if run.is_multiple_of(3) { &orders[..0] } else { &orders[..] };
            average(recent)
        };
        // A panic ends the task, not the service; nobody looks at the handle, and still it is known.
        let _ = tokio::spawn(job.instrument(info_span!("sales report", run))).await;
    }
}

fn average(cents: &[i64]) -> i64 {
    cents.iter().sum::<i64>() / i64::try_from(cents.len()).unwrap_or(i64::MAX)
}
