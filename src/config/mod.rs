//! What only set-up names: protocols, exporters, filters, forms of output.
//!
//! Code wins over the environment, or over a [file](crate::Builder::with_config_file) instead of
//! it; those win over the defaults.

pub(crate) mod env;
#[cfg(feature = "config-file")]
pub(crate) mod file;
mod lanes;
pub(crate) mod parse;
pub(crate) mod per_signal;
mod resolve;
mod settings;

pub(crate) use self::{
    env::Proxies,
    parse::address,
    resolve::{Config, Read},
    settings::{Address, Endpoint, LimitSettings, MetricSettings, Pem, Settings, SignalSettings, SpoolSettings},
};
pub use self::{
    env::{EnvVars, Warning},
    settings::Exporter,
};
#[cfg(feature = "metrics-0-24")]
pub use crate::metrics::recorder::MetricsRecorder;
pub use crate::{
    console::{Console, ConsoleFormat},
    delivery::{Compression, Protocol},
    exception::storm::ExceptionRate,
    filter::Filter,
    metrics::MetricTemporality,
    service::ServiceInfo,
};
