//! A camera over a scene in which nothing happens most of the time.

use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use super::support::{AnyBroker, BOTH, Peer, site};

const GATED: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"

[pipeline.defects]
input  = { mqtt = { broker = "local", topic = "camera/+/jpeg", qos = 1 } }
decode = { image = {} }
gate   = { change = 0.01, every = "1h" }
model  = "defects"

[pipeline.defects.rule.seen]
when  = "true"
until = "true"
do    = [{ publish = { broker = "local", topic = "line/{key}/seen", qos = 1 } }]
"#;

/// The picture as another exposure gives it, with something bright on the first of `bright` of 4 rows.
fn taken_again(file: &[u8], bright: u32) -> Vec<u8> {
    let mut picture = image::load_from_memory(file).expect("a picture").to_rgb8();
    let rows = picture.height() * bright / 4;
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let noise = u8::try_from((x * 7 + y * 13) % 5).expect("small");
        pixel.0 = pixel.0.map(|level| level.saturating_add(noise) ^ if y < rows { 128 } else { 0 });
    }
    let mut again = Vec::new();
    JpegEncoder::new_with_quality(&mut again, 80)
        .encode(&picture, picture.width(), picture.height(), ExtendedColorType::Rgb8)
        .expect("a JPEG");
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shows_nothing_new_is_settled_and_counted_and_not_run() {
    for broker in BOTH.map(AnyBroker::start) {
        // Unsettled, one message would keep all others from coming.
        let app = site::start(GATED, broker.port(), &["mqtt.local.receive_maximum=1"]).await;
        let mut peer = Peer::connect("camera", broker.port()).await;
        peer.subscribe("line/+/seen").await;
        let scene = site::picture("scratch");
        let (again, other) = (taken_again(&scene, 0), taken_again(&scene, 1));
        let damaged = &scene[..scene.len() / 2];
        let all: [(&str, &[u8], &str); 10] = [
            ("3", &scene, "run"),
            ("3", &scene, "gated"),
            ("3", &again, "gated"),
            // Another camera is another scene.
            ("4", &scene, "run"),
            ("3", &scene, "gated"),
            ("3", &other, "run"),
            ("3", &other, "gated"),
            ("3", &scene, "run"),
            ("3", damaged, "damaged"),
            // After what could not be decoded it is looked at anew.
            ("3", &scene, "run"),
        ];
        let count = |of: &str, to: usize| {
            all[..=to].iter().filter(|(.., became)| *became == of).count() as u64
        };
        for (index, (camera, file, became)) in all.iter().enumerate() {
            peer.publish(&format!("camera/{camera}/jpeg"), *file).await;
            site::until(&app, "defects", |counts| {
                let damaged = counts.errors.get("corrupt").copied().unwrap_or(0);
                counts.messages == index as u64 + 1
                    && counts.messages == counts.gated + counts.inferences + damaged
            })
            .await;
            let counts = app.pipelines()[0].counts.clone();
            let expected = (count("gated", index), count("run", index));
            assert_eq!(
                (counts.gated, counts.inferences),
                expected,
                "{index}, {became}: {counts:?}"
            );
            if *became == "run" {
                assert_eq!(peer.next_json().await.0, format!("line/{camera}/seen"));
            }
        }
        assert_eq!(peer.pending(), 0);
        app.drain().await;
    }
}

#[test]
fn a_gate_for_numbers_is_no_gate() {
    let text = site::BEARING.replace("window =", "gate = { change = 0.01 }\nwindow =");
    let error = site::parse(&text, 1, &[]).expect_err("no picture").to_string();
    assert!(error.contains("pipeline.bearing.gate") && error.contains("image = {}"), "{error}");
    for (gate, told) in [
        ("change = 0.0", "gate.change"),
        ("change = 1.5", "gate.change"),
        ("every = \"5s\"", "change"),
        ("change = 0.1, every = \"0s\"", "gate.every"),
        ("change = 0.1, pixels = 3", "pixels"),
    ] {
        let text = GATED.replace("change = 0.01, every = \"1h\"", gate);
        let error = site::parse(&text, 1, &[]).expect_err(gate).to_string();
        assert!(error.contains(told), "{gate}: {error}");
    }
    assert!(site::parse(GATED, 1, &[]).is_ok());
}
