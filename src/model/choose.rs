//! Which engine serves a model: every candidate answers the golden samples first.

use std::sync::{Arc, OnceLock};

use super::attempt::{Candidate, Threads, attempt, typical};
use super::measure::race;
use super::verdict::Verdicts;
use super::{ModelError, Refusal};
use crate::engine::{Engine, EngineKind, Form, OrtConfig, OrtUnavailable, Tract};
use crate::package::{EngineChoice, Package};
use crate::task::SystemClock;

/// The engines of this process. ONNX Runtime's library is looked for when it is first needed.
#[derive(Debug)]
pub(super) struct Engines {
    config: OrtConfig,
    verdicts: Verdicts,
    ort: OnceLock<Result<Arc<dyn Engine>, OrtUnavailable>>,
}

impl Engines {
    pub(super) fn new(config: &OrtConfig, verdicts: Verdicts) -> Self {
        Self { config: config.clone(), verdicts, ort: OnceLock::new() }
    }

    pub(super) fn ort(&self) -> Result<Arc<dyn Engine>, OrtUnavailable> {
        self.ort
            .get_or_init(|| {
                let found = open_ort(&self.config);
                if let Err(reason) = &found {
                    tracing::warn!(%reason, "ONNX Runtime is not there: models run on tract");
                }
                found
            })
            .clone()
    }

    /// The best candidate by the user's choice.
    pub(super) fn choose(
        &self,
        package: &Package,
        choice: EngineChoice,
    ) -> Result<Candidate, ModelError> {
        let refused = |refusals| ModelError::Refused { model: package.name.clone(), refusals };
        match choice {
            EngineChoice::Ort => self.try_ort(package).map_err(|r| refused(vec![r])),
            EngineChoice::Tract => try_tract(package).map_err(refused),
            EngineChoice::Auto => {
                let refusal = match self.try_ort(package) {
                    Ok(candidate) => return Ok(candidate),
                    Err(refusal) => refusal,
                };
                if matches!(self.ort.get(), Some(Ok(_))) {
                    let (model, reason) = (package.name.as_str(), refusal.reason.as_str());
                    tracing::warn!(
                        model,
                        reason,
                        "ONNX Runtime does not run this model; trying tract"
                    );
                }
                let reason = format!("{}: {}", refusal.engine, refusal.reason);
                match try_tract(package) {
                    Ok(mut candidate) => {
                        candidate.status.reason = Some(reason);
                        Ok(candidate)
                    }
                    Err(more) => Err(refused([vec![refusal], more].concat())),
                }
            }
            EngineChoice::Fastest => self.fastest(package).map_err(refused),
        }
    }

    fn fastest(&self, package: &Package) -> Result<Candidate, Vec<Refusal>> {
        let versions: Vec<String> = [self.ort().ok().map(|ort| ort.version())]
            .into_iter()
            .flatten()
            .chain([Tract::new(Form::Stored).version()])
            .collect();
        if let Some((kind, form)) = self.verdicts.read(package, &versions) {
            let engine = match kind {
                EngineKind::Ort => self.ort().ok(),
                EngineKind::Tract => Some(Arc::new(Tract::new(form)) as Arc<dyn Engine>),
            };
            let known =
                engine.and_then(|engine| attempt(&engine, package, self.threads(kind)).ok());
            if let Some(mut candidate) = known {
                candidate.status.reason = Some("it was the fastest when it was last timed".into());
                return Ok(candidate);
            }
        }
        let (mut best, refusals) = match (self.try_ort(package), try_tract(package)) {
            (Ok(ort), Ok(tract)) => (faster(ort, tract, package), Vec::new()),
            (Ok(ort), Err(refusals)) => (ort, refusals),
            (Err(refusal), Ok(tract)) => (tract, vec![refusal]),
            (Err(refusal), Err(more)) => return Err([vec![refusal], more].concat()),
        };
        if let Some(Refusal { engine, reason }) = refusals.into_iter().next() {
            best.status.reason = Some(format!("{engine}: {reason}"));
        }
        self.verdicts.write(package, &versions, best.status.kind, best.status.form);
        Ok(best)
    }

    pub(super) fn try_ort(&self, package: &Package) -> Result<Candidate, Refusal> {
        let engine = self.ort().map_err(|reason| Refusal {
            engine: EngineKind::Ort.to_string(),
            reason: reason.to_string(),
        })?;
        attempt(&engine, package, self.threads(EngineKind::Ort))
    }

    fn threads(&self, kind: EngineKind) -> Threads {
        match (kind, self.config.intra_threads) {
            (EngineKind::Tract, _) => Threads::Fixed(1),
            (EngineKind::Ort, Some(threads)) => Threads::Fixed(threads.clamp(1, 256)),
            (EngineKind::Ort, None) => Threads::AsNeeded,
        }
    }
}

/// Both forms of a quantized model are tried; the faster of those that agree with the golden samples
/// serves. Without golden samples nothing can vouch for the float form: it serves only where the stored
/// one cannot.
pub(super) fn try_tract(package: &Package) -> Result<Candidate, Vec<Refusal>> {
    let form = |form| -> Result<Candidate, Refusal> {
        let engine: Arc<dyn Engine> = Arc::new(Tract::new(form));
        attempt(&engine, package, Threads::Fixed(1))
    };
    let stored = form(Form::Stored);
    if !package.signature.is_quantized() || (package.golden.is_empty() && stored.is_ok()) {
        return stored.map_err(|refusal| vec![refusal]);
    }
    match (stored, form(Form::Float)) {
        (Ok(stored), Ok(float)) => Ok(faster(stored, float, package)),
        (Ok(stored), Err(_)) => Ok(stored),
        (Err(refusal), Ok(mut float)) => {
            float.status.reason = Some(format!("{}: {}", refusal.engine, refusal.reason));
            Ok(float)
        }
        (Err(stored), Err(float)) => Err(vec![stored, float]),
    }
}

/// The faster of two that both may serve; the first, if they cannot be told apart.
fn faster(mut first: Candidate, mut second: Candidate, package: &Package) -> Candidate {
    let raced = typical(package).and_then(|inputs| {
        race(&mut *first.session, &mut *second.session, &inputs, &SystemClock).ok()
    });
    let Some((a, b)) = raced else { return first };
    let (mut fast, slow, least, most) =
        if a <= b { (first, second, a, b) } else { (second, first, b, a) };
    fast.status.least = Some(least);
    fast.status.reason = Some(format!(
        "{:.2} ms a run, {} takes {:.2} ms",
        least.as_secs_f64() * 1e3,
        slow.status.label(),
        most.as_secs_f64() * 1e3
    ));
    fast
}

#[cfg(any(feature = "ort-dynamic", feature = "ort-static"))]
fn open_ort(config: &OrtConfig) -> Result<Arc<dyn Engine>, OrtUnavailable> {
    Ok(Arc::new(crate::engine::Ort::open(config)?))
}

#[cfg(not(any(feature = "ort-dynamic", feature = "ort-static")))]
fn open_ort(_config: &OrtConfig) -> Result<Arc<dyn Engine>, OrtUnavailable> {
    Err(OrtUnavailable::NotBuilt)
}
