//! The whole service beside what people use instead: paho-mqtt with ONNX Runtime, Node with ONNX Runtime, and a plain loop
//! in Rust. One broker, one load, one machine, one run.
//!
//! `make bench-peers` fetches these (`cross/peers.sh`) and runs it; one that is not here is left out, aloud.
//!
//!     make bench-peers                               as it is shipped; a quarter of an hour, once it is built
//!     make bench-peers ARGS=--quick                  one short round
//!     make bench-peers ARGS='sensor camera eir paho' these cases and programs alone
//!
//! In each round each program is started, decides at a fixed rate (`calm`: its times are measured from when a message was
//! due, not from when it was sent), then as much as goes through with a window of messages on their way, and is ended.
//! The load, the broker and the program share the cores. CPU time is that of the program and its children while as much
//! goes through; `÷ eir` is the median of the rounds' ratios of it. Figures are medians, with the range of the rounds
//! where it says most. The targets were set on a faster machine, where paho costs what they say. The models have random
//! weights: of 32 numbers, and MobileNetV2-shaped (`benches/peers/models.py`).
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]
#![expect(dead_code, reason = "what the benches and tests share can do more than is needed here")]

#[path = "peers/load.rs"]
mod load;
#[path = "api/model.rs"]
mod model;
#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;
#[path = "peers/plain.rs"]
mod plain;
#[path = "api/process.rs"]
mod process;
#[path = "peers/subject.rs"]
mod subject;
#[path = "peers/table.rs"]
mod table;
#[path = "peers/wire.rs"]
mod wire;
#[path = "peers/workload.rs"]
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use load::Pace;
use subject::Subject;
use table::Measured;
use workload::{Case, Kind, Workload};

const FULL: Pace = Pace {
    rounds: 3,
    calm: Duration::from_secs(4),
    before: Duration::from_millis(500),
    busy: Duration::from_secs(4),
};
const QUICK: Pace = Pace {
    rounds: 1,
    calm: Duration::from_secs(2),
    before: Duration::from_millis(300),
    busy: Duration::from_secs(2),
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` asks for a list; there is nothing to list.
    if has("--test") || has("--list") {
        return ExitCode::SUCCESS;
    }
    eir::engine::disable_telemetry();
    if has("--plain") {
        plain::run();
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let known: Vec<_> =
        Case::ALL.iter().map(|case| case.word()).chain(Subject::ALL.map(Subject::word)).collect();
    if let Some(word) = words.iter().find(|word| !known.contains(&word.as_str())) {
        eprintln!("`{word}` is none of {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let named = |word: &str| words.iter().any(|named| *named == word);
    let any_case = Case::ALL.iter().any(|case| named(case.word()));
    let any_subject = Subject::ALL.iter().any(|subject| named(subject.word()));
    let cases = Case::ALL.into_iter().filter(|case| !any_case || named(case.word()));
    let subjects = Subject::ALL.into_iter().filter(|it| !any_subject || named(it.word()));
    let subjects: Vec<_> = subjects
        .filter(|subject| {
            let missing = subject.missing();
            missing.inspect(|why| eprintln!("going on without {subject}: {why}")).is_none()
        })
        .collect();

    let place = tempfile::tempdir().expect("a directory");
    let python = subject::python();
    let sees = workload::write_models(&place.path().join("models"), python.as_ref());
    let broker = mosquitto::Mosquitto::with("allow_anonymous true\nmax_inflight_messages 0\n");
    let pace = if has("--quick") { QUICK } else { FULL };
    introduce();
    let mut all = Vec::new();
    for case in cases {
        if case.kind == Kind::Camera && !sees {
            eprintln!("going on without the camera: its network could not be written");
            continue;
        }
        let work = Workload::new(case, &place.path().join("models"));
        let mut rows: Vec<_> = subjects.iter().map(|subject| (*subject, Vec::new())).collect();
        for _ in 0..pace.rounds {
            for (subject, rounds) in &mut rows {
                let at = (place.path(), broker.port());
                rounds.push(load::measure((*subject, case), &work, at, pace));
            }
        }
        let measured = Measured { case, rows };
        measured.print();
        all.push(measured);
    }
    table::print_targets(&all);
    ExitCode::SUCCESS
}

/// What the figures depend on.
fn introduce() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "\n{cores} cores, for broker, load and program; {load} ran on average in the minute before"
    );
}
