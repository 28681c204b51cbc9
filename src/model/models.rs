//! The models of this process, shared between those that use them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::attempt;
use super::choose::Engines;
use super::translate::Translator;
use super::verdict::Verdicts;
use super::{
    GoldenResult, Model, ModelError, ModelsConfig, Refusal, ServeConfig, Timing, Trial, golden,
    measure,
};
use crate::engine::{Engine, EngineKind, Form, SessionOptions, Tract};
use crate::event::{ModelName, Tensor};
use crate::package::{EngineChoice, ModelRef, Package, Repository};
use crate::task::SystemClock;

/// Loads models and hands them out; a version that is in use is loaded once.
#[derive(Debug)]
pub struct Models {
    config: ModelsConfig,
    /// Where those lie that came over the air.
    came: Option<PathBuf>,
    engines: Engines,
    loaded: Mutex<BTreeMap<(ModelName, u64), Weak<Model>>>,
    /// Held while loading, so that two who ask at once do not load twice.
    loading: Mutex<()>,
}

impl Models {
    /// Nothing is loaded yet, neither a model nor an engine.
    pub fn new(config: &ModelsConfig) -> Self {
        Self {
            config: config.clone(),
            came: None,
            engines: Engines::new(&config.ort, Verdicts::new(config.cache_dir.clone())),
            loaded: Mutex::default(),
            loading: Mutex::default(),
        }
    }

    /// The same with those of another directory, there or not.
    #[must_use]
    pub fn and(mut self, directory: Option<PathBuf>) -> Self {
        self.came = directory;
        self
    }

    /// The repository that the configuration names, and what came over the air.
    pub fn repository(&self) -> Result<Repository, ModelError> {
        let repository = Repository::open(&self.config.dir)?;
        Ok(match &self.came {
            Some(came) => repository.and(came),
            None => repository,
        })
    }

    /// Lets a model that was loaded for its own sake serve whoever asks for its name and version.
    pub fn adopt(&self, model: &Arc<Model>) {
        let key = (model.package().name.clone(), model.package().version);
        self.loaded().insert(key, Arc::downgrade(model));
    }

    /// The model that a reference means. Those who ask for the same version share it while it lives.
    pub fn load(&self, reference: &ModelRef) -> Result<Arc<Model>, ModelError> {
        let (version, directory) = self.repository()?.resolve(reference)?;
        let key = (reference.name.clone(), version);
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = self.loaded().get(&key).and_then(Weak::upgrade) {
            return Ok(model);
        }
        let model = self.serve(Package::open(&directory)?, None)?;
        let mut loaded = self.loaded();
        loaded.retain(|_, model| model.strong_count() > 0);
        loaded.insert(key, Arc::downgrade(&model));
        Ok(model)
    }

    /// How a model serves.
    pub fn serving(&self, name: &ModelName) -> ServeConfig {
        self.config.serve.get(name).cloned().unwrap_or_default()
    }

    /// The versions of a model that somebody uses, the oldest first.
    pub fn in_use(&self, name: &ModelName) -> Vec<Arc<Model>> {
        let loaded = self.loaded();
        let versions = loaded.range((name.clone(), 0)..=(name.clone(), u64::MAX));
        versions.filter_map(|(_, model)| model.upgrade()).collect()
    }

    // Nothing that can panic runs under this lock.
    fn loaded(&self) -> MutexGuard<'_, BTreeMap<(ModelName, u64), Weak<Model>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A model by name (`bearing`, `bearing@3`) or by path: a package or a bare `.onnx` file.
    pub fn find(&self, text: &str) -> Result<Package, ModelError> {
        let path = Path::new(text);
        match text.parse::<ModelRef>() {
            Ok(reference) if !path.exists() => Ok(self.repository()?.package(&reference)?),
            Err(error) if !path.exists() => Err(error.into()),
            _ => Ok(Package::open_path(path)?),
        }
    }

    /// Loads a package for its own sake. `choice` overrides the package, which overrides the
    /// configuration.
    pub fn serve(
        &self,
        package: Package,
        choice: Option<EngineChoice>,
    ) -> Result<Arc<Model>, ModelError> {
        let choice = choice.or(package.spec.engine).unwrap_or(self.config.engine);
        let serve = self.serving(&package.name);
        Model::load(package, choice, &self.engines, self.config.queue, &serve).map(Arc::new)
    }

    /// The engine of a kind and form, if it is there.
    pub fn engine(&self, kind: EngineKind, form: Form) -> Result<Arc<dyn Engine>, Refusal> {
        match kind {
            EngineKind::Tract => Ok(Arc::new(Tract::new(form))),
            EngineKind::Ort => self
                .engines
                .ort()
                .map_err(|reason| Refusal { engine: kind.to_string(), reason: reason.to_string() }),
        }
    }

    /// Runs every golden sample of a package on one engine.
    pub fn verify(
        &self,
        package: &Package,
        kind: EngineKind,
        form: Form,
    ) -> Result<Vec<GoldenResult>, ModelError> {
        let refused = |reason: String| refused(package, kind, reason);
        let engine = self.engine(kind, form).map_err(|refusal| refused(refusal.reason))?;
        let mut session = engine
            .load(package, SessionOptions::default())
            .map_err(|error| refused(error.to_string()))?;
        Ok(golden::verify(&mut *session, &mut Translator::new(package)?, package))
    }

    /// Times bare runs of one engine. Where the model fixes its batch, that is what it is run with.
    pub fn bench(
        &self,
        package: &Package,
        (kind, form): (EngineKind, Form),
        trial: Trial,
        budget: Duration,
    ) -> Result<Timing, ModelError> {
        let refused = |reason: String| refused(package, kind, reason);
        let engine = self.engine(kind, form).map_err(|refusal| refused(refusal.reason))?;
        let options = SessionOptions { intra_threads: trial.threads };
        let sessions = (0..trial.instances).map(|_| engine.load(package, options));
        let sessions: Result<Vec<_>, _> = sessions.collect();
        let mut sessions = sessions.map_err(|error| refused(error.to_string()))?;
        let inputs = inputs(package, trial.batch).ok_or_else(|| {
            refused("its open dimensions need a golden sample to be timed".into())
        })?;
        measure(&mut sessions, &inputs, budget, &SystemClock).map_err(|e| refused(e.to_string()))
    }
}

fn refused(package: &Package, kind: EngineKind, reason: String) -> ModelError {
    let refusals = vec![Refusal { engine: kind.to_string(), reason }];
    ModelError::Refused { model: package.name.clone(), refusals }
}

/// What to time with, `batch` times where the model takes that.
fn inputs(package: &Package, batch: usize) -> Option<Vec<Tensor>> {
    let inputs = attempt::typical(package)?;
    if batch <= 1 || !package.signature.is_batched() {
        return Some(inputs);
    }
    inputs.iter().map(|tensor| tensor.repeat(batch).ok()).collect()
}
