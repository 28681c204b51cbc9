//! From a prediction to decisions, on the pipeline's own thread: the rules are evaluated, what they do is handed on,
//! and those who look on are told.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::Observation;
use super::arrival::{Arrival, Provenance};
use super::escalation::Occasion;
use super::flow::{Flow, StreamState};
use super::rules::Rules;
use crate::event::{Decision, Envelope, Input, Name, Prediction, StreamKey};
use crate::model::{Model, Prepared};
use crate::pipeline::rules::Facts;
use crate::summary::{Origin, Seen, Told};

/// A model input at hand.
pub(super) struct Item<'a> {
    pub stream: &'a StreamKey,
    pub input: &'a Input,
    /// Which of those that its message completed, from 1.
    pub place: usize,
    /// As the model was given it, where a second opinion is asked for on that.
    pub prepared: Option<Prepared>,
    /// Who answered, where that is not the pipeline's own model.
    pub by: Option<&'a Arc<Model>>,
}

/// Whose word a decision is made on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice<'a> {
    pub prediction: &'a Arc<Prediction>,
    pub model: &'a Name,
    pub version: u64,
    pub engine: &'static str,
}

impl Flow {
    /// Evaluates the rules on one prediction and hands on what they do.
    pub(super) fn decide(
        &mut self,
        rules: &Rules,
        arrival: &Arrival<'_>,
        item: Item<'_>,
        prediction: Prediction,
    ) {
        let (envelope, stream) = (arrival.envelope, item.stream);
        let now = self.clock.now();
        let prediction = Arc::new(prediction);
        let window = &self.window;
        let state =
            self.streams.get_or_insert_with(stream, now, || StreamState::new(window.as_ref()));
        let model = item.by.unwrap_or_else(|| self.caller.model());
        let (package, engine) = (model.package(), model.engine().as_str());
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
        let judged = state.rules.judged();
        for error in &outcome.errors {
            self.counters.error("rule", error, now);
        }
        let at = facts.now;
        let (mut fired, mut decided) = (Vec::new(), Vec::new());
        for rule in &outcome.fired {
            let Some((name, mark)) = rules.set.name(*rule).zip(rules.set.mark(*rule)) else {
                continue;
            };
            fired.push(name.clone());
            let (model, version) = (&package.name, package.version);
            let voice = Voice { prediction: &prediction, model, version, engine };
            let cause = arrival.cause(self.id.as_deref(), item.place);
            let from = (envelope, cause.as_ref());
            let decision = self.decision(name, stream, from, voice, (now, at));
            let decision = Arc::new(decision);
            decided.push((mark, decision.id));
            self.counters.decision();
            self.scene.decided(&decision);
            arrival.tell(|open| {
                let id = decision.id.to_string();
                let about = vec![("eir.rule", name.as_str().into()), ("eir.decision", id.into())];
                open.event("decision", self.clock.now(), about);
            });
            if let Err(error) = rules.dispatch(&decision, arrival.by()) {
                self.counters.error("action", &error, now);
            }
            if let Err(error) = rules.record(&decision, envelope) {
                self.counters.error("record", &error, now);
            }
        }
        arrival.tell(|open| open.part("rules", now, self.clock.now()));
        self.note(arrival, &item, &prediction, &fired, (now, at));
        self.escalate(rules, arrival, item, (prediction, at), (decided, judged));
    }

    /// A decision of a rule on a message, and what of it its publisher gave a name.
    pub(super) fn decision(
        &self,
        rule: &Name,
        stream: &StreamKey,
        (envelope, cause): (&Envelope, Option<&Provenance>),
        voice: Voice<'_>,
        (now, at): (Instant, Timestamp),
    ) -> Decision {
        let latency = now.duration_since(envelope.received_at);
        Decision {
            id: Uuid::now_v7(),
            origin: cause.map(|cause| cause.origin(&self.name, rule)),
            pipeline: self.name.clone(),
            rule: rule.clone(),
            stream: stream.clone(),
            at,
            prediction: Arc::clone(voice.prediction),
            model: voice.model.clone(),
            version: voice.version,
            engine: voice.engine,
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            redelivered: envelope.redelivered && cause.is_none(),
            amendment: None,
        }
    }

    /// Tells those who look on: the summaries, the samplers, the observer.
    fn note(
        &mut self,
        arrival: &Arrival<'_>,
        item: &Item<'_>,
        prediction: &Arc<Prediction>,
        fired: &[Name],
        (now, at): (Instant, Timestamp),
    ) {
        let Arrival { envelope, .. } = arrival;
        let latency = now.duration_since(envelope.received_at);
        let seen = Seen { input: item.input, prediction, latency, fired };
        if let Some(gathering) = &mut self.gathering {
            gathering.add(&envelope.topic, &self.device, &seen);
        }
        if !self.sampling.is_empty() {
            let package = item.by.unwrap_or_else(|| self.caller.model()).package();
            let (pipeline, payload, stream) = (&self.name, &envelope.payload, item.stream);
            let (model, version) = (&package.name, package.version);
            let from = Origin { pipeline, stream, model, version, payload };
            let cause = arrival.cause(self.id.as_deref(), item.place);
            self.sampling.take(&seen, from, (envelope, cause.as_ref()), at);
        }
        if self.scene.is_due(now) {
            self.scene.show((item.stream, at, now), item.input, &envelope.payload, prediction);
        }
        if let Some(observe) = &self.observer {
            observe(&Observation {
                pipeline: &self.name,
                stream: item.stream,
                id: arrival.publisher_id(self.id.as_deref()).map(AsRef::as_ref),
                prediction,
            });
        }
    }

    /// Asks for a second opinion where the model was not sure.
    fn escalate(
        &self,
        rules: &Rules,
        arrival: &Arrival<'_>,
        item: Item<'_>,
        (prediction, at): (Arc<Prediction>, Timestamp),
        (fired, judged): (Vec<(u64, Uuid)>, u64),
    ) {
        let escalation = self.steps.own(self.escalation.as_ref());
        let Some(escalation) = escalation.filter(|escalation| escalation.wants(&prediction)) else {
            return;
        };
        let Item { stream, input, place, prepared, .. } = item;
        let occasion = || Occasion {
            trace: arrival.trace(),
            cause: arrival.cause(self.id.as_deref(), place),
            stream: stream.clone(),
            at,
            prediction,
            rules: Arc::clone(&rules.set),
            fired,
            judged,
        };
        let told = || Told::new(input, &arrival.envelope.payload);
        escalation.ask(prepared, told, occasion, self.clock.now());
    }
}
