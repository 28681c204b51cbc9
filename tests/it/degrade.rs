//! A pipeline that has too much to do does with less, in the order that is configured, and takes all up again.

use std::path::Path;

use eir::api::StepStatus;
use eir::app::App;

use super::support::{AnyBroker, Kind, Peer, site, within};

const EASED: &str = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"

[pipeline.bearing]
input  = { mqtt = { broker = "local", topic = "plant/+/vibration", qos = 1 } }
decode = { json = { fields = ["/x", "/y", "/z"] } }
model  = "bearing"

[pipeline.bearing.degrade]
lag   = "10us"
after = "0s"
back  = "0s"
steps = [{ model = "small" }, { rate = 0.001 }]

[pipeline.bearing.rule.fault]
when  = "scores['healthy'] < 0.5"
until = "true"
do    = [{ publish = { broker = "local", topic = "plant/{key}/alarm", qos = 1 } }]
"#;

/// The shipped bearing model under two names.
fn models() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("directory");
    for name in ["bearing", "small"] {
        copy(&site::models().join("bearing/1"), &dir.path().join(name).join("1"));
    }
    dir
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("directory");
    for entry in std::fs::read_dir(from).expect("directory") {
        let path = entry.expect("entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copy");
        }
    }
}

fn step(app: &App) -> StepStatus {
    app.pipelines()[0].step.clone().expect("a ladder")
}

/// More than can be worked off at once, so that one waits too long; the decisions on it are read.
async fn too_much(app: &mut App, peer: &mut Peer, decided: usize) -> serde_json::Value {
    let (before, window) = (step(app).taken, site::window("outer_race", 1));
    let sent = app.pipelines()[0].counts.messages;
    for _ in 0..200 {
        peer.publish("plant/a/vibration", window.as_bytes()).await;
    }
    site::until(app, "bearing", |counts| counts.messages == sent + 200).await;
    let mut last = serde_json::Value::Null;
    for _ in 0..decided {
        last = peer.next_json().await.1;
    }
    app.tick();
    assert_eq!(step(app).taken, before + 1, "{:?}", app.pipelines()[0]);
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_with_too_much_to_do_does_with_less_in_order_and_takes_it_up_again() {
    let broker = AnyBroker::start(Kind::Embedded);
    let models = models();
    let dir = format!("models.dir={}", models.path().display());
    let mut app = site::start(EASED, broker.port(), &[&dir]).await;
    let mut peer = Peer::connect("machine", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    app.tick();
    assert_eq!(step(&app), StepStatus { taken: 0, of: 2, since: None, why: None });

    assert_eq!(too_much(&mut app, &mut peer, 200).await["model"], "bearing");
    let status = step(&app);
    assert!(status.why.expect("a reason").contains("waited") && status.since.is_some());
    assert_eq!(app.pipelines()[0].model, "small@1");

    assert_eq!(too_much(&mut app, &mut peer, 200).await["model"], "small");
    assert_eq!(app.pipelines()[0].counts.thinned, 0);

    // One in a thousand seconds: the first; the others are settled, or 200 more would never come.
    let window = site::window("outer_race", 1);
    let sent = app.pipelines()[0].counts.messages;
    for _ in 0..50 {
        peer.publish("plant/b/vibration", window.as_bytes()).await;
    }
    assert_eq!(peer.next_json().await.1["stream"], "b");
    site::until(&app, "bearing", |counts| counts.messages == sent + 50).await;
    assert_eq!(app.pipelines()[0].counts.thinned, 49);

    // What waited since is forgotten by the first look; then each look gives one step back.
    app.tick();
    for taken in [1, 0] {
        app.tick();
        assert_eq!(step(&app).taken, taken);
    }
    assert_eq!((step(&app).why, &*app.pipelines()[0].model), (None, "bearing@1"));
    peer.publish("plant/a/vibration", window.as_bytes()).await;
    assert_eq!(peer.next_json().await.1["model"], "bearing");
    assert_eq!(peer.pending(), 0);
    within("the end", app.drain()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_that_is_broken_stops_no_decision() {
    let broker = AnyBroker::start(Kind::Embedded);
    let models = models();
    let file = models.path().join("small/1/model.onnx");
    eir::disk::replace(&file, b"no model").expect("file");
    let dir = format!("models.dir={}", models.path().display());
    let mut app = site::start(EASED, broker.port(), &[&dir]).await;
    let mut peer = Peer::connect("machine", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    app.tick();
    assert_eq!(too_much(&mut app, &mut peer, 200).await["model"], "bearing");
    assert_eq!(app.pipelines()[0].model, "bearing@1");
    assert_eq!(too_much(&mut app, &mut peer, 200).await["model"], "bearing");
    within("the end", app.drain()).await;
}

#[test]
fn steps_that_cannot_be_are_told_before_the_start() {
    let broken = |from: &str, to: &str| {
        let text = EASED.replace(from, to);
        site::parse(&text, 1, &[]).expect_err(to).to_string()
    };
    for (from, to, told) in [
        ("{ rate = 0.001 }", "{ rate = 0.0 }", "pipeline.bearing.degrade.steps.1.rate"),
        ("{ rate = 0.001 }", "{}", "pipeline.bearing.degrade.steps.1"),
        ("{ rate = 0.001 }", "{ stride = 9 }", "there is no window to stride"),
        ("{ rate = 0.001 }", "{ fps = 9 }", "fps"),
        ("\"10us\"", "\"0us\"", "pipeline.bearing.degrade.lag"),
        ("model  = \"bearing\"", "model = \"bearing\"\nwindow = { samples = 8 }", "use stride"),
    ] {
        let error = broken(from, to);
        assert!(error.contains(told), "{to}: {error}");
    }
}

#[test]
fn a_model_that_cannot_stand_in_is_told_by_check() {
    let models = models();
    let dir = format!("models.dir={}", models.path().display());
    copy(&site::models().join("defects/1"), &models.path().join("defects/1"));
    for (other, told) in [("defects", "its task is"), ("none", "none"), ("small", "")] {
        let text = EASED.replace("\"small\"", &format!("{other:?}"));
        let config = site::parse(&text, 1, &[&dir]).expect("a configuration");
        let outcome = eir::app::check(&config).remove(0).outcome;
        match outcome {
            Ok(_) => assert_eq!(told, "", "{other}"),
            Err(found) => {
                assert_eq!(found.len(), 1, "{found:?}");
                assert_eq!(found[0].key, "pipeline.bearing.degrade.steps.0.model");
                assert!(!told.is_empty() && found[0].message.contains(told), "{found:?}");
            }
        }
    }
}
