//! A cloud that is reached by two ways: records, and samples once more.

use super::*;

fn lanes() -> Vec<Lane> {
    vec![Lane::Records(name("main")), Lane::Samples(name("main"))]
}

fn start(site: &Site, lanes: Vec<Lane>) -> Outbox {
    Outbox::start(&site.config, name("press-07"), lanes, Arc::clone(&site.clock))
}

fn samples(outbox: &Outbox) -> Reader {
    outbox.reader(Lane::Samples(name("main")))
}

fn stored(outbox: &Outbox) -> Vec<(Kind, u64)> {
    let stored = outbox.status().stored;
    stored.into_iter().filter(|(_, of)| of.records > 0).map(|(k, of)| (k, of.records)).collect()
}

/// Two samples among other records, of which the way of the records has all.
async fn with_two_samples(outbox: &Outbox) {
    append(outbox, Kind::Decision, &["1"]).await;
    append(outbox, Kind::Sample, &["2", "3"]).await;
    append(outbox, Kind::Summary, &["4"]).await;
    let mut records = outbox.reader(name("main"));
    let batch = next(&mut records).await;
    assert_eq!(bodies(&batch), ["1", "2", "3", "4"]);
    records.delivered(&batch);
}

#[tokio::test]
async fn only_samples_wait_for_the_way_of_samples() {
    let site = Site::new();
    let outbox = start(&site, lanes());
    with_two_samples(&outbox).await;
    append(&outbox, Kind::Decision, &["5"]).await;
    assert_eq!(stored(&outbox), [(Kind::Sample, 2), (Kind::Decision, 1)]);
    let mut reader = samples(&outbox);
    let first = reader.next(1, 1 << 20).await.expect("one");
    assert_eq!(bodies(&first), ["2"]);
    reader.delivered(&first);
    append(&outbox, Kind::Decision, &["6"]).await;
    assert_eq!(stored(&outbox), [(Kind::Sample, 1), (Kind::Decision, 2)]);
    stop(outbox).await;
    let contents = Inspector::open(site.path()).expect("open").contents().expect("contents");
    let behind: Vec<_> = contents.clouds.iter().map(|(n, c)| (n.as_str(), c.behind)).collect();
    assert_eq!(behind, [("main", 2), ("main/samples", 1)]);

    // A restart goes on where each way was.
    let outbox = start(&site, lanes());
    let mut reader = samples(&outbox);
    let second = next(&mut reader).await;
    assert_eq!(bodies(&second), ["3"]);
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["5", "6"]);
    reader.delivered(&second);
    append(&outbox, Kind::Decision, &["7"]).await;
    assert_eq!(stored(&outbox), [(Kind::Decision, 3)]);
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn a_sample_that_the_records_have_not_waits_too() {
    let site = Site::new();
    let outbox = start(&site, lanes());
    append(&outbox, Kind::Sample, &["1"]).await;
    let mut reader = samples(&outbox);
    let batch = next(&mut reader).await;
    reader.delivered(&batch);
    append(&outbox, Kind::Decision, &["2"]).await;
    assert_eq!(stored(&outbox), [(Kind::Sample, 1), (Kind::Decision, 1)]);
    stop(outbox).await;
}

/// What the way of samples had not brought goes with the records once there is no such way, and nothing else again.
#[tokio::test]
async fn a_way_that_is_gone_leaves_its_samples_to_the_records() {
    let site = Site::new();
    let outbox = start(&site, lanes());
    with_two_samples(&outbox).await;
    let mut reader = samples(&outbox);
    let first = reader.next(1, 1 << 20).await.expect("one");
    reader.delivered(&first);
    append(&outbox, Kind::Decision, &["5"]).await;
    outbox.set_lanes(vec![name("main")]);
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["3", "5"]);
    stop(outbox).await;

    // The same where it happens at a restart.
    let outbox = start(&site, lanes());
    let mut reader = samples(&outbox);
    // The way is new again, and finds what is there.
    assert_eq!(bodies(&next(&mut reader).await), ["3"]);
    let mut records = outbox.reader(name("main"));
    let batch = next(&mut records).await;
    records.delivered(&batch);
    append(&outbox, Kind::Sample, &["6"]).await;
    let (mut reader, three) = (samples(&outbox), ["3", "6"]);
    let both = next(&mut reader).await;
    assert_eq!(bodies(&both), three);
    reader.delivered(&both.halve().0);
    append(&outbox, Kind::Decision, &["7"]).await;
    stop(outbox).await;
    let outbox = start(&site, vec![name("main").into()]);
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["6", "7"]);
    stop(outbox).await;
    site.verify();
}

/// A way that never brought anything was not known of when it was gone.
#[tokio::test]
async fn a_way_that_never_worked_leaves_its_samples_to_the_records() {
    let site = Site::new();
    let outbox = start(&site, lanes());
    with_two_samples(&outbox).await;
    append(&outbox, Kind::Decision, &["5"]).await;
    stop(outbox).await;
    let outbox = start(&site, vec![name("main").into()]);
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["2", "3", "5"]);
    stop(outbox).await;
    site.verify();
}

/// Each record that is no sample made a transaction of its own, for the place of a way that it does not go.
#[tokio::test]
async fn what_does_not_go_by_a_way_costs_no_write() {
    let site = Site::new();
    let outbox = start(&site, lanes());
    let mut reader = samples(&outbox);
    append(&outbox, Kind::Decision, &["0"]).await;
    append(&outbox, Kind::Decision, &["1"]).await;
    let db = Connection::open(site.path()).expect("open");
    let version = || db.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
    let before = version().expect("a number");
    for _ in 0..3 {
        assert!(timeout(SOON, reader.next(1, 1 << 20)).await.expect("in time").is_none());
    }
    assert_eq!(version().expect("a number"), before);
    // A sample behind it does.
    append(&outbox, Kind::Sample, &["2"]).await;
    let batch = next(&mut reader).await;
    assert_eq!(bodies(&batch), ["2"]);
    stop(outbox).await;
}
