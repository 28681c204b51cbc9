//! Files as a model's input wants them.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::{Exit, Failure};
use crate::event::{Data, Input, Order, Samples};
use crate::package::{InputKind, Layout, Package};
use crate::pipeline::decode::{DecodeConfig, Decoder, ImageConfig, JsonConfig};

/// No input file is larger.
const MAX_FILE: u64 = 256 << 20;

/// No directory gives more files.
const MAX_FILES: usize = 100_000;

/// What a picture is called.
const PICTURES: [&str; 3] = ["jpg", "jpeg", "png"];

/// The files behind what was named. A directory stands for the files in it, of which a model of
/// pictures takes the pictures.
pub(super) fn files(inputs: &[PathBuf], package: &Package) -> Result<Vec<PathBuf>, Failure> {
    let pictures = kind(package) == InputKind::Image;
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
        let entries = std::fs::read_dir(input).map_err(missing)?;
        let mut inside: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && (!pictures || is_called(path, &PICTURES)))
            .collect();
        if inside.is_empty() {
            let what = if pictures { "JPEG or PNG" } else { "file" };
            let error = anyhow!("there is no {what} in {}", input.display());
            return Err(Failure::new(Exit::NoInput, error));
        }
        inside.sort();
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
    kind: InputKind,
    pictures: Decoder,
    fields: Option<Decoder>,
    channels: usize,
}

impl Reader {
    /// `fields` are JSON Pointers; none of them means every number.
    pub(super) fn new(package: &Package, fields: &[String]) -> Result<Self, Failure> {
        let usage = |error: anyhow::Error| Failure::new(Exit::Usage, error);
        let kind = kind(package);
        let decoder = |config: &DecodeConfig| Decoder::new(config).map_err(|e| usage(e.into()));
        let fields = match fields {
            [] => None,
            _ if kind == InputKind::Image => {
                return Err(usage(anyhow!(
                    "--fields picks numbers, and {} takes pictures",
                    package.name
                )));
            }
            fields => Some(decoder(&DecodeConfig::Json(JsonConfig { fields: fields.to_vec() }))?),
        };
        let pictures = decoder(&DecodeConfig::Image(ImageConfig::default()))?;
        Ok(Self { kind, pictures, fields, channels: channels(package) })
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
        let json = parse(&bytes)?;
        let input = match golden_input(&json) {
            Some(Value::String(name)) => return self.beside(file, name),
            input => input,
        };
        if self.kind == InputKind::Image {
            bail!("is JSON; the model takes JPEG or PNG");
        }
        let Some(input) = input else {
            let mut values = Vec::new();
            every_number(&json, &mut values);
            return samples(values, self.channels);
        };
        let Numbers { shape, values } = Numbers::deserialize(input).context(
            "is a golden sample, whose input must be the name of a file or {\"shape\", \"values\"}",
        )?;
        let size = shape.iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        ensure!(size == Some(values.len()), "{} numbers in {shape:?}", values.len());
        // Behind the first dimension is an instant.
        samples(values, shape.iter().skip(1).product())
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
        let picture = bytes.starts_with(b"\xff\xd8\xff") || bytes.starts_with(b"\x89PNG\r\n\x1a\n");
        if self.kind == InputKind::Image {
            ensure!(!bytes.is_empty(), "is empty; the model takes JPEG or PNG");
            ensure!(picture, "is no picture; the model takes JPEG or PNG");
            return Ok(self.pictures.decode(bytes)?);
        }
        ensure!(!picture && !is_called(file, &PICTURES), "is a picture; the model takes numbers");
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            bail!("{} bytes are no whole number of little-endian f32", bytes.len());
        }
        samples(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect(), self.channels)
    }
}

fn load(file: &Path) -> anyhow::Result<Vec<u8>> {
    crate::disk::read_bounded(file, MAX_FILE).context("cannot be read")
}

fn is_called(file: &Path, extensions: &[&str]) -> bool {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn parse(bytes: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The one sign of it that the parser gives.
        if error.to_string().starts_with("recursion limit") {
            anyhow!("is nested too deeply; 127 levels of JSON are read")
        } else {
            anyhow::Error::new(error).context("is no JSON")
        }
    })
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

/// Numbers in the order in which they stood, instant by instant.
fn samples(values: Vec<f32>, channels: usize) -> anyhow::Result<Input> {
    if values.is_empty() || !values.len().is_multiple_of(channels) {
        bail!("{} numbers; a multiple of {channels} channels is wanted", values.len());
    }
    if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
        bail!("holds {bad}; numbers must be finite");
    }
    Ok(Input::Samples(Samples { channels, order: Order::Interleaved, values }))
}

fn kind(package: &Package) -> InputKind {
    package.spec.input.values().next().map(|spec| spec.kind).unwrap_or_default()
}

/// Channels of a model that takes samples; 1 for any other.
fn channels(package: &Package) -> usize {
    let info = package.signature.inputs.first();
    let spec = package.spec.input.values().next();
    match (info, spec) {
        (Some(info), Some(spec)) if spec.kind == InputKind::Samples => {
            let axis = spec.layout.unwrap_or(Layout::Tc).channel_axis();
            axis.and_then(|axis| info.shape.get(axis).copied().flatten()).unwrap_or(1)
        }
        _ => 1,
    }
}

fn every_number(json: &Value, numbers: &mut Vec<f32>) {
    match json {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            numbers.extend(Data::from(vec![number]).to_f32());
        }
        Value::Array(items) => items.iter().for_each(|item| every_number(item, numbers)),
        Value::Object(map) => map.values().for_each(|item| every_number(item, numbers)),
        _ => {}
    }
}
