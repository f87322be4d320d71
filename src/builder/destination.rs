//! Where signals go, and how.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Builder, Mistake};
use crate::{
    config::{Compression, Endpoint, Exporter, Pem, Protocol, address},
    delivery::Credentials,
};

impl Builder {
    /// The receiver, `http://localhost:4318` by default (`:4317` for gRPC). For HTTP each signal's
    /// path (`v1/logs`, …) is appended. `unix:/path` is a Unix socket, for either protocol.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        // The last one counts.
        self.mistakes.retain(|mistake| !matches!(mistake, Mistake::Endpoint));
        match address(&endpoint.into()) {
            Ok(address) => self.code.every.endpoint = Some(Endpoint { address, is_whole: false }),
            Err(_) => self.mistakes.push(Mistake::Endpoint),
        }
        self
    }

    /// Whether `http://localhost:4318` is meant where neither code nor environment names a
    /// receiver; it is by default. If not, nothing is sent then, and nothing waits to be: for
    /// programs that run on people's own machines, too.
    ///
    /// ```
    /// let telemetry = crumbtrail::builder(crumbtrail::service!()).with_default_endpoint(false).build()?;
    /// tracing::dispatcher::with_default(&telemetry.dispatch(), || tracing::error!("nobody is told"));
    /// assert!(telemetry.shutdown(std::time::Duration::from_secs(5)).is_ok(), "nothing was to be sent, so nothing is lost");
    /// # Ok::<(), crumbtrail::InitError>(())
    /// ```
    pub fn with_default_endpoint(mut self, used: bool) -> Self {
        self.code.default_endpoint = Some(used);
        self
    }

    /// The wire protocol, HTTP with binary protobuf by default.
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        self.code.every.protocol = Some(protocol);
        self
    }

    /// A header (or gRPC metadata entry) of every request, such as an API key. Never shown by any
    /// `Debug`.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                let headers = self.code.every.headers.get_or_insert_default();
                headers.retain(|(other, _)| *other != name);
                headers.push((name, value));
            }
            _ => self.mistakes.push(Mistake::Header(name)),
        }
        self
    }

    /// The time for one attempt to send a request, 10 s by default. Zero: no limit.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.code.every.timeout = Some(timeout);
        self
    }

    /// How requests are compressed; not at all by default. One whose feature is not built in is an
    /// [`InitError`](crate::InitError).
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.code.every.compression = Some(compression);
        self
    }

    /// Lets gRPC to an endpoint that is written without a scheme (`collector:4317`) go without TLS
    /// (`OTEL_EXPORTER_OTLP_INSECURE`). Such an endpoint means https otherwise.
    pub fn with_insecure(mut self, insecure: bool) -> Self {
        self.code.every.insecure = Some(insecure);
        self
    }

    /// The certificates (PEM) to trust, instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    /// Needs the `tls` feature.
    pub fn with_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.code.every.certificate = Some(Pem::Given(pem.into().into()));
        self
    }

    /// Whether Mozilla's root certificates, as they were when crumbtrail was built, are trusted
    /// beside the system's; not by default. For images that have none. What
    /// [`with_certificate`](Self::with_certificate) names is trusted alone.
    #[cfg(feature = "tls-bundled-roots")]
    pub fn with_bundled_roots(mut self, trusted: bool) -> Self {
        self.code.bundled_roots = Some(trusted);
        self
    }

    /// Our own certificate chain and its key (PEM), for receivers that ask for one
    /// (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `_CLIENT_KEY`). Needs the `tls` feature.
    pub fn with_client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, key_pem: impl Into<Vec<u8>>) -> Self {
        self.code.every.client_certificate = Some(Pem::Given(chain_pem.into().into()));
        self.code.every.client_key = Some(Pem::Given(key_pem.into().into()));
        self
    }

    /// Headers that do not last, such as a token that is renewed: `provider` is asked before the
    /// first request, and again when a receiver has refused them (401, 403, `UNAUTHENTICATED`,
    /// `PERMISSION_DENIED`). They win over [`with_header`](Self::with_header)'s.
    ///
    /// It may block (it has a thread of its own while it is asked); what is to be sent waits for as
    /// long as [an attempt](Self::with_timeout). It may fail: then it is asked again after pauses
    /// that grow from a tenth of a second to three, and after a refusal from half a second to a
    /// minute. What is to be sent waits meanwhile, within its bounds of memory and age. One answer
    /// serves all signals; an error is said on stderr.
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

    /// The HTTP proxy to go through, such as `http://user:password@proxy.internal:3128`, for OTLP
    /// over HTTP and over gRPC (by `CONNECT`). None by default: `HTTPS_PROXY` and its like are not
    /// heeded unless [asked for](Self::with_proxy_from_env).
    pub fn with_proxy(mut self, proxy: impl Into<String>) -> Self {
        self.code.proxy = Some(proxy.into());
        self
    }

    /// Whether the proxy is the one that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY`, but not for what `NO_PROXY` lists; small letters count, too); not by default:
    /// those variables are meant for the program's own requests, and a collector is mostly near.
    /// What the loopback interface has is not proxied. [`with_proxy`](Self::with_proxy) wins.
    pub fn with_proxy_from_env(mut self, heeded: bool) -> Self {
        self.code.proxy_from_env = Some(heeded);
        self
    }

    /// Where logs go, and exceptions, which are log records (`OTEL_LOGS_EXPORTER`).
    pub fn with_logs_exporter(mut self, exporter: Exporter) -> Self {
        self.code.signals.logs.exporter = Some(exporter);
        self
    }

    /// Where spans go (`OTEL_TRACES_EXPORTER`).
    pub fn with_traces_exporter(mut self, exporter: Exporter) -> Self {
        self.code.signals.traces.exporter = Some(exporter);
        self
    }

    /// Where metrics go (`OTEL_METRICS_EXPORTER`).
    pub fn with_metrics_exporter(mut self, exporter: Exporter) -> Self {
        self.code.signals.metrics.exporter = Some(exporter);
        self
    }
}
