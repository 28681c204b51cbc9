//! Many devices at one nginx, killed at random; and many swaps in one device.
//!
//! Short here; `make torture-update` makes it long (`EIR_TORTURE_UPDATE` devices and swaps).

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::process::config;
use super::super::support::keeper::{Keeper, bearing};
use super::super::support::nginx::Nginx;
use super::super::support::{Mosquitto, Process, site, within};

/// Whether there is time.
pub(super) fn is_long() -> bool {
    size() > 2
}

/// So many devices, and fifty times as many swaps.
fn size() -> usize {
    std::env::var("EIR_TORTURE_UPDATE").ok().and_then(|size| size.parse().ok()).unwrap_or(2)
}

pub(super) fn status(device: &Path) -> Value {
    let text = std::fs::read(device.join("update/status.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

pub(super) fn state(device: &Path, release: &str) -> String {
    let status = status(device);
    let all = status["releases"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|of| of["release"] == release);
    found.and_then(|of| of["state"].as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn device(
    place: &Path,
    number: usize,
    broker: u16,
    keeper: &Keeper,
    url: &str,
) -> PathBuf {
    let device = place.join(format!("device-{number}"));
    std::fs::create_dir(&device).expect("directory");
    let text = format!(
        "{}\n[update]\nurl = {url:?}\nroot = \"{}\"\ndir = \"{}\"\nevery = \"1s\"\nprobation = \"1s\"\n\
         spare_memory = \"1MiB\"\nshadow = {{ share = 1.0, for = \"200ms\", least = 1 }}\n\
         canary = {{ share = 0.5, for = \"200ms\" }}\n",
        site::BEARING,
        keeper.root().display(),
        device.join("update").display(),
    );
    let file = config(&device, broker, &text);
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let text = text.replace("id = \"test\"", &format!("id = \"device-{number}\""));
    eir::disk::replace(&file, text.as_bytes()).expect("file");
    device
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_are_killed_at_random_all_come_to_an_end() {
    let (broker, mut keeper) = (Mosquitto::start(), Keeper::new());
    let nginx = Nginx::host(&keeper.directory(), "limit_rate 200k;");
    let place = tempfile::tempdir().expect("tempdir");
    let next = place.path().join("next");
    bearing(&next, |_| {});
    let rule = "[pipeline.bearing.rule.night]\nwhen = \"scores['healthy'] < 0.5\"\n";
    keeper.model("models/bearing/2.tar.zst", &next, json!({}));
    keeper.release("config/rules/1.toml", rule.as_bytes(), json!({}));
    let devices: Vec<_> = (0..size())
        .map(|number| device(place.path(), number, broker.port(), &keeper, &nginx.url()))
        .collect();
    let mut processes: Vec<_> =
        devices.iter().map(|device| Process::run(&device.join("eir.toml"))).collect();
    let mut random = 7_usize;
    // Somebody pulls a plug now and then, five times for each.
    for _ in 0..size() * 5 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let victim = (random >> 33) % devices.len();
        tokio::time::sleep(Duration::from_millis((random >> 40) as u64 % 400)).await;
        processes[victim].signal("KILL");
        processes[victim] = Process::run(&devices[victim].join("eir.toml"));
    }
    for (device, process) in devices.iter().zip(&mut processes) {
        process.says("started").await;
        for release in ["models/bearing/2.tar.zst", "config/rules/1.toml"] {
            let ended = async {
                // What was cut off three times while it was tried has gone back, and says why.
                while !["committed", "rolled back"].contains(&&*state(device, release)) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let patience = Duration::from_mins(5);
            tokio::time::timeout(patience, ended)
                .await
                .unwrap_or_else(|_| panic!("{}", status(device)));
        }
        let committed = state(device, "models/bearing/2.tar.zst") == "committed";
        assert_eq!(device.join("update/models/bearing/2/model.onnx").exists(), committed);
        process.signal("TERM");
    }
    // Few are cut off three times while something is tried.
    let good = devices.iter().filter(|device| state(device, "config/rules/1.toml") == "committed");
    assert!(size() < 10 || good.count() > size() / 4, "hardly any came through");
    for process in processes {
        let (status, log) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

/// Kilobytes that a process holds.
fn resident(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_model_that_was_swapped_out_comes_back() {
    let broker = Mosquitto::start();
    let place = tempfile::tempdir().expect("tempdir");
    let models = place.path().join("models/bearing");
    for version in 1..=2 {
        bearing(&models.join(version.to_string()), |_| {});
    }
    let text = site::BEARING.replace(
        "[mqtt.local]",
        &format!("[models]\ndir = {:?}\n[mqtt.local]", place.path().join("models")),
    );
    let file = place.path().join("eir.toml");
    let text =
        text.replace("mqtt://127.0.0.1:1\"", &format!("mqtt://127.0.0.1:{}\"", broker.port()));
    eir::disk::replace(&file, text.as_bytes()).expect("file");
    let mut process = Process::run(&file);
    process.says("started").await;
    let (newest, aside) = (models.join("2"), place.path().join("aside"));
    let swaps = size() * 50;
    let mut after_some = 0;
    for swap in 0..swaps {
        let (from, to) = if newest.exists() { (&newest, &aside) } else { (&aside, &newest) };
        std::fs::rename(from, to).expect("moved");
        process.signal("HUP");
        within("a reload", process.says("reloaded")).await;
        if swap == swaps / 4 {
            after_some = resident(process.id());
        }
    }
    let (end, room) = (resident(process.id()), after_some / 10 + 4096);
    assert!(
        end <= after_some + room,
        "{after_some} kB after a quarter of {swaps} swaps, {end} kB in the end"
    );
}
