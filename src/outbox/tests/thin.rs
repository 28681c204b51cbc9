//! Summaries are made into fewer before any is dropped.

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::*;

/// Bodies here are `{"hour", "count", "pad"}`: those of one hour add up.
const ADDING: Thinning = Thinning { mergeable, merge };

fn mergeable(body: &str) -> Option<String> {
    let body: Value = serde_json::from_str(body).expect("json");
    (body["count"] == 1).then(|| body["hour"].to_string())
}

fn merge(bodies: &[&str]) -> Option<Box<RawValue>> {
    let hour = &read(bodies[0])["hour"];
    let count: u64 = bodies.iter().map(|body| count(body)).sum();
    to_raw_value(&serde_json::json!({ "hour": hour, "count": count, "pad": "" })).ok()
}

fn read(body: &str) -> Value {
    serde_json::from_str(body).expect("json")
}

fn count(body: &str) -> u64 {
    read(body)["count"].as_u64().expect("a count")
}

fn minute(number: u64) -> String {
    let pad = "p".repeat(2000);
    serde_json::json!({ "hour": number / 60, "count": 1, "pad": pad }).to_string()
}

fn start(site: &Site, clock: &Arc<Turned>) -> Outbox {
    let options = Options { thinning: Some(ADDING), ..Options::default() };
    let clouds = vec![name("main"), name("other")];
    Outbox::start_with(&site.config, name("press-07"), clouds, clock.clone(), options)
}

/// Everything that is there, and the gap records apart.
fn there(site: &Site) -> (Vec<Record>, Vec<Gap>) {
    let (mut records, mut gaps) = (Vec::new(), Vec::new());
    let all = Inspector::open(site.path()).expect("open").records(|record| {
        match record.gap() {
            Some(gap) => gaps.push(gap),
            None => records.push(record),
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    all.expect("read");
    (records, gaps)
}

#[tokio::test]
async fn minutes_become_hours_before_anything_is_dropped_and_the_last_hour_stays() {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    let clock = Turned::new();
    let outbox = start(&site, &clock);
    // Ten hours: 1.2 MB where 0.75 MB may be used.
    for number in 0..600 {
        append(&outbox, Kind::Summary, &[&minute(number)]).await;
        clock.pass(Duration::from_mins(1));
    }
    stop(outbox).await;
    site.verify();
    let (records, gaps) = there(&site);
    let bodies = || records.iter().map(|record| record.body.get());
    assert_eq!(bodies().map(count).sum::<u64>(), 600, "nothing is lost, and nothing counts twice");
    assert!(gaps.iter().all(|gap| gap.reason == Reason::Downsampled), "{gaps:?}");
    let told: u64 = gaps.iter().map(|gap| gap.count).sum();
    let made = bodies().filter(|body| count(body) > 1).count() as u64;
    assert!(made > 0 && told == 600 - (records.len() as u64 - made), "{told} told, {made} made");
    let fresh = bodies().filter(|body| read(body)["hour"] == 9);
    assert!(fresh.map(count).all(|count| count == 1), "the last hour is told by the minute");
}

#[tokio::test]
async fn what_a_cloud_may_have_is_not_merged() {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    let clock = Turned::new();
    let outbox = start(&site, &clock);
    for number in 0..120 {
        append(&outbox, Kind::Summary, &[&minute(number)]).await;
    }
    // One cloud got twenty, and has not said that it has them; another has ten.
    let asked = outbox.reader(name("main")).next(20, 1 << 20).await.expect("a batch");
    let mut other = outbox.reader(name("other"));
    let batch = other.next(10, 1 << 20).await.expect("a batch");
    other.delivered(&batch);
    clock.pass(Duration::from_hours(2));
    for number in 120..345 {
        append(&outbox, Kind::Summary, &[&minute(number)]).await;
    }
    stop(outbox).await;
    site.verify();
    let (records, gaps) = there(&site);
    assert!(gaps.iter().any(|gap| gap.reason == Reason::Downsampled), "{gaps:?}");
    let dropped: u64 =
        gaps.iter().filter(|gap| gap.reason == Reason::Full).map(|gap| gap.count).sum();
    let all = records.iter().map(|record| count(record.body.get())).sum::<u64>();
    assert_eq!(all + dropped, 345);
    // Of the twenty, what is still there is what it was.
    let whole = asked.records().iter().filter(|old| records.iter().any(|new| new.id == old.id));
    assert_eq!(whole.count() as u64 + dropped.min(20), 20);
    assert!(records.iter().any(|record| count(record.body.get()) > 1));
}
