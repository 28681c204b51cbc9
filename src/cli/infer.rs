//! `eir infer`: one model on files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::table::table;
use super::{Exit, Failure, log};
use crate::app::config::LogLevel;
use crate::event::{Data, Input, Order, Prediction, Samples};
use crate::model::Caller;
use crate::package::{EngineChoice, InputKind, Package};
use crate::pipeline::decode::{DecodeConfig, Decoder, ImageConfig, JsonConfig};
use crate::task::{Clock, SystemClock};

/// No input file is larger.
const MAX_FILE: u64 = 256 << 20;

/// No directory gives more files.
const MAX_FILES: usize = 100_000;

#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// A name in the repository (`bearing`, `bearing@1`), a package directory, or an .onnx file
    model: String,
    /// Images, JSON files, raw little-endian numbers, or directories of them
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// auto, fastest, ort or tract
    #[arg(long, value_name = "ENGINE", value_parser = super::engine_choice)]
    engine: Option<EngineChoice>,
    /// Run ONNX Runtime and tract side by side
    #[arg(long, conflicts_with = "engine")]
    compare: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// JSON Pointers that pick the numbers of a JSON file; by default every number, in order
    #[arg(long, value_name = "POINTER", value_delimiter = ',')]
    fields: Vec<String>,
    /// The repository that names are looked up in
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

pub(super) fn infer(args: &InferArgs) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    let (models, package) = super::find_model(args.models.as_deref(), &args.model)?;
    let choices: &[Option<EngineChoice>] = if args.compare {
        &[Some(EngineChoice::Ort), Some(EngineChoice::Tract)]
    } else {
        &[args.engine]
    };
    let mut callers = Vec::new();
    for choice in choices {
        let model = models
            .serve(package.clone(), *choice)
            .with_context(|| format!("failed to load {}", args.model))?;
        callers.push(model.caller().with_context(|| format!("failed to use {}", args.model))?);
    }
    let reader = Reader::new(&package, &args.fields)?;
    let files = files(&args.inputs)?;
    let progress = progress(files.len());
    let mut failed = 0;
    for file in &files {
        progress.inc(1);
        match reader.read(file) {
            Ok(input) => {
                let answers: Vec<_> =
                    callers.iter_mut().map(|caller| ask(caller, &input)).collect();
                failed += usize::from(answers.iter().any(|answer| answer.1.is_err()));
                progress.suspend(|| show(args, file, &callers, &answers));
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprintln!("eir: {}: {error:#}", file.display()));
            }
        }
    }
    progress.finish_and_clear();
    if failed > 0 {
        return Err(anyhow::anyhow!("{failed} of {} inputs failed", files.len()).into());
    }
    Ok(())
}

type Answer = (Duration, Result<Prediction, String>);

fn ask(caller: &mut Caller, input: &Input) -> Answer {
    let clock = SystemClock;
    let start = clock.now();
    let answer = caller.predict_one(input).map_err(|error| error.to_string());
    (clock.now() - start, answer)
}

fn show(args: &InferArgs, file: &Path, callers: &[Caller], answers: &[Answer]) {
    let mut rows = Vec::new();
    for (caller, (elapsed, answer)) in callers.iter().zip(answers) {
        let (model, package) = (caller.model(), caller.model().package());
        if args.json {
            let line = serde_json::json!({
                "input": file, "model": package.name, "version": package.version,
                "engine": model.status().kind, "latency_us": elapsed.as_micros(),
                "prediction": answer.as_ref().ok(), "error": answer.as_ref().err(),
            });
            println!("{line}");
        } else {
            let said = answer.as_ref().map_or_else(|error| format!("error: {error}"), describe);
            let millis = format!("{:.2} ms", elapsed.as_secs_f64() * 1e3);
            rows.push(vec![model.status().label(), millis, said]);
        }
    }
    match rows.as_slice() {
        [] => {}
        [row] => println!("{}: {}  ({}, {})", file.display(), row[2], row[0], row[1]),
        rows => println!("{}\n{}", file.display(), table(&["engine", "time", "prediction"], rows)),
    }
}

/// A prediction in a line.
fn describe(prediction: &Prediction) -> String {
    match prediction {
        Prediction::Classification { label, score, .. } => format!("{label} {score:.3}"),
        Prediction::Detection { detections } if detections.is_empty() => "nothing".to_owned(),
        Prediction::Detection { detections } => {
            let each = detections.iter().map(|d| {
                format!("{} {:.2} at {:.0},{:.0} {:.0}x{:.0}", d.label, d.score, d.x, d.y, d.w, d.h)
            });
            each.collect::<Vec<_>>().join("; ")
        }
        Prediction::Anomaly { score } => format!("anomaly score {score:.5}"),
        Prediction::Regression { values } | Prediction::Embedding { values } => numbers(values),
        Prediction::Tensor { shape, values } => format!("{shape:?} {}", numbers(values)),
    }
}

fn numbers(values: &[f32]) -> String {
    let first: Vec<_> = values.iter().take(8).map(|value| format!("{value:.4}")).collect();
    let rest = values.len().saturating_sub(8);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("[{}]{more}", first.join(", "))
}

/// The files behind what was named; a directory stands for the files in it.
fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for input in inputs {
        let missing = |error| {
            let error =
                anyhow::Error::new(error).context(format!("failed to read {}", input.display()));
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
            .filter(|p| p.is_file())
            .collect();
        inside.sort();
        files.extend(inside);
    }
    if files.len() > MAX_FILES {
        let error = anyhow::anyhow!("{} files; at most {MAX_FILES} at a time", files.len());
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(files)
}

fn progress(files: usize) -> ProgressBar {
    if files < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Reads files as the model's input wants them.
struct Reader {
    images: Decoder,
    fields: Option<Decoder>,
    channels: usize,
}

impl Reader {
    fn new(package: &Package, fields: &[String]) -> Result<Self, Failure> {
        let decoder = |config: &DecodeConfig| {
            Decoder::new(config).map_err(|error| Failure::new(Exit::Usage, error))
        };
        let fields = match fields {
            [] => None,
            fields => Some(decoder(&DecodeConfig::Json(JsonConfig { fields: fields.to_vec() }))?),
        };
        let images = decoder(&DecodeConfig::Image(ImageConfig::default()))?;
        Ok(Self { images, fields, channels: channels(package) })
    }

    fn read(&self, file: &Path) -> anyhow::Result<Input> {
        let bytes = crate::disk::read_bounded(file, MAX_FILE).context("cannot be read")?;
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match (extension.to_ascii_lowercase().as_str(), &self.fields) {
            ("json", Some(fields)) => Ok(fields.decode(&bytes)?),
            ("json", None) => {
                let json = serde_json::from_slice(&bytes).context("is no JSON")?;
                let mut values = Vec::new();
                every_number(&json, &mut values);
                self.samples(values)
            }
            _ if bytes.starts_with(b"\xff\xd8") || bytes.starts_with(b"\x89PNG") => {
                Ok(self.images.decode(&bytes)?)
            }
            _ => {
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    bail!("{} bytes are no whole number of little-endian f32", bytes.len());
                }
                self.samples(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
        }
    }

    /// Numbers in the order in which they stood, instant by instant.
    fn samples(&self, values: Vec<f32>) -> anyhow::Result<Input> {
        if values.is_empty() || !values.len().is_multiple_of(self.channels) {
            bail!("{} numbers; a multiple of {} channels is wanted", values.len(), self.channels);
        }
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            bail!("holds {bad}; numbers must be finite");
        }
        Ok(Input::Samples(Samples { channels: self.channels, order: Order::Interleaved, values }))
    }
}

/// Channels of a model that takes samples; 1 for any other.
fn channels(package: &Package) -> usize {
    let info = package.signature.inputs.first();
    let spec = package.spec.input.values().next();
    match (info, spec) {
        (Some(info), Some(spec)) if spec.kind == InputKind::Samples => {
            let axis = spec.layout.unwrap_or(crate::package::Layout::Tc).channel_axis();
            axis.and_then(|axis| info.shape.get(axis).copied().flatten()).unwrap_or(1)
        }
        _ => 1,
    }
}

fn every_number(json: &serde_json::Value, numbers: &mut Vec<f32>) {
    match json {
        serde_json::Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            numbers.extend(Data::from(vec![number]).to_f32());
        }
        serde_json::Value::Array(items) => {
            for item in items {
                every_number(item, numbers);
            }
        }
        serde_json::Value::Object(map) => {
            for item in map.values() {
                every_number(item, numbers);
            }
        }
        _ => {}
    }
}
