//! `eir outbox`: what waits for the cloud, and whether it is whole.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::table::{bytes, table, thousands};
use super::{ConfigArgs, Exit, Failure, log, print};
use crate::app::config::DeviceConfig;
use crate::event::{LogLevel, Name};
use crate::outbox::{self, Contents, Inspector, OutboxError, Record};

#[derive(Debug, Subcommand)]
pub(super) enum OutboxCommand {
    /// What is in it, by kind, and how far each cloud is
    Stat(Place),
    /// Print the oldest records, one JSON a line
    Peek(Peek),
    /// Check the database, and that no record is missing without a word
    Verify(Place),
    /// Write every record, one JSON a line
    Export(Export),
    /// Set a damaged outbox aside and keep what can be read; eir must not run
    Repair(Place),
}

/// Which outbox. All but `repair` only read, and work beside a running service.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The file; by default what `[outbox]` of the configuration says
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
pub(super) struct Peek {
    /// How many
    #[arg(value_name = "N", default_value_t = 10)]
    records: usize,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Where to; by default standard output. A file that is there already is left alone
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) fn outbox(command: &OutboxCommand) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    match command {
        OutboxCommand::Stat(place) => stat(place),
        OutboxCommand::Peek(peek) => lines(&peek.place.open()?, peek.records),
        OutboxCommand::Verify(place) => verify(place),
        OutboxCommand::Export(export) => match &export.file {
            Some(file) if file.as_os_str() != "-" => write(&export.place.open()?, file),
            _ => lines(&export.place.open()?, usize::MAX),
        },
        OutboxCommand::Repair(place) => repair(place),
    }
}

impl Place {
    /// The file, and the device whose records are in it.
    fn find(&self) -> Result<(PathBuf, Name), Failure> {
        if let Some(path) = &self.path {
            return Ok((path.clone(), DeviceConfig::default().resolve().id));
        }
        let config = super::run::load(&self.config.sources())?;
        let Some(outbox) = &config.outbox else {
            let file = self.config.config.display();
            let error = anyhow::anyhow!(
                "there is neither [outbox] nor [cloud.NAME] in {file}; name one with --path FILE"
            );
            return Err(Failure::new(Exit::Config, error));
        };
        Ok((outbox.path.clone(), config.device.resolve().id))
    }

    fn open(&self) -> Result<Inspector, Failure> {
        Inspector::open(&self.find()?.0).map_err(failure)
    }
}

fn failure(error: OutboxError) -> Failure {
    let exit = match &error {
        OutboxError::Absent(_) | OutboxError::Directory(_) => Exit::NoInput,
        OutboxError::Taken(_) => Exit::Unavailable,
        _ => Exit::Failed,
    };
    Failure::new(exit, error)
}

fn stat(place: &Place) -> Result<(), Failure> {
    let outbox = place.open()?;
    let contents = outbox.contents().map_err(failure)?;
    let Contents { format, epoch, next_seq, kinds, clouds, dead, file, free, .. } = contents;
    let mut text = outbox.path().display().to_string();
    let mut field = |name: &str, value: &str| {
        text.extend(["\n  ", &format!("{name:<8} {value}")]);
    };
    let device = contents.device.map_or_else(String::new, |device| format!(" of {device}"));
    field("format", &format.to_string());
    field("epoch", &format!("{epoch}{device}, next record {}", thousands(next_seq)));
    for (name, at) in [("oldest", contents.oldest), ("newest", contents.newest)] {
        if let Some(at) = at {
            field(name, &at);
        }
    }
    field("file", &format!("{}, of that {} free", bytes(file), bytes(free)));
    field("refused", &format!("{} records that a cloud would not take", thousands(dead)));
    print::line(text)?;
    let rows: Vec<_> = kinds
        .iter()
        .map(|(kind, of)| vec![kind.to_string(), thousands(of.records), bytes(of.bytes)])
        .collect();
    print::line(format!("\n{}", table(&["kind", "records", "bodies"], &rows).trim_end()))?;
    if clouds.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = clouds
        .iter()
        .map(|(name, of)| vec![name.clone(), of.cursor.to_string(), thousands(of.behind)])
        .collect();
    print::line(format!("\n{}", table(&["cloud", "has up to", "waiting"], &rows).trim_end()))
}

/// Prints the oldest so many records.
fn lines(outbox: &Inspector, most: usize) -> Result<(), Failure> {
    let mut printed = 0;
    let broken = outbox.records(|record| {
        if printed >= most {
            return ControlFlow::Break(Ok(()));
        }
        printed += 1;
        match json(&record).and_then(print::line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(Err(failure)),
        }
    });
    broken.map_err(failure)?.unwrap_or(Ok(()))
}

fn json(record: &Record) -> Result<String, Failure> {
    serde_json::to_string(record).map_err(|error| Failure::new(Exit::Internal, error))
}

fn write(outbox: &Inspector, file: &PathBuf) -> Result<(), Failure> {
    let context = || format!("failed to write {}", file.display());
    let out = OpenOptions::new().write(true).create_new(true).open(file).with_context(context)?;
    let mut out = BufWriter::new(out);
    let mut written = 0_u64;
    let broken = outbox.records(|record| {
        written += 1;
        let line =
            json(&record).and_then(|line| Ok(writeln!(out, "{line}").with_context(context)?));
        match line {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => ControlFlow::Break(failure),
        }
    });
    if let Some(failure) = broken.map_err(failure)? {
        return Err(failure);
    }
    out.flush().and_then(|()| out.get_ref().sync_all()).with_context(context)?;
    print::note(format!("{} records", thousands(written)));
    Ok(())
}

fn verify(place: &Place) -> Result<(), Failure> {
    let path = place.find()?.0;
    let findings = outbox::verify(&path).map_err(failure)?;
    let path = path.display();
    if findings.is_empty() {
        return print::line(format!("{path}: whole"));
    }
    for finding in &findings {
        print::line(finding)?;
    }
    Err(anyhow::anyhow!("{path} is damaged; stop eir and use `eir outbox repair`").into())
}

fn repair(place: &Place) -> Result<(), Failure> {
    let (path, device) = place.find()?;
    match outbox::repair(&path, &device).map_err(failure)? {
        None => print::line(format!("{}: nothing is wrong with it", path.display())),
        Some(done) => print::line(format!(
            "{}: {} records salvaged, {} known to be missing; the damaged one is {}",
            path.display(),
            thousands(done.records),
            thousands(done.missing),
            done.aside.display()
        )),
    }
}
