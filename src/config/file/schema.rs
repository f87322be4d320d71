//! The file's shape. Named as in OpenTelemetry's configuration schema; what is crumbtrail's own is
//! under `crumbtrail/…`. What it means: [`settings`].

mod settings;

use std::{collections::HashMap, path::PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

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

/// A section with nothing in it is one that is not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
