//! A model that serves: its package, its thread, and what runs it at the moment.

use std::sync::{Arc, Mutex, PoisonError};

use super::choose::{self, Candidate, Engines, Threads};
use super::translate::Translator;
use super::{Caller, EngineStatus, ModelError};
use crate::engine::{EngineError, EngineKind, Port, Rebuild, Worker};
use crate::package::{EngineChoice, Package};

/// A model that passed its golden samples and serves. Dropping it ends its thread.
#[derive(Debug)]
pub struct Model {
    package: Arc<Package>,
    status: Arc<Mutex<EngineStatus>>,
    worker: Worker,
}

impl Model {
    pub(super) fn load(
        package: Package,
        choice: EngineChoice,
        engines: &Engines,
        queue: usize,
    ) -> Result<Self, ModelError> {
        // A model of several inputs serves tensors, but no pipeline and no golden sample.
        if package.signature.inputs.len() == 1 || !package.golden.is_empty() {
            Translator::new(&package)?;
        }
        let Candidate { session, status, engine, options } = engines.choose(&package, choice)?;
        tracing::info!(
            model = package.name.as_str(),
            version = package.version,
            engine = status.label(),
            reason = status.reason,
            "model loaded"
        );
        let package = Arc::new(package);
        let status = Arc::new(Mutex::new(status));
        let rebuild: Rebuild = {
            let (package, status) = (Arc::clone(&package), Arc::clone(&status));
            let may_fall_back = matches!(choice, EngineChoice::Auto | EngineChoice::Fastest);
            let (mut engine, mut threads) = (engine, Threads::Fixed(options.intra_threads));
            Box::new(move |failure: &EngineError| {
                let again = choose::attempt(&engine, &package, threads);
                let better = match again {
                    Ok(candidate) => Some(candidate),
                    Err(refusal) if may_fall_back && engine.kind() == EngineKind::Ort => {
                        tracing::warn!(model = %package.name, reason = refusal.reason, "trying tract");
                        choose::try_tract(&package).ok()
                    }
                    Err(_) => None,
                };
                let candidate = take_over(better, failure, &package, &status)?;
                engine = candidate.engine;
                threads = Threads::Fixed(candidate.options.intra_threads);
                Some(candidate.session)
            })
        };
        let worker = Worker::spawn(package.name.as_str(), queue, session, rebuild)
            .map_err(|source| ModelError::Thread { model: package.name.clone(), source })?;
        Ok(Self { package, status, worker })
    }

    /// What lies on disk.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// What runs it at the moment.
    pub fn status(&self) -> EngineStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which engine runs it at the moment.
    pub fn engine(&self) -> EngineKind {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).kind
    }

    /// A way through the model for one thread, from inputs to predictions.
    pub fn caller(self: &Arc<Self>) -> Result<Caller, ModelError> {
        let translator = Translator::new(&self.package)?;
        Ok(Caller::new(Arc::clone(self), translator, self.worker.port()))
    }

    /// A way to the engine for one thread, from tensors to tensors. It works as long as the model lives.
    pub fn port(&self) -> Port {
        self.worker.port()
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.worker.waiting()
    }
}

/// Notes what serves from now on, aloud.
fn take_over(
    better: Option<Candidate>,
    failure: &EngineError,
    package: &Package,
    status: &Mutex<EngineStatus>,
) -> Option<Candidate> {
    let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
    let model = package.name.as_str();
    let Some(mut candidate) = better else {
        tracing::error!(model, %failure, "the model keeps failing, and it cannot be built anew");
        status.reason = Some(format!("it keeps failing: {failure}"));
        return None;
    };
    candidate.status.reason = Some(format!("built anew after: {failure}"));
    tracing::warn!(model, %failure, engine = candidate.status.label(), "the session was built anew");
    *status = candidate.status.clone();
    Some(candidate)
}
