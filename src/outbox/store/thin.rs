//! Summaries that are made into fewer where there is no room for all.

use std::collections::BTreeMap;

use rusqlite::params;
use serde_json::value::RawValue;

use super::super::gap::{Losses, Reason};
use super::super::{Kind, OutboxError};
use super::room::Doomed;
use super::{Clouds, Row, Store, read};

/// Rows that are looked at together.
const PAGE: i64 = 256;

/// Of no more bytes than these.
const MOST: usize = 4 << 20;

/// Summaries of the last so many seconds stay as they are.
const FRESH: u64 = 3600;

/// What the outbox, which does not look into bodies, is told of summaries.
#[derive(Debug, Clone, Copy)]
pub struct Thinning {
    /// Those with the same word of this can be merged; without one it stays as it is.
    pub mergeable: fn(&str) -> Option<String>,
    /// One that tells of all of them, if there can be one.
    pub merge: fn(&[&str]) -> Option<Box<RawValue>>,
}

impl Store {
    /// Makes the oldest summaries that were not looked at yet into fewer; false: there are none. What some cloud has,
    /// or may have by now, is not merged: it would count twice.
    pub(super) fn thin(
        &mut self,
        clouds: &Clouds,
        losses: &mut Losses,
    ) -> Result<bool, OutboxError> {
        let Some(thinning) = self.thinning else { return Ok(false) };
        let rows = self.page_of_summaries()?;
        let Some(last) = rows.last() else { return Ok(false) };
        self.thinned = last.place.pos;
        let mut alike = BTreeMap::<_, Vec<Row>>::new();
        for row in rows {
            let word = (thinning.mergeable)(row.draft.body.get());
            if let Some(word) = word.filter(|_| !clouds.may_have(row.place.pos)) {
                alike.entry((row.place.epoch, word)).or_default().push(row);
            }
        }
        for (_, rows) in alike {
            let bodies: Vec<_> = rows.iter().map(|row| row.draft.body.get()).collect();
            let merged = if rows.len() > 1 { (thinning.merge)(&bodies) } else { None };
            if let Some(body) = merged {
                self.replace(rows, body, losses)?;
            }
        }
        Ok(true)
    }

    fn page_of_summaries(&self) -> Result<Vec<Row>, OutboxError> {
        let query = format!(
            "SELECT {} FROM record WHERE kind = ?1 AND pos > ?2 ORDER BY pos LIMIT ?3",
            read::columns(self.format)
        );
        let mut select = self.db.prepare_cached(&query)?;
        let mut found = select.query(params![Kind::Summary.as_str(), self.thinned, PAGE])?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.next()? {
            let row = Row::read(row)?;
            bytes += row.draft.body.get().len();
            if row.lived + FRESH > self.lived() || bytes > MOST && !rows.is_empty() {
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn replace(
        &mut self,
        mut rows: Vec<Row>,
        body: Box<RawValue>,
        losses: &mut Losses,
    ) -> Result<(), OutboxError> {
        let doomed: Vec<_> = rows.iter().map(Doomed::of).collect();
        self.drop_rows(&doomed, Reason::Downsampled, losses)?;
        if let Some(mut last) = rows.pop() {
            last.draft.id = uuid::Uuid::now_v7();
            last.draft.body = body;
            self.insert_stamped(&last.draft, last.stamp)?;
        }
        Ok(())
    }
}
