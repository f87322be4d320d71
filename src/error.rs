//! What can go wrong, and what to do about it.

use std::time::Duration;

/// Setting up failed. The program can go on without telemetry; what it records goes nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// `tracing` has a global subscriber already.
    #[error("a tracing subscriber is already installed; build() the telemetry and add its layer() to that subscriber instead")]
    SubscriberInstalled(#[source] tracing_subscriber::util::TryInitError),
    /// The endpoint given in code is not an address. It is not shown: it may hold credentials.
    #[error("the endpoint given in code is not an http:// or https:// URL; expected something like http://localhost:4318")]
    Endpoint,
    /// A header given in code is not valid.
    #[error("the header {name:?} is not a valid HTTP header")]
    Header {
        /// The header's name; its value may be secret.
        name: String,
    },
    /// The operating system refused the worker thread.
    #[error("the worker thread could not be started; is the process at its limit of threads?")]
    Thread(#[source] std::io::Error),
}

/// Not everything recorded before the call was delivered in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{undelivered} records were not delivered within {timeout:?} and {lost} were lost since the call; stats() tells why")]
pub struct FlushError {
    pub(crate) undelivered: u64,
    pub(crate) lost: u64,
    pub(crate) timeout: Duration,
}

impl FlushError {
    /// Records that were still on their way when the time was up. After [`flush`](crate::Telemetry::flush) they are still tried; after [`shutdown`](crate::Telemetry::shutdown) they are lost.
    pub fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// Records lost while the call was waiting: refused by the receiver, or given up.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
