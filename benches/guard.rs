//! What the hot paths cost, counted in instructions and allocations, so that a machine's mood is not in the figures.
//!
//! `make bench-guard` runs each path under valgrind, so and twice as often: the difference is what it costs once. More than
//! 3 % over `benches/guard.toml` fails. Who makes a path dearer, or cheaper for good, says so there, in a commit of its
//! own:
//!
//!     make bench-guard ARGS=--bless
//!     make bench-guard ARGS=--bless PROFILE=release
//!
//! The counts are those of `x86_64`; valgrind knows no AVX-512, so a machine that has it counts as one that has not. What
//! the dev profile makes is eir without optimisation around optimised libraries: that shows what is done more often, and no
//! loss that only the optimiser sees. It takes three minutes.
#![expect(clippy::print_stdout, reason = "a bench prints")]

#[expect(dead_code, reason = "here time stands still")]
#[path = "../tests/it/support/clock.rs"]
mod clock;
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

/// What is counted, by which tool of valgrind, and between which words it says how many there were.
const COUNTS: [(&str, &str, [&str; 2]); 2] = [
    ("instructions", "callgrind", ["Collected : ", "\n"]),
    ("allocations", "memcheck", ["total heap usage: ", " allocs"]),
];

/// By profile, by what is counted, and by path.
type Counted = BTreeMap<String, BTreeMap<String, BTreeMap<String, u64>>>;

const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// Whether nothing became dearer; writes the counts down where that is asked for.
fn guard(bless: bool) -> Result<bool, String> {
    let written = std::fs::read_to_string(file()).unwrap_or_default();
    let mut written: Counted =
        toml::from_str(&written).map_err(|error| format!("benches/guard.toml: {error}"))?;
    let written_of = written.remove(PROFILE).unwrap_or_default();
    let is_known = !written_of.is_empty();
    let mut found = BTreeMap::new();
    let mut fine = true;
    for (what, tool, between) in COUNTS {
        println!("\n{PROFILE}\n{what:<16}{:>16}{:>16}", "written down", "now");
        for (name, times) in paths::ALL {
            let count = || -> Result<u64, String> {
                let twice = count(tool, between, name, 2 * times)?;
                Ok((twice - count(tool, between, name, times)?) / times)
            };
            let mut once = count()?;
            let before = written_of.get(what).and_then(|all| all.get(name)).copied();
            let change_to = |once: u64| before.map(|it| once as f64 / it.max(1) as f64 - 1.0);
            if change_to(once).is_some_and(|change| change > TOLERANCE) {
                // Threads meet in another order each time; what really is dearer stays so.
                once = once.min(count()?);
            }
            let change = change_to(once);
            let verdict = match change {
                None => "is not written down",
                Some(_) if before == Some(once) => "",
                Some(change) if change > TOLERANCE => "DEARER",
                Some(change) if change < -TOLERANCE => "cheaper: bless it",
                Some(_) => "",
            };
            fine &= change.is_some_and(|change| before == Some(once) || change <= TOLERANCE);
            let percent = change.unwrap_or(0.0) * 100.0;
            let before = before.map_or_else(|| "–".to_owned(), |before| before.to_string());
            println!("{name:<16}{before:>16}{once:>16}{percent:>+9.1} % {verdict}");
            let of = found.entry(what.to_owned()).or_insert_with(BTreeMap::new);
            of.insert(name.to_owned(), once);
        }
    }
    if bless {
        written.insert(PROFILE.to_owned(), found);
        let text = toml::to_string(&written).map_err(|error| error.to_string())?;
        let text = format!("# What one run of each path costs: benches/guard.rs.\n{text}");
        eir::disk::replace(&file(), text.as_bytes()).map_err(|error| error.to_string())?;
        return Ok(true);
    }
    // Those of the dev profile are what every change is held against.
    let may_be_unknown = PROFILE != "dev" && !is_known;
    if may_be_unknown {
        println!("\nno counts of this profile are written down: nothing was compared");
    }
    Ok(fine || may_be_unknown)
}

/// What a tool counts in a process that runs a path so often.
fn count(tool: &str, [before, behind]: [&str; 2], name: &str, times: u64) -> Result<u64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}"));
    if tool == "callgrind" {
        command.arg("--callgrind-out-file=/dev/null");
    }
    command.arg(me).args(["--path", name, &times.to_string()]);
    let output = command.output().map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let counted = said.split_once(before).and_then(|(_, rest)| rest.split_once(behind));
    match counted.map(|(count, _)| count.trim().replace(',', "").parse()) {
        Some(Ok(count)) if output.status.success() => Ok(count),
        _ => Err(format!("{name} could not be counted: {said}")),
    }
}
