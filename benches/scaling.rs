//! What more of everything costs: streams, pipelines, models, rules.
//!
//!     cargo bench --bench scaling                      about ten minutes; needs valgrind and mosquitto
//!     cargo bench --bench scaling -- streams rules     these parts alone
//!
//! **Instructions a message** are those of the whole program under callgrind, ONNX Runtime's included: a run of so many
//! messages and one of four times as many, and the difference divided. Every message decides. **Memory** and **CPU** are
//! those of the program as it is. **Ingest** is what an envelope costs without broker and model: made, queued, taken,
//! decoded, on one thread.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]
#![expect(dead_code, reason = "what the benches and tests share can do more than is needed here")]

#[path = "scaling/ingest.rs"]
mod ingest;
#[path = "api/model.rs"]
mod model;
#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;
#[path = "api/process.rs"]
mod process;
#[path = "scaling/program.rs"]
mod program;
#[path = "peers/wire.rs"]
mod wire;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use program::{Program, Shape};

const PARTS: [&str; 5] = ["streams", "pipelines", "models", "rules", "ingest"];

/// Messages of the shorter run under valgrind.
const MESSAGES: u64 = 2_000;

/// Rules at a time on one stream, and its messages a second.
const RULES: usize = 8_000;
const RATE: u32 = 800;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` asks for a list; there is nothing to list.
    if arguments.iter().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    if let Some(word) = words.iter().find(|word| !PARTS.contains(&word.as_str())) {
        eprintln!("`{word}` is none of {}", PARTS.join(", "));
        return ExitCode::FAILURE;
    }
    let wanted = |part: &str| words.is_empty() || words.iter().any(|word| *word == part);
    let place = tempfile::tempdir().expect("a directory");
    let broker = mosquitto::Mosquitto::with("allow_anonymous true\nmax_inflight_messages 0\n");
    let at = (place.path(), broker.port());
    let one = Shape { streams: 1, pipelines: 1, models: 1, rules: 1 };
    if wanted("streams") {
        let shapes = [1, 10, 100, 1_000].map(|streams| Shape { streams, ..one });
        series("streams", &shapes, |shape| shape.streams, at);
    }
    if wanted("pipelines") {
        let shapes = [1, 10, 50].map(|pipelines| Shape { streams: pipelines, pipelines, ..one });
        series("pipelines", &shapes, |shape| shape.pipelines, at);
    }
    if wanted("models") {
        let shapes = [1, 5, 20].map(|models| Shape { streams: 20, pipelines: 20, models, ..one });
        series("models, for 20 pipelines", &shapes, |shape| shape.models, at);
    }
    if wanted("rules") {
        rules(one, at);
    }
    if wanted("ingest") {
        ingest::run();
    }
    ExitCode::SUCCESS
}

/// More and more of one thing.
fn series(what: &str, shapes: &[Shape], count: impl Fn(&Shape) -> usize, at: (&Path, u16)) {
    println!(
        "\n{what:<26}{:>22}{:>10}{:>16}{:>18}",
        "instructions/message", "", "resident MB", "kB for one more"
    );
    let mut first: Option<(u64, f64, usize)> = None;
    for shape in shapes {
        let instructions = instructions(*shape, at);
        let resident = resident(*shape, at);
        let count = count(shape);
        let (before, least, few) = *first.get_or_insert((instructions, resident, count));
        let change = (instructions as f64 / before as f64 - 1.0) * 100.0;
        let more = (count > few)
            .then(|| format!("{:.1}", (resident - least) * 1e3 / (count - few) as f64));
        let more = more.unwrap_or_default();
        println!("{count:<26}{instructions:>22}{change:>+8.1} %{resident:>16.1}{more:>18}");
    }
}

/// Of one message more, in a program of that shape.
fn instructions(shape: Shape, at: (&Path, u16)) -> u64 {
    let counted = |messages| {
        let mut program = Program::start(shape, at, true);
        program.decide(messages);
        program.count()
    };
    (counted(4 * MESSAGES) - counted(MESSAGES)) / (3 * MESSAGES)
}

/// Of the program when all its streams are known, in MB.
fn resident(shape: Shape, at: (&Path, u16)) -> f64 {
    let mut program = Program::start(shape, at, false);
    program.decide(20_000);
    process::memory(&[program.id()]).resident
}

/// Many rules on one stream, of which one fires on each message.
fn rules(one: Shape, at: (&Path, u16)) {
    println!(
        "\n{:<26}{:>22}{:>26}{:>18}",
        "rules",
        format!("cores at {RATE}/s"),
        "resident MB",
        "kB for one more"
    );
    let mut least = 0.0;
    for rules in [1, RULES] {
        let mut program = Program::start(Shape { rules, ..one }, at, false);
        program.decide(u64::from(RATE));
        let (time, before) = (Duration::from_secs(10), process::cpu(&[program.id()]));
        program.pace(RATE, time);
        let cores =
            process::cpu(&[program.id()]).saturating_sub(before).as_secs_f64() / time.as_secs_f64();
        let resident = process::memory(&[program.id()]).resident;
        let more = if rules == 1 {
            least = resident;
            String::new()
        } else {
            format!("{:.1}", (resident - least) * 1e3 / rules as f64)
        };
        println!("{rules:<26}{cores:>22.3}{resident:>26.1}{more:>18}");
    }
}
