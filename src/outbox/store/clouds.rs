//! What each cloud has, in memory and on disk.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::super::inlet::Refused;
use super::super::progress::Progress;
use super::super::{Kind, Lane, OutboxError};
use super::Store;

/// Records that clouds refused are kept up to this number, and to a sixteenth of the outbox.
const MOST_DEAD: i64 = 1000;

/// The progress on each way to a cloud. Lives longer than a [`Store`]: what could not be written is not forgotten.
#[derive(Debug, Default)]
pub(in crate::outbox) struct Clouds {
    configured: BTreeSet<Lane>,
    progress: BTreeMap<Lane, Progress>,
    changed: BTreeSet<Lane>,
    /// What was handed out since the start: it may have arrived, though nobody said so yet.
    handed: BTreeMap<Lane, Progress>,
}

/// Up to where everything was delivered to everybody who gets it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    /// Records of other kinds.
    others: i64,
    /// Samples, which may go by more ways.
    samples: i64,
}

impl Clouds {
    /// The clouds that records are kept for. What another one had is remembered, should it come back.
    pub(in crate::outbox) fn configure(&mut self, lanes: Vec<Lane>) {
        self.configured = lanes.into_iter().collect();
        for lane in self.configured.iter().filter(|lane| lane.only().is_some()) {
            // That there is such a way is to be known once it is gone.
            self.progress.entry(lane.clone()).or_default();
            self.changed.insert(lane.clone());
        }
    }

    pub(in crate::outbox) fn progress(&self, lane: &Lane) -> Progress {
        self.progress.get(lane).cloned().unwrap_or_default()
    }

    pub(in crate::outbox) fn mark(&mut self, lane: &Lane, after: i64, upto: i64) {
        self.progress.entry(lane.clone()).or_default().mark(after, upto);
        self.changed.insert(lane.clone());
    }

    /// There is nothing behind `after` up to `upto` that goes this way.
    pub(in crate::outbox) fn skip(&mut self, lane: &Lane, after: i64, upto: i64) {
        self.progress.entry(lane.clone()).or_default().mark(after, upto);
        // That other records came is not worth a write of its own.
        if lane.only().is_none() {
            self.changed.insert(lane.clone());
        }
    }

    /// A reader got everything behind `after` up to `upto`.
    pub(in crate::outbox) fn hand_out(&mut self, lane: &Lane, after: i64, upto: i64) {
        self.handed.entry(lane.clone()).or_default().mark(after, upto);
    }

    /// Some cloud has the record at this place, or may have it. It is no sample.
    pub(super) fn may_have(&self, pos: i64) -> bool {
        let lanes = self.progress.iter().chain(&self.handed);
        let all = lanes.filter(|(lane, _)| lane.only().is_none());
        all.into_iter().any(|(_, progress)| progress.is_done(pos))
    }

    /// Where the inputs of samples have no way of their own any more, those that did not arrive by it go with the
    /// records.
    pub(in crate::outbox) fn rejoin(&mut self, store: &Store) -> Result<(), OutboxError> {
        for lane in &self.configured {
            let apart = Lane::Samples(lane.cloud().clone());
            if self.configured.contains(&apart) || !self.progress.contains_key(&apart) {
                continue;
            }
            let samples = store.places_of(Kind::Sample)?;
            let gone = self.progress.remove(&apart).unwrap_or_default();
            let left: Vec<_> = samples.into_iter().filter(|pos| !gone.is_done(*pos)).collect();
            self.progress.insert(lane.clone(), self.progress(lane).without(&left));
            self.changed.extend([lane.clone(), apart]);
        }
        Ok(())
    }

    /// The highest place that a cloud has.
    pub(in crate::outbox) fn highest(&self) -> i64 {
        let places = self.progress.values().map(|progress| {
            progress.beyond().values().copied().max().unwrap_or(0).max(progress.cursor())
        });
        places.max().unwrap_or(0)
    }

    pub(in crate::outbox) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What every cloud has; `None` without clouds.
    pub(super) fn done_by_all(&self) -> Option<Done> {
        let cursor = |lane: &Lane| self.progress(lane).cursor();
        let samples = self.configured.iter().map(cursor).min()?;
        let others = self.configured.iter().filter(|lane| lane.only().is_none());
        Some(Done { others: others.map(cursor).min().unwrap_or(samples), samples })
    }

    /// Adds what the database knows.
    pub(in crate::outbox) fn load(&mut self, store: &Store) -> Result<(), OutboxError> {
        for (lane, progress) in load(&store.db)? {
            let mine = self.progress.entry(lane.clone()).or_default();
            mine.merge(&progress);
            if *mine != progress {
                self.changed.insert(lane);
            }
        }
        self.rejoin(store)
    }

    pub(super) fn save(&self, db: &Connection) -> Result<(), OutboxError> {
        for lane in &self.changed {
            match self.progress.get(lane) {
                Some(progress) => save(db, lane, progress)?,
                None => forget(db, lane)?,
            }
        }
        Ok(())
    }

    pub(super) fn saved(&mut self) {
        self.changed.clear();
    }
}

/// What the database knows of each way to a cloud.
pub(in crate::outbox) fn load(db: &Connection) -> Result<BTreeMap<Lane, Progress>, OutboxError> {
    let mut select = db.prepare("SELECT name, cursor, beyond FROM cloud")?;
    let mut rows = select.query([])?;
    let mut clouds = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let beyond: Vec<(i64, i64)> = serde_json::from_str(&row.get::<_, String>(2)?)
            .map_err(|error| OutboxError::Corrupt(error.to_string()))?;
        let progress = Progress::new(row.get(1)?, beyond.into_iter().collect());
        clouds.insert(Lane::named(&row.get::<_, String>(0)?), progress);
    }
    Ok(clouds)
}

/// What some cloud has.
pub(super) fn delivered(db: &Connection) -> Result<Progress, OutboxError> {
    let mut delivered = Progress::default();
    for (_, progress) in load(db)?.iter().filter(|(lane, _)| lane.only().is_none()) {
        delivered.merge(progress);
    }
    Ok(delivered)
}

pub(super) fn save(db: &Connection, lane: &Lane, progress: &Progress) -> Result<(), OutboxError> {
    let beyond: Vec<_> =
        progress.beyond().iter().map(|(from, to)| format!("[{from},{to}]")).collect();
    let beyond = format!("[{}]", beyond.join(","));
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO cloud VALUES (?1, ?2, ?3)")?;
    insert.execute(params![lane.to_string(), progress.cursor(), beyond])?;
    Ok(())
}

fn forget(db: &Connection, lane: &Lane) -> Result<(), OutboxError> {
    db.execute("DELETE FROM cloud WHERE name = ?1", [lane.to_string()])?;
    Ok(())
}

impl Store {
    fn places_of(&self, kind: Kind) -> Result<Vec<i64>, OutboxError> {
        let mut select = self.db.prepare("SELECT pos FROM record WHERE kind = ?1 ORDER BY pos")?;
        let places = select.query_map([kind.as_str()], |row| row.get(0))?;
        Ok(places.collect::<Result<_, _>>()?)
    }

    /// Deletes what every cloud has; true: there was some.
    pub(super) fn sweep(&mut self, done: Option<Done>) -> Result<bool, OutboxError> {
        let Some(done) = done else { return Ok(false) };
        let mut found = false;
        if done.samples > self.swept.samples {
            found |= self.delete_between((0, done.samples), None)?;
        }
        // What is no sample is gone up to here, whatever its place.
        let from = self.swept.others.max(done.samples);
        if done.others > from {
            found |= self.delete_between((from, done.others), Some(Kind::Sample))?;
        }
        self.swept = done;
        Ok(found)
    }

    /// Deletes the records behind one place up to another, but for one kind.
    fn delete_between(
        &mut self,
        (after, upto): (i64, i64),
        but: Option<Kind>,
    ) -> Result<bool, OutboxError> {
        let values = (after, upto, but.map_or("", Kind::as_str));
        let mut count = self.db.prepare_cached(
            "SELECT kind, count(*), sum(bytes) FROM record \
             WHERE pos > ?1 AND pos <= ?2 AND kind <> ?3 GROUP BY kind",
        )?;
        let mut rows = count.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let kind: Kind = row.get::<_, String>(0)?.parse().map_err(OutboxError::Corrupt)?;
            found.push((kind, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?));
        }
        drop(rows);
        drop(count);
        for (kind, records, bytes) in &found {
            self.tally.remove(*kind, *records, *bytes);
        }
        if !found.is_empty() {
            let delete = "DELETE FROM record WHERE pos > ?1 AND pos <= ?2 AND kind <> ?3";
            self.db.prepare_cached(delete)?.execute(values)?;
        }
        Ok(!found.is_empty())
    }

    /// Keeps a record that a cloud refused; the oldest of them make room.
    pub(super) fn keep_refused(&self, refused: &Refused) -> Result<(), OutboxError> {
        let Refused { lane, record, reason } = refused;
        let json = serde_json::to_string(record)
            .map_err(|error| OutboxError::Corrupt(error.to_string()))?;
        let bytes = json.len();
        self.db.execute(
            "INSERT INTO dead (cloud, reason, since, bytes, record) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![lane.to_string(), reason, self.clock.wall().to_string(), bytes, json],
        )?;
        self.db.execute(
            "DELETE FROM dead WHERE number NOT IN (SELECT number FROM (SELECT number, \
             sum(bytes) OVER (ORDER BY number DESC) AS held, \
             row_number() OVER (ORDER BY number DESC) AS place FROM dead) \
             WHERE held <= ?1 AND place <= ?2)",
            params![self.limits.used / 16, MOST_DEAD],
        )?;
        Ok(())
    }
}
