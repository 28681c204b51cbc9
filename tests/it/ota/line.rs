//! What goes over the line: releases when and as fast as they may, and messages meanwhile as if there were none.

use eir::task::{Clock, SystemClock};
use serde_json::json;

use super::*;

/// A version of the model that no patch makes much smaller.
fn fresh(place: &Path, version: u64) -> PathBuf {
    let directory = place.join(format!("next-{version}"));
    bearing(&directory, |directory| {
        let mix = |i: u64| (i ^ (i >> 29) ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let letter = |i| char::from(b' ' + (mix(mix(i)) >> 58).to_le_bytes()[0]);
        let noise: String = (0..100_000).map(letter).collect();
        eir::disk::replace(&directory.join("README.md"), noise.as_bytes()).expect("the card");
    });
    directory
}

impl Site {
    /// Changes `[update]`.
    pub(super) fn set(&self, was: &str, is: &str) {
        let text = std::fs::read_to_string(&self.file).expect("the configuration");
        assert!(text.contains(was), "{was}");
        eir::disk::replace(&self.file, text.replace(was, is).as_bytes()).expect("file");
    }

    /// Waits until a release waits for that.
    pub(super) async fn waits(&self, release: &str, why: &str) {
        let read = async {
            loop {
                let said = self.update(&["status"]);
                if said.lines().any(|line| line.contains(release) && line.contains(why)) {
                    return;
                }
                assert!(!said.contains("rolled back"), "{said}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        within(&format!("{release}: {why}"), read).await;
    }

    /// Bytes of releases that the repository gave.
    fn fetched(&self) -> u64 {
        let asked = self.nginx.asked();
        let of_releases = asked.lines().filter(|line| line.contains("/targets/"));
        let bytes = of_releases.filter_map(|line| line.split("\" 206 ").nth(1)?.split(' ').next());
        bytes.map(|bytes| bytes.parse::<u64>().expect("a number")).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_comes_in_its_hours_within_its_day_and_at_its_rate_and_no_byte_twice() {
    let local = SystemClock.wall().to_zoned(jiff::tz::TimeZone::system());
    let hour = |on: i8| (local.hour() + on).rem_euclid(24);
    let hours = format!("{:02}:00-{:02}:00", hour(2), hour(4));
    let release = "models/bearing/2.tar.zst";
    let mut site = Site::new("");
    let next = fresh(site.place.path(), 2);
    site.keeper.model(release, &next, json!({}));
    let mut was = "every = \"1s\"\n".to_owned();
    let window = format!("window = \"{hours}\"\n");
    let closed = format!("waits for {hours}");
    for (set, why, least) in [
        (window.as_str(), closed.as_str(), 0),
        ("daily = \"40KiB\"\n", "today's 40KiB are used", 40 << 10),
        ("rate = \"1KiB/s\"\n", "the rate is used up", 56 << 10),
    ] {
        site.set(&was, &format!("every = \"1s\"\n{set}"));
        was = format!("every = \"1s\"\n{set}");
        let mut process = site.run();
        site.waits(release, why).await;
        let fetched = site.fetched();
        assert!((least..=least + (32 << 10)).contains(&fetched), "{why}: {fetched}");
        process.says("started").await;
        process.signal("TERM");
        process.ended().await;
    }
    site.set(&was, "every = \"1s\"\nrate = \"1MiB/s\"\n");
    let _process = site.run();
    site.comes_to(release, "committed").await;
    let archive = eir::update::archive::pack(&next).expect("packed");
    assert_eq!(site.fetched(), archive.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_or_overtaken_while_a_model_comes_and_goes() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut source = Peer::connect("source", site.broker.port()).await;
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    let sent = tokio::spawn(async move {
        let window = |number| site::window("outer_race", number);
        for number in 0.. {
            if *stopped.borrow() {
                return number;
            }
            source.publish(&format!("plant/m{}/vibration", number % 8), window(number)).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        0
    });
    let next = changed(site.place.path(), |_| {});
    let release = "models/bearing/2.tar.zst";
    site.keeper.model(release, &next, json!({}));
    site.comes_to(release, "committed").await;
    // Some messages with it alone.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let said = site.update(&["rollback", "models/bearing"]);
    assert!(said.contains("somebody wanted it back"), "{said}");
    site.comes_to(release, "rolled back").await;
    stop.send(true).expect("it runs");
    let sent = sent.await.expect("how many");
    let (mut last, mut versions) = ([None; 8], std::collections::BTreeSet::new());
    for _ in 0..sent {
        let (topic, decision) = within("a decision on each message", peer.next_json()).await;
        let number: u64 = decision["origin"]
            .as_str()
            .and_then(|origin| origin.split(':').next())
            .expect("an id")
            .parse()
            .expect("a number");
        assert_eq!(topic, format!("plant/m{}/alarm", number % 8));
        let machine = usize::try_from(number % 8).expect("small");
        let expected = last[machine].map_or(number % 8, |last: u64| last + 8);
        assert_eq!(number, expected, "{decision}");
        last[machine] = Some(number);
        versions.insert(decision["version"].as_u64());
    }
    assert_eq!(versions, [Some(1), Some(2)].into());
}
