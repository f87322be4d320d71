//! The environment, as data: what the OpenTelemetry variables say, without touching the process. A bad value gives one [`Warning`] and the default, never a failure.

mod platform;
mod proxies;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use self::proxies::Proxies;
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use tracing_subscriber::filter::Targets;

use crate::{
    console::Console,
    delivery::{Compression, Protocol},
    export::config::Exporter,
    filter::Filter,
    metrics::MetricTemporality,
    propagation::{Propagator, Propagators},
    sampling::Sampler,
};

/// Environment variables, copied.
///
/// ```
/// use crumbtrail::{config::EnvVars, service};
///
/// let environment = EnvVars::from_iter([("OTEL_TRACES_SAMPLER", "sometimes")]);
/// let telemetry = crumbtrail::builder(service!()).with_env_vars(&environment).build()?;
/// assert_eq!(telemetry.warnings()[0].variable(), "OTEL_TRACES_SAMPLER");
/// # Ok::<(), crumbtrail::InitError>(())
/// ```
#[derive(Clone, Default)]
pub struct EnvVars(BTreeMap<String, OsString>);

impl EnvVars {
    /// Those of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }
}

impl<K: Into<String>, V: Into<OsString>> FromIterator<(K, V)> for EnvVars {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for EnvVars {
    /// Names only: values hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A variable that could not be used. Says what is wrong and what is done instead; never shows a value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    variable: String,
    problem: String,
}

impl Warning {
    pub(crate) fn new(variable: &str, problem: &str) -> Self {
        Self { variable: variable.to_owned(), problem: problem.to_owned() }
    }

    /// The variable's name.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.problem)
    }
}

/// One signal's exporter variables.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct SignalSettings {
    pub(crate) exporter: Option<Exporter>,
    /// To be used as it is; the generic endpoint gets the signal's path appended.
    pub(crate) endpoint: Option<Address>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) headers: Option<Vec<(HeaderName, HeaderValue)>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) compression: Option<Compression>,
    /// Whether gRPC to an address without a scheme goes without TLS.
    pub(crate) insecure: Option<bool>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

/// An endpoint, and whether it was written with a scheme.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    /// Without a scheme it is http here.
    pub(crate) uri: Uri,
    pub(crate) has_scheme: bool,
    /// A Unix socket's path; then the URI only names a host.
    pub(crate) socket: Option<PathBuf>,
}

/// Counts and lengths; `None` is the default.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitSettings {
    pub(crate) count: Option<usize>,
    pub(crate) length: Option<usize>,
}

impl LimitSettings {
    /// Each of these, else of the others.
    pub(crate) fn or(self, others: Self) -> Self {
        Self { count: self.count.or(others.count), length: self.length.or(others.length) }
    }
}

/// Everything the environment says that is of use here.
#[derive(Clone, Default)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Settings {
    pub(crate) disabled: bool,
    pub(crate) service_name: Option<String>,
    /// Where it runs.
    pub(crate) platform: Vec<(String, String)>,
    pub(crate) resource: Vec<(String, String)>,
    pub(crate) revision: Option<String>,
    pub(crate) generic: SignalSettings,
    pub(crate) traces: SignalSettings,
    pub(crate) metrics: SignalSettings,
    pub(crate) logs: SignalSettings,
    pub(crate) sampler: Option<Sampler>,
    pub(crate) propagators: Option<Propagators>,
    pub(crate) metric_interval: Option<Duration>,
    pub(crate) temporality: Option<MetricTemporality>,
    pub(crate) exponential_histograms: Option<bool>,
    pub(crate) span_delay: Option<Duration>,
    pub(crate) log_delay: Option<Duration>,
    pub(crate) span_batch: Option<u64>,
    pub(crate) log_batch: Option<u64>,
    pub(crate) span_limits: LimitSettings,
    pub(crate) log_limits: LimitSettings,
    pub(crate) span_events: Option<usize>,
    pub(crate) span_links: Option<usize>,
    pub(crate) exception_span_events: Option<bool>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) console: Option<Console>,
    pub(crate) filters: Vec<(Filter, Targets)>,
    /// `None`: no environment was read.
    pub(crate) proxies: Option<Proxies>,
    pub(crate) warnings: Vec<Warning>,
    /// Variables of OpenTelemetry's that are set, and mean nothing here.
    pub(crate) unused: Vec<&'static str>,
}

/// Variables that the specification knows and that have no meaning here, as docs/ENVIRONMENT.md says.
pub(crate) const UNUSED: [&str; 14] = [
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_CONFIG_FILE",
    "OTEL_ENTITIES",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_EXPORTER_PROMETHEUS_HOST",
    "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOG_LEVEL",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_METRIC_EXPORT_TIMEOUT",
];

impl Settings {
    /// Reads the environment (OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration").
    pub(crate) fn read(environment: &EnvVars) -> Self {
        let mut reader = Reader { environment, warnings: Vec::new() };
        let mut settings = Self {
            disabled: reader.boolean("OTEL_SDK_DISABLED").unwrap_or(false),
            service_name: reader.text("OTEL_SERVICE_NAME"),
            platform: {
                let detectors = reader.parsed("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", platform::parse).unwrap_or_default();
                platform::detect(environment, Path::new("/"), detectors)
            },
            resource: reader.parsed("OTEL_RESOURCE_ATTRIBUTES", resource_attributes).unwrap_or_default(),
            revision: reader.text("GIT_COMMIT_SHA").or_else(|| reader.text("VCS_REF")),
            sampler: sampler(&mut reader),
            propagators: propagators(&mut reader),
            metric_interval: reader.parsed("OTEL_METRIC_EXPORT_INTERVAL", |text| positive(text).map(Duration::from_millis)),
            temporality: reader.parsed("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality),
            exponential_histograms: reader.parsed("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", histogram_aggregation),
            span_delay: reader.duration("OTEL_BSP_SCHEDULE_DELAY"),
            log_delay: reader.duration("OTEL_BLRP_SCHEDULE_DELAY"),
            span_batch: reader.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", positive),
            log_batch: reader.parsed("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", positive),
            span_limits: reader.limits("OTEL_SPAN_ATTRIBUTE"),
            log_limits: reader.limits("OTEL_LOGRECORD_ATTRIBUTE"),
            span_events: reader.count("OTEL_SPAN_EVENT_COUNT_LIMIT"),
            span_links: reader.count("OTEL_SPAN_LINK_COUNT_LIMIT"),
            state_dir: state_dir(environment),
            console: reader.parsed("CRUMBTRAIL_CONSOLE", crate::console::parse),
            filters: filters(&mut reader),
            proxies: Some(Proxies::read(environment)),
            exception_span_events: reader.parsed("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", exception_signal),
            ..Self::default()
        };
        settings.generic = reader.signal("OTEL_EXPORTER_OTLP_", None);
        settings.traces = reader.signal("OTEL_EXPORTER_OTLP_TRACES_", Some("OTEL_TRACES_EXPORTER"));
        settings.metrics = reader.signal("OTEL_EXPORTER_OTLP_METRICS_", Some("OTEL_METRICS_EXPORTER"));
        settings.logs = reader.signal("OTEL_EXPORTER_OTLP_LOGS_", Some("OTEL_LOGS_EXPORTER"));
        settings.warnings = reader.warnings;
        settings.unused = UNUSED.into_iter().filter(|name| environment.0.get(*name).is_some_and(|value| !value.is_empty())).collect();
        settings
    }
}

/// Looks variables up and notes what is wrong with them.
struct Reader<'a> {
    environment: &'a EnvVars,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    /// Empty is unset.
    fn text(&mut self, name: &str) -> Option<String> {
        let value = self.environment.0.get(name)?;
        let Some(text) = value.to_str() else {
            self.warn(name, "not valid UTF-8; ignored");
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|problem| self.warn(name, &problem)).ok()
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        if !text.eq_ignore_ascii_case("true") && !text.eq_ignore_ascii_case("false") {
            self.warn(name, "neither true nor false; taken as false");
        }
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        self.parsed(name, |text| integer(text).map(Duration::from_millis))
    }

    fn count(&mut self, name: &str) -> Option<usize> {
        self.parsed(name, |text| integer(text).map(|count| count as usize))
    }

    /// The specific limit, else the general one.
    fn limits(&mut self, prefix: &str) -> LimitSettings {
        let mut either = |specific: &str, general: &str| self.count(&format!("{prefix}{specific}")).or_else(|| self.count(general));
        LimitSettings {
            count: either("_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
            length: either("_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        }
    }

    fn signal(&mut self, prefix: &str, exporter: Option<&str>) -> SignalSettings {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        let protocol = self.parsed(&name("PROTOCOL"), protocol);
        SignalSettings {
            exporter: exporter.and_then(|variable| self.parsed(variable, exporter_name)),
            endpoint: self.parsed(&name("ENDPOINT"), endpoint),
            protocol,
            headers: self.parsed(&name("HEADERS"), headers),
            timeout: self.duration(&name("TIMEOUT")),
            compression: self.parsed(&name("COMPRESSION"), compression),
            insecure: self.boolean(&name("INSECURE")),
            certificate: self.path(&name("CERTIFICATE")),
            client_certificate: self.path(&name("CLIENT_CERTIFICATE")),
            client_key: self.path(&name("CLIENT_KEY")),
        }
    }

    /// A path is not text: it need not be UTF-8.
    fn path(&self, name: &str) -> Option<PathBuf> {
        self.environment.0.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn warn(&mut self, variable: &str, problem: &str) {
        // A general variable is looked up for several signals; one word about it is enough.
        let warning = Warning::new(variable, problem);
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// A filter each, as `RUST_LOG` has it, but without spans and fields.
fn filters(reader: &mut Reader<'_>) -> Vec<(Filter, Targets)> {
    let variables = [
        ("CRUMBTRAIL_EXCEPTIONS", Filter::Exceptions),
        ("CRUMBTRAIL_LOGS", Filter::Logs),
        ("CRUMBTRAIL_SPANS", Filter::Spans),
        ("CRUMBTRAIL_BREADCRUMBS", Filter::Breadcrumbs),
    ];
    let filter =
        |text: &str| text.parse().map_err(|error| format!("{error}; expected something like info,my_crate=debug; the default is used"));
    variables.into_iter().filter_map(|(name, of)| Some((of, reader.parsed(name, filter)?))).collect()
}

/// Ours, or a directory in the first that systemd has made for the service (`StateDirectory=`).
fn state_dir(environment: &EnvVars) -> Option<PathBuf> {
    let given = |name: &str| environment.0.get(name).filter(|value| !value.is_empty());
    let ours = given("CRUMBTRAIL_STATE_DIR").map(PathBuf::from);
    ours.or_else(|| Some(std::env::split_paths(given("STATE_DIRECTORY")?).next()?.join("crumbtrail")))
}

/// 0 … 2³¹ − 1.
fn integer(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) if (0..=i64::from(i32::MAX)).contains(&number) => Ok(number as u64),
        _ => Err(format!("{text:?} is not a whole number from 0 to {}; the default is used", i32::MAX)),
    }
}

fn positive(text: &str) -> Result<u64, String> {
    integer(text).and_then(|number| if number == 0 { Err("0 is too small; the default is used".to_owned()) } else { Ok(number) })
}

/// `key=value,key=value`, percent-encoded; any error discards the whole value. A comma too many is none.
fn resource_attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or("a part is not key=value")?;
            let (key, value) = (decoded(key.trim())?, decoded(value.trim())?);
            if key.is_empty() { Err("a key is empty") } else { Ok((key, value)) }
        })
        .collect::<Result<_, &str>>()
        .map_err(|problem| format!("{problem}; the whole variable is ignored"))
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let broken = text
        .match_indices('%')
        .any(|(at, _)| !text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if broken {
        return Err("a percent sign is not followed by two hex digits");
    }
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| "a percent-encoded part is not UTF-8")
}

fn sampler(reader: &mut Reader<'_>) -> Option<Sampler> {
    let name = reader.text("OTEL_TRACES_SAMPLER")?.to_ascii_lowercase();
    let ratio = |reader: &mut Reader<'_>| {
        let ratio = reader.parsed("OTEL_TRACES_SAMPLER_ARG", |text| match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err(format!("{text:?} is not a number from 0 to 1; 1 is used")),
        });
        Sampler::ratio(ratio.unwrap_or(1.0))
    };
    Some(match name.as_str() {
        "always_on" => Sampler::always_on(),
        "always_off" => Sampler::always_off(),
        "traceidratio" => ratio(reader),
        "parentbased_always_on" => Sampler::always_on().parent_based(),
        "parentbased_always_off" => Sampler::always_off().parent_based(),
        "parentbased_traceidratio" => ratio(reader).parent_based(),
        other => {
            reader.warn("OTEL_TRACES_SAMPLER", &format!("{other:?} is not a sampler known here; parentbased_always_on is used"));
            return None;
        }
    })
}

/// Known ones; each unknown one is told. `none` alone is none at all.
fn propagators(reader: &mut Reader<'_>) -> Option<Propagators> {
    let text = reader.text("OTEL_PROPAGATORS")?.to_ascii_lowercase();
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names == ["none"] {
        return Some(Propagators::NONE);
    }
    for name in names.iter().filter(|name| Propagator::named(name).is_none()) {
        reader.warn(
            "OTEL_PROPAGATORS",
            &format!("{name:?} is not a propagator known here (tracecontext, baggage, b3, b3multi, jaeger, none); ignored"),
        );
    }
    let known: Vec<Propagator> = names.iter().filter_map(|name| Propagator::named(name)).collect();
    (!known.is_empty()).then(|| known.into_iter().collect())
}

fn temporality(text: &str) -> Result<MetricTemporality, String> {
    match text.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(MetricTemporality::Cumulative),
        "delta" => Ok(MetricTemporality::Delta),
        "lowmemory" => Ok(MetricTemporality::LowMemory),
        _ => Err(format!("{text:?} is none of cumulative, delta, lowmemory; cumulative is used")),
    }
}

/// Whether it is the exponential one.
fn histogram_aggregation(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(false),
        "base2_exponential_bucket_histogram" => Ok(true),
        _ => Err(format!("{text:?} is neither explicit_bucket_histogram nor base2_exponential_bucket_histogram; the first is used")),
    }
}

fn exception_signal(text: &str) -> Result<bool, String> {
    match text {
        "logs" => Ok(false),
        "logs/dup" => Ok(true),
        other => Err(format!("{other:?} is neither logs nor logs/dup; exceptions are sent as logs and as span events")),
    }
}

fn exporter_name(text: &str) -> Result<Exporter, String> {
    match text.to_ascii_lowercase().as_str() {
        "otlp" => Ok(Exporter::Otlp),
        "console" => Ok(Exporter::Console),
        "none" => Ok(Exporter::None),
        other => Err(format!("{other:?} is not an exporter known here (otlp, console, none); otlp is used")),
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        // Whether it is built in is looked at where it is used.
        "http/json" => Ok(Protocol::HttpJson),
        "grpc" => Ok(Protocol::Grpc),
        other => Err(format!("{other:?} is not a protocol known here (http/protobuf, http/json, grpc); http/protobuf is used")),
    }
}

/// An absolute URL; an address without a scheme is taken as http. `unix:/path` and `unix:///path` are sockets of this machine.
pub(crate) fn endpoint(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let socket = Some(PathBuf::from(path)).filter(|path| cfg!(unix) && path.is_absolute());
        let local = Address { uri: Uri::from_static("http://localhost"), has_scheme: true, socket };
        return Some(local)
            .filter(|local| local.socket.is_some())
            .ok_or_else(|| "not the absolute path of a Unix socket, as in unix:/run/otel.sock; the default is used".to_owned());
    }
    let has_scheme = text.contains("://");
    // `http:/host` is no host called http.
    let forgets_a_slash = !has_scheme && text.split_once(':').is_some_and(|(_, rest)| rest.starts_with('/'));
    let with_scheme = if has_scheme { text.to_owned() } else { format!("http://{text}") };
    let has_port = |uri: &Uri| uri.port().is_none() || uri.port_u16().is_some();
    let ends_in_port = |uri: &Uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // An IPv6 address has colons of its own.
        host.ends_with(']') || host.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_ok())
    };
    match with_scheme.parse::<Uri>() {
        Ok(uri)
            if !forgets_a_slash
                && uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.scheme_str(), Some("http" | "https"))
                && has_port(&uri)
                && ends_in_port(&uri) =>
        {
            Ok(Address { uri, has_scheme, socket: None })
        }
        // The text is not shown: it may hold credentials.
        _ => Err("not an http:// or https:// URL with a port from 0 to 65535; the default is used".to_owned()),
    }
}

/// `key=value,key=value`, values percent-encoded, as baggage without metadata.
fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or("a part is not name=value")?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "a name is not a valid header name")?;
            let mut value = HeaderValue::from_str(&decoded(value.trim())?).map_err(|_| "a value is not a valid header value")?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect::<Result<_, &str>>()
        .map_err(|problem| format!("{problem}; the whole variable is ignored"))
}

fn compression(text: &str) -> Result<Compression, String> {
    let (name, compression, built) = match text.to_ascii_lowercase().as_str() {
        "none" => return Ok(Compression::None),
        "gzip" => ("gzip", Compression::Gzip, cfg!(feature = "gzip")),
        "zstd" => ("zstd", Compression::Zstd, cfg!(feature = "zstd")),
        other => return Err(format!("{other:?} is not a compression known here (gzip, zstd, none); requests are not compressed")),
    };
    if built { Ok(compression) } else { Err(format!("{name} needs crumbtrail's feature {name:?}; requests are not compressed")) }
}

#[cfg(test)]
mod tests;
