//! The models over HTTP beside what people serve models with: `FastAPI` with uvicorn and ONNX Runtime, and `MLServer`.
//! One model, one machine, one run.
//!
//! `make bench-api` fetches these (`cross/peers.sh`) and runs it; one that is not here is left out, aloud.
//!
//!     make bench-api                                   as it is shipped; six minutes, once it is built
//!     make bench-api ARGS=--quick                      one short round
//!     make bench-api ARGS='eir one fastapi'            these servers alone; `one` is eir with one I/O worker
//!
//! All servers run the whole time and are asked in turns, so that what else the machine does falls on all of
//! them. A connection asks as soon as it was answered (a closed loop); one thread asks for all connections, and
//! `load` is the part of a core that it takes. `CPU ms` is the time of the server's processes for one request.
//! Figures are medians of the rounds with the smallest and the largest beside; a ratio is the median of the
//! rounds' ratios. The model takes 32 numbers and gives four. The targets were set on a machine where `FastAPI` gives
//! 5,300 requests a second; they are printed as found here, and as they would be found there.
//!
//! NVIDIA's own load generator finds its way too. It lies in the wheel of tritonclient and needs Debian's
//! libb64-0d and the CUDA run time's library, though no GPU:
//!
//!     pip install --target clients --no-deps tritonclient==2.50.0 nvidia-cuda-runtime-cu12==12.9.79
//!     LD_LIBRARY_PATH=clients/nvidia/cuda_runtime/lib clients/bin/perf_analyzer -i http -u 127.0.0.1:8000 \
//!         -m bearing -b 1 --shape input:1,3,256 --concurrency-range 8 --measurement-interval 2000
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]

#[path = "api/http.rs"]
mod http;
#[path = "api/load.rs"]
mod load;
#[path = "api/model.rs"]
mod model;
#[path = "api/process.rs"]
mod process;
#[path = "api/servers.rs"]
mod servers;
#[path = "api/table.rs"]
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use load::{Found, Load};
use servers::{Body, Kind, Server};
use table::{Case, Measured};

/// Vectors in a request of a client that collects them, and how many such clients there are.
const BATCH: usize = 32;
const BATCH_CONNECTIONS: usize = 8;

/// Numbers of two servers may differ by so much: each has its own way to write them.
const TOLERANCE: f32 = 1e-5;

/// How long the bench takes.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rounds: usize,
    before: Duration,
    time: Duration,
}

const FULL: Pace =
    Pace { rounds: 3, before: Duration::from_millis(500), time: Duration::from_secs(3) };
const QUICK: Pace =
    Pace { rounds: 1, before: Duration::from_millis(200), time: Duration::from_millis(800) };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // `cargo test --benches` asks for a list; there is nothing to list.
    if has("--test") || has("--list") {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |kind: &Kind| words.is_empty() || words.iter().any(|word| *word == kind.word());
    if !Kind::ALL.iter().any(wanted) {
        eprintln!("none of these is a server: {}", Kind::ALL.map(Kind::word).join(", "));
        return ExitCode::SUCCESS;
    }
    let directory = tempfile::tempdir().expect("a directory");
    model::write(&directory.path().join("models"));
    let servers: Vec<_> = Kind::ALL
        .into_iter()
        .filter(wanted)
        .filter_map(|kind| start(kind, directory.path()))
        .collect();
    introduce(&servers);
    if let Err(problem) = agree(&servers) {
        eprintln!("{problem}");
        return ExitCode::FAILURE;
    }
    let pace = if has("--quick") { QUICK } else { FULL };
    let mut all = Vec::new();
    for case in cases() {
        let measured = measure(case, &servers, pace);
        measured.print();
        all.push(measured);
    }
    let memory = |server: &Server| (server.kind, process::memory(&process::tree(server.id())));
    let memory: Vec<_> = servers.iter().map(memory).collect();
    table::print_memory(&memory);
    table::print_targets(&all, &memory);
    ExitCode::SUCCESS
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for body in [Body::Json, Body::Binary] {
        cases.extend([1, 8, 32].map(|connections| Case { body, vectors: 1, connections }));
        cases.push(Case { body, vectors: BATCH, connections: BATCH_CONNECTIONS });
    }
    cases
}

fn start(kind: Kind, place: &Path) -> Option<Server> {
    eprintln!("starting {kind}");
    Server::start(kind, place)
        .map_err(|problem| eprintln!("going on without {kind}: {problem}"))
        .ok()
}

/// What the figures depend on.
fn introduce(servers: &[Server]) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!(
        "\n{cores} cores, on which the load runs too; {load} ran on average in the minute before"
    );
    let mut before = None;
    for server in servers.iter().filter(|server| matches!(server.kind, Kind::Eir | Kind::EirOne)) {
        let platform = server.platform().unwrap_or_else(|| "no engine".to_owned());
        let threads = process::threads(server.id(), "eir-io");
        println!("{}: {platform}, {threads} threads for connections and requests", server.kind);
        if before.replace(threads).is_some_and(|before| before <= threads) {
            println!("    which are not fewer: this eir does not heed TOKIO_WORKER_THREADS");
        }
    }
}

/// Asks every server the same once, in every way, and holds the answers beside the first one's.
fn agree(servers: &[Server]) -> Result<(), String> {
    for count in [1, BATCH] {
        let vectors = model::vectors(count);
        let mut first: Option<(Kind, Vec<f32>)> = None;
        for server in servers {
            for body in [Body::Json, Body::Binary] {
                let Some(request) = server.request(body, &vectors) else { continue };
                let failed = |problem| format!("{}, {body}: {problem}", server.kind);
                let answer =
                    http::ask(server.address, &request).map_err(|e| failed(e.to_string()))?;
                let found = server.read(body, &answer).map_err(failed)?;
                let (kind, as_of) = first.get_or_insert_with(|| (server.kind, found.clone()));
                let is_alike = found.len() == count * model::CLASSES
                    && found.iter().zip(as_of.iter()).all(|(a, b)| (a - b).abs() <= TOLERANCE);
                if !is_alike {
                    return Err(failed(format!("{found:?} is not what {kind} says: {as_of:?}")));
                }
            }
        }
    }
    Ok(())
}

/// Every server in turn, round by round.
fn measure(case: Case, servers: &[Server], pace: Pace) -> Measured {
    let vectors = model::vectors(case.vectors);
    let requests = servers.iter().filter_map(|server| {
        let request: Arc<[u8]> = server.request(case.body, &vectors)?.into();
        Some((server, request))
    });
    let requests: Vec<_> = requests.collect();
    let mut rows: Vec<(Kind, Vec<Found>)> =
        requests.iter().map(|(server, _)| (server.kind, Vec::new())).collect();
    for _ in 0..pace.rounds {
        for ((server, request), (_, rounds)) in requests.iter().zip(&mut rows) {
            let load = Load {
                address: server.address,
                process: server.id(),
                request: Arc::clone(request),
                connections: case.connections,
                before: pace.before,
                time: pace.time,
            };
            rounds.push(load.run());
        }
    }
    Measured { case, rows }
}
