//! What happened in a window of time, told to a cloud.

use std::time::Duration;

use eir::app::App;
use serde_json::Value;

use super::support::cloud::{Cloud, OK};
use super::support::tus::Tus;
use super::support::{Mosquitto, Peer, site, within};

struct Device {
    app: App,
    cloud: Cloud,
    peer: Peer,
    _broker: Mosquitto,
    _directory: tempfile::TempDir,
}

impl Device {
    async fn start(more: &[&str]) -> Self {
        let broker = Mosquitto::start();
        let directory = tempfile::tempdir().expect("tempdir");
        let cloud = Cloud::start(|_| OK).await;
        let path = format!("outbox.path={}", directory.path().join("outbox.db").display());
        let url = format!("cloud.main.url={}", cloud.url());
        let mut set = vec![path.as_str(), url.as_str(), "cloud.main.max_delay=10ms"];
        set.extend(more);
        let app = site::start(site::BEARING, broker.port(), &set).await;
        let peer = Peer::connect("peer", broker.port()).await;
        Self { app, cloud, peer, _broker: broker, _directory: directory }
    }

    /// The bodies of what arrived of this kind.
    fn told(&self, kind: &str) -> Vec<Value> {
        let records = self.cloud.asked().into_iter().flat_map(|asked| asked.records);
        records
            .filter(|record| record["kind"] == kind)
            .map(|record| record["body"].clone())
            .collect()
    }

    async fn until(&mut self, what: &str, met: impl Fn(&Self) -> bool) {
        let wait = async {
            while !met(self) {
                self.app.tick();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(what, wait).await;
    }
}

/// The parts of all windows add up to this.
fn sum(summaries: &[Value], pointer: &str) -> u64 {
    summaries.iter().filter_map(|body| body.pointer(pointer)?.as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_window_is_told_of_and_all_of_them_add_up() {
    let mut device = Device::start(&["summary.every=1s"]).await;
    for number in 1..=3 {
        device.peer.publish("plant/a/vibration", site::window("outer_race", number)).await;
    }
    device.peer.publish("plant/a/vibration", "this is no json").await;
    device.until("four messages", |device| sum(&device.told("summary"), "/messages") == 4).await;
    device.until("a health record", |device| !device.told("health").is_empty()).await;
    let summaries = device.told("summary");
    for (pointer, wanted) in [
        ("/inferences", 3),
        ("/decisions/fault", 3),
        ("/classes/outer_race", 3),
        ("/errors/syntax", 1),
        ("/score/count", 3),
        ("/latency/count", 3),
    ] {
        assert_eq!(sum(&summaries, pointer), wanted, "{pointer}: {summaries:?}");
    }
    for body in &summaries {
        assert_eq!((&body["pipeline"], &body["model"]), (&"bearing".into(), &"bearing".into()));
        assert_eq!((&body["version"], &body["late"]), (&1.into(), &false.into()));
        assert!(body["seconds"].as_f64().expect("seconds") > 0.0, "{body}");
        let at = |key: &str| body[key].as_str().expect(key).parse().expect(key);
        let (from, to): (jiff::Timestamp, jiff::Timestamp) = (at("from"), at("to"));
        assert_eq!(to.as_millisecond() - from.as_millisecond(), 1000);
        assert_eq!(from.as_millisecond() % 1000, 0);
    }
    // Behind that of the start.
    let health = &device.told("health")[1];
    assert_eq!(health["restarts"], 0);
    assert!(health["disk"]["available_bytes"].as_u64().expect("a disk") > 0, "{health}");
    assert_eq!(health["connections"], serde_json::json!({ "local": null }));
    assert_eq!(health["clouds"]["main"]["breaker"], "closed");

    // What came since the last window was closed is told at the end.
    device.peer.publish("plant/a/vibration", site::window("outer_race", 4)).await;
    site::until(&device.app, "bearing", |counts| counts.messages == 5).await;
    let Device { app, cloud, .. } = device;
    within("the end", app.drain()).await;
    let records = cloud.asked().into_iter().flat_map(|asked| asked.records);
    let summaries: Vec<_> =
        records.filter(|r| r["kind"] == "summary").map(|r| r["body"].clone()).collect();
    assert_eq!(sum(&summaries, "/messages"), 5);
    assert_eq!(sum(&summaries, "/inferences"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_machine_has_a_part_where_the_configuration_asks_for_it() {
    let more = ["summary.every=1s", "pipeline.bearing.summary.group={topic.1}"];
    let mut device = Device::start(&more).await;
    for (machine, number) in [("a", 1), ("b", 2), ("a", 3)] {
        let topic = format!("plant/{machine}/vibration");
        device.peer.publish(&topic, site::window("outer_race", number)).await;
    }
    device.until("three messages", |device| sum(&device.told("summary"), "/inferences") == 3).await;
    let summaries = device.told("summary");
    assert_eq!(sum(&summaries, "/groups/a/inferences"), 2, "{summaries:?}");
    assert_eq!(sum(&summaries, "/groups/b/classes/outer_race"), 1, "{summaries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn none_are_made_where_they_are_switched_off() {
    let mut device = Device::start(&["summary.enabled=false"]).await;
    device.peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    device.until("a decision", |device| !device.told("decision").is_empty()).await;
    let Device { app, cloud, .. } = device;
    within("the end", app.drain()).await;
    let records: Vec<_> = cloud.asked().into_iter().flat_map(|asked| asked.records).collect();
    let kinds: Vec<_> = records.iter().map(|record| &record["kind"]).collect();
    assert_eq!(kinds, ["health", "decision"], "that of the start, and what was decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_worth_labelling_reach_the_cloud_up_to_their_limit() {
    let sample = "pipeline.bearing.sample.sure";
    let more = [
        "summary.enabled=false".to_owned(),
        format!("{sample}.uncertain=[0.9, 1.0]"),
        format!("{sample}.hourly.count=2"),
        format!("{sample}.daily.count=2"),
    ];
    let mut device = Device::start(&more.each_ref().map(String::as_str)).await;
    for number in 1..=5 {
        device.peer.publish("plant/a/vibration", site::window("outer_race", number)).await;
    }
    device.until("five decisions", |device| device.told("decision").len() == 5).await;
    let records = device.cloud.asked().into_iter().flat_map(|asked| asked.records);
    let samples: Vec<_> = records.filter(|record| record["kind"] == "sample").collect();
    assert_eq!(samples.len(), 2, "{samples:?}");
    assert_eq!(samples[0]["origin"], "1:bearing:sure");
    let body = &samples[0]["body"];
    assert_eq!(
        (&body["sampler"], &body["prediction"]["label"]),
        (&"sure".into(), &"outer_race".into())
    );
    assert_eq!(body["input"]["channels"], 3);
    assert_eq!(body["input"]["values"].as_array().expect("values").len(), 768);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_go_where_files_are_taken_and_their_records_name_them() {
    let tus = Tus::right().await;
    let more = [
        "summary.enabled=false".to_owned(),
        "pipeline.bearing.sample.sure.uncertain=[0.9, 1.0]".to_owned(),
        format!("cloud.main.samples={}", tus.url()),
    ];
    let mut device = Device::start(&more.each_ref().map(String::as_str)).await;
    device.peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    device.until("the sample's record", |device| !device.told("sample").is_empty()).await;
    let uploads = tus.holds(1).await;
    let file = &uploads[0].metadata["filename"];
    let input = &device.told("sample")[0]["input"];
    assert_eq!(
        (input["upload"].as_str(), input["bytes"].as_u64()),
        (Some(&**file), Some(uploads[0].length as u64))
    );
    let values: Value = serde_json::from_slice(&uploads[0].bytes).expect("json");
    assert_eq!(values["values"].as_array().expect("values").len(), 768);
    device.until("two ways", |device| device.app.clouds().len() == 2).await;
    let ways = device.app.clouds();
    let ways: Vec<_> = ways.iter().map(|(lane, status)| (lane.to_string(), status.dead)).collect();
    assert_eq!(ways, [("main".to_owned(), 0), ("main/samples".to_owned(), 0)]);
}

#[test]
fn a_sample_that_could_go_nowhere_is_a_mistake() {
    let sample = ["pipeline.bearing.sample.some.random=0.5"];
    let problems = site::parse(site::BEARING, 1, &sample).expect_err("no cloud");
    let said = problems.to_string();
    assert!(said.contains("pipeline.bearing.sample.some: there is no [cloud.NAME]"), "{said}");
    let archive = "pipeline.bearing.sample.some.archive={ dir = \"kept\", max = \"1GiB\" }";
    site::parse(site::BEARING, 1, &[sample[0], archive]).expect("kept in a directory");
}
