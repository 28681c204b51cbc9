//! `eir run` itself, cut off at any of its calls that change a file while releases come: what starts next serves, and every
//! release has its end.
//!
//! Short here; `make torture-update` takes every call, each until one run comes through.

use std::process::Command;

use super::many::{device, is_long, state, status};
use super::program::{impostor, release, stand_by};
use super::*;

/// What is cut off. Without `write`, which the log does all the time: what is written is synced or renamed next.
const CALLS: [&str; 11] = [
    "fsync",
    "rename",
    "pwrite64",
    "fdatasync",
    "ftruncate",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "rmdir",
];

/// `eir run`, killed at its n-th such call; each thread counts by itself.
fn cut_at(call: &str, number: usize, config: &Path) -> Process {
    let mut command = Command::new("strace");
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("EIR_")) {
        command.env_remove(name);
    }
    let inject = format!("inject={call}:signal=KILL:when={number}");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    command.arg(env!("CARGO_BIN_EXE_eir")).arg("run").arg("--config").arg(config);
    Process::spawn(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_eir_is_cut_off_it_serves_again_and_every_release_has_its_end() {
    let (broker, mut keeper) = (Mosquitto::start(), Keeper::new());
    let nginx = Nginx::host(&keeper.directory(), "");
    let place = tempfile::tempdir().expect("tempdir");
    let rule = "[pipeline.bearing.rule.night]\nwhen = \"scores['healthy'] < 0.5\"\n";
    let releases = ["models/bearing/2.tar.zst", "config/rules/1.toml", &release()];
    keeper.model(releases[0], &changed(place.path(), |_| {}), json!({}));
    keeper.release(releases[1], rule.as_bytes(), json!({}));
    let program = stand_by(place.path());
    keeper.release(releases[2], &impostor(&format!("exec {program} \"$@\"")), json!({}));
    let _traffic = Traffic::start(broker.port()).await;
    let has_ended = |device: &Path| {
        let ends = ["committed", "rolled back"];
        releases.iter().all(|release| ends.contains(&&*state(device, release)))
    };
    let (calls, step, most) =
        if is_long() { (&CALLS[..], 1, usize::MAX) } else { (&CALLS[1..2], 10, 2) };
    let mut cuts = 0;
    for call in calls {
        for number in (step..).step_by(step).take(most) {
            let told = format!("{call} {number}");
            let device = device(place.path(), number, broker.port(), &keeper, &nginx.url());
            let file = device.join("eir.toml");
            let mut first = cut_at(call, number, &file);
            let until = async {
                while !first.is_over() && !has_ended(&device) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            within("a cut or the end", until).await;
            // What it does at its end can be cut off too.
            first.signal_child("TERM");
            let came_through = first.ended().await.0.code() == Some(0);
            cuts += usize::from(!came_through);
            let mut process = Process::run(&file);
            process.says("started").await;
            let ended = async {
                while !has_ended(&device) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
            assert!(ended.is_ok(), "{told}: {}", status(&device));
            // One cut is no reason to give anything up.
            for release in releases {
                assert_eq!(state(&device, release), "committed", "{told}: {}", status(&device));
            }
            process.signal("TERM");
            let (ended, log) = process.ended().await;
            assert_eq!(ended.code(), Some(0), "{told}: {log}");
            std::fs::remove_dir_all(&device).expect("a device");
            if came_through {
                break;
            }
        }
    }
    assert!(cuts > 0, "nothing was cut off");
    eprintln!("{cuts} cuts");
}
