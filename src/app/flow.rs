//! The way of a message through one pipeline, on that pipeline's own thread.
//!
//! The thread takes what waits in its queue, decodes it, runs all model inputs of it as one batch,
//! evaluates the rules in order of arrival, hands actions on and settles the messages. Nothing here
//! waits for more to come: without load every message goes alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arc_swap::ArcSwap;
use uuid::Uuid;

use super::counters::Counters;
use super::key::Keyer;
use super::rules::Rules;
use super::{Observation, Observer};
use crate::event::{Decision, Device, Envelope, Input, Name, Prediction, StreamKey};
use crate::model::Caller;
use crate::pipeline::decode::{Decoder, pointer_text};
use crate::pipeline::rules::{Facts, StreamRules};
use crate::pipeline::window::{Streams, Window, WindowConfig};
use crate::task::{Clock, Queue};

/// Messages taken at a time; their model inputs share batches.
const BATCH: usize = 32;

/// One pipeline's stages and the state of its streams.
pub(super) struct Flow {
    pub name: Name,
    pub device: Arc<Device>,
    pub decoder: Decoder,
    pub keyer: Keyer,
    /// JSON Pointer to the publisher's id.
    pub id: Option<String>,
    pub window: Option<WindowConfig>,
    pub streams: Streams<StreamState>,
    pub caller: Caller,
    pub rules: Arc<ArcSwap<Rules>>,
    pub counters: Arc<Counters>,
    pub observer: Option<Observer>,
    pub clock: Arc<dyn Clock>,
    pub batch: Batch,
}

/// What is kept of one stream.
pub(super) struct StreamState {
    window: Option<Window>,
    rules: StreamRules,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StreamState {
    fn new(window: Option<&WindowConfig>) -> Self {
        // The configuration was checked when the pipeline was built.
        let window = window.and_then(|config| Window::new(config).ok());
        Self { window, rules: StreamRules::default() }
    }
}

/// Model inputs made of the messages at hand, and which stream and message each came from.
#[derive(Default)]
pub(super) struct Batch {
    inputs: Vec<Input>,
    from: Vec<(usize, StreamKey)>,
    results: Vec<Result<Prediction, crate::model::PredictError>>,
}

impl Flow {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue<Envelope>) {
        let mut envelopes = Vec::with_capacity(BATCH);
        while queue.pop_into(&mut envelopes, BATCH) {
            // A bug met by one message must not end the pipeline for all that follow.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.process(&envelopes)));
            if outcome.is_err() {
                let now = self.clock.now();
                self.counters.error(
                    "internal",
                    &"a stage panicked; its messages are given up",
                    now,
                );
                self.batch = Batch::default();
            }
            for envelope in envelopes.drain(..) {
                envelope.ack.settle();
            }
        }
    }

    fn process(&mut self, envelopes: &[Envelope]) {
        let rules = self.rules.load_full();
        self.streams.expire(self.clock.now());
        self.batch.inputs.clear();
        self.batch.from.clear();
        for (index, envelope) in envelopes.iter().enumerate() {
            self.counters.message(envelope.payload.len());
            self.gather(index, envelope);
        }
        if self.batch.inputs.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.caller.predict(&batch.inputs, &mut batch.results);
        self.counters.inferences(batch.inputs.len());
        for ((index, stream), result) in batch.from.iter().zip(batch.results.drain(..)) {
            match result {
                Ok(prediction) => self.decide(&rules, &envelopes[*index], stream, prediction),
                Err(error) => self.counters.error(error.kind(), &error, self.clock.now()),
            }
        }
        let now = self.clock.now();
        let times = batch.from.iter().map(|(i, _)| now.duration_since(envelopes[*i].received_at));
        self.counters.latencies(times);
        self.batch = batch;
    }

    /// Decodes one message and adds the model inputs that it completes.
    fn gather(&mut self, index: usize, envelope: &Envelope) {
        let now = self.clock.now();
        let counters = &self.counters;
        let input = match self.decoder.decode(&envelope.payload) {
            Ok(input) => input,
            Err(error) => {
                return counters.error(
                    error.kind(),
                    &format_args!("{}: {error}", envelope.topic),
                    now,
                );
            }
        };
        let key = match self.keyer.key(&envelope.topic, &self.device) {
            Ok(key) => key,
            Err(error) => return counters.error("key", &error, now),
        };
        let Batch { inputs, from, .. } = &mut self.batch;
        let window = &self.window;
        let state =
            self.streams.get_or_insert_with(&key, now, || StreamState::new(window.as_ref()));
        match (&mut state.window, input) {
            (Some(window), Input::Samples(samples)) => {
                let pushed = window.push(&samples, |window| {
                    inputs.push(Input::Samples(window));
                    from.push((index, key.clone()));
                });
                if let Err(error) = pushed {
                    counters.error(error.kind(), &format_args!("{}: {error}", envelope.topic), now);
                }
            }
            (_, input) => {
                inputs.push(input);
                from.push((index, key));
            }
        }
    }

    /// Evaluates the rules on one prediction and hands on what they do.
    fn decide(
        &mut self,
        rules: &Rules,
        envelope: &Envelope,
        stream: &StreamKey,
        prediction: Prediction,
    ) {
        let now = self.clock.now();
        let prediction = Arc::new(prediction);
        let package = self.caller.model().package();
        let id = self.publisher_id(envelope);
        let window = &self.window;
        let state =
            self.streams.get_or_insert_with(stream, now, || StreamState::new(window.as_ref()));
        let facts = Facts {
            prediction: &prediction,
            stream,
            topic: &envelope.topic,
            device: &self.device,
            now: self.clock.wall(),
            model: &package.name,
            version: package.version,
        };
        let outcome = rules.set.evaluate(&facts, &mut state.rules, now);
        for error in &outcome.errors {
            self.counters.error("rule", error, now);
        }
        for rule in &outcome.fired {
            let Some(name) = rules.set.name(*rule) else { continue };
            let decision = Arc::new(Decision {
                id: Uuid::now_v7(),
                origin: id.as_ref().map(|id| format!("{id}:{}:{name}", self.name)),
                pipeline: self.name.clone(),
                rule: name.clone(),
                stream: stream.clone(),
                at: facts.now,
                prediction: Arc::clone(&prediction),
                model: package.name.clone(),
                version: package.version,
                engine: self.caller.model().status().kind.as_str(),
                latency_us: u64::try_from(now.duration_since(envelope.received_at).as_micros())
                    .unwrap_or(u64::MAX),
                redelivered: envelope.redelivered && id.is_none(),
            });
            self.counters.decision();
            rules.dispatch(&decision, envelope);
        }
        if let Some(observe) = &self.observer {
            observe(&Observation {
                pipeline: &self.name,
                stream,
                id: id.as_deref(),
                prediction: &prediction,
            });
        }
    }

    /// The publisher's name for its message: from the payload where the input says so, otherwise the
    /// MQTT 5 user property.
    fn publisher_id(&self, envelope: &Envelope) -> Option<Arc<str>> {
        match &self.id {
            Some(pointer) => pointer_text(&envelope.payload, pointer).map(Into::into),
            None => envelope.id.clone(),
        }
    }
}
