//! What the hot paths cost, counted in instructions, so that a machine's mood is not in the figures.
//!
//! `make bench-guard` runs each path under valgrind's callgrind, so and twice as often: the difference is what it costs
//! once. More than 3 % over `benches/guard.toml` fails. Who makes a path dearer, or cheaper for good, says so there, in a
//! commit of its own:
//!
//!     make bench-guard ARGS=--bless
//!
//! The counts are those of `x86_64` with the release profile. valgrind knows no AVX-512, so a machine that has it counts
//! as one that has not.
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[path = "outbox/draft.rs"]
mod draft;
#[path = "guard/paths.rs"]
mod paths;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// More than this part over what is written down is too much.
const TOLERANCE: f64 = 0.03;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` asks for a list; there is nothing to list.
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if let [word, name, times] = arguments.as_slice()
        && word == "--path"
    {
        paths::run(name, times.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    let bless = arguments.iter().any(|argument| argument == "--bless");
    match guard(bless) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/guard.toml")
}

/// Whether nothing became dearer; writes the counts down where that is asked for.
fn guard(bless: bool) -> Result<bool, String> {
    let written = std::fs::read_to_string(file()).unwrap_or_default();
    let written: BTreeMap<String, u64> =
        toml::from_str(&written).map_err(|error| format!("benches/guard.toml: {error}"))?;
    let mut found = BTreeMap::new();
    let mut fine = true;
    println!("{:<16}{:>16}{:>16}{:>10}", "instructions", "written down", "now", "");
    for (name, times) in paths::ALL {
        let once = (count(name, 2 * times)? - count(name, times)?) / times;
        let change = written.get(name).map(|before| once as f64 / *before as f64 - 1.0);
        let verdict = match change {
            None => "is not written down",
            Some(change) if change > TOLERANCE => "DEARER",
            Some(change) if change < -TOLERANCE => "cheaper: bless it",
            Some(_) => "",
        };
        fine &= change.is_some_and(|change| change <= TOLERANCE);
        let (before, change) = (written.get(name).copied().unwrap_or(0), change.unwrap_or(0.0));
        println!("{name:<16}{before:>16}{once:>16}{:>+9.1} % {verdict}", change * 100.0);
        found.insert(name, once);
    }
    if bless {
        let text = toml::to_string(&found).map_err(|error| error.to_string())?;
        let text = format!("# Instructions of one run of each path: benches/guard.rs.\n{text}");
        eir::disk::replace(&file(), text.as_bytes()).map_err(|error| error.to_string())?;
        return Ok(true);
    }
    Ok(fine)
}

/// The instructions of a process that runs a path so often.
fn count(name: &str, times: u64) -> Result<u64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(me);
    command.args(["--path", name, &times.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said.lines().find_map(|line| line.split_once("Collected : "));
    match counted.map(|(_, count)| count.trim().parse()) {
        Some(Ok(count)) if output.status.success() => Ok(count),
        _ => Err(format!("{name} could not be counted: {said}")),
    }
}
