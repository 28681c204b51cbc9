//! A batch's way through the model: what is gathered is launched, and decided when it lands.
//!
//! Pictures fly while the next are decoded: decoding takes a third of the time, and the model waits for nobody then.
//! Only where more messages wait, though: one that comes alone is run at once on the pipeline's own thread, and so is
//! whatever is cheap to decode.

use std::time::Duration;

use super::arrival::Arrival;
use super::decide::Item;
use super::flow::{BATCH, Flow};
use super::rules::Rules;
use crate::event::{Input, Prediction, StreamKey};
use crate::model::{PredictError, Prepared, Spent, Where};

/// Pictures that share a batch: more of them gain nothing, and each is megabytes. While they are run, the next are
/// decoded.
const PICTURES: usize = 4;

/// Model inputs made of the messages at hand, and which stream and message each came from.
#[derive(Default)]
pub(super) struct Batch {
    inputs: Vec<Input>,
    from: Vec<(usize, StreamKey)>,
    results: Vec<Result<Prediction, PredictError>>,
    /// What the model was given, by place, where a second opinion is asked for on that.
    kept: Vec<(usize, Prepared)>,
}

impl Batch {
    /// Tells each message that had a share in a run how long that took.
    fn tell(&self, arrivals: &[Arrival<'_>], spent: Spent) {
        let mut told = None;
        for (index, _) in &self.from {
            if told.replace(*index) != Some(*index) {
                arrivals[*index].ran(spent);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.from.clear();
        self.results.clear();
        self.kept.clear();
    }
}

impl Flow {
    /// Adds a model input to what is gathered, and launches that when it is enough.
    pub(super) fn add(
        &mut self,
        index: usize,
        key: StreamKey,
        input: Input,
        arrivals: &[Arrival<'_>],
        rules: &Rules,
    ) {
        self.batch.inputs.push(input);
        self.batch.from.push((index, key));
        let pictures = self.decoder.gives_pictures();
        let most = if pictures { PICTURES } else { BATCH };
        if self.batch.inputs.len() >= most.min(self.caller.max_batch()) {
            let more = index + 1 < arrivals.len();
            let place = if pictures && more { Where::Beside } else { Where::Here };
            self.launch(place, arrivals, rules);
            self.land_if_done(arrivals, rules);
        }
    }

    /// Runs what was gathered and decides it.
    pub(super) fn flush(&mut self, arrivals: &[Arrival<'_>], rules: &Rules) {
        self.launch(Where::Here, arrivals, rules);
        self.land(arrivals, rules);
    }

    /// Has the model run what was gathered, once it is done with what was launched before.
    fn launch(&mut self, place: Where, arrivals: &[Arrival<'_>], rules: &Rules) {
        if self.batch.inputs.is_empty() || self.is_halted() {
            self.batch.clear();
            return;
        }
        self.step();
        let run = self.caller.ready(&self.batch.inputs, &mut self.batch.results);
        self.land(arrivals, rules);
        std::mem::swap(&mut self.batch, &mut self.flying);
        self.caller.start(run, place);
    }

    /// Decides what was launched, if there is nothing to wait for.
    pub(super) fn land_if_done(&mut self, arrivals: &[Arrival<'_>], rules: &Rules) {
        if self.caller.is_finished() {
            self.land(arrivals, rules);
        }
    }

    /// Waits for what was launched, and decides it in order.
    fn land(&mut self, arrivals: &[Arrival<'_>], rules: &Rules) {
        if self.flying.inputs.is_empty() || self.is_halted() {
            self.flying.clear();
            return;
        }
        self.step();
        let mut batch = std::mem::take(&mut self.flying);
        let escalation = self.steps.own(self.escalation.as_ref());
        let wanted = |prediction: &Prediction| {
            escalation.is_some_and(|escalation| escalation.wants_tensor(prediction))
        };
        self.caller.finish(&mut batch.results, wanted, &mut batch.kept);
        if self.is_halted() {
            return;
        }
        self.counters.inferences(batch.inputs.len());
        let mut running = Duration::ZERO;
        for spent in self.caller.spent() {
            running += spent.running;
            self.counters.ran(spent);
            batch.tell(arrivals, spent);
        }
        let asked = (&*batch.from, &*batch.inputs);
        let (stood_in, said) = self.rehearse(asked, &mut batch.results);
        let other = stood_in.contains(&true).then(|| self.rehearsal.model().cloned()).flatten();
        let ran = batch.from.iter().zip(&batch.inputs).zip(batch.results.drain(..));
        let mut kept = batch.kept.drain(..).peekable();
        for (number, (((index, stream), input), result)) in ran.enumerate() {
            let prepared = kept.next_if(|(of, _)| *of == number).map(|(_, prepared)| prepared);
            let place = arrivals[*index].next_place();
            let by = other.as_ref().filter(|_| stood_in[number]);
            let item = Item { stream, input, place, prepared, by };
            match result {
                Ok(prediction) => self.decide(rules, &arrivals[*index], item, prediction),
                Err(error) => {
                    self.counters.error(error.kind(), &error, self.clock.now());
                    arrivals[*index].tell(|open| open.fail(error.kind(), error.to_string()));
                    self.reopen(stream);
                }
            }
        }
        drop(kept);
        if let Some(said) = said {
            self.compare(&batch.inputs, &said, running);
        }
        let now = self.clock.now();
        let arrived = batch.from.iter().map(|(index, _)| arrivals[*index].envelope.received_at);
        self.counters.latencies(arrived.map(|at| now.duration_since(at)));
        batch.clear();
        self.flying = batch;
    }
}
