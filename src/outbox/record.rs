//! What goes into the outbox, and what comes out.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Gap;
use crate::event::Name;

/// The version of the record's JSON.
const FORMAT: u8 = 1;

/// Where the body of a record tells a time.
const TIMES: [&str; 4] = ["at", "from", "to", "started"];

/// What a record tells of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The input itself, worth labelling.
    Sample,
    /// What happened in a window of time.
    Summary,
    /// How the device is.
    Health,
    /// What became of an update.
    Update,
    /// A rule fired.
    Decision,
    /// What a policy dropped.
    Gap,
}

impl Kind {
    /// Every kind, in the order in which they are given up when there is no room.
    pub const ALL: [Self; 6] =
        [Self::Sample, Self::Summary, Self::Health, Self::Update, Self::Decision, Self::Gap];

    /// Its name in records and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sample => "sample",
            Self::Summary => "summary",
            Self::Health => "health",
            Self::Update => "update",
            Self::Decision => "decision",
            Self::Gap => "gap",
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no kind of record"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record before it has its place: what the outbox adds is device, epoch and sequence number.
#[derive(Debug)]
pub struct Draft {
    /// Names the record (UUID v7).
    pub id: Uuid,
    /// Names the cause, the same however often it comes.
    pub origin: Option<String>,
    /// When it happened.
    pub at: Timestamp,
    /// What it tells of.
    pub kind: Kind,
    /// What it says.
    pub body: Box<RawValue>,
}

impl Draft {
    /// Memory that it takes while it waits, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.body.get().len() + self.origin.as_ref().map_or(0, String::len) + 128
    }
}

/// A record as every cloud gets it; its JSON is the contract of `interfaces.md` §5.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    v: u8,
    /// Names the record (UUID v7).
    pub id: Uuid,
    /// Names the cause; null where its publisher gave no id.
    pub origin: Option<String>,
    /// The device.
    pub device: Name,
    /// Names the outbox that `seq` counts in; a fresh one begins a new epoch.
    pub epoch: u64,
    /// Counts the records of an epoch from 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The clock of the board was not set then, and nobody knows the right time yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Unset>,
    /// What it tells of.
    pub kind: Kind,
    /// What it says.
    pub body: Box<RawValue>,
    /// Its place in the file; cursors are such places.
    #[serde(skip)]
    pub(super) pos: i64,
}

/// When something happened on a board whose clock was not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unset {
    /// Names the start of the board: records of the same start can be ordered, and dated by one that is.
    pub boot: String,
    /// Milliseconds since that start.
    pub uptime_ms: i64,
}

impl Unset {
    pub(super) fn new(boot: Option<&str>, uptime_ms: i64) -> Self {
        Self { boot: boot.unwrap_or_default().to_owned(), uptime_ms }
    }
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub pos: i64,
    pub epoch: u64,
    pub seq: u64,
}

impl Record {
    pub(super) fn new(draft: Draft, device: Name, place: Place) -> Self {
        let Draft { id, origin, at, kind, body } = draft;
        let Place { pos, epoch, seq } = place;
        Self { v: FORMAT, id, origin, device, epoch, seq, at, clock: None, kind, body, pos }
    }

    pub(super) fn unset(self, clock: Unset) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// The record as it would have been with a clock that was right: the times that its body tells at its top move
    /// with its own.
    pub(super) fn moved_to(mut self, at: Timestamp) -> Self {
        let by = at.duration_since(self.at);
        let moved = |text: &str| {
            let told: Timestamp = text.parse().ok()?;
            told.checked_add(by).ok().map(|right| right.to_string())
        };
        if let Ok(mut body) = serde_json::from_str::<Map<String, Value>>(self.body.get()) {
            for key in TIMES {
                if let Some(Value::String(text)) = body.get_mut(key)
                    && let Some(right) = moved(text)
                {
                    *text = right;
                }
            }
            self.body = to_raw_value(&body).unwrap_or(self.body);
        }
        Self { at, ..self }
    }

    /// What it says, where it tells of a gap.
    pub fn gap(&self) -> Option<Gap> {
        let is_gap = self.kind == Kind::Gap;
        is_gap.then(|| serde_json::from_str(self.body.get()).ok()).flatten()
    }

    /// About the length of its JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.body.get().len() + self.origin.as_ref().map_or(0, String::len) + 200
    }
}

/// Records in a row for one cloud, in the order in which they were written. What it does not name as
/// delivered comes again after a restart.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Everything behind this place …
    pub(super) after: i64,
    /// … and up to this one is in it, unless it was dropped or is done already.
    pub(super) upto: i64,
    pub(super) records: Vec<Record>,
}

impl Batch {
    /// The records, at least one.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// About the length of its JSON, in bytes.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(Record::bytes).sum()
    }

    /// Cuts it in two of about as many bytes. A single record is not cut, and comes back as it was.
    pub fn halve(mut self) -> (Self, Option<Self>) {
        if self.records.len() < 2 {
            return (self, None);
        }
        let (half, mut sum) = (self.bytes() / 2, 0);
        let fits = |record: &Record| {
            sum += record.bytes();
            sum <= half
        };
        let most = self.records.len() - 1;
        let at = self.records.iter().map(fits).take_while(|fits| *fits).count().clamp(1, most);
        let records = self.records.split_off(at);
        let cut = self.records.last().map_or(self.after, |last| last.pos);
        let rest = Self { after: cut, upto: self.upto, records };
        self.upto = cut;
        (self, Some(rest))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::outbox) fn draft(kind: Kind, body: &str) -> Draft {
        Draft {
            id: Uuid::now_v7(),
            origin: None,
            at: "2026-03-01T10:00:00Z".parse().expect("time"),
            kind,
            body: RawValue::from_string(body.to_owned()).expect("json"),
        }
    }

    fn record(pos: i64, length: usize) -> Record {
        let body = format!("\"{}\"", "x".repeat(length));
        let place = Place { pos, epoch: 7, seq: 3 };
        Record::new(draft(Kind::Decision, &body), "press-07".parse().expect("name"), place)
    }

    #[test]
    fn the_json_is_the_contract() {
        let mut record = record(9, 1);
        record.origin = Some("12:bearing:fault".to_owned());
        let id = record.id;
        let expected = format!(
            "{{\"v\":1,\"id\":\"{id}\",\"origin\":\"12:bearing:fault\",\"device\":\"press-07\",\
             \"epoch\":7,\"seq\":3,\"at\":\"2026-03-01T10:00:00Z\",\"kind\":\"decision\",\
             \"body\":\"x\"}}"
        );
        assert_eq!(serde_json::to_string(&record).expect("json"), expected);
    }

    #[test]
    fn a_batch_is_halved_by_size_until_its_records_stand_alone() {
        let records = vec![record(3, 1), record(5, 1), record(6, 5000), record(9, 1)];
        let batch = Batch { after: 2, upto: 10, records };
        let (left, right) = batch.halve();
        let right = right.expect("two halves");
        assert_eq!((left.after, left.upto, left.records.len()), (2, 5, 2));
        assert_eq!((right.after, right.upto, right.records.len()), (5, 10, 2));
        let (large, rest) = right.halve();
        assert_eq!((large.after, large.upto, large.records[0].pos), (5, 6, 6));
        assert_eq!(rest.expect("the last").after, 6);
        let (alone, none) = large.halve();
        assert_eq!((alone.after, alone.upto), (5, 6));
        assert!(none.is_none());
    }

    #[test]
    fn every_kind_is_read_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).expect("json"), format!("\"{kind}\""));
        }
    }
}
