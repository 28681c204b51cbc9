//! Boards whose clock is set some time after the start: when their records were really made.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::super::OutboxError;
use super::{Format, Store};
use crate::task::Uptime;

/// When a record was made whose board did not know the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::outbox) struct Stamp {
    /// The number of the start of the board.
    pub boot: i64,
    /// Milliseconds since.
    pub uptime: i64,
}

/// The starts of the board that records were stamped in.
#[derive(Debug, Default)]
pub(in crate::outbox) struct Boots(BTreeMap<i64, Boot>);

#[derive(Debug)]
struct Boot {
    id: String,
    /// Milliseconds since 1970, where that is known by now.
    began: Option<i64>,
}

impl Boots {
    pub(in crate::outbox) fn load(db: &Connection) -> Result<Self, OutboxError> {
        if !Format::of(db)?.has_memory() {
            return Ok(Self::default());
        }
        let mut select = db.prepare("SELECT number, id, began FROM boot")?;
        let rows = select.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, Boot { id: row.get(1)?, began: row.get(2)? }))
        })?;
        Ok(Self(rows.collect::<Result<_, _>>()?))
    }

    /// When a record was made, if that is known by now.
    pub(in crate::outbox) fn moment(&self, stamp: Stamp) -> Option<Timestamp> {
        let began = self.0.get(&stamp.boot)?.began?;
        Timestamp::from_millisecond(began.saturating_add(stamp.uptime)).ok()
    }

    pub(in crate::outbox) fn id(&self, stamp: Stamp) -> Option<&str> {
        self.0.get(&stamp.boot).map(|boot| boot.id.as_str())
    }

    fn find(&self, id: &str) -> Option<(i64, &Boot)> {
        self.0.iter().find(|(_, boot)| boot.id == id).map(|(number, boot)| (*number, boot))
    }
}

impl Store {
    /// What is written with a record that was made at this moment; nothing where the clock was right.
    pub(super) fn stamp(&mut self, made: Option<&Uptime>) -> Result<Option<Stamp>, OutboxError> {
        let Some(made) = made.filter(|made| !made.synced && self.format.has_memory()) else {
            return Ok(None);
        };
        let boot = match self.origins.boots.find(&made.boot) {
            Some((number, _)) => number,
            None => self.begin_boot(&made.boot)?,
        };
        Ok(Some(Stamp { boot, uptime: i64::try_from(made.since.as_millis()).unwrap_or(i64::MAX) }))
    }

    fn begin_boot(&mut self, id: &str) -> Result<i64, OutboxError> {
        // Those that no record is stamped with any more are forgotten.
        self.db.execute(
            "DELETE FROM boot WHERE NOT EXISTS (SELECT 1 FROM record WHERE record.boot = number)",
            [],
        )?;
        // A number is not used again as long as its row is there; a new one is larger than all.
        self.db.execute("INSERT INTO boot (id) VALUES (?1)", [id])?;
        let number = self.db.last_insert_rowid();
        self.origins.boots = Boots::load(&self.db)?;
        Ok(number)
    }

    /// Once the clock is right, it is known when the board was started.
    pub(super) fn learn_when_it_began(&mut self) -> Result<(), OutboxError> {
        let Some(now) = self.clock.uptime().filter(|now| now.synced) else { return Ok(()) };
        let Some((number, Boot { began: None, .. })) = self.origins.boots.find(&now.boot) else {
            return Ok(());
        };
        let since = i64::try_from(now.since.as_millis()).unwrap_or(i64::MAX);
        let began = self.clock.wall().as_millisecond().saturating_sub(since);
        self.db.execute("UPDATE boot SET began = ?1 WHERE number = ?2", params![began, number])?;
        self.origins.boots = Boots::load(&self.db)?;
        Ok(())
    }

    /// Takes over the starts of the board that a damaged database knows.
    pub(super) fn adopt_boots(&mut self, damaged: &Connection) -> Result<(), OutboxError> {
        let known = Boots::load(damaged).unwrap_or_default();
        for (number, Boot { id, began }) in known.0 {
            let insert = "INSERT OR IGNORE INTO boot VALUES (?1, ?2, ?3)";
            self.db.execute(insert, params![number, id, began])?;
        }
        self.origins.boots = Boots::load(&self.db)?;
        Ok(())
    }
}

/// The stamp in two columns of a row, where there is one.
pub(super) fn stamp(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Option<Stamp>> {
    let boot: Option<i64> = row.get(at)?;
    let uptime: Option<i64> = row.get(at + 1)?;
    Ok(boot.zip(uptime).map(|(boot, uptime)| Stamp { boot, uptime }))
}
