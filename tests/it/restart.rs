//! A restart goes on where it was: open windows, what rules remember, and the first record that says so.

use std::path::Path;

use eir::outbox::{Inspector, Kind, recall};
use serde_json::Value;

use super::outbox::{records, subscribed, until, with_outbox};
use super::support::{Mosquitto, Peer, Process, site};

/// The first and the second half of a window.
fn halves(seq: u64) -> [String; 2] {
    let whole: Value = serde_json::from_str(&site::window("outer_race", seq)).expect("json");
    let part = |from: usize, to: usize| {
        let axis = |name: &str| whole[name].as_array().expect("axis")[from..to].to_vec();
        serde_json::json!({ "seq": seq, "x": axis("x"), "y": axis("y"), "z": axis("z") })
    };
    [part(0, 128).to_string(), part(128, 256).to_string()]
}

async fn send(peer: &mut Peer, text: String) {
    peer.publish("plant/press-07/vibration", text).await;
}

/// Waits for an alarm of this stream.
async fn alarm(peer: &mut Peer, stream: &str) {
    while peer.next().await.0 != format!("plant/{stream}/alarm") {}
}

/// What the first record of a run says, once it is on disk.
async fn start(path: &Path, restarts: u64) -> Value {
    let found = || starts(path).into_iter().find(|start| start["restarts"] == restarts);
    until("the first record", || found().is_some()).await;
    found().expect("it was there")
}

fn starts(path: &Path) -> Vec<Value> {
    let health = records(path).into_iter().filter(|record| record.kind == Kind::Health);
    let bodies =
        health.map(|record| serde_json::from_str::<Value>(record.body.get()).expect("json"));
    bodies.filter_map(|body| body.get("start").cloned()).collect()
}

fn kept(path: &Path) -> String {
    let found = recall(path).unwrap_or_default();
    found.get("pipeline/bearing").map(|memory| memory.body.clone()).unwrap_or_default()
}

async fn end(process: Process, signal: &str) {
    process.signal(signal);
    process.ended().await;
}

async fn a_window_goes_on(signal: &str, before: &str) {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let (file, path) = with_outbox(directory.path(), broker.port(), "state_every = \"1s\"");
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let process = subscribed(&file, &mut peer).await;
    let first = start(&path, 0).await;
    assert_eq!((&first["restarts"], &first["before"]), (&0.into(), &Value::Null));
    assert_eq!(first["state"], serde_json::json!({ "bearing": null }));
    let [one, other] = halves(7);
    send(&mut peer, one).await;
    // What comes behind it in the same pipeline is decided, so the half was taken.
    peer.publish("plant/b/vibration", site::window("outer_race", 8)).await;
    alarm(&mut peer, "b").await;
    if signal == "KILL" {
        until("the half to be kept", || kept(&path).contains("\"press-07\"")).await;
    }
    end(process, signal).await;
    if signal != "KILL" {
        assert!(kept(&path).contains("\"press-07\""), "written at the end");
    }
    let mut process = Process::run(&file);
    let line = process.says("goes on where it was").await;
    assert!(line.contains("pipeline=bearing") && line.contains("streams="), "{line}");
    process.says("started").await;
    send(&mut peer, other).await;
    alarm(&mut peer, "press-07").await;
    until("its record", || {
        records(&path).iter().any(|record| record.origin.as_deref() == Some("7:bearing:fault"))
    })
    .await;
    let second = start(&path, 1).await;
    assert_eq!((&second["restarts"], &second["before"]), (&1.into(), &before.into()));
    let state = &second["state"]["bearing"];
    assert!(state["streams"].as_u64() >= Some(1) && state["age_seconds"].is_f64(), "{second}");
    end(process, "TERM").await;
    let findings = Inspector::open(&path).expect("open").verify().expect("verify");
    assert_eq!(findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_an_open_window_goes_on() {
    a_window_goes_on("KILL", "killed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_an_open_window_goes_on() {
    a_window_goes_on("TERM", "stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rule_counted_goes_on_and_a_stream_that_was_silent_for_too_long_is_forgotten() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let more = "[pipeline.bearing.rule.twice]\nwhen = \"scores['healthy'] < 0.5\"\n\
                hits = { count = 2, of = 2 }\n";
    let (file, path) = with_outbox(directory.path(), broker.port(), more);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let process = subscribed(&file, &mut peer).await;
    send(&mut peer, site::window("outer_race", 1)).await;
    alarm(&mut peer, "press-07").await;
    end(process, "TERM").await;
    let mut process = Process::run(&file);
    process.says("started").await;
    send(&mut peer, site::window("outer_race", 2)).await;
    let twice = |number: u64| {
        let origin = format!("{number}:bearing:twice");
        records(&path).iter().any(|record| record.origin.as_ref() == Some(&origin))
    };
    until("the second hit", || twice(2)).await;
    end(process, "TERM").await;
    assert!(!twice(1));
    // Longer ago than a stream may be silent: it begins anew.
    let text = std::fs::read_to_string(&file).expect("config");
    let text =
        text.replace("[pipeline.bearing]\n", "[pipeline.bearing]\nstreams = { idle = \"1ms\" }\n");
    eir::disk::replace(&file, text.as_bytes()).expect("config");
    let mut process = Process::run(&file);
    process.says("started").await;
    assert_eq!(start(&path, 2).await["state"]["bearing"], Value::Null);
    end(process, "TERM").await;
}
