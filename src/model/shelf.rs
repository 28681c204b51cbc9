//! Models for those who ask for them by name: the ones that pipelines run, and others that are kept loaded for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::{Model, ModelError, Models, Served};
use crate::event::ModelName;
use crate::package::ModelRef;

/// Models by name. One that neither a pipeline nor the shelf holds is not loaded.
#[derive(Debug)]
pub struct Shelf {
    models: Arc<Models>,
    kept: Mutex<BTreeMap<(ModelName, u64), Arc<Model>>>,
    served: Mutex<BTreeMap<(ModelName, u64), Arc<Served>>>,
}

/// Why there is no such model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Absent {
    /// It is not in the repository.
    #[error("there is no model `{0}`; those that there are: {1}")]
    Unknown(String, String),
    /// It is there, and nobody has it loaded.
    #[error("model `{0}` is not loaded; POST /v2/repository/models/{0}/load loads it")]
    Idle(ModelName),
    /// Another version is.
    #[error("model `{model}` is loaded in version {loaded}, not {version}")]
    Version {
        /// The model.
        model: ModelName,
        /// The version asked for.
        version: u64,
        /// Those that are loaded.
        loaded: String,
    },
}

/// A version of a model in the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The model.
    pub name: ModelName,
    /// Its version.
    pub version: u64,
    /// It is loaded.
    pub ready: bool,
}

impl Shelf {
    /// Nothing is kept yet.
    pub fn new(models: Arc<Models>) -> Self {
        Self { models, kept: Mutex::default(), served: Mutex::default() }
    }

    /// A model that is loaded: the version, or the newest of those that are. Does not touch the disk.
    pub fn loaded(&self, name: &str, version: Option<u64>) -> Option<Arc<Model>> {
        let loaded = self.models.in_use(&name.parse().ok()?);
        let wanted =
            |model: &Arc<Model>| version.is_none_or(|version| model.package().version == version);
        loaded.into_iter().rev().find(wanted)
    }

    /// The same, or why there is none.
    pub fn find(&self, name: &str, version: Option<u64>) -> Result<Arc<Model>, Absent> {
        let Ok(parsed) = name.parse::<ModelName>() else { return Err(self.unknown(name)) };
        if let Some(model) = self.loaded(name, version) {
            return Ok(model);
        }
        let loaded = self.models.in_use(&parsed);
        match version {
            Some(version) if !loaded.is_empty() => {
                let loaded = loaded.iter().map(|model| model.package().version.to_string());
                let loaded = loaded.collect::<Vec<_>>().join(", ");
                Err(Absent::Version { model: parsed, version, loaded })
            }
            _ if self.entries().iter().any(|entry| entry.name == parsed) => {
                Err(Absent::Idle(parsed))
            }
            _ => Err(self.unknown(name)),
        }
    }

    /// Loads the newest version of a model and keeps it; those kept before make way for it. Takes as long as that
    /// takes: not for a task.
    pub fn load(&self, name: &ModelName) -> Result<(), ModelError> {
        let reference = ModelRef { name: name.clone(), version: None };
        let model = self.models.load(&reference)?;
        let version = model.package().version;
        let before = self.put_away(name);
        lock(&self.kept).insert((name.clone(), version), model);
        drop(before);
        Ok(())
    }

    /// One version of a model, loaded for as long as it is held. Takes as long as that takes: not for a task.
    pub fn borrow(&self, name: &ModelName, version: u64) -> Result<Arc<Model>, ModelError> {
        self.models.load(&ModelRef { name: name.clone(), version: Some(version) })
    }

    /// Keeps a model no longer. True: a pipeline still runs it, or a request.
    pub fn unload(&self, name: &ModelName) -> bool {
        drop(self.put_away(name));
        !self.models.in_use(name).is_empty()
    }

    /// What was kept of a model, to be dropped out of the lock: the last one waits for those who still use it.
    fn put_away(&self, name: &ModelName) -> Vec<((ModelName, u64), Arc<Model>)> {
        lock(&self.kept).extract_if(.., |(other, _), _| other == name).collect()
    }

    /// Every version of every model in the repository; none where it cannot be read.
    pub fn entries(&self) -> Vec<Entry> {
        let listed = self.models.repository().and_then(|repository| Ok(repository.models()?));
        let listed = listed.unwrap_or_else(|error| {
            tracing::debug!("the repository cannot be listed: {error}");
            Vec::new()
        });
        let mut entries = Vec::new();
        for model in listed {
            let loaded = self.models.in_use(&model.name);
            entries.extend(model.versions.iter().map(|version| Entry {
                name: model.name.clone(),
                version: *version,
                ready: loaded.iter().any(|loaded| loaded.package().version == *version),
            }));
        }
        entries
    }

    /// What was asked of this version.
    pub fn served(&self, model: &Model) -> Arc<Served> {
        let package = model.package();
        let mut served = lock(&self.served);
        let served = served.entry((package.name.clone(), package.version));
        Arc::clone(served.or_insert_with(|| {
            let cache = self.models.serving(&package.name).cache.0;
            Arc::new(Served::new(cache))
        }))
    }

    /// What was asked of every version so far.
    pub fn all_served(&self) -> Vec<((ModelName, u64), Arc<Served>)> {
        let served = lock(&self.served);
        served.iter().map(|(key, served)| (key.clone(), Arc::clone(served))).collect()
    }

    fn unknown(&self, name: &str) -> Absent {
        let mut known: Vec<_> =
            self.entries().into_iter().map(|entry| entry.name.as_str().to_owned()).collect();
        known.dedup();
        Absent::Unknown(name.chars().take(64).collect(), known.join(", "))
    }
}

// No code that can panic runs under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
