//! What goes into a release: checked before anybody signs it, and packed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Exit, Failure, failed, usage};
use crate::app;
use crate::app::config::{self, NOT_RELEASED, Sources};
use crate::cli::model::engines;
use crate::disk;
use crate::engine::EngineKind;
use crate::event::Name;
use crate::model::Models;
use crate::package::{EngineChoice, Package};
use crate::update::archive;
use crate::update::decimal::Decimal;
use crate::update::release::{About, Content, Judge, Needs};

/// Bytes that a program or a layer of the configuration may have.
const MAX_BINARY: u64 = 1 << 30;
const MAX_CONFIG: u64 = 1 << 20;

/// What an ELF file says it runs on (`e_machine`), by the beginning of the target triple.
const MACHINES: [(&str, u16); 5] =
    [("x86_64-", 62), ("aarch64-", 183), ("armv7", 40), ("arm-", 40), ("riscv64", 243)];

#[derive(Debug, Subcommand)]
pub(super) enum AddCommand {
    /// A version of a model, once its golden samples agree on every engine that it is for
    Model {
        /// The version's directory: `models/defects/4`
        directory: PathBuf,
        #[command(flatten)]
        judge: JudgeArgs,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// A program, stripped and static
    Binary {
        /// The file
        file: PathBuf,
        /// Its version, as `eir --version` says it
        #[arg(long, value_name = "VERSION")]
        version: Name,
        /// What it runs on, as `aarch64-unknown-linux-gnu`
        #[arg(long, value_name = "TRIPLE")]
        target: Name,
        #[command(flatten)]
        about: AboutArgs,
    },
    /// A layer of the configuration: rules, thresholds
    Config {
        /// The file
        file: PathBuf,
        /// Of the layer
        #[arg(long, value_name = "NAME")]
        name: Name,
        /// Higher than the last one
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        version: u64,
        /// The configuration of a device that it is for: both together must pass `eir check`; may be given many times
        #[arg(long, value_name = "FILE")]
        with: Vec<PathBuf>,
        #[command(flatten)]
        about: AboutArgs,
    },
}

/// How devices judge a model beside the one that serves.
#[derive(Debug, Args)]
pub(super) struct JudgeArgs {
    /// Share of messages, 0 to 1, on which both must say the same
    #[arg(long, value_name = "SHARE", default_value_t = Judge::default().min_agreement.0, value_parser = share)]
    min_agreement: f64,
    /// Share of messages, 0 to 1, on which it may fail
    #[arg(long, value_name = "SHARE", default_value_t = Judge::default().max_error_rate.0, value_parser = share)]
    max_error_rate: f64,
    /// Its time a message may be at most so many times the other's
    #[arg(long, value_name = "TIMES", default_value_t = Judge::default().max_latency_ratio.0, value_parser = times)]
    max_latency_ratio: f64,
}

#[derive(Debug, Args)]
pub(super) struct AboutArgs {
    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Only for devices with this label; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// The lowest version of eir that will do
    #[arg(long, value_name = "VERSION")]
    needs_eir: Option<String>,
    /// Bytes of memory that must be available
    #[arg(long, value_name = "BYTES")]
    needs_memory: Option<u64>,
}

/// Checked, and ready to be signed.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) content: Content,
    pub(super) bytes: Vec<u8>,
    pub(super) about: About,
}

pub(super) fn pack(command: &AddCommand) -> Result<Packed, Failure> {
    match command {
        AddCommand::Model { directory, judge, about } => {
            model(directory, About { judge: judge.read(), ..about.read()? })
        }
        AddCommand::Binary { file, version, target, about } => {
            let bytes =
                disk::read_bounded(file, MAX_BINARY).map_err(|error| unread(file, &error))?;
            let expected = MACHINES.iter().find(|(triple, _)| target.as_str().starts_with(triple));
            let (_, expected) = expected.ok_or_else(|| {
                usage(format!(
                    "--target: `{target}` is not known; aarch64-unknown-linux-gnu is one"
                ))
            })?;
            let machine = bytes.get(18..20).map(|two| u16::from_le_bytes([two[0], two[1]]));
            if !bytes.starts_with(b"\x7fELF") || machine != Some(*expected) {
                return Err(usage(format!("{} is no program for {target}", file.display())));
            }
            let (version, triple) = (version.to_string(), target.to_string());
            let content = Content::Binary { version, triple };
            Ok(Packed { content, bytes, about: about.read()? })
        }
        AddCommand::Config { file, name, version, with, about } => {
            let bytes =
                disk::read_bounded(file, MAX_CONFIG).map_err(|error| unread(file, &error))?;
            let text = std::str::from_utf8(&bytes).map_err(|error| unread(file, &error))?;
            let layer = text.parse::<toml::Table>().map_err(|error| unread(file, &error))?;
            if let Some(key) = NOT_RELEASED.iter().find(|key| layer.contains_key(**key)) {
                return Err(usage(format!(
                    "{}: [{key}] is a matter of the device, and is not released",
                    file.display()
                )));
            }
            for device in with {
                fits(device, name, text)?;
            }
            let content = Content::Config { name: name.clone(), version: *version };
            Ok(Packed { content, bytes, about: about.read()? })
        }
    }
}

/// A device's configuration with the layer in it passes all of `eir check`.
fn fits(device: &Path, name: &Name, layer: &str) -> Result<(), Failure> {
    let tried = Some((name.clone(), layer.to_owned()));
    let sources = Sources { file: device.to_owned(), tried, ..Sources::default() };
    let told = |wrong: String| {
        let error = anyhow::anyhow!("{} with the layer is not valid:\n{wrong}", device.display());
        Failure::new(Exit::Config, error)
    };
    let config = config::load(&sources).map_err(|problems| told(problems.to_string()))?;
    let findings = crate::cli::runtime()?.block_on(async { app::check(&config) });
    let wrong = findings.into_iter().filter_map(|finding| finding.outcome.err()).flatten();
    let wrong: Vec<_> = wrong.map(|problem| problem.to_string()).collect();
    if wrong.is_empty() { Ok(()) } else { Err(told(wrong.join("\n"))) }
}

/// Its golden samples must agree on the engine that it asks for, or on each that it may meet.
fn model(directory: &Path, mut about: About) -> Result<Packed, Failure> {
    let reference = directory.display().to_string();
    let (models, package) = crate::cli::find_model(None, &reference)?;
    if package.golden.is_empty() {
        let told = format!(
            "{reference} has no golden samples, by which a device could tell that it works"
        );
        return Err(Failure::new(Exit::Failed, anyhow::anyhow!(told)));
    }
    let wanted: &[EngineKind] = match package.spec.engine {
        Some(EngineChoice::Ort) => &[EngineKind::Ort],
        Some(EngineChoice::Tract) => &[EngineKind::Tract],
        Some(EngineChoice::Auto | EngineChoice::Fastest) | None => {
            &[EngineKind::Ort, EngineKind::Tract]
        }
    };
    for kind in wanted {
        agrees(&models, &package, *kind)?;
    }
    if let [only] = wanted {
        about.needs.engine = Some(only.as_str().to_owned());
    }
    let directory = package.path.parent().unwrap_or(directory);
    let bytes = archive::pack(directory).map_err(failed)?;
    let content = Content::Model { name: package.name.clone(), version: package.version };
    Ok(Packed { content, bytes, about })
}

/// In one form at least.
fn agrees(models: &Models, package: &Package, kind: EngineKind) -> Result<(), Failure> {
    let mut told = Vec::new();
    for (_, form) in engines(package).into_iter().filter(|(engine, _)| *engine == kind) {
        let mistake = match models.verify(package, kind, form) {
            Ok(results) => results.into_iter().find_map(|result| {
                result.mistake.map(|mistake| format!("{}: {mistake}", result.sample))
            }),
            Err(error) => Some(error.to_string()),
        };
        match mistake {
            None => return Ok(()),
            Some(mistake) => told.push(mistake),
        }
    }
    Err(Failure::new(
        Exit::Failed,
        anyhow::anyhow!(
            "{}@{} does not give its golden answers on {kind}: {}; where it is for the other engine alone, say \
             `engine` in model.toml",
            package.name,
            package.version,
            told.join("; ")
        ),
    ))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

fn times(text: &str) -> Result<f64, String> {
    let times = text.parse().ok().filter(|times: &f64| *times > 0.0 && times.is_finite());
    times.ok_or_else(|| "that is a number above 0, as 1.5".to_owned())
}

impl JudgeArgs {
    fn read(&self) -> Judge {
        Judge {
            min_agreement: Decimal(self.min_agreement),
            max_error_rate: Decimal(self.max_error_rate),
            max_latency_ratio: Decimal(self.max_latency_ratio),
        }
    }
}

impl AboutArgs {
    fn read(&self) -> Result<About, Failure> {
        let mut labels = BTreeMap::new();
        for label in &self.label {
            let (key, value) = label.split_once('=').ok_or_else(|| {
                usage(format!("--label: `{label}` is no label; write it as KEY=VALUE"))
            })?;
            labels.insert(key.to_owned(), value.to_owned());
        }
        let needs =
            Needs { eir: self.needs_eir.clone(), memory: self.needs_memory, ..Needs::default() };
        Ok(About { labels, needs, note: self.note.clone(), ..About::default() })
    }
}

fn unread(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::NoInput, anyhow::anyhow!("{}: {reason}", path.display()))
}
