//! The environment, as data: what the OpenTelemetry variables say, without touching the process. A
//! bad value gives one [`Warning`] and the default. What cannot work at all shows when it is resolved.

mod platform;
mod proxies;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::{self, Display},
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use self::proxies::Proxies;
use super::{Endpoint, LimitSettings, MetricSettings, Pem, Read, Settings, SignalSettings, SpoolSettings, parse, per_signal::PerSignal};
use tracing_subscriber::filter::Targets;

use crate::{
    filter::Filter,
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
    /// The environment variables of this process.
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// The file that is to be read instead of the other variables.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        let named = |name: &str| self.0.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        named("OTEL_CONFIG_FILE").or_else(|| named("OTEL_EXPERIMENTAL_CONFIG_FILE"))
    }

    /// The value of one, if it is text.
    #[cfg(feature = "config-file")]
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)?.to_str().map(str::to_owned)
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

/// A variable that could not be used. Says what is wrong and what is done instead; never shows a
/// value that may be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    variable: String,
    problem: String,
}

impl Warning {
    pub(crate) fn new(variable: &str, problem: &str) -> Self {
        Self { variable: variable.to_owned(), problem: problem.to_owned() }
    }

    /// The name of the variable; of a file, the place in it.
    pub fn variable(&self) -> &str {
        &self.variable
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.problem)
    }
}

/// Variables that the specification knows and that have no meaning here, as docs/ENVIRONMENT.md
/// says.
pub(crate) const UNUSED: [&str; 13] = [
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
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

/// Reads the environment (OpenTelemetry specification, "Environment Variable Specification" and
/// "OTLP Exporter Configuration").
pub(crate) fn read(environment: &EnvVars) -> Read {
    let mut reader = Reader { environment, warnings: Vec::new() };
    let detectors = reader.parsed("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", platform::parse).unwrap_or_default();
    let settings = Settings {
        disabled: reader.boolean("OTEL_SDK_DISABLED"),
        resource: {
            let revision = reader.text("GIT_COMMIT_SHA").or_else(|| reader.text("VCS_REF"));
            let mut resource: Vec<_> = revision.map(|revision| ("vcs.ref.head.revision".to_owned(), revision)).into_iter().collect();
            resource.extend(platform::detect(environment, Path::new("/"), detectors));
            resource.extend(reader.parsed("OTEL_RESOURCE_ATTRIBUTES", parse::resource_attributes).unwrap_or_default());
            resource.extend(reader.text("OTEL_SERVICE_NAME").map(|name| ("service.name".to_owned(), name)));
            resource
        },
        every: reader.signal("OTEL_EXPORTER_OTLP_", None),
        signals: PerSignal {
            logs: SignalSettings {
                delay: reader.duration("OTEL_BLRP_SCHEDULE_DELAY"),
                max_batch: reader.parsed("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", parse::positive),
                limits: reader.limits("OTEL_LOGRECORD_ATTRIBUTE"),
                ..reader.signal("OTEL_EXPORTER_OTLP_LOGS_", Some("OTEL_LOGS_EXPORTER"))
            },
            traces: SignalSettings {
                delay: reader.duration("OTEL_BSP_SCHEDULE_DELAY"),
                max_batch: reader.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", parse::positive),
                limits: reader.limits("OTEL_SPAN_ATTRIBUTE"),
                ..reader.signal("OTEL_EXPORTER_OTLP_TRACES_", Some("OTEL_TRACES_EXPORTER"))
            },
            metrics: reader.signal("OTEL_EXPORTER_OTLP_METRICS_", Some("OTEL_METRICS_EXPORTER")),
        },
        sampler: sampler(&mut reader),
        propagators: propagators(&mut reader),
        metrics: MetricSettings {
            interval: reader.parsed("OTEL_METRIC_EXPORT_INTERVAL", |text| parse::positive(text).map(Duration::from_millis)),
            temporality: reader.parsed("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", parse::temporality),
            exponential: reader.parsed("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", parse::histogram_aggregation),
        },
        span_events: reader.count("OTEL_SPAN_EVENT_COUNT_LIMIT"),
        span_links: reader.count("OTEL_SPAN_LINK_COUNT_LIMIT"),
        spool: SpoolSettings { directory: state_dir(environment), ..SpoolSettings::default() },
        console: reader.parsed("CRUMBTRAIL_CONSOLE", parse::console),
        filters: filters(&mut reader),
        exception_span_events: reader.parsed("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", parse::exception_signal),
        ..Settings::default()
    };
    Read {
        settings,
        warnings: reader.warnings,
        unused: UNUSED.into_iter().filter(|name| environment.0.get(*name).is_some_and(|value| !value.is_empty())).collect(),
        proxies: Some(Proxies::read(environment)),
    }
}

/// What a detector finds, of those that [`platform`] has; `service` finds `OTEL_SERVICE_NAME`.
#[cfg(feature = "config-file")]
pub(crate) fn detected(environment: &EnvVars, detectors: &str) -> Result<Vec<(String, String)>, String> {
    let name = environment.get("OTEL_SERVICE_NAME").filter(|name| detectors == "service" && !name.is_empty());
    let mut found = platform::detect(environment, Path::new("/"), platform::parse(detectors)?);
    found.extend(name.map(|name| ("service.name".to_owned(), name)));
    Ok(found)
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

    fn parsed<T, E: Display>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|problem| self.warn(name, &problem.to_string())).ok()
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let text = self.text(name)?;
        if !text.eq_ignore_ascii_case("true") && !text.eq_ignore_ascii_case("false") {
            self.warn(name, "neither true nor false; taken as false");
        }
        Some(text.eq_ignore_ascii_case("true"))
    }

    fn duration(&mut self, name: &str) -> Option<Duration> {
        self.parsed(name, |text| parse::integer(text).map(Duration::from_millis))
    }

    fn count(&mut self, name: &str) -> Option<usize> {
        self.parsed(name, |text| parse::integer(text).map(|count| count as usize))
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
        let protocol = self.parsed(&name("PROTOCOL"), parse::protocol);
        SignalSettings {
            exporter: exporter.and_then(|variable| self.parsed(variable, parse::exporter_name)),
            // A signal's own is used as it is; that of all gets the signal's path.
            endpoint: self.parsed(&name("ENDPOINT"), parse::address).map(|address| Endpoint { address, is_whole: exporter.is_some() }),
            protocol,
            headers: self.parsed(&name("HEADERS"), parse::headers),
            timeout: self.duration(&name("TIMEOUT")),
            compression: self.parsed(&name("COMPRESSION"), parse::compression),
            insecure: self.boolean(&name("INSECURE")),
            certificate: self.path(&name("CERTIFICATE")),
            client_certificate: self.path(&name("CLIENT_CERTIFICATE")),
            client_key: self.path(&name("CLIENT_KEY")),
            ..SignalSettings::default()
        }
    }

    /// A path is not text: it need not be UTF-8.
    fn path(&self, name: &str) -> Option<Pem> {
        let path = self.environment.0.get(name).filter(|value| !value.is_empty())?;
        Some(Pem::File { path: PathBuf::from(path), named_by: name.to_owned() })
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

#[cfg(test)]
mod tests;
