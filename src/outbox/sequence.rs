//! Whether every missing sequence number is told of.

use std::collections::BTreeMap;

use super::Gap;
use super::progress::Progress;
use super::record::Place;

/// Records and gap records in the order of their places; gives the numbers that are neither there nor
/// told of. What lies before the first record of an epoch was delivered and deleted.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// What some cloud has: it may have been deleted between others.
    delivered: Progress,
    epochs: BTreeMap<u64, Span>,
    told: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Epochs and numbers that were met out of order.
    misplaced: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Span {
    last: u64,
    holes: Vec<(u64, u64)>,
}

/// Sequence numbers that nothing tells of, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    pub epoch: u64,
    pub first: u64,
    pub last: u64,
}

impl Sequence {
    pub(super) fn new(delivered: Progress) -> Self {
        Self { delivered, ..Self::default() }
    }

    pub(super) fn see(&mut self, place: Place) {
        let Place { pos, epoch, seq } = place;
        let span = self
            .epochs
            .entry(epoch)
            .or_insert_with(|| Span { last: seq.saturating_sub(1), holes: Vec::new() });
        if seq <= span.last {
            self.misplaced.push((epoch, seq));
            return;
        }
        if seq > span.last + 1 {
            // Within an epoch places and numbers go hand in hand.
            let number = |place: i64| seq.saturating_sub(u64::try_from(pos - place).unwrap_or(0));
            let from = pos.saturating_sub(i64::try_from(seq - span.last - 1).unwrap_or(i64::MAX));
            let undone = self.delivered.undone(from.max(1), pos - 1);
            span.holes
                .extend(undone.into_iter().map(|(first, last)| (number(first), number(last))));
        }
        span.last = seq;
    }

    pub(super) fn tell(&mut self, gap: &Gap) {
        if let (Some(epoch), Some(first), Some(last)) = (gap.epoch, gap.first, gap.last) {
            self.told.entry(epoch).or_default().push((first, last));
        }
    }

    /// Numbers that came twice or in the wrong order.
    pub(super) fn misplaced(&self) -> &[(u64, u64)] {
        &self.misplaced
    }

    pub(super) fn missing(mut self) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (epoch, span) in self.epochs {
            let mut told = self.told.remove(&epoch).unwrap_or_default();
            told.sort_unstable();
            for (mut first, last) in span.holes {
                for (from, to) in &told {
                    if *from > first && first <= last {
                        let end = last.min(from - 1);
                        missing.push(Missing { epoch, first, last: end });
                    }
                    first = first.max(to.saturating_add(1));
                }
                if first <= last {
                    missing.push(Missing { epoch, first, last });
                }
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Kind, Reason};

    fn gap(epoch: u64, first: u64, last: u64) -> Gap {
        Gap {
            reason: Reason::Full,
            kind: Some(Kind::Sample),
            count: 1,
            bytes: None,
            epoch: Some(epoch),
            first: Some(first),
            last: Some(last),
            from: None,
            to: None,
            told: None,
        }
    }

    fn see(sequence: &mut Sequence, epoch: u64, seq: u64) {
        let pos = i64::try_from(epoch * 1000 + seq).expect("small");
        sequence.see(Place { pos, epoch, seq });
    }

    #[test]
    fn a_hole_is_fine_where_everything_was_delivered() {
        let upto = |place| Progress::new(place, BTreeMap::new());
        let between = BTreeMap::from([(1003, 1003), (1007, 1008)]);
        for (delivered, missing) in [
            (Progress::new(7, between), vec![(4, 4), (6, 6), (9, 9)]),
            (upto(0), vec![(3, 4), (6, 9)]),
            (upto(1003), vec![(4, 4), (6, 9)]),
            (upto(1004), vec![(6, 9)]),
            (upto(1005), vec![(6, 9)]),
            (upto(1007), vec![(8, 9)]),
            (upto(1009), vec![]),
            (upto(5000), vec![]),
        ] {
            let mut sequence = Sequence::new(delivered.clone());
            for seq in [2, 5, 10] {
                see(&mut sequence, 1, seq);
            }
            let missing_now = sequence.missing();
            let found: Vec<_> = missing_now.iter().map(|m| (m.first, m.last)).collect();
            assert_eq!(found, missing, "{delivered:?}");
        }
    }

    #[test]
    fn a_hole_is_fine_when_it_is_told_of() {
        let mut sequence = Sequence::default();
        for seq in [5, 6, 9, 12, 20] {
            see(&mut sequence, 1, seq);
        }
        see(&mut sequence, 2, 1);
        sequence.tell(&gap(1, 2, 8));
        sequence.tell(&gap(1, 16, 18));
        sequence.tell(&gap(2, 10, 11));
        let found: Vec<_> = sequence.missing().iter().map(|m| (m.epoch, m.first, m.last)).collect();
        assert_eq!(found, [(1, 10, 11), (1, 13, 15), (1, 19, 19)]);
    }

    #[test]
    fn a_number_that_comes_twice_is_misplaced() {
        let mut sequence = Sequence::default();
        for seq in [1, 2, 2, 3] {
            see(&mut sequence, 1, seq);
        }
        assert_eq!(sequence.misplaced(), [(1, 2)]);
    }
}
