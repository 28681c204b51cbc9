//! What is done with a damaged database.
//!
//! All that can be read goes into a fresh one beside it (`….salvage`); only when that is whole and on disk
//! the damaged one is set aside (`….corrupt-N`) and the fresh one takes its place. A power cut on the way
//! leaves the damaged one where it was, to be salvaged again, or a fresh one that only needs its name.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::super::{Gap, OutboxError, Reason};
use super::{Format, Known, Row, Site, Store, beside, clouds, read, rows};
use crate::disk;
use crate::event::Name;

/// So many damaged databases are kept; an older one is deleted.
const MOST: u64 = 3;

/// Rows copied in one transaction.
const STEP: u64 = 1000;

/// Rows looked for one by one in the part of a database that cannot be walked through.
const MOST_PROBES: i64 = 50_000;

/// What became of a damaged database.
#[derive(Debug)]
pub(in crate::outbox) struct Salvaged {
    /// Where it is now.
    pub aside: PathBuf,
    /// Records that could be read.
    pub records: u64,
    /// Records that are known to be missing.
    pub missing: u64,
}

/// Puts a fresh database with all that can be read in the place of a damaged one.
pub(in crate::outbox) fn salvage(site: &Site, known: Known) -> Result<Salvaged, OutboxError> {
    let path = &site.config.path;
    let staged = beside(path, ".salvage");
    for ending in ["", "-wal", "-shm", "-journal"] {
        remove(&beside(&staged, ending))?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // Where not even that works, there is nothing to be had.
    let damaged = Connection::open_with_flags(path, flags).ok();
    let before = damaged.as_ref().map_or(0, newest_epoch).max(known.epoch);
    let known = Known { epoch: before, ..known };
    let mut fresh = Store::open_at(&staged, site, known)?;
    let records = match &damaged {
        Some(damaged) => fresh.adopt(damaged)?,
        None => 0,
    };
    drop(damaged);
    let missing = fresh.tell_what_is_missing(before)?;
    fresh.close_as_one_file()?;
    let aside = set_aside(path)?;
    finish_salvage(path)?;
    Ok(Salvaged { aside, records, missing })
}

/// Gives a salvaged database its name, should that be all that is left to do.
pub(in crate::outbox) fn finish_salvage(path: &Path) -> Result<(), OutboxError> {
    let staged = beside(path, ".salvage");
    let here = |path: &Path| path.try_exists().map_err(|error| OutboxError::io(path, error));
    if here(path)? || !here(&staged)? {
        return Ok(());
    }
    // A log that is left here belongs to what was set aside last; SQLite must not take it for the new one's.
    let aside = newest_aside(path)?.map(|number| beside(path, &format!(".corrupt-{number}")));
    let log = beside(path, "-wal");
    match aside.filter(|_| log.exists()) {
        Some(aside) => rename(&log, &beside(&aside, "-wal"))?,
        None => remove(&log)?,
    }
    // Nor a journal, by which SQLite would take back the new one's first page.
    remove(&beside(path, "-journal"))?;
    remove(&beside(path, "-shm"))?;
    rename(&staged, path)
}

fn set_aside(path: &Path) -> Result<PathBuf, OutboxError> {
    let number = newest_aside(path)?.unwrap_or(0) + 1;
    let aside = beside(path, &format!(".corrupt-{number}"));
    rename(path, &aside)?;
    if let Some(old) = number.checked_sub(MOST) {
        for ending in ["", "-wal"] {
            remove(&beside(path, &format!(".corrupt-{old}{ending}")))?;
        }
    }
    Ok(aside)
}

/// The number of the database that was set aside last.
fn newest_aside(path: &Path) -> Result<Option<u64>, OutboxError> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = fs::read_dir(directory).map_err(|error| OutboxError::io(directory, error))?;
    let numbers = entries.filter_map(|entry| {
        let found = entry.ok()?.file_name().to_string_lossy().into_owned();
        found.strip_prefix(&name)?.strip_prefix(".corrupt-")?.parse().ok()
    });
    Ok(numbers.max())
}

fn rename(from: &Path, to: &Path) -> Result<(), OutboxError> {
    disk::rename(from, to).map_err(|error| OutboxError::io(from, error))
}

fn remove(path: &Path) -> Result<(), OutboxError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OutboxError::io(path, error)),
        _ => Ok(()),
    }
}

fn newest_epoch(damaged: &Connection) -> u64 {
    let ask = |query| damaged.query_row(query, [], |row| row.get::<_, u64>(0)).unwrap_or(0);
    let known = ask("SELECT max(epoch) FROM epoch");
    known.max(ask("SELECT epoch FROM state"))
}

impl Store {
    /// Copies everything that can be read; each row keeps its place, so that cursors stay right.
    fn adopt(&mut self, damaged: &Connection) -> Result<u64, OutboxError> {
        let unknown = self.origins.devices.get(&self.epoch).cloned();
        for (epoch, device) in read::devices(damaged).unwrap_or_default() {
            self.add_epoch(epoch, &device)?;
        }
        let mut next_pos = 1;
        for (lane, progress) in clouds::load(damaged).unwrap_or_default() {
            clouds::save(&self.db, &lane, &progress)?;
            let last = progress.beyond().values().copied().max();
            next_pos = next_pos.max(progress.cursor().max(last.unwrap_or(0)) + 1);
        }
        let state = |column: &str| {
            let query = format!("SELECT {column} FROM state");
            damaged.query_row(&query, [], |row| row.get::<_, i64>(0)).ok()
        };
        next_pos = next_pos.max(state("next_pos").unwrap_or(1));
        let lived = state("lived").and_then(|lived| u64::try_from(lived).ok());
        self.lived.0 = self.lived.0.max(lived.unwrap_or(0));
        if self.format.has_memory() {
            self.adopt_boots(damaged)?;
            self.adopt_memories(damaged)?;
        }
        let mut copy = Copy { records: 0, open: false };
        let mut highest = 0;
        walk(damaged, |row| {
            highest = highest.max(row.place.pos);
            if !self.origins.devices.contains_key(&row.place.epoch)
                && let Some(device) = &unknown
            {
                self.add_epoch(row.place.epoch, device)?;
            }
            copy.row(self, &row)
        })?;
        copy.finish(self)?;
        self.next_pos = self.next_pos.max(next_pos).max(highest + 1);
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        self.save_state()?;
        self.db.execute_batch("COMMIT")?;
        Ok(copy.records)
    }

    fn add_epoch(&mut self, epoch: u64, device: &Name) -> Result<(), OutboxError> {
        self.db.execute(
            "INSERT OR IGNORE INTO epoch VALUES (?1, ?2, '')",
            params![epoch, device.as_str()],
        )?;
        self.origins.devices.entry(epoch).or_insert_with(|| device.clone());
        Ok(())
    }

    /// Writes a gap record for what is not there any more, as far as that is known.
    fn tell_what_is_missing(&mut self, newest_epoch: u64) -> Result<u64, OutboxError> {
        let missing = read::sequence(&self.db)?.missing();
        let mut epochs: Vec<_> = missing.iter().map(|missing| missing.epoch).collect();
        epochs.push(newest_epoch);
        epochs.dedup();
        let at = self.clock.wall();
        let mut total = 0;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        for epoch in epochs {
            let of: Vec<_> = missing.iter().filter(|missing| missing.epoch == epoch).collect();
            let count = of.iter().map(|missing| missing.last - missing.first + 1).sum();
            total += count;
            let gap = Gap {
                reason: Reason::Corrupt,
                kind: None,
                count,
                bytes: None,
                epoch: Some(epoch),
                first: of.first().map(|missing| missing.first),
                last: of.last().map(|missing| missing.last),
                from: None,
                to: None,
                told: None,
            };
            self.insert(&gap.draft(at), self.clock.uptime().as_ref())?;
        }
        self.db.execute_batch("COMMIT")?;
        Ok(total)
    }

    /// Everything in the file itself, with no log beside it.
    fn close_as_one_file(self) -> Result<(), OutboxError> {
        self.db.pragma_update(None, "journal_mode", "DELETE")?;
        self.db.close().map_err(|(_, error)| OutboxError::from(error))
    }
}

/// Copies rows, many in one transaction.
struct Copy {
    records: u64,
    open: bool,
}

impl Copy {
    fn row(&mut self, into: &mut Store, row: &Row) -> Result<(), OutboxError> {
        if !self.open {
            into.db.execute_batch("BEGIN IMMEDIATE")?;
            self.open = true;
        }
        into.insert_at(row.place, row.lived, &row.draft, row.stamp)?;
        into.lived.0 = into.lived.0.max(row.lived);
        self.records += 1;
        if self.records.is_multiple_of(STEP) { self.finish(into) } else { Ok(()) }
    }

    fn finish(&mut self, into: &Store) -> Result<(), OutboxError> {
        if std::mem::take(&mut self.open) {
            into.db.execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

/// Every row that can be read: from the oldest up to the first that cannot, from the newest down likewise,
/// and what lies between one by one. Errors are those of `each`.
fn walk(
    damaged: &Connection,
    mut each: impl FnMut(Row) -> Result<(), OutboxError>,
) -> Result<(), OutboxError> {
    if damaged.prepare("SELECT pos FROM record").is_err() {
        // Not even the table is there.
        return Ok(());
    }
    let mut outcome = Ok(());
    let mut upto = 0;
    let _where_it_ended = rows(damaged, None, 0, |row| {
        upto = row.place.pos;
        outcome = each(row);
        Ok(if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    outcome?;
    let mut downto = i64::MAX;
    while let Some(row) = one(damaged, "pos < ?1 ORDER BY pos DESC LIMIT 1", downto) {
        if row.place.pos <= upto {
            return Ok(());
        }
        downto = row.place.pos;
        each(row)?;
    }
    for pos in upto + 1..downto.min(upto + MOST_PROBES) {
        if let Some(row) = one(damaged, "pos = ?1", pos) {
            each(row)?;
        }
    }
    Ok(())
}

fn one(damaged: &Connection, place: &str, value: i64) -> Option<Row> {
    let columns = read::columns(Format::of(damaged).ok()?);
    let query = format!("SELECT {columns} FROM record WHERE {place}");
    let mut select = damaged.prepare_cached(&query).ok()?;
    let mut rows = select.query([value]).ok()?;
    let row = rows.next().ok()??;
    Row::read(row).ok()
}
