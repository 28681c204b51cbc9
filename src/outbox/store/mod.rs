//! The database: one file, one writer, SQLite with a write-ahead log.
//!
//! A [`Store`] that met an error is not used again: what it remembers (the next place, what is stored) is
//! read anew from the file by the one that takes its place.

mod boots;
mod clouds;
mod gaps;
mod memories;
mod open;
mod read;
mod room;
mod salvage;
mod tally;
mod thin;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use uuid::Uuid;

pub(super) use boots::Stamp;
use clouds::Done;
pub(super) use clouds::{Clouds, load as load_clouds};
pub(super) use memories::{Memories, load as load_memories};
pub(super) use open::{Format, beside, connect_to_read, pragma};
pub(super) use read::{Origins, Row, rows, sequence};
pub(super) use salvage::{finish_salvage, salvage};
pub(super) use tally::Tally;
pub use thin::Thinning;

use super::gap::{Losses, Reason};
use super::inlet::{Item, Refused};
use super::record::Place;
use super::{Draft, Kind, OutboxConfig, OutboxError};
use crate::event::Name;
use crate::task::{Clock, Uptime};

/// After so many appends what is counted is written down, so that the next start need not count more.
const COUNT_EVERY: i64 = 4096;

/// The open database.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    clock: Arc<dyn Clock>,
    format: Format,
    /// Newest epoch, which new records go into.
    epoch: u64,
    origins: Origins,
    next_pos: i64,
    next_seq: u64,
    tally: Tally,
    /// What `tally` on disk counts ends here.
    counted: i64,
    /// For how long eir had run when this was opened, in seconds, and when that was.
    lived: (u64, Instant),
    limits: Limits,
    /// No record of a kind lies before its place here.
    oldest: BTreeMap<Kind, i64>,
    /// Nothing up to here is young enough to become too old.
    aged: i64,
    thinning: Option<Thinning>,
    /// Summaries up to here were looked at, whether they can be made into fewer.
    thinned: i64,
    /// What was deleted because every cloud has it.
    swept: Done,
    /// The place of the gap record that was written last, by what it tells of.
    told: BTreeMap<(Reason, Option<Kind>, Option<u64>), i64>,
}

/// Whose outbox it is, and how it is to be written.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub config: OutboxConfig,
    pub device: Name,
    pub clock: Arc<dyn Clock>,
    pub formats: Formats,
    pub thinning: Option<Thinning>,
}

/// Which format a database is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Formats {
    /// The newest; an older database is brought up to it.
    #[default]
    Newest,
    /// The one before it, so that the program of before can go on with what this one wrote. A database that has
    /// the newest already stays as it is.
    Before,
}

/// What is known of the outbox that was there before: nothing of it is used again, even if the file is
/// another one now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub epoch: u64,
    /// The highest place of a record or a cursor.
    pub pos: i64,
}

/// What is to be written at once.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub items: &'a [Item],
    pub memories: &'a Memories,
    pub losses: &'a Losses,
    pub clouds: &'a mut Clouds,
    pub refused: &'a [Refused],
}

/// What a write came to.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Records that were dropped to make room, or for age.
    pub dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    page: u64,
    /// How many bytes the pages in use may take.
    used: u64,
    /// Seconds.
    age: Option<u64>,
}

impl Store {
    /// Opens the database, and makes it if it is not there.
    pub(super) fn open(site: &Site, known: Known) -> Result<Self, OutboxError> {
        Self::open_at(&site.config.path, site, known)
    }

    fn open_at(path: &Path, site: &Site, known: Known) -> Result<Self, OutboxError> {
        let Site { config, device, clock, .. } = site;
        // The log is emptied at a sixteenth of the room, or at 4 MiB, which is SQLite's own bound; the last
        // transaction before that makes it longer.
        let max = config.max.0 as u64;
        let wal = (max / 16).min(4 << 20);
        let db = open::connect(path, wal / 4096)?;
        let format = open::bring_up(&db, site, known.epoch)?;
        let limits = Limits {
            page: pragma(&db, "page_size")?,
            used: max - (max / 4).min(16 << 20),
            age: config.max_age.map(|age| age.0.as_secs()),
        };
        let mut store = Self {
            epoch: 0,
            format,
            origins: Origins::load(&db)?,
            next_pos: 1,
            next_seq: 1,
            tally: Tally::load(&db)?,
            counted: 0,
            lived: (0, clock.now()),
            limits,
            oldest: BTreeMap::new(),
            aged: 0,
            swept: Done::default(),
            told: BTreeMap::new(),
            thinning: site.thinning,
            thinned: 0,
            clock: Arc::clone(clock),
            db,
        };
        store.load()?;
        store.next_pos = store.next_pos.max(known.pos + 1);
        if store.origins.devices.get(&store.epoch) != Some(device) {
            store.change_device(device)?;
        }
        Ok(store)
    }

    fn load(&mut self) -> Result<(), OutboxError> {
        let (epoch, next_pos, next_seq, lived, counted) = self.db.query_row(
            "SELECT epoch, next_pos, next_seq, lived, counted FROM state",
            [],
            |row| {
                Ok((
                    row.get::<_, u64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, u64>(2)?,
                    row.get::<_, u64>(3)?,
                    row.get::<_, i64>(4)?,
                ))
            },
        )?;
        (self.epoch, self.next_pos, self.next_seq, self.counted) =
            (epoch, next_pos, next_seq, counted);
        self.lived.0 = lived;
        let last = "SELECT pos, epoch, seq, lived FROM record ORDER BY pos DESC LIMIT 1";
        let last = self.db.query_row(last, [], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, u64>(1)?,
                row.get::<_, u64>(2)?,
                row.get::<_, u64>(3)?,
            ))
        });
        if let Some((pos, of, seq, lived)) = last.optional()? {
            self.next_pos = self.next_pos.max(pos + 1);
            self.lived.0 = self.lived.0.max(lived);
            if of == self.epoch {
                self.next_seq = self.next_seq.max(seq + 1);
            }
        }
        let new = "SELECT kind, count(*), sum(bytes) FROM record WHERE pos > ?1 GROUP BY kind";
        let mut new = self.db.prepare(new)?;
        let mut rows = new.query([self.counted])?;
        while let Some(row) = rows.next()? {
            let kind = row.get::<_, String>(0)?.parse().map_err(OutboxError::Corrupt)?;
            self.tally.add(kind, row.get(1)?, row.get(2)?);
        }
        Ok(())
    }

    /// The records of a device with another name are another sequence.
    fn change_device(&mut self, device: &Name) -> Result<(), OutboxError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        self.epoch = open::begin_epoch(&self.db, device, self.epoch, &*self.clock)?;
        self.origins.devices.insert(self.epoch, device.clone());
        self.next_seq = 1;
        self.save_state()?;
        self.db.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Writes all of it, or nothing. When this returns without an error, it is on disk.
    pub(super) fn write(&mut self, work: &mut Work<'_>) -> Result<Written, OutboxError> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let mut dropped = self.expire()?;
        dropped.merge(self.make_room(work.items, work.clouds)?);
        self.learn_when_it_began()?;
        let mut deleted = !dropped.is_empty();
        for gap in dropped.gaps().chain(work.losses.gaps()) {
            self.tell(&gap, work.clouds)?;
        }
        for item in work.items {
            self.insert(&item.draft, item.made.as_ref())?;
        }
        for refused in work.refused {
            self.keep_refused(refused)?;
        }
        self.save_memories(work.memories)?;
        work.clouds.save(&self.db)?;
        deleted |= self.sweep(work.clouds.done_by_all())?;
        if deleted || self.next_pos - self.counted > COUNT_EVERY {
            self.save_state()?;
        }
        self.db.execute_batch("COMMIT")?;
        work.clouds.saved();
        Ok(Written { dropped: dropped.count() })
    }

    /// `made`: when that was, for a board that may not know the time.
    fn insert(&mut self, draft: &Draft, made: Option<&Uptime>) -> Result<(), OutboxError> {
        let stamp = self.stamp(made)?;
        self.insert_stamped(draft, stamp)
    }

    fn insert_stamped(&mut self, draft: &Draft, stamp: Option<Stamp>) -> Result<(), OutboxError> {
        let place = Place { pos: self.next_pos, epoch: self.epoch, seq: self.next_seq };
        self.insert_at(place, self.lived(), draft, stamp)?;
        self.next_pos += 1;
        self.next_seq += 1;
        Ok(())
    }

    fn insert_at(
        &mut self,
        place: Place,
        lived: u64,
        draft: &Draft,
        stamp: Option<Stamp>,
    ) -> Result<(), OutboxError> {
        let bytes = draft.body.get().len() as u64;
        let (boot, uptime) = stamp.map(|stamp| (stamp.boot, stamp.uptime)).unzip();
        let (id, at) = (&draft.id.as_bytes()[..], draft.at.to_string());
        let (kind, body) = (draft.kind.as_str(), draft.body.get());
        let Place { pos, epoch, seq } = place;
        let values: [&dyn ToSql; 12] = [
            &pos,
            &epoch,
            &seq,
            &id,
            &kind,
            &at,
            &lived,
            &bytes,
            &draft.origin,
            &body,
            &boot,
            &uptime,
        ];
        if self.format.has_memory() {
            let insert = "INSERT INTO record (pos, epoch, seq, id, kind, at, lived, bytes, origin, \
                          body, boot, uptime) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            self.db.prepare_cached(insert)?.execute(&values[..])?;
        } else {
            let insert = "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            self.db.prepare_cached(insert)?.execute(&values[..10])?;
        }
        self.tally.add(draft.kind, 1, bytes);
        Ok(())
    }

    /// Where to go on, and what was counted, should no record be left to tell.
    fn save_state(&mut self) -> Result<(), OutboxError> {
        self.counted = self.next_pos - 1;
        let mut update = self.db.prepare_cached(
            "UPDATE state SET epoch = ?1, next_pos = ?2, next_seq = ?3, lived = ?4, counted = ?5",
        )?;
        update.execute(params![
            self.epoch,
            self.next_pos,
            self.next_seq,
            self.lived(),
            self.counted
        ])?;
        drop(update);
        self.tally.save(&self.db)
    }

    /// Whether the disk takes anything at all; also writes down for how long eir has run.
    pub(super) fn probe(&mut self) -> Result<(), OutboxError> {
        let lived = self.lived();
        self.db.execute("UPDATE state SET lived = ?1", [lived])?;
        Ok(())
    }

    /// After an error of the disk: what is in the log may be in memory only, whatever the disk said. Writes
    /// it to the file, elsewhere on the disk, and begins the log anew.
    pub(super) fn distrust_log(&self) -> Result<(), OutboxError> {
        open::checkpoint(&self.db)
    }

    /// For how long eir has run with this database, in seconds.
    fn lived(&self) -> u64 {
        self.lived.0 + self.clock.now().saturating_duration_since(self.lived.1).as_secs()
    }

    /// The place of the newest record.
    pub(super) fn newest(&self) -> i64 {
        self.next_pos - 1
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When the oldest record was made; none where there is none, or it cannot be read now.
    pub(super) fn oldest(&self) -> Option<jiff::Timestamp> {
        let mut first =
            self.db.prepare_cached("SELECT at FROM record ORDER BY pos LIMIT 1").ok()?;
        let at: String = first.query_row([], |row| row.get(0)).ok()?;
        at.parse().ok()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The newest record is this one: a commit that seemed to fail did not.
    pub(super) fn ends_with(&self, id: Uuid) -> Result<bool, OutboxError> {
        let last = "SELECT id FROM record ORDER BY pos DESC LIMIT 1";
        let last = self.db.query_row(last, [], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        Ok(last.is_some_and(|last| last == id.as_bytes()))
    }
}
