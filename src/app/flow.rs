//! The way of a message through one pipeline, on that pipeline's own thread.
//!
//! The thread takes what waits in its queue, decodes it, runs all model inputs of it as one batch,
//! evaluates the rules in order of arrival, hands actions on and settles the messages. Nothing here
//! waits for more to come: without load every message goes alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::Observer;
use super::arrival::Arrival;
use super::counters::Counters;
use super::degrade::Steps;
use super::escalation::Escalation;
use super::flight::Batch;
use super::key::Keyer;
use super::recall::{Keeping, Resumed};
use super::rules::Rules;
use super::sampling::Sampling;
use super::summaries::Gathering;
use super::understudy::Rehearsal;
use crate::api::Scene;
use crate::event::{Device, Envelope, Input, Name, StreamKey};
use crate::model::Caller;
use crate::outbox::Outbox;
use crate::pipeline::decode::Decoder;
use crate::pipeline::degrade::Pace;
use crate::pipeline::gate::{Gate, Passage, Seen};
use crate::pipeline::rules::StreamRules;
use crate::pipeline::window::{Streams, Window, WindowConfig};
use crate::task::{Clock, Queue};
use crate::trace::{Anchor, Open, Traces};

/// Messages taken at a time; their model inputs share batches.
pub(super) const BATCH: usize = 32;

/// One pipeline's stages and the state of its streams.
pub(super) struct Flow {
    pub name: Name,
    pub device: Arc<Device>,
    pub decoder: Decoder,
    pub keyer: Keyer,
    /// JSON Pointer to the publisher's id.
    pub id: Option<String>,
    pub window: Option<WindowConfig>,
    /// Which pictures are not worth a run, where that is asked.
    pub gate: Option<Gate>,
    pub streams: Streams<StreamState>,
    /// What of them was there before the start.
    pub resumed: Option<Resumed>,
    pub caller: Caller,
    pub rules: Arc<ArcSwap<Rules>>,
    pub counters: Arc<Counters>,
    pub observer: Option<Observer>,
    /// For those who watch.
    pub scene: Arc<Scene>,
    pub outbox: Option<Outbox>,
    /// How the streams are kept over a restart.
    pub keeping: Keeping,
    /// What is counted for the summaries, where there are any.
    pub gathering: Option<Gathering>,
    pub sampling: Sampling,
    /// Where uncertain cases go for a second opinion, once it runs.
    pub escalation: Option<Escalation>,
    /// What is done with less while there is too much.
    pub steps: Steps,
    /// A model that is tried beside the one that serves.
    pub rehearsal: Rehearsal,
    pub traces: Traces,
    pub clock: Arc<dyn Clock>,
    /// What is gathered for the next run.
    pub batch: Batch,
    /// What is being run.
    pub flying: Batch,
    pub progress: Arc<Progress>,
}

/// What the thread and those who wait for its end tell each other.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Give up what is in hand: its messages come again.
    pub halted: AtomicBool,
    /// The streams are to be kept as they are now, should they have changed.
    pub keep: AtomicBool,
    /// Messages taken from the queue and not settled yet.
    pub in_hand: AtomicUsize,
    /// Messages decoded and batches run, ever: while messages are in hand, it must grow.
    pub steps: AtomicU64,
}

/// What is known of one stream.
pub(super) struct StreamState {
    pub window: Option<Window>,
    pub rules: StreamRules,
    /// What the gate goes by.
    pub seen: Seen,
    /// What a lower rate goes by.
    pub pace: Pace,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("name", &self.name).finish_non_exhaustive()
    }
}

impl StreamState {
    pub(super) fn new(window: Option<&WindowConfig>) -> Self {
        // The configuration was checked when the pipeline was built.
        let window = window.and_then(|config| Window::new(config).ok());
        Self { window, rules: StreamRules::default(), seen: Seen::default(), pace: Pace::default() }
    }
}

impl Flow {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue<Envelope>) {
        let mut envelopes = Vec::with_capacity(BATCH);
        while self.wait_for_room() && queue.pop_into(&mut envelopes, BATCH) {
            self.progress.in_hand.store(envelopes.len(), Ordering::Relaxed);
            // A bug met by one message must not end the pipeline for all that follow.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                self.process(&envelopes);
                self.amend();
            }));
            if outcome.is_err() {
                let now = self.clock.now();
                self.counters.error(
                    "internal",
                    &"a stage panicked; its messages are given up",
                    now,
                );
                (self.batch, self.flying) = <(Batch, Batch)>::default();
            }
            if self.is_halted() {
                return;
            }
            for envelope in envelopes.drain(..) {
                envelope.ack.settle();
            }
            self.progress.in_hand.store(0, Ordering::Relaxed);
            if self.progress.keep.swap(false, Ordering::Relaxed) {
                self.keeping.keep(&self.streams, self.clock.now());
            }
        }
        self.keeping.keep(&self.streams, self.clock.now());
    }

    /// Takes no more messages while their records would only pile up in memory; true.
    fn wait_for_room(&self) -> bool {
        if let Some(outbox) = &self.outbox {
            outbox.wait_for_room(|| self.is_halted());
        }
        true
    }

    fn process(&mut self, envelopes: &[Envelope]) {
        if envelopes.is_empty() {
            return;
        }
        self.keeping.changed();
        self.steps.follow(&mut self.caller);
        self.rehearsal.follow();
        let rules = self.rules.load_full();
        let arrivals = self.arrivals(envelopes);
        let taken = self.clock.now();
        self.streams.expire(taken);
        self.batch.clear();
        for (index, arrival) in arrivals.iter().enumerate() {
            self.counters.message(arrival.envelope.payload.len());
            let received = arrival.envelope.received_at;
            let waited = taken.saturating_duration_since(received);
            self.counters.queued(waited);
            self.steps.waited(waited);
            arrival.tell(|open| open.part("queue", received, taken));
            self.step();
            if let Err((kind, error)) = self.gather(index, &arrivals, &rules) {
                let topic = &arrival.envelope.topic;
                self.counters.error(kind, &format_args!("{topic}: {error}"), self.clock.now());
                arrival.tell(|open| open.fail(kind, error));
            }
            self.land_if_done(&arrivals, &rules);
        }
        self.flush(&arrivals, &rules);
        if !self.is_halted() {
            for arrival in arrivals {
                self.end(arrival);
            }
        }
    }

    /// The messages at hand, with a trace of each that has one.
    fn arrivals<'a>(&self, envelopes: &'a [Envelope]) -> Vec<Arrival<'a>> {
        let tracer = self.traces.current();
        let tracer = tracer.as_ref().map(|tracer| (tracer, Anchor::of(&*self.clock)));
        let trace = |envelope: &Envelope| {
            let (tracer, anchor) = tracer?;
            Open::begin(tracer, envelope.traceparent, anchor, envelope.received_at)
        };
        envelopes.iter().map(|envelope| Arrival::new(envelope, trace(envelope))).collect()
    }

    /// All is done for a message.
    fn end(&self, arrival: Arrival<'_>) {
        arrival.end(&self.name, |open| {
            let model = self.caller.model();
            open.note("eir.model", model.package().name.as_str());
            open.note("eir.version", model.package().version);
            open.note("eir.engine", model.engine().as_str());
        });
    }

    /// Decodes one message and adds the model inputs that it completes. However many windows one
    /// message holds, no more than a batch of them exist at a time.
    fn gather(
        &mut self,
        index: usize,
        arrivals: &[Arrival<'_>],
        rules: &Rules,
    ) -> Result<(), (&'static str, String)> {
        let envelope = arrivals[index].envelope;
        let key = self.keyer.key(&envelope.topic, &self.device);
        let key = key.map_err(|error| ("key", error.to_string()))?;
        arrivals[index].tell(|open| open.note("eir.stream", key.as_str()));
        if let Some(rate) = self.steps.rate()
            && !self.stream(&key).pace.admits(rate, envelope.received_at)
        {
            self.counters.thinned();
            arrivals[index].tell(|open| open.note("eir.thinned", true));
            return Ok(());
        }
        let Some(input) = self.decode(&key, &arrivals[index])? else { return Ok(()) };
        let (Some(_), Input::Samples(samples)) = (&self.window, &input) else {
            self.add(index, key, input, arrivals, rules);
            return Ok(());
        };
        let (stride, mut position) = (self.steps.stride(), 0);
        while !self.is_halted() {
            let window = &mut self.stream(&key).window;
            let Some(window) = window else { return Ok(()) };
            window.set_stride(stride);
            let next = window.next(samples, &mut position);
            match next.map_err(|error| (error.kind(), error.to_string()))? {
                Some(full) => {
                    self.add(index, key.clone(), Input::Samples(full), arrivals, rules);
                }
                None => break,
            }
        }
        Ok(())
    }

    /// `None`: the gate is closed to it.
    fn decode(
        &mut self,
        key: &StreamKey,
        arrival: &Arrival<'_>,
    ) -> Result<Option<Input>, (&'static str, String)> {
        let payload = &arrival.envelope.payload;
        if let Some(gate) = &self.gate {
            let (now, window) = (self.clock.now(), self.window.as_ref());
            let state = self.streams.get_or_insert_with(key, now, || StreamState::new(window));
            let judge = || gate.judge(&mut state.seen, &self.decoder, payload, now);
            match arrival.timed("gate", &*self.clock, judge) {
                Passage::Still => {
                    self.counters.gated();
                    arrival.tell(|open| open.note("eir.gated", true));
                    return Ok(None);
                }
                Passage::Open(Some(frame)) => return Ok(Some(Input::Frame(frame))),
                Passage::Open(None) => {}
            }
        }
        let input = arrival.timed("decode", &*self.clock, || self.decoder.decode(payload));
        input.map(Some).map_err(|error| {
            self.reopen(key);
            (error.kind(), error.to_string())
        })
    }

    /// The model did not see what the gate let through.
    pub(super) fn reopen(&mut self, key: &StreamKey) {
        if self.gate.is_some() {
            self.stream(key).seen.forget();
        }
    }

    pub(super) fn step(&self) {
        self.progress.steps.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_halted(&self) -> bool {
        self.progress.halted.load(Ordering::Relaxed)
    }

    pub(super) fn stream(&mut self, key: &StreamKey) -> &mut StreamState {
        let window = &self.window;
        let now = self.clock.now();
        self.streams.get_or_insert_with(key, now, || StreamState::new(window.as_ref()))
    }
}
