//! The whole way: a real mosquitto, the real binary, the shipped `bearing` model.
//!
//! Prints latency from publish to decision at 1,000 messages a second, the time from start to the
//! first decision, resident memory, and the cost of a message beside a bare run of the model. Other
//! load on the machine shows in every figure, so each is also given as a ratio within the same run.
//! `cargo bench --bench end_to_end -- message` does the last part alone.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]
#![expect(dead_code, reason = "the broker of the tests can do more than is needed here")]

#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eir::engine::{EngineKind, Form};
use eir::event::{Input, StreamKey, Topic};
use eir::model::{Models, ModelsConfig, Trial};
use eir::package::EngineChoice;
use eir::pipeline::decode::{DecodeConfig, Decoder, ImageConfig, JsonConfig};
use eir::pipeline::rules::{Condition, Facts, RuleSet, StreamRules};
use eir::pipeline::window::{Window, WindowConfig};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

const RATE: u32 = 1_000;
const MESSAGES: u32 = 5_000;

fn main() {
    // `cargo test --benches` asks for a list; there is nothing to list.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    eir::engine::disable_telemetry();
    if std::env::args().any(|argument| argument == "message") {
        return message();
    }
    println!("\nsensor: {MESSAGES} messages of 64 × 3 numbers at {RATE}/s, one model run each");
    for engine in ["ort", "tract"] {
        service(engine);
    }
    message();
}

fn message() {
    println!("\none message, without network, beside a bare run of the model (ONNX Runtime)");
    sensor_overhead();
    camera_overhead();
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Every message of 64 instants completes a window, and every window is decided and published.
fn configuration(port: u16, engine: &str) -> String {
    format!(
        r#"
[device]
id = "bench"
[log]
level = "warn"
[models]
dir = "{models}"
engine = "{engine}"
[mqtt.local]
url = "mqtt://127.0.0.1:{port}"
[pipeline.bearing]
input  = {{ mqtt = {{ broker = "local", topic = "plant/+/vibration", qos = 0, id = "/seq" }} }}
decode = {{ json = {{ fields = ["/x", "/y", "/z"] }} }}
window = {{ samples = 256, step = 64 }}
model  = "bearing"
queue  = {{ capacity = 1024, when_full = "drop_oldest" }}
[pipeline.bearing.rule.every]
when  = "scores['healthy'] >= 0.0"
until = "true"
do    = [{{ publish = {{ broker = "local", topic = "out/{{key}}", payload = "{{id}} {{score}}", qos = 0 }} }}]
"#,
        models = models().display(),
    )
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn block(seq: u32) -> String {
    let axis = |phase: f64| -> Vec<f64> {
        let at = |i: u32| f64::from(seq * 64 + i) / 3_200.0 * 25.0 * std::f64::consts::TAU;
        (0..64).map(|i| ((at(i) + phase).sin() * 500.0).round() / 10_000.0).collect()
    };
    serde_json::json!({ "seq": seq, "x": axis(0.0), "y": axis(1.6), "z": axis(0.8) }).to_string()
}

fn service(engine: &str) {
    let broker = mosquitto::Mosquitto::start();
    let port = broker.port();
    let directory = tempfile::tempdir().expect("tempdir");
    let file = directory.path().join("eir.toml");
    eir::disk::replace(&file, configuration(port, engine).as_bytes()).expect("configuration");

    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_inflight(200);
    let (client, mut connection) = Client::new(options, 4096);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    client.subscribe("out/#", QoS::AtMostOnce).expect("subscribe");
    let (decided, decisions) = std::sync::mpsc::sync_channel(100_000);
    let reader = std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::Publish(_))) => {
                    let _full = decided.try_send(Instant::now());
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    let publish = |seq| {
        client.publish("plant/a/vibration", QoS::AtMostOnce, false, block(seq)).expect("publish");
    };

    let started = Instant::now();
    let process = Command::new(env!("CARGO_BIN_EXE_eir"))
        .arg("run")
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::inherit())
        .spawn()
        .expect("eir");
    let process = Killed(process);
    let mut seq = 0;
    let first = loop {
        publish(seq);
        seq += 1;
        assert!(started.elapsed() < Duration::from_mins(1), "no decision");
        if let Ok(at) = decisions.recv_timeout(Duration::from_millis(1)) {
            break at;
        }
    };
    println!("\n{engine}");
    println!("  start to first decision  {:>8.1} ms", (first - started).as_secs_f64() * 1e3);
    while decisions.recv_timeout(Duration::from_millis(500)).is_ok() {}

    let mut latencies = Vec::new();
    let start = Instant::now();
    for message in 0..MESSAGES {
        let due = start + Duration::from_secs(1) * message / RATE;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let sent = Instant::now();
        publish(seq + message);
        if let Ok(at) = decisions.recv_timeout(Duration::from_millis(100)) {
            latencies.push(at - sent);
        }
    }
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share / 100).min(latencies.len() - 1)];
    println!("  publish to decision p50  {:>8.3} ms", at(50).as_secs_f64() * 1e3);
    println!("                      p99  {:>8.3} ms", at(99).as_secs_f64() * 1e3);
    println!("  decided                  {:>8} of {MESSAGES}", latencies.len());
    println!("  resident memory          {:>8.1} MB", resident(process.0.id()));
    drop(process);
    client.disconnect().expect("disconnect");
    reader.join().expect("reader");
}

fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("kB") / 1e3
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn print_overhead(what: &str, whole: Duration, bare: Duration) {
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    println!(
        "  {what:<32} {:>9.1} µs whole  {:>9.1} µs bare run  {:>8.1} µs beside it  ({:.2} ×)",
        micros(whole),
        micros(bare),
        micros(whole.saturating_sub(bare)),
        whole.as_secs_f64() / bare.as_secs_f64(),
    );
}

fn bare(models: &Models, name: &str) -> Duration {
    let package = models.find(name).expect("package");
    let engine = (EngineKind::Ort, Form::Stored);
    let budget = Duration::from_secs(2);
    models
        .bench(&package, engine, Trial { threads: 1, instances: 1, batch: 1 }, budget)
        .expect("timing")
        .p50
}

fn shipped() -> Models {
    Models::new(&ModelsConfig { dir: models(), ..ModelsConfig::default() })
}

fn sensor_overhead() {
    let models = shipped();
    let package = models.find("bearing").expect("package");
    let Ok(model) = models.serve(package, Some(EngineChoice::Ort)) else {
        println!("  ONNX Runtime is not here: skipped");
        return;
    };
    let mut caller = model.caller().expect("caller");
    let fields = ["/x", "/y", "/z"].map(str::to_owned).to_vec();
    let decoder = Decoder::new(&DecodeConfig::Json(JsonConfig { fields })).expect("decoder");
    let mut window = Window::new(&WindowConfig { samples: 256, step: Some(64) }).expect("window");
    let conditions = [("fault".parse().expect("name"), Condition::new("scores['healthy'] < 0.2"))];
    let package = model.package();
    let rules = RuleSet::compile(&conditions, package.spec.task, &package.labels).expect("rules");
    let device = eir::event::Device { id: "bench".parse().expect("name"), labels: BTreeMap::new() };
    let (stream, topic) = (StreamKey::new("a"), Topic::new("plant/a/vibration"));
    let mut states = StreamRules::default();
    let messages: Vec<_> = (0..64).map(block).collect();
    let mut times = Vec::new();
    let mut answers = Vec::new();
    for round in 0..20_000 {
        let message = &messages[round % messages.len()];
        let start = Instant::now();
        let Ok(Input::Samples(samples)) = decoder.decode(message.as_bytes()) else { return };
        let mut inputs = Vec::new();
        let mut position = 0;
        while let Some(full) = window.next(&samples, &mut position).expect("window") {
            inputs.push(Input::Samples(full));
        }
        caller.predict(&inputs, &mut answers);
        for prediction in answers.iter().flatten() {
            let facts = Facts {
                prediction,
                stream: &stream,
                topic: &topic,
                device: &device,
                now: jiff::Timestamp::now(),
                model: &package.name,
                version: package.version,
            };
            rules.evaluate(&facts, &mut states, start);
        }
        if !inputs.is_empty() {
            times.push(start.elapsed());
        }
    }
    print_overhead("sensor message, 64 × 3 numbers", median(times), bare(&models, "bearing"));
}

fn camera_overhead() {
    let models = shipped();
    let package = models.find("defects").expect("package");
    let Ok(model) = models.serve(package, Some(EngineChoice::Ort)) else { return };
    let mut caller = model.caller().expect("caller");
    let decoder = Decoder::new(&DecodeConfig::Image(ImageConfig::default())).expect("decoder");
    let golden = models_golden();
    let mut times = Vec::new();
    for round in 0..300 {
        let jpeg = &golden[round % golden.len()];
        let start = Instant::now();
        let frame = decoder.decode(jpeg).expect("frame");
        caller.predict_one(&frame).expect("prediction");
        times.push(start.elapsed());
    }
    print_overhead("camera frame, 640 × 480 JPEG", median(times), bare(&models, "defects"));
}

fn models_golden() -> Vec<Vec<u8>> {
    let directory = std::fs::read_dir(models().join("defects/1/golden")).expect("golden");
    let paths = directory.map(|entry| entry.expect("entry").path());
    let jpegs = paths.filter(|path| path.extension().is_some_and(|e| e == "jpg"));
    jpegs.map(|path| std::fs::read(path).expect("jpeg")).collect()
}
