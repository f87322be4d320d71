//! What an outage cost, as a log record: so that a gap in the data is explained by the data.

use opentelemetry_proto::tonic::{
    common::v1::AnyValue,
    logs::v1::{LogRecord, SeverityNumber},
};

use super::value;
use crate::delivery::Outage;

/// EventName `crumbtrail.outage`: severity WARN if something was lost, INFO if not;
/// `crumbtrail.outage.duration` in seconds; `crumbtrail.lost.<signal>.<reason>` for each loss.
pub(crate) fn record(outage: &Outage, now: u64) -> LogRecord {
    let (severity, text) = if outage.lost.is_empty() { (SeverityNumber::Info, "INFO") } else { (SeverityNumber::Warn, "WARN") };
    let mut attributes = vec![value::attribute("crumbtrail.outage.duration", seconds(outage.lasted))];
    if !outage.reasons.is_empty() {
        attributes.push(value::attribute("crumbtrail.outage.reason", value::string(outage.reasons.join("\n"))));
    }
    attributes.extend(outage.lost.iter().map(|(signal, reason, count)| {
        let key = format!("crumbtrail.lost.{}.{}", signal.as_str(), reason.as_str());
        value::attribute(&key, value::int(i64::try_from(*count).unwrap_or(i64::MAX)))
    }));
    LogRecord {
        time_unix_nano: now,
        observed_time_unix_nano: now,
        severity_number: severity as i32,
        severity_text: text.to_owned(),
        event_name: "crumbtrail.outage".to_owned(),
        body: Some(value::string(outage.to_string())),
        attributes,
        ..Default::default()
    }
}

fn seconds(duration: std::time::Duration) -> AnyValue {
    value::double(duration.as_secs_f64())
}
