//! A file instead of the environment, as a receiver sees it: OpenTelemetry's declarative
//! configuration.

use crumbtrail::{InitError, Telemetry, config::EnvVars};
use crumbtrail_receiver::Receiver;
use tracing::{error, info, info_span};

use crate::support::PATIENCE;

fn file(content: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), content).expect("written");
    file
}

/// As `OTEL_CONFIG_FILE` names it.
fn telemetry(content: &str, variables: &[(&str, &str)]) -> Result<Telemetry, InitError> {
    let file = file(content);
    let path = file.path().to_str().expect("text").to_owned();
    let variables = variables.iter().copied().chain([("OTEL_CONFIG_FILE", &*path)]);
    crumbtrail::builder(crumbtrail::service!()).with_env_vars(&variables.collect::<EnvVars>()).build()
}

#[test]
fn what_the_file_says_is_what_arrives() {
    let receiver = Receiver::start().expect("a receiver");
    let content = "
file_format: \"1.0\"
resource:
  attributes:
    - {name: service.name, value: from-the-file}
    - {name: service.instances, value: 3}
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: ${RECEIVER}/v1/logs
  limits: {attribute_count_limit: 1}
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: ${RECEIVER}/v1/traces
  sampler: {always_off: }
  smapler: {always_on: }
crumbtrail/filters: {logs: warn}
";
    let endpoint = receiver.http_endpoint();
    // Other variables are nothing where there is a file.
    let telemetry = telemetry(content, &[("RECEIVER", &*endpoint), ("OTEL_SERVICE_NAME", "from-a-variable")]).expect("telemetry");
    let warnings: Vec<String> = telemetry.warnings().iter().map(ToString::to_string).collect();
    assert!(matches!(&warnings[..], [one] if one.contains(":21:3: tracer_provider.smapler is not known here")), "{warnings:?}");
    tracing::dispatcher::with_default(&telemetry.dispatch(), || {
        let _request = info_span!("request").entered();
        info!("below the filter");
        tracing::warn!(a = 1, b = 2, "a warning");
        error!("it failed");
    });
    telemetry.shutdown(PATIENCE).expect("delivered");
    let received = receiver.received();
    assert_eq!(received.spans.len(), 0, "the sampler is off");
    let (log, exception) =
        (received.logs.iter().find(|log| log.body == "a warning").expect("the log"), received.exceptions().next().expect("it"));
    assert_eq!(received.logs.len(), 2, "{:#?}", received.logs);
    for record in [log, exception] {
        assert_eq!((record.resource["service.name"].as_str(), record.resource["service.instances"].as_str()), ("from-the-file", "3"));
    }
    assert_eq!(log.attributes.keys().filter(|key| ["a", "b"].contains(&key.as_str())).count(), 1, "one attribute: {:#?}", log.attributes);
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_that_says_where() {
    let error = telemetry("file_format: \"1.0\"\ndisabled: perhaps\n", &[]).map(drop).expect_err("no boolean");
    assert!(matches!(error, InitError::ConfigFile { .. }) && error.to_string().contains("2:1 (disabled)"), "{error}");
    let nowhere = EnvVars::from_iter([("OTEL_EXPERIMENTAL_CONFIG_FILE", "/nonexistent/otel.yaml")]);
    let error = crumbtrail::builder(crumbtrail::service!()).with_env_vars(&nowhere).build().map(drop).expect_err("no file");
    assert!(error.to_string().contains("/nonexistent/otel.yaml"), "{error}");
    let otherwise = crumbtrail::builder(crumbtrail::service!()).with_env_vars(&nowhere).with_env_vars(&EnvVars::default());
    assert!(otherwise.build().is_ok(), "the last one read counts");
}

#[test]
fn code_wins_over_the_file() {
    let receiver = Receiver::start().expect("a receiver");
    let content = "
file_format: \"1.0\"
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: http://127.0.0.1:1/v1/logs
";
    let file = file(content);
    let builder = crumbtrail::builder(crumbtrail::service!()).with_config_file(file.path()).with_endpoint(receiver.http_endpoint());
    let telemetry = builder.build().expect("telemetry");
    tracing::dispatcher::with_default(&telemetry.dispatch(), || error!("it failed"));
    telemetry.shutdown(PATIENCE).expect("delivered");
    assert_eq!(receiver.received().exceptions().count(), 1);
}
