//! A remote that is late, busy, away, or talks nonsense: the local decision stands.

use eir::action::escalate::EscalationStatus;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_in_time_the_local_decision_stands_and_nothing_else_happens() {
    let broker = Mosquitto::start();
    // One says nothing; one begins to answer and does not come to an end.
    for answer in [Answer::Silence, Answer::Drip] {
        let remote = Cloud::start(move |_| answer.clone()).await;
        let set = [&*url(&remote), "pipeline.bearing.escalate.deadline=200ms"];
        let app = site::start(&text(""), broker.port(), &set).await;
        let mut peer = peer(&broker).await;
        for (seq, late) in [(1, 1), (2, 2)] {
            publish(&mut peer, "outer_race", seq).await;
            let (topic, alarm) = peer.next_json().await;
            let origin = format!("{seq}:bearing:fault");
            assert_eq!((&*topic, &alarm["origin"]), ("plant/a/alarm", &json!(origin)));
            until(&app, "dropped_late", late).await;
        }
        app.drain().await;
        assert_eq!(peer.pending(), 0);
    }
}

/// Neither messages nor their acknowledgement wait for the remote: the broker stops at four of them.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_a_remote_that_does_not_answer() {
    let broker = Mosquitto::start();
    let remote = Cloud::start(|_| Answer::Silence).await;
    let set = [
        &*url(&remote),
        "pipeline.bearing.escalate.queue=2",
        "pipeline.bearing.escalate.deadline=5m",
        "mqtt.local.receive_maximum=4",
    ];
    let app = site::start(&text("\n[shutdown]\ndrain = \"1s\"\n"), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    for seq in 1..=50 {
        publish(&mut peer, "outer_race", seq).await;
    }
    for seq in 1..=50 {
        assert_eq!(peer.next_json().await.1["origin"], format!("{seq}:bearing:fault"));
    }
    let status = site::until_escalated(&app, "bearing", |s| s.count("dropped_queue") == 48).await;
    assert_eq!(status.escalated, 50);
    // Two are on their way for another five minutes; the end does not wait for that.
    let begun = tokio::time::Instant::now();
    app.drain().await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(peer.pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_fails_is_left_alone_and_tried_again() {
    let broker = Mosquitto::start();
    let remote = Cloud::start(|_| Answer::Status(500, "", "{\"error\":\"no memory\"}")).await;
    let set = [
        &*url(&remote),
        "pipeline.bearing.escalate.breaker.failures=2",
        "pipeline.bearing.escalate.breaker.recheck=1h",
        "pipeline.bearing.escalate.cache=0B",
    ];
    let mut app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    for seq in 1..=2 {
        publish(&mut peer, "outer_race", seq).await;
        until(&app, "dropped_failed", seq).await;
    }
    publish(&mut peer, "outer_race", 3).await;
    until(&app, "dropped_breaker", 1).await;
    let status = app.pipelines()[0].escalation.clone().expect("it escalates");
    assert_eq!((status.breaker, remote.asked().len()), (BreakerState::Open, 2));
    assert_eq!(app.pipelines()[0].problem, None, "nothing is degraded by that");

    // With a shorter rest it is tried again, and answers.
    remote.change(|_| plain("outer_race"));
    let set = [&set[..2], &["pipeline.bearing.escalate.breaker.recheck=20ms"]].concat();
    let config = site::parse(&text(""), broker.port(), &set).expect("config");
    app.reload(config).await.expect("reload");
    remote.change(|asked| match asked.number {
        // As many as open it, and the first one after a rest.
        2..=4 => Answer::Reset,
        _ => plain("outer_race"),
    });
    let mut asked = 0;
    let wait = async {
        loop {
            asked += 1;
            publish(&mut peer, "outer_race", 3 + asked).await;
            // One after the other, so that none overtakes the breaker.
            let ended = |status: &EscalationStatus| {
                status.fates.iter().map(|(_, count)| count).sum::<u64>() == asked
            };
            let status = site::until_escalated(&app, "bearing", ended).await;
            if status.count("answered") > 0 {
                return status;
            }
        }
    };
    let status = within("the breaker to close", wait).await;
    assert_eq!((status.breaker, status.count("dropped_failed")), (BreakerState::Closed, 3));
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_or_path_opens_the_breaker_at_once() {
    let broker = Mosquitto::start();
    for refusal in [401, 404] {
        let remote = Cloud::start(move |_| Answer::Status(refusal, "", "")).await;
        let app = site::start(&text(""), broker.port(), &[&url(&remote), OIP]).await;
        let mut peer = peer(&broker).await;
        publish(&mut peer, "outer_race", 1).await;
        let status = site::until_escalated(&app, "bearing", |s| s.count("dropped_failed") == 1);
        assert_eq!(status.await.breaker, BreakerState::Open);
        app.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_is_asked_as_often_as_it_may_be() {
    let broker = Mosquitto::start();
    let remote = saying("outer_race").await;
    let set = [
        &*url(&remote),
        "pipeline.bearing.escalate.rate=2/h",
        "pipeline.bearing.escalate.cache=0B",
    ];
    let app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    for seq in 1..=5 {
        publish(&mut peer, "outer_race", seq).await;
    }
    until(&app, "dropped_rate", 3).await;
    until(&app, "answered", 2).await;
    assert_eq!(remote.asked().len(), 2);
    app.drain().await;
}

/// The same content is not asked for twice, whoever's it is; a rate of one an hour is enough for all.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_before_is_not_asked_again() {
    let broker = Mosquitto::start();
    for form in [&[][..], &[OIP]] {
        let remote = Cloud::start(|asked| {
            let oip = asked.head.contains("inference-header-content-length");
            if oip { tensors("healthy", true) } else { plain("healthy") }
        })
        .await;
        let address = url(&remote);
        let set = [&[&*address, "pipeline.bearing.escalate.rate=1/h"], form].concat();
        let app = site::start(&text(""), broker.port(), &set).await;
        let mut peer = peer(&broker).await;
        publish(&mut peer, "outer_race", 1).await;
        until(&app, "answered", 1).await;
        peer.publish("plant/b/vibration", site::window("outer_race", 2)).await;
        until(&app, "cached", 1).await;
        let mut origins = Vec::new();
        for _ in 0..4 {
            origins.push(peer.next_json().await.1["origin"].as_str().expect("origin").to_owned());
        }
        origins.sort();
        let expected =
            [1, 2].map(|n| [format!("{n}:bearing:fault"), format!("{n}:bearing:fault:amended")]);
        assert_eq!(origins, expected.concat());
        assert_eq!(remote.asked().len(), 1);
        app.drain().await;
    }
}

/// Whatever is not exactly an answer is none, and hurts nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_changes_nothing() {
    let broker = Mosquitto::start();
    let body = |text: String| Answer::Bytes(200, String::new(), text.into_bytes());
    let changed = |key: &str, value: Value| {
        let mut said = prediction("healthy");
        said[key] = value;
        said.to_string()
    };
    let output = |more: Value| {
        let mut output = json!({ "name": "logits", "shape": [1, 4], "datatype": "FP32" });
        output.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        json!({ "outputs": [output] }).to_string()
    };
    let to_plain = [
        Answer::Status(200, "Content-Type: text/html\r\n", "<html>log in</html>"),
        Answer::Status(200, "", "<html>log in</html>"),
        Answer::Status(200, "", ""),
        Answer::Status(200, "", "{}"),
        Answer::Status(204, "", ""),
        Answer::Reset,
        Answer::Endless,
        body("[".repeat(100_000)),
        body(" ".repeat(5 << 20)),
        body(r#"{ "task": "anomaly", "score": 0.5 }"#.to_owned()),
        body(changed("label", json!("meltdown"))),
        body(changed("score", json!(1e39))),
        body(changed("scores", json!({ "healthy": 1.0 }))),
    ];
    let to_oip = [
        Answer::Status(200, "", "<html>log in</html>"),
        body(prediction("healthy").to_string()),
        body(output(json!({ "name": "other", "data": [1, 2, 3, 4] }))),
        body(output(json!({ "data": [1, 2, 3] }))),
        body(output(json!({ "data": [1, 2, 3], "shape": [1, 3] }))),
        body(output(json!({ "data": [1, 2, 3, 4], "datatype": "INT64" }))),
        body(output(json!({ "data": ["a", "b", "c", "d"], "datatype": "BYTES" }))),
        body(output(json!({ "parameters": { "binary_data_size": 16 } }))),
        Answer::Status(200, "Inference-Header-Content-Length: 99\r\n", "{}"),
    ];
    for (form, answers) in [(&[][..], &to_plain[..]), (&[OIP], &to_oip)] {
        let script = answers.to_vec();
        let remote = Cloud::start(move |asked| script[asked.number].clone()).await;
        let never = "pipeline.bearing.escalate.breaker.failures=1000";
        let address = url(&remote);
        let often = "pipeline.bearing.escalate.rate=1000/s";
        let set = [&[&*address, never, often], form].concat();
        let app = site::start(&text(""), broker.port(), &set).await;
        let mut peer = peer(&broker).await;
        for seq in 1..=answers.len() as u64 {
            publish(&mut peer, "outer_race", seq).await;
            let (topic, alarm) = peer.next_json().await;
            let origin = format!("{seq}:bearing:fault");
            assert_eq!((&*topic, &alarm["origin"]), ("plant/a/alarm", &json!(origin)));
            until(&app, "dropped_failed", seq).await;
        }
        assert_eq!(remote.asked().len(), answers.len());
        app.drain().await;
        assert_eq!(peer.pending(), 0);
    }
}

/// A case that is certain is nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_uncertain_leaves() {
    let broker = Mosquitto::start();
    let remote = saying("healthy").await;
    let set = [&*url(&remote), "pipeline.bearing.escalate.uncertain=[0.3, 0.6]"];
    let app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    assert_eq!(peer.next_json().await.0, "plant/a/alarm");
    let status = app.pipelines()[0].escalation.clone().expect("it escalates");
    app.drain().await;
    assert_eq!((status.escalated, remote.asked().len(), peer.pending()), (0, 0, 0));
}
