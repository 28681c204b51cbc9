//! Does with less while there is too much: the ladder of a pipeline, which is looked at from outside, and the steps,
//! which its thread takes.

use std::mem::swap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::build::StepParts;
use crate::api::StepStatus;
use crate::event::Name;
use crate::model::{Caller, Model, ModelError};
use crate::pipeline::degrade::{DegradeConfig, Ladder, Load, StepConfig};
use crate::summary::Board;

/// What the ladder and the thread tell each other.
#[derive(Debug, Default)]
struct Strain {
    /// Steps to be taken.
    wanted: AtomicUsize,
    /// The longest wait in the queue since it was asked for last, in microseconds.
    waited: AtomicU64,
}

/// What the thread of a pipeline does with less at the moment.
#[derive(Debug, Default)]
pub(super) struct Steps {
    strain: Arc<Strain>,
    all: Vec<Step>,
    taken: usize,
}

#[derive(Debug)]
struct Step {
    config: StepConfig,
    /// Of the other model until the step is taken, and of the one before while it is.
    caller: Option<Caller>,
}

impl Steps {
    /// A step whose model is broken goes without it, and that is told.
    pub(super) fn new(name: &Name, parts: Vec<StepParts>) -> Self {
        let steps = (1..).zip(parts).map(|(step, StepParts { config, caller })| {
            let caller = caller.and_then(|caller| {
                let told = |error: &ModelError| {
                    tracing::error!(pipeline = %name, step, "does not change the model: {error}");
                };
                caller.inspect_err(told).ok()
            });
            Step { config, caller }
        });
        Self { all: steps.collect(), ..Self::default() }
    }

    /// Takes as many steps as are wanted; `caller` is then of the model that serves.
    pub(super) fn follow(&mut self, caller: &mut Caller) {
        let wanted = self.strain.wanted.load(Ordering::Relaxed).min(self.all.len());
        while self.taken != wanted {
            let goes_on = self.taken < wanted;
            let place = if goes_on { self.taken } else { self.taken - 1 };
            if let Some(other) = &mut self.all[place].caller {
                swap(caller, other);
            }
            self.taken = if goes_on { place + 1 } else { place };
        }
    }

    /// A message waited so long in the queue.
    pub(super) fn waited(&self, time: Duration) {
        if !self.all.is_empty() {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            self.strain.waited.fetch_max(micros, Ordering::Relaxed);
        }
    }

    /// At most so many messages a second of each stream.
    pub(super) fn rate(&self) -> Option<f64> {
        self.last(|step| step.config.rate)
    }

    /// From window to window.
    pub(super) fn stride(&self) -> Option<usize> {
        self.last(|step| step.config.stride)
    }

    /// What belongs to the pipeline's own model, while no other serves: a second opinion is asked for on that alone.
    pub(super) fn own<T>(&self, of_own: Option<T>) -> Option<T> {
        of_own.filter(|_| self.last(|step| step.caller.as_ref()).is_none())
    }

    /// Of the last taken step that says it.
    fn last<'a, T>(&'a self, of: impl FnMut(&'a Step) -> Option<T>) -> Option<T> {
        self.all[..self.taken].iter().rev().find_map(of)
    }

    /// The models of the steps.
    pub(super) fn models(&self) -> Vec<Option<Arc<Model>>> {
        let model = |step: &Step| step.caller.as_ref().map(|caller| Arc::clone(caller.model()));
        self.all.iter().map(model).collect()
    }

    /// What decides over them, before the thread has them.
    pub(super) fn degrading(&self, config: Option<&DegradeConfig>) -> Option<Degrading> {
        config.map(|config| Degrading {
            config: config.clone(),
            ladder: Ladder::default(),
            strain: Arc::clone(&self.strain),
            models: self.models(),
            dropped: None,
            since: None,
        })
    }
}

/// The ladder of a running pipeline.
#[derive(Debug)]
pub(super) struct Degrading {
    config: DegradeConfig,
    ladder: Ladder,
    strain: Arc<Strain>,
    /// Of the steps, in their order.
    models: Vec<Option<Arc<Model>>>,
    /// Messages that the queue had dropped the last time.
    dropped: Option<u64>,
    since: Option<Timestamp>,
}

impl Degrading {
    /// Takes or gives back a step, if it is time to. `dropped` counts from the start of the pipeline.
    pub(super) fn look(
        &mut self,
        name: &Name,
        dropped: u64,
        board: &Board,
        now: (Instant, Timestamp),
    ) {
        let before = self.dropped.replace(dropped).unwrap_or(dropped);
        let load = Load {
            waited: Duration::from_micros(self.strain.waited.swap(0, Ordering::Relaxed)),
            dropped: dropped.saturating_sub(before),
            throttled: board.is_throttled(),
            celsius: board.temperature_celsius,
        };
        if !self.ladder.look(&self.config, &load, now.0) {
            return;
        }
        self.strain.wanted.store(self.ladder.taken(), Ordering::Relaxed);
        self.since = Some(now.1);
        let (step, of) = (self.ladder.taken(), self.config.steps.len());
        if let Some(why) = self.ladder.why() {
            tracing::warn!(pipeline = %name, step, of, "does with less: {why}");
        } else {
            tracing::info!(pipeline = %name, "does everything again");
        }
    }

    /// The model that serves in place of the pipeline's own.
    pub(super) fn model(&self) -> Option<&Arc<Model>> {
        self.models[..self.ladder.taken()].iter().rev().flatten().next()
    }

    /// The models of the steps.
    pub(super) fn models(&self) -> &[Option<Arc<Model>>] {
        &self.models
    }

    pub(super) fn status(&self) -> StepStatus {
        let taken = self.ladder.taken();
        StepStatus {
            taken,
            of: self.config.steps.len(),
            since: self.since,
            why: self.ladder.why().map(|why| why.to_string()),
        }
    }
}
