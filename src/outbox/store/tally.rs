//! How much of what is in the database, kept without counting it again.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::super::{Amount, Kind, OutboxError};

/// Records and bytes of their bodies, by kind.
#[derive(Debug, Default, Clone)]
pub(in crate::outbox) struct Tally(BTreeMap<Kind, Amount>);

impl Tally {
    pub(super) fn load(db: &Connection) -> Result<Self, OutboxError> {
        let mut rows = db.prepare("SELECT kind, records, bytes FROM tally")?;
        let rows = rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?))
        })?;
        let mut tally = Self::default();
        for row in rows {
            let (kind, records, bytes) = row?;
            let kind = kind.parse().map_err(OutboxError::Corrupt)?;
            tally.0.insert(kind, Amount { records, bytes });
        }
        Ok(tally)
    }

    pub(super) fn save(&self, db: &Connection) -> Result<(), OutboxError> {
        let mut insert = db.prepare_cached("INSERT OR REPLACE INTO tally VALUES (?1, ?2, ?3)")?;
        for kind in Kind::ALL {
            let amount = self.of(kind);
            let (records, bytes) = (amount.records, amount.bytes);
            insert.execute(params![kind.as_str(), records, bytes])?;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, kind: Kind, records: u64, bytes: u64) {
        let amount = self.0.entry(kind).or_default();
        amount.records += records;
        amount.bytes += bytes;
    }

    pub(super) fn remove(&mut self, kind: Kind, records: u64, bytes: u64) {
        let amount = self.0.entry(kind).or_default();
        amount.records = amount.records.saturating_sub(records);
        amount.bytes = amount.bytes.saturating_sub(bytes);
    }

    pub(super) fn of(&self, kind: Kind) -> Amount {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// What there is of each kind.
    pub(in crate::outbox) fn amounts(&self) -> &BTreeMap<Kind, Amount> {
        &self.0
    }
}
