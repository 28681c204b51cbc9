//! From the start over a reload to the end.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_remote_and_what_is_done_and_takes_it_away() {
    let broker = Mosquitto::start();
    let (first, second) = (saying("healthy").await, saying("outer_race").await);
    let mut app = site::start(&text(""), broker.port(), &[&url(&first)]).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    peer.next_json().await;
    assert_eq!(peer.next_json().await.1["stands"], false);

    // Another rule beside: the same remote, the same counters, and what is done with amendments goes on.
    let more = "[pipeline.bearing.rule.other]\nwhen = \"scores['healthy'] > 2.0\"\n";
    let config = site::parse(&text(more), broker.port(), &[&url(&first)]).expect("config");
    app.reload(config).await.expect("reload");
    publish(&mut peer, "outer_race", 2).await;
    peer.next_json().await;
    assert_eq!(peer.next_json().await.1["origin"], "2:bearing:fault:amended");
    until(&app, "cached", 1).await;

    // Another remote and another action.
    let set = [&*url(&second)];
    let changed = text("").replace("/second", "/third");
    let config = site::parse(&changed, broker.port(), &set).expect("config");
    app.reload(config).await.expect("reload");
    peer.subscribe("plant/+/third").await;
    publish(&mut peer, "outer_race", 3).await;
    peer.next_json().await;
    let (topic, third) = peer.next_json().await;
    assert_eq!((&*topic, &third["stands"]), ("plant/a/third", &json!(true)));
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));

    // None at all.
    let set = [&*url(&second), "pipeline.bearing.escalate.enabled=false"];
    let config = site::parse(&changed, broker.port(), &set).expect("config");
    app.reload(config).await.expect("reload");
    publish(&mut peer, "outer_race", 4).await;
    assert_eq!(peer.next_json().await.1["origin"], "4:bearing:fault");
    assert!(app.pipelines()[0].escalation.is_none());
    app.drain().await;
    assert_eq!((peer.pending(), second.asked().len()), (0, 1));
}

/// What is on its way when its pipeline is replaced is abandoned: the successor does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_wait_for_a_remote() {
    let broker = Mosquitto::start();
    let remote = Cloud::start(|_| Answer::Silence).await;
    let mut app = site::start(&text(""), broker.port(), &[&url(&remote)]).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    peer.next_json().await;
    remote.requests(1).await;
    let config = site::parse(site::BEARING, broker.port(), &[]).expect("config");
    let begun = tokio::time::Instant::now();
    app.reload(config).await.expect("reload");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    publish(&mut peer, "outer_race", 2).await;
    assert_eq!(peer.next_json().await.1["origin"], "2:bearing:fault");
    app.drain().await;
    assert_eq!(peer.pending(), 0);
}

/// At the end what is on its way is waited for, and what it changes is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_is_heard_before_the_end() {
    let broker = Mosquitto::start();
    let said = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&said);
    let remote =
        Cloud::start(move |_| Answer::Held(Arc::clone(&held), Box::new(plain("healthy")))).await;
    let app = site::start(&text(""), broker.port(), &[&url(&remote)]).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    peer.next_json().await;
    remote.requests(1).await;
    let answer = async { said.add_permits(1) };
    tokio::join!(app.drain(), answer);
    let (topic, second) = peer.next_json().await;
    assert_eq!((&*topic, &second["stands"]), ("plant/a/second", &json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_of_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let broker = Mosquitto::start();
    let remote = saying("healthy").await;
    let set = [&*url(&remote), "api.listen=127.0.0.1:0"];
    let mut app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    site::until_escalated(&app, "bearing", |s| s.count("withdrawn") == 1).await;
    app.tick();
    let address = app.api_address().expect("it listens");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let request = b"GET /metrics HTTP/1.1\r\nhost: eir\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("write");
    let mut page = String::new();
    within("the page", stream.read_to_string(&mut page)).await.expect("read");
    for line in [
        "eir_escalated_total{pipeline=\"bearing\"} 1\n",
        "eir_escalations_total{outcome=\"answered\",pipeline=\"bearing\"} 1\n",
        "eir_escalations_total{outcome=\"dropped_breaker\",pipeline=\"bearing\"} 0\n",
        "eir_amendments_total{pipeline=\"bearing\",verdict=\"withdrawn\"} 1\n",
        "eir_escalation_breaker{pipeline=\"bearing\",state=\"closed\"} 1\n",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
    app.drain().await;
}

/// A token and a certificate that come later are used when they are there: nothing has to be started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_remote_is_spoken_to_over_tls_and_with_a_token() {
    let broker = Mosquitto::start();
    let (remote, ca) = Cloud::start_tls(|_| plain("healthy")).await;
    let directory = tempfile::tempdir().expect("tempdir");
    let (ca_file, token_file) = (directory.path().join("ca.pem"), directory.path().join("token"));
    let set = [
        format!("pipeline.bearing.escalate.url={}", remote.tls_url()),
        format!("pipeline.bearing.escalate.ca_file={}", ca_file.display()),
        format!("pipeline.bearing.escalate.token_file={}", token_file.display()),
    ];
    let set: Vec<_> = set.iter().map(String::as_str).collect();
    let app = site::start(&text(""), broker.port(), &set).await;
    let mut peer = peer(&broker).await;
    publish(&mut peer, "outer_race", 1).await;
    until(&app, "dropped_failed", 1).await;
    eir::disk::replace(&token_file, b"s3cret\n").expect("token");
    publish(&mut peer, "outer_race", 2).await;
    until(&app, "dropped_failed", 2).await;
    eir::disk::replace(&ca_file, ca.as_bytes()).expect("certificate");
    publish(&mut peer, "outer_race", 3).await;
    until(&app, "answered", 1).await;
    let asked = remote.asked();
    assert_eq!(asked.len(), 1, "nothing was sent before");
    assert!(asked[0].head.contains("authorization: bearer s3cret\r\n"), "{}", asked[0].head);
    app.drain().await;
}
