//! Which engine serves a model: every candidate answers the golden samples first.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::status::label;
use super::verdict::Verdicts;
use super::{
    EngineStatus, GoldenResult, ModelError, Refusal, golden, measure, translate::Translator,
};
use crate::engine::{
    Engine, EngineKind, Form, OrtConfig, OrtUnavailable, Session, SessionOptions, Tract,
};
use crate::event::{DType, Data, Tensor};
use crate::package::{EngineChoice, Package};
use crate::task::SystemClock;

/// A model that takes longer gets more than one thread.
const QUICK: Duration = Duration::from_millis(1);
/// What timing at load may cost for each candidate.
const BUDGET: Duration = Duration::from_millis(5);

/// The engines of this process. ONNX Runtime's library is looked for when it is first needed.
#[derive(Debug)]
pub(super) struct Engines {
    config: OrtConfig,
    verdicts: Verdicts,
    ort: OnceLock<Result<Arc<dyn Engine>, OrtUnavailable>>,
}

/// A session that may serve, and the engine that can build it again.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) session: Box<dyn Session>,
    pub(super) status: EngineStatus,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) options: SessionOptions,
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
            (Ok(a), Ok(b)) => {
                let (fast, slow) = if a.median() <= b.median() { (a, b) } else { (b, a) };
                (Candidate { status: faster(&fast, &slow), ..fast }, Vec::new())
            }
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

#[derive(Debug, Clone, Copy)]
pub(super) enum Threads {
    Fixed(usize),
    AsNeeded,
}

impl Candidate {
    fn median(&self) -> Duration {
        self.status.median.unwrap_or(Duration::MAX)
    }
}

/// Both forms of a quantized model are tried; the faster of those that agree with the golden samples
/// serves. Without golden samples nothing can vouch for the float form.
pub(super) fn try_tract(package: &Package) -> Result<Candidate, Vec<Refusal>> {
    let form = |form| -> Result<Candidate, Refusal> {
        let engine: Arc<dyn Engine> = Arc::new(Tract::new(form));
        attempt(&engine, package, Threads::Fixed(1))
    };
    let stored = form(Form::Stored);
    if !package.signature.is_quantized() || package.golden.is_empty() {
        return stored.map_err(|refusal| vec![refusal]);
    }
    match (stored, form(Form::Float)) {
        (Ok(stored), Ok(float)) if float.median() < stored.median() => {
            Ok(Candidate { status: faster(&float, &stored), ..float })
        }
        (Ok(stored), _) => Ok(stored),
        (Err(refusal), Ok(mut float)) => {
            float.status.reason = Some(format!("{}: {}", refusal.engine, refusal.reason));
            Ok(float)
        }
        (Err(stored), Err(float)) => Err(vec![stored, float]),
    }
}

fn faster(fast: &Candidate, slow: &Candidate) -> EngineStatus {
    let reason = format!(
        "{:.2} ms a run, {} takes {:.2} ms",
        fast.median().as_secs_f64() * 1e3,
        slow.status.label(),
        slow.median().as_secs_f64() * 1e3
    );
    EngineStatus { reason: Some(reason), ..fast.status.clone() }
}

/// Loads a model, runs its golden samples and times it.
pub(super) fn attempt(
    engine: &Arc<dyn Engine>,
    package: &Package,
    threads: Threads,
) -> Result<Candidate, Refusal> {
    let quantized = package.signature.is_quantized();
    let refused = |reason: String| {
        let engine = label(engine.kind(), engine.form(), quantized);
        Refusal { engine, reason }
    };
    let input = typical(package);
    let load = |threads: usize| {
        let options = SessionOptions { intra_threads: threads };
        let mut session = engine.load(package, options).map_err(|e| refused(e.to_string()))?;
        let median = input.as_ref().map(|input| median(&mut *session, input));
        Ok((session, options, median.transpose().map_err(refused)?))
    };
    let (mut session, mut options, mut median) = match threads {
        Threads::Fixed(threads) => load(threads)?,
        Threads::AsNeeded => load(1)?,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if matches!(threads, Threads::AsNeeded) && cores > 1 && median.is_some_and(|m| m >= QUICK) {
        (session, options, median) = load(cores)?;
    }
    vouch(&mut *session, package).map_err(refused)?;
    let status = EngineStatus {
        kind: engine.kind(),
        form: engine.form(),
        quantized,
        version: engine.version(),
        threads: options.intra_threads,
        reason: None,
        failing: None,
        notes: session.notes().to_vec(),
        median,
    };
    for note in &status.notes {
        tracing::warn!(model = package.name.as_str(), "{note}");
    }
    Ok(Candidate { session, status, engine: Arc::clone(engine), options })
}

/// The golden samples; a model without any has at least been run once, to be timed.
fn vouch(session: &mut dyn Session, package: &Package) -> Result<(), String> {
    if package.golden.is_empty() {
        return Ok(());
    }
    let mut translator = Translator::new(package).map_err(|error| error.to_string())?;
    for GoldenResult { sample, mistake, .. } in golden::verify(session, &mut translator, package) {
        if let Some(mistake) = mistake {
            return Err(format!("golden sample {sample}: {mistake}"));
        }
    }
    Ok(())
}

/// What to time with: the first golden sample, or zeros; nothing if more than the batch is open.
pub(super) fn typical(package: &Package) -> Option<Vec<Tensor>> {
    let sample = package.golden.first().zip(Translator::new(package).ok());
    let sample =
        sample.and_then(|(first, mut translator)| golden::prepared(first, &mut translator));
    sample.map(|tensor| vec![tensor]).or_else(|| zeros(package))
}

fn median(session: &mut dyn Session, inputs: &[Tensor]) -> Result<Duration, String> {
    let timing = measure(session, inputs, BUDGET, &SystemClock);
    timing.map(|timing| timing.p50).map_err(|error| error.to_string())
}

/// A tensor of zeros for every input; none if more than the batch is open or it is too large.
fn zeros(package: &Package) -> Option<Vec<Tensor>> {
    const MOST: usize = 1 << 26;
    let zero = |dtype, size| -> Data {
        match dtype {
            DType::Bool => vec![false; size].into(),
            DType::U8 => vec![0_u8; size].into(),
            DType::I8 => vec![0_i8; size].into(),
            DType::U16 => vec![0_u16; size].into(),
            DType::I16 => vec![0_i16; size].into(),
            DType::U32 => vec![0_u32; size].into(),
            DType::I32 => vec![0_i32; size].into(),
            DType::U64 => vec![0_u64; size].into(),
            DType::I64 => vec![0_i64; size].into(),
            DType::F16 => vec![half::f16::ZERO; size].into(),
            DType::F32 => vec![0_f32; size].into(),
            DType::F64 => vec![0_f64; size].into(),
        }
    };
    let inputs = package.signature.inputs.iter().map(|info| {
        let inner = info.shape.iter().skip(1).copied().collect::<Option<Vec<_>>>()?;
        let first = info.shape.first().map(|dim| dim.unwrap_or(1));
        let shape: Vec<usize> = first.into_iter().chain(inner).collect();
        let size =
            shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MOST)?;
        Tensor::new(shape, zero(info.dtype, size)).ok()
    });
    inputs.collect()
}

#[cfg(feature = "ort-dynamic")]
fn open_ort(config: &OrtConfig) -> Result<Arc<dyn Engine>, OrtUnavailable> {
    Ok(Arc::new(crate::engine::Ort::open(config)?))
}

#[cfg(not(feature = "ort-dynamic"))]
fn open_ort(_config: &OrtConfig) -> Result<Arc<dyn Engine>, OrtUnavailable> {
    Err(OrtUnavailable::NotBuilt)
}
