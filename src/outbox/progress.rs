//! What one cloud has: everything up to a place, and single stretches beyond it.

use std::collections::BTreeMap;

/// Places up to `cursor` are done, and those in `beyond` too. A record that a cloud refuses stays behind
/// while others go on, so what is done is not always one stretch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    cursor: i64,
    /// First to last place of each stretch, none next to another or to the cursor.
    beyond: BTreeMap<i64, i64>,
}

impl Progress {
    pub(super) fn new(cursor: i64, beyond: BTreeMap<i64, i64>) -> Self {
        let mut progress = Self { cursor, beyond: BTreeMap::new() };
        for (first, last) in beyond {
            progress.mark(first - 1, last);
        }
        progress
    }

    /// Everything up to here is done.
    pub(super) fn cursor(&self) -> i64 {
        self.cursor
    }

    pub(super) fn beyond(&self) -> &BTreeMap<i64, i64> {
        &self.beyond
    }

    pub(super) fn is_done(&self, pos: i64) -> bool {
        let before = self.beyond.range(..=pos).next_back();
        pos <= self.cursor || before.is_some_and(|(_, last)| pos <= *last)
    }

    /// The places behind `after` up to `upto` are done.
    pub(super) fn mark(&mut self, after: i64, upto: i64) {
        if upto <= self.cursor || upto <= after {
            return;
        }
        let (mut first, mut last) = (after + 1, upto);
        // What overlaps or touches becomes one stretch.
        while let Some((&from, &to)) = self.beyond.range(..=last + 1).next_back() {
            if to + 1 < first {
                break;
            }
            first = first.min(from);
            last = last.max(to);
            self.beyond.remove(&from);
        }
        if first <= self.cursor + 1 {
            self.cursor = last;
        } else {
            self.beyond.insert(first, last);
        }
    }

    /// The same, but for these places, which are in their order.
    pub(super) fn without(&self, places: &[i64]) -> Self {
        let mut kept = Self::default();
        for (first, last) in self.stretches() {
            let mut from = first;
            for place in places.iter().filter(|place| (first..=last).contains(*place)) {
                kept.mark(from - 1, place - 1);
                from = place + 1;
            }
            kept.mark(from - 1, last);
        }
        kept
    }

    /// First to last place of each stretch between two places, both included, that is not done.
    pub(super) fn undone(&self, first: i64, last: i64) -> Vec<(i64, i64)> {
        let (mut undone, mut from) = (Vec::new(), first);
        for (begin, end) in self.stretches() {
            if begin > from {
                undone.push((from, last.min(begin - 1)));
            }
            from = from.max(end + 1);
            if from > last {
                return undone;
            }
        }
        undone.push((from, last));
        undone
    }

    /// First to last place of everything that is done.
    fn stretches(&self) -> impl Iterator<Item = (i64, i64)> {
        let beyond = self.beyond.iter().map(|(first, last)| (*first, *last));
        std::iter::once((1, self.cursor)).chain(beyond)
    }

    /// What either of them has done.
    pub(super) fn merge(&mut self, other: &Self) {
        self.mark(0, other.cursor);
        for (first, last) in &other.beyond {
            self.mark(first - 1, *last);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_places(marks in prop::collection::vec((0_i64..40, 0_i64..40), 0..20)) {
            let mut progress = Progress::default();
            let mut places = BTreeSet::new();
            for (after, upto) in marks {
                progress.mark(after, upto);
                places.extend(after + 1..=upto);
            }
            for pos in 1..50 {
                prop_assert_eq!(progress.is_done(pos), places.contains(&pos), "{}", pos);
            }
            let cursor = (1..50).take_while(|pos| places.contains(pos)).last().unwrap_or(0);
            prop_assert_eq!(progress.cursor(), cursor);
            let again = Progress::new(progress.cursor(), progress.beyond().clone());
            prop_assert_eq!(&again, &progress);
            let mut merged = Progress::default();
            merged.merge(&progress);
            prop_assert_eq!(&merged, &progress);
            let thirds: Vec<i64> = (1..50).filter(|pos| pos % 3 == 0).collect();
            let without = progress.without(&thirds);
            for pos in 1..50 {
                prop_assert_eq!(without.is_done(pos), places.contains(&pos) && pos % 3 > 0);
            }
            let undone = progress.undone(5, 30);
            prop_assert!(undone.iter().all(|(first, last)| first <= last));
            let undone = undone.into_iter().flat_map(|(first, last)| first..=last);
            let wanted = (5..=30).filter(|pos| !places.contains(pos));
            prop_assert_eq!(undone.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        }
    }
}
