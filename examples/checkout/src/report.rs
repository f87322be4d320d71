//! What arrived, as a person wants to read it: each error group once, with what led up to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::IsTerminal as _,
};

use crumbtrail_receiver::{Log, Received};
use serde_json::Value;

/// The report.
pub(crate) fn render(received: &Received) -> String {
    let paint = Paint(std::io::stdout().is_terminal());
    let mut groups: BTreeMap<&str, Vec<&Log>> = BTreeMap::new();
    for exception in received.exceptions() {
        groups.entry(exception.text("crumbtrail.group.id")).or_default().push(exception);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, exceptions)| std::cmp::Reverse(exceptions.len()));

    let mut text = String::new();
    // The counter counts every exception, also those for which a storm left no record.
    let points = received.metric("crumbtrail.exceptions").map(|metric| metric.points.as_slice()).unwrap_or_default();
    let times = |group: &str| {
        points.iter().filter(|point| point.attributes["crumbtrail.group.id"].as_str() == group).map(|point| point.value).sum::<f64>()
    };
    let total: f64 = groups.iter().map(|(group, _)| times(group)).sum();
    let _ = writeln!(text, "{}\n", paint.bold(&format!("{total} errors, {} kinds", groups.len())));
    for (group, exceptions) in &groups {
        render_group(&mut text, paint, group, exceptions, times(group));
    }
    let logs = received.logs.len() - received.exceptions().count();
    let traces: BTreeSet<&str> = received.spans.iter().map(|span| &*span.trace_id).collect();
    let metrics: BTreeSet<&str> = received.metrics.iter().map(|metric| &*metric.name).collect();
    let _ = writeln!(
        text,
        "Received: {} exceptions, {logs} logs, {} spans in {} traces, {} metrics, in {} requests.",
        received.exceptions().count(),
        received.spans.len(),
        traces.len(),
        metrics.len(),
        received.requests,
    );
    text
}

fn render_group(text: &mut String, paint: Paint, group: &str, exceptions: &[&Log], times: f64) {
    // The one with the longest story stands for all.
    let Some(exception) = exceptions.iter().max_by_key(|exception| exception.text("crumbtrail.breadcrumbs").len()) else { return };
    let users: BTreeSet<&str> = exceptions.iter().map(|exception| exception.text("user.id")).filter(|user| !user.is_empty()).collect();
    let resource = |key: &str| exception.resource.get(key).map_or("?", |value| value.as_str());
    let kind = exception.text("exception.type");
    let _ = writeln!(text, "{} {}", paint.red(&format!("■ {kind}")), paint.bold(exception.text("exception.message")));
    let _ = writeln!(
        text,
        "  {times} times, {}   {} {}{} ({})   {group}",
        match users.len() {
            0 => "users not known".to_owned(),
            1 => "1 user".to_owned(),
            count => format!("{count} users"),
        },
        resource("service.name"),
        resource("service.version"),
        exception.resource.get("vcs.ref.head.revision").map(|revision| format!(" @ {}", revision.as_str())).unwrap_or_default(),
        resource("deployment.environment.name"),
    );
    let chain: Vec<Value> = serde_json::from_str(exception.text("crumbtrail.chain")).unwrap_or_default();
    for cause in chain.iter().skip(1) {
        let kind = cause["type"].as_str().map(|kind| format!("{kind}: ")).unwrap_or_default();
        let _ = writeln!(text, "  caused by {kind}{}", cause["message"].as_str().unwrap_or_default());
    }
    let _ = writeln!(text, "  for example {} of trace {}", exception.text("crumbtrail.error.id"), exception.trace_id);

    render_circumstances(text, paint, exception);

    let frames = frames(exception.text("exception.stacktrace"));
    let (own, others): (Vec<_>, Vec<_>) = frames.iter().partition(|(function, place)| is_own(function, place));
    let _ = writeln!(text, "\n  {}", paint.dim("own code, innermost first"));
    for (function, place) in own.iter().take(6) {
        let _ = writeln!(text, "    {function}  {}", paint.dim(place));
    }
    let _ = writeln!(text, "    {}", paint.dim(&format!("… and {} frames of libraries", others.len())));

    let crumbs: Vec<Value> = serde_json::from_str(exception.text("crumbtrail.breadcrumbs")).unwrap_or_default();
    let _ = writeln!(text, "\n  {}", paint.dim("what led up to it"));
    for crumb in &crumbs {
        let _ = writeln!(text, "    {}", render_crumb(paint, exception.time, crumb));
    }
    let body = if exception.body == exception.text("exception.message") { kind } else { &exception.body };
    let _ = writeln!(text, "    {:>10}  {}  {body}\n", "0 ms", paint.red("error"));
}

/// Who, in which circumstances: what the program said of the request.
fn render_circumstances(text: &mut String, paint: Paint, exception: &Log) {
    const OWN: [&str; 8] = ["exception.", "crumbtrail.", "code.", "thread.", "error.type", "log.record", "service.", "user."];
    let pairs = |wanted: &dyn Fn(&str) -> bool| {
        let pairs = exception.attributes.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| format!("{key}={}", shown(value)));
        pairs.collect::<Vec<_>>().join("  ")
    };
    let flags: Vec<Value> = serde_json::from_str(exception.text("crumbtrail.feature_flags")).unwrap_or_default();
    let flags = flags.iter().map(|flag| format!("{}={}", flag["key"].as_str().unwrap_or("?"), flag["variant"].as_str().unwrap_or("?")));
    let lines = [
        ("who", pairs(&|key| key.starts_with("user."))),
        ("with", pairs(&|key| !OWN.iter().any(|own| key.starts_with(own)))),
        ("flags", flags.collect::<Vec<_>>().join("  ")),
    ];
    for (name, line) in lines.iter().filter(|(_, line)| !line.is_empty()) {
        let _ = writeln!(text, "  {} {line}", paint.dim(&format!("{name:<6}")));
    }
}

fn shown(value: &crumbtrail_receiver::Value) -> String {
    value.to_string()
}

fn render_crumb(paint: Paint, failed: u64, crumb: &Value) -> String {
    let before = crumb["timestamp"].as_str().and_then(nanos_of_day).map_or(String::new(), |crumb| {
        let micros = (failed / 1_000 % 86_400_000_000).saturating_sub(crumb / 1_000);
        if micros < 1_000 { format!("-{micros} µs") } else { format!("-{:.1} ms", micros as f64 / 1_000.0) }
    });
    let data = crumb["data"].as_object().map(|data| {
        let pairs = data.iter().map(|(key, value)| format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        pairs.collect::<Vec<_>>().join(" ")
    });
    let level = crumb["level"].as_str().unwrap_or_default();
    let message = crumb["message"].as_str().unwrap_or_default();
    let category = crumb["category"].as_str().unwrap_or_default();
    let of_span = message.starts_with("opened ") || message.starts_with("closed ");
    let message = match category {
        _ if of_span => paint.dim(message),
        "log" => message.to_owned(),
        // Left by hand, or of a kind of its own.
        other => format!("{} {message}", paint.bold(&format!("[{other}]"))),
    };
    format!("{before:>10}  {level:<5}  {message}  {}", paint.dim(&data.unwrap_or_default())).trim_end().to_owned()
}

/// Where the shop's sources are.
const OWN: &str = "examples/checkout/src/";

/// By name and file: a macro of a library expands into own functions, too.
fn is_own(function: &str, place: &str) -> bool {
    let name = function.trim_start_matches(['<', '&']);
    let named = name.starts_with("checkout::") || !function.contains("::");
    named && place.starts_with(OWN)
}

/// `2026-11-22T20:08:53.000123Z` → nanoseconds since midnight.
fn nanos_of_day(timestamp: &str) -> Option<u64> {
    let time = timestamp.split_once('T')?.1.trim_end_matches('Z');
    let (seconds, micros) = time.split_once('.')?;
    let mut total = 0;
    for part in seconds.split(':') {
        total = total * 60 + part.parse::<u64>().ok()?;
    }
    Some(total * 1_000_000_000 + micros.parse::<u64>().ok()? * 1_000)
}

/// Function and place of each frame.
fn frames(stack: &str) -> Vec<(String, String)> {
    let mut frames: Vec<(String, String)> = Vec::new();
    for line in stack.lines() {
        match (line.trim().strip_prefix("at "), line.split_once(": ")) {
            (Some(place), _) => {
                if let Some(last) = frames.last_mut() {
                    place[place.find(OWN).unwrap_or_default()..].clone_into(&mut last.1);
                }
            }
            (None, Some((_, function))) => frames.push((function.to_owned(), String::new())),
            _ => {}
        }
    }
    frames
}

/// Colours, on a terminal.
#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
