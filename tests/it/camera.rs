//! More pictures at once than the model keeps up with: they are decoded while others are run.

use super::support::{AnyBroker, BOTH, Peer, site};

const CAMERA: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"

[pipeline.defects]
input  = { mqtt = { broker = "local", topic = "camera/+/jpeg", qos = 1 } }
decode = { image = {} }
model  = "defects"

[pipeline.defects.rule.seen]
when  = "true"
until = "true"
do    = [{ publish = { broker = "local", topic = "line/{key}/seen", qos = 1 } }]
"#;

/// There is a thread that runs the model for another.
fn runs_beside() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads");
    let mut names = threads.flatten().filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm"));
        name.ok()
    });
    names.any(|name| name.trim() == "run defects")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decoded_while_others_are_run_is_decided_in_order_and_settled() {
    for broker in BOTH.map(AnyBroker::start) {
        let app = site::start(CAMERA, broker.port(), &[]).await;
        let mut peer = Peer::connect("camera", broker.port()).await;
        peer.subscribe("line/+/seen").await;
        let whole = ["dent", "scratch"].map(site::picture);
        let count = 48_usize;
        let is_damaged = |number: usize| number % 7 == 3;
        for number in 0..count {
            let picture = &whole[number % 2];
            let length = if is_damaged(number) { picture.len() / 2 } else { picture.len() };
            peer.publish(&format!("camera/{number}/jpeg"), &picture[..length]).await;
        }
        for number in (0..count).filter(|number| !is_damaged(*number)) {
            let (topic, decision) = peer.next_json().await;
            assert_eq!(topic, format!("line/{number}/seen"));
            let text = decision["prediction"]["detections"].to_string();
            assert!(text.contains(["dent", "scratch"][number % 2]), "{number}: {decision}");
        }
        site::until(&app, "defects", |counts| {
            counts.messages == count as u64
                && counts.inferences + counts.errors.get("corrupt").copied().unwrap_or(0)
                    == count as u64
        })
        .await;
        assert!(runs_beside(), "nothing was run beside");
        assert_eq!(peer.pending(), 0);
        app.drain().await;
    }
    assert!(!runs_beside(), "the thread outlives its pipeline");
}
