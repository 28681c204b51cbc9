//! A model that learns the part of the one that serves: it is asked the same, on a share of the runs, and nobody acts on
//! what it says; then it serves a share of the streams, and the other one is asked the same.
//!
//! Whoever brings it puts it on the stage of its name; pipelines that have no version of their own look there once for
//! each lot of messages. It fails alone: where it does, what the model says that serves counts.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;

use super::flow::Flow;
use crate::event::{Input, ModelName, Prediction, StreamKey};
use crate::model::{Caller, Model, PredictError};

type Answers = [Result<Prediction, PredictError>];

/// The stage of each model, made when somebody asks for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Stages(Arc<Mutex<BTreeMap<ModelName, Stage>>>);

/// Where the understudy of a model is seen, while there is one.
pub(super) type Stage = Arc<ArcSwapOption<Understudy>>;

/// A model that is tried.
#[derive(Debug)]
pub(super) struct Understudy {
    pub model: Arc<Model>,
    pub part: Part,
    /// Of the runs, or of the streams: 0 to 1.
    pub share: f64,
    pub tally: Tally,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It is asked, and nobody acts on what it says.
    Shadow,
    /// It serves some streams.
    Canary,
}

/// What was seen of it beside the other.
#[derive(Debug, Default)]
pub(super) struct Tally {
    asked: AtomicU64,
    agreed: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds in the two models, for the same inputs.
    its_time: AtomicU64,
    other_time: AtomicU64,
}

/// [`Tally`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Seen {
    /// Inputs that both were asked.
    pub asked: u64,
    /// Inputs on which both said the same.
    pub agreed: u64,
    /// Inputs on which it alone failed.
    pub failed: u64,
    /// Its time, in times of the other's.
    pub latency_ratio: Option<f64>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, agreed, failed, .. } = self;
        write!(f, "asked {asked} times, agreed {agreed}, failed {failed}")?;
        self.latency_ratio.map_or(Ok(()), |ratio| write!(f, ", {ratio:.2} times as long"))
    }
}

/// What a pipeline's thread has of it.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    stage: Stage,
    now: Option<(Arc<Understudy>, Caller)>,
    /// Runs that the shadow is due.
    due: f64,
    answers: Vec<Result<Prediction, PredictError>>,
}

impl Stages {
    /// Of a model.
    pub(super) fn of(&self, name: &ModelName) -> Stage {
        // Nothing that can panic runs under this lock.
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(stages.entry(name.clone()).or_default())
    }

    /// Of which models there are any.
    pub(super) fn names(&self) -> Vec<ModelName> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.keys().cloned().collect()
    }
}

impl Tally {
    pub(super) fn seen(&self) -> Seen {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (its, other) = (read(&self.its_time), read(&self.other_time));
        Seen {
            asked: read(&self.asked),
            agreed: read(&self.agreed),
            failed: read(&self.failed),
            latency_ratio: (other > 0).then(|| its as f64 / other as f64),
        }
    }

    fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    fn time(count: &AtomicU64, time: Duration) {
        Self::add(count, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Rehearsal {
    pub(super) fn new(stage: Stage) -> Self {
        Self { stage, ..Self::default() }
    }

    /// Looks whether there is an understudy, another one, or none any more.
    pub(super) fn follow(&mut self) {
        let wanted = self.stage.load();
        let same = match (&*wanted, &self.now) {
            (Some(wanted), Some((now, _))) => Arc::ptr_eq(wanted, now),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        self.due = 0.0;
        self.now = wanted.as_ref().and_then(|understudy| {
            let caller = understudy.model.caller().inspect_err(|error| {
                tracing::error!("the understudy cannot be asked: {error}");
                Tally::add(&understudy.tally.failed, 1);
                Tally::add(&understudy.tally.asked, 1);
            });
            Some((Arc::clone(understudy), caller.ok()?))
        });
    }

    /// Has the understudy answer in place of the model for the streams that it serves; true for those.
    fn stand_in(
        &mut self,
        streams: &[(usize, StreamKey)],
        inputs: &[Input],
        answers: &mut Answers,
    ) -> Vec<bool> {
        let Some((understudy, caller)) = &mut self.now else { return Vec::new() };
        if understudy.part != Part::Canary {
            return Vec::new();
        }
        let version = understudy.model.package().version;
        let mut stood_in = vec![false; inputs.len()];
        let places = streams.iter().enumerate();
        let places = places.filter(|(_, (_, key))| place(key, version) < understudy.share);
        for (place, _) in places {
            caller.predict(std::slice::from_ref(&inputs[place]), &mut self.answers);
            let Some(answer) = self.answers.pop() else { continue };
            if understudy.tally.compare(&answers[place], &answer) {
                answers[place] = answer;
                stood_in[place] = true;
            }
        }
        // One by one says nothing of how fast it is: that was measured in the shadow.
        caller.spent().for_each(drop);
        stood_in
    }

    /// Whether the shadow is to be asked what the model was asked in this run.
    fn is_due(&mut self) -> bool {
        let Some((understudy, _)) = &self.now else { return false };
        if understudy.part != Part::Shadow {
            return false;
        }
        self.due += understudy.share;
        let due = self.due >= 1.0;
        if due {
            self.due -= 1.0;
        }
        due
    }

    /// Asks the shadow the same.
    fn shadow(&mut self, inputs: &[Input], answers: &Answers, running: Duration) {
        let Some((understudy, caller)) = &mut self.now else { return };
        caller.predict(inputs, &mut self.answers);
        for (theirs, its) in answers.iter().zip(self.answers.drain(..)) {
            understudy.tally.compare(theirs, &its);
        }
        understudy.tally.times(caller, running);
    }

    /// What serves some streams.
    pub(super) fn model(&self) -> Option<&Arc<Model>> {
        self.now.as_ref().map(|(understudy, _)| &understudy.model)
    }
}

impl Tally {
    /// Counts what both said; true: what the understudy says can be acted on.
    fn compare(
        &self,
        theirs: &Result<Prediction, PredictError>,
        its: &Result<Prediction, PredictError>,
    ) -> bool {
        Self::add(&self.asked, 1);
        match (theirs, its) {
            (Ok(theirs), Ok(its)) => Self::add(&self.agreed, u64::from(theirs.agrees(its))),
            // An input that fits neither.
            (Err(_), Err(_)) => Self::add(&self.agreed, 1),
            (Ok(_), Err(_)) => Self::add(&self.failed, 1),
            (Err(_), Ok(_)) => {}
        }
        its.is_ok()
    }

    /// Counts how long both took for the same run.
    fn times(&self, caller: &mut Caller, running: Duration) {
        Self::time(&self.its_time, caller.spent().map(|spent| spent.running).sum());
        Self::time(&self.other_time, running);
    }
}

/// Where a stream stands among all, 0 to 1: each version has others first.
fn place(key: &StreamKey, version: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (key.as_str(), version).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / 2_f64.powi(53)
}

/// A run of the model that serves, to be compared when it is decided.
pub(super) type Compared = Vec<Result<Prediction, PredictError>>;

impl Flow {
    /// Lets the understudy have its part in a run: which inputs it answered, and what the model that serves said, where it
    /// is to be asked the same.
    pub(super) fn rehearse(
        &mut self,
        (streams, inputs): (&[(usize, StreamKey)], &[Input]),
        answers: &mut Answers,
    ) -> (Vec<bool>, Option<Compared>) {
        // A model that stands in while there is too much is no measure.
        if self.rehearsal.now.is_none() || self.steps.own(Some(())).is_none() {
            return (Vec::new(), None);
        }
        let stood_in = self.rehearsal.stand_in(streams, inputs, answers);
        let lost = |answer: &Result<Prediction, PredictError>| match answer {
            Ok(prediction) => Ok(prediction.clone()),
            Err(_) => Err(PredictError::Lost),
        };
        let compared = self.rehearsal.is_due().then(|| answers.iter().map(lost).collect());
        (stood_in, compared)
    }

    /// Asks the shadow what was decided, behind it: nobody waits for that.
    pub(super) fn compare(&mut self, inputs: &[Input], said: &Compared, running: Duration) {
        self.rehearsal.shadow(inputs, said, running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_stays_with_its_model_and_each_version_has_others_first() {
        let keys: Vec<_> = (0..1000).map(|n| StreamKey::new(&format!("press-{n}"))).collect();
        let first =
            |version| -> Vec<bool> { keys.iter().map(|key| place(key, version) < 0.2).collect() };
        assert_eq!(first(4), first(4));
        let count = first(4).iter().filter(|is| **is).count();
        assert!((150..250).contains(&count), "{count}");
        let both = first(4).into_iter().zip(first(5)).filter(|both| *both == (true, true)).count();
        assert!(both < 80, "{both}");
    }
}
