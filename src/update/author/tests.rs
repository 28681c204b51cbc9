use serde_json::json;

use super::*;
use crate::update::decimal::Decimal;
use crate::update::sign::Scheme;

struct Ring {
    root: Vec<Key>,
    targets: Key,
    online: Key,
}

impl Ring {
    fn new() -> Self {
        let key = || Key::generate(Scheme::default()).expect("random");
        Self { root: vec![key(), key(), key()], targets: key(), online: key() }
    }

    fn roles(&self) -> Roles<'_> {
        let root = (2, self.root.iter().collect());
        Roles { root, targets: (1, vec![&self.targets]), online: &self.online }
    }

    fn all(&self) -> Vec<&Key> {
        self.root.iter().chain([&self.targets, &self.online]).collect()
    }
}

fn at(days: i64) -> Instant {
    Instant::from_second(1_800_000_000 + days * 86_400).expect("within the calendar")
}

fn open(directory: &Path) -> Repository {
    Repository::open(directory, Lifetimes::default()).expect("a repository")
}

/// What a device sees that comes for the first time, with the first root in its hands.
fn seen(directory: &Path, now: Instant) -> Result<Trusted, TrustError> {
    let read = |name: String| std::fs::read(directory.join("metadata").join(name)).ok();
    let mut trusted = Trusted::new(&read("1.root.json".to_owned()).expect("there"))?;
    while let Some(root) = read(format!("{}.root.json", trusted.next_root())) {
        trusted.take_root(&root)?;
    }
    trusted.take_timestamp(&read("timestamp.json".to_owned()).expect("there"), now)?;
    let (version, _) = trusted.snapshot_to_fetch().expect("named");
    trusted.take_snapshot(&read(format!("{version}.snapshot.json")).expect("there"), now)?;
    let (version, _) = trusted.targets_to_fetch().expect("named");
    trusted.take_targets(&read(format!("{version}.targets.json")).expect("there"), now)?;
    Ok(trusted)
}

fn names(trusted: &Trusted) -> Vec<&str> {
    let mut names: Vec<_> = trusted.targets().map(|(name, _)| name).collect();
    names.sort_unstable();
    names
}

fn content(target: &str) -> Content {
    Content::of(target).expect("a release")
}

#[test]
fn what_is_added_is_seen_once_it_is_published_and_not_after_it_is_withdrawn() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    let directory = place.path();
    Repository::init(directory, &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    let [one, two] = ["models/defects/1.tar.zst", "config/rules/2.toml"];
    let about: About = serde_json::from_value(json!({"note": "night shift"})).expect("custom");
    let mut repository = open(directory);
    repository.add(&content(one), b"weights", &about).expect("added");
    repository.add(&content(two), b"rules", &About::default()).expect("added");
    assert!(names(&seen(directory, at(1)).expect("believed")).is_empty());
    let draft = repository.draft().expect("a draft");
    assert_eq!(draft, [(two.to_owned(), true), (one.to_owned(), true)]);
    repository.publish(&[&ring.targets, &ring.online], at(1)).expect("published");
    assert!(repository.draft().expect("a draft").is_empty());
    let trusted = seen(directory, at(1)).expect("believed");
    assert_eq!(names(&trusted), [two, one]);
    for (name, target) in trusted.targets() {
        let path = repository.file(name, &target.hashes.sha256);
        assert_eq!(std::fs::read(path).expect("hosted").len() as u64, target.length);
        let custom = serde_json::to_value(&target.custom).expect("json");
        let about: About = serde_json::from_value(custom).expect("custom");
        assert_eq!(about.published, Some(at(1)));
        assert_eq!(about.note.is_empty(), name == two);
    }
    // The moment of the publication stays; the version has these bytes for good.
    let error = repository.add(&content(one), b"others", &about).expect_err("published");
    assert!(error.to_string().contains("give these another version"), "{error}");
    repository.withdraw(&content(one)).expect("it is there");
    repository.withdraw(&content("models/defects/7.tar.zst")).expect_err("it is not");
    open(directory).publish(&ring.all(), at(2)).expect("published");
    assert_eq!(names(&seen(directory, at(2)).expect("believed")), [two]);
}

#[test]
fn what_is_signed_online_is_renewed_without_the_keys_that_are_kept_offline() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    let mut repository =
        Repository::init(place.path(), &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    let over = seen(place.path(), at(15)).expect_err("it is over").to_string();
    assert!(over.starts_with("the timestamp was good until"), "{over}");
    // Whoever keeps it can open it still.
    open(place.path()).publish(&[&ring.online], at(15)).expect("renewed");
    seen(place.path(), at(15)).expect("believed");
    repository.add(&content("config/a/1.toml"), b"", &About::default()).expect("added");
    let error = repository.publish(&[&ring.online], at(15)).expect_err("no key").to_string();
    assert_eq!(error, "too few keys for targets: 0 of the 1 that are needed are here");
    let stranger = Ring::new();
    repository.publish(&stranger.all(), at(15)).expect_err("others' keys");
    assert!(seen(place.path(), at(181)).is_err(), "the targets are over");
}

#[test]
fn keys_are_replaced_and_nobody_loses_what_is_published() {
    let (place, mut ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    let directory = place.path();
    let mut repository =
        Repository::init(directory, &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    repository.add(&content("config/a/1.toml"), b"", &About::default()).expect("added");
    repository.publish(&ring.all(), at(0)).expect("published");
    let device = seen(directory, at(0)).expect("believed");
    let old = std::mem::replace(&mut ring, Ring::new());
    let mut repository = open(directory);
    let error = repository.rotate(&ring.roles(), &[&old.root[0]], at(1)).expect_err("one of two");
    assert!(error.to_string().starts_with("too few keys for root: 1 of the 2"), "{error}");
    repository.rotate(&ring.roles(), &[&old.root[0], &old.root[2]], at(1)).expect("replaced");
    assert_eq!(names(&seen(directory, at(1)).expect("believed")), ["config/a/1.toml"]);
    // A device that was there before goes on with what it knows.
    let mut device = device;
    let read = |name: &str| std::fs::read(directory.join("metadata").join(name)).expect("there");
    device.take_root(&read("2.root.json")).expect("believed");
    device.take_timestamp(&read("timestamp.json"), at(1)).expect("believed");
    repository.publish(&[&old.targets, &old.online], at(2)).expect_err("the old keys");
    open(directory).publish(&[&ring.online], at(2)).expect("the new one");
    seen(directory, at(2)).expect("believed");
    // No file was written twice.
    let hosted = std::fs::read_dir(directory.join("metadata")).expect("there").count();
    assert_eq!(hosted, 2 + 4 + 3 + 1, "roots, snapshots, lists of targets, the timestamp");
}

#[test]
fn a_repository_that_nobody_could_sign_for_is_not_made() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    for threshold in [0, 4] {
        let roles = Roles { root: (threshold, ring.root.iter().collect()), ..ring.roles() };
        let made = Repository::init(place.path(), &roles, Lifetimes::default(), at(0));
        assert!(made.expect_err("never met").to_string().contains("of 3 keys"));
    }
    Repository::init(place.path(), &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    let again = Repository::init(place.path(), &ring.roles(), Lifetimes::default(), at(0));
    assert!(again.expect_err("it is there").to_string().contains("a repository already"));
}

/// The new root was there and what its keys are to sign was not: nobody could open the repository any more.
#[test]
fn a_rotation_that_was_cut_off_is_finished_by_the_next_publication() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    let directory = place.path();
    let mut repository =
        Repository::init(directory, &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    repository.add(&content("config/a/1.toml"), b"", &About::default()).expect("added");
    repository.publish(&ring.all(), at(0)).expect("published");
    let before = std::fs::read(directory.join("metadata/timestamp.json")).expect("there");
    let new = Ring::new();
    repository.rotate(&new.roles(), &ring.all(), at(1)).expect("replaced");
    write(&directory.join("metadata/timestamp.json"), &before).expect("as before");
    let mut repository = open(directory);
    assert_eq!(repository.releases().count(), 1);
    repository.publish(&ring.all(), at(2)).expect_err("the old keys");
    repository.publish(&new.all(), at(2)).expect("finished");
    assert_eq!(names(&seen(directory, at(2)).expect("believed")), ["config/a/1.toml"]);
    assert_eq!(open(directory).releases().count(), 1);
    // The same where the key of the targets alone is another.
    let ring = Ring { targets: Key::generate(Scheme::default()).expect("random"), ..new };
    let before = std::fs::read(directory.join("metadata/timestamp.json")).expect("there");
    open(directory).rotate(&ring.roles(), &ring.all(), at(3)).expect("replaced");
    write(&directory.join("metadata/timestamp.json"), &before).expect("as before");
    open(directory).publish(&ring.all(), at(3)).expect("finished");
    assert_eq!(names(&seen(directory, at(3)).expect("believed")), ["config/a/1.toml"]);
    // An init that was cut off is begun again.
    let other = tempfile::tempdir().expect("tempdir");
    let init = || Repository::init(other.path(), &ring.roles(), Lifetimes::default(), at(0));
    init().expect("made");
    std::fs::remove_file(other.path().join("metadata/timestamp.json")).expect("there");
    init().expect("made");
}

#[test]
fn a_version_has_the_same_bytes_for_good_and_its_waves_when_it_is_added_again() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    let mut repository =
        Repository::init(place.path(), &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    let one = content("config/a/1.toml");
    repository.add(&one, b"a mistake", &About::default()).expect("added");
    repository.add(&one, b"mended", &About::default()).expect("it was never published");
    let hosted = place.path().join("targets/config/a");
    assert_eq!(std::fs::read_dir(&hosted).expect("there").count(), 1);
    repository.publish(&ring.all(), at(0)).expect("published");
    let halted = About { halted: true, stop_at: Some(Decimal(5.0)), ..About::default() };
    repository.amend(&one, &halted).expect("it is there");
    repository.add(&one, b"mended", &About::default()).expect("the same");
    let again = repository.about(&one).expect("read").expect("there");
    assert!(again.halted && again.stop_at == halted.stop_at, "it is halted still");
    repository.withdraw(&one).expect("it is there");
    repository.publish(&ring.all(), at(1)).expect("published");
    let error = repository.add(&one, b"others", &About::default()).expect_err("it was published");
    assert!(error.to_string().contains("was published with other bytes"), "{error}");
    repository.add(&one, b"mended", &About::default()).expect("the same again");
}

#[test]
fn whoever_has_the_keys_renews_the_list_of_targets_too() {
    let (place, ring) = (tempfile::tempdir().expect("tempdir"), Ring::new());
    Repository::init(place.path(), &ring.roles(), Lifetimes::default(), at(0)).expect("made");
    let error = open(place.path()).publish(&[&ring.online], at(200)).expect_err("it is over");
    assert!(error.to_string().contains("the targets was good until"), "{error}");
    open(place.path()).publish(&[&ring.online, &ring.targets], at(200)).expect("renewed");
    seen(place.path(), at(200)).expect("believed");
}
