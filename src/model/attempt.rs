//! One engine and one model: may it serve?

use std::sync::Arc;
use std::time::Duration;

use super::measure::least;
use super::status::label;
use super::translate::Translator;
use super::{EngineStatus, GoldenResult, Refusal, golden};
use crate::engine::{Engine, Session, SessionOptions};
use crate::event::{Data, Tensor};
use crate::package::Package;
use crate::task::SystemClock;

/// A model that takes longer gets more than one thread.
const QUICK: Duration = Duration::from_millis(1);
const UNVOUCHED: &str = "no golden samples: nothing vouches for these answers";

/// A session that may serve, and the engine that can build it again.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) session: Box<dyn Session>,
    pub(super) status: EngineStatus,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) options: SessionOptions,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Threads {
    Fixed(usize),
    AsNeeded,
}

/// Loads a model and has it answer its golden samples.
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
    let load = |threads: usize| {
        let options = SessionOptions { intra_threads: threads };
        let session = engine.load(package, options).map_err(|e| refused(e.to_string()))?;
        Ok((session, options))
    };
    let input = typical(package);
    let mut timed = None;
    let (mut session, mut options) = match threads {
        Threads::Fixed(threads) => load(threads)?,
        Threads::AsNeeded => load(1)?,
    };
    if let (Threads::AsNeeded, Some(input)) = (threads, &input) {
        let time = |session: &mut dyn Session| {
            let least = least(session, input, QUICK, &SystemClock);
            least.map_err(|error| refused(error.to_string()))
        };
        let alone = time(&mut *session)?;
        timed = Some(alone);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if alone >= QUICK && cores > 1 {
            (session, options) = load(cores)?;
            timed = Some(time(&mut *session)?);
        }
    }
    let mut notes = session.notes().to_vec();
    if package.golden.is_empty() {
        if let Some(doubt) = session.doubt() {
            let remedy = "give the package golden samples that show otherwise, or run it on ONNX \
                          Runtime";
            return Err(refused(format!("{doubt}; {remedy}")));
        }
        if let Some(input) = &input {
            session.run(input, &mut Vec::new()).map_err(|error| refused(error.to_string()))?;
        }
        notes.push(UNVOUCHED.to_owned());
    } else {
        vouch(&mut *session, package).map_err(refused)?;
    }
    let status = EngineStatus {
        kind: engine.kind(),
        form: engine.form(),
        quantized,
        version: engine.version(),
        threads: options.intra_threads,
        reason: None,
        failing: None,
        notes,
        least: timed,
    };
    Ok(Candidate { session, status, engine: Arc::clone(engine), options })
}

/// The golden samples.
fn vouch(session: &mut dyn Session, package: &Package) -> Result<(), String> {
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

/// A tensor of zeros for every input; none if more than the batch is open or it is too large.
fn zeros(package: &Package) -> Option<Vec<Tensor>> {
    const MOST: usize = 1 << 26;
    let inputs = package.signature.inputs.iter().map(|info| {
        let inner = info.shape.iter().skip(1).copied().collect::<Option<Vec<_>>>()?;
        let first = info.shape.first().map(|dim| dim.unwrap_or(1));
        let shape: Vec<usize> = first.into_iter().chain(inner).collect();
        let size =
            shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MOST)?;
        Tensor::new(shape, Data::zeros(info.dtype, size)).ok()
    });
    inputs.collect()
}
