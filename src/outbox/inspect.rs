//! Looking into an outbox from outside, beside a running service or without one.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};
use schemars::JsonSchema;
use serde::Serialize;

use super::store::{self, Formats, Known, Origins, Site, connect_to_read};
use super::{Amount, Kind, OutboxConfig, OutboxError, Record, writer};
use crate::event::{ByteSize, Name};
use crate::task::SystemClock;

/// Findings that are listed; more are counted.
const MOST_FINDINGS: usize = 20;

/// An outbox opened to be read, and never written to.
#[derive(Debug)]
pub struct Inspector {
    path: PathBuf,
    db: Connection,
    origins: Origins,
}

/// What is in an outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Contents {
    /// The version of the database's format.
    pub format: i64,
    /// The epoch that new records go into.
    pub epoch: u64,
    /// The device of that epoch.
    pub device: Option<Name>,
    /// The sequence number that the next record gets.
    pub next_seq: u64,
    /// What there is of each kind.
    pub kinds: BTreeMap<Kind, Amount>,
    /// When the oldest record happened, as it is written.
    pub oldest: Option<String>,
    /// When the newest did.
    pub newest: Option<String>,
    /// What each cloud has, by name.
    pub clouds: BTreeMap<String, CloudContents>,
    /// Records that a cloud refused for good.
    pub dead: u64,
    /// The size of the database, its log left out.
    pub file: u64,
    /// Of that, what new records will use again.
    pub free: u64,
}

/// What one cloud has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CloudContents {
    /// Everything up to this place.
    pub cursor: i64,
    /// Records that it has not got.
    pub behind: u64,
}

/// Something that is wrong in an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding(String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of a damaged outbox.
#[derive(Debug)]
pub struct Repaired {
    /// Where the damaged database is now.
    pub aside: PathBuf,
    /// Records that were salvaged.
    pub records: u64,
    /// Records that are known to be missing.
    pub missing: u64,
}

impl Inspector {
    /// Opens an outbox to read.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        let db = connect_to_read(path)?;
        let origins = Origins::load(&db)?;
        Ok(Self { path: path.to_owned(), db, origins })
    }

    /// Writes all of it to a file that is not there yet, as it is at one moment.
    pub fn copy(&self, to: &Path) -> Result<(), OutboxError> {
        self.db.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
        Ok(())
    }

    /// What there is.
    pub fn contents(&self) -> Result<Contents, OutboxError> {
        let mut kinds = BTreeMap::new();
        let mut count =
            self.db.prepare("SELECT kind, count(*), sum(bytes) FROM record GROUP BY kind")?;
        let mut rows = count.query([])?;
        while let Some(row) = rows.next()? {
            let kind: Kind = row.get::<_, String>(0)?.parse().map_err(OutboxError::Corrupt)?;
            kinds.insert(kind, Amount { records: row.get(1)?, bytes: row.get(2)? });
        }
        let mut clouds = BTreeMap::new();
        for (lane, progress) in store::load_clouds(&self.db)? {
            let mut behind = 0;
            let missing = "SELECT pos FROM record WHERE pos > ?1 AND kind = coalesce(?2, kind)";
            let mut missing = self.db.prepare(missing)?;
            let mut rows = missing.query((progress.cursor(), lane.only().map(Kind::as_str)))?;
            while let Some(row) = rows.next()? {
                behind += u64::from(!progress.is_done(row.get(0)?));
            }
            let cursor = progress.cursor();
            clouds.insert(lane.to_string(), CloudContents { cursor, behind });
        }
        let (epoch, next) = self.db.query_row("SELECT epoch, next_seq FROM state", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))
        })?;
        let last = "SELECT seq FROM record WHERE epoch = ?1 ORDER BY pos DESC LIMIT 1";
        let last = self.db.query_row(last, [epoch], |row| row.get::<_, u64>(0)).optional()?;
        let at = |order: &str| {
            let query = format!("SELECT at FROM record ORDER BY pos {order} LIMIT 1");
            self.db.query_row(&query, [], |row| row.get::<_, String>(0)).optional()
        };
        let page: u64 = store::pragma(&self.db, "page_size")?;
        Ok(Contents {
            format: store::pragma(&self.db, "user_version")?,
            epoch,
            device: self.origins.devices.get(&epoch).cloned(),
            next_seq: next.max(last.unwrap_or(0) + 1),
            kinds,
            oldest: at("ASC")?,
            newest: at("DESC")?,
            clouds,
            dead: self.db.query_row("SELECT count(*) FROM dead", [], |row| row.get(0))?,
            file: page * store::pragma::<u64>(&self.db, "page_count")?,
            free: page * store::pragma::<u64>(&self.db, "freelist_count")?,
        })
    }

    /// Calls `each` for every record, oldest first, until it breaks.
    pub fn records<B>(
        &self,
        mut each: impl FnMut(Record) -> ControlFlow<B>,
    ) -> Result<Option<B>, OutboxError> {
        let mut broken = None;
        store::rows(&self.db, None, 0, |row| {
            Ok(match each(row.record(&self.origins)?) {
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
                ControlFlow::Break(value) => {
                    broken = Some(value);
                    ControlFlow::Break(())
                }
            })
        })?;
        Ok(broken)
    }

    /// Checks the database and the sequence of its records; what is wrong is returned.
    pub fn verify(&self) -> Result<Vec<Finding>, OutboxError> {
        let mut findings = match self.integrity() {
            Err(OutboxError::Corrupt(damage)) => vec![Finding(damage)],
            checked => checked?,
        };
        let sequence = match store::sequence(&self.db) {
            Ok(sequence) => sequence,
            Err(error) => {
                findings.push(Finding(format!("not every record can be read: {error}")));
                return Ok(findings);
            }
        };
        let twice = sequence.misplaced().iter().map(|(epoch, seq)| {
            Finding(format!("epoch {epoch}: number {seq} is there twice, or in the wrong order"))
        });
        findings.extend(twice.take(MOST_FINDINGS));
        let missing = sequence.missing().into_iter().map(|missing| {
            let (epoch, first, last) = (missing.epoch, missing.first, missing.last);
            Finding(format!(
                "epoch {epoch}: numbers {first} to {last} are missing, and no gap record says why"
            ))
        });
        findings.extend(missing.take(MOST_FINDINGS));
        Ok(findings)
    }

    /// What SQLite finds wrong with the file.
    fn integrity(&self) -> Result<Vec<Finding>, OutboxError> {
        let mut check = self.db.prepare(&format!("PRAGMA integrity_check({MOST_FINDINGS})"))?;
        let mut rows = check.query([])?;
        let mut findings = Vec::new();
        while let Some(row) = rows.next()? {
            let line: String = row.get(0)?;
            if line != "ok" {
                findings.push(Finding(line));
            }
        }
        Ok(findings)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Checks an outbox that may be too damaged to be opened; what is wrong is returned.
pub fn verify(path: &Path) -> Result<Vec<Finding>, OutboxError> {
    match Inspector::open(path).and_then(|outbox| outbox.verify()) {
        Err(OutboxError::Corrupt(damage)) => Ok(vec![Finding(damage)]),
        checked => checked,
    }
}

/// Sets a damaged outbox aside and puts what can be read into a fresh one; `None`: nothing is wrong with it.
/// No other process may have it open.
pub fn repair(path: &Path, device: &Name) -> Result<Option<Repaired>, OutboxError> {
    if !path.exists() {
        return Err(OutboxError::Absent(path.to_owned()));
    }
    let _lock = writer::lock(path)?;
    if verify(path)?.is_empty() {
        return Ok(None);
    }
    // Everything that is there is to be kept, however much it is.
    let max = ByteSize(usize::MAX / 2);
    let config = OutboxConfig { path: path.to_owned(), max, ..OutboxConfig::default() };
    let clock = Arc::new(SystemClock);
    let site =
        Site { config, device: device.clone(), clock, formats: Formats::Newest, thinning: None };
    let done = store::salvage(&site, Known::default())?;
    Ok(Some(Repaired { aside: done.aside, records: done.records, missing: done.missing }))
}
