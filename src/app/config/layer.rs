//! Layers: files, `conf.d`, a profile, the environment and `--set`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::Problem;
use super::tree::problem;
use crate::event::Name;
use crate::update::config::UpdateConfig;
use crate::update::depot::Depot;

/// A configuration file is a page or two; this is a bound, not a wish.
const MAX_FILE: u64 = 1 << 20;

/// What a layer of a release cannot set: who the device is, and whom it believes.
pub const NOT_RELEASED: [&str; 2] = ["device", "update"];

/// So many `=` of a `--set` may stand in its key.
const MAX_EQUALS: usize = 8;

/// What a configuration is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `conf.d/*.toml` beside it is read after it, in the order of the names.
    pub file: PathBuf,
    /// A name and a text that stand in for the file (the demo).
    pub text: Option<(String, String)>,
    /// A file of `conf.d` and a text that stands in for it, there or not (`eir device init`).
    pub over: Option<(PathBuf, String)>,
    /// A layer of a release that is to be tried: its name and its text, in place of the layer of that name that counts.
    pub tried: Option<(Name, String)>,
    /// Layers that came over the air do not count.
    pub bare: bool,
    /// Overlays `[profile.NAME]`.
    pub profile: Option<String>,
    /// `key=value`, as in `log.level=debug`.
    pub set: Vec<String>,
    /// Environment variables; those that start with `EIR__` count.
    pub env: Vec<(String, String)>,
}

impl Sources {
    /// What another eir is to be told on its command line to read the same; the environment it has.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--config".to_owned(), self.file.display().to_string()];
        let profile = self.profile.iter().map(|name| ("--profile", name));
        for (flag, value) in profile.chain(self.set.iter().map(|set| ("--set", set))) {
            arguments.extend([flag.to_owned(), value.clone()]);
        }
        arguments
    }
}

/// One layer: a tree, and what to call it in a message.
#[derive(Debug, Clone)]
pub(super) struct Layer {
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

/// The layers of a configuration, the weakest first. `None`: a file cannot be read, and what is missing
/// then is unknown.
pub(super) fn read_layers(sources: &Sources, problems: &mut Vec<Problem>) -> Option<Vec<Layer>> {
    let (mut layers, mut profiles) = read_files(sources, problems)?;
    if !sources.bare {
        let (came, more) = read_releases(sources, &layers, problems)?;
        layers.extend(came);
        profiles.extend(more);
    }
    if let Some(wanted) = &sources.profile {
        let known: BTreeSet<_> = profiles.iter().map(|(name, _)| name.clone()).collect();
        if !known.contains(wanted) {
            let known: Vec<_> = known.into_iter().collect();
            let known = if known.is_empty() {
                "there is none".to_owned()
            } else {
                format!("known are: {}", known.join(", "))
            };
            let message = format!("no [profile.{wanted}] in any file; {known}");
            problems.push(problem("--profile", wanted, message));
        }
        let chosen = profiles.into_iter().filter(|(name, _)| name == wanted);
        layers.extend(chosen.map(|(_, layer)| layer));
    }
    for (name, value) in &sources.env {
        if let Some(path) = name.strip_prefix("EIR__") {
            let path: Vec<_> = path.split("__").map(str::to_lowercase).collect();
            if path.iter().any(String::is_empty) {
                let message = "a part of the key is empty; write it like EIR__LOG__LEVEL";
                problems.push(problem(name, "", message));
            } else {
                layers.push(one_value(name.clone(), &path, value));
            }
        }
    }
    for assignment in &sources.set {
        let origin = format!("--set {assignment}");
        match split_assignment(assignment) {
            Some((path, value)) => layers.push(one_value(origin, &path, value)),
            None => {
                problems.push(problem(origin, "", "write it as key=value, e.g. log.level=debug"));
            }
        }
    }
    Some(layers)
}

type Profiles = Vec<(String, Layer)>;

/// The files, and the profiles that were in them. Every file that cannot be read is told.
fn read_files(sources: &Sources, problems: &mut Vec<Problem>) -> Option<(Vec<Layer>, Profiles)> {
    let (mut layers, mut profiles) = (Vec::new(), Vec::new());
    let before = problems.len();
    let mut read = Vec::new();
    let mut paths = Vec::new();
    if let Some((name, text)) = &sources.text {
        read.push(parse(name.clone(), text));
    } else {
        read.push(read_file(&sources.file));
        paths = directory_beside(&sources.file, problems);
    }
    let over = sources.over.as_ref();
    paths.extend(over.map(|(path, _)| path.clone()));
    paths.sort();
    paths.dedup();
    read.extend(paths.iter().map(|path| match over {
        Some((over, text)) if over == path => parse(path.display().to_string(), text),
        _ => read_file(path),
    }));
    for layer in read {
        match layer {
            Ok(mut layer) => {
                profiles.extend(take_profiles(&mut layer, problems));
                layers.push(layer);
            }
            Err(found) => problems.push(found),
        }
    }
    (problems.len() == before).then_some((layers, profiles))
}

/// What came over the air: those layers that count, in the order of their names, behind all files.
fn read_releases(
    sources: &Sources,
    layers: &[Layer],
    problems: &mut Vec<Problem>,
) -> Option<(Vec<Layer>, Profiles)> {
    let before = problems.len();
    let mut texts = BTreeMap::new();
    if let Some(directory) = updates_in(sources, layers) {
        match Depot::at(&directory).layers() {
            Ok(found) => {
                texts.extend(found.into_iter().map(|(name, _, path)| (name, read_file(&path))));
            }
            Err(error) => {
                let origin = directory.display().to_string();
                problems.push(problem(origin, "", format!("cannot be read: {error}")));
            }
        }
    }
    if let Some((name, text)) = &sources.tried {
        texts.insert(name.clone(), parse(format!("release config/{name}"), text));
    }
    let (mut layers, mut profiles) = (Vec::new(), Vec::new());
    for layer in texts.into_values() {
        match layer {
            Ok(mut layer) => {
                for key in NOT_RELEASED {
                    if layer.table.contains_key(key) {
                        let message = "is a matter of the device: it stands in its own files, and in no release";
                        problems.push(problem(&layer.origin, key, message));
                    }
                }
                profiles.extend(take_profiles(&mut layer, problems));
                layers.push(layer);
            }
            Err(found) => problems.push(found),
        }
    }
    (problems.len() == before).then_some((layers, profiles))
}

/// `[update].dir`, as far as it can be known of layers that nobody has checked yet; `None`: there is no `[update]`.
fn updates_in(sources: &Sources, layers: &[Layer]) -> Option<PathBuf> {
    let of = |layer: &Layer| layer.table.get("update").cloned();
    let set = |text: &String| {
        let (path, value) = split_assignment(text)?;
        of(&one_value(String::new(), &path, value))
    };
    let env = |(name, value): &(String, String)| {
        let path: Vec<_> = name.strip_prefix("EIR__")?.split("__").map(str::to_lowercase).collect();
        of(&one_value(String::new(), &path, value))
    };
    let all = layers.iter().filter_map(of);
    let all =
        all.chain(sources.env.iter().filter_map(env)).chain(sources.set.iter().filter_map(set));
    let all: Vec<_> = all.collect();
    let named = all.iter().rev().find_map(|table| table.get("dir")?.as_str());
    let usual = || UpdateConfig::default().dir;
    (!all.is_empty()).then(|| named.map_or_else(usual, PathBuf::from))
}

/// Where updates lie, before anything of the configuration is checked: an older program may have to find them in the
/// configuration of a newer one.
pub fn update_directory(sources: &Sources) -> Option<PathBuf> {
    let (layers, _) = read_files(sources, &mut Vec::new())?;
    updates_in(sources, &layers)
}

/// What lies in `conf.d` beside the file.
fn directory_beside(file: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let directory = file.parent().unwrap_or(Path::new("")).join("conf.d");
    match std::fs::read_dir(&directory) {
        Ok(entries) => {
            let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
            return paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            problems.push(problem(directory.display().to_string(), "", error.to_string()));
        }
    }
    Vec::new()
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

/// `key=value`; the key as TOML writes it, so that a quoted part may hold a dot or `=`.
fn split_assignment(assignment: &str) -> Option<(Vec<String>, &str)> {
    let places = assignment.match_indices('=').take(MAX_EQUALS);
    places.map(|(at, _)| assignment.split_at(at)).find_map(|(key, value)| {
        let key = Some(key.trim()).filter(|key| !key.contains(['\n', '\r', '#']))?;
        let mut table = format!("{key} = 0").parse::<toml::Table>().ok()?;
        let mut path = Vec::new();
        loop {
            let (part, inner) = std::mem::take(&mut table).into_iter().next()?;
            path.push(part);
            match inner {
                toml::Value::Table(inner) => table = inner,
                _ => return Some((path, value.strip_prefix('=')?.trim())),
            }
        }
    })
}

/// A layer of one value, nested under its path. The text is read as a TOML value, or taken as a string
/// where it is none.
fn one_value(origin: String, path: &[String], text: &str) -> Layer {
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let value = parsed
        .and_then(|mut table| table.remove("value").filter(|_| table.is_empty()))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let table = |key: &String, value| std::iter::once((key.clone(), value)).collect();
    let Some((first, rest)) = path.split_first() else {
        return Layer { origin, table: toml::Table::new() };
    };
    let nested =
        rest.iter().rev().fold(value, |inner, part| toml::Value::Table(table(part, inner)));
    Layer { origin, table: table(first, nested) }
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

#[cfg(test)]
mod tests;
