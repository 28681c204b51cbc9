//! The binary as a service: signals, exit codes, and that it does nothing behind one's back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::support::{Mosquitto, Peer, Process, eir, site, within};

fn write(path: &Path, text: &str) {
    eir::disk::replace(path, text.as_bytes()).expect("file");
}

/// A configuration file for the binary: what [`site::parse`] sets is written into it.
pub(super) fn config(directory: &Path, port: u16, text: &str) -> std::path::PathBuf {
    let path = directory.join("eir.toml");
    let text = text.replace("mqtt://127.0.0.1:1\"", &format!("mqtt://127.0.0.1:{port}\""));
    let models = site::models();
    write(
        &path,
        &format!("{text}\n[models]\ndir = \"{}\"\n[device]\nid = \"test\"\n", models.display()),
    );
    path
}

/// What was taken from the broker is decided and sent; what was not, the next run gets.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_and_no_message_is_lost() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let file = config(directory.path(), broker.port(), site::BEARING);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut origins = BTreeSet::new();
    for (run, enough) in [1, 20].into_iter().enumerate() {
        let mut process = Process::run(&file);
        process.says("started").await;
        if run == 0 {
            // What comes before the subscription is there is nobody's.
            let soon = Duration::from_millis(500);
            while peer.next_json_within(soon).await.is_none() {
                peer.publish("plant/a/vibration", site::window("outer_race", 1000)).await;
            }
            peer.subscribe("eir/test/status").await;
            for seq in 0..20 {
                peer.publish("plant/a/vibration", site::window("outer_race", seq)).await;
            }
        }
        let mut told = false;
        loop {
            let (topic, payload) = peer.next().await;
            if topic != "eir/test/status" {
                let decision: serde_json::Value = serde_json::from_slice(&payload).expect("json");
                origins.insert(decision["origin"].to_string());
                origins.remove("\"1000:bearing:fault\"");
            } else if payload == b"offline" && told {
                break;
            }
            if origins.len() >= enough && !told {
                process.signal("TERM");
                told = true;
            }
        }
        let (status, log) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    }
    assert_eq!(origins.len(), 20, "{origins:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_rules_and_a_bad_file_changes_nothing() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let file = config(directory.path(), broker.port(), site::BEARING);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.subscribe("eir/test/status").await;
    let mut process = Process::run(&file);
    peer.next().await;
    process.says("started").await;

    let text = std::fs::read_to_string(&file).expect("config");
    write(&file, &text.replace("scores['healthy'] < 0.5", "scores['helthy'] < 0.5"));
    process.signal("HUP");
    process.says("nothing changed").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    assert_eq!(peer.next_json().await.1["rule"], "fault");

    write(&file, &text.replace("rule.fault]", "rule.broken]"));
    process.signal("HUP");
    process.says("reloaded").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 2)).await;
    assert_eq!(peer.next_json().await.1["rule"], "broken");
}

/// The join of its thread kept the process alive for as long as the message took.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline_whatever_is_in_hand() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let text = site::BEARING.replace("samples = 256", "samples = 256, step = 1");
    let text = format!("{text}\n[shutdown]\ndrain = \"1s\"\n");
    let file = config(directory.path(), broker.port(), &text);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let mut process = Process::run(&file);
    process.says("started").await;
    let window: serde_json::Value =
        serde_json::from_str(&site::window("outer_race", 2)).expect("json");
    let axis = |name: &str| {
        let values: Vec<f64> = serde_json::from_value(window[name].clone()).expect("an axis");
        values.repeat(1200)
    };
    let message =
        serde_json::json!({ "seq": 2, "x": axis("x"), "y": axis("y"), "z": axis("z") }).to_string();
    // Until the device has subscribed, what is published is nobody's; the first decision of the long message
    // says that it is in hand.
    let in_hand = async {
        while peer.next_json_within(Duration::from_secs(2)).await.is_none() {
            peer.publish("plant/a/vibration", message.clone()).await;
        }
    };
    within("a decision", in_hand).await;
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("not decided in time"), "{log}");
}

#[test]
fn exit_codes_say_what_happened() {
    let directory = tempfile::tempdir().expect("tempdir");
    let code = |arguments: &[&str]| {
        let output = eir().args(arguments).current_dir(directory.path()).output().expect("eir");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("code"), String::from_utf8_lossy(&said).into_owned())
    };
    assert_eq!(code(&["--version"]).0, 0);
    assert_eq!(code(&["fly"]).0, 64);
    let (status, error) = code(&["run", "--config", "absent.toml"]);
    assert_eq!(status, 78, "{error}");
    assert!(error.contains("absent.toml"), "{error}");
    write(&directory.path().join("eir.toml"), "[log]\nlevel = 3\n[devise]\nid = \"x\"\n");
    let (status, error) = code(&["check"]);
    assert_eq!(status, 78, "{error}");
    assert!(error.contains("log.level") && error.contains("did you mean `device`"), "{error}");
}

#[test]
fn a_check_loads_every_model_and_runs_its_golden_samples() {
    let directory = tempfile::tempdir().expect("tempdir");
    let file = config(directory.path(), 1, site::BEARING);
    let check = || {
        let output = eir().arg("check").arg("--config").arg(&file).output().expect("eir");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (status, said) = check();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("bearing") && said.contains("golden"), "{said}");
    let text = std::fs::read_to_string(&file).expect("config");
    write(&file, &text.replace("model  = \"bearing\"", "model  = \"baring\""));
    let (status, said) = check();
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("baring"), "{said}");
}

/// The wheel of ONNX Runtime carries telemetry, which wrote below the home directory. Whatever engine
/// runs: nothing is written, and nobody but the configured broker is talked to.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_or_contacted_that_the_config_does_not_name() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let home = tempfile::tempdir().expect("home");
    let file = config(directory.path(), broker.port(), site::BEARING);
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-e",
            "trace=open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,connect,bind",
        ])
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_eir"))
        .args(["run", "--config"])
        .arg(&file)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.subscribe("eir/test/status").await;
    let mut process = Process::spawn(command);
    peer.next().await;
    process.says("started").await;
    for seq in 0..50 {
        peer.publish("plant/a/vibration", site::window("outer_race", seq)).await;
    }
    peer.next().await;
    // strace holds back the signal that is meant for what it traces.
    let pid = process.id().to_string();
    let sent = Command::new("pkill").args(["-TERM", "-P", &pid]).status().expect("pkill");
    assert!(sent.success());
    process.ended().await;

    let trace = std::fs::read_to_string(&trace).expect("trace");
    assert!(trace.contains("model.onnx"), "the trace saw the model being read");
    let wrote = |line: &&str| {
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "creat(", "mkdir", "rename"];
        let harmless = ["/dev/null", "/dev/tty", "/proc/", "ENOENT"];
        writes.iter().any(|w| line.contains(w)) && !harmless.iter().any(|h| line.contains(h))
    };
    let written: Vec<_> = trace.lines().filter(wrote).collect();
    assert!(written.is_empty(), "{written:#?}");
    let broker_port = format!("sin_port=htons({})", broker.port());
    let strange: Vec<_> = trace
        .lines()
        .filter(|line| line.contains("connect(") || line.contains("bind("))
        .filter(|line| line.contains("AF_INET") && !line.contains(&broker_port))
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
    assert_eq!(std::fs::read_dir(home.path()).expect("home").count(), 0);
}
