//! YAML with references to variables, as JSON that remembers where everything stood.

use std::collections::HashMap;

use saphyr::{MarkedYaml, Scalar, YamlData, YamlLoader};
use saphyr_parser::{Marker, Parser};
use serde_json::{Map, Value};

/// What a file says.
pub(super) struct Document {
    pub(super) content: Value,
    /// By the keys that lead there: line and column, from one.
    places: HashMap<Vec<String>, (usize, usize)>,
}

/// Values of variables.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Nested deeper than this is no configuration.
const MAX_DEPTH: usize = 64;

impl Document {
    /// # Errors
    /// What is wrong, and where.
    pub(super) fn read(text: &str, variables: Variables<'_>) -> Result<Self, String> {
        if let Some((line, _)) = text.lines().enumerate().find(|(_, line)| nested_by(line) > MAX_DEPTH) {
            return Err(format!("{}: nested too deeply", shown((line + 1, 1))));
        }
        let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
        // Whether a text is a number shows when its variables have values.
        loader.early_parse(false);
        loader.alias_limit(10_000);
        let loaded = Parser::new_from_str(text).load(&mut loader, true);
        if let Some(error) = loader.error().or(loaded.as_ref().err()) {
            return Err(format!("{}: {}", shown(place_of(*error.marker())), error.info()));
        }
        let mut documents = loader.into_documents().into_iter();
        let (Some(root), None) = (documents.next(), documents.next()) else {
            return Err("it is not one YAML document".to_owned());
        };
        let mut document = Self { content: Value::Null, places: HashMap::new() };
        document.content = document.converted(&root, &mut Vec::new(), variables)?;
        Ok(document)
    }

    /// Line and column of something; of what is not there, where it would be.
    pub(super) fn place(&self, path: &[String]) -> (usize, usize) {
        let known = (0..=path.len()).rev().find_map(|length| self.places.get(&path[..length]));
        known.copied().unwrap_or((1, 1))
    }

    fn converted(&mut self, node: &MarkedYaml<'_>, path: &mut Vec<String>, variables: Variables<'_>) -> Result<Value, String> {
        let here = place_of(node.span.start);
        self.places.entry(path.clone()).or_insert(here);
        if path.len() > MAX_DEPTH {
            return Err(format!("{}: nested too deeply", shown(here)));
        }
        match &node.data {
            YamlData::Representation(text, style, tag) => {
                let text = substituted(text, variables).map_err(|problem| format!("{}: {problem}", shown(here)))?;
                let scalar = Scalar::parse_from_cow_and_metadata(text.as_str().into(), *style, tag.as_ref());
                let value = match scalar.ok_or_else(|| format!("{}: not what its tag says", shown(here)))? {
                    Scalar::Null => Value::Null,
                    Scalar::Boolean(value) => value.into(),
                    // As it is written: `1.10` may be a version. Who wants a number reads one.
                    Scalar::Integer(_) | Scalar::FloatingPoint(_) | Scalar::String(_) => text.into(),
                };
                Ok(value)
            }
            YamlData::Sequence(items) => {
                let mut values = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    values.push(self.converted(item, path, variables)?);
                    path.pop();
                }
                Ok(Value::Array(values))
            }
            YamlData::Mapping(entries) => {
                let mut values = Map::new();
                for (key, value) in entries {
                    let at = place_of(key.span.start);
                    // Keys are as they are written: no variables.
                    let YamlData::Representation(name, ..) = &key.data else { return Err(format!("{}: a key is no text", shown(at))) };
                    path.push(name.to_string());
                    self.places.insert(path.clone(), at);
                    values.insert(name.to_string(), self.converted(value, path, variables)?);
                    path.pop();
                }
                Ok(Value::Object(values))
            }
            YamlData::Tagged(_, node) => self.converted(node, path, variables),
            YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => Err(format!("{}: an alias of nothing", shown(here))),
        }
    }
}

/// Puts values in the place of `${NAME}`, `${env:NAME}`, `${NAME:-default}`; `$$` is a dollar sign
/// (specification, "Environment variable substitution"). What comes in is not looked at again.
fn substituted(text: &str, variables: Variables<'_>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (reference, after) = after.split_once('}').ok_or("a reference to a variable has no end")?;
            let (name, default) = reference.split_once(":-").map_or((reference, ""), |(name, default)| (name, default));
            let name = name.strip_prefix("env:").unwrap_or(name);
            let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
            if !is_name {
                // What follows may be a value.
                let known: String = name.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect();
                return Err(format!("what begins with {known:?} is no name of a variable; a default is written ${{NAME:-default}}"));
            }
            // Empty is unset.
            out.push_str(&variables(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()));
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// How many levels one line opens: `- - - x`. (The parser recurses by them, and limits only those of braces.)
fn nested_by(line: &str) -> usize {
    let (mut rest, mut levels) = (line.trim_start(), 0);
    while let Some(after) = ["- ", "? ", ": "].iter().find_map(|indicator| rest.strip_prefix(indicator)) {
        (rest, levels) = (after.trim_start(), levels + 1);
    }
    levels
}

/// What was expected, without what is there: that may be a key.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once("expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None if text.starts_with("missing field") => text,
        None => "it has another form here".to_owned(),
    }
}

/// Line and column, from one.
fn place_of(marker: Marker) -> (usize, usize) {
    (marker.line(), marker.col() + 1)
}

fn shown((line, column): (usize, usize)) -> String {
    format!("{line}:{column}")
}

/// The keys that lead to something that nobody has asked for.
pub(super) fn keys_of(path: &serde_ignored::Path<'_>) -> Vec<String> {
    use serde_ignored::Path;
    let (parent, key) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => (parent, None),
    };
    let mut keys = keys_of(parent);
    keys.extend(key);
    keys
}

/// The same, of what is not as it was expected.
pub(super) fn keys_at(path: &serde_path_to_error::Path) -> Vec<String> {
    use serde_path_to_error::Segment;
    let key = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    };
    path.iter().filter_map(key).collect()
}
