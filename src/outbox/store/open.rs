//! Opening the database, or making it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rusqlite::{Connection, OpenFlags, params};

use super::super::OutboxError;
use super::{Formats, Site, Tally};
use crate::event::Name;
use crate::task::Clock;

/// The newest format.
const FORMAT: i64 = 2;

/// "eiro": says that a database is an outbox.
const APPLICATION: i64 = 0x6569_726f;

/// What each format adds to the one before.
const STEPS: [&str; 2] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];

/// How long another process that looks in may keep the writer waiting.
const BUSY: Duration = Duration::from_secs(5);

/// A writer's connection. The file is looked at before SQLite may touch it: one of a newer format stays
/// as it is.
pub(super) fn connect(path: &Path, wal_pages: u64) -> Result<Connection, OutboxError> {
    look(path)?;
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(BUSY)?;
    check_format(&db, path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", wal_pages)?;
    db.pragma_update(None, "cell_size_check", true)?;
    let page: u64 = pragma(&db, "page_size")?;
    db.pragma_update(None, "journal_size_limit", wal_pages * page)?;
    Ok(db)
}

/// A connection that only reads, beside a writer or without one.
pub(in crate::outbox) fn connect_to_read(path: &Path) -> Result<Connection, OutboxError> {
    if !path.exists() {
        return Err(OutboxError::Absent(path.to_owned()));
    }
    look(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |db: Connection| -> Result<Connection, OutboxError> {
        db.busy_timeout(BUSY)?;
        check_format(&db, path)?;
        Ok(db)
    };
    match open(Connection::open_with_flags(path, flags)?) {
        // Where nobody may write and no writer has left a log, what is in the file is all there is.
        Err(OutboxError::Disk(_)) if !beside(path, "-wal").exists() => {
            let uri = format!("file:{}?immutable=1", escaped(path));
            open(Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?)
        }
        opened => opened,
    }
}

fn escaped(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    bytes
        .map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The file of that ending that belongs to the database.
pub(in crate::outbox) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Reads the header by hand (<https://www.sqlite.org/fileformat2.html>, 1.3): the format at byte 60, the
/// application at byte 68.
fn look(path: &Path) -> Result<(), OutboxError> {
    let mut header = [0; 100];
    let read = fs::File::open(path).and_then(|mut file| {
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        file.read_exact(&mut header)
    });
    match read {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            return Err(OutboxError::Directory(path.to_owned()));
        }
        // Not there yet, or made and not filled yet.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
        {
            return Ok(());
        }
        Err(error) => return Err(OutboxError::io(path, error)),
    }
    if !header.starts_with(b"SQLite format 3\0") {
        // The power went while the first page was written; SQLite takes that back.
        if beside(path, "-journal").exists() {
            return Ok(());
        }
        return Err(OutboxError::Corrupt("it does not begin like a database".to_owned()));
    }
    let word = |at: usize| header[at..].first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
    judge(path, i64::from(word(60)), i64::from(word(68)), false)
}

/// The same by way of SQLite, which knows what is still in the log.
fn check_format(db: &Connection, path: &Path) -> Result<(), OutboxError> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    judge(path, pragma(db, "user_version")?, pragma(db, "application_id")?, tables > 0)
}

fn judge(path: &Path, format: i64, application: i64, filled: bool) -> Result<(), OutboxError> {
    if application != APPLICATION && (application != 0 || format != 0 || filled) {
        return Err(OutboxError::Foreign(path.to_owned()));
    }
    if format > FORMAT {
        return Err(OutboxError::Newer { path: path.to_owned(), found: format, known: FORMAT });
    }
    Ok(())
}

/// Makes the tables and the first epoch of a database that has none, and brings an older one up to the format
/// that is to be written; that is returned. `epoch_before` is the newest epoch that is known from elsewhere.
pub(super) fn bring_up(
    db: &Connection,
    site: &Site,
    epoch_before: u64,
) -> Result<Format, OutboxError> {
    let found: i64 = pragma(db, "user_version")?;
    let wanted = match site.formats {
        Formats::Newest => FORMAT,
        // What is newer already stays: who wrote it has been committed to.
        Formats::Before => FORMAT - 1,
    };
    if found >= wanted {
        return Ok(Format(found));
    }
    db.execute_batch("BEGIN IMMEDIATE")?;
    for (step, number) in STEPS.iter().zip(1..=wanted) {
        if number > found {
            db.execute_batch(step)?;
        }
    }
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", wanted)?;
    if found == 0 {
        let epoch = begin_epoch(db, &site.device, epoch_before, &*site.clock)?;
        db.execute("INSERT INTO state VALUES (1, ?1, 1, 1, 0, 0)", params![epoch])?;
        Tally::default().save(db)?;
    }
    db.execute_batch("COMMIT")?;
    // From now on the file alone says what it is.
    checkpoint(db)?;
    if found > 0 {
        tracing::info!(from = found, to = wanted, "the outbox has a newer format now");
    }
    Ok(Format(wanted))
}

/// The format of an open database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::outbox) struct Format(i64);

impl Format {
    pub(in crate::outbox) fn of(db: &Connection) -> Result<Self, OutboxError> {
        pragma(db, "user_version").map(Self)
    }

    /// It has a place for what eir remembers, and for when the board was started.
    pub(in crate::outbox) const fn has_memory(self) -> bool {
        self.0 >= 2
    }
}

/// A new epoch, larger than the one before and below 2⁵³.
pub(super) fn begin_epoch(
    db: &Connection,
    device: &Name,
    before: u64,
    clock: &dyn Clock,
) -> Result<u64, OutboxError> {
    let seconds = u64::try_from(clock.wall().as_second()).unwrap_or(0) & 0xffff_ffff;
    let epoch = (seconds << 21 | rand::rng().random_range(0..1 << 21)).max(before + 1);
    db.execute(
        "INSERT INTO epoch VALUES (?1, ?2, ?3)",
        params![epoch, device.as_str(), clock.wall().to_string()],
    )?;
    Ok(epoch)
}

/// Moves everything from the log into the file, and syncs it.
pub(super) fn checkpoint(db: &Connection) -> Result<(), OutboxError> {
    // A reader elsewhere may keep it from being complete; the log stays then, and is whole.
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

pub(in crate::outbox) fn pragma<T: rusqlite::types::FromSql>(
    db: &Connection,
    name: &str,
) -> Result<T, OutboxError> {
    Ok(db.pragma_query_value(None, name, |row| row.get(0))?)
}
