//! Inputs worth labelling: which are taken, how many, and what of them may be seen.

mod archive;
mod config;
mod quota;
mod redact;

use std::sync::Arc;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand::RngExt;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

pub use archive::Archive;
pub use config::{ArchiveConfig, Quota, SampleConfig};

use self::config::Strategy;
use self::quota::Meter;
use self::redact::redacted;
use super::drift::Baseline;
use super::gather::Seen;
use crate::event::{Frame, Input, ModelName, Name, Order, Prediction, Samples, StreamKey};

/// One `[pipeline.NAME.sample.NAME]` at work.
#[derive(Debug)]
pub struct Sampler {
    name: Name,
    strategy: Strategy,
    redact: Vec<String>,
    meter: Meter,
    archive: Option<Archive>,
}

/// Where an input came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The pipeline.
    pub pipeline: &'a Name,
    /// The stream within it.
    pub stream: &'a StreamKey,
    /// The model.
    pub model: &'a ModelName,
    /// Its version.
    pub version: u64,
    /// The message as it came.
    pub payload: &'a [u8],
}

/// An input that was taken.
#[derive(Debug)]
pub struct Sample {
    /// The sampler that took it.
    pub sampler: Name,
    /// The body of its record: an object with `pipeline`, `stream`, `sampler`, `model`, `version`,
    /// `prediction` and `input`.
    pub body: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    pipeline: &'a Name,
    stream: &'a StreamKey,
    sampler: &'a Name,
    model: &'a ModelName,
    version: u64,
    prediction: &'a Prediction,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Told>,
}

/// The input itself.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Told {
    /// A picture, as the camera sent it where nothing had to be hidden.
    Picture {
        /// What kind of file it is.
        content_type: &'static str,
        /// The file; what it costs to spell it out, pays who writes this.
        #[serde(serialize_with = "in_base64")]
        base64: Arc<[u8]>,
    },
    /// Numbers, as the message ordered them.
    Samples {
        /// Values an instant.
        channels: usize,
        /// All channels of the first instant come first, not all instants of the first channel.
        interleaved: bool,
        /// All of them.
        values: Vec<f32>,
    },
}

impl Told {
    /// A model input and the message that it came with, nothing hidden; `None`: a picture that no file can be made
    /// of.
    pub fn new(input: &Input, payload: &Arc<[u8]>) -> Option<Self> {
        match (input, kind(payload)) {
            (Input::Samples(samples), _) => Some(Self::samples(samples)),
            (Input::Frame(_), Some(content_type)) => {
                Some(Self::Picture { content_type, base64: Arc::clone(payload) })
            }
            (Input::Frame(frame), None) => written(frame).map(|file| Self::picture(&file)),
        }
    }

    fn picture(file: &File) -> Self {
        Self::Picture { content_type: file.content_type, base64: file.bytes.as_slice().into() }
    }

    fn samples(samples: &Samples) -> Self {
        Self::Samples {
            channels: samples.channels,
            interleaved: samples.order == Order::Interleaved,
            values: samples.values.clone(),
        }
    }
}

/// A picture's file, and what kind of file it is.
#[derive(Debug)]
struct File {
    content_type: &'static str,
    bytes: Vec<u8>,
}

impl Sampler {
    /// The configuration was checked; an archive's thread is started. An error is the system's.
    pub fn start(name: &Name, config: &SampleConfig) -> std::io::Result<Self> {
        Ok(Self {
            name: name.clone(),
            strategy: config.strategy().unwrap_or(Strategy::Random(0.0)),
            redact: config.redact.clone(),
            meter: Meter::new(config.hourly, config.daily),
            archive: config.archive.as_ref().map(Archive::start).transpose()?,
        })
    }

    /// Takes the input, if it is one of those that are looked for, and there is room for it. What goes into the
    /// archive is gone from here; what is returned is for the clouds.
    pub fn take(
        &mut self,
        seen: &Seen<'_>,
        baseline: Option<&Arc<Baseline>>,
        from: Origin<'_>,
        wall: Timestamp,
    ) -> Option<Sample> {
        if !self.wants(seen, baseline) || !self.meter.has_room(wall) {
            return None;
        }
        let file = file(seen, from.payload, &self.redact);
        let told = match (&file, seen.input, &self.archive) {
            (Some(_), _, Some(_)) => None,
            (Some(file), _, None) => Some(Told::picture(file)),
            (None, Input::Samples(samples), _) => Some(Told::samples(samples)),
            // A picture that cannot be shown as it has to be is not shown at all.
            (None, Input::Frame(_), _) => return None,
        };
        let Origin { pipeline, stream, model, version, .. } = from;
        let (sampler, prediction) = (&self.name, seen.prediction);
        let body = Body { pipeline, stream, sampler, model, version, prediction, input: told };
        let body = to_raw_value(&body).ok()?;
        let bytes = body.get().len() + file.as_ref().map_or(0, |file| file.bytes.len());
        if !self.meter.spend(wall, bytes) {
            return None;
        }
        if let Some(archive) = &self.archive {
            archive.keep(body, file.map(|file| (extension(file.content_type), file.bytes)));
            return None;
        }
        Some(Sample { sampler: self.name.clone(), body })
    }

    fn wants(&self, seen: &Seen<'_>, baseline: Option<&Arc<Baseline>>) -> bool {
        match &self.strategy {
            Strategy::Uncertain(band) => seen.prediction.is_uncertain(*band),
            Strategy::Random(part) => rand::rng().random_bool(*part),
            Strategy::Rule(rule) => seen.fired.contains(rule),
            Strategy::Novel(part) => {
                let outside = baseline.and_then(|baseline| baseline.outside(seen.input));
                outside.is_some_and(|outside| outside > *part)
            }
        }
    }
}

/// The picture as a file, with the regions hidden that have to be; `None`: it is no picture, or cannot be hidden.
fn file(seen: &Seen<'_>, payload: &[u8], redact: &[String]) -> Option<File> {
    let Input::Frame(frame) = seen.input else { return None };
    if !redact.is_empty() && !matches!(seen.prediction, Prediction::Detection { .. }) {
        // Nobody knows where in it that is which has to be hidden.
        return None;
    }
    if let Some(hidden) = redacted(frame, seen.prediction, redact) {
        return written(&hidden);
    }
    as_file(frame, payload)
}

/// The picture as the camera sent it, where that is a file already.
fn as_file(frame: &Frame, payload: &[u8]) -> Option<File> {
    let Some(content_type) = kind(payload) else { return written(frame) };
    Some(File { content_type, bytes: payload.to_vec() })
}

/// What kind of picture's file a message is, if it is one.
fn kind(payload: &[u8]) -> Option<&'static str> {
    if payload.starts_with(b"\x89PNG") {
        Some("image/png")
    } else {
        payload.starts_with(&[0xFF, 0xD8, 0xFF]).then_some("image/jpeg")
    }
}

fn in_base64<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Base64Display::new(bytes, &STANDARD))
}

fn written(frame: &Frame) -> Option<File> {
    Some(File { content_type: "image/jpeg", bytes: redact::jpeg(frame)? })
}

fn extension(content_type: &str) -> &'static str {
    if content_type == "image/png" { "png" } else { "jpg" }
}

#[cfg(test)]
mod tests;
