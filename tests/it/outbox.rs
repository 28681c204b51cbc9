//! The outbox under a running service: what is acknowledged is on disk, whatever becomes of process and disk.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use eir::outbox::{Inspector, Kind, Record};

use super::process::config;
use super::support::{Mosquitto, Peer, Process, eir, site, within};

/// The bearing's pipeline with an outbox in that directory.
pub(super) fn with_outbox(directory: &Path, port: u16, more: &str) -> (PathBuf, PathBuf) {
    let path = directory.join("data/outbox.db");
    let text = format!("{}\n[outbox]\npath = \"{}\"\n{more}\n", site::BEARING, path.display());
    (config(directory, port, &text), path)
}

pub(super) fn records(path: &Path) -> Vec<Record> {
    let mut all = Vec::new();
    // Not made yet, or in the making.
    let Ok(outbox) = Inspector::open(path) else { return all };
    let read = outbox.records(|record| {
        all.push(record);
        ControlFlow::<()>::Continue(())
    });
    read.expect("read");
    all
}

fn decisions(path: &Path) -> u64 {
    records(path).iter().filter(|record| record.kind == Kind::Decision).count() as u64
}

/// The numbers of the messages whose decisions are on disk.
pub(super) fn recorded(path: &Path) -> BTreeSet<u64> {
    let decisions = records(path).into_iter().filter(|record| record.kind == Kind::Decision);
    let numbers = decisions.filter_map(|record| {
        let origin = record.origin?;
        origin.strip_suffix(":bearing:fault")?.parse().ok()
    });
    numbers.collect()
}

pub(super) async fn until(what: &str, met: impl Fn() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, wait).await;
}

async fn send(peer: &mut Peer, number: u64) {
    peer.publish("plant/a/vibration", site::window("outer_race", number)).await;
}

/// Starts the service and waits until its subscription is there: the broker keeps it from then on.
pub(super) async fn subscribed(file: &Path, peer: &mut Peer) -> Process {
    let mut process = Process::run(file);
    subscribes(&mut process, peer).await;
    process
}

/// Waits until the subscription of a service that was just started is there.
pub(super) async fn subscribes(process: &mut Process, peer: &mut Peer) {
    process.says("started").await;
    let soon = Duration::from_millis(500);
    while peer.next_json_within(soon).await.is_none() {
        send(peer, 1_000_000).await;
    }
}

fn outbox(arguments: &[&str], path: &Path) -> (i32, String, String) {
    let mut command = eir();
    command.arg("outbox").args(arguments).arg("--path").arg(path).stdin(Stdio::null());
    let output = command.output().expect("eir");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("code"), text(&output.stdout), text(&output.stderr))
}

pub(super) fn verify(path: &Path) {
    let (code, said, error) = outbox(&["verify"], path);
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
}

/// What was not acknowledged comes again from the broker, what was is in the outbox.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_message() {
    const KILLS: u64 = 15;
    const EACH: u64 = 12;
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut process = subscribed(&file, &mut peer).await;
    for kill in 0..KILLS {
        for number in kill * EACH..(kill + 1) * EACH {
            send(&mut peer, number).await;
        }
        // Somewhere among them: at every kill a little later.
        tokio::time::sleep(Duration::from_millis(kill * 3)).await;
        process.signal("KILL");
        process.ended().await;
        verify(&path);
        process = Process::run(&file);
        process.says("started").await;
    }
    let wanted: BTreeSet<_> = (0..KILLS * EACH).collect();
    until("every message in the outbox", || recorded(&path).is_superset(&wanted)).await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    verify(&path);
    // Nothing was invented.
    let mut found = recorded(&path);
    found.remove(&1_000_000);
    assert_eq!(found, wanted);
}

/// With `hold` the message stays with the broker for as long as its record is not on disk; the action does
/// not wait for that.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_record_is_not_on_disk_comes_again() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let hold = "when_unwritable = \"hold\"";
    let (file, path) = with_outbox(directory.path(), broker.port(), hold);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    std::fs::create_dir_all(&path).expect("a directory in its place");
    let mut process = Process::run(&file);
    let line = process.says("acknowledgements are withheld").await;
    assert!(line.contains("is a directory"), "{line}");
    process.says("started").await;
    let soon = Duration::from_millis(500);
    while peer.next_json_within(soon).await.is_none() {
        send(&mut peer, 1).await;
    }
    process.signal("KILL");
    process.ended().await;

    std::fs::remove_dir(&path).expect("remove");
    let mut process = Process::run(&file);
    process.says("started").await;
    let again = within("the message again", peer.next_json()).await;
    assert_eq!(again.1["origin"], "1:bearing:fault");
    until("its record", || recorded(&path).contains(&1)).await;
    // Now it is acknowledged: it does not come a third time.
    send(&mut peer, 2).await;
    until("the next record", || recorded(&path).contains(&2)).await;
    process.signal("TERM");
    process.ended().await;
    let before = decisions(&path);
    let mut process = Process::run(&file);
    process.says("started").await;
    send(&mut peer, 3).await;
    until("one more record", || recorded(&path).contains(&3)).await;
    assert_eq!(decisions(&path), before + 1);
}

/// The service with files bounded as a full disk would: writes fail, and the process lives.
fn bounded(file: &Path, kib: u32) -> Process {
    let mut command = Command::new("sh");
    // In blocks of 512 bytes; the signal that would end the process is ignored across exec.
    let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" run --config \"$1\"", kib * 2);
    command.args(["-c", &script, env!("CARGO_BIN_EXE_eir")]).arg(file);
    Process::spawn(command)
}

fn unbound(process: &Process) {
    let pid = process.id().to_string();
    let done = Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &pid]).status();
    assert!(done.expect("prlimit is needed: util-linux").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_counted_and_told_by_a_gap_record_when_it_heals() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    subscribed(&file, &mut peer).await.signal("KILL");
    let before = decisions(&path);

    let mut process = bounded(&file, 64);
    process.says("started").await;
    let mut sent = 0;
    // Decisions go on, and nothing is withheld.
    for number in 0..150 {
        send(&mut peer, number).await;
        let origin = format!("{number}:bearing:fault");
        while within("a decision", peer.next_json()).await.1["origin"] != origin.as_str() {}
        sent += 1;
    }
    process.says("the outbox cannot be written to").await;
    unbound(&process);
    // Until it is noticed that there is room, what comes is given up, too.
    for number in 1000.. {
        send(&mut peer, number).await;
        let origin = format!("{number}:bearing:fault");
        while within("a decision", peer.next_json()).await.1["origin"] != origin.as_str() {}
        sent += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
        if recorded(&path).contains(&number) {
            break;
        }
        assert!(sent < 1000, "it does not heal");
    }
    process.signal("TERM");
    process.ended().await;
    verify(&path);
    let all = records(&path);
    let told: u64 = all.iter().filter_map(Record::gap).map(|gap| gap.count).sum();
    let decisions = decisions(&path);
    assert!(told > 0 && decisions > before, "{told} told, {decisions} there");
    // A restart in between may have made one or two of the first messages come twice.
    assert!(told + decisions >= before + sent, "{told} + {decisions} < {before} + {sent}");
    assert!(told + decisions <= before + sent + 20, "{told} + {decisions}: {sent} were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_with_hold_loses_nothing_at_all() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let hold = "when_unwritable = \"hold\"";
    let (file, path) = with_outbox(directory.path(), broker.port(), hold);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    subscribed(&file, &mut peer).await.signal("KILL");
    let mut process = bounded(&file, 64);
    process.says("started").await;
    for number in 0..200 {
        send(&mut peer, number).await;
    }
    process.says("acknowledgements are withheld").await;
    unbound(&process);
    let wanted: BTreeSet<_> = (0..200).collect();
    until("every record", || recorded(&path).is_superset(&wanted)).await;
    process.signal("TERM");
    process.ended().await;
    verify(&path);
    assert!(records(&path).iter().all(|record| record.kind != Kind::Gap));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_look_in_beside_a_running_service() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let process = subscribed(&file, &mut peer).await;
    for number in 0..5 {
        send(&mut peer, number).await;
    }
    until("five records", || recorded(&path).len() >= 5).await;

    let by_config = eir().args(["outbox", "stat", "--config"]).arg(&file).output().expect("eir");
    let said = String::from_utf8_lossy(&by_config.stdout).into_owned();
    assert!(by_config.status.success() && said.contains("decision"), "{said}");
    let (code, said, _) = outbox(&["peek", "3"], &path);
    assert_eq!((code, said.lines().count()), (0, 3));
    let first: serde_json::Value =
        serde_json::from_str(said.lines().nth(1).expect("behind that of the start")).expect("json");
    let keys: Vec<_> = first.as_object().expect("a record").keys().map(String::as_str).collect();
    let mut expected = ["v", "id", "origin", "device", "epoch", "seq", "at", "kind", "body"];
    expected.sort_unstable();
    // A board whose clock is not set says so.
    let mut keys: Vec<_> = keys.into_iter().filter(|key| *key != "clock").collect();
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(
        (&first["v"], &first["device"], &first["seq"]),
        (&1.into(), &"test".into(), &2.into())
    );
    assert_eq!((&first["id"], &first["origin"]), (&first["body"]["id"], &first["body"]["origin"]));
    assert_eq!((&first["kind"], &first["body"]["rule"]), (&"decision".into(), &"fault".into()));

    let export = directory.path().join("export.ndjson");
    let name = export.display().to_string();
    let (code, _, note) = outbox(&["export", &name], &path);
    assert_eq!(code, 0, "{note}");
    let exported = std::fs::read_to_string(&export).expect("export");
    assert!(exported.lines().count() >= 5);
    assert_eq!(outbox(&["export", &name], &path).0, 1, "a file that is there is left alone");
    verify(&path);
    let (code, _, error) = outbox(&["repair"], &path);
    assert!(code == 69 && error.contains("another process"), "{code} {error}");

    process.signal("TERM");
    process.ended().await;
    let (code, said, _) = outbox(&["repair"], &path);
    assert!(code == 0 && said.contains("nothing is wrong"), "{code} {said}");
    let mut bytes = std::fs::read(&path).expect("database");
    bytes.truncate(bytes.len() - 4096);
    eir::disk::replace(&path, &bytes).expect("damage");
    let (code, said, error) = outbox(&["verify"], &path);
    assert!(code == 1 && error.contains("eir outbox repair"), "{code} {said} {error}");
    let (code, said, error) = outbox(&["repair"], &path);
    assert!(code == 0 && said.contains("corrupt-1"), "{code} {said} {error}");
    verify(&path);

    let absent = directory.path().join("absent.db");
    assert_eq!(outbox(&["stat"], &absent).0, 66);
    assert_eq!(outbox(&["stat"], directory.path()).0, 66);
    let none = eir().args(["outbox", "stat", "--config", "absent.toml"]).output().expect("eir");
    assert_eq!(none.status.code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_not_recorded_leaves_nothing() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "");
    let text = std::fs::read_to_string(&file).expect("config");
    let text = text.replace("until = \"true\"", "until = \"true\"\nrecord = false");
    eir::disk::replace(&file, text.as_bytes()).expect("config");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let process = subscribed(&file, &mut peer).await;
    process.signal("TERM");
    process.ended().await;
    assert!(path.exists() && records(&path).iter().all(|record| record.kind != Kind::Decision));
}

/// Two windows of one message had one origin: a cloud that drops what comes twice lost the second decision.
#[tokio::test(flavor = "multi_thread")]
async fn each_window_of_a_message_has_an_origin_of_its_own() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let process = subscribed(&file, &mut peer).await;
    let windows = ["outer_race", "healthy", "outer_race"].map(|label| {
        serde_json::from_str::<serde_json::Value>(&site::window(label, 7)).expect("json")
    });
    let axis = |name: &str| {
        let parts = windows.iter().flat_map(|window| window[name].as_array().expect("an axis"));
        parts.cloned().collect::<Vec<_>>()
    };
    let message = serde_json::json!({ "seq": 7, "x": axis("x"), "y": axis("y"), "z": axis("z") });
    peer.publish("plant/b/vibration", message.to_string()).await;
    let origins = || -> Vec<String> {
        let origins = records(&path).into_iter().filter_map(|record| record.origin);
        origins.filter(|origin| origin.starts_with("7:")).collect()
    };
    until("both decisions", || origins().len() == 2).await;
    assert_eq!(origins(), ["7:bearing:fault", "7:bearing:fault:3"]);
    process.signal("TERM");
    process.ended().await;
}
