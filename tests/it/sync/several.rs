//! Several clouds, and the end.

use eir::event::ByteSize;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_cloud_has_a_place_of_its_own_and_a_record_goes_when_all_have_it() {
    let device = Device::new(&["main", "spare"]);
    let (main, spare) = (Cloud::start(|_| OK).await, Cloud::start(|_| Answer::Reset).await);
    let ids = device.some(20).await;
    let syncs =
        [device.sync("main", &config(&main.url())), device.sync("spare", &config(&spare.url()))];
    main.accepts(20).await;
    spare.requests(3).await;
    assert_eq!((device.stored(), set(main.accepted())), (20, ids.clone()));
    spare.change(|_| OK);
    device.holds(0).await;
    assert_eq!(set(spare.accepted()), ids);
    for sync in syncs {
        sync.stop(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_flush_waits_for_no_batch_to_fill() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| OK).await;
    let mut config = config(&cloud.url());
    config.max_delay = Duration::from_hours(1);
    config.max_records = 8;
    let sync = device.sync("main", &config);
    let ids = device.some(20).await;
    device.holds(20).await;
    assert_eq!(cloud.asked().len(), 0);
    within("the end", sync.stop(Duration::from_secs(30))).await;
    assert_eq!(set(cloud.accepted()), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_a_cloud_that_is_away() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| Answer::Silence).await;
    device.some(5).await;
    let sync = device.sync("main", &config(&cloud.url()));
    until(&sync, "a problem", |status| status.problem.is_some()).await;
    within("the end", sync.stop(Duration::from_millis(200))).await;
    assert_eq!(device.stored(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_to_their_limits() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| OK).await;
    let ids = device.put((0..50).map(|number| format!("{number} {}", "x".repeat(1000)))).await;
    device.holds(50).await;
    let mut config = config(&cloud.url());
    config.max_records = 10;
    config.max_batch = Some(ByteSize(8 << 10));
    let sync = device.sync("main", &config);
    device.holds(0).await;
    assert_eq!(set(cloud.accepted()), ids);
    for asked in cloud.asked() {
        assert!(asked.records.len() <= 7, "{} records", asked.records.len());
    }
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_for_a_day_is_not_exceeded_and_said() {
    let device = Device::new(&["main"]);
    let cloud = Cloud::start(|_| OK).await;
    let words = (0..400).map(|_| uuid::Uuid::new_v4().to_string());
    device.put(words).await;
    let mut config = config(&cloud.url());
    config.max_records = 10;
    config.daily = Some(ByteSize(2000));
    let sync = device.sync("main", &config);
    let status = until(&sync, "a pause", |status| status.paused.is_some()).await;
    assert_eq!(status.paused.as_deref(), Some("today's 2000B are used"));
    assert!(status.problem.is_none() && (2000..3000).contains(&status.sent_bytes), "{status:?}");
    assert!(device.stored() > 300, "{}", device.stored());
    // Also at the end.
    let asked = cloud.asked().len();
    within("the end", sync.stop(Duration::from_secs(5))).await;
    assert_eq!(cloud.asked().len(), asked);
}
