//! Layers: files, `conf.d`, a profile, the environment and `--set`, merged into one tree that
//! remembers where each value came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value, ValueKind};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::check::check;
use super::schema::validate;
use super::{Config, Problem, Problems};

/// A configuration file is a page or two; this is a bound, not a wish.
const MAX_FILE: u64 = 1 << 20;

/// What a configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `conf.d/*.toml` beside it is read after it, in the order of the names.
    pub file: PathBuf,
    /// A name and a text that stand in for the file (the demo).
    pub text: Option<(String, String)>,
    /// Overlays `[profile.NAME]`.
    pub profile: Option<String>,
    /// `key=value`, as in `log.level=debug`.
    pub set: Vec<String>,
    /// Environment variables; those that start with `EIR__` count.
    pub env: Vec<(String, String)>,
}

/// One layer: a tree, and what to call it in a message.
#[derive(Debug, Clone)]
struct Layer {
    origin: String,
    table: toml::Table,
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.table.iter().map(|(k, v)| (k.clone(), with_origin(v, &self.origin))).collect())
    }
}

/// Reads, merges and checks; every mistake is told at once.
pub fn load(sources: &Sources) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let layers = read_layers(sources, &mut problems);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let merged = layers
        .iter()
        .fold(config::Config::builder(), |builder, layer| builder.add_source(layer.clone()))
        .build()
        .map_err(|error| Problems(vec![problem("", "", error.to_string())]))?;

    let mut origins = Origins::default();
    let tree = strip_disabled(plain(&merged.cache, "", &mut origins));
    problems.extend(validate(&tree, &origins));
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config: Config = typed(&tree, &origins).map_err(Problems)?;
    problems.extend(check(&config, &origins));
    if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
}

/// Where each value came from, by its key (`pipeline.bearing.model`).
#[derive(Debug, Default)]
pub(super) struct Origins(BTreeMap<String, String>);

impl Origins {
    /// The layer of a key; of something in it, where it is a table; or of the nearest table around it.
    pub(super) fn of(&self, key: &str) -> String {
        let mut key = key;
        loop {
            let inside = format!("{key}.");
            let next = self.0.range(inside.clone()..).next();
            let first = next.filter(|(found, _)| found.starts_with(&inside));
            if let Some(origin) = self.0.get(key).or(first.map(|(_, origin)| origin)) {
                return origin.clone();
            }
            match key.rsplit_once('.') {
                Some((around, _)) => key = around,
                None => return String::new(),
            }
        }
    }

    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        problem(self.of(key), key, message)
    }
}

fn problem(origin: impl Into<String>, key: &str, message: impl Into<String>) -> Problem {
    Problem { origin: origin.into(), key: key.to_owned(), message: message.into() }
}

fn read_layers(sources: &Sources, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut profiles = Vec::new();
    let read: Vec<_> = match &sources.text {
        Some((name, text)) => vec![parse(name.clone(), text)],
        None => files(&sources.file, problems).iter().map(|path| read_file(path)).collect(),
    };
    for layer in read {
        match layer {
            Ok(mut layer) => {
                profiles.extend(take_profiles(&mut layer, problems));
                layers.push(layer);
            }
            Err(found) => problems.push(found),
        }
    }
    if let Some(wanted) = &sources.profile {
        let mut known: Vec<_> = profiles.iter().map(|(name, _)| name.clone()).collect();
        known.dedup();
        let chosen = profiles.into_iter().filter(|(name, _)| name == wanted);
        let before = layers.len();
        layers.extend(chosen.map(|(_, layer)| layer));
        if layers.len() == before {
            let message =
                format!("no [profile.{wanted}] in any file; known are: {}", known.join(", "));
            problems.push(problem("--profile", wanted, message));
        }
    }
    for (name, value) in &sources.env {
        if let Some(path) = name.strip_prefix("EIR__") {
            let path: Vec<_> = path.split("__").map(str::to_lowercase).collect();
            push_value(&mut layers, problems, name.clone(), &path, value);
        }
    }
    for assignment in &sources.set {
        let origin = format!("--set {assignment}");
        match assignment.split_once('=') {
            Some((key, value)) => {
                let path: Vec<_> = key.trim().split('.').map(str::to_owned).collect();
                push_value(&mut layers, problems, origin, &path, value.trim());
            }
            None => {
                problems.push(problem(origin, "", "write it as key=value, e.g. log.level=debug"));
            }
        }
    }
    layers
}

/// The file and what lies in `conf.d` beside it.
fn files(file: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    let directory = file.parent().unwrap_or(Path::new("")).join("conf.d");
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
            let mut layers: Vec<_> =
                paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
            layers.sort();
            files.extend(layers);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            problems.push(problem(directory.display().to_string(), "", error.to_string()));
        }
    }
    files
}

fn read_file(path: &Path) -> Result<Layer, Problem> {
    let origin = path.display().to_string();
    let bytes = crate::disk::read_bounded(path, MAX_FILE)
        .map_err(|error| problem(&origin, "", format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| problem(&origin, "", "is no UTF-8 text; a configuration is a TOML file"))?;
    parse(origin, &text)
}

fn parse(origin: String, text: &str) -> Result<Layer, Problem> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(Layer { origin, table }),
        Err(error) => {
            Err(problem(origin, "", format!("is no TOML: {}", error.to_string().trim_end())))
        }
    }
}

/// Takes `[profile.*]` out of a layer: an overlay counts only when it is chosen.
fn take_profiles(layer: &mut Layer, problems: &mut Vec<Problem>) -> Vec<(String, Layer)> {
    let Some(profiles) = layer.table.remove("profile") else { return Vec::new() };
    let mut found = Vec::new();
    let tables =
        if let toml::Value::Table(tables) = profiles { tables } else { toml::Table::new() };
    for (name, overlay) in tables {
        let origin = format!("{} [profile.{name}]", layer.origin);
        match overlay {
            toml::Value::Table(table) => found.push((name, Layer { origin, table })),
            _ => problems.push(problem(
                origin,
                &name,
                "a profile is a table, e.g. [profile.lab.log]",
            )),
        }
    }
    found
}

/// Adds a layer of one value, nested under its path. The text is read as a TOML value, or taken as a
/// string where it is none.
fn push_value(
    layers: &mut Vec<Layer>,
    problems: &mut Vec<Problem>,
    origin: String,
    path: &[String],
    text: &str,
) {
    if path.iter().any(String::is_empty) {
        return problems.push(problem(
            origin,
            "",
            "a key has an empty part; write it like log.level",
        ));
    }
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let value = parsed
        .and_then(|mut table| table.remove("value").filter(|_| table.is_empty()))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let nested = path.iter().rev().fold(value, |inner, part| {
        toml::Value::Table(std::iter::once((part.clone(), inner)).collect())
    });
    if let toml::Value::Table(table) = nested {
        layers.push(Layer { origin, table });
    }
}

fn with_origin(value: &toml::Value, origin: &String) -> Value {
    let kind = match value {
        toml::Value::String(text) => ValueKind::String(text.clone()),
        toml::Value::Integer(number) => ValueKind::I64(*number),
        toml::Value::Float(number) => ValueKind::Float(*number),
        toml::Value::Boolean(truth) => ValueKind::Boolean(*truth),
        toml::Value::Datetime(time) => ValueKind::String(time.to_string()),
        toml::Value::Array(items) => {
            ValueKind::Array(items.iter().map(|item| with_origin(item, origin)).collect())
        }
        toml::Value::Table(table) => ValueKind::Table(
            table.iter().map(|(k, v)| (k.clone(), with_origin(v, origin))).collect(),
        ),
    };
    Value::new(Some(origin), kind)
}

/// The merged tree as JSON, noting where each value came from.
fn plain(value: &Value, key: &str, origins: &mut Origins) -> Json {
    if let Some(origin) = value.origin() {
        origins.0.insert(key.to_owned(), origin.to_owned());
    }
    match &value.kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(truth) => (*truth).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::I128(number) => number.to_string().into(),
        ValueKind::U128(number) => number.to_string().into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.clone().into(),
        ValueKind::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| plain(item, &join(key, &index.to_string()), origins))
                .collect()
        }
        ValueKind::Table(table) => {
            let entries = table.iter();
            Json::Object(
                entries.map(|(k, v)| (k.clone(), plain(v, &join(key, k), origins))).collect(),
            )
        }
    }
}

pub(super) fn join(key: &str, part: &str) -> String {
    if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") }
}

/// `enabled = false` takes a table out of the tree, unchecked; `enabled = true` says nothing.
fn strip_disabled(tree: Json) -> Json {
    let Json::Object(entries) = tree else { return tree };
    let disabled = |value: &Json| value.get("enabled") == Some(&Json::Bool(false));
    Json::Object(
        entries
            .into_iter()
            .filter(|(key, value)| {
                !(disabled(value) || key == "enabled" && value == &Json::Bool(true))
            })
            .map(|(key, value)| (key, strip_disabled(value)))
            .collect(),
    )
}

/// The tree as [`Config`]. Named tables are read one by one, so that one mistake does not hide another.
fn typed(tree: &Json, origins: &Origins) -> Result<Config, Vec<Problem>> {
    match serde_path_to_error::deserialize(tree) {
        Ok(config) => Ok(config),
        Err(first) => {
            let mut problems = Vec::new();
            read_each::<super::PipelineConfig>(tree, "pipeline", origins, &mut problems);
            read_each::<crate::mqtt::ConnectionConfig>(tree, "mqtt", origins, &mut problems);
            if problems.is_empty() {
                problems
                    .push(origins.problem(&first.path().to_string(), first.inner().to_string()));
            }
            Err(problems)
        }
    }
}

fn read_each<T: DeserializeOwned>(
    tree: &Json,
    table: &str,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in tree.get(table).and_then(Json::as_object).into_iter().flatten() {
        if let Err(error) = serde_path_to_error::deserialize::<_, T>(value) {
            let key = join(&join(table, name), &error.path().to_string());
            problems.push(origins.problem(&key, error.inner().to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
