//! A directory of models: `<name>/<version>/model.onnx`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Package, PackageError};
use crate::event::{InvalidName, ModelName};

const MAX_ENTRIES: usize = 10_000;

/// Which model is meant: `bearing` (its newest version) or `bearing@3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelRef {
    /// The model's name.
    pub name: ModelName,
    /// The version that is pinned; the newest where none is.
    pub version: Option<u64>,
}

/// A text that names no model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidModelRef {
    /// The part before `@`.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The part behind `@`.
    #[error("`{0}` is no version; use a whole number from 1")]
    Version(String),
}

/// A model that lies in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: ModelName,
    /// Its versions, oldest first; at least one.
    pub versions: Vec<u64>,
}

/// A directory of models, or several that are looked at as one.
#[derive(Debug, Clone)]
pub struct Repository {
    directories: Vec<PathBuf>,
}

impl Repository {
    /// A repository in a directory, which must be there.
    pub fn open(directory: &Path) -> Result<Self, PackageError> {
        fs::read_dir(directory).map_err(|error| PackageError::read(directory, &error))?;
        Ok(Self { directories: vec![directory.to_owned()] })
    }

    /// The same with the models of one more directory, there or not. Where both have a version, that of the first counts.
    #[must_use]
    pub fn and(mut self, directory: &Path) -> Self {
        self.directories.push(directory.to_owned());
        self
    }

    /// Every model with its versions, by name. What is no model is passed over.
    pub fn models(&self) -> Result<Vec<Listed>, PackageError> {
        let mut names = BTreeSet::new();
        for (place, directory) in self.directories.iter().enumerate() {
            match entries(directory) {
                Ok(found) => names.extend(found.iter().filter_map(|name| name.parse().ok())),
                Err(error) if place == 0 => return Err(error),
                Err(_) => {}
            }
        }
        let listed = names.into_iter().map(|name: ModelName| {
            let versions = self.places(&name).into_iter().map(|(version, _)| version).collect();
            Listed { name, versions }
        });
        Ok(listed.filter(|model| !model.versions.is_empty()).collect())
    }

    /// The newest version of a model.
    pub fn latest(&self, name: &ModelName) -> Result<u64, PackageError> {
        let newest = self.places(name).last().map(|(version, _)| *version);
        newest.ok_or_else(|| PackageError::UnknownModel {
            name: name.to_string(),
            directory: self.directories[0].clone(),
            known: self.models().into_iter().flatten().map(|m| m.name.to_string()).collect(),
        })
    }

    /// The version that a reference means, and where it lies.
    pub fn resolve(&self, model: &ModelRef) -> Result<(u64, PathBuf), PackageError> {
        let newest = self.latest(&model.name)?;
        let version = model.version.unwrap_or(newest);
        let places = self.places(&model.name);
        let found = places.iter().find(|(known, _)| *known == version);
        found.cloned().ok_or_else(|| {
            let known = places.iter().map(|(known, _)| *known).collect();
            PackageError::UnknownVersion { name: model.name.to_string(), version, known }
        })
    }

    /// The versions of a model with where they lie, the oldest first.
    fn places(&self, name: &ModelName) -> Vec<(u64, PathBuf)> {
        let mut places = BTreeMap::new();
        for directory in &self.directories {
            let directory = directory.join(name.as_str());
            for version in versions(&directory).unwrap_or_default() {
                places.entry(version).or_insert_with(|| directory.join(version.to_string()));
            }
        }
        places.into_iter().collect()
    }

    /// Opens the package that a reference means.
    pub fn package(&self, model: &ModelRef) -> Result<Package, PackageError> {
        Package::open(&self.resolve(model)?.1)
    }
}

/// The versions below a model's directory, oldest first: directories with a `model.onnx`, named by
/// a positive integer as a person writes it.
pub(super) fn versions(directory: &Path) -> Result<Vec<u64>, PackageError> {
    let mut versions: Vec<u64> = entries(directory)?
        .iter()
        .filter_map(|entry| version(entry))
        .filter(|version| directory.join(version.to_string()).join("model.onnx").is_file())
        .collect();
    versions.sort_unstable();
    Ok(versions)
}

/// `07` and `+7` are no versions: two directories must not mean the same one.
pub(super) fn version(text: &str) -> Option<u64> {
    text.parse().ok().filter(|version: &u64| *version > 0 && version.to_string() == text)
}

fn entries(directory: &Path) -> Result<Vec<String>, PackageError> {
    let refused = |error| PackageError::read(directory, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(refused)?.take(MAX_ENTRIES) {
        if let Ok(name) = entry.map_err(refused)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

impl FromStr for ModelRef {
    type Err = InvalidModelRef;

    fn from_str(text: &str) -> Result<Self, InvalidModelRef> {
        let (name, pinned) = match text.split_once('@') {
            None => (text, None),
            Some((name, pinned)) => {
                let short = || pinned.chars().take(40).collect();
                (name, Some(version(pinned).ok_or_else(|| InvalidModelRef::Version(short()))?))
            }
        };
        Ok(Self { name: name.parse()?, version: pinned })
    }
}

impl TryFrom<String> for ModelRef {
    type Error = InvalidModelRef;

    fn try_from(text: String) -> Result<Self, InvalidModelRef> {
        text.parse()
    }
}

impl From<ModelRef> for String {
    fn from(model: ModelRef) -> Self {
        model.to_string()
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            None => self.name.fmt(f),
            Some(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

impl schemars::JsonSchema for ModelRef {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ModelRef".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(@[1-9][0-9]*)?$",
            "examples": ["bearing", "bearing@3"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DType;
    use crate::package::graph::Graph;
    use crate::package::test_package;

    fn reference(text: &str) -> ModelRef {
        text.parse().expect(text)
    }

    #[test]
    fn the_newest_version_is_the_largest_number() {
        let directory = tempfile::tempdir().expect("tempdir");
        let root = directory.path();
        let bytes = Graph::identity(DType::F32, &[Some(1)]).bytes();
        for version in ["2", "10", "03", "x", "0"] {
            test_package(&root.join("m").join(version), &bytes, "", &[]);
        }
        fs::create_dir_all(root.join("m/11")).expect("a version without a model");
        fs::create_dir_all(root.join("empty")).expect("a model without versions");

        let repository = Repository::open(root).expect("repository");
        let models = repository.models().expect("models");
        assert_eq!(models.len(), 1);
        assert_eq!(models[0].versions, [2, 10]);
        assert_eq!(repository.package(&reference("m")).expect("m").version, 10);
        assert_eq!(repository.package(&reference("m@2")).expect("m@2").version, 2);
        let error = repository.package(&reference("m@3")).expect_err("no such version");
        assert!(error.to_string().contains("2, 10"), "{error}");
        let error = repository.package(&reference("n")).expect_err("no such model");
        assert!(error.to_string().contains("known are m"), "{error}");
        assert!(Repository::open(&root.join("nowhere")).is_err());
    }

    #[test]
    fn two_directories_are_one_repository() {
        let directory = tempfile::tempdir().expect("tempdir");
        let root = directory.path();
        let bytes = Graph::identity(DType::F32, &[Some(1)]).bytes();
        for version in ["own/m/1", "own/m/2", "came/m/2", "came/m/3", "came/n/1"] {
            test_package(&root.join(version), &bytes, "", &[]);
        }
        let repository = Repository::open(&root.join("own")).expect("repository");
        let repository = repository.and(&root.join("came")).and(&root.join("nowhere"));
        let listed = repository.models().expect("models");
        let listed: Vec<_> = listed.iter().map(|m| (m.name.as_str(), &*m.versions)).collect();
        assert_eq!(listed, [("m", &[1, 2, 3][..]), ("n", &[1])]);
        let place = |text: &str| repository.resolve(&reference(text)).expect(text);
        assert_eq!(place("m"), (3, root.join("came/m/3")));
        assert_eq!(place("m@2"), (2, root.join("own/m/2")), "what the user put there counts");
        assert_eq!(place("n"), (1, root.join("came/n/1")));
    }

    #[test]
    fn a_reference_is_a_name_and_perhaps_a_version() {
        assert_eq!(reference("bearing").version, None);
        assert_eq!(reference("bearing@3").version, Some(3));
        assert_eq!(reference("bearing@3").to_string(), "bearing@3");
        for bad in ["", "@3", "a@", "a@0", "a@03", "a@-1", "a@b", "../x", "a@1@2"] {
            assert!(bad.parse::<ModelRef>().is_err(), "{bad}");
        }
    }
}
