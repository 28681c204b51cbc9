//! Whether a picture shows anything that the model has not seen just now.
//!
//! A camera sends the same empty scene for hours. What differs from the picture that the model was given last by
//! noise alone is not given to it again: a glance at a JPEG ([`Decoder::glance`]) costs less than a tenth of decoding
//! and running it, and bytes that came before cost next to nothing.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::{Decoder, Thumbnail};
use crate::event::{Frame, HumanDuration};

/// Which pictures are not worth a run of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateConfig {
    /// A picture goes to the model if at least this share of it changed since the last one that did: above 0, up
    /// to 1. What counts is the mean brightness of cells of 8 × 8 pixels, or of as many times that as leaves no
    /// more than 80 cells a side; a cell has changed if it differs by more than 8 of 255.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub change: f32,
    /// After this long the next picture of a stream goes to the model whatever it shows, so that rules go on; above 0.
    #[serde(default = "every")]
    pub every: HumanDuration,
}

fn every() -> HumanDuration {
    HumanDuration::from_secs(10)
}

impl GateConfig {
    /// What is wrong with it: the key and what would be right.
    pub fn check(&self) -> Option<(&'static str, &'static str)> {
        if self.every.0.is_zero() {
            return Some((
                "every",
                "lets every picture through; give a longer time, or remove the gate",
            ));
        }
        (!(self.change > 0.0 && self.change <= 1.0))
            .then_some(("change", "must be a share of the picture above 0, up to 1, as 0.01"))
    }
}

/// Compares the pictures of each stream with what its model was given last.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    hasher: RandomState,
}

/// What is known of one stream.
#[derive(Debug, Default)]
pub struct Seen {
    /// Of the bytes that came last, if they were a picture.
    bytes: Option<u64>,
    /// What the model was given last, and when.
    ran: Option<(Thumbnail, Instant)>,
}

impl Seen {
    /// The model has not had the last picture after all.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What becomes of a picture.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// It shows what the model knows.
    Still,
    /// It goes to the model, or is to be decoded to be told what is wrong with it; with the picture where looking
    /// at it was decoding it.
    Open(Option<Frame>),
}

impl Gate {
    /// A configuration that was checked.
    pub fn new(config: &GateConfig) -> Self {
        Self { config: config.clone(), hasher: RandomState::new() }
    }

    /// Decides on the next payload of a stream.
    pub fn judge(
        &self,
        seen: &mut Seen,
        decoder: &Decoder,
        payload: &[u8],
        now: Instant,
    ) -> Passage {
        let GateConfig { change, every } = self.config;
        let fresh = |(_, at): &(Thumbnail, Instant)| now.saturating_duration_since(*at) < every.0;
        let known = seen.ran.as_ref().filter(|ran| fresh(ran));
        let bytes = Some(self.hasher.hash_one(payload));
        if known.is_some() && seen.bytes == bytes {
            return Passage::Still;
        }
        let Some((thumbnail, frame)) = decoder.glance(payload) else { return Passage::Open(None) };
        seen.bytes = bytes;
        if known.is_some_and(|(before, _)| thumbnail.changed_since(before) < change) {
            return Passage::Still;
        }
        seen.ran = Some((thumbnail, now));
        Passage::Open(frame)
    }
}

#[cfg(test)]
mod tests;
