//! Where each signal goes, and how.

use std::time::Duration;

use http::{HeaderValue, Uri};

use super::{Address, Exporter, Pem, Proxies, Settings, SignalSettings, address, per_signal::Signal};
use crate::{
    delivery::{
        Compression, LaneConfig, Protocol, Proxy,
        tls::{self, Identity, Tls},
    },
    error::InitError,
    export::config::Destination,
};

/// Where a signal goes, of which these settings are said.
///
/// # Errors
/// What is asked for cannot be.
pub(super) fn destination(
    settings: &Settings,
    signal: Signal,
    exporter: Exporter,
    proxies: Option<&Proxies>,
) -> Result<Destination, InitError> {
    match exporter {
        Exporter::Console => return Ok(Destination::Console),
        Exporter::None => return Ok(Destination::Nowhere),
        Exporter::Otlp => {}
    }
    let own = settings.signals.get(signal);
    let default = if cfg!(all(feature = "grpc", not(feature = "http"))) { Protocol::Grpc } else { Protocol::HttpProtobuf };
    let protocol = own.protocol.unwrap_or(default);
    let compression = own.compression.unwrap_or_default();
    supported(protocol)?;
    compression_supported(compression)?;
    let (address, is_whole) = match &own.endpoint {
        Some(endpoint) => (endpoint.address.clone(), endpoint.is_whole),
        None => {
            let port = if protocol == Protocol::Grpc { "http://localhost:4317" } else { "http://localhost:4318" };
            (Address { uri: Uri::from_static(port), has_scheme: true, socket: None }, false)
        }
    };
    let socket = address.socket.clone();
    let endpoint = match protocol {
        // The specification: without a scheme gRPC is secure, unless told otherwise.
        Protocol::Grpc if !address.has_scheme && !own.insecure.unwrap_or(false) => secure(&address.uri),
        Protocol::Grpc => address.uri,
        // A socket's address has no path of its own.
        _ if is_whole && socket.is_none() => address.uri,
        _ => appended(&address.uri, path(signal)),
    };
    if endpoint.scheme_str() == Some("https") && cfg!(not(feature = "tls")) {
        return Err(InitError::Unsupported { what: "an https endpoint", feature: "tls" });
    }
    let proxy = match &settings.proxy {
        Some(proxy) => {
            let address = self::address(proxy).map_err(|_| InitError::Proxy)?.uri;
            let (address, authorization) = without_credentials(&address);
            Some(Proxy { address, authorization })
        }
        None if settings.proxy_from_env == Some(true) && socket.is_none() => {
            proxies.cloned().unwrap_or_else(Proxies::of_process).of(&endpoint)
        }
        None => None,
    };
    let mut headers = own.headers.clone().unwrap_or_default();
    let (endpoint, credentials) = without_credentials(&endpoint);
    if let Some(credentials) = credentials.filter(|_| !headers.iter().any(|(name, _)| name == http::header::AUTHORIZATION)) {
        headers.push((http::header::AUTHORIZATION, credentials));
    }
    Ok(Destination::Otlp(Box::new(LaneConfig {
        protocol,
        endpoint,
        socket,
        headers,
        timeout: own.timeout.unwrap_or(Duration::from_secs(10)),
        compression,
        tls: tls(settings, own)?,
        proxy,
        credentials: None,
    })))
}

/// What is appended to an address that is meant for all signals.
fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "v1/logs",
        Signal::Traces => "v1/traces",
        Signal::Metrics => "v1/metrics",
    }
}

fn tls(
    #[cfg_attr(not(feature = "tls-bundled-roots"), expect(unused_variables))] settings: &Settings,
    own: &SignalSettings,
) -> Result<Tls, InitError> {
    let authority = own.certificate.as_ref().map(|pem| read(pem, "certificate", tls::check_certificates)).transpose()?;
    let chain = own.client_certificate.as_ref().map(|pem| read(pem, "client certificate", tls::check_certificates)).transpose()?;
    let key = own.client_key.as_ref().map(|pem| read(pem, "client key", tls::check_key)).transpose()?;
    Ok(Tls {
        authority,
        identity: chain.zip(key).map(|(chain, key)| Identity { chain, key }),
        #[cfg(feature = "tls-bundled-roots")]
        bundled_roots: settings.bundled_roots.unwrap_or(false),
    })
}

/// A file that cannot be used is no reason to trust others, nor to go without.
fn read(pem: &Pem, what: &'static str, check: fn(&[u8]) -> Result<(), String>) -> Result<std::sync::Arc<[u8]>, InitError> {
    match pem {
        Pem::Given(pem) => check(pem).map(|()| pem.clone()).map_err(|problem| InitError::Tls { what, problem }),
        Pem::File { path, named_by } => {
            let content = std::fs::read(path).map_err(|error| error.to_string()).and_then(|pem| check(&pem).map(|()| pem));
            let problem = |problem| InitError::Tls { what, problem: format!("{}, named by {named_by}: {problem}", path.display()) };
            content.map(Into::into).map_err(problem)
        }
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
    use crate::{Builder, config::EnvVars};

    fn builder(variables: &[(&str, &str)]) -> Builder {
        crate::builder(crate::service!()).with_env_vars(&EnvVars::from_iter(variables.iter().copied()))
    }

    fn logs(variables: &[(&str, &str)], change: impl FnOnce(Builder) -> Builder) -> LaneConfig {
        match change(builder(variables)).config().expect("a configuration").worker.destinations.logs {
            Destination::Otlp(config) => *config,
            _ => panic!("logs go elsewhere"),
        }
    }

    #[test]
    fn endpoints_are_completed_as_the_specification_says() {
        let endpoint = |variables: &[(&str, &str)]| logs(variables, |builder| builder).endpoint.to_string();
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
        let endpoint = |variables: &[(&str, &str)]| logs(&[&[grpc], variables].concat(), |builder| builder).endpoint;
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
        let config = logs(&variables, |builder| builder.with_header("API-Key", "code"));
        let mut headers: Vec<_> = config.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(headers, [("api-key", "code"), ("team", "a b")]);
        assert!(!format!("{config:?}").contains("code"));
    }

    /// Report C12.
    #[test]
    fn a_certificate_that_cannot_be_read_is_an_error() {
        for (variable, what) in [("OTEL_EXPORTER_OTLP_CERTIFICATE", "certificate"), ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", "client key")] {
            let error = builder(&[(variable, "/nonexistent")]).config().err();
            let text = error.map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(what) && text.contains(variable) && text.contains("/nonexistent"), "{text}");
        }
    }

    #[test]
    fn a_unix_socket_is_an_address_and_credentials_are_a_header() {
        let config = logs(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/otel.sock")], |builder| builder);
        assert_eq!((config.socket, config.endpoint.to_string()), (Some("/run/otel.sock".into()), "http://localhost/v1/logs".to_owned()));
        let (endpoint, header) = without_credentials(&Uri::from_static("http://ada:p%40ss@host:4317"));
        assert_eq!(endpoint, "http://host:4317/");
        #[cfg(feature = "grpc")]
        assert_eq!(header.unwrap(), "Basic YWRhOnBAc3M=");
        let _ = header;
    }

    /// Reports B7, 14.8. Whoever says it: not a silent fallback, and not an hour of retries.
    #[test]
    fn what_is_not_built_in_is_refused() {
        let cases = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "grpc", cfg!(feature = "grpc")),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", "json", cfg!(feature = "json")),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "gzip", cfg!(feature = "gzip")),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", "zstd", cfg!(feature = "zstd")),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://collector", "tls", cfg!(feature = "tls")),
        ];
        for (variable, value, needed, is_built) in cases {
            match builder(&[(variable, value)]).config() {
                Err(InitError::Unsupported { feature, .. }) => assert!(feature == needed && !is_built, "{variable}={value}: {feature}"),
                other => assert!(is_built && other.is_ok(), "{variable}={value}"),
            }
        }
        let by_code = crate::builder(crate::service!()).with_protocol(Protocol::Grpc).config();
        assert_eq!(by_code.is_ok(), cfg!(feature = "grpc"));
    }

    #[cfg(feature = "tls-bundled-roots")]
    #[test]
    fn bundled_roots_are_off_by_default() {
        assert!(!logs(&[], |builder| builder).tls.bundled_roots);
        assert!(logs(&[], |builder| builder.with_bundled_roots(true)).tls.bundled_roots);
    }

    #[test]
    fn a_bad_address_or_header_in_code_counts_where_something_is_sent() {
        let nowhere = [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")];
        let bad = |variables: &[(&str, &str)]| builder(variables).with_endpoint("ftp://collector");
        assert!(matches!(bad(&[]).config(), Err(InitError::Endpoint)));
        assert!(bad(&nowhere).config().is_ok());
        assert!(bad(&nowhere[..2]).config().is_err(), "metrics are sent");
        assert!(bad(&[]).with_endpoint("http://collector:4318").config().is_ok(), "the last one counts");
        assert!(matches!(builder(&[]).with_header("no name", "x").config(), Err(InitError::Header { .. })));
        assert!(builder(&nowhere).with_header("no name", "x").config().is_ok());
    }

    /// What code says of all signals wins over what the environment says of one.
    #[test]
    fn code_wins_over_a_signals_own_variable() {
        let variables = [("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://variable:1/mine"), ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "7")];
        let config = logs(&variables, |builder| builder.with_endpoint("http://code:2"));
        assert_eq!((config.endpoint.to_string(), config.timeout), ("http://code:2/v1/logs".to_owned(), Duration::from_millis(7)));
    }
}
