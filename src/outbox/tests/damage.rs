//! Databases that are not what they should be.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use super::*;

pub(super) fn corrupt(path: &Path, at: usize, length: usize) {
    let mut bytes = std::fs::read(path).expect("database");
    bytes[at..at + length].fill(0xa5);
    crate::disk::replace(path, &bytes).expect("damage");
}

/// Damages the second page that holds these words: a leaf of the table of records, and not the first one.
pub(super) fn corrupt_leaf(path: &Path, words: &str) {
    let bytes = std::fs::read(path).expect("database");
    let holds = |page: &[u8]| page.windows(words.len()).any(|found| found == words.as_bytes());
    let mut leaves = (0..bytes.len() / 4096).filter(|n| holds(&bytes[n * 4096..(n + 1) * 4096]));
    corrupt(path, leaves.nth(1).expect("a leaf") * 4096, 4096);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_not_touched() {
    let site = Site::new();
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1"]).await;
    stop(outbox).await;
    let db = Connection::open(site.path()).expect("open");
    db.pragma_update(None, "user_version", 7).expect("a later version");
    db.close().expect("closed");
    let before = std::fs::read(site.path()).expect("file");
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["2"]).await;
    let problem = outbox.status().problem.expect("a problem");
    assert!(problem.contains("format 7") && problem.contains("not touched"), "{problem}");
    stop(outbox).await;
    assert_eq!(std::fs::read(site.path()).expect("file"), before);
    let error = Inspector::open(site.path()).expect_err("refused").to_string();
    assert!(error.contains("format 7"), "{error}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_alone() {
    let site = Site::new();
    let db = Connection::open(site.path()).expect("open");
    db.execute_batch("CREATE TABLE theirs (x)").expect("a table");
    db.close().expect("closed");
    let before = std::fs::read(site.path()).expect("file");
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1"]).await;
    assert!(outbox.status().problem.expect("a problem").contains("another program"));
    stop(outbox).await;
    assert_eq!(std::fs::read(site.path()).expect("file"), before);
}

#[tokio::test]
async fn a_damaged_database_is_set_aside_and_salvaged() {
    let site = Site::new();
    let outbox = site.start(&["main"]);
    let body = format!("\"{}\"", "d".repeat(1000));
    append(&outbox, Kind::Decision, &[&*body; 400]).await;
    let mut reader = outbox.reader(name("main"));
    let delivered = reader.next(10, 1 << 20).await.expect("a batch");
    let before = delivered.records()[0].epoch;
    reader.delivered(&delivered);
    append(&outbox, Kind::Decision, &["1"]).await;
    stop(outbox).await;
    // Leaves of the table of records, in the middle of the file.
    let size = usize::try_from(std::fs::metadata(site.path()).expect("file").len()).expect("size");
    corrupt(site.path(), (size / 2) & !4095, 3 * 4096);
    let findings = Inspector::open(site.path()).expect("open").verify().expect("verify");
    assert!(!findings.is_empty());

    let outbox = site.start(&["main"]);
    let mut reader = outbox.reader(name("main"));
    let (mut seen, mut gaps) = (BTreeSet::new(), Vec::new());
    append(&outbox, Kind::Decision, &["2"]).await;
    while let Some(batch) = timeout(SOON, reader.next(100, 1 << 20)).await.expect("in time") {
        for record in batch.records() {
            assert!(seen.insert((record.epoch, record.seq)));
            gaps.extend(record.gap());
        }
    }
    assert_eq!(outbox.status().set_aside, 1);
    let old: Vec<_> = seen.iter().filter(|(epoch, _)| *epoch == before).collect();
    // What the cloud has is not sent again, and what lay around the damage is there.
    assert_eq!((old[0].1, old[old.len() - 1].1), (11, 402));
    assert!((360..392).contains(&old.len()), "{}", old.len());
    let [gap] = &*gaps else { panic!("{gaps:?}") };
    assert_eq!((gap.reason, gap.epoch), (Reason::Corrupt, Some(before)));
    assert_eq!(gap.count, 392 - old.len() as u64);
    stop(outbox).await;
    assert!(site.files().contains("outbox.db.corrupt-1"), "{:?}", site.files());
    site.verify();
}

/// As a power cut leaves them: the file has its length and no bytes yet, and the journal, which is written
/// before it, says that there was no file (<https://www.sqlite.org/fileformat2.html>, 3).
fn never_written(site: &Site) {
    crate::disk::replace(site.path(), &[0; 4096]).expect("file");
    let mut journal = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7".to_vec();
    for word in [0_u32, 7, 0, 512, 4096] {
        journal.extend(word.to_be_bytes());
    }
    journal.resize(512, 0);
    crate::disk::replace(&site.path().with_extension("db-journal"), &journal).expect("file");
}

#[tokio::test]
async fn the_journal_of_a_first_page_takes_nothing_from_what_a_repair_made() {
    let site = Site::new();
    never_written(&site);
    repair(site.path(), &name("press-07")).expect("repair").expect("something was wrong");
    stop(site.start(&[])).await;
    let contents = Inspector::open(site.path()).and_then(|outbox| outbox.contents());
    assert_eq!(contents.expect("contents").kinds[&Kind::Gap].records, 1);
}

#[tokio::test]
async fn a_first_page_that_was_never_written_is_taken_back_and_not_set_aside() {
    let site = Site::new();
    never_written(&site);
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1"]).await;
    assert_eq!((outbox.status().set_aside, outbox.status().problem), (0, None));
    stop(outbox).await;
    assert_eq!(site.files(), ["outbox.db", "outbox.db.lock"].map(str::to_owned).into());
    site.verify();
}

#[tokio::test]
async fn rubbish_in_its_place_is_set_aside_and_no_more_than_three_are_kept() {
    let site = Site::new();
    let mut epochs = BTreeSet::new();
    for round in 1..=5 {
        crate::disk::replace(site.path(), &vec![b'x'; 10_000]).expect("rubbish");
        let outbox = site.start(&[]);
        append(&outbox, Kind::Decision, &["1"]).await;
        assert_eq!(outbox.status().set_aside, 1, "{round}");
        epochs.insert(outbox.status().epoch);
        stop(outbox).await;
    }
    assert_eq!(epochs.len(), 5);
    let kept = ["outbox.db", "outbox.db.corrupt-3", "outbox.db.corrupt-4", "outbox.db.corrupt-5"];
    let expected: BTreeSet<_> =
        kept.into_iter().chain(["outbox.db.lock"]).map(str::to_owned).collect();
    assert_eq!(site.files(), expected);
}

/// A power cut between the two renames of a salvage.
#[tokio::test]
async fn a_salvage_that_was_cut_off_is_finished() {
    let site = Site::new();
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1"]).await;
    stop(outbox).await;
    let staged = site.directory.path().join("outbox.db.salvage");
    std::fs::rename(site.path(), &staged).expect("rename");
    crate::disk::replace(&site.directory.path().join("outbox.db.corrupt-1"), b"x").expect("file");
    crate::disk::replace(&site.directory.path().join("outbox.db-wal"), b"its log").expect("file");
    let outbox = site.start(&[]);
    assert_eq!(bodies(&next(&mut outbox.reader(name("main"))).await), ["1"]);
    stop(outbox).await;
    assert!(site.files().contains("outbox.db.corrupt-1-wal"), "{:?}", site.files());
}
