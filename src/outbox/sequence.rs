//! Whether every missing sequence number is told of.

use std::collections::BTreeMap;

use super::Gap;

/// Records and gap records in the order of their places; gives the numbers that are neither there nor
/// told of. What lies before the first record of an epoch was delivered and deleted.
#[derive(Debug, Default)]
pub(super) struct Sequence {
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
    pub(super) fn see(&mut self, epoch: u64, seq: u64) {
        let span = self
            .epochs
            .entry(epoch)
            .or_insert_with(|| Span { last: seq.saturating_sub(1), holes: Vec::new() });
        if seq <= span.last {
            self.misplaced.push((epoch, seq));
            return;
        }
        if seq > span.last + 1 {
            span.holes.push((span.last + 1, seq - 1));
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

    #[test]
    fn a_hole_is_fine_when_it_is_told_of() {
        let mut sequence = Sequence::default();
        for seq in [5, 6, 9, 12, 20] {
            sequence.see(1, seq);
        }
        sequence.see(2, 1);
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
            sequence.see(1, seq);
        }
        assert_eq!(sequence.misplaced(), [(1, 2)]);
    }
}
