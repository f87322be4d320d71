//! The errors of an application: enumerations over its libraries' own, all captured, or logged, in
//! one place, as an `IntoResponse` does.
#![allow(unreachable_pub, reason = "one module of a test")]

use std::{error::Error, io, net::IpAddr};

use tracing::error;

use super::Raise;

#[derive(Debug)]
#[expect(dead_code, reason = "its Debug text is what is looked at")]
pub struct UserId(u32);

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("quota exceeded: {used} of {of}")]
    QuotaExceeded { used: u32, of: u32 },
    #[error("cache unavailable")]
    CacheUnavailable,
    #[error("payment declined: {0}")]
    PaymentDeclined(String),
    // Nothing of these two texts is the program's.
    #[error("{0}")]
    Upstream(String),
    #[error("{0}")]
    Downstream(String),
    #[error("no such user")]
    NoUser(UserId),
    #[error(transparent)]
    Db(#[from] sqlx::Error),
    #[error("calling the shop")]
    Http(#[from] reqwest::Error),
    #[error("reading a file")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("asking the bank")]
    Rpc(#[from] tonic::Status),
    #[error(transparent)]
    Number(#[from] std::num::ParseIntError),
    #[error("loading {path}")]
    Load { source: Loading, path: String },
    #[error(transparent)]
    Other(#[from] Box<dyn Error + Send + Sync>),
}

#[derive(Debug, thiserror::Error)]
pub enum Loading {
    #[error("version {0} is too old")]
    TooOld(u32),
    #[error("checksum {0:x} is wrong")]
    Damaged(u32),
}

/// What all handlers end in.
fn respond(error: impl Into<AppError>) {
    crumbtrail::capture(&error.into());
}

/// The same by an event.
fn tell(error: impl Into<AppError>) {
    error!(error = &error.into() as &dyn Error, "request failed");
}

pub const SAME: &[(&str, Raise, Raise)] = &[
    ("a variant with other numbers", quota, quota),
    ("a variant with another text", declined, declined),
    ("a variant with another value of a type", |n| respond(AppError::NoUser(UserId(n))), |n| respond(AppError::NoUser(UserId(n)))),
    ("a variant of which all comes from elsewhere", upstream, upstream),
    ("a variant with a source and a path", too_old, too_old),
    (
        "a variant, logged, with other numbers",
        |n| tell(AppError::QuotaExceeded { used: n, of: 5 }),
        |n| tell(AppError::QuotaExceeded { used: n, of: 5 }),
    ),
    ("a variant, logged, with another text", |n| tell(AppError::PaymentDeclined(name(n))), |n| tell(AppError::PaymentDeclined(name(n)))),
    (
        "sqlx: another column is missing",
        |n| respond(sqlx::Error::ColumnNotFound(name(n))),
        |n| respond(sqlx::Error::ColumnNotFound(name(n))),
    ),
    ("sqlx: another index", index, index),
    ("io: the same error of the system", |_| respond(io::Error::from_raw_os_error(2)), |_| respond(io::Error::from_raw_os_error(2))),
    (
        "io: another text of one kind",
        |n| respond(io::Error::new(io::ErrorKind::TimedOut, name(n))),
        |n| respond(io::Error::new(io::ErrorKind::TimedOut, name(n))),
    ),
    (
        "serde: another line and column",
        |n| respond(json::<u8>(&format!("{}x", " \n".repeat(n as usize)))),
        |n| respond(json::<u8>(&format!("{}x", " \n".repeat(n as usize)))),
    ),
    ("serde: a field of another value", |n| respond(json::<u8>(&format!("{}", 300 + n))), |n| respond(json::<u8>(&format!("{}", 300 + n)))),
    (
        "tonic: a status with another message",
        |n| respond(tonic::Status::not_found(name(n))),
        |n| respond(tonic::Status::not_found(name(n))),
    ),
    ("reqwest: another address that is none", |n| respond(address(n)), |n| respond(address(n))),
    ("numbers: another text that is none", |n| respond(number(&name(n))), |n| respond(number(&name(n)))),
];

pub const DIFFERENT: &[(&str, Raise, Raise)] = &[
    ("two variants with literals", quota, |_| respond(AppError::CacheUnavailable)),
    ("two variants, one of them new", |_| respond(AppError::CacheUnavailable), declined),
    ("two variants with nothing but values", upstream, |n| respond(AppError::Downstream(name(n)))),
    ("two variants, logged", |n| tell(AppError::QuotaExceeded { used: n, of: 5 }), |_| tell(AppError::CacheUnavailable)),
    ("two variants with nothing but values, logged", |n| tell(AppError::Upstream(name(n))), |n| tell(AppError::Downstream(name(n)))),
    ("two sources of one variant", too_old, |n| respond(AppError::Load { source: Loading::Damaged(n), path: name(n) })),
    ("two libraries' errors", |_| respond(sqlx::Error::PoolTimedOut), |_| respond(tonic::Status::unavailable("no"))),
    ("sqlx: a pool that is empty, and one that is closed", |_| respond(sqlx::Error::PoolTimedOut), |_| respond(sqlx::Error::PoolClosed)),
    ("sqlx: no row, and no column", |_| respond(sqlx::Error::RowNotFound), |n| respond(sqlx::Error::ColumnNotFound(name(n)))),
    ("sqlx, logged: no row, and an empty pool", |_| tell(sqlx::Error::RowNotFound), |_| tell(sqlx::Error::PoolTimedOut)),
    ("io: not found, and not permitted", |_| respond(io::Error::from_raw_os_error(2)), |_| respond(io::Error::from_raw_os_error(13))),
    (
        "io: two kinds with texts",
        |n| respond(io::Error::new(io::ErrorKind::TimedOut, name(n))),
        |n| respond(io::Error::new(io::ErrorKind::InvalidData, name(n))),
    ),
    (
        "io: two simple kinds",
        |_| respond(io::Error::from(io::ErrorKind::BrokenPipe)),
        |_| respond(io::Error::from(io::ErrorKind::UnexpectedEof)),
    ),
    ("serde: no value, and too little", |_| respond(json::<u8>("x")), |_| respond(json::<Vec<u8>>("[1"))),
    ("serde: too little, and too much", |_| respond(json::<Vec<u8>>("[1")), |_| respond(json::<u8>("1 2"))),
    ("tonic: two codes", |_| respond(tonic::Status::not_found("it")), |_| respond(tonic::Status::unavailable("it"))),
    ("tonic, logged: two codes", |_| tell(tonic::Status::not_found("it")), |_| tell(tonic::Status::internal("it"))),
    ("reqwest: no address, and nobody there", |n| respond(address(n)), |_| respond(nobody())),
    ("numbers: no digit, and none at all", |_| respond(number("x")), |_| respond(number(""))),
    ("numbers: no digit, and too many", |_| respond(number("x")), |_| respond(number("300"))),
    ("an error of another type behind one variant", |_| respond(boxed("x".parse::<IpAddr>())), |_| respond(boxed("x".parse::<f64>()))),
    ("one variant captured, and logged", quota, |n| tell(AppError::QuotaExceeded { used: n, of: 5 })),
];

pub const COARSELY_SAME: &[(&str, Raise, Raise)] = &[
    ("two variants of one enumeration", quota, |_| respond(AppError::CacheUnavailable)),
    ("two variants with nothing but values, coarsely", upstream, |n| respond(AppError::Downstream(name(n)))),
    ("two errors of a library, coarsely", |_| respond(sqlx::Error::PoolTimedOut), |_| respond(sqlx::Error::PoolClosed)),
    ("two codes of tonic, coarsely", |_| respond(tonic::Status::not_found("it")), |_| respond(tonic::Status::internal("it"))),
];

fn name(number: u32) -> String {
    ["ada", "grace", "linus"][number as usize % 3].to_owned()
}

fn quota(number: u32) {
    respond(AppError::QuotaExceeded { used: number, of: 5 });
}

fn declined(number: u32) {
    respond(AppError::PaymentDeclined(name(number)));
}

fn upstream(number: u32) {
    respond(AppError::Upstream(name(number)));
}

fn too_old(number: u32) {
    respond(AppError::Load { source: Loading::TooOld(number), path: name(number) });
}

fn index(number: u32) {
    respond(sqlx::Error::ColumnIndexOutOfBounds { index: number as usize, len: 1 });
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> serde_json::Error {
    serde_json::from_str::<T>(text).err().expect("it is wrong")
}

fn number(text: &str) -> std::num::ParseIntError {
    text.parse::<u8>().expect_err("none")
}

fn address(number: u32) -> reqwest::Error {
    reqwest::Client::new().get(format!("{}://", name(number))).build().expect_err("no address")
}

/// A port that was just free.
fn nobody() -> reqwest::Error {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let asked = async { reqwest::Client::builder().no_proxy().build()?.get(format!("http://{free}/")).send().await };
    runtime.block_on(asked).expect_err("nobody is there")
}

fn boxed<T, E: Error + Send + Sync + 'static>(outcome: Result<T, E>) -> Box<dyn Error + Send + Sync> {
    outcome.err().expect("it is wrong").into()
}
