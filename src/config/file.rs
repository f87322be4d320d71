//! A file instead of the environment's variables (OpenTelemetry specification, "Declarative
//! configuration"; schema 1.x). Comes in: YAML. Goes out: settings, and what of the file is not
//! known here, with line and column.

mod schema;
mod yaml;

use std::{collections::HashSet, path::Path};

use serde::Deserialize;

use self::{schema::File, yaml::Document};
use super::{EnvVars, Proxies, Read, Warning};

/// Bytes of a file at most.
const MAX_FILE: u64 = 1 << 20;

/// Reads a file. References to variables in it are looked up in `environment`; nothing else is
/// (specification: other variables are ignored where there is a file).
///
/// # Errors
/// Why it cannot be used, in words: with line and column where it is in the file.
pub(crate) fn read(path: &Path, environment: &EnvVars) -> Result<Read, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.len() > MAX_FILE {
        return Err(format!("it has {} bytes, and may have {MAX_FILE}", metadata.len()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let (settings, unknown) = parse(&text, environment)?;
    let warning = |((line, column), problem): Remark| Warning::new(&format!("{}:{line}:{column}", path.display()), &problem);
    Ok(Read {
        settings,
        warnings: unknown.into_iter().map(warning).collect(),
        proxies: Some(Proxies::read(environment)),
        ..Read::default()
    })
}

/// Line and column, and what is wrong there.
type Remark = ((usize, usize), String);

fn parse(text: &str, environment: &EnvVars) -> Result<(super::Settings, Vec<Remark>), String> {
    let document = Document::read(text, &|name| environment.get(name))?;
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&document.content, &mut track);
    let mut ignored = |path: serde_ignored::Path<'_>| unknown.push(yaml::keys_of(&path));
    let file = File::deserialize(serde_ignored::Deserializer::new(tracked, &mut ignored));
    let file = file.map_err(|error| {
        let path = yaml::keys_at(&track.path());
        let (line, column) = document.place(&path);
        format!("{line}:{column} ({}): {}", path.join("."), yaml::without_values(&error))
    })?;
    let mut said = HashSet::new();
    let mut remarks: Vec<Remark> = unknown
        .into_iter()
        .filter(|path| said.insert(path.clone()))
        .map(|path| (document.place(&path), format!("{} is not known here; ignored", path.join("."))))
        .collect();
    let settings = file.into_settings(environment, &mut |path, problem| {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        remarks.push((document.place(&path), format!("{}: {problem}", path.join("."))));
    });
    let settings = settings.map_err(|problem| {
        // It begins with the keys that lead there.
        let path: Vec<String> = problem.split(": ").next().unwrap_or_default().split('.').map(str::to_owned).collect();
        let (line, column) = document.place(&path);
        format!("{line}:{column} {problem}")
    })?;
    remarks.sort();
    Ok((settings, remarks))
}

#[cfg(test)]
mod tests;
