//! Files as a model's input wants them.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{Exit, Failure};
use crate::event::Input;
use crate::model::{Intake, PICTURES, files_in, is_called, samples};
use crate::package::{InputKind, Package};
use crate::pipeline::decode::{DecodeConfig, Decoder, JsonConfig};

/// No input file is larger.
const MAX_FILE: u64 = 256 << 20;

/// No directory gives more files.
const MAX_FILES: usize = 100_000;

/// The files behind what was named. A directory stands for the files in it, of which a model of
/// pictures takes the pictures.
pub(super) fn files(inputs: &[PathBuf], package: &Package) -> Result<Vec<PathBuf>, Failure> {
    let input = package.spec.input.values().next();
    let kind = input.map(|input| input.kind).unwrap_or_default();
    let mut files = Vec::new();
    for input in inputs {
        let missing = |error| {
            let error = anyhow::Error::new(error);
            let error = error.context(format!("failed to read {}", input.display()));
            Failure::new(Exit::NoInput, error)
        };
        if !std::fs::metadata(input).map_err(missing)?.is_dir() {
            files.push(input.clone());
            continue;
        }
        let inside = files_in(input, kind, MAX_FILES).map_err(missing)?;
        if inside.is_empty() {
            let what = if kind == InputKind::Image { "JPEG or PNG" } else { "file" };
            let error = anyhow!("there is no {what} in {}", input.display());
            return Err(Failure::new(Exit::NoInput, error));
        }
        files.extend(inside);
    }
    if files.len() > MAX_FILES {
        let error = anyhow!("{} files; at most {MAX_FILES} at a time", files.len());
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(files)
}

/// Reads files for one model.
pub(super) struct Reader {
    intake: Intake,
    fields: Option<Decoder>,
}

impl Reader {
    /// `fields` are JSON Pointers; none of them means every number.
    pub(super) fn new(package: &Package, fields: &[String]) -> Result<Self, Failure> {
        let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
        let intake = Intake::new(package).map_err(|e| usage(e.into()))?;
        let decoder = |config: &DecodeConfig| Decoder::new(config).map_err(|e| usage(e.into()));
        let fields = match fields {
            [] => None,
            _ if intake.kind() == InputKind::Image => {
                return Err(usage(anyhow!(
                    "--fields picks numbers, and {} takes pictures",
                    package.name
                )));
            }
            fields => Some(decoder(&DecodeConfig::Json(JsonConfig { fields: fields.to_vec() }))?),
        };
        Ok(Self { intake, fields })
    }

    /// One file: a picture for a model of pictures, otherwise JSON or raw numbers. A golden sample
    /// stands for its input.
    pub(super) fn read(&self, file: &Path) -> anyhow::Result<Input> {
        let bytes = load(file)?;
        if !is_called(file, &["json"]) {
            return self.decode(file, &bytes);
        }
        if let Some(fields) = &self.fields {
            return Ok(fields.decode(&bytes)?);
        }
        // What is no JSON is told of where it is read for its numbers.
        let json = serde_json::from_slice(&bytes).unwrap_or_default();
        let input = match golden_input(&json) {
            Some(Value::String(name)) => return self.beside(file, name),
            Some(input) if self.intake.kind() != InputKind::Image => input,
            _ => return Ok(self.intake.json(&bytes)?),
        };
        let Numbers { shape, values } = Numbers::deserialize(input).context(
            "is a golden sample, whose input must be the name of a file or {\"shape\", \"values\"}",
        )?;
        let size = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        ensure!(size == Some(values.len()), "{} numbers in {shape:?}", values.len());
        // Behind the first dimension is an instant.
        Ok(samples(values, shape.iter().skip(1).product())?)
    }

    /// The file that a golden sample names.
    fn beside(&self, sample: &Path, name: &str) -> anyhow::Result<Input> {
        let plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
        ensure!(plain, "names `{name}`, which must be a file beside it");
        let file = sample.with_file_name(name);
        let read = || self.decode(&file, &load(&file)?);
        read().with_context(|| format!("names {name}, which"))
    }

    fn decode(&self, file: &Path, bytes: &[u8]) -> anyhow::Result<Input> {
        let takes_picture = self.intake.kind() == InputKind::Image;
        ensure!(
            takes_picture || !is_called(file, &PICTURES),
            "is a picture; the model takes numbers"
        );
        Ok(self.intake.bytes(bytes)?)
    }
}

fn load(file: &Path) -> anyhow::Result<Vec<u8>> {
    crate::disk::read_bounded(file, MAX_FILE).context("cannot be read")
}

/// The input of a golden sample, if it is one.
fn golden_input(json: &Value) -> Option<&Value> {
    json.get("expect").and(json.get("input"))
}

#[derive(Deserialize)]
struct Numbers {
    shape: Vec<usize>,
    values: Vec<f32>,
}
