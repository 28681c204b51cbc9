//! Older databases, what is remembered, and boards whose clock is set late.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::task::Uptime;

/// An outbox of format 1 as it was written by the first program that had one: 14 records, three of them decisions.
pub(super) const OLD: &[u8] = include_bytes!("../../../tests/data/outbox-1.db");

fn format(path: &Path) -> i64 {
    Inspector::open(path).expect("open").contents().expect("contents").format
}

async fn all(outbox: &Outbox) -> Vec<Record> {
    next(&mut outbox.reader(name("main"))).await.records().to_vec()
}

#[tokio::test]
async fn an_outbox_of_an_older_format_is_brought_up_and_loses_nothing() {
    let site = Site::new();
    crate::disk::replace(site.path(), OLD).expect("write");
    assert_eq!(format(site.path()), 1);
    let outbox = site.start(&["main"]);
    append(&outbox, Kind::Decision, &["\"new\""]).await;
    assert_eq!(format(site.path()), 2);
    let records = all(&outbox).await;
    assert_eq!(records.len(), 15);
    assert_eq!(records[14].seq, 15, "the sequence goes on");
    assert_eq!(records.iter().filter(|record| record.kind == Kind::Decision).count(), 4);
    assert!(records.iter().all(|record| record.epoch == records[0].epoch));
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn on_probation_the_format_of_before_is_written() {
    let mut site = Site::new();
    let start = |site: &Site| {
        let clock = Arc::clone(&site.clock);
        let clouds = vec![name("main")];
        let options = Options { formats: Formats::Before, ..Options::default() };
        Outbox::start_with(&site.config, name("press-07"), clouds, clock, options)
    };
    let board = Board::new();
    site.clock = board.clone();
    for old in [None, Some(OLD)] {
        if let Some(old) = old {
            crate::disk::replace(site.path(), old).expect("write");
        }
        let outbox = start(&site);
        assert!(outbox.remember("a", "kept".to_owned()));
        append(&outbox, Kind::Decision, &["\"new\""]).await;
        stop(outbox).await;
        assert_eq!(format(site.path()), 1);
        assert_eq!(
            recall(site.path()).expect("recall"),
            BTreeMap::new(),
            "there is no place for it"
        );
        site.verify();
        std::fs::remove_file(site.path()).expect("remove");
    }
    // What was committed to already stays.
    stop(site.start(&[])).await;
    stop(start(&site)).await;
    assert_eq!(format(site.path()), 2);
}

#[tokio::test]
async fn the_newest_that_was_remembered_is_there_after_a_restart() {
    let site = Site::new();
    assert_eq!(recall(site.path()).expect("nothing yet"), BTreeMap::new());
    let outbox = site.start(&[]);
    for (name, body) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "")] {
        assert!(outbox.remember(name, body.to_owned()));
    }
    assert!(!outbox.remember("a", "x".repeat(outbox.most_remembered() + 1)), "too long");
    stop(outbox).await;
    let found = recall(site.path()).expect("recall");
    let found: Vec<_> = found.iter().map(|(name, memory)| (name.as_str(), &*memory.body)).collect();
    assert_eq!(found, [("a", "3")]);
}

#[tokio::test]
async fn what_is_remembered_is_salvaged_and_bounded() {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    let outbox = site.start(&[]);
    let most = outbox.most_remembered();
    for name in ["a", "b", "c", "d"] {
        assert!(outbox.remember(name, "x".repeat(most)));
    }
    append(&outbox, Kind::Decision, &[&*format!("\"{}\"", "z".repeat(1000)); 40]).await;
    stop(outbox).await;
    let held = recall(site.path()).expect("recall");
    assert_eq!(held.len(), 1, "a quarter of 768 KiB has room for one of 128 KiB and no more");
    damage::corrupt_leaf(site.path(), "zzzzzzzz");
    repair(site.path(), &name("press-07")).expect("repair").expect("damage");
    assert_eq!(recall(site.path()).expect("recall"), held);
    site.verify();
}

/// A board that was started a minute ago, and whose clock can be set.
#[derive(Debug)]
struct Board {
    turned: Arc<Turned>,
    boot: Mutex<(&'static str, Duration, bool)>,
}

impl Board {
    fn new() -> Arc<Self> {
        let boot = Mutex::new(("first", Duration::from_mins(1), false));
        Arc::new(Self { turned: Turned::new(), boot })
    }

    fn pass(&self, time: Duration) {
        self.turned.pass(time);
        self.turned.0.lock().expect("lock").1 += time;
        self.boot.lock().expect("lock").1 += time;
    }

    fn set(&self, years: i64) {
        self.turned.jump(years);
        self.boot.lock().expect("lock").2 = true;
    }

    fn start_anew(&self, boot: &'static str) {
        *self.boot.lock().expect("lock") = (boot, Duration::from_secs(5), false);
    }
}

impl Clock for Board {
    fn now(&self) -> Instant {
        self.turned.now()
    }

    fn wall(&self) -> Timestamp {
        self.turned.wall()
    }

    fn uptime(&self) -> Option<Uptime> {
        let (boot, since, synced) = *self.boot.lock().expect("lock");
        Some(Uptime { boot: boot.into(), since, synced })
    }
}

/// A record that is made now, and says when.
async fn tell(outbox: &Outbox, clock: &Board) -> Timestamp {
    let at = clock.wall();
    let mut acks = Acks::new();
    let body = format!("{{\"at\":\"{at}\",\"n\":1.5}}");
    outbox.append(Draft { at, ..draft(Kind::Decision, &body) }, acks.one());
    acks.come(1).await;
    at
}

#[tokio::test]
async fn records_from_before_the_clock_was_set_are_corrected_once_it_is() {
    for years in [10, -10] {
        let board = Board::new();
        let mut site = Site::new();
        site.clock = board.clone();
        let outbox = site.start(&["main"]);
        let wrong = tell(&outbox, &board).await;
        board.pass(Duration::from_secs(7));
        let later = tell(&outbox, &board).await;
        // Nobody knows better yet, and says so.
        let records = all(&outbox).await;
        assert_eq!((records[0].at, records[1].at), (wrong, later));
        let unset = records[1].clock.as_ref().expect("not set");
        assert_eq!((unset.boot.as_str(), unset.uptime_ms), ("first", 67_000));
        board.pass(Duration::from_secs(3));
        board.set(years);
        let right = tell(&outbox, &board).await;
        let records = all(&outbox).await;
        assert!(records.iter().all(|record| record.clock.is_none()));
        let before = |record: &Record| right.duration_since(record.at).as_secs();
        assert_eq!(records.iter().map(before).collect::<Vec<_>>(), [10, 3, 0]);
        for record in &records {
            let body: Value = serde_json::from_str(record.body.get()).expect("json");
            let at: Timestamp = body["at"].as_str().expect("at").parse().expect("time");
            assert_eq!(at, record.at, "the body tells the same");
            assert_eq!(body["n"], 1.5);
        }
        // A restart forgets nothing of it, and another start of the board is another one.
        stop(outbox).await;
        board.start_anew("second");
        let outbox = site.start(&["main"]);
        tell(&outbox, &board).await;
        let records = all(&outbox).await;
        assert_eq!(before(&records[0]), 10);
        assert_eq!(records[3].clock.as_ref().expect("not set").boot, "second");
        stop(outbox).await;
        site.verify();
    }
}

#[test]
fn how_old_a_memory_is_does_not_hang_on_a_clock_that_jumps() {
    let board = Board::new();
    let memory =
        |board: &Board| Memory { saved: board.wall(), uptime: board.uptime(), body: String::new() };
    let early = memory(&board);
    board.pass(Duration::from_secs(20));
    board.set(10);
    assert_eq!(early.age(&*board), Duration::from_secs(20), "the board was not started anew");
    let late = memory(&board);
    board.start_anew("second");
    board.turned.jump(-20);
    assert_eq!(late.age(&*board), Duration::from_secs(5), "at least since the start");
    board.set(20);
    board.pass(Duration::from_secs(30));
    assert_eq!(late.age(&*board), Duration::from_secs(30), "both were right");
    board.turned.jump(-1);
    assert_eq!(late.age(&*board), Duration::ZERO);
}
