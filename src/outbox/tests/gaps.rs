//! Records that tell of what was dropped.

use super::*;

fn small(clouds: &[&str]) -> (Site, Outbox) {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    let outbox = site.start(clouds);
    (site, outbox)
}

fn gaps(site: &Site) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let all = Inspector::open(site.path()).expect("open").records(|record| {
        gaps.extend(record.gap());
        std::ops::ControlFlow::<()>::Continue(())
    });
    all.expect("read");
    gaps
}

fn body() -> String {
    format!("\"{}\"", "x".repeat(20_000))
}

async fn fill(outbox: &Outbox, count: usize) {
    for _ in 0..count {
        append(outbox, Kind::Decision, &[&body()]).await;
    }
}

/// Each time that room was made a gap record was written, which is dropped last: after a month they were all there was.
#[tokio::test]
async fn gap_records_do_not_crowd_out_what_they_tell_of() {
    let (site, outbox) = small(&["main"]);
    fill(&outbox, 300).await;
    let status = outbox.status();
    let kept = status.stored[&Kind::Decision].records;
    assert!(kept > 20 && status.dropped == 300 - kept, "{status:?}");
    stop(outbox).await;
    site.verify();
    let told = gaps(&site);
    let [gap] = &*told else { panic!("{told:?}") };
    assert_eq!((gap.reason, gap.kind, gap.count), (Reason::Full, Some(Kind::Decision), 300 - kept));
    assert_eq!((gap.first, gap.told), (Some(1), None));
    assert_eq!(gap.bytes, Some((300 - kept) * body().len() as u64));
    // Another start begins another one, and what is told is told once.
    let outbox = site.start(&["main"]);
    fill(&outbox, 100).await;
    let dropped = outbox.status().dropped;
    stop(outbox).await;
    site.verify();
    let counts: Vec<_> = gaps(&site).iter().map(|gap| gap.count).collect();
    assert_eq!(counts, [300 - kept, dropped]);
}

#[tokio::test]
async fn a_gap_record_that_a_cloud_may_have_stays_as_it_is() {
    let (site, outbox) = small(&["main"]);
    fill(&outbox, 100).await;
    let dropped = outbox.status().dropped;
    let mut reader = outbox.reader(name("main"));
    let (mut handed, mut told) = (None, 0);
    while handed.is_none() {
        let batch = next(&mut reader).await;
        handed = batch.records().iter().find_map(|record| Some((record.id, record.gap()?.count)));
    }
    let (id, count) = handed.expect("a gap record");
    assert_eq!(count, dropped);
    fill(&outbox, 100).await;
    let all = outbox.status().dropped;
    stop(outbox).await;
    site.verify();
    let mut there = false;
    let read = Inspector::open(site.path()).expect("open").records(|record| {
        told += record.gap().map_or(0, |gap| gap.count);
        there |= record.id == id;
        std::ops::ControlFlow::<()>::Continue(())
    });
    read.expect("read");
    assert!(there && told == all, "{told} of {all} told");
}
