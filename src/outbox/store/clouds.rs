//! What each cloud has, in memory and on disk.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};

use super::super::inlet::Refused;
use super::super::progress::Progress;
use super::super::{Kind, OutboxError};
use super::Store;
use crate::event::Name;

/// Records that clouds refused are kept up to this number, and to a sixteenth of the outbox.
const MOST_DEAD: i64 = 1000;

/// The progress of each cloud. Lives longer than a [`Store`]: what could not be written is not forgotten.
#[derive(Debug, Default)]
pub(in crate::outbox) struct Clouds {
    configured: BTreeSet<Name>,
    progress: BTreeMap<Name, Progress>,
    changed: BTreeSet<Name>,
    /// What was handed out since the start: it may have arrived, though nobody said so yet.
    handed: BTreeMap<Name, Progress>,
}

impl Clouds {
    /// The clouds that records are kept for. What another one had is remembered, should it come back.
    pub(in crate::outbox) fn configure(&mut self, clouds: Vec<Name>) {
        self.configured = clouds.into_iter().collect();
    }

    pub(in crate::outbox) fn progress(&self, cloud: &Name) -> Progress {
        self.progress.get(cloud).cloned().unwrap_or_default()
    }

    pub(in crate::outbox) fn mark(&mut self, cloud: &Name, after: i64, upto: i64) {
        self.progress.entry(cloud.clone()).or_default().mark(after, upto);
        self.changed.insert(cloud.clone());
    }

    /// A reader got everything behind `after` up to `upto`.
    pub(in crate::outbox) fn hand_out(&mut self, cloud: &Name, after: i64, upto: i64) {
        self.handed.entry(cloud.clone()).or_default().mark(after, upto);
    }

    /// Some cloud has the record at this place, or may have it.
    pub(super) fn may_have(&self, pos: i64) -> bool {
        self.progress.values().chain(self.handed.values()).any(|progress| progress.is_done(pos))
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

    /// Everything up to here has been delivered to every cloud; `None` without clouds.
    pub(super) fn done_by_all(&self) -> Option<i64> {
        self.configured.iter().map(|cloud| self.progress(cloud).cursor()).min()
    }

    /// Adds what the database knows.
    pub(in crate::outbox) fn load(&mut self, store: &Store) -> Result<(), OutboxError> {
        for (name, progress) in load(&store.db)? {
            let mine = self.progress.entry(name.clone()).or_default();
            mine.merge(&progress);
            if *mine != progress {
                self.changed.insert(name);
            }
        }
        Ok(())
    }

    pub(super) fn save(&self, db: &Connection) -> Result<(), OutboxError> {
        for name in &self.changed {
            save(db, name, &self.progress(name))?;
        }
        Ok(())
    }

    pub(super) fn saved(&mut self) {
        self.changed.clear();
    }
}

/// What the database knows of each cloud.
pub(in crate::outbox) fn load(db: &Connection) -> Result<BTreeMap<Name, Progress>, OutboxError> {
    let mut select = db.prepare("SELECT name, cursor, beyond FROM cloud")?;
    let mut rows = select.query([])?;
    let mut clouds = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let beyond: Vec<(i64, i64)> = serde_json::from_str(&row.get::<_, String>(2)?)
            .map_err(|error| OutboxError::Corrupt(error.to_string()))?;
        let progress = Progress::new(row.get(1)?, beyond.into_iter().collect());
        clouds.insert(Name::near(&row.get::<_, String>(0)?), progress);
    }
    Ok(clouds)
}

pub(super) fn save(db: &Connection, name: &Name, progress: &Progress) -> Result<(), OutboxError> {
    let beyond: Vec<_> =
        progress.beyond().iter().map(|(from, to)| format!("[{from},{to}]")).collect();
    let beyond = format!("[{}]", beyond.join(","));
    let mut insert = db.prepare_cached("INSERT OR REPLACE INTO cloud VALUES (?1, ?2, ?3)")?;
    insert.execute(params![name.as_str(), progress.cursor(), beyond])?;
    Ok(())
}

impl Store {
    /// Deletes what every cloud has; true: there was some.
    pub(super) fn sweep(&mut self, done: Option<i64>) -> Result<bool, OutboxError> {
        let Some(done) = done.filter(|done| *done > self.swept) else { return Ok(false) };
        self.swept = done;
        let mut count = self.db.prepare_cached(
            "SELECT kind, count(*), sum(bytes) FROM record WHERE pos <= ?1 GROUP BY kind",
        )?;
        let mut rows = count.query([done])?;
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
            self.db.prepare_cached("DELETE FROM record WHERE pos <= ?1")?.execute([done])?;
        }
        Ok(!found.is_empty())
    }

    /// Keeps a record that a cloud refused; the oldest of them make room.
    pub(super) fn keep_refused(&self, refused: &Refused) -> Result<(), OutboxError> {
        let Refused { cloud, record, reason } = refused;
        let json = serde_json::to_string(record)
            .map_err(|error| OutboxError::Corrupt(error.to_string()))?;
        let bytes = json.len();
        self.db.execute(
            "INSERT INTO dead (cloud, reason, since, bytes, record) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![cloud.as_str(), reason, self.clock.wall().to_string(), bytes, json],
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
