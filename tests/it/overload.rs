//! More than can be worked off: only a named policy drops, and what it drops is counted.

use super::support::{AnyBroker, BOTH, Mosquitto, Peer, site};

const FRAMES: u64 = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_keeps_the_newest_frames_and_counts_the_others() {
    let text = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"

[pipeline.defects]
input  = { mqtt = { broker = "local", topic = "camera/+/jpeg", qos = 1 } }
decode = { image = {} }
model  = "defects"
queue  = { capacity = 2, when_full = "drop_oldest" }
"#;
    let broker = Mosquitto::start();
    // An engine that is slower than the camera, on any machine that runs this unoptimised.
    let app = site::start(text, broker.port(), &["models.engine=tract"]).await;
    let mut peer = Peer::connect("camera", broker.port()).await;
    let frame = site::picture("scratch");
    for _ in 0..FRAMES {
        peer.publish("camera/3/jpeg", frame.clone()).await;
    }
    site::until(&app, "defects", |counts| counts.messages + counts.dropped == FRAMES).await;
    let counts = app.pipelines()[0].counts.clone();
    assert!(counts.dropped > 0 && counts.messages > 0, "{counts:?}");
    assert!(counts.errors.is_empty(), "{counts:?}");
    app.drain().await;
}

/// The queue is smaller than the burst: acknowledgements are withheld, and every message is decided
/// once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_holds_loses_nothing() {
    for broker in BOTH.map(AnyBroker::start) {
        let text = format!("{}\n[pipeline.bearing.queue]\ncapacity = 8\n", site::BEARING);
        let app = site::start(&text, broker.port(), &["mqtt.local.receive_maximum=4"]).await;
        let mut peer = Peer::connect("sensor", broker.port()).await;
        peer.subscribe("plant/+/alarm").await;
        for seq in 0..300 {
            peer.publish("plant/a/vibration", site::window("outer_race", seq)).await;
        }
        for seq in 0..300 {
            assert_eq!(peer.next_json().await.1["origin"], format!("{seq}:bearing:fault"));
        }
        let counts = app.pipelines()[0].counts.clone();
        assert_eq!((counts.messages, counts.dropped), (300, 0), "{counts:?}");
        app.drain().await;
    }
}
