//! Where each signal goes, and how: code over the signal's variables over the general ones over the defaults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{Builder, Exporter};
use crate::{
    delivery::{
        Compression, LaneConfig, Protocol, Proxy,
        tls::{self, Identity, Tls},
    },
    env::{self, Address, SignalSettings, Warning},
    error::InitError,
    export::config::{Destination, SpoolConfig},
    ledger::Signal,
};

/// What says where signals go.
impl Builder {
    /// The receiver, `http://localhost:4318` by default (`:4317` for gRPC). For HTTP each signal's path (`v1/logs`, …) is appended.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// The wire protocol, HTTP with binary protobuf by default.
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = Some(protocol);
        self
    }

    /// A header (or gRPC metadata entry) of every request, such as an API key. Never shown by any `Debug`.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The time for one attempt to send a request, 10 s by default. Zero: no limit.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How requests are compressed; not at all by default. One whose feature is not built in is not used.
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(match compression {
            Compression::Gzip if cfg!(not(feature = "gzip")) => Compression::None,
            Compression::Zstd if cfg!(not(feature = "zstd")) => Compression::None,
            other => other,
        });
        self
    }

    /// Lets gRPC to an endpoint that is written without a scheme (`collector:4317`) go without TLS (`OTEL_EXPORTER_OTLP_INSECURE`). Such an endpoint means https otherwise.
    pub fn with_insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// The certificates (PEM) to trust, instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`). Needs the `tls` feature.
    pub fn with_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Our own certificate chain and its key (PEM), for receivers that ask for one (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `_CLIENT_KEY`). Needs the `tls` feature.
    pub fn with_client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain_pem.into(), key_pem.into()));
        self
    }

    /// The HTTP proxy to go through, such as `http://user:password@proxy.internal:3128`. None by default: `HTTP_PROXY` and its like are not heeded. For OTLP over HTTP.
    pub fn with_proxy(mut self, proxy: impl Into<String>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// Where undelivered exceptions wait on disk (`CRUMBTRAIL_STATE_DIR`, or a directory `crumbtrail` in systemd's `$STATE_DIRECTORY`). Without one they wait in memory and end with the process.
    ///
    /// Several processes may share a directory; each has its own part of it, and takes over what a process that is gone has left. The directory is made if it is not there (mode 0700). It must belong to this user, be writable to nobody else, and not be a symbolic link; otherwise it is not used, which is said once. Needs the `spool` feature, which is on by default, and Unix.
    pub fn with_state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// How much may wait on disk, of each signal, in bytes; 64 MiB by default, 1 MiB at least. The oldest makes room, and is counted.
    pub fn with_spool_limit(mut self, bytes: u64) -> Self {
        self.spool_limits.bytes = bytes.max(1 << 20);
        self
    }

    /// How long an undelivered record may wait on disk; 72 h by default.
    pub fn with_spool_age(mut self, age: Duration) -> Self {
        self.spool_limits.age = age;
        self
    }

    /// Whether another signal than exceptions goes to disk, too, when it cannot be delivered; none does by default. Logs and spans are written a batch at a time, from the first failure on and at shutdown.
    pub fn with_spooled(mut self, signal: Signal, spooled: bool) -> Self {
        if let Some(index) = (signal as usize).checked_sub(1) {
            self.spooled[index] = spooled;
        }
        self
    }

    /// Where a signal goes. [`Signal::Exceptions`] and [`Signal::Logs`] are the logs of OpenTelemetry and go together.
    pub fn with_exporter(mut self, signal: Signal, exporter: Exporter) -> Self {
        self.exporters[match signal {
            Signal::Exceptions | Signal::Logs => 0,
            Signal::Spans => 1,
            Signal::Metrics => 2,
        }] = Some(exporter);
        self
    }
}

/// What becomes of it.
impl Builder {
    pub(super) fn exporter(&self, index: usize, signal: &SignalSettings) -> Exporter {
        if self.settings.disabled { Exporter::None } else { self.exporters[index].or(signal.exporter).unwrap_or(Exporter::Otlp) }
    }

    /// Exceptions, logs, spans, metrics.
    pub(super) fn destinations(&self, warnings: &mut Vec<Warning>) -> Result<[Destination; 4], InitError> {
        let logs = self.destination(0, &self.settings.logs, ("v1/logs", "LOGS_"), warnings)?;
        let spans = self.destination(1, &self.settings.traces, ("v1/traces", "TRACES_"), warnings)?;
        let metrics = self.destination(2, &self.settings.metrics, ("v1/metrics", "METRICS_"), warnings)?;
        Ok([logs.clone(), logs, spans, metrics])
    }

    /// Code over the signal's variables over the general ones over the defaults.
    fn destination(
        &self,
        index: usize,
        signal: &SignalSettings,
        (path, infix): (&str, &str),
        warnings: &mut Vec<Warning>,
    ) -> Result<Destination, InitError> {
        match self.exporter(index, signal) {
            Exporter::Console => return Ok(Destination::Console),
            Exporter::None => return Ok(Destination::Nowhere),
            Exporter::Otlp => {}
        }
        let generic = &self.settings.generic;
        let default_protocol = if cfg!(all(feature = "grpc", not(feature = "http"))) { Protocol::Grpc } else { Protocol::HttpProtobuf };
        let protocol = self.protocol.or(signal.protocol).or(generic.protocol).unwrap_or(default_protocol);
        let code = self.endpoint.as_deref().map(env::endpoint).transpose().map_err(|_| InitError::Endpoint)?;
        let (address, whole) = match (code, &signal.endpoint, &generic.endpoint) {
            (Some(code), ..) => (code, false),
            (None, Some(own), _) => (own.clone(), true),
            (None, None, Some(generic)) => (generic.clone(), false),
            (None, None, None) => {
                let port = if protocol == Protocol::Grpc { "http://localhost:4317" } else { "http://localhost:4318" };
                (Address { uri: Uri::from_static(port), has_scheme: true }, false)
            }
        };
        let insecure = self.insecure || signal.insecure.or(generic.insecure).unwrap_or(false);
        let endpoint = match protocol {
            // The specification: without a scheme gRPC is secure, unless told otherwise.
            Protocol::Grpc if !address.has_scheme && !insecure => secure(&address.uri),
            Protocol::Grpc => address.uri,
            _ if whole => address.uri,
            _ => appended(&address.uri, path),
        };
        let proxy = match &self.proxy {
            Some(proxy) => Some(Proxy(env::endpoint(proxy).map_err(|_| InitError::Proxy)?.uri)),
            None => None,
        };
        Ok(Destination::Otlp(Box::new(LaneConfig {
            protocol,
            endpoint,
            headers: self.headers(signal)?,
            timeout: self.timeout.or(signal.timeout).or(generic.timeout).unwrap_or(Duration::from_secs(10)),
            compression: self.compression.or(signal.compression).or(generic.compression).unwrap_or_default(),
            tls: self.tls(signal, infix, warnings)?,
            proxy,
        })))
    }

    fn tls(&self, signal: &SignalSettings, infix: &str, warnings: &mut Vec<Warning>) -> Result<Tls, InitError> {
        let given = |what, problem: String| InitError::Tls { what, problem };
        if let Some(pem) = &self.authority {
            tls::check_certificates(pem).map_err(|problem| given("certificate", problem))?;
        }
        if let Some((chain, key)) = &self.identity {
            tls::check_certificates(chain).map_err(|problem| given("client certificate", problem))?;
            tls::check_key(key).map_err(|problem| given("client key", problem))?;
        }
        let generic = &self.settings.generic;
        // A file that cannot be used is as if it had not been named.
        let mut read = |own: &Option<PathBuf>, general: &Option<PathBuf>, name: &str, check: fn(&[u8]) -> Result<(), String>| {
            let (path, variable) = match (own, general) {
                (Some(own), _) => (own, format!("OTEL_EXPORTER_OTLP_{infix}{name}")),
                (None, general) => (general.as_ref()?, format!("OTEL_EXPORTER_OTLP_{name}")),
            };
            let content = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| check(&pem).map(|()| pem));
            let warning = |problem: String| Warning::new(&variable, &format!("{}: {problem}; it is ignored", path.display()));
            content.map_err(|problem| warnings.extend(Some(warning(problem)).filter(|warning| !warnings.contains(warning)))).ok()
        };
        let authority = match &self.authority {
            Some(pem) => Some(pem.clone()),
            None => read(&signal.certificate, &generic.certificate, "CERTIFICATE", tls::check_certificates),
        };
        let identity = match &self.identity {
            Some(identity) => Some(identity.clone()),
            None => {
                let chain = read(&signal.client_certificate, &generic.client_certificate, "CLIENT_CERTIFICATE", tls::check_certificates);
                let key = read(&signal.client_key, &generic.client_key, "CLIENT_KEY", tls::check_key);
                chain.zip(key)
            }
        };
        Ok(Tls {
            authority: authority.map(Arc::from),
            identity: identity.map(|(chain, key)| Identity { chain: chain.into(), key: key.into() }),
        })
    }

    /// Only where exceptions are sent at all.
    pub(super) fn spool(&self, destinations: &[Destination; 4]) -> Option<SpoolConfig> {
        let path = self.state_dir.clone().or_else(|| self.settings.state_dir.clone())?;
        let [logs, spans, metrics] = self.spooled;
        let sent = matches!(destinations[Signal::Exceptions as usize], Destination::Otlp(_)) && !self.settings.disabled;
        sent.then_some(SpoolConfig { path, limits: self.spool_limits, signals: [true, logs, spans, metrics] })
    }

    fn headers(&self, signal: &SignalSettings) -> Result<Vec<(HeaderName, HeaderValue)>, InitError> {
        let mut headers = signal.headers.clone().or_else(|| self.settings.generic.headers.clone()).unwrap_or_default();
        for (name, value) in &self.headers {
            let invalid = || InitError::Header { name: name.clone() };
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.retain(|(other, _)| *other != parsed);
            headers.push((parsed, value));
        }
        Ok(headers)
    }
}

/// `path` behind the endpoint's own path, as the specification wants it for the general endpoint.
fn appended(endpoint: &Uri, path: &str) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    let base = endpoint.path().trim_end_matches('/');
    let joined = match endpoint.query() {
        Some(query) => format!("{base}/{path}?{query}"),
        None => format!("{base}/{path}"),
    };
    parts.path_and_query = joined.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

/// The same address, with TLS.
fn secure(endpoint: &Uri) -> Uri {
    let mut parts = endpoint.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTPS);
    Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Environment;

    fn logs(variables: &[(&str, &str)], change: impl FnOnce(Builder) -> Builder) -> (LaneConfig, Vec<Warning>) {
        let builder = crate::builder(crate::service!()).from_environment(&Environment::from_iter(variables.iter().copied()));
        let mut warnings = Vec::new();
        match change(builder).destinations(&mut warnings).expect("destinations") {
            [_, Destination::Otlp(config), _, _] => (*config, warnings),
            _ => panic!("logs go elsewhere"),
        }
    }

    #[test]
    fn endpoints_are_completed_as_the_specification_says() {
        let endpoint = |variables: &[(&str, &str)]| logs(variables, |builder| builder).0.endpoint.to_string();
        let (general, own) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT");
        assert_eq!(endpoint(&[(general, "http://a:1/base/")]), "http://a:1/base/v1/logs");
        assert_eq!(endpoint(&[(general, "http://a:1"), (own, "http://b:2/mine")]), "http://b:2/mine", "a signal's own is used as it is");
        assert_eq!(endpoint(&[(own, "http://b:2")]), "http://b:2/");
        assert_eq!(endpoint(&[]), "http://localhost:4318/v1/logs");
    }

    #[cfg(feature = "grpc")]
    #[test]
    fn grpc_without_a_scheme_is_secure_unless_told_otherwise() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let endpoint = |variables: &[(&str, &str)]| logs(&[&[grpc], variables].concat(), |builder| builder).0.endpoint;
        let schemeless = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
        assert_eq!(endpoint(&[schemeless]), "https://collector:4317");
        assert_eq!(endpoint(&[schemeless, ("OTEL_EXPORTER_OTLP_INSECURE", "true")]), "http://collector:4317");
        assert_eq!(endpoint(&[schemeless, ("OTEL_EXPORTER_OTLP_LOGS_INSECURE", "TRUE")]), "http://collector:4317");
        let http = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        assert_eq!(endpoint(&[http]), "http://collector:4317", "a scheme decides");
    }

    #[test]
    fn headers_from_code_win() {
        let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=env,team=a%20b")];
        let (config, _) = logs(&variables, |builder| builder.with_header("API-Key", "code"));
        let mut headers: Vec<_> = config.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(headers, [("api-key", "code"), ("team", "a b")]);
        assert!(!format!("{config:?}").contains("code"));
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_said_once_and_ignored() {
        let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent"), ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "/dev/null")];
        let (config, warnings) = logs(&variables, |builder| builder);
        assert!(config.tls.authority.is_none() && config.tls.identity.is_none());
        let mut variables: Vec<_> = warnings.iter().map(Warning::variable).collect();
        variables.sort_unstable();
        assert_eq!(
            variables,
            ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY"],
            "the general one once for three signals"
        );
    }
}
