//! Golden samples: inputs with the answers that the model must give before it may serve.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::PackageError;
use crate::disk;
use crate::event::{Detection, Input, Order, Samples};

const MAX_FILES: usize = 256;
const MAX_JSON_BYTES: u64 = 8 * 1024 * 1024;
const MAX_IMAGE_BYTES: u64 = 16 * 1024 * 1024;
const MAX_VALUES: usize = 1 << 20;

/// One golden sample.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenSample {
    /// The file's name without `.json`.
    pub name: String,
    /// What goes in.
    pub input: GoldenInput,
    /// What must come out, within the package's tolerance.
    pub expect: Expectation,
}

/// The input of a golden sample.
#[derive(Debug, Clone, PartialEq)]
pub enum GoldenInput {
    /// Instants × channels, time first.
    Samples(Samples),
    /// A JPEG or PNG file beside the sample.
    Image(PathBuf),
}

/// The expected answer; which one depends on the task.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Classification: score by label.
    Scores(BTreeMap<String, f32>),
    /// Anomaly.
    Score(f32),
    /// Detection: every object, boxes in pixels of the picture.
    Detections(Vec<Detection>),
    /// Regression, embedding, tensor: every number.
    Values(Vec<f32>),
}

impl GoldenInput {
    /// What goes in, with a picture decoded by `picture`.
    pub fn load<E: std::fmt::Display>(
        &self,
        picture: impl FnOnce(&[u8]) -> Result<Input, E>,
    ) -> Result<Input, PackageError> {
        match self {
            Self::Samples(samples) => Ok(Input::Samples(samples.clone())),
            Self::Image(path) => {
                let bytes = disk::read_bounded(path, MAX_IMAGE_BYTES)
                    .map_err(|error| PackageError::read(path, &error))?;
                picture(&bytes).map_err(|error| PackageError::Golden {
                    path: path.clone(),
                    reason: error.to_string(),
                })
            }
        }
    }
}

/// Reads `golden/*.json` in the order of their names; a package without the directory has none.
pub(super) fn read(directory: &Path) -> Result<Vec<GoldenSample>, PackageError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PackageError::read(directory, &error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| PackageError::read(directory, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            let reason = format!("holds more than {MAX_FILES} samples");
            return Err(PackageError::Golden { path: directory.to_owned(), reason });
        }
    }
    files.sort();
    files.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<GoldenSample, PackageError> {
    let bytes = disk::read_bounded(path, MAX_JSON_BYTES)
        .map_err(|error| PackageError::read(path, &error))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let (input, expect) = parse(&bytes, directory)
        .map_err(|reason| PackageError::Golden { path: path.to_owned(), reason })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(GoldenSample { name, input, expect })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    input: Value,
    expect: Expectation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn parse(bytes: &[u8], directory: &Path) -> Result<(GoldenInput, Expectation), String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let input = match file.input {
        Value::String(name) => {
            let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "..";
            if !plain {
                return Err(format!("input `{name}` must be the name of a file beside the sample"));
            }
            GoldenInput::Image(directory.join(name))
        }
        numbers => GoldenInput::Samples(samples(numbers)?),
    };
    Ok((input, file.expect))
}

fn samples(numbers: Value) -> Result<Samples, String> {
    let Numbers { shape, values } = serde_json::from_value(numbers).map_err(|error| {
        format!("input must be the name of a picture or {{\"shape\", \"values\"}}: {error}")
    })?;
    let size = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
    if size != Some(values.len()) || values.is_empty() || values.len() > MAX_VALUES {
        return Err(format!(
            "{} values do not fill the shape {shape:?}, or are not from 1 to {MAX_VALUES}",
            values.len()
        ));
    }
    if !values.iter().all(|value| value.is_finite()) {
        return Err("every value must be a finite number".into());
    }
    // [instants] is one channel; what is behind the first dimension is an instant.
    let channels = shape.iter().skip(1).product();
    Ok(Samples { channels, order: Order::Interleaved, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<(GoldenInput, Expectation), String> {
        parse(text.as_bytes(), Path::new("golden"))
    }

    #[test]
    fn numbers_are_instants_by_channels() {
        let (input, expect) = read_text(
            r#"{"input": {"shape": [2, 3], "values": [1, 2, 3, 4, 5, 6]}, "expect": {"score": 0.5}}"#,
        )
        .expect("sample");
        let GoldenInput::Samples(samples) = input else { panic!("numbers") };
        assert_eq!((samples.len(), samples.channels), (2, 3));
        assert!((samples.at(1, 2) - 6.0).abs() < f32::EPSILON);
        assert_eq!(expect, Expectation::Score(0.5));
    }

    #[test]
    fn a_picture_lies_beside_its_sample() {
        let (input, expect) =
            read_text(r#"{"input": "01.jpg", "expect": {"detections": []}}"#).expect("sample");
        assert_eq!(input, GoldenInput::Image(PathBuf::from("golden/01.jpg")));
        assert_eq!(expect, Expectation::Detections(Vec::new()));
        assert!(read_text(r#"{"input": "../x.jpg", "expect": {"score": 1}}"#).is_err());
    }

    #[test]
    fn mistakes_are_refused() {
        for text in [
            "",
            "[]",
            r#"{"input": "a.jpg"}"#,
            r#"{"input": 3, "expect": {"score": 1}}"#,
            r#"{"input": {"shape": [2], "values": [1]}, "expect": {"score": 1}}"#,
            r#"{"input": {"shape": [1], "values": [1e300]}, "expect": {"score": 1}}"#,
            r#"{"input": {"shape": [0], "values": []}, "expect": {"score": 1}}"#,
            r#"{"input": {"shape": [1], "values": [1]}, "expect": {"mood": 1}}"#,
            r#"{"input": {"shape": [1], "values": [1]}, "expect": {"score": 1}, "more": 1}"#,
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
    }
}
