//! `eir bench`: how fast one model is on this device, for each engine, number of threads, of instances and batch, and
//! what to write into the configuration for it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::table::{bar, bytes, table, thousands};
use super::{Failure, log, print};
use crate::engine::EngineKind;
use crate::event::{HumanDuration, LogLevel};
use crate::model::{Timing, Trial};
use crate::package::Package;

const BAR: usize = 16;

/// Threads and items of a batch that can be asked for.
const MOST: usize = 1024;

/// Sessions at the same time, as the configuration allows them.
const MOST_INSTANCES: usize = 64;

/// The longest that one row is measured.
const LONGEST: Duration = Duration::from_hours(1);

#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// A name in the repository (`bearing`, `bearing@1`), a package directory, or an .onnx file
    model: String,
    /// How long each row is measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    time: HumanDuration,
    /// Numbers of intra-op threads (ONNX Runtime); by default 1 and all
    #[arg(long, value_delimiter = ',', value_parser = count)]
    threads: Vec<usize>,
    /// Numbers of sessions that run at the same time, each on threads of its own; by default 1, and as many
    /// as the cores carry
    #[arg(long, value_delimiter = ',', value_parser = instances)]
    instances: Vec<usize>,
    /// Batches, where the model leaves the batch open
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32], value_parser = count)]
    batch: Vec<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// The repository that names are looked up in
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

struct Row {
    kind: EngineKind,
    engine: String,
    trial: Trial,
    timing: Timing,
    memory: u64,
}

impl Row {
    fn per_second(&self) -> f64 {
        (self.timing.runs * self.trial.batch) as f64 / self.timing.total.as_secs_f64().max(1e-9)
    }
}

pub(super) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    log::start(LogLevel::Error);
    let (models, package) = super::find_model(args.models.as_deref(), &args.model)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    let mut missing = Vec::new();
    for (kind, form) in super::model::engines(&package) {
        let engine = crate::model::label(kind, form, package.signature.is_quantized());
        for trial in args.trials(kind, package.signature.is_batched(), cores) {
            let Trial { threads, instances, batch } = trial;
            if !args.json {
                print::note(format_args!(
                    "measuring {engine}, {threads} threads, {instances} instances, batch {batch}"
                ));
            }
            let before = resident();
            match models.bench(&package, (kind, form), trial, args.time.0) {
                Ok(timing) => {
                    let memory = resident().saturating_sub(before);
                    rows.push(Row { kind, engine: engine.clone(), trial, timing, memory });
                }
                Err(error) => missing.push(format!("{engine}: {error}")),
            }
        }
    }
    missing.dedup();
    for reason in &missing {
        print::note(format_args!("not measured: {reason}"));
    }
    if rows.is_empty() {
        return Err(anyhow::anyhow!("no engine runs {}", args.model).into());
    }
    if args.json {
        return rows.iter().try_for_each(print_json);
    }
    print_table(&rows)?;
    print_lines(&rows, &package)
}

impl BenchArgs {
    fn trials(&self, kind: EngineKind, is_batched: bool, cores: usize) -> Vec<Trial> {
        let batches = || self.batch.iter().filter(|batch| **batch == 1 || is_batched);
        let instances = |threads: usize| match self.instances.as_slice() {
            [] if cores >= 2 * threads => vec![1, (cores / threads).min(MOST_INSTANCES)],
            [] => vec![1],
            asked => asked.to_vec(),
        };
        let all = threads(kind, &self.threads, cores).into_iter().flat_map(|threads| {
            let all = instances(threads).into_iter();
            all.flat_map(move |instances| {
                batches().map(move |&batch| Trial { threads, instances, batch })
            })
        });
        all.collect()
    }
}

fn count(text: &str) -> Result<usize, String> {
    at_most(MOST, text)
}

fn instances(text: &str) -> Result<usize, String> {
    at_most(MOST_INSTANCES, text)
}

fn at_most(most: usize, text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=most).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {most} is wanted"))
}

fn time(text: &str) -> Result<HumanDuration, String> {
    let time: HumanDuration = text.parse()?;
    if time.0.is_zero() || time.0 > LONGEST {
        return Err("more than nothing and at most 1h is wanted".to_owned());
    }
    Ok(time)
}

/// tract works on one thread.
fn threads(kind: EngineKind, asked: &[usize], cores: usize) -> Vec<usize> {
    match (kind, asked) {
        (EngineKind::Ort, []) if cores > 1 => vec![1, cores],
        (EngineKind::Tract, _) | (EngineKind::Ort, []) => vec![1],
        (EngineKind::Ort, asked) => asked.to_vec(),
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn print_json(row: &Row) -> Result<(), Failure> {
    let line = json!({
        "engine": row.engine, "threads": row.trial.threads, "instances": row.trial.instances,
        "batch": row.trial.batch, "runs": row.timing.runs,
        "p50_us": micros(row.timing.p50), "p99_us": micros(row.timing.p99),
        "items_per_second": row.per_second(), "memory_bytes": row.memory,
    });
    print::line(line)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate, rounded")]
fn print_table(rows: &[Row]) -> Result<(), Failure> {
    let most = rows.iter().map(Row::per_second).fold(0.0, f64::max);
    let cells = |row: &Row| {
        vec![
            row.engine.clone(),
            row.trial.threads.to_string(),
            row.trial.instances.to_string(),
            row.trial.batch.to_string(),
            format!("{:.1}", micros(row.timing.p50)),
            format!("{:.1}", micros(row.timing.p99)),
            thousands(row.per_second() as u64),
            bytes(row.memory),
        ]
    };
    let header =
        ["engine", "threads", "instances", "batch", "p50 µs", "p99 µs", "items/s", "memory"];
    let text = table(&header, &rows.iter().map(cells).collect::<Vec<_>>());
    // The bars stand behind the rows, below the header and its rule.
    for (index, line) in text.lines().enumerate() {
        match index.checked_sub(2).and_then(|index| rows.get(index)) {
            Some(row) => {
                print::line(format_args!("{line}  {}", bar(row.per_second() / most, BAR)))?;
            }
            None => print::line(line)?,
        }
    }
    print::line("memory is what the process grew by while the row was measured")
}

/// What to write for the row with the most items a second, and for the one that answers soonest.
fn print_lines(rows: &[Row], package: &Package) -> Result<(), Failure> {
    let most = rows.iter().max_by(|a, b| a.per_second().total_cmp(&b.per_second()));
    let soonest = rows.iter().min_by_key(|row| (row.timing.p50, row.trial.instances));
    print::line("")?;
    match (most, soonest) {
        (Some(most), Some(soonest)) if most.lines(package) == soonest.lines(package) => {
            print::line("for most items a second and the soonest answers on this device:")?;
            print::line(most.lines(package))
        }
        (Some(most), Some(soonest)) => {
            print::line("for most items a second on this device:")?;
            print::line(most.lines(package))?;
            print::line("\nfor the soonest answers:")?;
            print::line(soonest.lines(package))
        }
        _ => Ok(()),
    }
}

impl Row {
    /// The lines of the configuration that make a model run so.
    fn lines(&self, package: &Package) -> String {
        let Trial { threads, instances, batch } = self.trial;
        let mut lines = vec!["[models]".to_owned(), format!("engine = \"{}\"", self.kind.as_str())];
        if self.kind == EngineKind::Ort {
            lines.push(format!("ort = {{ intra_threads = {threads} }}"));
        }
        lines.push(format!("[models.serve.{}]", package.name));
        lines.push(format!("instances = {instances}"));
        if package.signature.is_batched() {
            lines.push(format!("max_batch = {batch}"));
        }
        format!("\n    {}", lines.join("\n    "))
    }
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = crate::disk::read_bounded("/proc/self/status".as_ref(), 1 << 16);
    let text = status.ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
