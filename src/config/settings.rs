//! What one source says: the program's code, its environment, or a file. What it does not say is
//! `None`, or empty.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};
use tracing_subscriber::filter::Targets;

use super::per_signal::{PerSignal, Signal};
use crate::{
    console::Console,
    delivery::{Compression, Protocol},
    filter::Filter,
    metrics::MetricTemporality,
    propagation::Propagators,
    sampling::Sampler,
};

/// See the [module](self).
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Settings {
    pub(crate) disabled: Option<bool>,
    /// Of the resource; of one name the last counts.
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) process_arguments: Option<bool>,
    /// Of signals that do not say it themselves.
    pub(crate) every: SignalSettings,
    pub(crate) signals: PerSignal<SignalSettings>,
    /// Whether there is a receiver where none is named.
    pub(crate) default_endpoint: Option<bool>,
    pub(crate) bundled_roots: Option<bool>,
    pub(crate) proxy: Option<String>,
    pub(crate) proxy_from_env: Option<bool>,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) propagators: Option<Propagators>,
    pub(crate) baggage: Vec<String>,
    pub(crate) filters: Vec<(Filter, Targets)>,
    pub(crate) stacktraces: Option<bool>,
    pub(crate) exception_span_events: Option<bool>,
    pub(crate) default_pii: Option<bool>,
    /// Fields of spans that logs in them carry, too.
    pub(crate) span_fields: Vec<String>,
    pub(crate) events_on_spans: Option<bool>,
    pub(crate) span_timings: Option<bool>,
    /// Events and links of one span at most.
    pub(crate) span_events: Option<usize>,
    pub(crate) span_links: Option<usize>,
    pub(crate) metrics: MetricSettings,
    pub(crate) spool: SpoolSettings,
    /// Bytes of all trails, and of each thread's outbox.
    pub(crate) trail_memory: Option<usize>,
    pub(crate) outbox_memory: Option<usize>,
    pub(crate) worker_share: Option<f64>,
    pub(crate) worker_niceness: Option<i32>,
    pub(crate) shutdown_timeout: Option<Duration>,
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) console: Option<Console>,
}

/// Where a signal goes (`OTEL_{TRACES,METRICS,LOGS}_EXPORTER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exporter {
    /// To a collector, over OTLP. The default.
    Otlp,
    /// To standard output, a line each, for a look while developing.
    Console,
    /// Nowhere.
    None,
}

/// What is said of one signal.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct SignalSettings {
    pub(crate) exporter: Option<Exporter>,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) headers: Option<Vec<(HeaderName, HeaderValue)>>,
    /// Of one attempt.
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    /// Whether gRPC to an address without a scheme goes without TLS.
    pub(crate) insecure: Option<bool>,
    pub(crate) certificate: Option<Pem>,
    pub(crate) client_certificate: Option<Pem>,
    pub(crate) client_key: Option<Pem>,
    /// How long a record may wait for others.
    pub(crate) delay: Option<Duration>,
    /// Records of one request at most.
    pub(crate) max_batch: Option<u64>,
    pub(crate) limits: LimitSettings,
    /// Whether what cannot be delivered goes to disk.
    pub(crate) spooled: Option<bool>,
    /// Whether records say who they are for.
    pub(crate) with_user: Option<bool>,
}

/// A receiver's address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// It is used as it is; else the signal's path is appended.
    pub(crate) is_whole: bool,
}

/// An address, and whether it was written with a scheme.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    /// Without a scheme it is http here.
    pub(crate) uri: Uri,
    pub(crate) has_scheme: bool,
    /// A Unix socket's path; then the URI only names a host.
    pub(crate) socket: Option<PathBuf>,
}

/// A certificate or key.
#[derive(Clone)]
pub(crate) enum Pem {
    Given(Arc<[u8]>),
    /// In a file, which this names.
    File {
        path: PathBuf,
        named_by: String,
    },
}

impl std::fmt::Debug for Pem {
    /// Never what is in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given"),
            Self::File { path, named_by } => f.debug_struct("File").field("path", path).field("named_by", named_by).finish(),
        }
    }
}

/// Attributes of one record at most, and characters of one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitSettings {
    pub(crate) count: Option<usize>,
    pub(crate) length: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetricSettings {
    pub(crate) interval: Option<Duration>,
    pub(crate) temporality: Option<MetricTemporality>,
    pub(crate) exponential: Option<bool>,
}

/// Where undelivered requests wait, and how much of them, for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpoolSettings {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
}

impl Settings {
    /// These over others, which count where these say nothing.
    pub(crate) fn over(self, below: Self) -> Self {
        // What is said of every signal up here wins over what is said of one down there.
        let signals = PerSignal::of(|signal| self.signal(signal).over(below.signal(signal)));
        Self {
            disabled: self.disabled.or(below.disabled),
            resource: [below.resource, self.resource].concat(),
            process_arguments: self.process_arguments.or(below.process_arguments),
            every: SignalSettings::default(),
            signals,
            default_endpoint: self.default_endpoint.or(below.default_endpoint),
            bundled_roots: self.bundled_roots.or(below.bundled_roots),
            proxy: self.proxy.or(below.proxy),
            proxy_from_env: self.proxy_from_env.or(below.proxy_from_env),
            sampler: self.sampler.or(below.sampler),
            propagators: self.propagators.or(below.propagators),
            baggage: [below.baggage, self.baggage].concat(),
            filters: [below.filters, self.filters].concat(),
            stacktraces: self.stacktraces.or(below.stacktraces),
            exception_span_events: self.exception_span_events.or(below.exception_span_events),
            default_pii: self.default_pii.or(below.default_pii),
            span_fields: [below.span_fields, self.span_fields].concat(),
            events_on_spans: self.events_on_spans.or(below.events_on_spans),
            span_timings: self.span_timings.or(below.span_timings),
            span_events: self.span_events.or(below.span_events),
            span_links: self.span_links.or(below.span_links),
            metrics: MetricSettings {
                interval: self.metrics.interval.or(below.metrics.interval),
                temporality: self.metrics.temporality.or(below.metrics.temporality),
                exponential: self.metrics.exponential.or(below.metrics.exponential),
            },
            spool: SpoolSettings {
                directory: self.spool.directory.or(below.spool.directory),
                bytes: self.spool.bytes.or(below.spool.bytes),
                age: self.spool.age.or(below.spool.age),
            },
            trail_memory: self.trail_memory.or(below.trail_memory),
            outbox_memory: self.outbox_memory.or(below.outbox_memory),
            worker_share: self.worker_share.or(below.worker_share),
            worker_niceness: self.worker_niceness.or(below.worker_niceness),
            shutdown_timeout: self.shutdown_timeout.or(below.shutdown_timeout),
            exit_timeout: self.exit_timeout.or(below.exit_timeout),
            console: self.console.or(below.console),
        }
    }

    /// What is said of a signal, by itself or of every one.
    pub(crate) fn signal(&self, signal: Signal) -> SignalSettings {
        let (own, every) = (self.signals.get(signal).clone(), &self.every);
        // A signal's own headers replace those of all; only code's are added to what is below it.
        let headers = own.headers.clone().or_else(|| every.headers.clone());
        SignalSettings { headers, ..own.over(every.clone()) }
    }
}

impl SignalSettings {
    fn over(self, below: Self) -> Self {
        Self {
            exporter: self.exporter.or(below.exporter),
            endpoint: self.endpoint.or(below.endpoint),
            protocol: self.protocol.or(below.protocol),
            headers: match (self.headers, below.headers) {
                (Some(over), Some(mut headers)) => {
                    headers.retain(|(name, _)| over.iter().all(|(other, _)| other != name));
                    headers.extend(over);
                    Some(headers)
                }
                (over, below) => over.or(below),
            },
            timeout: self.timeout.or(below.timeout),
            compression: self.compression.or(below.compression),
            insecure: self.insecure.or(below.insecure),
            certificate: self.certificate.or(below.certificate),
            client_certificate: self.client_certificate.or(below.client_certificate),
            client_key: self.client_key.or(below.client_key),
            delay: self.delay.or(below.delay),
            max_batch: self.max_batch.or(below.max_batch),
            limits: self.limits.over(below.limits),
            spooled: self.spooled.or(below.spooled),
            with_user: self.with_user.or(below.with_user),
        }
    }
}

impl LimitSettings {
    pub(crate) fn over(self, below: Self) -> Self {
        Self { count: self.count.or(below.count), length: self.length.or(below.length) }
    }
}
