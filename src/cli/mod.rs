//! The commands, one file each.

mod bench;
mod check;
mod demo;
mod device;
mod exit;
mod infer;
mod input;
mod launch;
mod log;
mod model;
mod outbox;
mod print;
mod release;
mod run;
mod schema;
mod service;
mod table;
mod token;
mod update;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

pub use exit::{Exit, Failure};

use crate::app::StartError;
use crate::app::config::Sources;
use crate::model::{Models, ModelsConfig};
use crate::package::{EngineChoice, Package};

/// Messages in over MQTT, quantized ONNX models decide, actions out.
#[derive(Debug, Parser)]
#[command(name = "eir", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipelines of a configuration until SIGTERM; SIGHUP reads it again
    Run(ConfigArgs),
    /// Check a configuration: every mistake, every model, every golden sample
    Check(ConfigArgs),
    /// Show a bearing and a conveyor camera being watched, with nothing else installed
    Demo(demo::DemoArgs),
    /// Run one model on images, JSON or raw files
    Infer(infer::InferArgs),
    /// Measure one model on this device
    Bench(bench::BenchArgs),
    /// Provision this device
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Look at the models of a repository
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Look at the records that wait for the cloud
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Say who may ask the device
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Keep a repository of signed releases
    Release(release::ReleaseArgs),
    /// Look at what this device takes over the air, and hurry it along
    Update(update::UpdateArgs),
    /// Print the schema of a file format
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
}

/// Where a configuration comes from.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration; `conf.d/*.toml` beside it is read after it
    #[arg(long, short, value_name = "FILE", default_value = "eir.toml")]
    config: PathBuf,
    /// Lay `[profile.NAME]` over it
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Set one value, e.g. `log.level=debug`; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl ConfigArgs {
    fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            text: None,
            over: None,
            tried: None,
            bare: false,
            profile: self.profile.clone(),
            set: self.set.clone(),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }
    }
}

impl Cli {
    /// Does what was asked.
    pub fn execute(self) -> Result<(), Failure> {
        let outcome = match self.command {
            Command::Run(args) => run::run(&args.sources()),
            Command::Check(args) => check::check(&args.sources()),
            Command::Demo(args) => demo::demo(&args),
            Command::Infer(args) => infer::infer(&args),
            Command::Bench(args) => bench::bench(&args),
            Command::Device(command) => device::device(&command),
            Command::Model(command) => model::model(&command),
            Command::Outbox(command) => outbox::outbox(&command),
            Command::Token(command) => token::token(&command),
            Command::Release(args) => release::release(&args),
            Command::Update(args) => update::update(&args),
            Command::Schema(command) => schema::schema(&command),
        };
        // Whoever read the output has had enough of it.
        outcome.or_else(|failure| if failure.exit() == Exit::Done { Ok(()) } else { Err(failure) })
    }
}

/// The runtime for everything that waits, with two threads unless `TOKIO_WORKER_THREADS` says another number; inference
/// has threads of its own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let told = std::env::var("TOKIO_WORKER_THREADS").ok().and_then(|told| told.parse().ok());
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(told.filter(|threads| (1..=64).contains(threads)).unwrap_or(2))
        .thread_name("eir-io")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, error))
}

fn start_failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Config(_) => Exit::Config,
        StartError::Mqtt(_) => Exit::Unavailable,
    };
    Failure::new(exit, error)
}

/// The shipped models: where asked, or in the usual places.
fn models_dir(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(directory) = asked {
        if directory.is_dir() {
            return Ok(directory.to_owned());
        }
        let error = anyhow::anyhow!("--models: {} is no directory", directory.display());
        return Err(Failure::new(Exit::NoInput, error));
    }
    let beside = std::env::current_exe().ok();
    let beside = beside.iter().flat_map(|exe| exe.ancestors().skip(1).take(3));
    let places: Vec<_> = std::iter::once(PathBuf::from("models"))
        .chain(beside.map(|directory| directory.join("models")))
        .chain(std::iter::once(PathBuf::from("/usr/share/eir/models")))
        .collect();
    places.iter().find(|place| place.is_dir()).cloned().ok_or_else(|| {
        let looked: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        let error = anyhow::anyhow!(
            "no models found; looked in {}; name them with --models DIR",
            looked.join(", ")
        );
        Failure::new(Exit::NoInput, error)
    })
}

/// A model by name in the repository or by path.
fn find_model(models: Option<&Path>, model: &str) -> Result<(Models, Package), Failure> {
    // A path needs no repository.
    let dir = models_dir(models).or_else(|failure| {
        if Path::new(model).exists() { Ok(PathBuf::from(".")) } else { Err(failure) }
    })?;
    let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
    let package = models.find(model).map_err(|error| Failure::new(Exit::NoInput, error))?;
    Ok((models, package))
}

fn engine_choice(text: &str) -> Result<EngineChoice, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| "known engines are auto, fastest, ort and tract".to_owned())
}
