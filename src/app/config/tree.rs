//! The merged tree, and where each of its values came from.

use std::collections::{BTreeMap, BTreeSet};

use config::builder::DefaultState;
use config::{ConfigBuilder, Value, ValueKind};
use serde_json::Value as Json;

use super::Problem;
use super::layer::Layer;

/// Tables whose absence does not mean that they are off. `null` does.
const ON_BY_DEFAULT: [&str; 1] = ["summary"];

/// Lays the layers over each other, and takes out what is not enabled.
pub(super) fn merge(layers: Vec<Layer>) -> Result<(Json, Origins), Problem> {
    let merged = layers
        .into_iter()
        .fold(config::Config::builder(), ConfigBuilder::<DefaultState>::add_source)
        .build()
        .map_err(|error| problem("", "", error.to_string()))?;
    let mut origins = Origins::default();
    let mut tree = plain(&merged.cache, "", &mut origins);
    for key in ON_BY_DEFAULT {
        if let Some(table) = tree.get_mut(key).filter(|table| is_disabled(table)) {
            *table = Json::Null;
        }
    }
    let tree = strip_disabled(tree);
    Ok((tree, origins))
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

/// What was found so far.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    origins: &'a Origins,
    list: Vec<Problem>,
    keys: BTreeSet<String>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(origins: &'a Origins) -> Self {
        Self { origins, list: Vec::new(), keys: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, key: &str, message: impl Into<String>) {
        self.keys.insert(key.to_owned());
        self.list.push(self.origins.problem(key, message));
    }

    /// Something is wrong with a value, or within it.
    pub(super) fn touch(&self, key: &str) -> bool {
        self.keys.contains(key) || self.within(key).next().is_some()
    }

    /// Something is wrong with a table but for what stands in its table `part`.
    pub(super) fn touch_beside(&self, key: &str, part: &str) -> bool {
        let part = join(key, part);
        let inside = format!("{part}.");
        let beside = |found: &&String| **found != part && !found.starts_with(&inside);
        self.keys.contains(key) || self.within(key).any(|found| beside(&found))
    }

    fn within(&self, key: &str) -> impl Iterator<Item = &String> {
        let inside = format!("{key}.");
        let from = self.keys.range(inside.clone()..);
        from.take_while(move |found| found.starts_with(&inside))
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }
}

pub(super) fn problem(origin: impl Into<String>, key: &str, message: impl Into<String>) -> Problem {
    Problem { origin: origin.into(), key: key.to_owned(), message: message.into() }
}

/// The key of a value in a table, as TOML writes it: `pipeline."my.pipe"`.
pub(in crate::app) fn join(key: &str, part: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let bare = !part.is_empty() && part.chars().all(is_bare);
    let part = if bare { part.to_owned() } else { toml::Value::from(part).to_string() };
    if key.is_empty() { part } else { format!("{key}.{part}") }
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

/// `enabled = false` takes a table out of the tree, unchecked; `enabled = true` says nothing.
fn strip_disabled(tree: Json) -> Json {
    let Json::Object(entries) = tree else { return tree };
    Json::Object(
        entries
            .into_iter()
            .filter(|(key, value)| {
                !(is_disabled(value) || key == "enabled" && value == &Json::Bool(true))
            })
            .map(|(key, value)| (key, strip_disabled(value)))
            .collect(),
    )
}

fn is_disabled(table: &Json) -> bool {
    table.get("enabled") == Some(&Json::Bool(false))
}
