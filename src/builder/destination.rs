//! Where each signal goes, and how: code over the signal's variables over the general ones over the defaults.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use super::Builder;
use crate::{
    delivery::{
        Compression, Credentials, LaneConfig, Protocol, Proxy,
        tls::{self, Identity, Tls},
    },
    env::{self, Address, SignalSettings, Warning},
    error::InitError,
    export::config::{Destination, Exporter, SpoolConfig},
    ledger::RecordKind,
};

/// What says where signals go.
impl Builder {
    /// The receiver, `http://localhost:4318` by default (`:4317` for gRPC). For HTTP each signal's path (`v1/logs`, …) is appended. `unix:/path` is a Unix socket, for either protocol.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Whether `http://localhost:4318` is meant where neither code nor environment names a receiver; it is by default. If not, nothing is sent then, and nothing waits to be: for programs that run on people's own machines, too.
    ///
    /// ```
    /// let telemetry = crumbtrail::builder(crumbtrail::service!()).with_default_endpoint(false).build()?;
    /// tracing::dispatcher::with_default(&telemetry.dispatch(), || tracing::error!("nobody is told"));
    /// assert!(telemetry.shutdown(std::time::Duration::from_secs(5)).is_ok(), "nothing was to be sent, so nothing is lost");
    /// # Ok::<(), crumbtrail::InitError>(())
    /// ```
    pub fn with_default_endpoint(mut self, used: bool) -> Self {
        self.default_endpoint = used;
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

    /// How requests are compressed; not at all by default. One whose feature is not built in is an [`InitError`].
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
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

    /// Whether Mozilla's root certificates, as they were when crumbtrail was built, are trusted beside the system's; not by default. For images that have none. What [`with_certificate`](Self::with_certificate) names is trusted alone.
    #[cfg(feature = "tls-bundled-roots")]
    pub fn with_bundled_roots(mut self, trusted: bool) -> Self {
        self.bundled_roots = trusted;
        self
    }

    /// Our own certificate chain and its key (PEM), for receivers that ask for one (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `_CLIENT_KEY`). Needs the `tls` feature.
    pub fn with_client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((chain_pem.into(), key_pem.into()));
        self
    }

    /// Headers that do not last, such as a token that is renewed: `provider` is asked before the first request, and again when a receiver has refused them (401, 403, `UNAUTHENTICATED`, `PERMISSION_DENIED`). They win over [`with_header`](Self::with_header)'s.
    ///
    /// It may block (it has a thread of its own while it is asked); what is to be sent waits for as long as
    /// [an attempt](Self::with_timeout). It may fail: then it is asked again after pauses that grow from a
    /// tenth of a second to three, and after a refusal from half a second to a minute. What is to be sent
    /// waits meanwhile, within its bounds of memory and age. One answer serves all signals; an error is said
    /// on stderr.
    ///
    /// ```
    /// let builder = crumbtrail::builder(crumbtrail::service!()).with_header_provider(|| {
    ///     let token = std::fs::read_to_string("/var/run/secrets/collector/token")?;
    ///     Ok(vec![("authorization".to_owned(), format!("Bearer {}", token.trim()))])
    /// });
    /// assert!(builder.build().is_ok());
    /// ```
    pub fn with_header_provider(
        mut self,
        provider: impl Fn() -> Result<Vec<(String, String)>, Box<dyn std::error::Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.credentials = Some(Credentials::new(provider));
        self
    }

    /// The HTTP proxy to go through, such as `http://user:password@proxy.internal:3128`, for OTLP over HTTP and over gRPC (by `CONNECT`). None by default: `HTTPS_PROXY` and its like are not heeded unless [asked for](Self::with_proxy_from_env).
    pub fn with_proxy(mut self, proxy: impl Into<String>) -> Self {
        self.proxy = Some(proxy.into());
        self
    }

    /// Whether the proxy is the one that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, but not for what `NO_PROXY` lists; small letters count, too); not by default: those variables are meant for the program's own requests, and a collector is mostly near. What the loopback interface has is not proxied. [`with_proxy`](Self::with_proxy) wins.
    pub fn with_proxy_from_env(mut self, heeded: bool) -> Self {
        self.proxy_from_env = heeded;
        self
    }

    /// Where logs go, and exceptions, which are log records (`OTEL_LOGS_EXPORTER`).
    pub fn with_logs_exporter(mut self, exporter: Exporter) -> Self {
        self.exporters[0] = Some(exporter);
        self
    }

    /// Where spans go (`OTEL_TRACES_EXPORTER`).
    pub fn with_traces_exporter(mut self, exporter: Exporter) -> Self {
        self.exporters[1] = Some(exporter);
        self
    }

    /// Where metrics go (`OTEL_METRICS_EXPORTER`).
    pub fn with_metrics_exporter(mut self, exporter: Exporter) -> Self {
        self.exporters[2] = Some(exporter);
        self
    }
}

/// What becomes of it.
impl Builder {
    pub(super) fn exporter(&self, index: usize, signal: &SignalSettings) -> Exporter {
        if self.settings.disabled {
            return Exporter::None;
        }
        let has_endpoint =
            self.default_endpoint || self.endpoint.is_some() || signal.endpoint.is_some() || self.settings.generic.endpoint.is_some();
        match self.exporters[index].or(signal.exporter).unwrap_or(Exporter::Otlp) {
            Exporter::Otlp if !has_endpoint => Exporter::None,
            exporter => exporter,
        }
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
        if let Some(protocol) = self.protocol {
            supported(protocol)?;
        }
        if let Some(compression) = self.compression {
            compression_supported(compression)?;
        }
        let asked = self.protocol.or(signal.protocol).or(generic.protocol).unwrap_or(default_protocol);
        // The other encoding goes to the same receiver; another protocol would go to a port where nobody speaks it.
        let protocol = if asked == Protocol::HttpJson && cfg!(all(feature = "http", not(feature = "json"))) {
            let variable = if signal.protocol.is_some() { infix } else { "" };
            let problem = "http/json is not built in (crumbtrail's feature \"json\"); http/protobuf is used";
            let warning = Warning::new(&format!("OTEL_EXPORTER_OTLP_{variable}PROTOCOL"), problem);
            warnings.extend(Some(warning).filter(|warning| !warnings.contains(warning)));
            Protocol::HttpProtobuf
        } else {
            asked
        };
        supported(protocol)?;
        let code = self.endpoint.as_deref().map(env::endpoint).transpose().map_err(|_| InitError::Endpoint)?;
        let (address, whole) = match (code, &signal.endpoint, &generic.endpoint) {
            (Some(code), ..) => (code, false),
            (None, Some(own), _) => (own.clone(), true),
            (None, None, Some(generic)) => (generic.clone(), false),
            (None, None, None) => {
                let port = if protocol == Protocol::Grpc { "http://localhost:4317" } else { "http://localhost:4318" };
                (Address { uri: Uri::from_static(port), has_scheme: true, socket: None }, false)
            }
        };
        let insecure = self.insecure || signal.insecure.or(generic.insecure).unwrap_or(false);
        let socket = address.socket.clone();
        let endpoint = match protocol {
            // The specification: without a scheme gRPC is secure, unless told otherwise.
            Protocol::Grpc if !address.has_scheme && !insecure => secure(&address.uri),
            Protocol::Grpc => address.uri,
            // A socket's address has no path of its own.
            _ if whole && socket.is_none() => address.uri,
            _ => appended(&address.uri, path),
        };
        let proxy = match &self.proxy {
            Some(proxy) => {
                let address = env::endpoint(proxy).map_err(|_| InitError::Proxy)?.uri;
                let (address, authorization) = without_credentials(&address);
                Some(Proxy { address, authorization })
            }
            None if self.proxy_from_env && socket.is_none() => {
                self.settings.proxies.clone().unwrap_or_else(env::Proxies::of_process).of(&endpoint)
            }
            None => None,
        };
        if endpoint.scheme_str() == Some("https") && cfg!(not(feature = "tls")) {
            return Err(InitError::Unsupported { what: "an https endpoint", feature: "tls" });
        }
        let mut headers = self.headers(signal)?;
        let (endpoint, credentials) = without_credentials(&endpoint);
        if let Some(credentials) = credentials.filter(|_| !headers.iter().any(|(name, _)| name == http::header::AUTHORIZATION)) {
            headers.push((http::header::AUTHORIZATION, credentials));
        }
        Ok(Destination::Otlp(Box::new(LaneConfig {
            protocol,
            endpoint,
            socket,
            headers,
            timeout: self.timeout.or(signal.timeout).or(generic.timeout).unwrap_or(Duration::from_secs(10)),
            compression: self.compression.or(signal.compression).or(generic.compression).unwrap_or_default(),
            tls: self.tls(signal, infix)?,
            proxy,
            credentials: self.credentials.clone(),
        })))
    }

    fn tls(&self, signal: &SignalSettings, infix: &str) -> Result<Tls, InitError> {
        let given = |what, problem: String| InitError::Tls { what, problem };
        if let Some(pem) = &self.authority {
            tls::check_certificates(pem).map_err(|problem| given("certificate", problem))?;
        }
        if let Some((chain, key)) = &self.identity {
            tls::check_certificates(chain).map_err(|problem| given("client certificate", problem))?;
            tls::check_key(key).map_err(|problem| given("client key", problem))?;
        }
        let generic = &self.settings.generic;
        // A file that cannot be used is no reason to trust others, nor to go without.
        let read = |own: &Option<PathBuf>,
                    general: &Option<PathBuf>,
                    (what, name): (&'static str, &str),
                    check: fn(&[u8]) -> Result<(), String>| {
            let (path, variable) = match (own, general) {
                (Some(own), _) => (own, format!("OTEL_EXPORTER_OTLP_{infix}{name}")),
                (None, Some(general)) => (general, format!("OTEL_EXPORTER_OTLP_{name}")),
                (None, None) => return Ok(None),
            };
            let content = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| check(&pem).map(|()| pem));
            content.map(Some).map_err(|problem| given(what, format!("{}, named by {variable}: {problem}", path.display())))
        };
        let authority = match &self.authority {
            Some(pem) => Some(pem.clone()),
            None => read(&signal.certificate, &generic.certificate, ("certificate", "CERTIFICATE"), tls::check_certificates)?,
        };
        let identity = match &self.identity {
            Some(identity) => Some(identity.clone()),
            None => {
                let of_chain = ("client certificate", "CLIENT_CERTIFICATE");
                let chain = read(&signal.client_certificate, &generic.client_certificate, of_chain, tls::check_certificates)?;
                let key = read(&signal.client_key, &generic.client_key, ("client key", "CLIENT_KEY"), tls::check_key)?;
                chain.zip(key)
            }
        };
        Ok(Tls {
            authority: authority.map(Arc::from),
            identity: identity.map(|(chain, key)| Identity { chain: chain.into(), key: key.into() }),
            #[cfg(feature = "tls-bundled-roots")]
            bundled_roots: self.bundled_roots,
        })
    }

    /// Only where exceptions are sent at all.
    pub(super) fn spool(&self, destinations: &[Destination; 4]) -> Option<SpoolConfig> {
        let path = self.state_dir.clone().or_else(|| self.settings.state_dir.clone())?;
        let [logs, spans, metrics] = self.spooled;
        let sent = matches!(destinations[RecordKind::Exceptions as usize], Destination::Otlp(_)) && !self.settings.disabled;
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

/// What it is called, and the feature it needs.
fn name_of(protocol: Protocol) -> (&'static str, &'static str) {
    match protocol {
        Protocol::HttpProtobuf => ("http/protobuf", "http"),
        Protocol::HttpJson => ("http/json", "json"),
        Protocol::Grpc => ("grpc", "grpc"),
    }
}

fn supported(protocol: Protocol) -> Result<(), InitError> {
    let is_built = match protocol {
        Protocol::HttpProtobuf => cfg!(feature = "http"),
        Protocol::HttpJson => cfg!(feature = "json"),
        Protocol::Grpc => cfg!(feature = "grpc"),
    };
    let (what, feature) = name_of(protocol);
    if is_built { Ok(()) } else { Err(InitError::Unsupported { what, feature }) }
}

fn compression_supported(compression: Compression) -> Result<(), InitError> {
    match compression {
        Compression::Gzip if cfg!(not(feature = "gzip")) => Err(InitError::Unsupported { what: "gzip", feature: "gzip" }),
        Compression::Zstd if cfg!(not(feature = "zstd")) => Err(InitError::Unsupported { what: "zstd", feature: "zstd" }),
        _ => Ok(()),
    }
}

/// An address without the credentials in it, and those as HTTP's Basic scheme has them.
fn without_credentials(endpoint: &Uri) -> (Uri, Option<HeaderValue>) {
    let Some((credentials, host)) = endpoint.authority().and_then(|authority| authority.as_str().rsplit_once('@')) else {
        return (endpoint.clone(), None);
    };
    let mut parts = endpoint.clone().into_parts();
    parts.authority = host.parse().ok();
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let pair = [decoded(user), b":".to_vec(), decoded(password)].concat();
    let value = HeaderValue::from_str(&format!("Basic {}", base64(&pair))).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    });
    (Uri::from_parts(parts).unwrap_or_else(|_| endpoint.clone()), value)
}

#[cfg(any(feature = "http", feature = "grpc"))]
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// There is nothing to send.
#[cfg(not(any(feature = "http", feature = "grpc")))]
fn base64(_: &[u8]) -> String {
    String::new()
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
    use crate::env::EnvVars;

    fn logs(variables: &[(&str, &str)], change: impl FnOnce(Builder) -> Builder) -> (LaneConfig, Vec<Warning>) {
        let builder = crate::builder(crate::service!()).with_env_vars(&EnvVars::from_iter(variables.iter().copied()));
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

    /// Report C12.
    #[test]
    fn a_certificate_that_cannot_be_read_is_an_error() {
        for (variable, what) in [("OTEL_EXPORTER_OTLP_CERTIFICATE", "certificate"), ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "client key")] {
            let environment = EnvVars::from_iter([(variable, "/nonexistent")]);
            let error = crate::builder(crate::service!()).with_env_vars(&environment).destinations(&mut Vec::new()).err();
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(what) && text.contains(variable) && text.contains("/nonexistent"), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_is_an_address_and_credentials_are_a_header() {
        let (config, _) = logs(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/otel.sock")], |builder| builder);
        assert_eq!((config.socket, config.endpoint.to_string()), (Some("/run/otel.sock".into()), "http://localhost/v1/logs".to_owned()));
        let (endpoint, header) = without_credentials(&Uri::from_static("http://ada:p%40ss@host:4317"));
        assert_eq!(endpoint, "http://host:4317/");
        #[cfg(feature = "grpc")]
        assert_eq!(header.unwrap(), "Basic YWRhOnBAc3M=");
        let _ = header;
    }

    /// Reports B7, 14.8.
    #[cfg(not(feature = "grpc"))]
    #[test]
    fn a_protocol_that_is_not_built_in_is_refused() {
        let environment = EnvVars::from_iter([("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        let by_variable = crate::builder(crate::service!()).with_env_vars(&environment);
        let by_code = crate::builder(crate::service!()).with_protocol(Protocol::Grpc);
        for builder in [by_variable, by_code] {
            let refused = builder.destinations(&mut Vec::new()).err();
            assert!(matches!(refused, Some(InitError::Unsupported { feature: "grpc", .. })));
        }
    }

    #[cfg(all(feature = "http", not(feature = "json")))]
    #[test]
    fn an_encoding_that_is_not_built_in_is_told_and_replaced() {
        let (config, warnings) = logs(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], |builder| builder);
        assert_eq!((config.protocol, warnings.len()), (Protocol::HttpProtobuf, 1), "{warnings:?}");
    }
}
