//! One caller's way through a model: prepare, run, interpret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::run::{Beside, Finished, Run};
use super::translate::Translator;
use super::{Model, PredictError, Prepared};
use crate::engine::{Port, Work};
use crate::event::{Input, Prediction};
use crate::pipeline::decode::Wanted;
use crate::pipeline::preprocess::PrepareError;
use crate::task::{Clock, SystemClock};

/// Turns inputs into predictions; each pipeline thread has its own, which keeps its buffers.
///
/// [`Caller::predict`] does all at once. Who has other work to do meanwhile takes the steps one by one:
/// [`Caller::ready`], [`Caller::start`], [`Caller::finish`].
#[derive(Debug)]
pub struct Caller {
    model: Arc<Model>,
    translator: Translator,
    port: Port,
    started: Started,
    beside: Option<Beside>,
    /// Buffers of runs that were finished.
    #[expect(clippy::vec_box, reason = "they are handed on in their boxes")]
    spare: Vec<Box<Run>>,
    /// Of the runs since they were taken last.
    spent: Vec<Spent>,
}

/// What became of the batch that was started last.
#[derive(Debug)]
enum Started {
    /// There is none.
    Nothing,
    /// The thread beside has it.
    Beside,
    /// It is at its end.
    Finished(Finished),
}

/// Where a batch is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// On this thread.
    Here,
    /// On another, so that this one can go on.
    Beside,
}

/// How long one run took, part by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// When its inputs began to be prepared.
    pub began: Instant,
    /// Preparing its inputs.
    pub preparing: Duration,
    /// Waiting for an instance.
    pub waiting: Duration,
    /// In the model.
    pub running: Duration,
}

impl Caller {
    pub(super) fn new(model: Arc<Model>, translator: Translator, port: Port) -> Self {
        let (spare, spent) = (Vec::new(), Vec::new());
        Self { model, translator, port, started: Started::Nothing, beside: None, spare, spent }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Inputs that share one run at most: 1 where the model fixes its batch.
    pub fn max_batch(&self) -> usize {
        self.translator.max_batch()
    }

    /// What becomes of pictures; `None`: it takes none.
    pub fn wanted(&self) -> Option<Wanted> {
        self.translator.wanted()
    }

    /// Prepares an input and throws it away: whether the model would take it.
    pub fn accepts(&mut self, input: &Input) -> Result<(), PrepareError> {
        self.prepare(input).map(drop)
    }

    /// Prepares one input, to be run by somebody else.
    pub fn prepare(&mut self, input: &Input) -> Result<Prepared, PrepareError> {
        self.translator.prepare(input)
    }

    /// One answer for each input, in order, in place of what `answers` held. An input that does not
    /// fit fails alone; a run that fails is shared by its batch.
    pub fn predict(
        &mut self,
        inputs: &[Input],
        answers: &mut Vec<Result<Prediction, PredictError>>,
    ) {
        answers.clear();
        for chunk in inputs.chunks(self.max_batch()) {
            let run = self.ready(chunk, answers);
            self.start(run, Where::Here);
            self.finish(answers, |_| false, &mut Vec::new());
        }
    }

    /// The answer for one input.
    pub fn predict_one(&mut self, input: &Input) -> Result<Prediction, PredictError> {
        let mut answers = Vec::with_capacity(1);
        self.predict(std::slice::from_ref(input), &mut answers);
        answers.pop().unwrap_or(Err(PredictError::Lost))
    }

    /// Prepares inputs, no more than share a run, and adds a place for the answer to each to `answers`. Those that
    /// do not fit have theirs at once.
    pub fn ready(
        &mut self,
        inputs: &[Input],
        answers: &mut Vec<Result<Prediction, PredictError>>,
    ) -> Box<Run> {
        debug_assert!(inputs.len() <= self.max_batch(), "they do not share a run");
        let mut run =
            self.spare.pop().unwrap_or_else(|| Box::new(Run::new(self.translator.batch())));
        let began = SystemClock.now();
        for input in inputs {
            let place = answers.len();
            match self.translator.push(input, &mut run.batch) {
                Ok(()) => {
                    run.places.push(place);
                    answers.push(Err(PredictError::Lost));
                }
                Err(error) => answers.push(Err(error.into())),
            }
        }
        debug_assert_eq!(run.batch.len(), run.places.len());
        if !run.places.is_empty() {
            run.work.inputs.push(run.batch.take_tensor());
        }
        run.prepared = (began, SystemClock.now());
        run
    }

    /// Has a batch run. One that was started before and never finished is forgotten.
    pub fn start(&mut self, run: Box<Run>, place: Where) {
        drop(self.take());
        let here = match place {
            Where::Beside => self.start_beside(run),
            Where::Here => Err(run),
        };
        self.started = match here {
            Ok(()) => Started::Beside,
            Err(run) => Started::Finished(run.through(&self.port)),
        };
    }

    /// Gives the run back where there is no other thread.
    fn start_beside(&mut self, run: Box<Run>) -> Result<(), Box<Run>> {
        if self.beside.is_none() {
            self.beside = Beside::start(&self.model.package().name, self.port.clone());
        }
        let Some(beside) = &self.beside else { return Err(run) };
        let given = beside.take(run);
        if given.is_err() {
            self.beside = None;
        }
        given
    }

    /// [`Caller::finish`] has nothing to wait for.
    pub fn is_finished(&mut self) -> bool {
        if let (Started::Beside, Some(beside)) = (&self.started, &self.beside)
            && let Ok(finished) = beside.poll()
        {
            self.started = Started::Finished(finished);
        }
        !matches!(self.started, Started::Beside)
    }

    /// Waits for the batch that was started last and puts its answers into their places. What the model was given
    /// where its answer is wanted is added to `kept`, with its place among the answers.
    pub fn finish(
        &mut self,
        answers: &mut [Result<Prediction, PredictError>],
        wanted: impl Fn(&Prediction) -> bool,
        kept: &mut Vec<(usize, Prepared)>,
    ) {
        let Some(Finished { mut run, spent }) = self.take() else { return };
        let Work { inputs, outputs } = &mut run.work;
        match spent {
            Ok(spent) => {
                let places = run.places.iter().zip(run.batch.placements()).enumerate();
                for (item, (place, placement)) in places {
                    let answer = self.translator.interpret((item, placement), inputs, outputs);
                    if answer.as_ref().is_ok_and(&wanted)
                        && let Some(tensor) = inputs.first().and_then(|all| all.item(item))
                    {
                        kept.push((*place, Prepared { tensor, placement: *placement }));
                    }
                    answers[*place] = answer;
                }
                if !run.places.is_empty() {
                    self.spent.push(spent);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for place in &run.places {
                    answers[*place] = Err(PredictError::Infer(Arc::clone(&error)));
                }
            }
        }
        if let Some(tensor) = inputs.pop() {
            run.batch.recycle(tensor);
        }
        inputs.clear();
        run.places.clear();
        self.spare.push(run);
    }

    /// What was started last, at its end.
    fn take(&mut self) -> Option<Finished> {
        match std::mem::replace(&mut self.started, Started::Nothing) {
            Started::Nothing => None,
            Started::Finished(finished) => Some(finished),
            Started::Beside => {
                let finished = self.beside.as_ref().and_then(Beside::wait);
                if finished.is_none() {
                    self.beside = None;
                }
                finished
            }
        }
    }

    /// How long the runs took, since this was asked last.
    pub fn spent(&mut self) -> impl Iterator<Item = Spent> {
        self.spent.drain(..)
    }
}
