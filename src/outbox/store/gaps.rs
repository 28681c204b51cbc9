//! Records that tell of what was dropped: few, however long that goes on.

use rusqlite::{OptionalExtension, params};

use super::super::record::Place;
use super::super::{Gap, Kind, OutboxError};
use super::{Clouds, Store};

impl Store {
    /// Writes that records were dropped: as a part of the record that tells of the last such, as long as no cloud may
    /// have that, otherwise as one of its own.
    pub(super) fn tell(&mut self, gap: &Gap, clouds: &Clouds) -> Result<(), OutboxError> {
        let key = (gap.reason, gap.kind, gap.epoch);
        let last = self.told.get(&key).copied().filter(|pos| !clouds.may_have(*pos));
        let last = last.map(|pos| self.take_gap(pos)).transpose()?.flatten();
        let stamp = self.stamp(self.clock.uptime().as_ref())?;
        let at = self.clock.wall();
        if let Some((place, lived, before)) = last {
            // Another id: it says something else now.
            return self.insert_at(place, lived, &before.and(gap).draft(at), stamp);
        }
        self.told.insert(key, self.next_pos);
        self.insert_stamped(&gap.draft(at), stamp)
    }

    /// Takes a gap record out, with its place and age; `None`: it is not there any more.
    fn take_gap(&mut self, pos: i64) -> Result<Option<(Place, u64, Gap)>, OutboxError> {
        let query =
            "SELECT epoch, seq, lived, bytes, body FROM record WHERE pos = ?1 AND kind = ?2";
        let mut select = self.db.prepare_cached(query)?;
        let found = select.query_row(params![pos, Kind::Gap.as_str()], |row| {
            let place = Place { pos, epoch: row.get(0)?, seq: row.get(1)? };
            Ok((place, row.get(2)?, row.get::<_, u64>(3)?, row.get::<_, String>(4)?))
        });
        let Some((place, lived, bytes, body)) = found.optional()? else { return Ok(None) };
        drop(select);
        let gap = serde_json::from_str(&body);
        let gap = gap.map_err(|error| OutboxError::Corrupt(error.to_string()))?;
        self.db.prepare_cached("DELETE FROM record WHERE pos = ?1")?.execute([pos])?;
        self.tally.remove(Kind::Gap, 1, bytes);
        Ok(Some((place, lived, gap)))
    }
}
