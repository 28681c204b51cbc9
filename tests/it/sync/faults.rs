//! A cloud that is away, busy, broken, or not the cloud at all.

use super::*;

const HTML: &str = "Content-Type: text/html\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_it_answers_every_record_arrives_and_none_goes_before_a_yes() {
    let faults = [
        Answer::Status(500, "", ""),
        Answer::Status(429, "Retry-After: 1\r\n", "slow down"),
        Answer::Status(502, HTML, "<html>bad gateway</html>"),
        Answer::Reset,
        Answer::Status(200, HTML, "<html>Log in to the WiFi</html>"),
        Answer::Status(302, "Location: http://portal.example/\r\n", ""),
        Answer::Status(204, "Content-Type: text/html; charset=\"\u{fe}\"\r\n", ""),
        Answer::Drip,
        Answer::Silence,
        Answer::Status(503, "Retry-After: 0\r\n", ""),
        Answer::Status(401, "", ""),
        Answer::Status(413, "", ""),
    ];
    let device = Device::new(&["main"]);
    let mut left = faults.clone().into_iter();
    let busy = Answer::Status(503, "", "");
    let cloud = Cloud::start(move |_| left.next().unwrap_or(busy.clone())).await;
    let ids = device.some(40).await;
    device.holds(40).await;
    let sync = device.sync("main", &config(&cloud.url()));
    cloud.requests(faults.len()).await;
    assert_eq!((device.stored(), cloud.accepted().len()), (40, 0));
    cloud.change(|_| OK);
    cloud.accepts(40).await;
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids);
    assert_eq!(device.outbox.status().refused, 0);
    let status = until(&sync, "health", |status| status.records == 40).await;
    assert_eq!((status.dead, &status.problem), (0, &None));
    assert!(status.sent_bytes > 0 && status.raw_bytes > status.sent_bytes, "{status:?}");

    // The same records under the same key, whatever became of them; other records under another.
    let asked = cloud.asked();
    for one in &asked {
        assert!(one.head.contains("content-type: application/x-ndjson\r\n"), "{}", one.head);
        assert!(one.head.contains("content-encoding: zstd\r\n"), "{}", one.head);
        for other in &asked {
            assert_eq!(one.key == other.key, one.records == other.records);
        }
    }
    assert!(asked.windows(2).take(11).all(|pair| pair[0].key == pair[1].key));
    // A record is what the contract says.
    let record = &asked[0].records[0];
    assert_eq!((&record["v"], &record["seq"]), (&1.into(), &1.into()));
    assert_eq!((&record["kind"], &record["device"]), (&"decision".into(), &"press-07".into()));
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_endless_size_is_a_yes_and_is_not_read() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| Answer::Endless).await;
    device.some(3).await;
    let sync = device.sync("main", &config(&cloud.url()));
    device.holds(0).await;
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_must_be_the_right_one() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|asked| match asked.number {
        0 => OK,
        1 | 2 => Answer::Echo(false),
        _ => Answer::Echo(true),
    })
    .await;
    device.some(5).await;
    let mut config = config(&cloud.url());
    config.ack = eir::sync::AckBy::Echo;
    let sync = device.sync("main", &config);
    cloud.requests(3).await;
    let status = until(&sync, "doubt", |status| status.failures >= 3).await;
    assert!(status.problem.is_none_or(|problem| problem.contains("Eir-Batch")));
    device.holds(0).await;
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_opens_the_breaker_and_somebody_closes_it() {
    let device = Device::new(&["main"]);
    let ids = device.some(5).await;
    let port = crate::support::mosquitto::free_port();
    let sync = device.sync("main", &config(&format!("http://127.0.0.1:{port}/")));
    let open = |status: &CloudStatus| status.breaker != eir::task::BreakerState::Closed;
    let status = until(&sync, "an open breaker", open).await;
    assert!(status.problem.expect("a problem").contains("cannot connect"));
    assert_eq!(device.stored(), 5);
    sync.stop(Duration::from_secs(5)).await;
    // What was in hand comes again.
    let cloud = Cloud::start(|_| OK).await;
    let sync = device.sync("main", &config(&cloud.url()));
    cloud.accepts(5).await;
    assert_eq!(set(cloud.accepted()), ids);
    sync.stop(Duration::from_secs(5)).await;
}

/// A token that was put right takes effect without a word to eir.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_read_again() {
    let directory = tempfile::tempdir().expect("tempdir");
    let token = directory.path().join("token");
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|asked| {
        let right = asked.head.contains("authorization: bearer right\r\n");
        if right { OK } else { Answer::Status(401, "", "") }
    })
    .await;
    device.some(2).await;
    let mut config = config(&cloud.url());
    config.token_file = Some(token.clone());
    let sync = device.sync("main", &config);
    let missing = until(&sync, "no token", |status| status.problem.is_some()).await;
    assert!(missing.problem.expect("a problem").contains("token_file"));
    eir::disk::replace(&token, b"wrong\n").expect("token");
    let wrong = until(&sync, "a no", |status| status.needs_a_person).await;
    assert!(wrong.problem.expect("a problem").contains("401"));
    assert_eq!(device.stored(), 2);
    eir::disk::replace(&token, b"right\n").expect("token");
    device.holds(0).await;
    sync.stop(Duration::from_secs(5)).await;
}
