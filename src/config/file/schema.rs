//! The file's shape. Named as in OpenTelemetry's configuration schema; what is crumbtrail's own is
//! under `crumbtrail/…`.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    config::{
        Endpoint, EnvVars, Exporter, Filter, LimitSettings, MetricSettings, Pem, Protocol, Settings, SignalSettings, SpoolSettings, env,
        parse, per_signal::PerSignal,
    },
    propagation::{Propagator, Propagators},
    sampling::Sampler,
};

/// Where it is in the file, and what is said of it.
pub(super) type Say<'a> = &'a mut dyn FnMut(&str, &str);

/// Known, and without a meaning here; or the key alone has one. (What is skipped by serde would
/// count as not known.)
type Known = Value;

#[derive(Deserialize)]
pub(super) struct File {
    file_format: String,
    disabled: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    resource: Resource,
    #[serde(default, deserialize_with = "or_default")]
    attribute_limits: Limits,
    #[serde(default, deserialize_with = "or_default")]
    propagator: Propagation,
    #[serde(default)]
    logger_provider: Option<Provider>,
    #[serde(default)]
    tracer_provider: Option<Provider>,
    #[serde(default)]
    meter_provider: Option<MeterProvider>,
    /// Ours go to stderr.
    #[serde(default, rename = "log_level")]
    _log_level: Known,
    #[serde(default, rename = "crumbtrail/filters", deserialize_with = "or_default")]
    filters: Filters,
    #[serde(default, rename = "crumbtrail/sampler", deserialize_with = "or_default")]
    keeping: Keeping,
    #[serde(default, rename = "crumbtrail/records", deserialize_with = "or_default")]
    records: Records,
    #[serde(default, rename = "crumbtrail/spool", deserialize_with = "or_default")]
    spool: Spool,
    #[serde(default, rename = "crumbtrail/memory", deserialize_with = "or_default")]
    memory: Memory,
    #[serde(default, rename = "crumbtrail/worker", deserialize_with = "or_default")]
    worker: Worker,
    #[serde(default, rename = "crumbtrail/ending", deserialize_with = "or_default")]
    ending: Ending,
    #[serde(default, rename = "crumbtrail/connection", deserialize_with = "or_default")]
    connection: Connection,
    #[serde(rename = "crumbtrail/console")]
    console: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    attributes: Option<Vec<Attribute>>,
    attributes_list: Option<String>,
    #[serde(rename = "detection/development")]
    detection: Option<Detection>,
    #[serde(rename = "schema_url")]
    _schema_url: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detection {
    detectors: Option<Vec<HashMap<String, Known>>>,
}

#[derive(Deserialize)]
struct Attribute {
    name: String,
    value: Value,
    /// The value says it.
    #[serde(default, rename = "type")]
    _type: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Limits {
    attribute_value_length_limit: Option<Number<usize>>,
    attribute_count_limit: Option<Number<usize>>,
    event_count_limit: Option<Number<usize>>,
    link_count_limit: Option<Number<usize>>,
    #[serde(rename = "event_attribute_count_limit")]
    _event_attributes: Known,
    #[serde(rename = "link_attribute_count_limit")]
    _link_attributes: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Propagation {
    composite: Option<Vec<HashMap<String, Known>>>,
    composite_list: Option<String>,
}

/// Of logs, or of traces.
#[derive(Deserialize)]
struct Provider {
    #[serde(default, deserialize_with = "or_default")]
    processors: Vec<Processor>,
    #[serde(default, deserialize_with = "or_default")]
    limits: Limits,
    #[serde(default)]
    sampler: Option<SamplerOf>,
}

#[derive(Deserialize)]
struct Processor {
    #[serde(default, alias = "simple")]
    batch: Option<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    schedule_delay: Option<Number<u64>>,
    max_export_batch_size: Option<Number<u64>>,
    #[serde(default, deserialize_with = "or_default")]
    exporter: ExporterOf,
    /// Queues are bounded in bytes, and a record has an age.
    #[serde(default, rename = "export_timeout")]
    _export_timeout: Known,
    #[serde(default, rename = "max_queue_size")]
    _max_queue_size: Known,
}

#[derive(Deserialize)]
struct MeterProvider {
    #[serde(default, deserialize_with = "or_default")]
    readers: Vec<Reader>,
    #[serde(default, rename = "exemplar_filter")]
    _exemplar_filter: Known,
}

#[derive(Deserialize)]
struct Reader {
    periodic: Option<Periodic>,
}

#[derive(Deserialize)]
struct Periodic {
    interval: Option<Number<u64>>,
    #[serde(default, deserialize_with = "or_default")]
    exporter: ExporterOf,
    #[serde(default, rename = "timeout")]
    _timeout: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExporterOf {
    #[serde(deserialize_with = "present")]
    otlp_http: Option<Otlp>,
    #[serde(deserialize_with = "present")]
    otlp_grpc: Option<Otlp>,
    #[serde(deserialize_with = "present")]
    console: Option<Console>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Console {
    #[serde(rename = "temporality_preference")]
    _temporality: Known,
    #[serde(rename = "default_histogram_aggregation")]
    _aggregation: Known,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Otlp {
    endpoint: Option<String>,
    tls: Option<Tls>,
    headers: Option<Vec<Header>>,
    headers_list: Option<String>,
    compression: Option<String>,
    timeout: Option<Number<u64>>,
    encoding: Option<String>,
    temporality_preference: Option<String>,
    default_histogram_aggregation: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tls {
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    insecure: Option<bool>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SamplerOf {
    #[serde(deserialize_with = "present")]
    always_on: Option<Nothing>,
    #[serde(deserialize_with = "present")]
    always_off: Option<Nothing>,
    #[serde(deserialize_with = "present")]
    trace_id_ratio_based: Option<Ratio>,
    #[serde(deserialize_with = "present")]
    parent_based: Option<Box<ParentBased>>,
}

#[derive(Default, Deserialize)]
struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ratio {
    ratio: Option<Number<f64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ParentBased {
    root: Option<SamplerOf>,
    remote_parent_sampled: Option<SamplerOf>,
    remote_parent_not_sampled: Option<SamplerOf>,
    local_parent_sampled: Option<SamplerOf>,
    local_parent_not_sampled: Option<SamplerOf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Filters {
    exceptions: Option<String>,
    logs: Option<String>,
    spans: Option<String>,
    breadcrumbs: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keeping {
    keep_errors: Option<bool>,
    keep_slower_than: Option<Number<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Records {
    stacktraces: Option<bool>,
    exception_span_events: Option<bool>,
    default_pii: Option<bool>,
    user_on_logs: Option<bool>,
    user_on_spans: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    span_fields_on_logs: Vec<String>,
    events_on_spans: Option<bool>,
    span_timings: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    baggage: Vec<String>,
    process_arguments: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spool {
    directory: Option<PathBuf>,
    limit: Option<Number<u64>>,
    age: Option<Number<u64>>,
    logs: Option<bool>,
    spans: Option<bool>,
    metrics: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Memory {
    trails: Option<Number<usize>>,
    outbox: Option<Number<usize>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Worker {
    share: Option<Number<f64>>,
    niceness: Option<Number<i32>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ending {
    shutdown_timeout: Option<Number<u64>>,
    exit_timeout: Option<Number<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Connection {
    proxy: Option<String>,
    proxy_from_env: Option<bool>,
    bundled_roots: Option<bool>,
}

/// `console:` without anything behind it is there all the same.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::<T>::deserialize(deserializer).map(|value| Some(value.unwrap_or_default()))
}

fn millis(millis: Option<Number<u64>>) -> Option<Duration> {
    millis.map(|Number(millis)| Duration::from_millis(millis))
}

/// A number, of which the file has the text.
#[derive(Clone, Copy)]
struct Number<T>(T);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A value is never shown: it may be a key.
        text.parse().map(Self).map_err(|_| serde::de::Error::custom("not a number that can be here; expected a number"))
    }
}

/// Its value, where there is one.
fn of<T>(number: Option<Number<T>>) -> Option<T> {
    number.map(|Number(number)| number)
}

/// A scalar as it is written; null is none.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A section with nothing in it is one that is not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl File {
    /// # Errors
    /// What is said and cannot be, with the keys that lead to it.
    pub(super) fn into_settings(self, environment: &EnvVars, say: Say<'_>) -> Result<Settings, String> {
        if self.file_format.split('.').next() != Some("1") {
            return Err(format!("file_format is {:?}; 1.x is known here", self.file_format));
        }
        if self.connection.bundled_roots == Some(true) && cfg!(not(feature = "tls-bundled-roots")) {
            return Err("crumbtrail/connection.bundled_roots: needs crumbtrail's feature \"tls-bundled-roots\"".to_owned());
        }
        let logs = provider(self.logger_provider, &self.attribute_limits, "logger_provider", say)?;
        let limits_of_spans = self.tracer_provider.as_ref().map(|provider| &provider.limits);
        let (span_events, span_links) =
            (limits_of_spans.and_then(|it| of(it.event_count_limit)), limits_of_spans.and_then(|it| of(it.link_count_limit)));
        let sampler = self.tracer_provider.as_ref().and_then(|provider| provider.sampler.as_ref());
        let sampler = sampler.map(|sampler| sampler.sampler("tracer_provider.sampler", say)).transpose()?.flatten();
        let traces = provider(self.tracer_provider, &self.attribute_limits, "tracer_provider", say)?;
        let (metrics, metric_settings) = meter_provider(self.meter_provider, say)?;
        Ok(Settings {
            disabled: self.disabled,
            resource: self.resource.pairs(environment, say)?,
            process_arguments: self.records.process_arguments,
            signals: PerSignal {
                logs: SignalSettings { spooled: self.spool.logs, with_user: self.records.user_on_logs, ..logs },
                traces: SignalSettings { spooled: self.spool.spans, with_user: self.records.user_on_spans, ..traces },
                metrics: SignalSettings { spooled: self.spool.metrics, ..metrics },
            },
            bundled_roots: self.connection.bundled_roots,
            proxy: self.connection.proxy,
            proxy_from_env: self.connection.proxy_from_env,
            sampler: self.keeping.of(sampler),
            propagators: self.propagator.propagators(say),
            baggage: self.records.baggage,
            filters: self.filters.targets()?,
            stacktraces: self.records.stacktraces,
            exception_span_events: self.records.exception_span_events,
            default_pii: self.records.default_pii,
            span_fields: self.records.span_fields_on_logs,
            events_on_spans: self.records.events_on_spans,
            span_timings: self.records.span_timings,
            span_events,
            span_links,
            metrics: metric_settings,
            spool: SpoolSettings { directory: self.spool.directory, bytes: of(self.spool.limit), age: millis(self.spool.age) },
            trail_memory: of(self.memory.trails),
            outbox_memory: of(self.memory.outbox),
            worker_share: of(self.worker.share),
            worker_niceness: of(self.worker.niceness),
            shutdown_timeout: millis(self.ending.shutdown_timeout),
            exit_timeout: millis(self.ending.exit_timeout),
            console: self.console.map(|text| at("crumbtrail/console", crate::console::parse(&text))).transpose()?,
            ..Settings::default()
        })
    }
}

/// An error with the keys that lead to it.
fn at<T>(path: &str, result: Result<T, String>) -> Result<T, String> {
    result.map_err(|problem| format!("{path}: {problem}"))
}

/// The specification: what there is no provider for is not sent.
fn provider(provider: Option<Provider>, general: &Limits, path: &str, say: Say<'_>) -> Result<SignalSettings, String> {
    let Some(provider) = provider else { return Ok(SignalSettings { exporter: Some(Exporter::None), ..SignalSettings::default() }) };
    let own = LimitSettings { count: of(provider.limits.attribute_count_limit), length: of(provider.limits.attribute_value_length_limit) };
    let limits = own.over(LimitSettings { count: of(general.attribute_count_limit), length: of(general.attribute_value_length_limit) });
    let mut batches = provider.processors.into_iter().enumerate().filter_map(|(index, processor)| Some((index, processor.batch?)));
    let Some((index, batch)) = batches.next() else {
        say(path, "has no processor that is known here; nothing is sent");
        return Ok(SignalSettings { exporter: Some(Exporter::None), limits, ..SignalSettings::default() });
    };
    if let Some((other, _)) = batches.next() {
        say(&format!("{path}.processors.{other}"), "only the first processor is used");
    }
    if of(batch.max_export_batch_size) == Some(0) {
        return Err(format!("{path}.processors.{index}.batch.max_export_batch_size: 0 is too small"));
    }
    let exporter = batch.exporter.settings(&format!("{path}.processors.{index}.batch.exporter"), say)?.0;
    Ok(SignalSettings { delay: millis(batch.schedule_delay), max_batch: of(batch.max_export_batch_size), limits, ..exporter })
}

fn meter_provider(provider: Option<MeterProvider>, say: Say<'_>) -> Result<(SignalSettings, MetricSettings), String> {
    let none = || SignalSettings { exporter: Some(Exporter::None), ..SignalSettings::default() };
    let Some(provider) = provider else { return Ok((none(), MetricSettings::default())) };
    let mut readers = provider.readers.into_iter().enumerate().filter_map(|(index, reader)| Some((index, reader.periodic?)));
    let Some((index, reader)) = readers.next() else {
        say("meter_provider", "has no reader that is known here (periodic); nothing is sent");
        return Ok((none(), MetricSettings::default()));
    };
    if let Some((other, _)) = readers.next() {
        say(&format!("meter_provider.readers.{other}"), "only the first reader is used");
    }
    if of(reader.interval) == Some(0) {
        return Err(format!("meter_provider.readers.{index}.periodic.interval: 0 is too small"));
    }
    let (exporter, form) = reader.exporter.settings(&format!("meter_provider.readers.{index}.periodic.exporter"), say)?;
    Ok((exporter, MetricSettings { interval: millis(reader.interval), ..form }))
}

impl ExporterOf {
    fn settings(self, path: &str, say: Say<'_>) -> Result<(SignalSettings, MetricSettings), String> {
        match (self.otlp_http, self.otlp_grpc, self.console) {
            (Some(http), ..) => http.settings(&format!("{path}.otlp_http"), false),
            (None, Some(grpc), _) => grpc.settings(&format!("{path}.otlp_grpc"), true),
            (None, None, Some(_)) => {
                Ok((SignalSettings { exporter: Some(Exporter::Console), ..SignalSettings::default() }, MetricSettings::default()))
            }
            (None, None, None) => {
                say(path, "no exporter is known here (otlp_http, otlp_grpc, console); nothing is sent");
                Ok((SignalSettings { exporter: Some(Exporter::None), ..SignalSettings::default() }, MetricSettings::default()))
            }
        }
    }
}

impl Otlp {
    fn settings(self, path: &str, is_grpc: bool) -> Result<(SignalSettings, MetricSettings), String> {
        let key = |key: &str| format!("{path}.{key}");
        let protocol = match self.encoding.as_deref() {
            _ if is_grpc => Protocol::Grpc,
            None | Some("protobuf") => Protocol::HttpProtobuf,
            Some("json") => Protocol::HttpJson,
            Some(other) => return Err(format!("{}: {other:?} is neither protobuf nor json", key("encoding"))),
        };
        let tls = self.tls.unwrap_or_default();
        let pem = |path: Option<PathBuf>, name: &str| path.map(|path| Pem::File { path, named_by: key(name) });
        let headers = self.headers_list.map(|list| at(&key("headers_list"), parse::headers(&list))).transpose()?;
        let mut headers = headers.unwrap_or_default();
        for Header { name, value } in self.headers.unwrap_or_default() {
            let Some(value) = text(value) else { continue };
            let invalid = || format!("{}: {name:?} is not a valid header", key("headers"));
            let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| invalid())?;
            value.set_sensitive(true);
            headers.retain(|(other, _)| *other != known);
            headers.push((known, value));
        }
        let settings = SignalSettings {
            exporter: Some(Exporter::Otlp),
            endpoint: match self.endpoint {
                Some(text) => Some(Endpoint { address: at(&key("endpoint"), parse::address(&text))?, is_whole: true }),
                None => None,
            },
            protocol: Some(protocol),
            headers: Some(headers).filter(|headers| !headers.is_empty()),
            timeout: millis(self.timeout),
            compression: match self.compression {
                Some(text) => Some(at(&key("compression"), parse::compression(&text))?),
                None => None,
            },
            insecure: tls.insecure,
            certificate: pem(tls.ca_file, "tls.ca_file"),
            client_certificate: pem(tls.cert_file, "tls.cert_file"),
            client_key: pem(tls.key_file, "tls.key_file"),
            ..SignalSettings::default()
        };
        let temporality = self.temporality_preference.map(|text| parse::temporality(&text.replace('_', "")));
        let aggregation = self.default_histogram_aggregation.map(|text| parse::histogram_aggregation(&text));
        let form = MetricSettings {
            interval: None,
            temporality: temporality.map(|known| at(&key("temporality_preference"), known)).transpose()?,
            exponential: aggregation.map(|known| at(&key("default_histogram_aggregation"), known)).transpose()?,
        };
        Ok((settings, form))
    }
}

impl Resource {
    /// The later of one name wins: attributes over the list over what is found.
    fn pairs(self, environment: &EnvVars, say: Say<'_>) -> Result<Vec<(String, String)>, String> {
        let detectors: Vec<String> =
            self.detection.into_iter().flat_map(|it| it.detectors).flatten().flatten().map(|(name, _)| name).collect();
        let mut pairs = Vec::new();
        for detector in detectors {
            match env::detected(environment, &detector) {
                Ok(found) => pairs.extend(found),
                Err(_) => say("resource.detection/development.detectors", "only container, k8s, cloud and service are known here"),
            }
        }
        let list = self.attributes_list.map(|list| at("resource.attributes_list", parse::resource_attributes(&list))).transpose()?;
        pairs.extend(list.unwrap_or_default());
        for Attribute { name, value, .. } in self.attributes.unwrap_or_default() {
            pairs.extend(text(value).map(|value| (name, value)));
        }
        Ok(pairs)
    }
}

impl Propagation {
    fn propagators(self, say: Say<'_>) -> Option<Propagators> {
        let of_list = self.composite_list.iter().flat_map(|list| list.split(',')).map(|name| name.trim().to_owned());
        let of_entries = self.composite.iter().flatten().flat_map(|entry| entry.keys().cloned());
        let names: Vec<String> = of_entries.chain(of_list).filter(|name| !name.is_empty()).collect();
        if names == ["none"] {
            return Some(Propagators::NONE);
        }
        for name in names.iter().filter(|name| Propagator::named(name).is_none()) {
            say("propagator", &format!("{name:?} is not known here (tracecontext, baggage, b3, b3multi, jaeger, none); ignored"));
        }
        let known: Vec<Propagator> = names.iter().filter_map(|name| Propagator::named(name)).collect();
        // The schema: none, where nothing is said.
        Some(if known.is_empty() { Propagators::NONE } else { known.into_iter().collect() })
    }
}

impl SamplerOf {
    /// `None`: the default.
    fn sampler(&self, path: &str, say: Say<'_>) -> Result<Option<Sampler>, String> {
        if let Some(parent) = &self.parent_based {
            parent.remark(path, say);
            let root = parent.root.as_ref().map(|root| root.sampler(&format!("{path}.parent_based.root"), say)).transpose()?;
            return Ok(Some(root.flatten().unwrap_or_else(Sampler::always_on).parent_based()));
        }
        if let Some(Ratio { ratio }) = &self.trace_id_ratio_based {
            let ratio = of(*ratio).unwrap_or(1.0);
            let is_ratio = (0.0..=1.0).contains(&ratio);
            return is_ratio.then(|| Some(Sampler::ratio(ratio))).ok_or_else(|| format!("{path}: {ratio} is not from 0 to 1"));
        }
        if self.always_off.is_some() {
            return Ok(Some(Sampler::always_off()));
        }
        if self.always_on.is_some() {
            return Ok(Some(Sampler::always_on()));
        }
        say(
            path,
            "no sampler is known here (always_on, always_off, trace_id_ratio_based, parent_based); the default is used: parent_based, always_on",
        );
        Ok(None)
    }
}

impl ParentBased {
    /// The caller's decision counts; nothing else can be asked for.
    fn remark(&self, path: &str, say: Say<'_>) {
        let others = [
            ("remote_parent_sampled", &self.remote_parent_sampled, true),
            ("remote_parent_not_sampled", &self.remote_parent_not_sampled, false),
            ("local_parent_sampled", &self.local_parent_sampled, true),
            ("local_parent_not_sampled", &self.local_parent_not_sampled, false),
        ];
        for (name, sampler, on) in others {
            let is_default =
                sampler.as_ref().is_none_or(|sampler| if on { sampler.always_on.is_some() } else { sampler.always_off.is_some() });
            if !is_default {
                say(&format!("{path}.parent_based.{name}"), "only the default is known here: as the parent was sampled");
            }
        }
    }
}

impl Keeping {
    fn of(self, sampler: Option<Sampler>) -> Option<Sampler> {
        let asks = self.keep_errors == Some(true) || self.keep_slower_than.is_some();
        let mut sampler = if asks { sampler.unwrap_or_default() } else { return sampler };
        if self.keep_errors == Some(true) {
            sampler = sampler.keep_errors();
        }
        if let Some(slow) = millis(self.keep_slower_than) {
            sampler = sampler.keep_slower_than(slow);
        }
        Some(sampler)
    }
}

impl Filters {
    fn targets(self) -> Result<Vec<(Filter, tracing_subscriber::filter::Targets)>, String> {
        let all = [
            ("exceptions", Filter::Exceptions, self.exceptions),
            ("logs", Filter::Logs, self.logs),
            ("spans", Filter::Spans, self.spans),
            ("breadcrumbs", Filter::Breadcrumbs, self.breadcrumbs),
        ];
        let parsed = all.into_iter().filter_map(|(name, filter, text)| Some((name, filter, text?))).map(|(name, filter, text)| {
            let targets =
                text.parse().map_err(|error| format!("crumbtrail/filters.{name}: {error}; expected something like info,my_crate=debug"))?;
            Ok((filter, targets))
        });
        parsed.collect()
    }
}
