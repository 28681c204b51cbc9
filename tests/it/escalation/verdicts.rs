//! What an answer does to a decision.

use super::*;

/// What is set for it, how it answers, and what it calls itself.
type Form = (&'static [&'static str], fn(&'static str) -> Answer, &'static str, u64);

/// Over either protocol, and in either form of the Open Inference Protocol's.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_confirmed_withdrawn_or_made_after_all() {
    let as_bytes = |label| tensors(label, true);
    let as_json = |label| tensors(label, false);
    let forms: [Form; 3] =
        [(&[OIP], as_bytes, "big", 3), (&[OIP], as_json, "big", 3), (&[], plain, "larger", 7)];
    for (more, answer, model, version) in forms {
        let broker = Mosquitto::start();
        let remote = Cloud::start(move |_| answer("outer_race")).await;
        let address = url(&remote);
        let set = [&[&*address], more].concat();
        let app = site::start(&text(""), broker.port(), &set).await;
        let mut peer = peer(&broker).await;

        publish(&mut peer, "outer_race", 1).await;
        let (topic, alarm) = peer.next_json().await;
        assert_eq!(topic, "plant/a/alarm");
        assert!(alarm.get("amends").is_none() && alarm.get("stands").is_none(), "{alarm}");
        let (topic, second) = peer.next_json().await;
        assert_eq!(topic, "plant/a/second");
        assert_eq!((&second["amends"], &second["stands"]), (&alarm["id"], &json!(true)));
        assert_ne!(second["id"], alarm["id"]);
        assert_eq!(second["origin"], "1:bearing:fault:amended");
        assert_eq!((&second["rule"], &second["stream"]), (&json!("fault"), &json!("a")));
        assert_eq!((&second["model"], &second["version"]), (&json!(model), &json!(version)));
        assert_eq!(
            (&second["engine"], &second["prediction"]["label"]),
            (&json!("remote"), &json!("outer_race"))
        );

        remote.change(move |_| answer("healthy"));
        publish(&mut peer, "inner_race", 2).await;
        let (_, alarm) = peer.next_json().await;
        assert_eq!(alarm["origin"], "2:bearing:fault");
        let (topic, second) = peer.next_json().await;
        assert_eq!((&*topic, &second["amends"]), ("plant/a/second", &alarm["id"]));
        assert_eq!(second["stands"], false);
        assert_eq!(second["prediction"]["label"], "healthy");

        remote.change(move |_| answer("imbalance"));
        publish(&mut peer, "healthy", 3).await;
        let (topic, late) = peer.next_json().await;
        assert_eq!((&*topic, &late["origin"]), ("plant/a/alarm", &json!("3:bearing:fault")));
        assert!(late.get("amends").is_none(), "a decision like any other: {late}");
        assert_eq!(
            (&late["engine"], &late["prediction"]["label"]),
            (&json!("remote"), &json!("imbalance"))
        );

        let status = site::until_escalated(&app, "bearing", |s| s.count("missed") == 1).await;
        assert_eq!((status.escalated, status.count("answered")), (3, 3));
        assert_eq!((status.count("confirmed"), status.count("withdrawn")), (1, 1));
        assert_eq!(app.pipelines()[0].counts.decisions, 3);
        app.drain().await;
        assert_eq!((peer.pending(), remote.asked().len()), (0, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_what_the_model_was_given_or_what_came() {
    let broker = Mosquitto::start();
    let remote = Cloud::start(|_| tensors("healthy", true)).await;
    let set = [&*url(&remote), OIP, "pipeline.bearing.escalate.version=2"];
    let app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    until(&app, "answered", 1).await;
    let Asked { head, body, .. } = remote.asked().remove(0);
    assert!(head.starts_with("post /v1/eir/v2/models/big/versions/2/infer http/1.1\r\n"), "{head}");
    let length = head.lines().find_map(|l| l.strip_prefix("inference-header-content-length: "));
    let (asked, bytes) = body.split_at(length.expect("a length").parse().expect("a number"));
    let asked: Value = serde_json::from_slice(asked).expect("json");
    let input = json!({ "name": "input", "shape": [1, 3, 256], "datatype": "FP32",
                        "parameters": { "binary_data_size": 3072 } });
    assert_eq!(asked["inputs"], json!([input]));
    assert_eq!(
        asked["outputs"],
        json!([{ "name": "logits", "parameters": { "binary_data": true } }])
    );
    let message: Value = serde_json::from_str(&site::window("outer_race", 1)).expect("the message");
    let sent: Vec<_> = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let axis = |name: &str| message[name].as_array().expect("numbers").clone();
    let expected: Vec<_> = ["x", "y", "z"].into_iter().flat_map(axis).collect();
    assert_eq!(sent.len(), expected.len());
    for (sent, expected) in sent.iter().zip(&expected) {
        let expected = expected.as_f64().expect("a number");
        assert!((f64::from(*sent) - expected).abs() < 1e-5, "{sent} {expected}");
    }
    app.drain().await;

    let remote = saying("healthy").await;
    let app = site::start(&text(""), broker.port(), &[&url(&remote)]).await;
    publish(&mut peer, "outer_race", 2).await;
    until(&app, "answered", 1).await;
    let asked: Value = serde_json::from_slice(&remote.asked()[0].body).expect("json");
    let told = ["pipeline", "stream", "model", "version"].map(|key| asked[key].clone());
    assert_eq!(told, [json!("bearing"), json!("a"), json!("bearing"), json!(1)]);
    assert_eq!(asked["prediction"]["label"], "outer_race");
    assert_eq!(asked["input"]["channels"], 3);
    assert_eq!(asked["input"]["values"].as_array().expect("values").len(), 768);
    app.drain().await;
}

/// A picture goes as the file that the camera sent, and boxes come back in its pixels.
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_asks_with_its_picture() {
    let text = r#"
[mqtt.local]
url = "mqtt://127.0.0.1:1"
[pipeline.defects]
input  = { mqtt = { broker = "local", topic = "camera/+/jpeg", qos = 1 } }
decode = { image = {} }
model  = "defects"
[pipeline.defects.escalate]
uncertain = [0.3, 1.0]
url = "http://127.0.0.1:1"
deadline = "20s"
do = [{ publish = { broker = "local", topic = "line/{key}/second" } }]
[pipeline.defects.rule.reject]
when = "detections.exists(d, d.label == 'scratch' && d.score > 0.5)"
do = [{ publish = { broker = "local", topic = "line/{key}/reject" } }]
"#;
    let broker = Mosquitto::start();
    let none = r#"{ "task": "detection", "detections": [] }"#;
    let remote = Cloud::start(|_| Answer::Status(200, "", none)).await;
    let set = format!("pipeline.defects.escalate.url={}", remote.url());
    let app = site::start(text, broker.port(), &[&set]).await;
    let mut peer = Peer::connect("camera", broker.port()).await;
    peer.subscribe("line/#").await;
    let picture = site::picture("scratch");
    peer.publish("camera/3/jpeg", picture.clone()).await;
    let (_, alarm) = peer.next_json().await;
    let (topic, second) = peer.next_json().await;
    assert_eq!((&*topic, &second["amends"]), ("line/3/second", &alarm["id"]));
    assert_eq!(second["stands"], false, "nothing is there");
    assert_eq!(second["origin"], Value::Null, "its publisher gave it no name");
    let asked: Value = serde_json::from_slice(&remote.asked()[0].body).expect("json");
    assert_eq!(asked["input"]["content_type"], "image/jpeg");
    let file = asked["input"]["base64"].as_str().expect("a picture");
    let file = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, file);
    assert!(file.expect("base64") == picture, "another picture");
    app.drain().await;
}

/// Amendments are records like the decisions that they amend, where the rule is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn amendments_reach_the_cloud() {
    let broker = Mosquitto::start();
    let remote = saying("healthy").await;
    let cloud = Cloud::start(|_| Answer::Status(200, "", "{}")).await;
    let directory = tempfile::tempdir().expect("tempdir");
    let set = [
        url(&remote),
        format!("outbox.path={}", directory.path().join("outbox.db").display()),
        format!("cloud.main.url={}", cloud.url()),
        "cloud.main.max_delay=10ms".to_owned(),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    cloud.decisions(2).await;
    let records = cloud.asked().into_iter().flat_map(|asked| asked.records);
    let decisions: Vec<_> = records.filter(|record| record["kind"] == "decision").collect();
    let [first, second] = &*decisions else { panic!("{decisions:?}") };
    assert_eq!(second["origin"], "1:bearing:fault:amended");
    assert_eq!(second["body"]["amends"], first["id"]);
    assert_eq!((&second["id"], &second["body"]["stands"]), (&second["body"]["id"], &json!(false)));
    app.drain().await;
}

/// What needs more than one message is not made of one answer; what fired late does not fire again.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_fires_late_only_where_one_message_is_enough() {
    let broker = Mosquitto::start();
    let remote = saying("outer_race").await;
    let more = r#"
[pipeline.bearing.rule.often]
when = "scores['healthy'] < 0.5"
hits = { count = 2, of = 2 }
do   = [{ publish = { broker = "local", topic = "plant/{key}/alarm", qos = 1 } }]
[pipeline.bearing.rule.once]
when = "scores['healthy'] < 0.5"
cooldown = "1h"
do   = [{ publish = { broker = "local", topic = "plant/{key}/alarm", qos = 1 } }]
"#;
    let set = [&*url(&remote), "pipeline.bearing.escalate.cache=0B"];
    let app = site::start(&text(more), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    for seq in 1..=3 {
        publish(&mut peer, "healthy", seq).await;
        until(&app, "answered", seq).await;
    }
    let mut fired = Vec::new();
    for _ in 0..4 {
        let (_, late) = peer.next_json().await;
        fired.push(late["origin"].as_str().expect("origin").to_owned());
    }
    fired.sort();
    // `fault` is released by every message (`until = "true"`), `once` by the healthy one that follows.
    let expected = ["1:bearing:fault", "1:bearing:once", "2:bearing:fault", "3:bearing:fault"];
    assert_eq!(fired, expected);
    let status = site::until_escalated(&app, "bearing", |s| s.count("missed") == 4).await;
    assert_eq!((status.count("confirmed"), status.count("withdrawn")), (0, 0));
    app.drain().await;
    assert_eq!(peer.pending(), 0);
}

/// A decision of its own was missing after one that was made late: the message that had released it came first.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_fired_late_is_off_where_a_later_message_released_it() {
    let broker = Mosquitto::start();
    let said = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&said);
    let remote = Cloud::start(move |asked| match asked.number {
        0 => Answer::Held(Arc::clone(&held), Box::new(plain("outer_race"))),
        1 => plain("healthy"),
        _ => plain("outer_race"),
    })
    .await;
    let more = r#"
[pipeline.bearing.rule.on]
when = "scores['healthy'] < 0.5"
do   = [{ publish = { broker = "local", topic = "plant/{key}/on", qos = 1 } }]
"#;
    let app = site::start(&text(more), broker.port(), &[&url(&remote)]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/on").await;
    publish(&mut peer, "healthy", 1).await;
    remote.requests(1).await;
    publish(&mut peer, "healthy", 2).await;
    until(&app, "answered", 1).await;
    said.add_permits(1);
    assert_eq!(peer.next_json().await.1["origin"], "1:bearing:on");
    publish(&mut peer, "outer_race", 3).await;
    assert_eq!(peer.next_json().await.1["origin"], "3:bearing:on");
    app.drain().await;
}
