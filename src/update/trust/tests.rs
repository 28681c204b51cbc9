use std::collections::HashMap;

use super::*;
use crate::update::sign::{self, Key, Scheme};

const YEAR: i64 = 365 * 86_400;

fn at(seconds: i64) -> Instant {
    Instant::from_second(seconds).expect("within the calendar")
}

fn version(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("not 0")
}

/// Somebody who keeps a repository: a key for each role.
struct Keeper {
    root: Vec<Key>,
    online: Key,
    targets: Key,
}

impl Keeper {
    fn new() -> Self {
        let key = || Key::generate(Scheme::default()).expect("random");
        Self { root: vec![key(), key()], online: key(), targets: key() }
    }

    fn root_of(&self, number: u64, keys: &[&Key]) -> Vec<u8> {
        let root = sign::root(
            version(number),
            at(YEAR),
            &[
                (RoleType::Root, 2, self.root.iter().collect()),
                (RoleType::Timestamp, 1, vec![&self.online]),
                (RoleType::Snapshot, 1, vec![&self.online]),
                (RoleType::Targets, 1, vec![&self.targets]),
            ],
        );
        sign::sign(root, keys).expect("signed")
    }

    fn root(&self, number: u64) -> Vec<u8> {
        self.root_of(number, &self.root.iter().collect::<Vec<_>>())
    }

    /// Timestamp, snapshot and targets of one version, until then.
    fn publish(&self, number: u64, until: i64) -> [Vec<u8>; 3] {
        let (version, until) = (version(number), at(until));
        let targets = sign::sign(sign::targets(version, until, HashMap::new()), &[&self.targets]);
        let targets = targets.expect("signed");
        let snapshot =
            sign::sign(sign::snapshot(version, until, version, &targets), &[&self.online]);
        let snapshot = snapshot.expect("signed");
        let timestamp = sign::timestamp(version, until, version, &snapshot);
        [sign::sign(timestamp, &[&self.online]).expect("signed"), snapshot, targets]
    }
}

fn take(
    trusted: &mut Trusted,
    [timestamp, snapshot, targets]: &[Vec<u8>; 3],
    now: i64,
) -> Result<(), TrustError> {
    trusted.take_timestamp(timestamp, at(now))?;
    trusted.take_snapshot(snapshot, at(now))?;
    trusted.take_targets(targets, at(now))
}

fn told(result: Result<(), TrustError>) -> String {
    result.expect_err("it is not believed").to_string()
}

#[test]
fn what_is_signed_by_the_right_ones_is_believed_and_its_successors() {
    let keeper = Keeper::new();
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    for number in [1, 2, 2, 7] {
        take(&mut trusted, &keeper.publish(number, YEAR), 1000).expect("believed");
        assert_eq!(trusted.targets_to_fetch().expect("known").0, version(number));
    }
    assert_eq!(trusted.next_root(), version(2));
}

#[test]
fn what_is_older_than_what_was_seen_is_refused() {
    let keeper = Keeper::new();
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    take(&mut trusted, &keeper.publish(5, YEAR), 1000).expect("believed");
    let error = told(take(&mut trusted, &keeper.publish(4, YEAR), 1000));
    assert_eq!(error, "the timestamp has version 4, which should be 5 at least, which was seen");
    // A newer timestamp over an older snapshot.
    let [_, snapshot, _] = keeper.publish(4, YEAR);
    let timestamp = sign::timestamp(version(6), at(YEAR), version(4), &snapshot);
    let timestamp = sign::sign(timestamp, &[&keeper.online]).expect("signed");
    let error = told(trusted.take_timestamp(&timestamp, at(1000)));
    assert!(error.starts_with("the snapshot has version 4"), "{error}");
    // A newer snapshot over older targets.
    let [_, _, targets] = keeper.publish(3, YEAR);
    let snapshot = sign::snapshot(version(6), at(YEAR), version(3), &targets);
    let snapshot = sign::sign(snapshot, &[&keeper.online]).expect("signed");
    let timestamp = sign::timestamp(version(6), at(YEAR), version(6), &snapshot);
    let timestamp = sign::sign(timestamp, &[&keeper.online]).expect("signed");
    trusted.take_timestamp(&timestamp, at(1000)).expect("believed");
    let error = told(trusted.take_snapshot(&snapshot, at(1000)));
    assert!(error.starts_with("the targets has version 3"), "{error}");
}

#[test]
fn what_is_over_is_refused_at_that_very_moment() {
    let keeper = Keeper::new();
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    let day = keeper.publish(1, 86_400);
    let error = told(take(&mut trusted, &day, 86_400));
    assert!(error.starts_with("the timestamp was good until 1970-01-02T00:00:00Z"), "{error}");
    // A frozen repository: the same files, a day later.
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    take(&mut trusted, &day, 86_399).expect("believed");
    told(take(&mut trusted, &day, 86_401));
    let error = told(trusted.take_timestamp(&keeper.publish(2, 2 * YEAR)[0], at(YEAR)));
    assert!(error.starts_with("the root was good until"), "{error}");
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let keeper = Keeper::new();
    let [one, two] = [1, 2].map(|number| keeper.publish(number, YEAR));
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    let mixed = |timestamp: usize, snapshot: usize, targets: usize| {
        let of = |number: usize, file: usize| [&one, &two][number - 1][file].clone();
        let mut trusted = trusted.clone();
        take(&mut trusted, &[of(timestamp, 0), of(snapshot, 1), of(targets, 2)], 1000)
    };
    for (timestamp, snapshot, targets, role) in
        [(2, 1, 1, "snapshot"), (1, 2, 2, "snapshot"), (2, 2, 1, "targets"), (1, 1, 2, "targets")]
    {
        let error = told(mixed(timestamp, snapshot, targets));
        assert!(error.starts_with(&format!("the {role} is another")), "{error}");
    }
    let error = told(trusted.take_targets(&one[2], at(1000)));
    assert_eq!(error, "the targets comes before its snapshot is there");
    // Of the same length, with one letter changed.
    trusted.take_timestamp(&one[0], at(1000)).expect("believed");
    let changed = String::from_utf8(one[1].clone()).expect("text").replace("1.0.", "1.1.");
    let error = told(trusted.take_snapshot(changed.as_bytes(), at(1000)));
    assert!(error.ends_with("another SHA-256"), "{error}");
}

#[test]
fn a_signature_counts_once_and_only_of_those_who_are_named() {
    let (keeper, stranger) = (Keeper::new(), Keeper::new());
    // One of two, twice the same, and one with a stranger.
    for keys in [
        vec![&keeper.root[0]],
        vec![&keeper.root[0], &keeper.root[0]],
        vec![&keeper.root[0], &stranger.root[0]],
        vec![],
    ] {
        let error = Trusted::new(&keeper.root_of(1, &keys)).expect_err("too few").to_string();
        assert!(error.starts_with("the root is not signed as it should be"), "{error}");
    }
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    let error = told(take(&mut trusted, &stranger.publish(1, YEAR), 1000));
    assert!(error.starts_with("the timestamp is not signed"), "{error}");
    // Who may sign the timestamp may not sign targets.
    let mut thief = Keeper::new();
    std::mem::swap(&mut thief.online, &mut { keeper }.online);
    thief.targets = Key::generate(Scheme::default()).expect("random");
    let error = told(take(&mut trusted, &thief.publish(1, YEAR), 1000));
    assert!(error.starts_with("the targets is not signed"), "{error}");
}

#[test]
fn roots_are_taken_one_by_one_and_other_keys_forget_what_the_old_ones_signed() {
    let mut keeper = Keeper::new();
    let mut trusted = Trusted::new(&keeper.root(1)).expect("a root");
    // The keys of the timestamp were stolen, and its version pushed as far as it goes.
    take(&mut trusted, &keeper.publish(u64::MAX, YEAR), 1000).expect("believed");
    let root = |trusted: &mut Trusted, bytes: &[u8]| told(trusted.take_root(bytes).map(drop));
    let error = root(&mut trusted, &keeper.root(3));
    assert_eq!(error, "the root has version 3, which should be 2, one more than the last");
    root(&mut trusted, &keeper.root(1));
    keeper.online = Key::generate(Scheme::default()).expect("random");
    assert!(trusted.take_root(&keeper.root(2)).expect("believed"), "it forgets");
    take(&mut trusted, &keeper.publish(8, YEAR), 1000).expect("believed");
    // Another root key: signed by the old ones and the new ones.
    let old =
        std::mem::replace(&mut keeper.root[1], Key::generate(Scheme::default()).expect("random"));
    root(&mut trusted, &keeper.root(3));
    let both = [&keeper.root[0], &keeper.root[1], &old];
    assert!(!trusted.take_root(&keeper.root_of(3, &both)).expect("believed"), "it does not");
    root(&mut trusted, &keeper.root_of(4, &[&keeper.root[0], &old]));
    take(&mut trusted, &keeper.publish(9, YEAR), 1000).expect("believed still");
}

#[test]
fn what_is_no_metadata_is_told_so() {
    let keeper = Keeper::new();
    for bytes in [&b""[..], b"{}", b"[1", &keeper.publish(1, YEAR)[0]] {
        let error = Trusted::new(bytes).expect_err("no root").to_string();
        assert!(error.starts_with("the root cannot be read: "), "{error}");
    }
}
