//! Records out of the database.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::Connection;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::super::inlet::Reply;
use super::super::record::{Place, Unset};
use super::super::sequence::Sequence;
use super::super::{Batch, Draft, Gap, Kind, Lane, OutboxError, Record};
use super::boots::{Boots, Stamp, stamp};
use super::{Clouds, Format, Store, clouds};
use crate::event::Name;

/// Rows that a query fetches at a time.
const PAGE: i64 = 64;

/// A row of the table of records.
#[derive(Debug)]
pub(in crate::outbox) struct Row {
    pub place: Place,
    pub lived: u64,
    pub draft: Draft,
    pub stamp: Option<Stamp>,
}

/// What [`Row::read`] reads.
pub(super) const fn columns(format: Format) -> &'static str {
    if format.has_memory() {
        "pos, epoch, seq, lived, id, kind, at, origin, body, boot, uptime"
    } else {
        "pos, epoch, seq, lived, id, kind, at, origin, body, NULL, NULL"
    }
}

/// Where and when records come from: what their rows only name.
#[derive(Debug, Default)]
pub(in crate::outbox) struct Origins {
    /// The device of each epoch.
    pub devices: BTreeMap<u64, Name>,
    pub boots: Boots,
}

impl Origins {
    pub(in crate::outbox) fn load(db: &Connection) -> Result<Self, OutboxError> {
        Ok(Self { devices: devices(db)?, boots: Boots::load(db)? })
    }
}

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<Self, OutboxError> {
        let wrong = |what: &dyn std::fmt::Display| OutboxError::Corrupt(what.to_string());
        let place = Place { pos: row.get(0)?, epoch: row.get(1)?, seq: row.get(2)? };
        let id: Vec<u8> = row.get(4)?;
        let at: String = row.get(6)?;
        let draft = Draft {
            id: Uuid::from_slice(&id).map_err(|error| wrong(&error))?,
            kind: row.get::<_, String>(5)?.parse().map_err(|error: String| wrong(&error))?,
            at: at.parse().map_err(|error: jiff::Error| wrong(&error))?,
            origin: row.get(7)?,
            body: RawValue::from_string(row.get(8)?).map_err(|error| wrong(&error))?,
        };
        Ok(Self { place, lived: row.get(3)?, draft, stamp: stamp(row, 9)? })
    }

    /// What a gap record says.
    pub(in crate::outbox) fn gap(&self) -> Option<Gap> {
        let is_gap = self.draft.kind == Kind::Gap;
        is_gap.then(|| serde_json::from_str(self.draft.body.get()).ok()).flatten()
    }

    /// The record as a cloud gets it: with the right time, if that is known by now.
    pub(in crate::outbox) fn record(self, origins: &Origins) -> Result<Record, OutboxError> {
        let epoch = self.place.epoch;
        let device = origins.devices.get(&epoch).cloned();
        let device = device.ok_or_else(|| OutboxError::Corrupt(format!("no epoch {epoch}")))?;
        let record = Record::new(self.draft, device, self.place);
        let Some(stamp) = self.stamp else { return Ok(record) };
        Ok(match (origins.boots.moment(stamp), origins.boots.id(stamp)) {
            (Some(at), _) => record.moved_to(at),
            (None, boot) => record.unset(Unset::new(boot, stamp.uptime)),
        })
    }
}

/// Walks the records behind `after`, of all kinds or of one, oldest first, a few at a time so that no long read keeps
/// the log from being emptied.
pub(in crate::outbox) fn rows(
    db: &Connection,
    only: Option<Kind>,
    mut after: i64,
    mut each: impl FnMut(Row) -> Result<ControlFlow<()>, OutboxError>,
) -> Result<(), OutboxError> {
    let columns = columns(Format::of(db)?);
    let query = format!(
        "SELECT {columns} FROM record WHERE pos > ?1 AND kind = coalesce(?2, kind) ORDER BY pos LIMIT {PAGE}"
    );
    let mut select = db.prepare_cached(&query)?;
    loop {
        let mut found = select.query((after, only.map(Kind::as_str)))?;
        let mut page = Vec::new();
        while let Some(row) = found.next()? {
            page.push(Row::read(row)?);
        }
        drop(found);
        let Some(last) = page.last() else { return Ok(()) };
        after = last.place.pos;
        for row in page {
            if each(row)?.is_break() {
                return Ok(());
            }
        }
    }
}

/// Which numbers there are and which are told of; those that are neither were deleted, or are missing.
pub(in crate::outbox) fn sequence(db: &Connection) -> Result<Sequence, OutboxError> {
    let mut sequence = Sequence::new(clouds::delivered(db)?);
    rows(db, None, 0, |row| {
        sequence.see(row.place);
        if let Some(gap) = row.gap() {
            sequence.tell(&gap);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sequence)
}

/// The device of each epoch.
pub(super) fn devices(db: &Connection) -> Result<BTreeMap<u64, Name>, OutboxError> {
    let mut select = db.prepare("SELECT epoch, device FROM epoch")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
    let mut devices = BTreeMap::new();
    for row in rows {
        let (epoch, device) = row?;
        devices.insert(epoch, Name::near(&device));
    }
    Ok(devices)
}

impl Store {
    /// The next records for a cloud.
    pub(in crate::outbox) fn next(
        &self,
        clouds: &Clouds,
        lane: &Lane,
        (after, upto): (Option<i64>, Option<i64>),
        most: (usize, usize),
    ) -> Result<Reply, OutboxError> {
        let progress = clouds.progress(lane);
        let start = after.unwrap_or(0).max(progress.cursor());
        let end = upto.unwrap_or_else(|| self.newest());
        let (most_records, most_bytes) = most;
        let (mut position, mut bytes) = (start, 0);
        let mut records: Vec<Record> = Vec::new();
        let mut is_full = false;
        rows(&self.db, lane.only(), start, |row| {
            let pos = row.place.pos;
            if pos > end {
                return Ok(ControlFlow::Break(()));
            }
            if !progress.is_done(pos) {
                let record = row.record(&self.origins)?;
                bytes += record.bytes();
                let more = records.len() < most_records && bytes <= most_bytes;
                if !more && !records.is_empty() {
                    is_full = true;
                    return Ok(ControlFlow::Break(()));
                }
                records.push(record);
            }
            position = pos;
            Ok(ControlFlow::Continue(()))
        })?;
        if !is_full {
            // The last ones may have been dropped: nobody needs to look for them again.
            position = position.max(end);
        }
        let batch =
            (!records.is_empty()).then_some(Batch { after: start, upto: position, records });
        Ok(Reply { batch, position, newest: self.newest() })
    }
}
