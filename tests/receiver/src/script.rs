//! Requests as they arrive, and how they are answered.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::Received;

pub(crate) type Script = dyn Fn(&Arrival) -> Answer + Send + Sync;

/// A request.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// Came by gRPC.
    pub grpc: bool,
    /// `logs`, `traces` or `metrics`.
    pub signal: &'static str,
    /// Lower-case names; metadata, for gRPC.
    pub headers: BTreeMap<String, String>,
    /// On the wire (HTTP), or encoded (gRPC).
    pub bytes: usize,
    /// What is in it.
    pub content: Received,
}

/// What the client gets.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Keeps it and says so.
    Accept,
    /// Keeps it and claims to have refused some of it.
    Partial { rejected: i64, message: String },
    /// An HTTP status.
    Status { status: u16, headers: Vec<(String, String)> },
    /// A gRPC code, with RetryInfo if there is a delay.
    Code { code: i32, retry_after: Option<Duration> },
    /// Keeps it, and never answers.
    KeepAndHang,
    /// Answers after a while.
    After(Duration, Box<Answer>),
    /// Keeps it; the answer's body never ends (HTTP).
    Endless,
    /// Keeps it; the answer's body begins and does not go on (HTTP).
    StalledBody,
}
