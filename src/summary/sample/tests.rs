use std::time::Duration;

use base64::Engine;
use serde_json::Value;

use super::*;
use crate::event::{Detection, Frame, Order, Pixels, Samples};
use crate::package::{Quantile, Reference};

fn config(text: &str) -> SampleConfig {
    toml::from_str(text).expect("a config")
}

fn problems(text: &str) -> Vec<&'static str> {
    let rule: Name = "fault".parse().expect("name");
    config(text).check(std::iter::once(&rule)).into_iter().map(|(key, _)| key).collect()
}

fn take(
    config: &SampleConfig,
    input: &Input,
    prediction: &Prediction,
    payload: &[u8],
) -> Option<Value> {
    let name: Name = "hard".parse().expect("name");
    let mut sampler = Sampler::start(&name, config).expect("a sampler");
    let quantiles = vec![Quantile { part: 0.01, value: -1.0 }, Quantile { part: 0.99, value: 1.0 }];
    let reference = Reference { scores: vec![], input: vec![quantiles] };
    let baseline = Arc::new(Baseline::new(&reference));
    let (pipeline, stream) = ("line".parse().expect("name"), StreamKey::new("3"));
    let model = "defects".parse().expect("name");
    let fired = ["fault".parse().expect("name")];
    let seen = Seen { input, prediction, latency: Duration::ZERO, fired: &fired };
    let from = Origin { pipeline: &pipeline, stream: &stream, model: &model, version: 2, payload };
    let wall = "2026-03-01T10:00:00Z".parse().expect("time");
    let sample = sampler.take(&seen, Some(&baseline), from, wall)?;
    Some(serde_json::from_str(sample.body.get()).expect("json"))
}

fn numbers(value: f32) -> Input {
    Input::Samples(Samples { channels: 1, order: Order::Interleaved, values: vec![value; 16] })
}

fn picture() -> Input {
    Input::Frame(Frame::new(16, 16, Pixels::Rgb, vec![40; 16 * 16 * 3]))
}

fn found(label: &str, score: f32) -> Prediction {
    let detection = Detection { label: label.into(), score, x: 2.0, y: 2.0, w: 8.0, h: 8.0 };
    Prediction::Detection { detections: vec![detection] }
}

#[test]
fn each_strategy_takes_what_it_looks_for() {
    let sure = Prediction::Anomaly { score: 0.9 };
    let unsure = Prediction::Anomaly { score: 0.4 };
    let uncertain = config("uncertain = [0.3, 0.6]");
    assert!(take(&uncertain, &numbers(0.0), &sure, b"").is_none());
    let body = take(&uncertain, &numbers(0.5), &unsure, b"").expect("taken");
    assert_eq!((&body["sampler"], &body["stream"]), (&"hard".into(), &"3".into()));
    assert_eq!((&body["model"], &body["version"]), (&"defects".into(), &2.into()));
    assert_eq!(body["prediction"]["score"], 0.4_f32);
    assert_eq!(
        body["input"],
        serde_json::json!({ "channels": 1, "interleaved": true, "values": vec![0.5; 16] })
    );
    assert!(take(&config("random = 1.0"), &numbers(0.0), &sure, b"").is_some());
    assert!(take(&config("rule = 'fault'"), &numbers(0.0), &sure, b"").is_some());
    assert!(take(&config("rule = 'other'"), &numbers(0.0), &sure, b"").is_none());
    assert!(take(&config("novel = 0.5"), &numbers(0.5), &sure, b"").is_none());
    assert!(take(&config("novel = 0.5"), &numbers(1.5), &sure, b"").is_some());
}

#[test]
fn a_picture_goes_as_the_camera_sent_it_unless_something_is_hidden() {
    let payload = b"\xFF\xD8\xFF the camera's own bytes";
    let all = config("random = 1.0\nredact = ['person']");
    let input = |body: &Value| {
        STANDARD.decode(body["input"]["base64"].as_str().expect("base64")).expect("bytes")
    };
    let body = take(&all, &picture(), &found("dent", 0.9), payload).expect("taken");
    assert_eq!(
        (input(&body).as_slice(), &body["input"]["content_type"]),
        (&payload[..], &"image/jpeg".into())
    );
    let body = take(&all, &picture(), &found("person", 0.9), payload).expect("taken");
    let hidden = input(&body);
    assert!(hidden.starts_with(&[0xFF, 0xD8, 0xFF]) && hidden != payload);
    assert_eq!(image::load_from_memory(&hidden).expect("a picture").width(), 16);
    let classified = Prediction::Anomaly { score: 0.9 };
    assert!(
        take(&all, &picture(), &classified, payload).is_none(),
        "nobody knows where a person is"
    );
    // A picture that came inside JSON is written anew.
    let body = take(&all, &picture(), &found("dent", 0.9), b"{\"jpeg\": \"x\"}").expect("taken");
    assert!(input(&body).starts_with(&[0xFF, 0xD8, 0xFF]));
}

#[test]
fn an_archive_gets_the_picture_and_what_was_said_of_it() {
    let directory = tempfile::tempdir().expect("directory");
    let mut config = config("random = 1.0");
    config.archive = Some(ArchiveConfig {
        dir: directory.path().join("kept"),
        max: crate::event::ByteSize(1 << 20),
    });
    let payload = b"\x89PNG as it came";
    assert!(
        take(&config, &picture(), &found("dent", 0.9), payload).is_none(),
        "not for the clouds"
    );
    let kept = || -> Vec<_> {
        let files = std::fs::read_dir(directory.path().join("kept")).into_iter().flatten();
        files.map(|file| file.expect("a file").path()).collect()
    };
    // The thread writes the table of words last.
    while !kept().iter().any(|path| path.extension().is_some_and(|e| e == "json")) {
        std::thread::yield_now();
    }
    let read = |extension: &str| {
        let path = kept().into_iter().find(|path| path.extension().is_some_and(|e| e == extension));
        std::fs::read(path.expect(extension)).expect("a file")
    };
    assert_eq!(read("png"), payload);
    let words: Value = serde_json::from_slice(&read("json")).expect("json");
    assert_eq!(words["prediction"]["detections"][0]["label"], "dent");
    assert!(words.get("input").is_none());
}

#[test]
fn what_cannot_work_says_what_would() {
    assert_eq!(problems("uncertain = [0.3, 0.6]"), Vec::<&str>::new());
    assert_eq!(
        problems("rule = 'fault'\narchive = { dir = '/x', max = '1GiB' }"),
        Vec::<&str>::new()
    );
    assert_eq!(problems(""), ["uncertain"]);
    assert_eq!(problems("random = 0.5\nrule = 'fault'"), ["uncertain"]);
    assert_eq!(problems("uncertain = [0.6, 0.3]"), ["uncertain"]);
    assert_eq!(problems("random = 0.0"), ["random"]);
    assert_eq!(problems("novel = 1.5"), ["novel"]);
    assert_eq!(problems("rule = 'typo'"), ["rule"]);
    assert_eq!(problems("random = 1.0\narchive = { dir = '/x', max = '1KiB' }"), ["archive.max"]);
}

#[test]
fn what_a_model_does_not_know_cannot_be_hidden() {
    use crate::package::Task;
    let labels = ["person".into(), "car".into()];
    let check = |text: &str, task| config(text).check_model(task, &labels);
    assert_eq!(check("random = 1.0\nredact = ['person']", Task::Detection), []);
    let [(key, what)] = &*check("random = 1.0\nredact = ['persn']", Task::Detection) else {
        panic!("one problem");
    };
    assert_eq!(
        (*key, what.as_str()),
        ("redact", "the model knows no `persn`; it knows person, car")
    );
    assert_eq!(check("random = 1.0", Task::Anomaly), []);
    assert_eq!(check("random = 1.0\nredact = ['person']", Task::Classification).len(), 1);
}

/// The base64 of a case's picture was made on its pipeline's thread, before the next message.
#[test]
fn a_picture_that_is_told_of_is_the_messages_own_until_it_is_written() {
    let payload: Arc<[u8]> = (*b"\xFF\xD8\xFF the camera's own bytes").into();
    let told = Told::new(&picture(), &payload).expect("a file");
    assert_eq!(Arc::strong_count(&payload), 2, "shared, not copied");
    let told = serde_json::to_value(told).expect("json");
    let file = STANDARD.encode(&payload);
    assert_eq!(told, serde_json::json!({ "content_type": "image/jpeg", "base64": file }));
}
