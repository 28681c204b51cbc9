//! `eir infer`: one model on files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::input::{self, Reader};
use super::table::table;
use super::{Failure, log, print};
use crate::event::{Input, LogLevel, Prediction};
use crate::model::{Caller, Models};
use crate::package::{EngineChoice, Package};
use crate::task::{Clock, SystemClock};

#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// A name in the repository (`bearing`, `bearing@1`), a package directory, or an .onnx file
    model: String,
    /// Images; for a model of numbers JSON files or raw little-endian f32; or directories of them
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
    let reader = Reader::new(&package, &args.fields)?;
    let files = input::files(&args.inputs, &package)?;
    let mut seats = seats(args, &models, &package)?;
    let progress = progress(files.len());
    let mut failed = 0;
    for file in &files {
        progress.inc(1);
        let shown = match reader.read(file) {
            Ok(input) => {
                let answers: Vec<_> = seats.iter_mut().map(|seat| seat.ask(&input)).collect();
                failed += usize::from(answers.iter().any(Answer::failed));
                progress.suspend(|| show(args, &package, file, &answers))
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| show_unread(args, &package, file, &error))
            }
        };
        shown?;
    }
    progress.finish_and_clear();
    if failed > 0 {
        return Err(anyhow!("{failed} of {} inputs failed", files.len()).into());
    }
    Ok(())
}

/// Those who are asked: one engine, or both side by side.
fn seats(args: &InferArgs, models: &Models, package: &Package) -> Result<Vec<Seat>, Failure> {
    let load = |choice| {
        let model = models.serve(package.clone(), choice);
        let model = model.with_context(|| format!("failed to load {}", args.model))?;
        model.caller().with_context(|| format!("failed to use {}", args.model))
    };
    if !args.compare {
        return Ok(vec![Seat::Taken(load(args.engine)?.into())]);
    }
    let sides = [("ort", EngineChoice::Ort), ("tract", EngineChoice::Tract)];
    let seats = sides.map(|(engine, choice)| match load(Some(choice)) {
        Ok(caller) => Seat::Taken(caller.into()),
        Err(error) => Seat::Empty { engine, reason: error.root_cause().to_string() },
    });
    if let [Seat::Empty { reason: one, .. }, Seat::Empty { reason: other, .. }] = &seats {
        return Err(anyhow!("no engine runs {}: {one}; {other}", args.model).into());
    }
    Ok(seats.into())
}

enum Seat {
    Taken(Box<Caller>),
    /// An engine that is not there or does not take the model.
    Empty {
        engine: &'static str,
        reason: String,
    },
}

/// What came of one input at one seat.
struct Answer {
    engine: String,
    label: String,
    /// None from an empty seat.
    elapsed: Option<Duration>,
    said: Result<Prediction, String>,
}

impl Seat {
    fn ask(&mut self, input: &Input) -> Answer {
        match self {
            Self::Taken(caller) => {
                let clock = SystemClock;
                let start = clock.now();
                let said = caller.predict_one(input).map_err(|error| error.to_string());
                let elapsed = Some(clock.now() - start);
                let status = caller.model().status();
                Answer { engine: status.kind.to_string(), label: status.label(), elapsed, said }
            }
            Self::Empty { engine, reason } => {
                let engine = (*engine).to_owned();
                Answer { label: engine.clone(), engine, elapsed: None, said: Err(reason.clone()) }
            }
        }
    }
}

impl Answer {
    /// An empty seat is not the input's fault.
    fn failed(&self) -> bool {
        self.elapsed.is_some() && self.said.is_err()
    }

    fn row(&self) -> Vec<String> {
        let millis = self.elapsed.map(|elapsed| format!("{:.2} ms", elapsed.as_secs_f64() * 1e3));
        let said = match (&self.said, &millis) {
            (Ok(prediction), _) => describe(prediction),
            (Err(error), Some(_)) => format!("error: {error}"),
            (Err(reason), None) => format!("missing: {reason}"),
        };
        vec![self.label.clone(), millis.unwrap_or_else(|| "–".to_owned()), said]
    }
}

fn show(
    args: &InferArgs,
    package: &Package,
    file: &Path,
    answers: &[Answer],
) -> Result<(), Failure> {
    if args.json {
        return answers.iter().try_for_each(|answer| {
            print::line(serde_json::json!({
                "input": file.to_string_lossy(),
                "model": package.name, "version": package.version, "engine": answer.engine,
                "latency_us": answer.elapsed.map(|elapsed| elapsed.as_micros()),
                "prediction": answer.said.as_ref().ok(), "error": answer.said.as_ref().err(),
            }))
        });
    }
    let rows: Vec<_> = answers.iter().map(Answer::row).collect();
    match rows.as_slice() {
        [row] => {
            print::line(format_args!("{}: {}  ({}, {})", file.display(), row[2], row[0], row[1]))
        }
        rows => {
            let table = table(&["engine", "time", "prediction"], rows);
            print::line(format_args!("{}\n{table}", file.display()))
        }
    }
}

/// An input that no engine was asked about: in JSON a line like any other.
fn show_unread(
    args: &InferArgs,
    package: &Package,
    file: &Path,
    error: &anyhow::Error,
) -> Result<(), Failure> {
    if !args.json {
        print::note(format_args!("eir: {}: {error:#}", file.display()));
        return Ok(());
    }
    print::line(serde_json::json!({
        "input": file.to_string_lossy(),
        "model": package.name, "version": package.version, "engine": null,
        "latency_us": null, "prediction": null, "error": format!("{error:#}"),
    }))
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

fn progress(files: usize) -> ProgressBar {
    if files < 2 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
