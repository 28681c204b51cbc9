//! `eir model`: what lies in a repository, what it is, and whether it works here.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::table::{bytes, table};
use super::{Exit, Failure, log, print};
use crate::engine::{EngineKind, Form};
use crate::event::LogLevel;
use crate::model::{Models, ModelsConfig};
use crate::package::{ModelRef, Package, TensorInfo};

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// The models of a repository with their versions
    List(Place),
    /// Inputs, outputs, operators, labels of one model
    Inspect(One),
    /// Run its golden samples on every engine
    Verify(One),
}

#[derive(Debug, Args)]
pub(super) struct Place {
    /// The repository; looked for in the usual places by default
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// A name in the repository (`bearing`, `bearing@1`), a package directory, or an .onnx file
    model: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn model(command: &ModelCommand) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    match command {
        ModelCommand::List(place) => list(place),
        ModelCommand::Inspect(one) => inspect(one),
        ModelCommand::Verify(one) => verify(one),
    }
}

fn list(place: &Place) -> Result<(), Failure> {
    let dir = super::models_dir(place.models.as_deref())?;
    let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
    let repository = models.repository().map_err(|error| Failure::new(Exit::NoInput, error))?;
    let mut rows = Vec::new();
    let mut broken = 0;
    for listed in repository.models().map_err(|error| Failure::new(Exit::NoInput, error))? {
        for version in listed.versions {
            let reference = ModelRef { name: listed.name.clone(), version: Some(version) };
            let (task, size, what) = match repository.package(&reference) {
                Ok(package) => (
                    task(&package),
                    bytes(package.size),
                    package.spec.description.unwrap_or_default(),
                ),
                Err(error) => {
                    broken += 1;
                    ("broken".to_owned(), "–".to_owned(), error.to_string())
                }
            };
            rows.push(vec![format!("{reference}"), task, size, what]);
        }
    }
    print::line(table(&["model", "task", "size", "description"], &rows).trim_end())?;
    if broken > 0 {
        return Err(anyhow::anyhow!("{broken} of {} models are broken", rows.len()).into());
    }
    Ok(())
}

fn task(package: &Package) -> String {
    format!("{:?}", package.spec.task).to_lowercase()
}

fn inspect(one: &One) -> Result<(), Failure> {
    let (_, package) = super::find_model(one.place.models.as_deref(), &one.model)?;
    let signature = &package.signature;
    let mut text = format!("{}@{}", package.name, package.version);
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            text.extend(["\n  ", &format!("{name:<12} {value}")]);
        }
    };
    field("description", package.spec.description.as_deref().unwrap_or_default());
    field("license", package.spec.license.as_deref().unwrap_or_default());
    field("task", &task(&package));
    field("file", &format!("{} ({})", package.path.display(), bytes(package.size)));
    field("sha256", &package.sha256);
    field("producer", &signature.producer);
    let opsets = signature.opsets.iter().map(|(domain, version)| match domain.as_str() {
        "" => version.to_string(),
        domain => format!("{domain} {version}"),
    });
    field("opset", &opsets.collect::<Vec<_>>().join(", "));
    field("quantized", if signature.is_quantized() { "yes" } else { "no" });
    for (kind, infos) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        for info in infos {
            field(kind, &shape(info));
        }
    }
    let operators = signature.operators.iter().map(|(_, name)| name.clone());
    field("operators", &operators.collect::<Vec<_>>().join(", "));
    let labels: Vec<_> = package.labels.iter().take(20).map(|label| &**label).collect();
    field("labels", &labels.join(", "));
    field(
        "golden",
        &format!("{} samples, tolerance {}", package.golden.len(), package.spec.tolerance),
    );
    for (name, value) in &signature.metadata {
        field(name, value);
    }
    print::line(text)
}

/// `x: f32 [N, 3, 256]`.
fn shape(info: &TensorInfo) -> String {
    let dims = info.shape.iter().map(|d| d.map_or("N".to_owned(), |d| d.to_string()));
    format!("{}: {} [{}]", info.name, info.dtype, dims.collect::<Vec<_>>().join(", "))
}

fn verify(one: &One) -> Result<(), Failure> {
    let (models, package) = super::find_model(one.place.models.as_deref(), &one.model)?;
    if package.golden.is_empty() {
        return Err(anyhow::anyhow!("{} has no golden samples", one.model).into());
    }
    let mut rows = Vec::new();
    let mut served = 0;
    for (kind, form) in engines(&package) {
        let label = crate::model::label(kind, form, package.signature.is_quantized());
        let row = match models.verify(&package, kind, form) {
            Ok(results) => {
                let mistakes: Vec<_> = results
                    .iter()
                    .filter_map(|r| r.mistake.as_ref().map(|m| format!("{}: {m}", r.sample)))
                    .collect();
                served += usize::from(mistakes.is_empty());
                let agree = format!("{} of {}", results.len() - mistakes.len(), results.len());
                vec![label, agree, mistakes.into_iter().next().unwrap_or_default()]
            }
            Err(error) => vec![label, "–".to_owned(), error.to_string()],
        };
        rows.push(row);
    }
    print::line(table(&["engine", "agree", "first mistake"], &rows).trim_end())?;
    if served == 0 {
        return Err(
            anyhow::anyhow!("no engine gives the answers that {} promises", one.model).into()
        );
    }
    Ok(())
}

/// Every engine and form that could run the model.
pub(super) fn engines(package: &Package) -> Vec<(EngineKind, Form)> {
    let mut engines = vec![(EngineKind::Ort, Form::Stored), (EngineKind::Tract, Form::Stored)];
    if package.signature.is_quantized() {
        engines.push((EngineKind::Tract, Form::Float));
    }
    engines
}
