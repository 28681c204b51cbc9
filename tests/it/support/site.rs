//! A device as `app` builds it, on a broker of its own.

use std::path::{Path, PathBuf};

use eir::action::escalate::EscalationStatus;
use eir::app::App;
use eir::app::config::{self, Config, Problems, Sources};

/// The models of this repository.
pub(crate) fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// One pipeline on the bearing model: every window of 256 instants that is not healthy is published.
pub(crate) const BEARING: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"
backoff = { first = "50ms", max = "500ms" }

[pipeline.bearing]
input  = { mqtt = { broker = "local", topic = "plant/+/vibration", qos = 1, id = "/seq" } }
decode = { json = { fields = ["/x", "/y", "/z"] } }
window = { samples = 256 }
model  = "bearing"

[pipeline.bearing.rule.fault]
when  = "scores['healthy'] < 0.5"
until = "true"
do    = [{ publish = { broker = "local", topic = "plant/{key}/alarm", qos = 1 } }]
"#;

/// The configuration, with the broker's port and the shipped models put in.
pub(crate) fn parse(text: &str, port: u16, set: &[&str]) -> Result<Config, Problems> {
    let mut all = vec![
        format!("mqtt.local.url=mqtt://127.0.0.1:{port}"),
        format!("models.dir={}", models().display()),
        "device.id=test".to_owned(),
    ];
    all.extend(set.iter().map(|&one| one.to_owned()));
    config::load(&Sources {
        text: Some(("test.toml".to_owned(), text.to_owned())),
        set: all,
        ..Sources::default()
    })
}

/// Starts a device and waits until it is connected and subscribed.
pub(crate) async fn start(text: &str, port: u16, set: &[&str]) -> App {
    let config = parse(text, port, set).expect("a valid configuration");
    let app = App::start(config, None).expect("start");
    super::within("the device to subscribe", app.ready()).await;
    app
}

/// A golden window of the bearing model as a message: `{"seq": n, "x": […], "y": […], "z": […]}`.
pub(crate) fn window(label: &str, seq: u64) -> String {
    let golden = models().join("bearing/1/golden");
    let mut paths: Vec<_> =
        std::fs::read_dir(golden).expect("golden").map(|e| e.expect("entry").path()).collect();
    paths.sort();
    let samples = paths.iter().map(|path| {
        let text = std::fs::read_to_string(path).expect("golden sample");
        serde_json::from_str::<serde_json::Value>(&text).expect("json")
    });
    let score =
        |sample: &serde_json::Value| sample["expect"]["scores"][label].as_f64().expect("score");
    let sample = samples.max_by(|a, b| score(a).total_cmp(&score(b))).expect("a golden sample");
    let values: Vec<f64> =
        serde_json::from_value(sample["input"]["values"].clone()).expect("values");
    let axis = |axis: usize| values.chunks_exact(3).map(|v| v[axis]).collect::<Vec<_>>();
    serde_json::json!({ "seq": seq, "x": axis(0), "y": axis(1), "z": axis(2) }).to_string()
}

/// A golden picture of the defects model that shows `label`, best first.
pub(crate) fn picture(label: &str) -> Vec<u8> {
    let golden = models().join("defects/1/golden");
    let mut best: Option<(f64, PathBuf)> = None;
    for entry in std::fs::read_dir(&golden).expect("golden") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("golden sample");
        let sample: serde_json::Value = serde_json::from_str(&text).expect("json");
        let found = sample["expect"]["detections"].as_array().expect("detections");
        let score = found
            .iter()
            .filter(|d| d["label"] == label)
            .filter_map(|d| d["score"].as_f64())
            .fold(0.0, f64::max);
        if best.as_ref().is_none_or(|(most, _)| score > *most) {
            best = Some((score, path.with_extension("jpg")));
        }
    }
    std::fs::read(best.expect("a golden picture").1).expect("jpeg")
}

/// Waits until a pipeline's counters say so.
pub(crate) async fn until(app: &App, pipeline: &str, met: impl Fn(&eir::api::Counts) -> bool) {
    let wait = async {
        loop {
            let all = app.pipelines();
            let status = all.iter().find(|p| p.name.as_str() == pipeline).expect("pipeline");
            if met(&status.counts) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    super::within("the counters", wait).await;
}

/// Waits until a pipeline has escalated so, and tells how it stands then.
pub(crate) async fn until_escalated(
    app: &App,
    pipeline: &str,
    met: impl Fn(&EscalationStatus) -> bool,
) -> EscalationStatus {
    let wait = async {
        loop {
            let all = app.pipelines();
            let status = all.into_iter().find(|p| p.name.as_str() == pipeline).expect("pipeline");
            let status = status.escalation.expect("it escalates");
            if met(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    super::within("second opinions", wait).await
}
