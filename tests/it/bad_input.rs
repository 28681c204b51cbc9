//! Whatever comes in, it is counted by kind, and the next message is decided as usual.

use super::support::{AnyBroker, BOTH, Mosquitto, Peer, site};

/// Both brokers take the same tests.
async fn decides_after(
    payloads: &[(&str, Vec<u8>, &'static str)],
    text: &str,
    good: (&str, Vec<u8>),
    answer: &str,
) {
    for broker in BOTH.map(AnyBroker::start) {
        decides_after_on(&broker, payloads, text, (good.0, &good.1), answer).await;
    }
}

async fn decides_after_on(
    broker: &AnyBroker,
    payloads: &[(&str, Vec<u8>, &'static str)],
    text: &str,
    good: (&str, &[u8]),
    answer: &str,
) {
    let app = site::start(text, broker.port(), &[]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe(answer).await;
    for (index, (topic, payload, kind)) in payloads.iter().enumerate() {
        peer.publish(topic, payload.clone()).await;
        let messages = index as u64 * 2 + 1;
        site::until(&app, app.pipelines()[0].name.as_str(), |c| c.messages == messages).await;
        peer.publish(good.0, good.1).await;
        let (_, decision) = peer.next_json().await;
        assert!(decision["prediction"].is_object(), "after {kind}: {decision}");
        let counts = app.pipelines()[0].counts.clone();
        let wanted = payloads[..=index].iter().filter(|(.., k)| k == kind).count() as u64;
        assert_eq!(counts.errors.get(kind), Some(&wanted), "after payload {index}: {counts:?}");
    }
    let counts = app.pipelines()[0].counts.clone();
    assert_eq!(counts.decisions, payloads.len() as u64, "{counts:?}");
    assert_eq!(peer.pending(), 0);
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_json_topic() {
    let topic = "plant/press-07/vibration";
    let text = |text: &str| text.as_bytes().to_vec();
    let deep = "[".repeat(10_000);
    let payloads = [
        (topic, Vec::new(), "empty"),
        (topic, text(&deep), "depth"),
        (topic, text(&format!("{{\"x\":{deep}")), "depth"),
        (topic, text("{\"x\":[NaN],\"y\":[1],\"z\":[1]}"), "not_finite"),
        (topic, text("{\"x\":[1e999],\"y\":[1],\"z\":[1]}"), "not_finite"),
        (topic, text("{\"x\":[1e39],\"y\":[1],\"z\":[1]}"), "not_finite"),
        (topic, text("{\"x\":[1],\"y\":[1]}"), "missing_field"),
        (topic, text("{\"x\":[1],\"y\":[1],\"z\":\"one\"}"), "wrong_type"),
        (topic, text("{\"x\":[1],\"y\":[1],\"z\":[null]}"), "wrong_type"),
        (topic, text("{\"seq\":1,\"x\":[1,2],\"y\":[1,2],\"z\":[1]}"), "wrong_length"),
        (topic, vec![0xff, 0xd8, 0x00, 0x9f, 0x92, 0x96], "syntax"),
        (topic, vec![0; 50 << 20], "syntax"),
    ];
    let text = format!("{}\n", site::BEARING.replace("backoff", "max_packet = \"64MiB\"\nbackoff"));
    let good = site::window("outer_race", 7).into_bytes();
    decides_after(&payloads, &text, (topic, good), "plant/+/alarm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_camera_topic() {
    let text = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"
max_packet = "64MiB"

[pipeline.defects]
input  = { mqtt = { broker = "local", topic = "camera/+/jpeg", qos = 1 } }
decode = { image = { max_pixels = "12M" } }
model  = "defects"

[pipeline.defects.rule.reject]
when  = "detections.exists(d, d.score > 0.5)"
until = "true"
do    = [{ publish = { broker = "local", topic = "line/{key}/reject", qos = 1 } }]
"#;
    let good = site::picture("missing_hole");
    let topic = "camera/3/jpeg";
    let truncated = good[..good.len() / 2].to_vec();
    let payloads = [
        (topic, Vec::new(), "empty"),
        (topic, truncated, "corrupt"),
        (topic, png_bomb(), "too_many_pixels"),
        (topic, b"GIF89a, or so it says".to_vec(), "unsupported"),
        (topic, vec![0xff; 50 << 20], "too_large"),
    ];
    decides_after(&payloads, text, (topic, good), "line/+/reject").await;
}

/// The header of a PNG of 20,000 × 20,000 pixels, and little more.
fn png_bomb() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend(20_000_u32.to_be_bytes());
    png.extend(20_000_u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    png.extend([0xaf, 0x4b, 0x9e, 0x2f]);
    png
}

/// An MQTT 5 broker keeps such a message to itself. MQTT 3.1.1 knows no limit: the broker sends it, and
/// would send it again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_the_packet_limit_stops_nobody() {
    for (version, arrives) in [("mqtt.local.version=5", false), ("mqtt.local.version=4", true)] {
        let broker = Mosquitto::start();
        let app = site::start(site::BEARING, broker.port(), &[version]).await;
        let mut peer = Peer::connect("peer", broker.port()).await;
        peer.subscribe("plant/+/alarm").await;
        peer.publish("plant/a/vibration", vec![b'1'; 50 << 20]).await;
        peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
        assert_eq!(peer.next_json().await.1["origin"], "1:bearing:fault", "{version}");
        let counts = app.pipelines()[0].counts.clone();
        assert_eq!(counts.errors.get("too_large"), arrives.then_some(&1), "{version}");
        app.drain().await;
    }
}

/// Its payload was read again for every window's id: minutes on one core, all windows in memory at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_ten_thousand_windows_is_worked_off() {
    let broker = Mosquitto::start();
    let text = site::BEARING.replace("samples = 256", "samples = 256, step = 1");
    let app = site::start(&text, broker.port(), &[]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    let axis = vec![0.5; 10_255];
    let message = serde_json::json!({ "seq": 1, "x": axis, "y": axis, "z": axis });
    peer.publish("plant/a/vibration", message.to_string()).await;
    site::until(&app, "bearing", |counts| counts.inferences == 10_000).await;
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_with_too_few_levels_is_counted() {
    let text = site::BEARING.replace("window = {", "key = \"{topic.5}\"\nwindow = {");
    let text = text.replace("plant/+/vibration", "plant/#");
    let broker = Mosquitto::start();
    let app = site::start(&text, broker.port(), &[]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.publish("plant/press-07/vibration", site::window("outer_race", 1)).await;
    site::until(&app, "bearing", |counts| counts.errors.get("key") == Some(&1)).await;
    app.drain().await;
}
