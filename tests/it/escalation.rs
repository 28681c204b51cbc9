//! Second opinions: a device on a real mosquitto, and a remote that does what a script says.

mod life;
mod limits;
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use eir::app::App;
use eir::task::BreakerState;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::support::cloud::{Answer, Asked, Cloud};
use super::support::{Mosquitto, Peer, site, within};

const LABELS: [&str; 4] = ["healthy", "imbalance", "inner_race", "outer_race"];

/// Every case is uncertain, and what a second opinion changes is published beside the alarms.
const ESCALATE: &str = r#"
[pipeline.bearing.escalate]
uncertain = [0.0, 1.0]
url = "http://127.0.0.1:1"
deadline = "20s"
do = [{ publish = { broker = "local", topic = "plant/{key}/second", qos = 1 } }]
"#;

/// The site, and what is added to it.
fn text(more: &str) -> String {
    format!("{}{ESCALATE}{more}", site::BEARING)
}

fn url(remote: &Cloud) -> String {
    format!("pipeline.bearing.escalate.url={}", remote.url())
}

/// The model is asked for as the Open Inference Protocol has it.
const OIP: &str = "pipeline.bearing.escalate.model=big";

/// A peer that hears alarms and amendments.
async fn peer(broker: &Mosquitto) -> Peer {
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    peer.subscribe("plant/+/second").await;
    peer
}

async fn publish(peer: &mut Peer, label: &str, seq: u64) {
    peer.publish("plant/a/vibration", site::window(label, seq)).await;
}

/// What a remote says in eir's own JSON: this label.
fn prediction(label: &str) -> Value {
    let score = |of: &str| if of == label { 0.97 } else { 0.01 };
    let scores: serde_json::Map<_, _> =
        LABELS.iter().map(|label| ((*label).to_owned(), json!(score(label)))).collect();
    json!({ "task": "classification", "label": label, "score": 0.97, "scores": scores })
}

fn plain(label: &str) -> Answer {
    let body = json!({ "prediction": prediction(label), "model": "larger", "version": 7 });
    Answer::Bytes(200, String::new(), body.to_string().into_bytes())
}

/// What a server of the Open Inference Protocol says: the logits of this label, as bytes or as JSON.
fn tensors(label: &str, as_bytes: bool) -> Answer {
    let logits = LABELS.map(|known| if known == label { 6.0_f32 } else { 0.0 });
    let mut output = json!({ "name": "logits", "shape": [1, 4], "datatype": "FP32" });
    if as_bytes {
        output["parameters"] = json!({ "binary_data_size": 16 });
    } else {
        output["data"] = json!([logits]);
    }
    let head = json!({ "model_name": "big", "model_version": "3", "outputs": [output] });
    let mut body = head.to_string().into_bytes();
    if !as_bytes {
        return Answer::Bytes(200, String::new(), body);
    }
    let headers = format!("Inference-Header-Content-Length: {}\r\n", body.len());
    body.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
    Answer::Bytes(200, headers, body)
}

/// A remote that always says this label.
async fn saying(label: &'static str) -> Cloud {
    Cloud::start(move |_| plain(label)).await
}

/// Waits until so many cases have ended so.
async fn until(app: &App, outcome: &str, count: u64) {
    site::until_escalated(app, "bearing", |status| status.count(outcome) >= count).await;
}
