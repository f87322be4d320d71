//! Who sends: the resource of every request.

use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};

use std::borrow::Cow;

use super::value;
use crate::scrub::{FILTERED, Scrubber};

/// Which process, and which instance of the service.
const PROCESS: &str = "process.pid";
pub(crate) const INSTANCE: &str = "service.instance.id";

/// The resource: what the machine and process say, then `attributes` over it, later ones first.
/// Without secrets.
pub(crate) fn resource(attributes: &[(String, String)], arguments: bool, scrubber: &Scrubber) -> Resource {
    let mut all: Vec<KeyValue> = Vec::new();
    if arguments {
        let cleaned = scrubber.arguments(std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()));
        all.push(value::attribute("process.command_args", value::from_attribute(&cleaned.into(), 1024)));
    }
    for (key, text) in detected().into_iter().chain(attributes.iter().cloned()) {
        let text = scrubber.value(&key, &text).map_or_else(|_| FILTERED.to_owned(), Cow::into_owned);
        value::set(
            &mut all,
            &key,
            match (key.as_str(), text.parse()) {
                (PROCESS, Ok(pid)) => value::int(pid),
                _ => value::string(text),
            },
        );
    }
    Resource { attributes: all, dropped_attributes_count: 0, ..Default::default() }
}

/// The same, in this process: a forked child is another instance.
pub(crate) fn of_this_process(resource: &Resource) -> Resource {
    let mut resource = resource.clone();
    let process = i64::from(std::process::id());
    let made_here = resource.attributes.iter().any(|attribute| attribute.key == PROCESS && attribute.value == Some(value::int(process)));
    if !made_here {
        value::set(&mut resource.attributes, PROCESS, value::int(process));
        value::set(&mut resource.attributes, INSTANCE, value::string(crate::random::uuid()));
    }
    resource
}

fn detected() -> Vec<(String, String)> {
    let line = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let executable = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let known = [
        // `opentelemetry` is for OpenTelemetry's own SDKs (semantic conventions, `telemetry.sdk.name`).
        ("telemetry.sdk.name", Some("crumbtrail".to_owned())),
        ("telemetry.sdk.language", Some("rust".to_owned())),
        ("telemetry.sdk.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        ("telemetry.distro.name", Some("crumbtrail".to_owned())),
        ("telemetry.distro.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
        (PROCESS, Some(std::process::id().to_string())),
        ("process.executable.name", executable),
        ("host.name", line("/proc/sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok())),
        ("host.arch", Some(architecture().to_owned())),
        ("os.type", Some(os().to_owned())),
        ("os.version", line("/proc/sys/kernel/osrelease")),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// `host.arch` in the convention's words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "arm" => "arm32",
        other => other,
    }
}

/// `os.type` in the convention's words.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}
