//! The names that are ours, and the registry that publishes them: docs/registry/crumbtrail.yaml.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::{PATIENCE, Pipeline};
use tracing::{error, info, info_span};

/// What the registry has: `- id:` of attributes, `metric_name:`, `name:` of events.
fn published() -> BTreeSet<String> {
    let registry = include_str!("../../docs/registry/crumbtrail.yaml");
    let name = |line: &str| {
        let line = line.trim();
        let name = ["- id: ", "metric_name: ", "name: "].iter().find_map(|key| line.strip_prefix(key))?;
        name.starts_with("crumbtrail.").then(|| name.to_owned())
    };
    registry.lines().filter_map(name).collect()
}

/// Every literal in the sources that is such a name.
fn written(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            written(&entry, names);
        } else if entry.extension().is_some_and(|extension| extension == "rs") && !entry.ends_with("tests.rs") {
            let source = fs::read_to_string(&entry).expect("a source");
            let literals = source.split("\"crumbtrail.").skip(1).filter_map(|rest| rest.split('"').next());
            let names_of_it = literals.map(|rest| format!("crumbtrail.{}", rest.split(".{").next().unwrap_or_default()));
            names.extend(names_of_it.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"._".contains(&byte))));
        }
    }
}

/// Report C6: one list of all names that are ours.
#[test]
fn every_name_that_is_written_is_published_and_the_reverse() {
    let mut names = BTreeSet::new();
    written(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    // A mark between two layers of ours, which no record has.
    names.remove("crumbtrail.span");
    assert_eq!(names, published());
}

/// Report C6: and what arrives is in it.
#[test]
fn what_arrives_is_published() {
    let pipeline = Pipeline::new(|builder, _| builder);
    pipeline.run(|| {
        let _request = info_span!("request", user.id = "42").entered();
        info!(text = "x".repeat(10_000), "a long text");
        let failed = "x".parse::<u32>().unwrap_err();
        error!(error = &failed as &dyn std::error::Error, "reading the number");
        crumbtrail::capture(&std::io::Error::other(failed));
    });
    pipeline.telemetry.flush(PATIENCE).expect("delivered");
    let received = pipeline.received();
    let of_records = received.logs.iter().flat_map(|log| log.attributes.keys());
    let of_spans = received.spans.iter().flat_map(|span| span.attributes.keys());
    let ours: BTreeSet<_> = of_records.chain(of_spans).filter(|name| name.starts_with("crumbtrail.")).cloned().collect();
    assert!(ours.contains("crumbtrail.group.id") && ours.contains("crumbtrail.truncated"), "{ours:?}");
    assert_eq!(ours.difference(&published()).next(), None);
}
