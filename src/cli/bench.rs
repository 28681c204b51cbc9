//! `eir bench`: how fast one model is on this device, for each engine, number of threads and batch.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::table::{bar, bytes, table, thousands};
use super::{Failure, log, print};
use crate::engine::{EngineKind, SessionOptions};
use crate::event::{HumanDuration, LogLevel};
use crate::model::Timing;

const BAR: usize = 24;

/// Threads and items of a batch that can be asked for.
const MOST: usize = 1024;

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
    engine: String,
    threads: usize,
    batch: usize,
    timing: Timing,
    memory: u64,
}

impl Row {
    fn per_second(&self) -> f64 {
        (self.timing.runs * self.batch) as f64 / self.timing.total.as_secs_f64().max(1e-9)
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
        for &threads in &threads(kind, &args.threads, cores) {
            for &batch in args.batch.iter().filter(|b| **b == 1 || package.signature.is_batched()) {
                if !args.json {
                    print::note(format_args!(
                        "measuring {engine}, {threads} threads, batch {batch}"
                    ));
                }
                let options = SessionOptions { intra_threads: threads };
                let before = resident();
                match models.bench(&package, (kind, form), options, batch, args.time.0) {
                    Ok(timing) => {
                        let memory = resident().saturating_sub(before);
                        rows.push(Row { engine: engine.clone(), threads, batch, timing, memory });
                    }
                    Err(error) => missing.push(format!("{engine}: {error}")),
                }
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
    if args.json { rows.iter().try_for_each(print_json) } else { print_table(&rows) }
}

fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| format!("a whole number from 1 to {MOST} is wanted"))
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
        "engine": row.engine, "threads": row.threads, "batch": row.batch, "runs": row.timing.runs,
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
            row.threads.to_string(),
            row.batch.to_string(),
            format!("{:.1}", micros(row.timing.p50)),
            format!("{:.1}", micros(row.timing.p99)),
            thousands(row.per_second() as u64),
            bytes(row.memory),
        ]
    };
    let header = ["engine", "threads", "batch", "p50 µs", "p99 µs", "items/s", "memory"];
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

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = crate::disk::read_bounded("/proc/self/status".as_ref(), 1 << 16);
    let text = status.ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}
