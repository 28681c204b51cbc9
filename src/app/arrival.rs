//! A message at hand, and by what name its records are known.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use crate::event::{Envelope, Name};
use crate::pipeline::decode::pointer_text;

/// A message at hand, and its publisher's name for it once somebody asked.
pub(super) struct Arrival<'a> {
    pub envelope: &'a Envelope,
    id: OnceCell<Option<Arc<str>>>,
    inputs: Cell<usize>,
}

/// What a record comes from: a message, as its publisher calls it, and which of the model inputs that it completed.
#[derive(Debug, Clone)]
pub(super) struct Provenance {
    id: Arc<str>,
    place: usize,
}

impl<'a> Arrival<'a> {
    pub(super) const fn new(envelope: &'a Envelope) -> Self {
        Self { envelope, id: OnceCell::new(), inputs: Cell::new(0) }
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
}

impl Provenance {
    /// Names what a rule or a sampler made of it, the same however often the message comes.
    pub(super) fn origin(&self, pipeline: &Name, of: &Name) -> String {
        let Self { id, place } = self;
        let origin = format!("{id}:{pipeline}:{of}");
        if *place > 1 { format!("{origin}:{place}") } else { origin }
    }
}
