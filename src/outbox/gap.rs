//! What was dropped, and the record that tells of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::{Draft, Kind};

/// Why records were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The outbox had no room: `max`.
    Full,
    /// The outbox had no room: those of one hour were made into one.
    Downsampled,
    /// They were too old: `max_age`.
    Age,
    /// The disk refused, and `when_unwritable` is `continue`.
    Unwritable,
    /// The disk was too slow for what came, and what waited filled `queue`.
    Overload,
    /// A record larger than an eighth of `max`, or than 4 MiB.
    TooLarge,
    /// The database was damaged, and they could not be read any more.
    Corrupt,
}

/// The body of a `gap` record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Why.
    pub reason: Reason,
    /// Of which kind; null where that cannot be said any more.
    pub kind: Option<Kind>,
    /// How many; after damage, how many are known to be missing.
    pub count: u64,
    /// Of how many bytes; null where that cannot be said any more.
    pub bytes: Option<u64>,
    /// Where they had been written: the epoch. Records of other kinds may lie in between.
    pub epoch: Option<u64>,
    /// The first of their sequence numbers.
    pub first: Option<u64>,
    /// The last of their sequence numbers.
    pub last: Option<u64>,
    /// When the first of them happened.
    pub from: Option<Timestamp>,
    /// When the last of them happened.
    pub to: Option<Timestamp>,
    /// Where gap records themselves were dropped: of how many records they told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<u64>,
}

impl Gap {
    /// Both of them, which are of the same reason, kind and epoch.
    pub(super) fn and(&self, other: &Self) -> Self {
        let (seqs, times) = (
            hull(self.first.zip(self.last), other.first.zip(other.last)),
            hull(self.from.zip(self.to), other.from.zip(other.to)),
        );
        Self {
            reason: self.reason,
            kind: self.kind,
            epoch: self.epoch,
            count: self.count + other.count,
            bytes: self.bytes.zip(other.bytes).map(|(a, b)| a + b),
            first: seqs.map(|(first, _)| first),
            last: seqs.map(|(_, last)| last),
            from: times.map(|(from, _)| from),
            to: times.map(|(_, to)| to),
            told: self.told.zip(other.told).map(|(a, b)| a + b).or(self.told).or(other.told),
        }
    }

    /// The record that tells of it.
    pub(super) fn draft(&self, at: Timestamp) -> Draft {
        // A struct of numbers and words always has a JSON; null would be honest if not useful.
        let body = to_raw_value(self).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Draft { id: Uuid::now_v7(), origin: None, at, kind: Kind::Gap, body }
    }
}

/// Records that were dropped and are not told of yet. One entry for each reason, kind and epoch.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeMap<(Reason, Kind, Option<u64>), Loss>);

#[derive(Debug, Clone, Default)]
struct Loss {
    count: u64,
    bytes: u64,
    seqs: Option<(u64, u64)>,
    times: Option<(Timestamp, Timestamp)>,
    told: u64,
}

/// One record that is dropped.
#[derive(Debug)]
pub(super) struct Lost<'a> {
    pub kind: Kind,
    pub bytes: usize,
    pub at: Timestamp,
    /// Epoch and sequence number, if it had been written.
    pub place: Option<(u64, u64)>,
    /// The body of a gap record.
    pub gap: Option<&'a str>,
}

impl<'a> Lost<'a> {
    pub(super) fn unwritten(draft: &'a Draft) -> Self {
        let gap = (draft.kind == Kind::Gap).then(|| draft.body.get());
        let bytes = draft.body.get().len();
        Self { kind: draft.kind, bytes, at: draft.at, place: None, gap }
    }
}

impl Losses {
    pub(super) fn add(&mut self, reason: Reason, lost: &Lost<'_>) {
        let epoch = lost.place.map(|(epoch, _)| epoch);
        let gap = lost.gap.and_then(|body| serde_json::from_str::<Gap>(body).ok());
        let told = gap.map_or(0, |gap| gap.told.unwrap_or(gap.count));
        let one = Loss {
            count: 1,
            bytes: lost.bytes as u64,
            seqs: lost.place.map(|(_, seq)| (seq, seq)),
            times: Some((lost.at, lost.at)),
            told,
        };
        self.0.entry((reason, lost.kind, epoch)).or_default().merge(&one);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, loss) in other.0 {
            self.0.entry(key).or_default().merge(&loss);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many records are in it.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|loss| loss.count).sum()
    }

    /// One gap for each reason, kind and epoch.
    pub(super) fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.0.iter().map(|((reason, kind, epoch), loss)| Gap {
            reason: *reason,
            kind: Some(*kind),
            count: loss.count,
            bytes: Some(loss.bytes),
            epoch: *epoch,
            first: loss.seqs.map(|(first, _)| first),
            last: loss.seqs.map(|(_, last)| last),
            from: loss.times.map(|(from, _)| from),
            to: loss.times.map(|(_, to)| to),
            told: (*kind == Kind::Gap).then_some(loss.told),
        })
    }
}

impl Loss {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.told += other.told;
        self.seqs = hull(self.seqs, other.seqs);
        self.times = hull(self.times, other.times);
    }
}

/// The range that holds both.
fn hull<T: Ord + Copy>(a: Option<(T, T)>, b: Option<(T, T)>) -> Option<(T, T)> {
    match (a, b) {
        (Some((first, last)), Some((from, to))) => Some((first.min(from), last.max(to))),
        (found, None) | (None, found) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::record::tests::draft;

    #[test]
    fn losses_add_up_and_gaps_of_gaps_say_what_they_told() {
        let at = "2026-03-01T10:00:00Z".parse().expect("time");
        let mut losses = Losses::default();
        for seq in [4, 9, 7] {
            let lost = Lost { kind: Kind::Sample, bytes: 10, at, place: Some((1, seq)), gap: None };
            losses.add(Reason::Full, &lost);
        }
        let gap = losses.gaps().next().expect("a gap");
        assert_eq!((gap.count, gap.bytes, gap.first, gap.last), (3, Some(30), Some(4), Some(9)));
        let told = gap.draft(at);
        let mut later = Losses::default();
        later.add(Reason::Unwritable, &Lost::unwritten(&told));
        later.add(Reason::Unwritable, &Lost::unwritten(&draft(Kind::Decision, "{}")));
        losses.merge(later);
        assert_eq!(losses.count(), 5);
        let of_gaps = losses.gaps().find(|gap| gap.kind == Some(Kind::Gap)).expect("a gap");
        assert_eq!((of_gaps.count, of_gaps.told, of_gaps.first), (1, Some(3), None));
        let text = serde_json::to_string(&of_gaps).expect("json");
        assert_eq!(serde_json::from_str::<Gap>(&text).expect("read back"), of_gaps);
    }
}
