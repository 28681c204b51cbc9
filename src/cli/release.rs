//! `eir release`: a repository of signed releases, made and kept on a laptop or in CI.

mod package;
mod records;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::table::{bytes, table};
use super::{Exit, Failure, log, print};
use crate::disk;
use crate::event::{HumanDuration, LogLevel, Name};
use crate::task::{Clock, SystemClock};
use crate::update::archive;
use crate::update::author::{Lifetimes, Repository, Smaller};
use crate::update::decimal::Decimal;
use crate::update::keys::{ROLES, Ring};
use crate::update::release::{About, Content};
use crate::update::sign::Scheme;
use crate::update::wave::{Wave, Waves};

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// The repository: a directory that any web server or bucket can host
    #[arg(long, value_name = "DIR", default_value = "repository", global = true)]
    repository: PathBuf,
    /// Key files, encrypted; may be given many times. The passphrase is asked for, or taken from
    /// `EIR_KEY_PASSPHRASE`
    #[arg(long, value_name = "DIR", default_value = "keys", global = true)]
    keys: Vec<PathBuf>,
    #[command(subcommand)]
    command: ReleaseCommand,
}

#[derive(Debug, Subcommand)]
enum ReleaseCommand {
    /// Make keys that are not there yet, and a repository without releases
    Init {
        /// Root keys; keep them offline and apart
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=16))]
        root_keys: u64,
        /// How many of them are needed
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
        threshold: u64,
        /// How new keys sign: ed25519 or ecdsa-sha2-nistp256
        #[arg(long, value_name = "SCHEME", default_value = "ed25519")]
        scheme: Scheme,
    },
    /// Make one more key: `root-4`, `targets-2`
    Key {
        /// What it is for, and which one
        name: Name,
        /// How it signs: ed25519 or ecdsa-sha2-nistp256
        #[arg(long, value_name = "SCHEME", default_value = "ed25519")]
        scheme: Scheme,
    },
    /// Check something and add it to what is published next
    #[command(subcommand)]
    Add(package::AddCommand),
    /// Say whose turn it is when: `1%:0s,10%:1d,100%:3d`, or `all`
    Waves {
        /// As `status` names it
        release: String,
        /// Part of the devices, and how long after the publication
        waves: String,
        /// The part of a wave's devices that may go back; where more do, `status --records` says so
        #[arg(long, value_name = "PERCENT", value_parser = stop_at)]
        stop_at: Option<Decimal>,
    },
    /// Have devices not begin a release any more; `publish` makes it so
    Halt {
        /// As `status` names it
        release: String,
    },
    /// Have devices begin a halted release again, but for those that gave it up; `publish` makes it so
    Resume {
        /// As `status` names it
        release: String,
    },
    /// Take a release out of what is published; `publish` makes it so
    Withdraw {
        /// As `status` names it
        release: String,
    },
    /// Sign and publish what was added; without that, renew signatures: `online.pem` is enough
    Publish,
    /// Pack what is published into one file, for a stick: `eir update import` takes it
    Bundle {
        /// The file, as `stick.tar.zst`
        file: PathBuf,
    },
    /// Have other keys count from now on: all that are in `--keys`
    Rotate {
        /// The keys that counted so far
        #[arg(long, value_name = "DIR", required = true)]
        old: Vec<PathBuf>,
        /// How many of the root keys are needed from now on
        #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=16))]
        threshold: u64,
    },
    /// What is published, what is not yet, and until when signatures are good
    Status {
        /// What became of it instead: records of devices, one JSON a line, up to 1,000,000 pairs of a device and a release;
        /// `-`: standard input
        #[arg(long, value_name = "FILE")]
        records: Option<PathBuf>,
        /// Halt what went back on more devices of a wave than its `stop_at`; `publish` makes it so
        #[arg(long, requires = "records")]
        halt: bool,
    },
}

pub(super) fn release(args: &ReleaseArgs) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    let now = SystemClock.wall();
    let open = || Repository::open(&args.repository, Lifetimes::default()).map_err(failed);
    match &args.command {
        ReleaseCommand::Init { root_keys, threshold, scheme } => {
            init(args, (*root_keys, *threshold), *scheme, now)
        }
        ReleaseCommand::Key { name, scheme } => {
            let directory = first(&args.keys)?;
            let mut ring = Ring::default();
            ring.make(directory, name.as_str(), *scheme, &passphrase(true)?).map_err(failed)?;
            print::line(format!(
                "{} is made",
                directory.join(name.as_str()).with_extension("pem").display()
            ))
        }
        ReleaseCommand::Add(command) => {
            let repository = open()?;
            let packed = package::pack(command)?;
            let patches =
                repository.add(&packed.content, &packed.bytes, &packed.about).map_err(failed)?;
            let size = bytes(packed.bytes.len() as u64);
            for Smaller { from, length } in patches {
                print::line(format!("{} to whoever has {from}", bytes(length)))?;
            }
            print::line(format!(
                "{} is added ({size}); `eir release publish` signs it",
                packed.content
            ))
        }
        ReleaseCommand::Waves { release, waves, stop_at } => {
            let waves = self::waves(waves).map_err(usage)?;
            amend(&open()?, release, |about| {
                about.waves = waves;
                about.stop_at = stop_at.or(about.stop_at);
            })
        }
        ReleaseCommand::Halt { release } => amend(&open()?, release, |about| about.halted = true),
        ReleaseCommand::Resume { release } => {
            amend(&open()?, release, |about| about.halted = false)
        }
        ReleaseCommand::Withdraw { release } => {
            open()?.withdraw(&content(release)?).map_err(failed)?;
            print::line(format!("{release} is out once `eir release publish` has signed that"))
        }
        ReleaseCommand::Publish => {
            let mut repository = open()?;
            let ring = ring(&args.keys)?;
            let draft = repository.draft().map_err(failed)?.len();
            repository.publish(&ring.keys(), now).map_err(failed)?;
            print::line(match draft {
                0 => "nothing is new; signatures are renewed".to_owned(),
                1 => "1 change is published".to_owned(),
                count => format!("{count} changes are published"),
            })
        }
        ReleaseCommand::Bundle { file } => {
            let files = open()?.files();
            let packed = archive::pack_files(&args.repository, files).map_err(failed)?;
            let size = bytes(packed.len() as u64);
            disk::replace(file, &packed).map_err(failed)?;
            print::line(format!("{} is made ({size})", file.display()))
        }
        ReleaseCommand::Rotate { old, threshold } => {
            let mut repository = open()?;
            let passphrase = passphrase(false)?;
            let old = Ring::read(old, &["root"], &passphrase).map_err(failed)?;
            let new = Ring::read(&args.keys, &ROLES, &passphrase).map_err(failed)?;
            let roles = new.roles((*threshold, 1)).map_err(usage)?;
            repository.rotate(&roles, &old.keys(), now).map_err(failed)?;
            print::line("the keys are replaced; devices follow at their next look")
        }
        ReleaseCommand::Status { records: None, .. } => status(&open()?),
        ReleaseCommand::Status { records: Some(file), halt } => {
            records::status(file, open(), *halt)
        }
    }
}

fn init(
    args: &ReleaseArgs,
    (root_keys, threshold): (u64, u64),
    scheme: Scheme,
    now: Timestamp,
) -> Result<(), Failure> {
    let directory = first(&args.keys)?;
    let passphrase = passphrase(true)?;
    let mut ring = if directory.exists() {
        Ring::read(&args.keys, &ROLES, &passphrase).map_err(failed)?
    } else {
        Ring::default()
    };
    let roots = (1..=root_keys).map(|number| format!("root-{number}"));
    for name in roots.chain(["targets".to_owned(), "online".to_owned()]) {
        if !ring.iter().any(|(known, _)| known == name) {
            ring.make(directory, &name, scheme, &passphrase).map_err(failed)?;
        }
    }
    let roles = ring.roles((threshold, 1)).map_err(usage)?;
    Repository::init(&args.repository, &roles, Lifetimes::default(), now).map_err(failed)?;
    let (repository, keys) = (args.repository.display(), directory.display());
    print::line(format!(
        "{repository} is a repository without releases. Host `metadata` and `targets` of it.\n\
         Devices begin to trust with {repository}/metadata/1.root.json.\n\
         Keep {keys}/root-*.pem offline and apart ({threshold} of {root_keys} are needed for other keys), and \
         {keys}/targets.pem\n\
         where releases are made. {keys}/online.pem is needed every two weeks, for `eir release publish`."
    ))
}

fn amend(
    repository: &Repository,
    release: &str,
    change: impl FnOnce(&mut About),
) -> Result<(), Failure> {
    self::change(repository, &content(release)?, change)?;
    print::line(format!("{release} is changed once `eir release publish` has signed that"))
}

fn change(
    repository: &Repository,
    content: &Content,
    change: impl FnOnce(&mut About),
) -> Result<(), Failure> {
    let mut about = repository.about(content).map_err(failed)?.unwrap_or_default();
    change(&mut about);
    repository.amend(content, &about).map_err(failed)
}

fn status(repository: &Repository) -> Result<(), Failure> {
    let draft = repository.draft().map_err(failed)?;
    let mut names: Vec<_> = repository.releases().map(|(name, _)| name.to_owned()).collect();
    names.extend(draft.iter().map(|(name, _)| name.clone()));
    names.sort();
    names.dedup();
    let mut rows = Vec::new();
    for name in names {
        let changed = draft.iter().find(|(known, _)| *known == name).map(|(_, stays)| *stays);
        let published = repository.releases().find(|(known, _)| *known == name);
        let state = match (published.is_some(), changed) {
            (_, Some(false)) => "to be withdrawn",
            (true, Some(true)) => "to be changed",
            (false, _) => "to be published",
            (true, None) => "published",
        };
        let about = match Content::of(&name) {
            Some(content) => repository.about(&content).map_err(failed)?,
            None => None,
        };
        let about =
            about.or_else(|| published.map(|(_, target)| About::of(target))).unwrap_or_default();
        let since =
            about.published.map_or_else(|| "–".to_owned(), |at| at.strftime("%F %R").to_string());
        let waves: Vec<Wave> = about.waves.into();
        let waves: Vec<_> =
            waves.iter().map(|Wave { percent, after }| format!("{}%:{after}", percent.0)).collect();
        let mut waves = if about.halted {
            "halted".to_owned()
        } else if waves.is_empty() {
            "all".to_owned()
        } else {
            waves.join(",")
        };
        if let Some(most) = about.stop_at.filter(|_| !about.halted) {
            waves = format!("{waves} stop at {}%", most.0);
        }
        rows.push(vec![name, state.to_owned(), since, waves, about.note]);
    }
    if rows.is_empty() {
        print::line("nothing is published")?;
    } else {
        print::line(table(&["release", "state", "published", "waves", "note"], &rows).trim_end())?;
    }
    for (role, until) in repository.good_until() {
        let role = role.to_string();
        print::line(format!("{role:<9} signed until {}", until.strftime("%F %R UTC")))?;
    }
    Ok(())
}

/// `1%:0s,10%:1d,100%:3d`, or `all`.
fn waves(text: &str) -> Result<Waves, String> {
    if text == "all" {
        return Ok(Waves::default());
    }
    let wave = |text: &str| -> Option<Wave> {
        let (percent, after) = text.trim().split_once("%:")?;
        let after = serde_json::from_value::<HumanDuration>(after.into()).ok()?;
        Some(Wave { percent: Decimal(percent.parse().ok()?), after })
    };
    let all: Result<Vec<_>, String> = text
        .split(',')
        .map(|part| wave(part).ok_or_else(|| format!("`{part}` is no wave; write it as 10%:1d")))
        .collect();
    Waves::try_from(all?)
}

/// Percent, from 0 to 100.
fn stop_at(text: &str) -> Result<Decimal, String> {
    let found = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    let found = found.filter(|percent| (0.0..=100.0).contains(percent)).map(Decimal);
    found.ok_or_else(|| "write it as 5 or 0.5, percent from 0 to 100".to_owned())
}

fn content(release: &str) -> Result<Content, Failure> {
    Content::of(release).ok_or_else(|| {
        usage(format!(
            "`{release}` is no release; they are called models/NAME/VERSION.tar.zst, eir/VERSION/TARGET and \
             config/NAME/VERSION.toml"
        ))
    })
}

fn ring(directories: &[PathBuf]) -> Result<Ring, Failure> {
    Ring::read(directories, &["targets", "online"], &passphrase(false)?).map_err(failed)
}

fn first(directories: &[PathBuf]) -> Result<&PathBuf, Failure> {
    directories.first().ok_or_else(|| usage("--keys names no directory".to_owned()))
}

/// From the environment, or from whoever sits there; twice, where a mistake would lock a key for ever.
fn passphrase(is_new: bool) -> Result<String, Failure> {
    if let Ok(passphrase) = std::env::var("EIR_KEY_PASSPHRASE") {
        return Ok(passphrase);
    }
    let ask = |what: &str| {
        rpassword::prompt_password(what).map_err(|error| {
            let told = "there is no terminal to ask for the passphrase; set EIR_KEY_PASSPHRASE";
            Failure::new(Exit::NoInput, anyhow::Error::new(error).context(told))
        })
    };
    let passphrase = ask("Passphrase of the keys: ")?;
    if is_new && ask("Once more: ")? != passphrase {
        return Err(usage("the two are not the same".to_owned()));
    }
    Ok(passphrase)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(Exit::Failed, anyhow::Error::new(error))
}

fn usage(told: String) -> Failure {
    Failure::new(Exit::Usage, anyhow::anyhow!(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_read_as_they_are_shown() {
        let found: Vec<Wave> = waves("0.5%:0s, 10%:1d,100%:3d").expect("waves").into();
        assert_eq!(found.len(), 3);
        assert_eq!(
            (found[0].percent, found[1].after),
            (Decimal(0.5), HumanDuration::from_secs(86_400))
        );
        assert_eq!(waves("all"), Ok(Waves::default()));
        for text in ["", "10", "10%", "10:1d", "10%:soon", "50%:0s,10%:1d", "NaN%:0s"] {
            waves(text).expect_err(text);
        }
        assert_eq!(["5", "0.5%", "0"].map(stop_at), [5.0, 0.5, 0.0].map(|most| Ok(Decimal(most))));
        for text in ["", "%", "-1", "101", "NaN", "five"] {
            stop_at(text).expect_err(text);
        }
    }
}
