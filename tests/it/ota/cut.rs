//! `eir run` itself, cut off at any of its calls that change a file while releases come: what starts next serves, and every
//! release has its end.
//!
//! Short here; `make torture-update` takes every call, until one run comes through.

use std::process::Command;

use super::many::{device, is_long, state, status};
use super::program::{next_version, release};
use super::*;

/// What is cut off. Without `write`, which the log does all the time: what is written is synced or renamed next.
const CALLS: &str = "pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir";

/// `eir run`, killed at the n-th such call of one of its threads.
fn cut_at(call: usize, config: &Path) -> Process {
    let mut command = Command::new("strace");
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("EIR_")) {
        command.env_remove(name);
    }
    let inject = format!("inject={CALLS}:signal=KILL:when={call}");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject]);
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
    keeper.release(releases[2], &next_version(), json!({}));
    let has_ended = |device: &Path| {
        let ends = ["committed", "rolled back"];
        releases.iter().all(|release| ends.contains(&&*state(device, release)))
    };
    let step = if is_long() { 1 } else { 50 };
    for call in (step..).step_by(step) {
        let device = device(place.path(), call, broker.port(), &keeper, &nginx.url());
        let file = device.join("eir.toml");
        let mut cut = cut_at(call, &file);
        let until = async {
            while !cut.is_over() && !has_ended(&device) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within("a cut or the end", until).await;
        let came_through = !cut.is_over();
        if came_through {
            cut.signal_child("TERM");
            assert_eq!(cut.ended().await.0.code(), Some(0), "call {call}");
        }
        let mut process = Process::run(&file);
        process.says("started").await;
        let ended = async {
            while !has_ended(&device) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_mins(1), ended).await;
        assert!(ended.is_ok(), "call {call}: {}", status(&device));
        // One cut is no reason to give anything up.
        for release in releases {
            assert_eq!(state(&device, release), "committed", "call {call}: {}", status(&device));
        }
        process.signal("TERM");
        let (ended, log) = process.ended().await;
        assert_eq!(ended.code(), Some(0), "call {call}: {log}");
        std::fs::remove_dir_all(&device).expect("a device");
        if came_through {
            assert!(call > 40, "it came through after {call} calls");
            return;
        }
    }
}
