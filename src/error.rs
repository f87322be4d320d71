//! What can go wrong, and what to do about it.

use std::time::Duration;

use crate::ledger::FlushReport;

/// Setting up failed. The program can go on without telemetry; what it records goes nowhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// `tracing` has a global subscriber already.
    #[error("a tracing subscriber is already installed; build() the telemetry and add its layer() to that subscriber instead")]
    SubscriberInstalled(#[source] tracing_core::dispatcher::SetGlobalDefaultError),
    /// The endpoint given in code is not an address. It is not shown: it may hold credentials.
    #[error("the endpoint given in code is not an http:// or https:// URL; expected something like http://localhost:4318")]
    Endpoint,
    /// A header given in code is not valid.
    #[error("the header {name:?} is not a valid HTTP header")]
    Header {
        /// The header's name; its value may be secret.
        name: String,
    },
    /// A certificate or key cannot be read or used. Without it requests would be sent to whoever
    /// the system trusts, or not at all.
    #[error("the {what} cannot be used: {problem}")]
    Tls {
        /// Which of them.
        what: &'static str,
        /// What is wrong; never a part of it.
        problem: String,
    },
    /// The proxy given in code is not an address. It is not shown: it may hold credentials.
    #[error("the proxy given in code is not a URL that can be used; expected something like http://proxy.internal:3128")]
    Proxy,
    /// The file of `OTEL_CONFIG_FILE`, or of
    /// [`Builder::with_config_file`](crate::Builder::with_config_file), cannot be used.
    #[error("the configuration file {} cannot be used: {problem}", path.display())]
    ConfigFile {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong, with line and column where it is in the file.
        problem: String,
    },
    /// What was asked for is not built in.
    #[error("{what} needs crumbtrail's feature {feature:?}; enable it in Cargo.toml, or ask for something else")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// The feature it needs.
        feature: &'static str,
    },
    /// The operating system refused the worker thread or what its runtime needs.
    #[error("the worker could not be started; is the process at its limit of threads or open files?")]
    Thread(#[source] std::io::Error),
}

/// Not everything recorded before the call was delivered or is safe on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{undelivered} records were not delivered within {timeout:?}; meanwhile {report}; stats() tells why")]
pub struct FlushError {
    pub(crate) undelivered: u64,
    pub(crate) report: FlushReport,
    pub(crate) timeout: Duration,
}

impl FlushError {
    /// Records that were still on their way, in memory only, when the time was up. After
    /// [`flush`](crate::Telemetry::flush) they are still tried; after
    /// [`shutdown`](crate::Telemetry::shutdown) they are lost, and counted in
    /// [`report`](Self::report), too.
    pub fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// The account of what became of the other records.
    pub fn report(&self) -> FlushReport {
        self.report
    }
}
