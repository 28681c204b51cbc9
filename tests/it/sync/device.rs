//! A whole device: from a message to the record of its decision in the cloud.

use eir::app::App;

use super::*;
use crate::support::{Mosquitto, Peer, site};

/// The site of every test with an outbox in `directory` and these clouds.
fn settings(directory: &TempDir, clouds: &[(&str, &Cloud)]) -> Vec<String> {
    let path = directory.path().join("outbox.db");
    let mut set = vec![format!("outbox.path={}", path.display())];
    for (name, cloud) in clouds {
        set.push(format!("cloud.{name}.url={}", cloud.url()));
        set.push(format!("cloud.{name}.max_delay=10ms"));
        set.push(format!("cloud.{name}.backoff.max=50ms"));
    }
    set
}

fn text(set: &[String]) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

async fn reload(app: &mut App, port: u16, set: &[String]) {
    let config = site::parse(site::BEARING, port, &text(set)).expect("config");
    app.reload(config).await.expect("reload");
}

fn origins(cloud: &Cloud) -> BTreeSet<String> {
    let asked = cloud.asked().into_iter().flat_map(|asked| asked.records);
    let decisions = asked.filter(|record| record["kind"] == "decision");
    decisions.map(|record| record["origin"].as_str().expect("origin").to_owned()).collect()
}

fn expected(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<String> {
    numbers.into_iter().map(|number| format!("{number}:bearing:fault")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_reaches_the_cloud_and_the_last_one_before_the_end() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let cloud = Cloud::start(|_| OK).await;
    let mut set = settings(&directory, &[("main", &cloud)]);
    let app = site::start(site::BEARING, broker.port(), &text(&set)).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    cloud.decisions(1).await;
    let records: Vec<_> = cloud.asked().into_iter().flat_map(|asked| asked.records).collect();
    assert_eq!(records[0]["body"]["start"]["before"], serde_json::Value::Null, "the first one");
    let record = &records[1];
    assert_eq!((&record["device"], &record["kind"]), (&"test".into(), &"decision".into()));
    assert_eq!((&record["body"]["rule"], &record["body"]["id"]), (&"fault".into(), &record["id"]));
    assert_eq!(app.clouds()[0].1.problem, None);
    app.drain().await;

    // No batch is full, and nobody waits for it to be.
    set.push("cloud.main.max_delay=1h".to_owned());
    let app = site::start(site::BEARING, broker.port(), &text(&set)).await;
    peer.subscribe("plant/+/alarm").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 2)).await;
    assert_eq!(peer.next_json().await.1["rule"], "fault");
    within("the end", app.drain()).await;
    assert_eq!(origins(&cloud), expected(1..=2));
}

#[tokio::test(flavor = "multi_thread")]
async fn clouds_come_and_go_and_change_and_miss_nothing() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let directory = tempfile::tempdir().expect("tempdir");
    let (first, moved, spare) = (
        Cloud::start(|_| OK).await,
        Cloud::start(|_| OK).await,
        Cloud::start(|_| Answer::Status(404, "", "")).await,
    );
    let mut app =
        site::start(site::BEARING, port, &text(&settings(&directory, &[("main", &first)]))).await;
    let mut peer = Peer::connect("peer", port).await;
    let mut publish = async |number| {
        peer.publish("plant/a/vibration", site::window("outer_race", number)).await;
    };
    publish(1).await;
    first.decisions(1).await;

    let both = settings(&directory, &[("main", &moved), ("spare", &spare)]);
    reload(&mut app, port, &both).await;
    publish(2).await;
    moved.decisions(1).await;
    spare.requests(1).await;
    let problem = async {
        loop {
            let spare = app.clouds().into_iter().find(|(lane, _)| lane.to_string() == "spare");
            if spare.is_some_and(|(_, status)| status.needs_a_person) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("a problem", problem).await;
    assert_eq!(origins(&first), expected([1]));
    assert_eq!(origins(&moved), expected([2]));

    // The same again: the cloud that stopped is asked again at once, long before it would be by itself.
    spare.change(|_| OK);
    reload(&mut app, port, &both).await;
    spare.decisions(1).await;
    let left = within("an empty outbox", async {
        loop {
            let stored = app.outbox().expect("an outbox").stored;
            if stored.values().all(|amount| amount.records == 0) {
                break true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(left.await);

    reload(&mut app, port, &settings(&directory, &[("main", &moved)])).await;
    let asked = spare.asked().len();
    publish(3).await;
    moved.decisions(2).await;
    assert_eq!(spare.asked().len(), asked);
    assert_eq!(app.clouds().len(), 1);
    app.drain().await;
}

/// A short run whose network was gone ended with its records on disk, though the cloud was back.
#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_back_is_asked_once_more_at_the_end() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let is_back = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let cloud = Cloud::start(move |_| {
        if back.load(std::sync::atomic::Ordering::Relaxed) { OK } else { Answer::Reset }
    })
    .await;
    let mut set = settings(&directory, &[("main", &cloud)]);
    set.push("cloud.main.backoff={first=\"1h\",max=\"1h\"}".to_owned());
    let app = site::start(site::BEARING, broker.port(), &text(&set)).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    peer.next_json().await;
    let is_away = || app.clouds()[0].1.problem.is_some();
    crate::outbox::until("the cloud to be away", is_away).await;
    is_back.store(true, std::sync::atomic::Ordering::Relaxed);
    within("the end", app.drain()).await;
    assert_eq!(origins(&cloud), expected(1..=1));
}
