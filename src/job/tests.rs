use std::fs;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use super::record::{Job, JobError, Plan, State};
use super::store::Store;
use crate::task::{Clock, SystemClock};

const KEEP: Duration = Duration::from_mins(5);

fn open(dir: &Path) -> Store {
    Store::open(dir, (1000, KEEP, 2)).expect("a store")
}

fn job(state: State) -> Job {
    let model = "bearing".parse().expect("a name");
    let key = Some("monday".to_owned());
    Job { state, inputs: 1, ..Job::new(model, 1, Plan::default(), key) }
}

/// A job with results of so many bytes, as it lies on the disk.
fn lay(store: &Store, state: State, results: &str) -> Uuid {
    let job = job(state);
    let place = store.place(job.id);
    place.make().expect("a place");
    place.write(&job).expect("job");
    crate::disk::replace(&place.results(), results.as_bytes()).expect("results");
    job.id
}

#[test]
fn what_was_under_way_waits_again_and_what_was_half_sent_is_gone() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(directory.path());
    let (running, done) = (lay(&store, State::Running, ""), lay(&store, State::Succeeded, ""));
    let half = store.place(Uuid::now_v7());
    half.make().expect("a place");
    // It was handed in, and may be read by another version or when the disk is better.
    let strange = store.place(Uuid::now_v7());
    strange.make().expect("a place");
    let about = strange.results().with_file_name("job.json");
    crate::disk::replace(&about, b"{ \"v\": 2 }").expect("job");
    assert!(Store::open(directory.path(), (1000, KEEP, 2)).is_err(), "it has one owner");
    drop(store);
    let store = open(directory.path());
    let states: Vec<_> = store.all().map(|job| (job.id, job.state)).collect();
    assert_eq!(states, [(running, State::Pending), (done, State::Succeeded)]);
    assert_eq!(store.next().map(|job| job.id), Some(running));
    assert!(!half.results().parent().expect("a place").exists());
    assert!(about.exists(), "what was promised is not thrown away");
}

#[test]
fn a_line_that_a_kill_tore_is_cut_off() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(directory.path());
    let whole = "{\"input\":\"a\"}\n{\"input\":\"b\",\"error\":\"x\"}\n";
    for torn in ["", "{\"input\":\"c\"}", "{\"input\"", "\0\0\0\0\n", "[1]\n"] {
        let id = lay(&store, State::Running, &format!("{whole}{torn}"));
        let place = store.place(id);
        assert_eq!(place.mend_results().expect("results"), (2, 1), "{torn:?}");
        assert_eq!(fs::read_to_string(place.results()).expect("results"), whole);
    }
}

#[test]
fn what_is_old_goes_and_who_ended_first_makes_room() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(directory.path());
    let bulk = "x".repeat(100);
    let (first, second) = (lay(&store, State::Failed, &bulk), lay(&store, State::Failed, &bulk));
    drop(store);
    let mut store = open(directory.path());
    let draft = Uuid::now_v7();
    assert!(matches!(store.of_key("monday"), Ok(Some(known)) if known.id == first));
    store.draft(draft, Some("tuesday".to_owned())).expect("a place");
    assert!(matches!(store.of_key("tuesday"), Err(JobError::Underway)));
    assert!(matches!(store.grow(draft, 1001), Err(JobError::TooLarge(1000))));
    assert!(
        store.get(first).is_some() && store.get(second).is_some(),
        "they go for nothing too large"
    );
    store.grow(draft, 500).expect("room");
    store.grow(draft, 500).expect("room");
    assert!(store.get(first).is_none() && store.get(second).is_none());
    store.settle(draft, Some(Job { id: draft, ..job(State::Pending) }));
    assert!(matches!(store.grow(draft, 1), Err(JobError::TooLarge(_))));
    let other = Uuid::now_v7();
    store.draft(other, None).expect("the second of two");
    assert!(matches!(store.grow(other, 1), Err(JobError::NoRoom)), "what is to be done stays");
    assert!(matches!(store.draft(Uuid::now_v7(), None), Err(JobError::Busy(2))));
    store.settle(other, None);
    let now = SystemClock.now();
    store.place(draft).make().expect("a place");
    store.end(draft, State::Succeeded, None);
    store.sweep(now);
    assert!(store.get(draft).is_some());
    store.sweep(now + KEEP + Duration::from_secs(9));
    assert!(store.get(draft).is_none());
    let left: Vec<_> = fs::read_dir(directory.path()).expect("dir").collect();
    assert_eq!(left.len(), 1, "the lock alone: {left:?}");
}
