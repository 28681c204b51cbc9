//! What eir goes on with after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::super::{Memory, OutboxError};
use super::{Format, Store};
use crate::task::Uptime;

/// What is to be remembered, by name. An empty body forgets.
pub(in crate::outbox) type Memories = BTreeMap<String, Memory>;

/// What was remembered last.
pub(in crate::outbox) fn load(db: &Connection) -> Result<Memories, OutboxError> {
    if !Format::of(db)?.has_memory() {
        return Ok(Memories::new());
    }
    let mut select = db.prepare("SELECT name, saved, boot, uptime, synced, body FROM memory")?;
    let mut rows = select.query([])?;
    let mut found = Memories::new();
    while let Some(row) = rows.next()? {
        let saved: String = row.get(1)?;
        let boot = row.get::<_, Option<String>>(2)?.zip(row.get::<_, Option<u64>>(3)?);
        let synced = row.get(4)?;
        let uptime = boot.map(|(boot, uptime)| Uptime {
            boot: boot.into(),
            since: Duration::from_millis(uptime),
            synced,
        });
        let saved =
            saved.parse().map_err(|error: jiff::Error| OutboxError::Corrupt(error.to_string()))?;
        found.insert(row.get(0)?, Memory { saved, uptime, body: row.get(5)? });
    }
    Ok(found)
}

impl Store {
    /// Writes what is to be remembered, each in the place of what was remembered before under its name. All of it
    /// together never takes more than a quarter of the outbox: what does not fit is not kept.
    pub(super) fn save_memories(&self, memories: &Memories) -> Result<(), OutboxError> {
        if !self.format.has_memory() {
            return Ok(());
        }
        for (name, memory) in memories {
            let others = "SELECT coalesce(sum(length(body)), 0) FROM memory WHERE name <> ?1";
            let others: u64 =
                self.db.prepare_cached(others)?.query_row([name], |row| row.get(0))?;
            let fits = others + memory.body.len() as u64 <= self.limits.used / 4;
            if memory.body.is_empty() || !fits {
                self.db.prepare_cached("DELETE FROM memory WHERE name = ?1")?.execute([name])?;
                continue;
            }
            let uptime = memory.uptime.as_ref();
            let insert = "INSERT OR REPLACE INTO memory VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            self.db.prepare_cached(insert)?.execute(params![
                name,
                memory.saved.to_string(),
                uptime.map(|uptime| &*uptime.boot),
                uptime.map(|uptime| u64::try_from(uptime.since.as_millis()).unwrap_or(u64::MAX)),
                uptime.is_none_or(|uptime| uptime.synced),
                memory.body,
            ])?;
        }
        Ok(())
    }

    /// Takes over what a damaged database remembers.
    pub(super) fn adopt_memories(&self, damaged: &Connection) -> Result<(), OutboxError> {
        self.save_memories(&load(damaged).unwrap_or_default())
    }
}
