//! The stock pipeline, as its documentation sets it up: tracing-opentelemetry,
//! opentelemetry-appender-tracing, opentelemetry-otlp with batch processors.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{logs::SdkLoggerProvider, metrics::SdkMeterProvider, trace::SdkTracerProvider};
use serde_json::{Value, json};
use tracing_subscriber::prelude::*;

use super::program::{Running, Setup};

pub struct Stock {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
    metrics: SdkMeterProvider,
    /// gRPC needs one to be built in.
    runtime: tokio::runtime::Runtime,
    current_thread: bool,
}

impl Stock {
    pub fn start(setup: &Setup) -> Self {
        let runtime = if setup.current_thread {
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
        } else {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
        };
        let _entered = runtime.enter();
        let endpoint = &setup.endpoint;
        let (spans, logs, metrics) = if setup.protocol == "grpc" {
            (
                SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().expect("an exporter"),
                LogExporter::builder().with_tonic().with_endpoint(endpoint).build().expect("an exporter"),
                MetricExporter::builder().with_tonic().with_endpoint(endpoint).build().expect("an exporter"),
            )
        } else {
            let at = |path: &str| format!("{endpoint}/v1/{path}");
            let binary = Protocol::HttpBinary;
            (
                SpanExporter::builder().with_http().with_protocol(binary).with_endpoint(at("traces")).build().expect("an exporter"),
                LogExporter::builder().with_http().with_protocol(binary).with_endpoint(at("logs")).build().expect("an exporter"),
                MetricExporter::builder().with_http().with_protocol(binary).with_endpoint(at("metrics")).build().expect("an exporter"),
            )
        };
        let traces = SdkTracerProvider::builder().with_batch_exporter(spans).build();
        let logs = SdkLoggerProvider::builder().with_batch_exporter(logs).build();
        let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
        let bridge = opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge::new(&logs);
        let tracer = tracing_opentelemetry::layer().with_tracer(traces.tracer("program"));
        if setup.unfiltered {
            tracing_subscriber::registry().with(tracer).with(bridge).init();
        } else {
            let quiet: tracing_subscriber::filter::Targets =
                "info,hyper=off,h2=off,tonic=off,reqwest=off,opentelemetry=off".parse().expect("targets");
            tracing_subscriber::registry().with(tracer.with_filter(quiet.clone())).with(bridge.with_filter(quiet)).init();
        }
        // Something for the third signal to send.
        use opentelemetry::metrics::MeterProvider as _;
        metrics.meter("program").u64_counter("program.starts").build().add(1, &[]);
        drop(_entered);
        Self { traces, logs, metrics, runtime, current_thread: setup.current_thread }
    }
}

impl Running for Stock {
    fn flush(&mut self, _: Duration) -> Value {
        let flush = || [self.logs.force_flush(), self.traces.force_flush()];
        // As from an async main on such a runtime.
        let outcomes = if self.current_thread { self.runtime.block_on(async { flush() }) } else { flush() };
        json!({ "ok": outcomes.iter().all(Result::is_ok), "text": format!("{outcomes:?}") })
    }

    fn shutdown(&mut self, _: Duration) -> Value {
        let outcomes = [self.logs.shutdown(), self.traces.shutdown(), self.metrics.shutdown()];
        json!({ "ok": outcomes.iter().all(Result::is_ok), "text": format!("{outcomes:?}") })
    }

    fn stats(&self) -> Value {
        json!({})
    }

    fn debug(&self) -> String {
        String::new()
    }
}
