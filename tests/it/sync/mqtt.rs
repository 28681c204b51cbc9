//! A broker for a cloud.

use eir::mqtt::{QoS, Version};
use eir::sync::MqttUplink;

use super::*;
use crate::support::mqtt::{self, Client};
use crate::support::{Mosquitto, Peer, site};

const TOPIC: &str = "eir/press-07/records";

impl Device {
    /// Starts to send over MQTT.
    fn publish(&self, uplink: &Client, config: &CloudConfig) -> Sync {
        let uplink = MqttUplink::new(uplink.link.clone(), &name("press-07"));
        Sync::start(config, uplink, self.outbox.reader(name("main")))
    }
}

/// The ids of so many records, each a line of JSON.
async fn listen(listener: &mut Client, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while ids.len() < count {
        for line in listener.next_text().await.lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("a record");
            ids.insert(record["id"].as_str().expect("an id").to_owned());
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_acknowledges_has_the_records() {
    for version in [Version::V5, Version::V4] {
        let mut broker = Mosquitto::start();
        let url = format!("mqtt://127.0.0.1:{}", broker.port());
        let mqtt = mqtt::config(&url, version);
        let mut listener = Client::up("listener", &mqtt, &[(TOPIC, QoS::AtLeastOnce)]).await;
        let uplink = Client::up("uplink", &mqtt, &[]).await;
        let device = Device::new(&["main"]);
        let ids = device.some(20).await;
        let sync = device.publish(&uplink, &config("http://127.0.0.1"));
        assert_eq!(listen(&mut listener, 20).await, ids);
        device.holds(0).await;

        // While the broker is away records wait.
        broker.kill();
        device.some(20).await;
        until(&sync, "a problem", |status| status.problem.is_some()).await;
        assert_eq!(device.stored(), 20);
        broker.start_again();
        until(&sync, "every record", |status| status.records == 40).await;
        device.holds(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_broker_finds_too_large_is_halved() {
    let broker = Mosquitto::with("allow_anonymous true\nmax_packet_size 3000");
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let mqtt = mqtt::config(&url, Version::V5);
    let mut listener = Client::up("listener", &mqtt, &[(TOPIC, QoS::AtLeastOnce)]).await;
    let uplink = Client::up("uplink", &mqtt, &[]).await;
    let device = Device::new(&["main"]);
    let ids = device.some(100).await;
    let _sync = device.publish(&uplink, &config("http://127.0.0.1"));
    assert_eq!(listen(&mut listener, 100).await, ids);
    device.holds(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_have_its_own_broker_for_a_cloud() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let path = format!("outbox.path={}", directory.path().join("outbox.db").display());
    let set = [path.as_str(), "cloud.main.mqtt=local", "cloud.main.max_delay=10ms"];
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("eir/test/records").await;
    let mut app = site::start(site::BEARING, broker.port(), &set).await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    // That of the start comes first, alone or in the same batch.
    let mut records = Vec::<serde_json::Value>::new();
    while records.len() < 2 {
        let (_, lines) = peer.next().await;
        let lines = String::from_utf8(lines).expect("text");
        records.extend(lines.lines().map(|line| serde_json::from_str(line).expect("json")));
    }
    assert_eq!(records[0]["kind"], "health");
    let record = &records[1];
    assert_eq!((&record["kind"], &record["body"]["rule"]), (&"decision".into(), &"fault".into()));

    // The connection is another one after this; the cloud goes with it.
    let moved = [&set[..], &["mqtt.local.keep_alive=7s"]].concat();
    let config = site::parse(site::BEARING, broker.port(), &moved).expect("config");
    app.reload(config).await.expect("reload");
    app.ready().await;
    peer.publish("plant/a/vibration", site::window("outer_race", 2)).await;
    let (_, record) = peer.next_json().await;
    assert_eq!(record["origin"], "2:bearing:fault");

    let unknown = [path.as_str(), "cloud.main.mqtt=uplink"];
    let problems =
        site::parse(site::BEARING, broker.port(), &unknown).expect_err("no such connection");
    assert!(problems.to_string().contains("cloud.main.mqtt: no [mqtt.uplink] here"), "{problems}");
}
