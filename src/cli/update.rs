//! `eir update`: what a device takes over the air, looked at and hurried along on the device itself.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};

use super::table::table;
use super::{ConfigArgs, Exit, Failure, log, print};
use crate::app::config::update_directory;
use crate::disk;
use crate::event::LogLevel;
use crate::update::status::Status;
use crate::update::wish::Wish;

/// How long it is waited until the running eir has taken up what is wanted.
const PATIENCE: Duration = Duration::from_mins(2);

const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: UpdateCommand,
}

#[derive(Debug, Subcommand)]
enum UpdateCommand {
    /// How far each release is, and what else is offered
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for new releases now
    Check,
    /// Begin what is offered now, without waiting for its wave or its hour
    Apply {
        /// `models/NAME`, `config/NAME` or `eir`; all by default
        subject: Option<String>,
    },
    /// Go back to what was before, or give up what is being tried
    Rollback {
        /// `models/NAME`, `config/NAME` or `eir`
        subject: String,
    },
    /// Take what a repository has that came on a stick: its directory, or a bundle of it (`eir release bundle`)
    Import {
        /// The directory or file; the running eir must be able to read it
        path: PathBuf,
    },
}

pub(super) fn update(args: &UpdateArgs) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    let file = args.config.config.display();
    let directory = update_directory(&args.config.sources()).ok_or_else(|| {
        let error = anyhow::anyhow!("there is no [update] in {file}, or it cannot be read");
        Failure::new(Exit::Config, error)
    })?;
    let wish = match &args.command {
        UpdateCommand::Status { json } => return status(&directory, *json),
        UpdateCommand::Check => Wish::Check,
        UpdateCommand::Apply { subject } => Wish::Apply { subject: subject.clone() },
        UpdateCommand::Rollback { subject } => Wish::Rollback { subject: subject.clone() },
        UpdateCommand::Import { path } => {
            let path = std::fs::canonicalize(path).map_err(|error| {
                let told = anyhow::anyhow!("{}: {error}", path.display());
                Failure::new(Exit::NoInput, told)
            })?;
            Wish::Import { path }
        }
    };
    let wishes = directory.join("wishes");
    if !wishes.is_dir() {
        let told = anyhow::anyhow!(
            "{} is not there: eir has not run with [update] yet; start it",
            wishes.display()
        );
        return Err(Failure::new(Exit::Unavailable, told));
    }
    let context = || format!("{} cannot be written", wishes.display());
    let put = wish.put(&wishes).with_context(context)?;
    if !is_held(&directory) {
        print::note("eir does not run here; it is done at its next start");
        return Ok(());
    }
    super::runtime()?.block_on(taken_up(&put))?;
    match Status::read(&directory).and_then(|status| status.refused) {
        Some(refused) => Err(anyhow::anyhow!(refused).into()),
        None => status(&directory, false),
    }
}

/// Whether a running eir has the directory.
fn is_held(directory: &Path) -> bool {
    disk::lock(&directory.join("lock")).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

/// Waits until it is done, well or not.
async fn taken_up(put: &Path) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    let taken = put.with_extension(Wish::TAKEN);
    while put.exists() || taken.exists() {
        if Instant::now() >= end {
            let told = anyhow::anyhow!("eir has not taken it up within {PATIENCE:?}; see its log");
            return Err(Failure::new(Exit::Unavailable, told));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

fn status(directory: &Path, json: bool) -> Result<(), Failure> {
    let Some(status) = Status::read(directory) else {
        return print::line("no release was ever looked for here");
    };
    if json {
        let text = serde_json::to_string_pretty(&status);
        return print::line(text.map_err(|error| Failure::new(Exit::Internal, error))?);
    }
    let looked = status.looked.map(|at| at.strftime("%F %R UTC").to_string());
    print::line(format!("looked at {}", looked.as_deref().unwrap_or("nothing yet")))?;
    if let Some(problem) = &status.problem {
        print::line(format!("problem   {problem}"))?;
    }
    let rows: Vec<_> = status
        .releases
        .iter()
        .map(|of| {
            let why = of.reason.clone().or(of.detail.clone()).unwrap_or_default();
            vec![of.release.clone(), of.state.clone(), why]
        })
        .collect();
    if !rows.is_empty() {
        print::line(format!("\n{}", table(&["release", "state", ""], &rows).trim_end()))?;
    }
    let rows: Vec<_> = status
        .serving
        .iter()
        .map(|of| {
            let whole = match of.whole {
                Some(true) => "as it was signed",
                Some(false) => "not as it was signed",
                None => "not looked at",
            };
            vec![of.release.clone(), whole.to_owned()]
        })
        .collect();
    if !rows.is_empty() {
        print::line(format!("\n{}", table(&["serves", ""], &rows).trim_end()))?;
    }
    let begun = |release: &str| status.releases.iter().any(|of| of.release == release);
    let rows: Vec<_> = status
        .offers
        .iter()
        .filter(|offer| !begun(&offer.release))
        .map(|offer| {
            let from = offer.from.map(|from| format!("from {}", from.strftime("%F %R UTC")));
            let told = from.or(offer.why_not.clone()).unwrap_or_default();
            vec![offer.release.clone(), told]
        })
        .collect();
    if !rows.is_empty() {
        print::line(format!("\n{}", table(&["offered", ""], &rows).trim_end()))?;
    }
    Ok(())
}
