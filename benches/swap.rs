//! What a swap of the model costs those who send messages meanwhile, and how long a release takes from a stick to its
//! first decision: a real mosquitto, the real binary, the shipped `bearing` model.
//!
//! The latencies with and without swaps are of one run, in turns, so that other load on the machine shows in both.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints and measures")]
#![expect(dead_code, reason = "the broker of the tests can do more than is needed here")]

#[path = "../tests/it/support/mosquitto.rs"]
mod mosquitto;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use eir::task::{Clock, SystemClock};
use eir::update::archive;
use eir::update::author::{Lifetimes, Repository, Roles};
use eir::update::release::{About, Content};
use eir::update::sign::{Key, Scheme};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;

const RATE: u32 = 200;
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 6;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _waited = self.0.wait();
    }
}

fn main() {
    // `cargo test --benches` asks for a list; there is nothing to list.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let place = tempfile::tempdir().expect("tempdir");
    let place = place.path();
    for version in [1, 2] {
        copy(&place.join(format!("models/bearing/{version}")));
    }
    let broker = mosquitto::Mosquitto::start();
    let file = configure(place, broker.port());
    let (client, decisions) = connect(broker.port());
    let publish = |seq: u32| {
        client.publish("plant/a/vibration", QoS::AtLeastOnce, false, window(seq)).expect("publish");
    };
    let process = Command::new(env!("CARGO_BIN_EXE_eir"))
        .arg("run")
        .arg("--config")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn();
    let process = Killed(process.expect("eir"));
    while decisions.recv_timeout(Duration::from_millis(100)).is_err() {
        publish(0);
    }
    let (newest, aside) = (place.join("models/bearing/2"), place.join("aside"));
    let mut latencies = [Vec::new(), Vec::new()];
    let mut swaps = 0;
    for turn in 0..TURNS {
        let swapping = turn % 2;
        while decisions.recv_timeout(Duration::from_millis(200)).is_ok() {}
        let (start, mut due_swap) = (Instant::now(), Duration::from_millis(500));
        for message in 0.. {
            let due = start + Duration::from_secs(1) * message / RATE;
            if due - start >= TURN {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if swapping == 1 && start.elapsed() >= due_swap {
                due_swap += Duration::from_secs(1);
                swaps += 1;
                let (from, to) =
                    if newest.exists() { (&newest, &aside) } else { (&aside, &newest) };
                std::fs::rename(from, to).expect("moved");
                let id = process.0.id().to_string();
                let hup = Command::new("kill").args(["-s", "HUP", &id]).status();
                assert!(hup.expect("kill").success());
            }
            let sent = Instant::now();
            publish(message + 1);
            let (at, _) =
                decisions.recv_timeout(Duration::from_secs(5)).expect("no message is lost");
            latencies[swapping].push(at - sent);
        }
    }
    println!("\none message after the other at {RATE}/s at most, {swaps} swaps of the model");
    let [calm, swapped] = latencies.map(|mut all| {
        all.sort_unstable();
        [50, 99, 100]
            .map(|share| all[(all.len() * share / 100).min(all.len() - 1)].as_secs_f64() * 1e3)
    });
    for (name, [p50, p99, most]) in [("without", calm), ("with swaps", swapped)] {
        println!("  {name:<10} p50 {p50:>8.2} ms   p99 {p99:>8.2} ms   most {most:>8.2} ms");
    }
    println!("  with ÷ without: p50 {:.2}, p99 {:.2}", swapped[0] / calm[0], swapped[1] / calm[1]);
    release(place, &file, &decisions, publish);
}

/// From the wish to the first decision of the new version, with nothing tried for longer than it must.
fn release(
    place: &Path,
    file: &Path,
    decisions: &Receiver<(Instant, Value)>,
    publish: impl Fn(u32),
) {
    let wished = Instant::now();
    let stick = place.join("repository");
    let output = Command::new(env!("CARGO_BIN_EXE_eir"))
        .args(["update", "--config"])
        .arg(file)
        .arg("import")
        .arg(stick)
        .output()
        .expect("eir");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for seq in 0.. {
        publish(seq);
        let Ok((at, said)) = decisions.recv_timeout(Duration::from_secs(5)) else { continue };
        if said["version"] == 3 {
            println!(
                "  a release on a stick: {:.2} s to its first decision",
                (at - wished).as_secs_f64()
            );
            return;
        }
        assert!(wished.elapsed() < Duration::from_mins(2), "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A device that has updates, and a repository with a third version.
fn configure(place: &Path, port: u16) -> PathBuf {
    let third = place.join("third");
    copy(&third);
    let [root, targets, online] =
        [(); 3].map(|()| Key::generate(Scheme::default()).expect("random"));
    let roles = Roles { root: (1, vec![&root]), targets: (1, vec![&targets]), online: &online };
    let (repository, now) = (place.join("repository"), SystemClock.wall());
    let mut made = Repository::init(&repository, &roles, Lifetimes::default(), now).expect("made");
    let content = Content::of("models/bearing/3.tar.zst").expect("a release");
    let packed = archive::pack(&third).expect("packed");
    made.add(&content, &packed, &About::default()).expect("added");
    made.publish(&[&targets, &online], now).expect("published");
    let text = format!(
        r#"
[device]
id = "bench"
[models]
dir = "{models}"
[mqtt.local]
url = "mqtt://127.0.0.1:{port}"
[pipeline.bearing]
input  = {{ mqtt = {{ broker = "local", topic = "plant/+/vibration", qos = 1 }} }}
decode = {{ json = {{ fields = ["/x", "/y", "/z"] }} }}
window = {{ samples = 256 }}
model  = "bearing"
[pipeline.bearing.rule.every]
when  = "scores['healthy'] >= 0.0"
until = "true"
do    = [{{ publish = {{ broker = "local", topic = "out/{{key}}", qos = 0 }} }}]
[update]
root = "{root}"
dir = "{dir}"
spare_memory = "1MiB"
shadow = {{ share = 1.0, for = "0s", least = 1 }}
canary = {{ share = 0.0 }}
"#,
        models = place.join("models").display(),
        root = repository.join("metadata/1.root.json").display(),
        dir = place.join("update").display(),
    );
    let file = place.join("eir.toml");
    eir::disk::replace(&file, text.as_bytes()).expect("configuration");
    file
}

fn connect(port: u16) -> (Client, Receiver<(Instant, Value)>) {
    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_inflight(200);
    let (client, mut connection) = Client::new(options, 4096);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    client.subscribe("out/#", QoS::AtMostOnce).expect("subscribe");
    let (decided, decisions) = sync_channel(100_000);
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::Publish(said))) => {
                    let at = Instant::now();
                    let said = serde_json::from_slice(&said.payload).unwrap_or_default();
                    let _full = decided.try_send((at, said));
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    (client, decisions)
}

fn window(seq: u32) -> String {
    let axis = |phase: f64| -> Vec<f64> {
        let at = |i: u32| f64::from(seq % 64 * 256 + i) / 3_200.0 * 25.0 * std::f64::consts::TAU;
        (0..256).map(|i| ((at(i) + phase).sin() * 500.0).round() / 10_000.0).collect()
    };
    serde_json::json!({ "x": axis(0.0), "y": axis(1.6), "z": axis(0.8) }).to_string()
}

/// The shipped model once more.
fn copy(into: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/bearing/1");
    std::fs::create_dir_all(into.parent().expect("a parent")).expect("directory");
    let copied = Command::new("cp").arg("-r").arg(from).arg(into).status();
    assert!(copied.expect("cp").success());
}
