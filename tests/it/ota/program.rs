//! eir itself over the air.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::super::support::keeper::TRIPLE;
use super::super::support::within;
use super::Site;

/// This eir, with another version: the same program in every other respect.
fn next_version() -> Vec<u8> {
    let place = tempfile::tempdir().expect("tempdir");
    let stripped = place.path().join("eir");
    let strip =
        Command::new("strip").arg("-o").arg(&stripped).arg(env!("CARGO_BIN_EXE_eir")).status();
    assert!(strip.expect("strip").success());
    let mut bytes = std::fs::read(&stripped).expect("the program");
    let (old, new) = (env!("CARGO_PKG_VERSION").as_bytes(), NEXT.as_bytes());
    assert_eq!(old.len(), new.len());
    let places: Vec<_> = memchr_all(&bytes, old);
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + new.len()].copy_from_slice(new);
    }
    bytes
}

/// The next version, for an impostor to start.
pub(super) fn stand_by(place: &Path) -> String {
    let path = place.join("new");
    let mut open = std::fs::OpenOptions::new();
    let file = open.write(true).create_new(true).mode(0o755).open(&path);
    file.and_then(|mut file| file.write_all(&next_version())).expect("a program");
    path.display().to_string()
}

fn memchr_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let found = bytes.windows(wanted.len()).enumerate().filter(|(_, part)| *part == wanted);
    found.map(|(place, _)| place).collect()
}

const NEXT: &str = "0.1.9";

pub(super) fn release() -> String {
    format!("eir/{NEXT}/{TRIPLE}")
}

/// A program that finds no mistake, and does something else when it is to run.
pub(super) fn impostor(run: &str) -> Vec<u8> {
    format!(
        "#!/bin/sh\ncase $1 in\n--version) echo eir {NEXT} ;;\ncheck | outbox) exit 0 ;;\n*) {run} ;;\nesac\n"
    )
    .into_bytes()
}

/// What runs under a number, by `/proc`.
fn runs(id: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{id}/exe")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_eir_takes_over_in_the_same_process_and_is_gone_back_from() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let id = process.id();
    // The same for another machine, which was once taken for what serves here, and laid over it.
    let other = format!("eir/{NEXT}/riscv64gc-unknown-linux-gnu");
    site.keeper.release(&other, b"x", json!({}));
    site.keeper.release(&release(), &next_version(), json!({}));
    site.comes_to(&release(), "committed").await;
    let looked = async {
        while !site.update(&["status"]).contains("as it was signed") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within("what serves is looked at", looked).await;
    assert!(!site.nginx.asked().contains("riscv64gc"));
    let slot = site.dir().join("slots").join(NEXT).join("eir");
    assert_eq!(runs(id), slot);
    // Started again, it is the new one at once.
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let mut process = site.run();
    process.says("started").await;
    assert_eq!(runs(process.id()), slot);
    let said = site.update(&["rollback", "eir"]);
    site.comes_to(&release(), "rolled back").await;
    process.says("started").await;
    assert!(runs(process.id()).ends_with("debug/eir"), "{said}");
    assert!(!slot.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_crashes_at_once_or_hangs_has_three_starts() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    // The second time it hangs: whoever watches it (systemd, a person) ends it.
    let run = "echo starts >&2; [ -e hangs ] && exec sleep 1000; exit 1";
    let run = run.replace("hangs", &site.place.path().join("hangs").display().to_string());
    site.keeper.release(&release(), &impostor(&run), json!({}));
    for start in 1..=3 {
        process.says("starts").await;
        if start == 2 {
            process.signal("KILL");
        }
        let (status, _) = process.ended().await;
        assert_eq!(status.code(), (start != 2).then_some(1), "start {start}");
        if start == 1 {
            eir::disk::replace(&site.place.path().join("hangs"), b"").expect("noted");
        } else if start == 2 {
            std::fs::remove_file(site.place.path().join("hangs")).expect("removed");
        }
        process = site.run();
    }
    process.says("started").await;
    assert!(runs(process.id()).ends_with("debug/eir"));
    let found = site.comes_to(&release(), "rolled back").await;
    assert!(found["reason"].as_str().expect("why").contains("3 starts"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_well_and_then_dies_makes_way_for_the_one_before() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let (new, dies) = (stand_by(site.place.path()), site.place.path().join("dies"));
    let run = format!("[ -e {} ] && exit 1; exec {new} \"$@\"", dies.display());
    site.keeper.release(&release(), &impostor(&run), json!({}));
    site.comes_to(&release(), "committed").await;
    assert_eq!(runs(process.id()), PathBuf::from(new));
    eir::disk::replace(&dies, b"").expect("noted");
    process.signal("KILL");
    process.ended().await;
    // Whatever starts it again: systemd, say.
    let mut starts = 0;
    let mut process = loop {
        let process = site.run();
        starts += 1;
        // Time enough to hand over and to die.
        tokio::time::sleep(Duration::from_secs(3)).await;
        if runs(process.id()).ends_with("debug/eir") {
            break process;
        }
        assert!(starts < 6, "it does not come back");
    };
    process.says("state=rolled back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_serve_this_device_is_never_started() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let text =
        |script: &str| impostor("exit 1").into_iter().chain(script.bytes()).collect::<Vec<_>>();
    let wrong_version =
        String::from_utf8(text("")).expect("a script").replace("echo eir", "echo eir 7");
    let refuses = String::from_utf8(text("")).expect("a script");
    let refuses = refuses
        .replace("check | outbox) exit 0", "check) echo 'broken  model: needs AVX'; exit 78");
    for (version, bytes, told) in [
        ("0.1.3", b"no program".to_vec(), "does not start"),
        ("0.1.4", wrong_version.into_bytes(), "it says that it is `eir 7"),
        (NEXT, refuses.into_bytes(), "needs AVX"),
    ] {
        let release = format!("eir/{version}/{TRIPLE}");
        site.keeper.release(&release, &bytes, json!({}));
        let found = site.comes_to(&release, "rolled back").await;
        assert!(found["reason"].as_str().expect("why").contains(told), "{found}");
    }
    // For another machine: not even fetched.
    site.keeper.release("eir/0.9.0/riscv64gc-unknown-linux-gnu", b"x", json!({}));
    let offered = async {
        while !site.update(&["status"]).contains("it is for riscv64gc") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within("it is offered and not taken", offered).await;
    assert!(!site.nginx.asked().contains("riscv64gc"));
}
