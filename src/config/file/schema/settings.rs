//! What a file means. Comes in: a [`File`]. Goes out: [`Settings`]; what of it has no meaning here
//! is said, and what cannot be is an error.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::{
    Attribute, ExporterOf, File, Filters, Header, Keeping, Limits, MeterProvider, Number, Otlp, ParentBased, Propagation, Provider, Ratio,
    Resource, SamplerOf,
};
use crate::{
    config::{
        Endpoint, EnvVars, Exporter, Filter, LimitSettings, MetricSettings, Pem, Protocol, Settings, SignalSettings, SpoolSettings, env,
        parse, per_signal::PerSignal,
    },
    propagation::{Propagator, Propagators},
    sampling::Sampler,
};

/// Where it is in the file, and what is said of it.
type Say<'a> = &'a mut dyn FnMut(&str, &str);

impl File {
    /// # Errors
    /// What is said and cannot be, with the keys that lead to it.
    pub(in crate::config::file) fn into_settings(self, environment: &EnvVars, say: Say<'_>) -> Result<Settings, String> {
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
            console: self.console.map(|text| at("crumbtrail/console", parse::console(&text))).transpose()?,
            ..Settings::default()
        })
    }
}

/// Sent by `exporter`, all else as it is by default.
fn sent_by(exporter: Exporter) -> SignalSettings {
    SignalSettings { exporter: Some(exporter), ..SignalSettings::default() }
}

/// An error with the keys that lead to it.
fn at<T>(path: &str, result: Result<T, parse::Problem>) -> Result<T, String> {
    result.map_err(|problem| format!("{path}: {}", problem.what))
}

/// The specification: what there is no provider for is not sent.
fn provider(provider: Option<Provider>, general: &Limits, path: &str, say: Say<'_>) -> Result<SignalSettings, String> {
    let Some(provider) = provider else { return Ok(sent_by(Exporter::None)) };
    let own = LimitSettings { count: of(provider.limits.attribute_count_limit), length: of(provider.limits.attribute_value_length_limit) };
    let limits = own.over(LimitSettings { count: of(general.attribute_count_limit), length: of(general.attribute_value_length_limit) });
    let mut batches = provider.processors.into_iter().enumerate().filter_map(|(index, processor)| Some((index, processor.batch?)));
    let Some((index, batch)) = batches.next() else {
        say(path, "has no processor that is known here; nothing is sent");
        return Ok(SignalSettings { limits, ..sent_by(Exporter::None) });
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
    let Some(provider) = provider else { return Ok((sent_by(Exporter::None), MetricSettings::default())) };
    let mut readers = provider.readers.into_iter().enumerate().filter_map(|(index, reader)| Some((index, reader.periodic?)));
    let Some((index, reader)) = readers.next() else {
        say("meter_provider", "has no reader that is known here (periodic); nothing is sent");
        return Ok((sent_by(Exporter::None), MetricSettings::default()));
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
            (None, None, Some(_)) => Ok((sent_by(Exporter::Console), MetricSettings::default())),
            (None, None, None) => {
                say(path, "no exporter is known here (otlp_http, otlp_grpc, console); nothing is sent");
                Ok((sent_by(Exporter::None), MetricSettings::default()))
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
            ..sent_by(Exporter::Otlp)
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

fn millis(millis: Option<Number<u64>>) -> Option<Duration> {
    millis.map(|Number(millis)| Duration::from_millis(millis))
}
