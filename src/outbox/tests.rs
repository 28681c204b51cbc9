//! The room as a whole: a thread, a file, readers.

mod damage;
mod formats;
mod gaps;
mod kill;
mod lanes;
mod power;
mod thin;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::record::tests::draft;
use super::*;
use crate::event::{Ack, ByteSize, HumanDuration, Name};
use crate::task::{Clock, SystemClock};

const SOON: Duration = Duration::from_mins(1);

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

struct Site {
    directory: TempDir,
    config: OutboxConfig,
    clock: Arc<dyn Clock>,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("outbox.db");
        let config = OutboxConfig { path, ..OutboxConfig::default() };
        Self { directory, config, clock: Arc::new(SystemClock) }
    }

    fn start(&self, clouds: &[&str]) -> Outbox {
        let clouds = clouds.iter().map(|cloud| name(cloud)).collect();
        Outbox::start(&self.config, name("press-07"), clouds, Arc::clone(&self.clock))
    }

    fn path(&self) -> &Path {
        &self.config.path
    }

    fn verify(&self) {
        let findings = Inspector::open(self.path()).expect("open").verify().expect("verify");
        assert_eq!(findings, []);
    }

    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("directory");
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    }
}

/// Acknowledgements, and how many came.
struct Acks {
    sender: mpsc::Sender<()>,
    receiver: mpsc::Receiver<()>,
}

impl Acks {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(10_000);
        Self { sender, receiver }
    }

    fn one(&self) -> Ack {
        let sender = self.sender.clone();
        Ack::new(move || sender.try_send(()).expect("room"))
    }

    async fn come(&mut self, count: usize) {
        for _ in 0..count {
            timeout(SOON, self.receiver.recv()).await.expect("in time").expect("an ack");
        }
    }
}

async fn append(outbox: &Outbox, kind: Kind, bodies: &[&str]) {
    let mut acks = Acks::new();
    for body in bodies {
        outbox.append(draft(kind, body), acks.one());
    }
    acks.come(bodies.len()).await;
}

async fn stop(outbox: Outbox) {
    assert!(outbox.stop(SOON).await);
}

async fn next(reader: &mut Reader) -> Batch {
    loop {
        if let Some(batch) = timeout(SOON, reader.next(100, 1 << 20)).await.expect("in time") {
            return batch;
        }
        assert!(timeout(SOON, reader.notified()).await.expect("in time"));
    }
}

fn bodies(batch: &Batch) -> Vec<&str> {
    batch.records().iter().map(|record| record.body.get()).collect()
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_restart_and_goes_on_counting() {
    let site = Site::new();
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1", "2"]).await;
    stop(outbox).await;
    let outbox = site.start(&[]);
    append(&outbox, Kind::Summary, &["3"]).await;
    let mut reader = outbox.reader(name("main"));
    let batch = next(&mut reader).await;
    let seen: Vec<_> = batch.records().iter().map(|r| (r.seq, r.kind, r.body.get())).collect();
    assert_eq!(seen, [(1, Kind::Decision, "1"), (2, Kind::Decision, "2"), (3, Kind::Summary, "3")]);
    let first = &batch.records()[0];
    assert!(batch.records().iter().all(|record| record.epoch == first.epoch));
    assert!(first.epoch < 1 << 53 && first.device == name("press-07"));
    let status = outbox.status();
    assert_eq!((status.written, status.stored[&Kind::Decision].records), (1, 2));
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn a_record_is_deleted_when_every_cloud_has_it() {
    let site = Site::new();
    let outbox = site.start(&["a", "b"]);
    append(&outbox, Kind::Decision, &["1", "2", "3"]).await;
    let (mut a, mut b) = (outbox.reader(name("a")), outbox.reader(name("b")));
    let batch = next(&mut a).await;
    a.delivered(&batch);
    assert!(timeout(SOON, a.next(10, 1000)).await.expect("in time").is_none());
    let first = b.next(2, 1 << 20).await.expect("two");
    assert_eq!(bodies(&first), ["1", "2"]);
    b.delivered(&first);
    append(&outbox, Kind::Decision, &["4"]).await;
    assert_eq!(outbox.status().stored[&Kind::Decision], Amount { records: 2, bytes: 2 });
    stop(outbox).await;

    // A restart goes on where each cloud was, and numbers are not used again.
    let outbox = site.start(&["a", "b"]);
    let (mut a, mut b) = (outbox.reader(name("a")), outbox.reader(name("b")));
    let (of_a, of_b) = (next(&mut a).await, next(&mut b).await);
    assert_eq!((bodies(&of_a), bodies(&of_b)), (vec!["4"], vec!["3", "4"]));
    a.delivered(&of_a);
    b.delivered(&of_b);
    append(&outbox, Kind::Decision, &["5"]).await;
    stop(outbox).await;
    let outbox = site.start(&["a", "b"]);
    let last = next(&mut outbox.reader(name("a"))).await;
    assert_eq!((last.records()[0].seq, bodies(&last)), (5, vec!["5"]));
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn one_refused_record_holds_nobody_up_and_is_kept_for_a_person() {
    let site = Site::new();
    let outbox = site.start(&["main"]);
    append(&outbox, Kind::Decision, &["1", "2", "3", "4"]).await;
    let mut reader = outbox.reader(name("main"));
    let (left, right) = next(&mut reader).await.halve();
    let (first, bad) = left.halve();
    reader.delivered(&first);
    reader.delivered(&right.expect("a half"));
    append(&outbox, Kind::Decision, &["5"]).await;
    // As if the process had died here: what is done is not handed out again, what is not, is.
    reader.rewind();
    assert_eq!(bodies(&next(&mut reader).await), ["2", "5"]);
    let bad = bad.expect("a record").records()[0].clone();
    reader.dead_letter(bad, "400: not for me");
    append(&outbox, Kind::Decision, &["6"]).await;
    reader.rewind();
    assert_eq!(bodies(&next(&mut reader).await), ["5", "6"]);
    assert_eq!(outbox.status().refused, 1);
    stop(outbox).await;
    let db = Connection::open(site.path()).expect("open");
    let dead = db.query_row("SELECT cloud, reason, record FROM dead", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    });
    let (cloud, reason, record) = dead.expect("a dead letter");
    assert_eq!((cloud.as_str(), reason.as_str()), ("main", "400: not for me"));
    assert!(record.contains("\"seq\":2"), "{record}");
}

#[tokio::test]
async fn a_full_outbox_drops_samples_first_and_tells() {
    let mut site = Site::new();
    site.config.max = ByteSize(1 << 20);
    let outbox = site.start(&["main"]);
    let sample = format!("\"{}\"", "s".repeat(20_000));
    let decision = format!("\"{}\"", "d".repeat(1000));
    append(&outbox, Kind::Decision, &[&*decision; 300]).await;
    for _ in 0..10 {
        append(&outbox, Kind::Sample, &[&*sample; 10]).await;
    }
    let status = outbox.status();
    assert_eq!(status.stored[&Kind::Decision].records, 300);
    assert!(status.dropped > 50, "{status:?}");
    let size = std::fs::metadata(site.path()).expect("file").len();
    let log = std::fs::metadata(site.path().with_extension("db-wal")).expect("log").len();
    assert!(size + log <= 1 << 20, "{size} + {log}");
    site.verify();
    // Decisions go last, and then they go.
    for _ in 0..10 {
        append(&outbox, Kind::Decision, &[&*decision; 100]).await;
    }
    let status = outbox.status();
    assert!(status.stored[&Kind::Decision].records < 1300, "{status:?}");
    let mut told = 0;
    let mut reader = outbox.reader(name("main"));
    let mut seen = 0;
    while let Some(batch) = reader.next(1000, 1 << 20).await {
        let gaps = batch.records().iter().filter_map(Record::gap);
        told += gaps.map(|gap| gap.count).sum::<u64>();
        seen += batch.records().iter().filter(|r| r.kind != Kind::Gap).count();
    }
    assert_eq!(told, 1400 - seen as u64);
    stop(outbox).await;
    assert!(std::fs::metadata(site.path()).expect("file").len() <= 1 << 20);
    site.verify();
}

/// Time that a test turns.
#[derive(Debug)]
struct Turned(Mutex<(Instant, Timestamp)>);

impl Turned {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((SystemClock.now(), SystemClock.wall()))))
    }

    fn pass(&self, time: Duration) {
        self.0.lock().expect("lock").0 += time;
    }

    fn jump(&self, years: i64) {
        self.0.lock().expect("lock").1 += jiff::SignedDuration::from_hours(years * 365 * 24);
    }
}

impl Clock for Turned {
    fn now(&self) -> Instant {
        self.0.lock().expect("lock").0
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().expect("lock").1
    }
}

#[tokio::test]
async fn age_is_the_time_that_eir_ran_and_no_clock_that_jumps() {
    let clock = Turned::new();
    let mut site = Site::new();
    site.clock = clock.clone();
    site.config.max_age = Some(HumanDuration::from_secs(3600));
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1", "2"]).await;
    clock.jump(10);
    append(&outbox, Kind::Decision, &["3"]).await;
    clock.jump(-20);
    clock.pass(Duration::from_mins(30));
    append(&outbox, Kind::Decision, &["4"]).await;
    assert_eq!(outbox.status().stored[&Kind::Decision].records, 4);
    stop(outbox).await;
    let outbox = site.start(&[]);
    assert_eq!(next(&mut outbox.reader(name("main"))).await.records().len(), 4);
    clock.pass(Duration::from_secs(1801));
    append(&outbox, Kind::Decision, &["5"]).await;
    let batch = next(&mut outbox.reader(name("main"))).await;
    let gap = batch.records()[1].gap().expect("a gap");
    assert_eq!((gap.reason, gap.count, gap.first, gap.last), (Reason::Age, 3, Some(1), Some(3)));
    assert_eq!((bodies(&batch)[0], bodies(&batch)[2]), ("4", "5"));
    stop(outbox).await;
    site.verify();
}

#[tokio::test]
async fn another_device_is_another_epoch() {
    let site = Site::new();
    let outbox = site.start(&[]);
    append(&outbox, Kind::Decision, &["1"]).await;
    stop(outbox).await;
    let clock = Arc::clone(&site.clock);
    let outbox = Outbox::start(&site.config, name("press-08"), Vec::<Name>::new(), clock);
    append(&outbox, Kind::Decision, &["2"]).await;
    let batch = next(&mut outbox.reader(name("main"))).await;
    let [old, new] = batch.records() else { panic!("{batch:?}") };
    assert_eq!((&old.device, &new.device), (&name("press-07"), &name("press-08")));
    assert!(new.epoch > old.epoch && new.seq == 1);
    stop(outbox).await;
}

#[tokio::test]
async fn what_is_new_does_not_wait_behind_a_backlog() {
    let site = Site::new();
    let outbox = site.start(&["main"]);
    let old: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    append(&outbox, Kind::Summary, &old.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut reader = outbox.reader(name("main"));
    let mut seen = Vec::new();
    let mut take = async |reader: &mut Reader| {
        assert!(timeout(SOON, reader.notified()).await.expect("in time"));
        let batch = reader.next(2, 1 << 20).await.expect("a batch");
        reader.delivered(&batch);
        let found: Vec<_> = bodies(&batch).iter().map(|body| (*body).to_owned()).collect();
        seen.extend(found.clone());
        found
    };
    assert_eq!(take(&mut reader).await, ["0", "1"]);
    append(&outbox, Kind::Decision, &["100", "101", "102", "103", "104", "105", "106", "107"])
        .await;
    assert_eq!(take(&mut reader).await, ["100", "101"], "the alarm first");
    assert_eq!(take(&mut reader).await, ["102", "103"]);
    assert_eq!(take(&mut reader).await, ["104", "105"]);
    assert_eq!(take(&mut reader).await, ["2", "3"], "the backlog has its share");
    assert_eq!(take(&mut reader).await, ["106", "107"]);
    assert_eq!(take(&mut reader).await, ["4", "5"]);
    // A restart in the middle: what was new and arrived does not come again.
    stop(outbox).await;
    let outbox = site.start(&["main"]);
    let mut reader = outbox.reader(name("main"));
    append(&outbox, Kind::Decision, &["108"]).await;
    while seen.len() < 49 {
        assert!(timeout(SOON, reader.notified()).await.expect("in time"));
        let Some(batch) = reader.next(100, 1 << 20).await else { continue };
        reader.delivered(&batch);
        seen.extend(bodies(&batch).iter().map(|body| (*body).to_owned()));
    }
    seen.sort_by_key(|body| body.parse::<u32>().expect("a number"));
    let wanted = (0..40).chain(100..109).map(|n| n.to_string());
    assert_eq!(seen, wanted.collect::<Vec<_>>());
}
