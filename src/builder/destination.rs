//! Where each signal goes, and how: code over the signal's variables over the general ones over the defaults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::{Builder, Exporter};
use crate::{
    delivery::{
        LaneConfig, Protocol, Proxy,
        tls::{self, Identity, Tls},
    },
    env::{self, Address, SignalSettings, Warning},
    error::InitError,
    export::worker::{Destination, SpoolConfig},
    ledger::Signal,
};

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
