//! One caller's way through a model: prepare, run, interpret.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::translate::Translator;
use super::{Model, PredictError, Prepared};
use crate::engine::{InferError, Port, Ran, Work};
use crate::event::{Input, Prediction};
use crate::pipeline::decode::Wanted;
use crate::pipeline::preprocess::PrepareError;
use crate::task::{Clock, SystemClock};

/// Turns inputs into predictions; each pipeline thread has its own, which keeps its buffers.
#[derive(Debug)]
pub struct Caller {
    model: Arc<Model>,
    translator: Translator,
    port: Port,
    work: Work,
    /// For each item of the batch, its place among the answers.
    places: Vec<usize>,
    /// Of the runs since they were taken last.
    spent: Vec<Spent>,
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
        Self { model, translator, port, work: Work::default(), places: vec![], spent: vec![] }
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
        self.translator.push(input)?;
        let tensor = self.translator.take();
        self.translator.recycle(tensor);
        Ok(())
    }

    /// Prepares one input, to be run by somebody else.
    pub fn prepare(&mut self, input: &Input) -> Result<Prepared, PrepareError> {
        self.translator.push(input)?;
        let tensor = self.translator.take();
        Ok(Prepared { tensor, placement: self.translator.placement(0) })
    }

    /// One answer for each input, in order, in place of what `answers` held. An input that does not
    /// fit fails alone; a run that fails is shared by its batch.
    pub fn predict(
        &mut self,
        inputs: &[Input],
        answers: &mut Vec<Result<Prediction, PredictError>>,
    ) {
        self.predict_keeping(inputs, answers, |_| false, &mut Vec::new());
    }

    /// The same, and adds to `kept` what the model was given where its answer is wanted, with its place among the
    /// answers.
    pub fn predict_keeping(
        &mut self,
        inputs: &[Input],
        answers: &mut Vec<Result<Prediction, PredictError>>,
        wanted: impl Fn(&Prediction) -> bool,
        kept: &mut Vec<(usize, Prepared)>,
    ) {
        answers.clear();
        for chunk in inputs.chunks(self.max_batch()) {
            let began = SystemClock.now();
            self.places.clear();
            for input in chunk {
                let place = answers.len();
                match self.translator.push(input) {
                    // Whatever stands here is replaced below.
                    Ok(()) => {
                        self.places.push(place);
                        answers.push(Ok(Prediction::Anomaly { score: 0.0 }));
                    }
                    Err(error) => answers.push(Err(error.into())),
                }
            }
            debug_assert_eq!(self.translator.len(), self.places.len());
            if !self.places.is_empty() {
                let preparing = SystemClock.now() - began;
                self.run((began, preparing), answers, &wanted, kept);
            }
        }
    }

    /// The answer for one input.
    pub fn predict_one(&mut self, input: &Input) -> Result<Prediction, PredictError> {
        let mut answers = Vec::with_capacity(1);
        self.predict(std::slice::from_ref(input), &mut answers);
        answers.pop().unwrap_or_else(|| Err(PredictError::Infer(InferError::Stopped.into())))
    }

    /// How long the runs took, since this was asked last.
    pub fn spent(&mut self) -> impl Iterator<Item = Spent> {
        self.spent.drain(..)
    }

    fn run(
        &mut self,
        (began, preparing): (Instant, Duration),
        answers: &mut [Result<Prediction, PredictError>],
        wanted: impl Fn(&Prediction) -> bool,
        kept: &mut Vec<(usize, Prepared)>,
    ) {
        self.work.inputs.push(self.translator.take());
        let ran = self.port.infer(&mut self.work);
        let Work { inputs, outputs } = &mut self.work;
        match ran {
            Ok(Ran { waited: waiting, took: running, .. }) => {
                self.spent.push(Spent { began, preparing, waiting, running });
                for (item, place) in self.places.iter().enumerate() {
                    let answer = self.translator.interpret(item, inputs, outputs);
                    if answer.as_ref().is_ok_and(&wanted)
                        && let Some(tensor) = inputs.first().and_then(|all| all.item(item))
                    {
                        let placement = self.translator.placement(item);
                        kept.push((*place, Prepared { tensor, placement }));
                    }
                    answers[*place] = answer;
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for place in &self.places {
                    answers[*place] = Err(PredictError::Infer(Arc::clone(&error)));
                }
            }
        }
        if let Some(tensor) = inputs.pop() {
            self.translator.recycle(tensor);
        }
        inputs.clear();
    }
}
