//! A power loss at every point: what was acknowledged is there, the rest is whole, and nothing is invented.

use std::collections::BTreeSet;

use super::damage::{corrupt, corrupt_leaf};
use super::kill::{config, open};
use super::*;
use crate::disk::power::{
    Change, Image, Recording, contents, directory, files, images, lay_out, note, record, unlike,
    whole,
};

/// Tells the child where its outbox is; a test that is run without it does nothing.
const DIRECTORY: &str = "EIR_TEST_POWERLESS_OUTBOX";

/// At each point so many images in which each file keeps something else.
const MIXED: usize = 3;

fn body(letter: &str) -> String {
    format!("\"{}\"", letter.repeat(if letter == "z" { 1000 } else { 30_000 }))
}

/// The process that is recorded: appends records one by one, delivers some, and says so.
#[tokio::test]
async fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let outbox = open(directory);
    let mut reader = outbox.reader(name("main"));
    for number in 0..5 {
        let one = draft(Kind::Sample, &body("x"));
        let (id, path) = (one.id.to_string(), directory.to_owned());
        note(directory, &format!("appended {id}"));
        let (sender, mut acked) = mpsc::channel(1);
        let ack = Ack::new(move || {
            note(&path, &format!("acked {id}"));
            sender.try_send(()).expect("room");
        });
        assert!(outbox.remember("a", number.to_string()));
        outbox.append(one, ack);
        acked.recv().await.expect("an ack");
        if number > 1 {
            let batch = reader.next(1, 1).await.expect("a batch");
            note(directory, &format!("delivered {}", batch.records()[0].id));
            reader.delivered(&batch);
        }
    }
    assert!(outbox.stop(SOON).await);
}

/// A recording, and what must hold.
struct Story {
    recording: Recording,
    /// The ids of the records that were there before, oldest first.
    before: Vec<String>,
    /// Those that a damage took.
    lost: BTreeSet<String>,
    /// What the child left.
    end: Found,
}

impl Story {
    /// `prepare` makes what the child finds, and `damage` damages it.
    async fn tell(prepare: impl AsyncFn(&Path), damage: impl Fn(&Path)) -> Self {
        let directory = directory();
        let directory = directory.path();
        prepare(directory).await;
        let path = config(directory).path;
        let before = if path.exists() { Found::read(&path).expect("read").ids } else { Vec::new() };
        damage(&path);
        let recording = record(directory, "outbox::tests::power::child", DIRECTORY);
        // Nothing went unseen.
        assert_eq!(unlike(&contents(&recording, &whole(&recording)), &files(directory)), [""; 0]);
        let end = Found::read(&path).expect("read");
        let mut story = Self { recording, before, lost: BTreeSet::new(), end };
        if story.end.reasons.contains(&Reason::Corrupt) {
            let delivered = story.noted(story.recording.changes.len(), "delivered");
            let is_lost = |id: &&String| !story.end.ids.contains(id) && !delivered.contains(id);
            story.lost = story.before.iter().filter(is_lost).cloned().collect();
            assert!(story.lost.len() < 10, "{:?}", story.lost);
        }
        story
    }

    /// The ids that the child noted before a point.
    fn noted(&self, point: usize, what: &str) -> Vec<String> {
        let notes = self.recording.notes(point).filter_map(|note| note.split_once(' '));
        notes.filter(|note| note.0 == what).map(|note| note.1.to_owned()).collect()
    }

    /// Goes on from what a power loss at that point left; what is wrong is returned.
    async fn go_on(&self, image: &Image, point: usize) -> Result<(), String> {
        let directory = directory();
        lay_out(&self.recording, image, directory.path());
        let outbox = open(directory.path());
        append(&outbox, Kind::Decision, &["\"after\""]).await;
        let status = outbox.status();
        assert!(outbox.stop(SOON).await);
        if let Some(problem) = status.problem {
            return Err(problem);
        }
        let damaged = self.end.reasons.contains(&Reason::Corrupt);
        let again = directory.path().join("outbox.db.corrupt-2");
        if status.set_aside > u64::from(damaged) || again.exists() {
            return Err("what was whole is set aside as corrupt".to_owned());
        }
        self.check(&Found::read(&config(directory.path()).path)?, point)
    }

    fn check(&self, found: &Found, point: usize) -> Result<(), String> {
        let delivered = self.noted(point, "delivered");
        let mut promised = self.before.clone();
        promised.extend(self.noted(point, "acked"));
        promised.retain(|id| !delivered.contains(id) && !self.lost.contains(id));
        // What was dropped is told of, and is the oldest.
        let missing = promised.iter().filter(|id| !found.ids.contains(id)).count();
        let dropped = promised.iter().take_while(|id| !found.ids.contains(id)).count();
        if missing > dropped || (missing as u64) > found.told {
            let told = found.told;
            return Err(format!(
                "{missing} are missing, {told} are told of: {promised:?} {found:?}"
            ));
        }
        let appended = self.noted(point, "appended");
        let invented = |id: &&String| !self.before.contains(id) && !appended.contains(id);
        match found.ids.iter().filter(invented).count() {
            1 => Ok(()),
            count => Err(format!("{count} are new, and it should be 1: {found:?}")),
        }
    }
}

/// What is in an outbox; gap records are no records here.
#[derive(Debug, Default)]
struct Found {
    ids: Vec<String>,
    /// How many were dropped for want of room.
    told: u64,
    reasons: Vec<Reason>,
}

impl Found {
    fn read(path: &Path) -> Result<Self, String> {
        let words = |error: OutboxError| error.to_string();
        let outbox = Inspector::open(path).map_err(words)?;
        let findings = outbox.verify().map_err(words)?;
        if !findings.is_empty() {
            return Err(format!("{findings:?}"));
        }
        let written = [body("x"), body("y"), body("z"), "\"after\"".to_owned()];
        let mut found = Self::default();
        let broken = outbox.records(|record| {
            if let Some(gap) = record.gap() {
                found.told += if gap.reason == Reason::Full { gap.count } else { 0 };
                found.reasons.push(gap.reason);
            } else if written.iter().any(|body| body == record.body.get())
                // Of the stored database, whose bodies are no plain words.
                || record.body.get().starts_with('{')
            {
                found.ids.push(record.id.to_string());
            } else {
                return std::ops::ControlFlow::Break(record.id);
            }
            std::ops::ControlFlow::Continue(())
        });
        match broken.map_err(words)? {
            Some(id) => Err(format!("{id} is not what was appended")),
            None => Ok(found),
        }
    }
}

/// Everything that a power loss could have left is looked at.
async fn lose_power_everywhere(story: &Story) {
    let images = images(&story.recording, MIXED, 1);
    for (image, point) in &images {
        if let Err(wrong) = story.go_on(image, *point).await {
            let last = &story.recording.changes[point - 1];
            panic!("power lost after change {point} ({last}): {wrong}\n{image:?}");
        }
    }
    assert!(images.len() > 500, "only {} images", images.len());
}

/// Leaves an outbox with these records in it, closed or, as after a kill, with its log.
async fn fill(directory: &Path, kind: Kind, letter: &str, count: usize, closed: bool) {
    let outbox = open(directory);
    for _ in 0..count {
        append(&outbox, kind, &[&body(letter)]).await;
    }
    assert_eq!(outbox.status().dropped, 0);
    let open = files(directory);
    assert!(outbox.stop(SOON).await);
    for (name, bytes) in open.iter().filter(|_| !closed) {
        crate::disk::replace(&directory.join(name), bytes).expect("written");
    }
}

#[tokio::test]
async fn a_fresh_outbox_loses_nothing_that_it_acknowledged() {
    lose_power_everywhere(&Story::tell(async |_| {}, |_| {}).await).await;
}

#[tokio::test]
async fn what_a_killed_process_left_in_its_log_stays() {
    let fill = async |directory: &Path| fill(directory, Kind::Sample, "y", 3, false).await;
    let story = Story::tell(fill, |_| {}).await;
    assert!(story.recording.before["outbox.db-wal"].len() > 30_000);
    lose_power_everywhere(&story).await;
}

#[tokio::test]
async fn a_full_outbox_drops_and_tells_in_one_step() {
    let fill = async |directory: &Path| fill(directory, Kind::Sample, "y", 23, true).await;
    let story = Story::tell(fill, |_| {}).await;
    assert!(story.end.told > 0);
    lose_power_everywhere(&story).await;
}

#[tokio::test]
async fn a_salvage_is_done_again_until_it_is_done() {
    let fill = async |directory: &Path| fill(directory, Kind::Decision, "z", 40, true).await;
    // A leaf of the table of records; the child meets it.
    let story = Story::tell(fill, |path| corrupt_leaf(path, "zzzzzzzz")).await;
    assert!(!story.lost.is_empty());
    lose_power_everywhere(&story).await;
}

#[tokio::test]
async fn the_log_of_a_damaged_database_is_not_taken_for_that_of_the_salvaged_one() {
    let fill = async |directory: &Path| fill(directory, Kind::Decision, "z", 40, false).await;
    // Its beginning, which the log has too: SQLite would not see the damage, nor remove the log.
    let story = Story::tell(fill, |path| corrupt(path, 0, 16)).await;
    assert!(story.recording.changes.iter().any(|change| {
        matches!(change, Change::Rename { to, .. } if to == "outbox.db.corrupt-1-wal")
    }));
    lose_power_everywhere(&story).await;
}

#[tokio::test]
async fn an_older_format_is_brought_up_in_one_step() {
    let old = async |directory: &Path| {
        let path = &config(directory).path;
        crate::disk::replace(path, formats::OLD).expect("written");
    };
    lose_power_everywhere(&Story::tell(old, |_| {}).await).await;
}

/// That the tests above can fail: a process that leaves out one kind of sync is found out.
#[tokio::test]
async fn without_its_syncs_something_is_lost() {
    let kinds: [fn(&Change) -> bool; 3] = [
        |change| matches!(change, Change::Sync(file) if file.ends_with("-wal")),
        |change| matches!(change, Change::Sync(file) if file == "outbox.db"),
        |change| matches!(change, Change::Sync(file) if file.is_empty()),
    ];
    let mut story = Story::tell(async |_| {}, |_| {}).await;
    let changes = story.recording.changes.clone();
    for (number, is_left_out) in kinds.into_iter().enumerate() {
        let kept = changes.iter().filter(|change| !is_left_out(change));
        story.recording.changes = kept.cloned().collect();
        let mut found_out = false;
        for (image, point) in images(&story.recording, MIXED, 1) {
            found_out |= story.go_on(&image, point).await.is_err();
            if found_out {
                break;
            }
        }
        assert!(found_out, "kind {number}");
    }
}
