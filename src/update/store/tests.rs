use std::collections::HashMap;
use std::sync::Mutex;

use hyper::body::Bytes;

use super::*;
use crate::update::author::{Lifetimes, Repository, Roles};
use crate::update::release::{About, Content};
use crate::update::sign::{self, Key, Scheme};
use crate::update::source::Directory;

fn at(days: i64) -> Instant {
    Instant::from_second(1_800_000_000 + days * 86_400).expect("within the calendar")
}

/// A repository and its keeper.
struct Keeper {
    place: tempfile::TempDir,
    keys: [Key; 3],
}

impl Keeper {
    fn new() -> Self {
        let keys = [(); 3].map(|()| Key::generate(Scheme::default()).expect("random"));
        let keeper = Self { place: tempfile::tempdir().expect("tempdir"), keys };
        let [root, targets, online] = &keeper.keys;
        let roles = Roles { root: (1, vec![root]), targets: (1, vec![targets]), online };
        let lifetimes = Lifetimes::default();
        Repository::init(keeper.place.path(), &roles, lifetimes, at(0)).expect("made");
        keeper
    }

    fn publish(&self, target: &str, day: i64) {
        let mut repository =
            Repository::open(self.place.path(), Lifetimes::default()).expect("a repository");
        let content = Content::of(target).expect("a release");
        repository.add(&content, target.as_bytes(), &About::default()).expect("added");
        let keys: Vec<_> = self.keys.iter().collect();
        repository.publish(&keys, at(day)).expect("published");
    }

    fn source(&self) -> Directory {
        Directory(self.place.path().to_owned())
    }

    fn root(&self) -> Vec<u8> {
        self.file("metadata/1.root.json")
    }

    fn file(&self, path: &str) -> Vec<u8> {
        fs::read(self.place.path().join(path)).expect("there")
    }
}

/// A server that says other things of some files, and counts what is asked for.
struct Twisted<'a> {
    source: Directory,
    other: HashMap<&'a str, Option<Bytes>>,
    asked: Mutex<Vec<String>>,
}

impl<'a> Twisted<'a> {
    fn new(keeper: &Keeper, other: impl IntoIterator<Item = (&'a str, Option<Vec<u8>>)>) -> Self {
        let other = other.into_iter().map(|(path, bytes)| (path, bytes.map(Bytes::from)));
        Self { source: keeper.source(), other: other.collect(), asked: Mutex::default() }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("no panic"))
    }
}

impl Source for Twisted<'_> {
    async fn read(&self, path: &str, from: u64, most: u64) -> Result<Option<Bytes>, FetchError> {
        self.asked.lock().expect("no panic").push(path.to_owned());
        let Some(other) = self.other.get(path) else {
            return self.source.read(path, from, most).await;
        };
        Ok(other.as_ref().map(|bytes| {
            let size = |number: u64| usize::try_from(number).expect("small").min(bytes.len());
            bytes.slice(size(from)..size(from + most))
        }))
    }
}

fn names(trusted: &Trusted) -> Vec<String> {
    let mut names: Vec<_> = trusted.targets().map(|(name, _)| name.to_owned()).collect();
    names.sort();
    names
}

const ONE: &str = "config/a/1.toml";
const TWO: &str = "config/a/2.toml";

#[tokio::test]
async fn what_was_believed_is_there_after_a_restart_and_not_fetched_again() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    keeper.publish(ONE, 1);
    let source = Twisted::new(&keeper, []);
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &source, at(1)).await.expect("believed");
    assert_eq!(names(&trusted), [ONE]);
    assert_eq!(source.asked().len(), 4, "no second root, timestamp, snapshot, targets");
    let (store, mut trusted, notes) = Store::open(device.path(), &keeper.root()).expect("open");
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(names(&trusted), [ONE]);
    store.refresh(&mut trusted, &source, at(2)).await.expect("believed");
    assert_eq!(source.asked(), ["metadata/2.root.json", "metadata/timestamp.json"]);
    keeper.publish(TWO, 2);
    store.refresh(&mut trusted, &source, at(2)).await.expect("believed");
    assert_eq!(names(&trusted), [ONE, TWO]);
}

#[tokio::test]
async fn a_repository_that_was_rolled_back_is_refused_after_a_restart_too() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let old = keeper.file("metadata/timestamp.json");
    keeper.publish(ONE, 1);
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    let source = Twisted::new(&keeper, [("metadata/timestamp.json", Some(old))]);
    let error = store.refresh(&mut trusted, &source, at(1)).await.expect_err("older");
    assert!(error.to_string().contains("2 at least, which was seen"), "{error}");
    assert_eq!(names(&trusted), [ONE], "what was believed stays");
}

#[tokio::test]
async fn what_is_missing_or_has_no_end_is_told() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let (store, trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    let endless = vec![b' '; 1 << 20];
    for (path, bytes, told) in [
        ("metadata/timestamp.json", None, "timestamp.json is not in the repository"),
        ("metadata/1.snapshot.json", None, "1.snapshot.json is not in the repository"),
        ("metadata/timestamp.json", Some(endless.clone()), "more than the 16384 bytes"),
        ("metadata/2.root.json", Some(endless.clone()), "more than the 524288 bytes"),
        ("metadata/1.targets.json", Some(endless.clone()), "that it may have"),
        ("metadata/2.root.json", Some(b"{}".to_vec()), "the root cannot be read"),
    ] {
        let source = Twisted::new(&keeper, [(path, bytes)]);
        let error = store.refresh(&mut trusted.clone(), &source, at(1)).await.expect_err(path);
        assert!(error.to_string().contains(told), "{path}: {error}");
    }
    store.refresh(&mut trusted.clone(), &keeper.source(), at(1)).await.expect("all is well");
}

#[tokio::test]
async fn what_is_damaged_on_the_disk_is_told_and_fetched_again() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    keeper.publish(ONE, 1);
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        disk::replace(&device.path().join(name), b"{").expect("written");
        let (store, mut trusted, notes) = Store::open(device.path(), &keeper.root()).expect("open");
        assert!(notes[0].contains(name), "{notes:?}");
        store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
        assert_eq!(names(&trusted), [ONE], "{name}");
    }
    // As large as no file of metadata is.
    disk::replace(&device.path().join("timestamp.json"), &vec![b' '; 1 << 15]).expect("written");
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    assert_eq!(names(&trusted), [ONE]);
    // Another repository, with a root of its own: nothing of the first one counts.
    let other = Keeper::new();
    let (store, mut trusted, _) = Store::open(device.path(), &other.root()).expect("open");
    assert!(names(&trusted).is_empty());
    store.refresh(&mut trusted, &other.source(), at(1)).await.expect("believed");
    let refused = store.refresh(&mut trusted, &keeper.source(), at(1)).await;
    assert!(refused.expect_err("strangers").to_string().contains("not signed"));
}

#[tokio::test]
async fn a_board_without_a_clock_is_never_earlier_than_it_was() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let (mut store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    let started = Instant::UNIX_EPOCH;
    // It never knew the time: what is over cannot be told from that clock.
    assert_eq!(store.moment(started, false).expect("kept"), started);
    store.refresh(&mut trusted, &keeper.source(), started).await.expect("believed");
    assert_eq!(store.moment(at(20), true).expect("kept"), at(20));
    let (mut store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    let moment = store.moment(started, false).expect("kept");
    assert_eq!(moment, at(20));
    let error = store.refresh(&mut trusted, &keeper.source(), moment).await.expect_err("over");
    assert!(error.to_string().starts_with("the timestamp was good until"), "{error}");
    // Who was wrong about the time, and knows it now, is believed.
    assert_eq!(store.moment(at(5000), true).expect("kept"), at(5000));
    assert_eq!(store.moment(at(20), true).expect("kept"), at(20));
    // A clock that is wrong and ahead is not remembered.
    assert_eq!(store.moment(at(900), false).expect("kept"), at(900));
    assert_eq!(store.moment(started, false).expect("kept"), at(20));
}

/// The clock of the device decides nothing before signatures do: a timestamp that nobody signed was kept where the root was
/// over.
#[tokio::test]
async fn what_nobody_signed_is_never_kept() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    let stranger = Keeper::new().file("metadata/timestamp.json");
    let source = Twisted::new(&keeper, [("metadata/timestamp.json", Some(stranger))]);
    for day in [1, 400] {
        store.refresh(&mut trusted, &source, at(day)).await.expect_err("signed by a stranger");
        let kept = fs::read(device.path().join("timestamp.json")).expect("there");
        assert_eq!(kept, keeper.file("metadata/timestamp.json"), "day {day}");
    }
}

/// A power cut between the new root and the new timestamp brought the old one back, which no new one could follow.
#[tokio::test]
async fn a_power_cut_brings_nothing_back_that_a_root_made_forget() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    let [root, targets, _] = &keeper.keys;
    let online = Key::generate(Scheme::default()).expect("random");
    let roles = Roles { root: (1, vec![root]), targets: (1, vec![targets]), online: &online };
    let mut repository =
        Repository::open(keeper.place.path(), Lifetimes::default()).expect("a repository");
    repository.rotate(&roles, &[root], at(2)).expect("replaced");
    let source = Twisted::new(&keeper, [("metadata/timestamp.json", None)]);
    store.refresh(&mut trusted, &source, at(2)).await.expect_err("it is cut off here");
    assert!(device.path().join("root.json").exists());
    for name in ["timestamp.json", "snapshot.json"] {
        assert!(!device.path().join(name).exists(), "{name}");
    }
}

/// The timestamp was there and the snapshot that it speaks of was not: after a restart no snapshot was known, and an older
/// list of targets was believed.
#[tokio::test]
async fn a_refresh_that_was_cut_off_forgets_no_version() {
    let (keeper, device) = (Keeper::new(), tempfile::tempdir().expect("tempdir"));
    let old = keeper.file("metadata/1.targets.json");
    keeper.publish(ONE, 1);
    let (store, mut trusted, _) = Store::open(device.path(), &keeper.root()).expect("open");
    store.refresh(&mut trusted, &keeper.source(), at(1)).await.expect("believed");
    keeper.publish(TWO, 2);
    let source = Twisted::new(&keeper, [("metadata/3.snapshot.json", None)]);
    store.refresh(&mut trusted, &source, at(2)).await.expect_err("it is cut off here");
    let (store, mut trusted, notes) = Store::open(device.path(), &keeper.root()).expect("open");
    assert!(notes.is_empty(), "{notes:?}");
    // Who has the online key leads back to the first list.
    let version = |number| std::num::NonZeroU64::new(number).expect("not 0");
    let online = [&keeper.keys[2]];
    let snapshot = sign::snapshot(version(4), at(9), version(1), &old);
    let snapshot = sign::sign(snapshot, &online).expect("signed");
    let timestamp = sign::timestamp(version(4), at(9), version(4), &snapshot);
    let timestamp = sign::sign(timestamp, &online).expect("signed");
    let back = Twisted::new(
        &keeper,
        [
            ("metadata/timestamp.json", Some(timestamp)),
            ("metadata/4.snapshot.json", Some(snapshot)),
        ],
    );
    let error = store.refresh(&mut trusted, &back, at(2)).await.expect_err("older");
    assert!(error.to_string().contains("the targets has version 1"), "{error}");
}
