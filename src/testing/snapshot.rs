//! What was captured, for snapshots: what differs from run to run is left out or replaced.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::view::Collected;
use crate::{AttributeValue, Exception};

impl Collected {
    /// A readable text, the same in every run: without times, ids and lines. Metrics are left out;
    /// what they count depends on when they are read.
    ///
    /// ```
    /// let (_, collected) = crumbtrail::testing::collect(|| {
    ///     let _request = tracing::info_span!("checkout", user.id = "42").entered();
    ///     tracing::info!(target: "shop", cents = 1999, "charging card");
    ///     tracing::error!(target: "shop", "card refused");
    /// });
    /// assert_eq!(collected.to_text(), "\
    /// error: card refused
    ///   event in shop
    ///   user.id: \"42\"
    ///   - INFO [span] opened checkout user.id=\"42\"
    ///   - INFO [log] charging card cents=1999
    /// INFO shop: charging card cents=1999
    /// SPAN checkout failed: card refused user.id=\"42\"
    /// ");
    /// ```
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for exception in &self.exceptions {
            exception_text(&mut text, exception);
        }
        for log in &self.logs {
            let _ = writeln!(text, "{} {}: {}{}", log.severity, log.target, log.body, pairs(log.attributes()));
        }
        for span in &self.spans {
            let failure = span.failure.as_ref().map(|failure| format!(" failed: {failure}")).unwrap_or_default();
            let _ = writeln!(text, "SPAN {}{failure}{}", span.name, pairs(span.attributes()));
        }
        text
    }

    /// Everything that was collected, as JSON: `{"exceptions": […], "logs": […], "spans": […]}`.
    pub fn to_json(&self) -> Json {
        let logs = self
            .logs
            .iter()
            .map(|log| json!({ "severity": log.severity, "target": log.target, "body": log.body, "attributes": object(log.attributes()) }));
        let spans = self
            .spans
            .iter()
            .map(|span| json!({ "name": span.name, "kind": span.kind, "failure": span.failure, "attributes": object(span.attributes()) }));
        json!({
            "exceptions": self.exceptions.iter().map(exception_json).collect::<Vec<_>>(),
            "logs": logs.collect::<Vec<_>>(),
            "spans": spans.collect::<Vec<_>>(),
        })
    }
}

fn exception_text(text: &mut String, exception: &Exception) {
    let _ = writeln!(text, "{}: {}", exception.type_name(), exception.message());
    for cause in exception.causes().iter().skip(1) {
        let _ = writeln!(text, "  caused by {}: {}", cause.type_name().unwrap_or("error"), cause.message());
    }
    if let Some(body) = exception.body().filter(|body| *body != exception.message()) {
        let _ = writeln!(text, "  said: {body}");
    }
    let _ = writeln!(text, "  {} in {}", exception.mechanism().as_str(), exception.target());
    let user = exception.user().into_iter().flat_map(|user| user.attributes());
    for (key, value) in user.chain(exception.attributes()) {
        let _ = writeln!(text, "  {key}: {:?}", steady(key, value));
    }
    for flag in exception.flags() {
        let _ = writeln!(text, "  flag {}: {}", flag.key(), flag.variant().unwrap_or("evaluated"));
    }
    for crumb in exception.breadcrumbs().iter() {
        let data = crumb.data.iter().map(|(key, value)| (&**key, value));
        let _ = writeln!(text, "  - {} [{}] {}{}", crumb.level(), crumb.category(), crumb.message(), pairs(data));
    }
}

fn exception_json(exception: &Exception) -> Json {
    let causes = exception.causes().iter().map(|cause| json!({ "type": cause.type_name(), "message": cause.message() }));
    let crumbs = exception.breadcrumbs().iter().map(|crumb| {
        let data = crumb.data.iter().map(|(key, value)| (&**key, value));
        json!({ "level": crumb.level().as_str(), "category": crumb.category(), "message": crumb.message(), "data": object(data) })
    });
    json!({
        "type": exception.type_name(),
        "message": exception.message(),
        "body": exception.body(),
        "mechanism": exception.mechanism().as_str(),
        "target": exception.target(),
        "group": exception.group(),
        "causes": causes.collect::<Vec<_>>(),
        "user": exception.user().map(|user| object(user.attributes())),
        "attributes": object(exception.attributes()),
        "flags": exception.flags().iter().map(crate::FlagEvaluation::to_json).collect::<Vec<_>>(),
        "breadcrumbs": crumbs.collect::<Vec<_>>(),
    })
}

fn pairs<'a>(attributes: impl Iterator<Item = (&'a str, &'a AttributeValue)>) -> String {
    let kept = attributes.filter(|(key, _)| !is_left_out(key));
    kept.fold(String::new(), |mut text, (key, value)| {
        let _ = write!(text, " {key}={:?}", steady(key, value));
        text
    })
}

fn object<'a>(attributes: impl Iterator<Item = (&'a str, &'a AttributeValue)>) -> Json {
    let kept = attributes.filter(|(key, _)| !is_left_out(key));
    Json::Object(kept.map(|(key, value)| (key.to_owned(), steady(key, value).to_json())).collect())
}

/// Where in the source: that moves with every edit.
fn is_left_out(key: &str) -> bool {
    key.starts_with("code.")
}

/// What differs from run to run is replaced.
fn steady(key: &str, value: &AttributeValue) -> AttributeValue {
    match key {
        "crumbtrail.error.id" => "[id]".into(),
        "duration_ms" => "[duration]".into(),
        _ => value.clone(),
    }
}
