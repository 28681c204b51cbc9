//! What it costs that nothing is lost: durable appends beside the disk's own sync, bytes on disk and on the wire,
//! CPU time, how fast a backlog leaves for a cloud on this machine, and what a day of one sensor writes and sends.
//!
//! `cargo bench --bench outbox`, and `-- day` for the last part alone. The directory for files is `EIR_BENCH_DIR`, or the system's for temporary ones: on a
//! device, name one on the card that counts.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[expect(dead_code, reason = "here no clock jumps")]
#[path = "../tests/it/support/clock.rs"]
mod clock;
#[path = "outbox/day.rs"]
mod day;
#[path = "outbox/draft.rs"]
mod draft;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use draft::{draft, name};
use eir::event::Ack;
use eir::outbox::{Outbox, OutboxConfig};
use eir::sync::{Cloud, CloudConfig, HttpsUplink};
use eir::task::SystemClock;

/// What a broker has on its way unacknowledged.
const IN_FLIGHT: usize = 20;

const RECORDS: usize = 100_000;

fn main() {
    // `cargo test --benches` asks for a list; there is nothing to list.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let directory =
        std::env::var_os("EIR_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(directory).expect("a directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    if std::env::args().any(|argument| argument == "day") {
        return day::run(&runtime, directory.path());
    }
    let sync = sync_time(directory.path());
    println!("\nthe disk's own sync of 4 KiB: {:.3} ms", sync * 1e3);
    for in_flight in [1, IN_FLIGHT, 1000] {
        let path = directory.path().join(format!("{in_flight}.db"));
        let outbox = open(&path);
        let (seconds, count) = append(&outbox, in_flight, Duration::from_secs(3));
        let rate = count as f64 / seconds;
        println!(
            "{in_flight:>5} in flight: {rate:>9.0} durable appends a second, {:.2} of them in the time of one sync",
            rate * sync
        );
    }
    let path = directory.path().join("backlog.db");
    let outbox = open(&path);
    let before = cpu_seconds();
    append_all(&outbox, RECORDS);
    let written = cpu_seconds() - before;
    let bytes = std::fs::metadata(&path).expect("the file").len();
    println!(
        "{RECORDS} decisions: {:.0} bytes on disk each, {written:.2} s of CPU time to write",
        bytes as f64 / RECORDS as f64
    );
    drain(&runtime, &outbox, before + written);
    day::run(&runtime, directory.path());
}

fn open(path: &Path) -> Outbox {
    let config = OutboxConfig { path: path.to_owned(), ..OutboxConfig::default() };
    Outbox::start(&config, name("bench"), vec![name("main")], Arc::new(SystemClock))
}

/// The mean time to write a page behind the last one and sync it.
fn sync_time(directory: &Path) -> f64 {
    const TIMES: u32 = 100;
    let mut file =
        File::options().create_new(true).write(true).open(directory.join("sync")).expect("a file");
    let started = Instant::now();
    for _ in 0..TIMES {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    started.elapsed().as_secs_f64() / f64::from(TIMES)
}

fn put(outbox: &Outbox, number: usize, settled: &SyncSender<()>) {
    let settled = settled.clone();
    // At the end of a round nobody waits for the last ones any more.
    let ack = Ack::new(move || {
        let _gone = settled.try_send(());
    });
    outbox.append(draft(number), ack);
}

/// Keeps so many on their way for a while; how long, and how many became durable.
fn append(outbox: &Outbox, in_flight: usize, length: Duration) -> (f64, usize) {
    let (settled, durable): (_, Receiver<()>) = sync_channel(in_flight);
    let started = Instant::now();
    for number in 0..in_flight {
        put(outbox, number, &settled);
    }
    let mut count = 0;
    while started.elapsed() < length {
        durable.recv().expect("settled");
        count += 1;
        put(outbox, in_flight + count, &settled);
    }
    (started.elapsed().as_secs_f64(), count)
}

fn append_all(outbox: &Outbox, records: usize) {
    const WAITING: usize = 1000;
    let (settled, durable): (_, Receiver<()>) = sync_channel(WAITING);
    for number in 0..records {
        if number >= WAITING {
            durable.recv().expect("settled");
        }
        put(outbox, number, &settled);
    }
    (0..WAITING.min(records)).for_each(|_| durable.recv().expect("settled"));
}

fn drain(runtime: &tokio::runtime::Runtime, outbox: &Outbox, before: f64) {
    let port = cloud(Arc::default());
    let mut config = CloudConfig::new(&format!("http://127.0.0.1:{port}/records"));
    config.max_delay = Duration::ZERO;
    let uplink = HttpsUplink::new(&config).expect("an uplink");
    let started = Instant::now();
    let cloud = Cloud::start(&config, uplink, outbox.reader(name("main")));
    let mut status = cloud.watch();
    let all = status.wait_for(|status| status.records >= RECORDS as u64);
    let status = runtime.block_on(all).expect("a status").clone();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "drained in {seconds:.2} s: {:.0} records a second, {:.0} bytes each on the wire ({:.1} before zstd), {:.2} s of CPU time",
        RECORDS as f64 / seconds,
        status.sent_bytes as f64 / RECORDS as f64,
        status.raw_bytes as f64 / RECORDS as f64,
        cpu_seconds() - before,
    );
}

/// Says yes to everything, and counts the bytes that come and go.
fn cloud(count: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            std::thread::spawn(move || serve(stream, &count));
        }
    });
    port
}

fn serve(mut stream: TcpStream, bytes_seen: &AtomicU64) -> Option<()> {
    const YES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let mut bytes = Vec::new();
    let mut more = [0; 16 << 10];
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
            bytes_seen.fetch_add(count as u64, Ordering::Relaxed);
            bytes.extend_from_slice(&more[..count]);
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let mut missing = (end + length.parse::<usize>().ok()?).saturating_sub(bytes.len());
        while missing > 0 {
            let count = stream.read(&mut more).ok().filter(|count| *count > 0)?;
            bytes_seen.fetch_add(count as u64, Ordering::Relaxed);
            missing = missing.saturating_sub(count);
        }
        bytes.clear();
        stream.write_all(YES).ok()?;
        bytes_seen.fetch_add(YES.len() as u64, Ordering::Relaxed);
    }
}

/// Of this process, the stand-in cloud included.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = text.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let ticks = |at: usize| behind.split(' ').nth(at).and_then(|word| word.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / 100.0
}
