//! What variables say, and what is said of those that say it badly.

use super::*;
use crate::config::MetricTemporality;
use proptest::prelude::*;

fn read(variables: &[(&str, &str)]) -> Read {
    super::read(&variables.iter().copied().collect())
}

#[test]
fn resource_attributes_are_decoded_or_refused_whole() {
    let good = read(&[("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb, deployment.environment.name = prod%20eu ")]);
    assert_eq!(
        good.settings.resource,
        [("team".to_owned(), "a,b".to_owned()), ("deployment.environment.name".to_owned(), "prod eu".to_owned())]
    );
    assert_eq!(
        read(&[("OTEL_RESOURCE_ATTRIBUTES", ",a=1, ,")]).settings.resource,
        [("a".to_owned(), "1".to_owned())],
        "a comma too many is none"
    );
    for bad in ["a=1,b", "a=1,=2", "a=%zz", "a=%ff"] {
        let settings = read(&[("OTEL_RESOURCE_ATTRIBUTES", bad)]);
        assert!(settings.settings.resource.is_empty() && settings.warnings.len() == 1, "{bad}");
    }
}

#[test]
fn each_bad_value_warns_once_and_is_ignored() {
    for (variable, bad) in [
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_PROPAGATORS", "xray"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-5"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http:/host"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "host:port"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:relative"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://host"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/xml"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "novalue"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "99999999999"),
        ("OTEL_LOGS_EXPORTER", "zipkin"),
        ("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "spans"),
    ] {
        let settings = read(&[(variable, bad)]);
        assert_eq!(settings.warnings.iter().map(Warning::variable).collect::<Vec<_>>(), [variable], "{bad}");
        assert!(settings.settings.disabled != Some(true));
    }
    assert!(read(&[("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_SAMPLER", " ")]).warnings.is_empty(), "empty is unset");
}

/// Report C12: what has no meaning is said, and where to read of it.
#[test]
fn what_has_no_meaning_is_named_in_the_docs() {
    let page = include_str!("../../../docs/ENVIRONMENT.md");
    for variable in UNUSED {
        assert!(page.contains(&format!("`{variable}`")), "{variable}");
        assert_eq!(read(&[(variable, "1")]).unused, [variable]);
    }
}

/// Report C12: a missing slash is told from an address without a scheme.
#[test]
fn addresses_without_a_scheme_are_taken() {
    for address in ["collector:4317", "collector", "[::1]:4317", "[2001:db8::1]", "user:pw@collector:4317", "10.0.0.7:4317/path"] {
        let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", address)]);
        assert!(settings.warnings.is_empty() && settings.settings.every.endpoint.is_some(), "{address}: {:?}", settings.warnings);
    }
}

#[test]
fn samplers_are_case_insensitive() {
    let settings = read(&[("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")]);
    assert_eq!(settings.settings.sampler, Some(Sampler::ratio(0.25).parent_based()));
    let settings = read(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1.5")]);
    assert_eq!((settings.settings.sampler, settings.warnings.len()), (Some(Sampler::ratio(1.0)), 1));
}

#[test]
fn secrets_are_not_shown() {
    let variables = [("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hunter2@ho st")];
    let environment: EnvVars = variables.into_iter().collect();
    let settings = super::read(&environment);
    assert!(!format!("{environment:?} {settings:?}").contains("hunter2"), "{settings:?}");
}

proptest! {
    #[test]
    fn no_value_panics(value in any::<String>()) {
        for variable in ["OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_BSP_SCHEDULE_DELAY"] {
            let settings = read(&[(variable, &value)]);
            prop_assert!(settings.warnings.len() <= 1);
        }
    }
}

#[test]
fn the_state_directory_is_ours_or_the_first_of_systemds() {
    let dir = |variables: &[(&str, &str)]| read(variables).settings.spool.directory;
    assert_eq!(dir(&[]), None);
    assert_eq!(dir(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]), Some("/var/lib/a/crumbtrail".into()));
    assert_eq!(dir(&[("STATE_DIRECTORY", "/var/lib/a"), ("CRUMBTRAIL_STATE_DIR", "/mine")]), Some("/mine".into()));
    assert_eq!(dir(&[("STATE_DIRECTORY", ""), ("CRUMBTRAIL_STATE_DIR", "")]), None, "empty is unset");
}

#[test]
fn metrics_are_told_as_the_environment_says() {
    let read = |temporality: &str, aggregation: &str| {
        let variables = [
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregation),
        ];
        let settings = super::read(&EnvVars::from_iter(variables));
        (settings.settings.metrics.temporality, settings.settings.metrics.exponential, settings.warnings.len())
    };
    assert_eq!(read("Delta", "base2_exponential_bucket_histogram"), (Some(MetricTemporality::Delta), Some(true), 0));
    assert_eq!(read("lowmemory", "explicit_bucket_histogram"), (Some(MetricTemporality::LowMemory), Some(false), 0));
    assert_eq!(read("sometimes", "round"), (None, None, 2));
}

#[test]
fn known_propagators_are_used_and_unknown_ones_told() {
    let read = |text: &str| {
        let settings = super::read(&EnvVars::from_iter([("OTEL_PROPAGATORS", text)]));
        (settings.settings.propagators, settings.warnings.len())
    };
    assert_eq!(read("B3, xray,baggage"), (Some([Propagator::B3, Propagator::Baggage].into_iter().collect()), 1));
    assert_eq!(read("xray"), (None, 1));
    assert_eq!(read("none"), (Some(Propagators::NONE), 0));
}
