//! Bounds: what is dropped when there is no room, and when it is too old.

use rusqlite::params;

use super::super::gap::{Losses, Lost, Reason};
use super::super::inlet::Item;
use super::super::{Kind, OutboxError};
use super::{Clouds, Row, Store, pragma};

/// Rows looked at before the pages are counted again.
const STEP: i64 = 64;

/// When room is made, at least this part of the whole: so gap records stay few.
const PART: u64 = 64;

/// Stands in for what a row takes beside its body.
const ROW: u64 = 120;

impl Store {
    /// Bytes of the pages that hold something; free ones are used again.
    fn used(&self) -> Result<u64, OutboxError> {
        let pages: u64 = pragma(&self.db, "page_count")?;
        let free: u64 = pragma(&self.db, "freelist_count")?;
        Ok(pages.saturating_sub(free) * self.limits.page)
    }

    /// About the bytes of pages that these take, and the gap records that tell of what made way.
    fn needed(&self, items: &[Item]) -> u64 {
        let bodies = items.iter().map(|item| item.draft.body.get().len() as u64 + ROW);
        let bodies: u64 = bodies.sum();
        bodies + bodies / 8 + (items.len() as u64 / 4 + 8) * self.limits.page / 4
    }

    /// Drops by kind, oldest first, until there is room; summaries are made into fewer before.
    pub(super) fn make_room(
        &mut self,
        items: &[Item],
        clouds: &Clouds,
    ) -> Result<Losses, OutboxError> {
        let mut losses = Losses::default();
        let needed = self.needed(items);
        let mut used = self.used()?;
        if used + needed <= self.limits.used {
            return Ok(losses);
        }
        let wanted = self.limits.used.saturating_sub(needed.max(self.limits.used / PART));
        for kind in Kind::ALL {
            while kind == Kind::Summary && used > wanted && self.thin(clouds, &mut losses)? {
                used = self.used()?;
            }
            while used > wanted {
                let from = self.oldest.get(&kind).copied().unwrap_or(0);
                let query = "SELECT pos, kind, epoch, seq, at, bytes, \
                             CASE kind WHEN 'gap' THEN body END, lived FROM record \
                             WHERE kind = ?1 AND pos >= ?2 ORDER BY pos LIMIT ?3";
                let mut found = self.doomed(query, params![kind.as_str(), from, STEP])?;
                // No more than it takes; what a row really frees, the pages tell.
                let mut freed = 0;
                let enough = found.iter().position(|row| {
                    freed += row.bytes as u64 + ROW;
                    freed >= used - wanted
                });
                found.truncate(enough.map_or(found.len(), |last| last + 1));
                let Some(last) = found.last() else { break };
                self.oldest.insert(kind, last.pos + 1);
                self.drop_rows(&found, Reason::Full, &mut losses)?;
                used = self.used()?;
            }
        }
        Ok(losses)
    }

    /// Drops what has been here for too long. Gap records stay: they tell of it.
    pub(super) fn expire(&mut self) -> Result<Losses, OutboxError> {
        let mut losses = Losses::default();
        let Some(age) = self.limits.age else { return Ok(losses) };
        let Some(before) = self.lived().checked_sub(age) else { return Ok(losses) };
        // In the order of places `lived` never falls: the first that is young enough ends it.
        let query = "SELECT pos, kind, epoch, seq, at, bytes, NULL, lived FROM record \
                     WHERE pos > ?1 ORDER BY pos LIMIT ?2";
        loop {
            let page = self.doomed(query, params![self.aged, STEP])?;
            let is_old = |row: &&Doomed| row.lived < before;
            let old: Vec<_> = page.iter().take_while(is_old).cloned().collect();
            let Some(last) = old.last() else { return Ok(losses) };
            self.aged = last.pos;
            let found: Vec<_> = old.into_iter().filter(|row| row.kind != Kind::Gap).collect();
            self.drop_rows(&found, Reason::Age, &mut losses)?;
        }
    }

    fn doomed(
        &self,
        query: &str,
        values: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<Doomed>, OutboxError> {
        let mut select = self.db.prepare_cached(query)?;
        let mut rows = select.query(values)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let wrong = |what: String| OutboxError::Corrupt(what);
            found.push(Doomed {
                pos: row.get(0)?,
                kind: row.get::<_, String>(1)?.parse().map_err(wrong)?,
                place: (row.get(2)?, row.get(3)?),
                at: row
                    .get::<_, String>(4)?
                    .parse()
                    .map_err(|error: jiff::Error| wrong(error.to_string()))?,
                bytes: row.get(5)?,
                gap: row.get(6)?,
                lived: row.get(7)?,
            });
        }
        Ok(found)
    }

    pub(super) fn drop_rows(
        &mut self,
        found: &[Doomed],
        reason: Reason,
        losses: &mut Losses,
    ) -> Result<(), OutboxError> {
        let mut delete = self.db.prepare_cached("DELETE FROM record WHERE pos = ?1")?;
        for row in found {
            delete.execute([row.pos])?;
            self.tally.remove(row.kind, 1, row.bytes as u64);
            let (kind, place, gap) = (row.kind, Some(row.place), row.gap.as_deref());
            losses.add(reason, &Lost { kind, bytes: row.bytes, at: row.at, place, gap });
        }
        Ok(())
    }
}

/// A row that may have to be dropped.
#[derive(Debug, Clone)]
pub(super) struct Doomed {
    pos: i64,
    kind: Kind,
    place: (u64, u64),
    at: jiff::Timestamp,
    bytes: usize,
    gap: Option<String>,
    lived: u64,
}

impl Doomed {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            pos: row.place.pos,
            kind: row.draft.kind,
            place: (row.place.epoch, row.place.seq),
            at: row.draft.at,
            bytes: row.draft.body.get().len(),
            gap: None,
            lived: row.lived,
        }
    }
}
