//! A model that serves: its package, its session, and what runs it at the moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::attempt::{Candidate, Threads, attempt};
use super::choose::{Engines, try_tract};
use super::translate::Translator;
use super::{Caller, EngineStatus, ModelError, Refusal, ServeConfig};
use crate::engine::{
    Condition, Engine, EngineError, EngineKind, Mend, Port, Priority, SessionOptions, Shared, Terms,
};
use crate::package::{EngineChoice, Package, Spec};

/// A model that passed its golden samples and serves. Dropping it unloads it.
#[derive(Debug)]
pub struct Model {
    package: Arc<Package>,
    status: Arc<Mutex<EngineStatus>>,
    terms: Terms,
    instances: usize,
    session: Shared,
}

impl Model {
    pub(super) fn load(
        package: Package,
        choice: EngineChoice,
        engines: &Engines,
        queue: usize,
        serve: &ServeConfig,
    ) -> Result<Self, ModelError> {
        // A bare model serves tensors, whether or not a pipeline could feed it.
        let says = package.spec != Spec::default() || !package.golden.is_empty();
        let usual = if says { Translator::new(&package)?.max_batch() } else { 1 };
        let max_batch = match serve.max_batch {
            Some(most) if !package.signature.is_batched() && most > 1 => {
                tracing::warn!(
                    model = package.name.as_str(),
                    "max_batch does not count: the model does not leave its batch open"
                );
                1
            }
            Some(most) => most,
            None => usual,
        };
        let terms = Terms { queue, max_batch, max_delay: serve.max_delay.0 };
        let candidate = engines.choose(&package, choice)?;
        Self::start(package, candidate, choice, (terms, serve.instances))
    }

    /// Lets a candidate serve on these terms, in so many instances.
    pub(super) fn start(
        package: Package,
        candidate: Candidate,
        choice: EngineChoice,
        (terms, instances): (Terms, usize),
    ) -> Result<Self, ModelError> {
        let Candidate { session, status, engine, options } = candidate;
        tracing::info!(
            model = package.name.as_str(),
            version = package.version,
            engine = status.label(),
            reason = status.reason,
            "model loaded"
        );
        for note in &status.notes {
            tracing::warn!(model = package.name.as_str(), "{note}");
        }
        let package = Arc::new(package);
        let status = Arc::new(Mutex::new(status));
        let mut sessions = vec![session];
        while sessions.len() < instances {
            let more = engine.load(&package, options).map_err(|problem| ModelError::Refused {
                model: package.name.clone(),
                refusals: vec![Refusal {
                    engine: engine.kind().to_string(),
                    reason: format!("instance {}: {problem}", sessions.len() + 1),
                }],
            })?;
            sessions.push(more);
        }
        let mend = mend(&package, &status, choice, engine, options);
        Ok(Self { package, status, terms, instances, session: Shared::new(terms, sessions, mend) })
    }

    /// What lies on disk.
    pub fn package(&self) -> &Package {
        &self.package
    }

    /// What runs it at the moment.
    pub fn status(&self) -> EngineStatus {
        lock(&self.status).clone()
    }

    /// Which engine runs it at the moment.
    pub fn engine(&self) -> EngineKind {
        lock(&self.status).kind
    }

    /// A way through the model for one thread, from inputs to predictions.
    pub fn caller(self: &Arc<Self>) -> Result<Caller, ModelError> {
        let translator = Translator::new(&self.package)?;
        Ok(Caller::new(Arc::clone(self), translator, self.session.port(Priority::Pipeline)))
    }

    /// A way to the engine for clients, from tensors to tensors. It works as long as the model lives.
    pub fn port(&self) -> Port {
        self.session.port(Priority::Client)
    }

    /// How callers share it.
    pub const fn terms(&self) -> Terms {
        self.terms
    }

    /// Its sessions.
    pub const fn instances(&self) -> usize {
        self.instances
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.session.waiting()
    }
}

/// Builds the session anew when it keeps failing, on tract if its own engine cannot and it may.
fn mend(
    package: &Arc<Package>,
    status: &Arc<Mutex<EngineStatus>>,
    choice: EngineChoice,
    mut engine: Arc<dyn Engine>,
    options: SessionOptions,
) -> Mend {
    let (package, status) = (Arc::clone(package), Arc::clone(status));
    let may_fall_over = matches!(choice, EngineChoice::Auto | EngineChoice::Fastest);
    let threads = Threads::Fixed(options.intra_threads);
    Box::new(move |condition| {
        let failure = match condition {
            Condition::Failing(failure) => failure,
            Condition::Well => {
                tracing::info!(model = %package.name, "the model works again");
                lock(&status).failing = None;
                return None;
            }
        };
        let better = match attempt(&engine, &package, threads) {
            Ok(candidate) => Some(candidate),
            Err(refusal) if may_fall_over && engine.kind() == EngineKind::Ort => {
                tracing::warn!(model = %package.name, reason = refusal.reason, "trying tract");
                try_tract(&package).ok()
            }
            Err(_) => None,
        };
        let candidate = take_over(better, failure, &package, &status)?;
        engine = candidate.engine;
        Some(candidate.session)
    })
}

/// Notes what serves from now on, aloud.
fn take_over(
    better: Option<Candidate>,
    failure: &EngineError,
    package: &Package,
    status: &Mutex<EngineStatus>,
) -> Option<Candidate> {
    let mut status = lock(status);
    let model = package.name.as_str();
    let Some(mut candidate) = better else {
        tracing::error!(model, %failure, "the model keeps failing, and it cannot be built anew");
        status.failing = Some(failure.to_string());
        return None;
    };
    candidate.status.reason = Some(format!("built anew after: {failure}"));
    tracing::warn!(model, %failure, engine = candidate.status.label(), "the session was built anew");
    *status = candidate.status.clone();
    Some(candidate)
}

// No code that can panic runs under this lock.
fn lock(status: &Mutex<EngineStatus>) -> MutexGuard<'_, EngineStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}
