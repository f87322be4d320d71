//! `crumbtrail replay`

use std::{io::Write as _, path::Path, time::Duration};

use crumbtrail::{spool, stats::RecordKind};

/// Empties the spool at `directory`; says what became of it.
pub(crate) fn replay(directory: &Path, to: &str, timeout: Duration) -> Result<String, Box<dyn std::error::Error>> {
    if !directory.is_dir() {
        return Err(format!("{} is not a directory", directory.display()).into());
    }
    if to == "jsonl" { to_json(directory) } else { to_endpoint(directory, to, timeout) }
}

/// As a service does it that finds the directory when it starts.
fn to_endpoint(directory: &Path, endpoint: &str, timeout: Duration) -> Result<String, Box<dyn std::error::Error>> {
    spool::check(directory)?;
    let telemetry = crumbtrail::builder(crumbtrail::service!()).with_env().with_endpoint(endpoint).with_state_dir(directory).build()?;
    let outcome = telemetry.flush(timeout);
    let stats = telemetry.stats();
    let sum = |of: fn(&crumbtrail::stats::RecordStats) -> u64| {
        [RecordKind::Exceptions, RecordKind::Logs, RecordKind::Spans, RecordKind::Metrics]
            .iter()
            .map(|signal| of(stats.of(*signal)))
            .sum::<u64>()
    };
    let (recovered, spooled, lost) = (
        sum(crumbtrail::stats::RecordStats::recovered),
        sum(crumbtrail::stats::RecordStats::spooled),
        sum(crumbtrail::stats::RecordStats::lost),
    );
    let delivered = recovered.saturating_sub(spooled + lost);
    let said = format!("{recovered} records found, {delivered} delivered, {spooled} left, {lost} lost");
    let _ = telemetry.shutdown(Duration::from_secs(1));
    if spooled > 0 || lost > 0 || outcome.is_err() { Err(said.into()) } else { Ok(said) }
}

fn to_json(directory: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    let replayed = spool::replay(directory, |line| {
        out.write_all(line)?;
        out.write_all(b"\n")?;
        // Only what is out of our hands is taken off the disk.
        out.flush()
    })?;
    let said = format!("{} records written, {} places damaged", replayed.records(), replayed.damaged());
    if replayed.damaged() > 0 { Err(said.into()) } else { Ok(said) }
}
