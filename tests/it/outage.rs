//! What breaks degrades, and heals when its cause goes away.

use std::path::Path;
use std::time::Duration;

use super::support::{AnyBroker, BOTH, Mosquitto, Peer, site, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_empty_is_served_again() {
    for broker in BOTH.map(AnyBroker::start) {
        is_served_again(broker).await;
    }
}

async fn is_served_again(mut broker: AnyBroker) {
    let port = broker.port();
    let app = site::start(site::BEARING, port, &[]).await;
    for round in 1..=3 {
        is_decided(port, round).await;
        broker.kill();
        broker.start_again();
    }
    app.drain().await;
}

/// Publishes a window until it is decided: the broker may be a new one that knows of no subscription, and
/// what comes before the device has renewed its own is nobody's.
async fn is_decided(port: u16, round: u64) {
    let mut peer = Peer::connect("peer", port).await;
    peer.subscribe("plant/+/alarm").await;
    let wait = async {
        loop {
            peer.publish("plant/a/vibration", site::window("outer_race", round)).await;
            // And what was not acknowledged when a broker died comes again.
            match peer.next_json_within(Duration::from_millis(500)).await {
                Some((_, decision)) if decision["origin"] == format!("{round}:bearing:fault") => {
                    break decision;
                }
                _ => {}
            }
        }
    };
    assert_eq!(within("a decision", wait).await["rule"], "fault");
}

/// The start gave up with exit code 69, and a machine that had a mosquitto already never decided anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_degrades_the_embedded_broker_and_heals() {
    let mut other = Mosquitto::start();
    let port = other.port();
    let listen = format!("broker.listen=127.0.0.1:{port}");
    let mut app = site::start(site::BEARING, port, &[&listen]).await;
    is_decided(port, 1).await;
    other.kill();
    app.heal();
    is_decided(port, 2).await;
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_model_degrades_its_pipeline_and_heals() {
    let directory = tempfile::tempdir().expect("tempdir");
    copy(&site::models().join("bearing/1"), &directory.path().join("bearing/1"));
    copy(&site::models().join("bearing/1"), &directory.path().join("other/1"));
    let rubbish = directory.path().join("other/1/model.onnx");
    let good = std::fs::read(&rubbish).expect("model");
    eir::disk::replace(&rubbish, b"this is no model").expect("rubbish");

    let broker = Mosquitto::start();
    let second = site::BEARING
        .split_once("[pipeline.bearing]")
        .map(|(_, rest)| format!("[pipeline.bearing]{rest}"))
        .expect("a pipeline")
        .replace("pipeline.bearing", "pipeline.other")
        .replace("\"bearing\"", "\"other\"")
        .replace("/alarm", "/other")
        .replace("window =", "queue = { capacity = 100 }\nwindow =");
    let text = format!("{}{second}", site::BEARING);
    let models = format!("models.dir={}", directory.path().display());
    let mut app = site::start(&text, broker.port(), &[&models]).await;

    let status = app.pipelines();
    let problem =
        status.iter().find(|p| p.name.as_str() == "other").expect("other").problem.clone();
    assert!(problem.expect("degraded").contains("model.onnx"));

    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.subscribe("plant/+/other").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    let (topic, decision) = peer.next_json().await;
    assert_eq!((topic.as_str(), &decision["pipeline"]), ("plant/a/alarm", &"bearing".into()));

    // However much comes for the broken one, the other goes on: nothing is held back for it.
    for seq in 2..=200 {
        peer.publish("plant/a/vibration", site::window("outer_race", seq)).await;
        assert_eq!(peer.next_json().await.1["origin"], format!("{seq}:bearing:fault"));
    }

    // The newest of what waited for the broken pipeline is decided once it is whole.
    eir::disk::replace(&rubbish, &good).expect("model");
    app.heal();
    for seq in 101..=200 {
        let (topic, decision) = peer.next_json().await;
        assert_eq!(topic, "plant/a/other");
        assert_eq!(decision["origin"], format!("{seq}:other:fault"));
    }
    let status = app.pipelines();
    let other = status.iter().find(|p| p.name.as_str() == "other").expect("other");
    assert_eq!((other.counts.messages, other.counts.dropped), (100, 100));
    app.drain().await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("package") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copy");
        }
    }
}
