//! Disks that refuse.

use super::*;

#[tokio::test]
async fn a_directory_in_its_place_is_told_and_counted_and_heals() {
    let site = Site::new();
    std::fs::create_dir(site.path()).expect("directory");
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1", "22"]).await;
    let problem = outbox.status().problem.expect("a problem");
    assert!(problem.contains("is a directory"), "{problem}");
    std::fs::remove_dir(site.path()).expect("remove");
    let batch = next(&mut outbox.reader(name("main"))).await;
    let gap = batch.records()[0].gap().expect("a gap");
    assert_eq!((gap.reason, gap.kind), (Reason::Unwritable, Some(Kind::Decision)));
    assert_eq!((gap.count, gap.bytes, gap.first), (2, Some(3), None));
    append(&outbox, Kind::Decision, &["3"]).await;
    assert_eq!(outbox.status().problem, None);
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn hold_withholds_acknowledgements_until_the_disk_is_back() {
    let mut site = Site::new();
    site.config.when_unwritable = WhenUnwritable::Hold;
    std::fs::create_dir(site.path()).expect("directory");
    let outbox = site.start(&[]);
    let mut acks = Acks::new();
    for body in ["1", "2"] {
        outbox.append(draft(Kind::Decision, body), acks.one());
    }
    assert!(timeout(Duration::from_millis(500), acks.receiver.recv()).await.is_err());
    assert!(outbox.status().problem.is_some());
    std::fs::remove_dir(site.path()).expect("remove");
    acks.come(2).await;
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["1", "2"]);
    stop(outbox).await;
}

#[tokio::test]
async fn with_hold_pipelines_wait_when_memory_is_full() {
    let mut site = Site::new();
    site.config.when_unwritable = WhenUnwritable::Hold;
    site.config.queue = ByteSize(1000);
    std::fs::create_dir(site.path()).expect("directory");
    let outbox = site.start(&[]);
    for _ in 0..10 {
        outbox.append(draft(Kind::Decision, "1"), Ack::none());
    }
    let waiting = outbox.clone();
    let mut waiter = tokio::task::spawn_blocking(move || waiting.wait_for_room(|| false));
    assert!(timeout(Duration::from_millis(300), &mut waiter).await.is_err());
    std::fs::remove_dir(site.path()).expect("remove");
    timeout(SOON, waiter).await.expect("in time").expect("room");
    stop(outbox).await;
}

#[tokio::test]
async fn one_outbox_has_one_writer() {
    let site = Site::new();
    let first = site.start(&[]);
    append(&first, Kind::Decision, &["1"]).await;
    let second = site.start(&[]);
    append(&second, Kind::Decision, &["2"]).await;
    assert!(second.status().problem.expect("a problem").contains("another process"));
    assert!(matches!(repair(site.path(), &name("press-07")), Err(OutboxError::Taken(_))));
    stop(second).await;
    stop(first).await;
    assert!(repair(site.path(), &name("press-07")).expect("repair").is_none());
}

#[tokio::test]
async fn what_is_too_large_is_told_of() {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    site.config.when_unwritable = WhenUnwritable::Hold;
    let outbox = site.start(&[]);
    append(&outbox, Kind::Sample, &[&*format!("\"{}\"", "x".repeat(200_000))]).await;
    let batch = next(&mut outbox.reader(name("main"))).await;
    let gap = batch.records()[0].gap().expect("a gap");
    assert_eq!(
        (gap.reason, gap.kind, gap.bytes),
        (Reason::TooLarge, Some(Kind::Sample), Some(200_002))
    );
    stop(outbox).await;
}
