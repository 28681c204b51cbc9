//! A message at hand, and by what name its records are known.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use super::rules::by;
use crate::action::Cause;
use crate::event::{Envelope, Name, TraceParent};
use crate::model::Spent;
use crate::pipeline::decode::pointer_text;
use crate::task::Clock;
use crate::trace::{Kind, Open};

/// A message at hand, and its publisher's name for it once somebody asked.
pub(super) struct Arrival<'a> {
    pub envelope: &'a Envelope,
    id: OnceCell<Option<Arc<str>>>,
    inputs: Cell<usize>,
    /// Where it is traced.
    trace: Option<Box<RefCell<Open>>>,
}

/// What a record comes from: a message, as its publisher calls it, and which of the model inputs that it completed.
#[derive(Debug, Clone)]
pub(super) struct Provenance {
    id: Arc<str>,
    place: usize,
}

impl<'a> Arrival<'a> {
    pub(super) fn new(envelope: &'a Envelope, trace: Option<Open>) -> Self {
        let trace = trace.map(|open| Box::new(RefCell::new(open)));
        Self { envelope, id: OnceCell::new(), inputs: Cell::new(0), trace }
    }

    /// The place of its next model input, from 1.
    pub(super) fn next_place(&self) -> usize {
        self.inputs.update(|count| count + 1);
        self.inputs.get()
    }

    /// From the payload where the input says so, otherwise the MQTT 5 user property. A message may hold
    /// thousands of windows: its payload is read for this once.
    pub(super) fn publisher_id(&self, pointer: Option<&str>) -> Option<&Arc<str>> {
        let find = || match pointer {
            Some(pointer) => pointer_text(&self.envelope.payload, pointer).map(Into::into),
            None => self.envelope.id.clone(),
        };
        self.id.get_or_init(find).as_ref()
    }

    /// What comes of the model input at this place, where the publisher gave the message a name.
    pub(super) fn cause(&self, pointer: Option<&str>, place: usize) -> Option<Provenance> {
        Some(Provenance { id: Arc::clone(self.publisher_id(pointer)?), place })
    }

    /// What is handed on to those who work because of it: its own span where it is traced, otherwise what it came with.
    pub(super) fn traceparent(&self) -> Option<TraceParent> {
        let own = self.trace.as_ref().map(|open| open.borrow().traceparent());
        own.or(self.envelope.traceparent)
    }

    /// What its decisions are carried out by.
    pub(super) fn by(&self) -> Cause<'a> {
        Cause { traceparent: self.traceparent(), ..by(self.envelope) }
    }

    /// The message without its bytes, for what comes of it later.
    pub(super) fn trace(&self) -> Envelope {
        Envelope { traceparent: self.traceparent(), ..self.envelope.trace() }
    }

    /// Tells the trace something, where there is one.
    pub(super) fn tell(&self, tell: impl FnOnce(&mut Open)) {
        if let Some(open) = &self.trace {
            tell(&mut open.borrow_mut());
        }
    }

    /// Does a part of the work, and tells the trace how long that took.
    pub(super) fn timed<T>(
        &self,
        part: &'static str,
        clock: &dyn Clock,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(open) = &self.trace else { return work() };
        let began = clock.now();
        let done = work();
        open.borrow_mut().part(part, began, clock.now());
        done
    }

    /// Its share of a run of the model.
    pub(super) fn ran(&self, spent: Spent) {
        let Spent { began, preparing, waiting, running } = spent;
        self.tell(|open| {
            let mut from: Instant = began;
            for (part, took) in
                [("preprocess", preparing), ("wait", waiting), ("inference", running)]
            {
                open.part(part, from, from + took);
                from += took;
            }
        });
    }

    /// All is done for it.
    pub(super) fn end(self, pipeline: &Name, about: impl FnOnce(&mut Open)) {
        let Some(mut open) = self.trace.map(|open| open.into_inner()) else { return };
        open.note("messaging.system", "mqtt");
        open.note("messaging.operation.name", "process");
        open.note("messaging.operation.type", "process");
        open.note("messaging.destination.name", self.envelope.topic.as_str());
        open.note("messaging.message.body.size", self.envelope.payload.len());
        open.note("eir.pipeline", pipeline.as_str());
        about(&mut open);
        open.end(format!("{pipeline} process"), Kind::Consumer);
    }
}

impl Provenance {
    /// Names what a rule or a sampler made of it, the same however often the message comes.
    pub(super) fn origin(&self, pipeline: &Name, of: &Name) -> String {
        let Self { id, place } = self;
        let origin = format!("{id}:{pipeline}:{of}");
        if *place > 1 { format!("{origin}:{place}") } else { origin }
    }
}
