//! A day of the vibration sensor of `eir demo`, in virtual time: what it costs the disk and the wire, beside what came in.
//!
//! The sensor is what the demo's is, 50 messages a second of 64 × 3 numbers; of the configuration the defaults, a summary
//! a minute, and a decision an hour. The model does not run, its predictions are drawn: everything behind it is real.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use eir::event::{Ack, Input, Order, Prediction, Samples};
use eir::model::{Models, ModelsConfig};
use eir::outbox::{Draft, Kind, Outbox, OutboxConfig};
use eir::pipeline::window::{Window, WindowConfig};
use eir::summary::{Baseline, Board, Gatherer, Schedule, Seen, Span};
use eir::sync::{Cloud, CloudConfig, HttpsUplink};
use eir::task::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use super::clock::Turned;
use super::{cloud, draft, name};

const MESSAGES_A_MINUTE: u64 = 50 * 60;

const MINUTES: u64 = 24 * 60;

const DECISION_EVERY: u64 = 60;

/// Different messages, which come again and again.
const POOL: usize = 499;

/// What a day takes.
pub(super) fn run(runtime: &tokio::runtime::Runtime, directory: &std::path::Path) {
    let clock = Turned::new();
    let path = directory.join("day.db");
    let config = OutboxConfig { path: path.clone(), ..OutboxConfig::default() };
    let outbox = Outbox::start(&config, name("bench"), vec![name("main")], clock.clone());
    let wire = Arc::new(AtomicU64::new(0));
    let port = cloud(Arc::clone(&wire));
    let mut config = CloudConfig::new(&format!("http://127.0.0.1:{port}/records"));
    // Virtual minutes are short: nobody can wait a second for company, and what is written together leaves together.
    config.max_delay = Duration::ZERO;
    let uplink = HttpsUplink::new(&config).expect("an uplink");
    let cloud = Cloud::start(&config, uplink, outbox.reader(name("main")));
    let mut status = cloud.watch();

    let mut sensor = Sensor::new();
    let mut schedule = Schedule::new(Duration::from_mins(1), clock.now(), clock.wall());
    let (disk_before, mut records, mut raw) = (written(), 0, 0);
    for minute in 0..MINUTES {
        raw += sensor.minute();
        clock.pass(Duration::from_mins(1));
        let span = schedule.tick(clock.now(), clock.wall()).expect("a minute");
        let mut drafts = vec![
            (Kind::Summary, sensor.summary(span)),
            (Kind::Health, health(span, outbox.path())),
        ];
        let mut all: Vec<_> =
            drafts.drain(..).map(|(kind, body)| of(kind, &body, &clock)).collect();
        if minute % DECISION_EVERY == 0 {
            all.push(draft(usize::try_from(minute).expect("few")));
        }
        outbox.remember("pipeline.bearing", sensor.kept());
        records += append(&outbox, all);
        let arrived = status.wait_for(|status| status.records >= records);
        runtime.block_on(arrived).expect("a status");
    }
    let status = cloud.status();
    runtime.block_on(cloud.stop(Duration::from_secs(10)));
    assert!(runtime.block_on(outbox.stop(Duration::from_secs(10))), "the outbox ends");
    let disk = written() - disk_before;
    let wire = wire.load(Ordering::Relaxed);
    println!("\na day of the demo's vibration sensor, {records} records:");
    let told = |what: &str, bytes: u64| {
        let ratio = raw as f64 / (bytes as f64).max(1.0);
        println!("  {what:<34} {:>10.2} MB  (1 in {ratio:.0})", bytes as f64 / 1e6);
    };
    println!("  {:<34} {:>10.2} MB", "messages", raw as f64 / 1e6);
    if disk == 0 {
        println!(
            "  written to disk: none, the directory is in memory; EIR_BENCH_DIR names another"
        );
    } else {
        told("written to disk", disk);
    }
    told("records as JSON", status.raw_bytes);
    told("records in the batches, zstd", status.sent_bytes);
    told("on the wire, both ways, without TLS", wire);
    let size = std::fs::metadata(&path).expect("the file").len();
    println!("  {:<34} {:>10.2} MB", "the outbox's file in the end", size as f64 / 1e6);
}

/// What this process has had written to disks.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("the kernel counts");
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).expect("a number")
}

fn of(kind: Kind, body: &Value, clock: &Turned) -> Draft {
    let (id, body) = (uuid::Uuid::now_v7(), to_raw_value(body).expect("json"));
    Draft { id, origin: None, at: clock.wall(), kind, body }
}

/// Takes in what is told together; how many these are, when they are on disk.
fn append(outbox: &Outbox, drafts: Vec<Draft>) -> u64 {
    let count = drafts.len();
    let (settled, durable) = sync_channel(count);
    for draft in drafts {
        let settled = settled.clone();
        outbox.append(draft, Ack::new(move || settled.try_send(()).expect("room")));
    }
    (0..count).for_each(|_| durable.recv().expect("settled"));
    count as u64
}

/// As the program tells of its device.
fn health(span: Span, path: &std::path::Path) -> Value {
    merged(&[
        serde_json::to_value(span).expect("json"),
        json!({ "version": env!("CARGO_PKG_VERSION"), "started": span.from, "restarts": 0 }),
        serde_json::to_value(Board::read(path)).expect("json"),
        json!({
            "pipelines": { "bearing": null }, "connections": { "local": null },
            "clouds": { "main": { "breaker": "closed", "problem": null } }, "outbox": null
        }),
    ])
}

fn merged(parts: &[Value]) -> Value {
    let fields = parts.iter().filter_map(Value::as_object).flatten();
    fields.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The sensor, the model and what is counted of them.
struct Sensor {
    rng: StdRng,
    gatherer: Gatherer,
    baseline: Arc<Baseline>,
    window: Window,
    messages: Vec<(u64, Samples)>,
    bytes: u64,
}

/// A message of the sensor, and how many bytes it has as JSON.
fn message(rng: &mut StdRng, number: usize) -> (u64, Samples) {
    // In steps of 4 mg, as the chip's.
    let mut value = || f64::from(rng.random_range(-250_i32..250)) * 4.0 / 1000.0;
    let values: Vec<f64> = (0..64 * 3).map(|_| value()).collect();
    let axis = |axis: usize| values.chunks_exact(3).map(|v| v[axis]).collect::<Vec<_>>();
    let text = json!({ "seq": number, "x": axis(0), "y": axis(1), "z": axis(2) }).to_string();
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what the model takes")]
    let values = values.into_iter().map(|value| value as f32).collect();
    (text.len() as u64, Samples { channels: 3, order: Order::Interleaved, values })
}

impl Sensor {
    fn new() -> Self {
        let config = WindowConfig { samples: 256, step: Some(64) };
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let models = Models::new(&ModelsConfig { dir, ..ModelsConfig::default() });
        let package = models.find("bearing").expect("the shipped model");
        let reference = package.reference.as_ref().expect("it has a reference");
        let mut rng = StdRng::seed_from_u64(1);
        Self {
            messages: (0..POOL).map(|number| message(&mut rng, number)).collect(),
            rng,
            gatherer: Gatherer::default(),
            baseline: Arc::new(Baseline::new(reference)),
            window: Window::new(&config).expect("a window"),
            bytes: 0,
        }
    }

    /// One minute of messages, each of which completes a window; their bytes.
    fn minute(&mut self) -> u64 {
        self.bytes = 0;
        for number in 0..MESSAGES_A_MINUTE {
            let (bytes, samples) = &self.messages[usize::try_from(number).expect("few") % POOL];
            self.bytes += bytes;
            let mut position = 0;
            while let Some(full) = self.window.next(samples, &mut position).expect("a window") {
                let score = 0.98 + 0.015 * self.rng.random::<f32>();
                let latency = Duration::from_micros(self.rng.random_range(300..900));
                let prediction =
                    Prediction::Classification { label: "healthy".into(), score, scores: vec![] };
                let input = Input::Samples(full);
                let seen = Seen { input: &input, prediction: &prediction, latency, fired: &[] };
                self.gatherer.add(None, Some(&self.baseline), &seen);
            }
        }
        self.bytes
    }

    /// As the program tells of a pipeline.
    fn summary(&self, span: Span) -> Value {
        merged(&[
            serde_json::to_value(span).expect("json"),
            json!({
                "pipeline": "bearing", "model": "bearing", "version": 1, "engine": "ort",
                "messages": MESSAGES_A_MINUTE, "bytes": self.bytes, "dropped": {}, "errors": {}
            }),
            serde_json::to_value(self.gatherer.take()).expect("json"),
        ])
    }

    /// As the program keeps its open windows.
    fn kept(&self) -> String {
        let window = serde_json::to_value(self.window.keep()).expect("json");
        json!([{ "key": "press-07", "silent": 0, "window": window }]).to_string()
    }
}
