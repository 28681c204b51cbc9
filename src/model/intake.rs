//! What a model is asked from outside a pipeline: a picture, or numbers as JSON or bytes, of which nothing is known but what
//! the package says about its input.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use crate::event::{Data, Input, Order, Samples};
use crate::package::{InputKind, Layout, Package};
pub use crate::pipeline::decode::MAX_VALUES;
use crate::pipeline::decode::{DecodeConfig, DecodeError, Decoder, ImageConfig};

/// Reads inputs for one model.
#[derive(Debug)]
pub struct Intake {
    kind: InputKind,
    pictures: Decoder,
    channels: usize,
    instants: Option<usize>,
}

/// Why something is no input of a model.
#[derive(Debug, Error)]
pub enum IntakeError {
    /// There is nothing in it.
    #[error("is empty; the model takes {0}")]
    Empty(&'static str),
    /// It is something else.
    #[error("is {found}; the model takes {wanted}")]
    Kind {
        /// What it seems to be.
        found: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
    /// The picture is none, or damaged, or too large.
    #[error(transparent)]
    Picture(#[from] DecodeError),
    /// Bytes that are no numbers.
    #[error("{0} bytes are no whole number of little-endian f32")]
    Bytes(usize),
    /// It is not JSON.
    #[error("is no JSON")]
    Json(#[source] serde_json::Error),
    /// Deeper than it is read.
    #[error("is nested too deeply; 127 levels of JSON are read")]
    Deep,
    /// Too few or too many numbers.
    #[error("{found} numbers; a multiple of {channels} channels is wanted, at most {MAX_VALUES}")]
    Count {
        /// The numbers in it.
        found: usize,
        /// Values an instant.
        channels: usize,
    },
    /// A number that no sensor gives.
    #[error("holds {0}; numbers must be finite")]
    NotFinite(f32),
}

const PICTURE: &str = "JPEG or PNG";
const NUMBERS: &str = "numbers";

impl Intake {
    /// For the first input of the package.
    pub fn new(package: &Package) -> Result<Self, DecodeError> {
        let kind = package.spec.input.values().next().map(|spec| spec.kind).unwrap_or_default();
        let pictures = Decoder::new(&DecodeConfig::Image(ImageConfig::default()))?;
        let channels = channels(package);
        let shape = package.signature.inputs.first().and_then(|info| info.shape.get(1..));
        let numbers = shape
            .filter(|_| kind != InputKind::Image)
            .and_then(|shape| shape.iter().try_fold(1_usize, |all, dim| all.checked_mul((*dim)?)));
        let instants = numbers.and_then(|all| all.checked_div(channels));
        Ok(Self { kind, pictures, channels, instants })
    }

    /// What the model takes.
    pub const fn kind(&self) -> InputKind {
        self.kind
    }

    /// Values an instant; 1 for a model that takes no samples.
    pub const fn channels(&self) -> usize {
        self.channels
    }

    /// Instants of one input; `None` where any number will do.
    pub const fn instants(&self) -> Option<usize> {
        self.instants
    }

    /// A picture for a model of pictures; for any other little-endian f32, instant by instant.
    pub fn bytes(&self, bytes: &[u8]) -> Result<Input, IntakeError> {
        if self.kind == InputKind::Image {
            return match bytes {
                [] => Err(IntakeError::Empty(PICTURE)),
                _ if is_picture(bytes) => Ok(self.pictures.decode(bytes)?),
                _ => Err(IntakeError::Kind { found: "no picture", wanted: PICTURE }),
            };
        }
        if is_picture(bytes) {
            return Err(IntakeError::Kind { found: "a picture", wanted: NUMBERS });
        }
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(IntakeError::Bytes(bytes.len()));
        }
        samples(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(), self.channels)
    }

    /// Every number of a JSON text, in the order in which they stand there: instant by instant.
    pub fn json(&self, text: &[u8]) -> Result<Input, IntakeError> {
        if self.kind == InputKind::Image {
            return Err(IntakeError::Kind { found: "JSON", wanted: PICTURE });
        }
        let mut values = Vec::new();
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read = Numbers(&mut values).deserialize(&mut reader).and_then(|()| reader.end());
        read.map_err(|error| {
            // The one sign of it that the parser gives.
            let deep = error.to_string().starts_with("recursion limit");
            if deep { IntakeError::Deep } else { IntakeError::Json(error) }
        })?;
        samples(values, self.channels)
    }
}

/// What a picture is called.
pub(crate) const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];

/// Whether a file has one of these extensions.
pub(crate) fn is_called(file: &Path, extensions: &[&str]) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// The files in a directory by name, of which a model of pictures takes the pictures; no more than one over `most`.
pub fn files_in(directory: &Path, kind: InputKind, most: usize) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let takes =
        |path: &PathBuf| path.is_file() && (kind != InputKind::Image || is_called(path, &PICTURES));
    let files = entries.filter(|path| path.as_ref().is_ok_and(takes) || path.is_err());
    let mut files = files.take(most.saturating_add(1)).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// It begins as a picture does.
pub fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff") || bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

/// Numbers instant by instant.
pub fn samples(values: Vec<f32>, channels: usize) -> Result<Input, IntakeError> {
    let found = values.len();
    if found == 0 || !found.is_multiple_of(channels) || found > MAX_VALUES {
        return Err(IntakeError::Count { found, channels });
    }
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        return Err(IntakeError::NotFinite(*bad));
    }
    Ok(Input::Samples(Samples { channels, order: Order::Interleaved, values }))
}

/// Channels of a model that takes samples; 1 for any other.
fn channels(package: &Package) -> usize {
    let info = package.signature.inputs.first();
    let spec = package.spec.input.values().next();
    match (info, spec) {
        (Some(info), Some(spec)) if spec.kind == InputKind::Samples => {
            let axis = spec.layout.unwrap_or(Layout::Tc).channel_axis();
            axis.and_then(|axis| info.shape.get(axis).copied().flatten()).unwrap_or(1).max(1)
        }
        _ => 1,
    }
}

/// Takes the numbers out of JSON and nothing else; those behind the largest count are only counted.
struct Numbers<'a>(&'a mut Vec<f32>);

impl Numbers<'_> {
    fn add(self, number: f64) {
        if self.0.len() <= MAX_VALUES {
            self.0.extend(Data::from(vec![number]).to_f32());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Numbers<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Numbers<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.add(number);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.add(number as f64);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.add(number as f64);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Numbers(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<IgnoredAny>()?.is_some() {
            entries.next_value_seed(Numbers(self.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(kind: InputKind, channels: usize) -> Intake {
        let pictures = Decoder::new(&DecodeConfig::Image(ImageConfig::default()));
        Intake { kind, pictures: pictures.expect("a decoder"), channels, instants: None }
    }

    fn values(input: Result<Input, IntakeError>) -> Vec<f32> {
        match input.expect("an input") {
            Input::Samples(samples) => samples.values,
            Input::Frame(frame) => panic!("{frame:?}"),
        }
    }

    #[test]
    fn numbers_are_taken_as_they_stand_in_the_text() {
        let three = intake(InputKind::Samples, 3);
        let text = br#"{"at": "now", "z": [1, -2.5], "a": {"y": true, "x": 3e1}}"#;
        assert_eq!(values(three.json(text)), [1.0, -2.5, 30.0]);
        assert_eq!(values(three.bytes(&[0, 0, 128, 63].repeat(3))), [1.0; 3]);
    }

    #[test]
    fn what_is_no_input_is_told_by_what_would_be_one() {
        let (three, picture) = (intake(InputKind::Samples, 3), intake(InputKind::Image, 1));
        let deep = [b"[".repeat(200), b"]".repeat(200)].concat();
        for (result, told) in [
            (three.json(b"[1, 2]"), "2 numbers; a multiple of 3"),
            (three.json(b"[]"), "0 numbers"),
            (three.json(b"[1, 2, 3] 4"), "is no JSON"),
            (three.json(b"[1, 2, 1e300]"), "holds inf"),
            (three.json(&deep), "nested too deeply"),
            (three.bytes(b"\xff\xd8\xff\xe0"), "is a picture; the model takes numbers"),
            (three.bytes(b"12345"), "5 bytes are no whole number"),
            (picture.bytes(b""), "is empty; the model takes JPEG or PNG"),
            (picture.bytes(b"GIF89a"), "is no picture; the model takes JPEG or PNG"),
            (picture.json(b"[1]"), "is JSON; the model takes JPEG or PNG"),
        ] {
            let error = result.expect_err(told).to_string();
            assert!(error.contains(told), "{error:?} lacks {told:?}");
        }
    }
}
