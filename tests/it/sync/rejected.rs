//! A cloud that says no.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_record_ends_in_the_dead_letters_and_the_others_arrive() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|asked| {
        if asked.holds("poison") { Answer::Status(400, "", "no such thing") } else { OK }
    })
    .await;
    let ids = device.some(30).await;
    device.put(["poison".to_owned()]).await;
    let more = device.some(30).await;
    let sync = device.sync("main", &config(&cloud.url()));
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids.union(&more).cloned().collect());
    assert_eq!(device.outbox.status().refused, 1);
    let status = until(&sync, "all", |status| status.dead == 1 && status.records == 60).await;
    assert_eq!(status.problem, None);
    sync.stop(Duration::from_secs(5)).await;
}

/// Whether a record alone is bad is not known before another was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_record_that_is_alone_waits_for_company() {
    let device = Device::new(&["main"]);
    let cloud =
        Cloud::start(|asked| if asked.holds("poison") { Answer::Status(422, "", "") } else { OK })
            .await;
    device.put(["poison".to_owned()]).await;
    let sync = device.sync("main", &config(&cloud.url()));
    cloud.requests(4).await;
    assert_eq!((device.stored(), device.outbox.status().refused), (1, 0));
    let status = until(&sync, "a problem", |status| status.problem.is_some()).await;
    assert!(status.problem.expect("a problem").contains("422"));
    device.some(1).await;
    device.holds(0).await;
    assert_eq!(device.outbox.status().refused, 1);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_takes_nothing_never_empties_the_outbox() {
    for status in [400, 401, 403, 404, 405, 413, 415, 422] {
        let device = Device::new(&["main"]);
        let cloud = Cloud::start(move |_| Answer::Status(status, "", "")).await;
        let ids = device.some(20).await;
        let sync = device.sync("main", &config(&cloud.url()));
        cloud.requests(30).await;
        let found = until(&sync, "a person", |status| status.needs_a_person).await;
        assert!(found.problem.expect("a problem").contains(&status.to_string()));
        assert_eq!((device.stored(), device.outbox.status().refused), (20, 0), "{status}");
        assert_eq!(cloud.accepted().len(), 0);
        cloud.change(|_| OK);
        device.holds(0).await;
        assert_eq!(set(cloud.accepted()), ids, "{status}");
        assert_eq!(device.outbox.status().refused, 0);
        until(&sync, "health", |status| status.problem.is_none()).await;
        sync.stop(Duration::from_secs(5)).await;
    }
}

/// After the first no it is left alone until the recheck, or until somebody says that it may work now.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cloud_is_asked_again_when_the_configuration_is_read_again() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| Answer::Status(404, "", "")).await;
    device.some(2).await;
    let mut config = config(&cloud.url());
    config.recheck = Duration::from_hours(1);
    let sync = device.sync("main", &config);
    until(&sync, "a person", |status| status.needs_a_person).await;
    cloud.change(|_| OK);
    sync.nudge();
    device.holds(0).await;
    assert_eq!(cloud.asked().len(), 2);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_halved_and_the_next_batches_fit() {
    let device = Device::new(&["main"]);
    let large = |asked: &Asked| asked.records.len() > 7;
    let cloud =
        Cloud::start(move |asked| if large(asked) { Answer::Status(413, "", "") } else { OK })
            .await;
    let ids = device.some(100).await;
    device.holds(100).await;
    let sync = device.sync("main", &config(&cloud.url()));
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids);
    assert_eq!(device.outbox.status().refused, 0);
    sync.stop(Duration::from_secs(5)).await;
}
