//! A bounded map that keeps one thing a stream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{HumanDuration, StreamKey};

/// How many streams a pipeline remembers, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StreamLimits {
    /// Streams at one time; one more, and the one that was silent longest is forgotten.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: usize,
    /// A stream that is silent longer is forgotten.
    pub idle: HumanDuration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { max: 1024, idle: HumanDuration::from_secs(600) }
    }
}

/// One `T` for each stream of a pipeline: at most `max`, none that was silent for longer than `idle`.
///
/// Every touch is O(1): the streams form a list from the one touched last to the one touched first,
/// linked by places in `slots`.
#[derive(Debug)]
pub struct Streams<T> {
    max: usize,
    idle: Duration,
    places: HashMap<StreamKey, usize>,
    slots: Vec<Slot<T>>,
    newest: usize,
    oldest: usize,
    evicted: u64,
    expired: u64,
}

#[derive(Debug)]
struct Slot<T> {
    key: StreamKey,
    value: T,
    touched: Instant,
    newer: usize,
    older: usize,
}

/// The end of the list.
const NONE: usize = usize::MAX;

impl<T> Streams<T> {
    /// An empty map. A `max` of 0 counts as 1.
    pub fn new(limits: &StreamLimits) -> Self {
        Self {
            max: limits.max.max(1),
            idle: limits.idle.0,
            places: HashMap::new(),
            slots: Vec::new(),
            newest: NONE,
            oldest: NONE,
            evicted: 0,
            expired: 0,
        }
    }

    /// The thing of `key`, made if it is not there, and now the one touched last. Streams that were
    /// silent too long are forgotten first, `key` itself too.
    pub fn get_or_insert_with(
        &mut self,
        key: &StreamKey,
        now: Instant,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        self.expire(now);
        let place = match self.places.get(key).copied() {
            Some(place) => {
                self.unlink(place);
                place
            }
            None => self.insert(key, now, make()),
        };
        self.link_newest(place, now);
        &mut self.slots[place].value
    }

    /// The thing of `key`, if it is there; this is no touch.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.places.get(key).map(|place| &self.slots[*place].value)
    }

    /// Forgets every stream that was silent for longer than `idle`.
    pub fn expire(&mut self, now: Instant) {
        while self.oldest != NONE
            && now.saturating_duration_since(self.slots[self.oldest].touched) > self.idle
        {
            self.remove(self.oldest);
            self.expired += 1;
        }
    }

    /// Every stream with its thing and when it was touched, from the one touched last to the one touched first.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamKey, &T, Instant)> {
        let mut place = self.newest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(place)?;
            place = slot.older;
            Some((&slot.key, &slot.value, slot.touched))
        })
    }

    /// How long a stream may be silent.
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// How many streams are remembered.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// No stream is remembered.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many streams were forgotten to make room, ever.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many streams were forgotten because they were silent, ever.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// A slot that is in no list yet.
    fn insert(&mut self, key: &StreamKey, now: Instant, value: T) -> usize {
        if self.slots.len() >= self.max {
            self.remove(self.oldest);
            self.evicted += 1;
        }
        let place = self.slots.len();
        let key = key.clone();
        self.places.insert(key.clone(), place);
        self.slots.push(Slot { key, value, touched: now, newer: NONE, older: NONE });
        place
    }

    fn remove(&mut self, place: usize) {
        self.unlink(place);
        let gone = self.slots.swap_remove(place);
        self.places.remove(&gone.key);
        // The last slot moved into the gap: its neighbours must find it there.
        if let Some(moved) = self.slots.get(place) {
            let (newer, older) = (moved.newer, moved.older);
            self.places.insert(moved.key.clone(), place);
            self.point(newer, older, place, place);
        }
    }

    fn unlink(&mut self, place: usize) {
        let (newer, older) = (self.slots[place].newer, self.slots[place].older);
        self.point(newer, older, older, newer);
    }

    /// Makes the neighbour on the newer side name `as_older`, the one on the older side `as_newer`.
    fn point(&mut self, newer: usize, older: usize, as_older: usize, as_newer: usize) {
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = as_older,
            None => self.newest = as_older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = as_newer,
            None => self.oldest = as_newer,
        }
    }

    fn link_newest(&mut self, place: usize, now: Instant) {
        let older = self.newest;
        let slot = &mut self.slots[place];
        (slot.newer, slot.older, slot.touched) = (NONE, older, now);
        self.point(NONE, older, place, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The list agrees with a plain model of it, whatever is touched when.
        #[test]
        fn streams_forget_the_longest_silent(
            max in 1_usize..6, touches in prop::collection::vec((0_u8..9, 0_u64..8), 1..80)
        ) {
            let limits = StreamLimits { max, idle: HumanDuration::from_secs(20) };
            let mut streams = Streams::new(&limits);
            let mut model: Vec<(u8, u64)> = Vec::new();
            #[expect(clippy::disallowed_methods, reason = "any instant does")]
            let (start, mut clock) = (Instant::now(), 0);
            for (key, wait) in touches {
                clock += wait;
                model.retain(|(_, touched)| clock - touched <= 20);
                let known = model.iter().any(|(k, _)| *k == key);
                model.retain(|(k, _)| *k != key);
                if !known && model.len() == max {
                    model.remove(0);
                }
                model.push((key, clock));
                let now = start + Duration::from_secs(clock);
                let mut made = false;
                let value = *streams.get_or_insert_with(&StreamKey::new(&key.to_string()), now, || {
                    made = true;
                    key
                });
                prop_assert_eq!((value, made), (key, !known));
                let found: Vec<_> = streams.iter().map(|(_, value, touched)| (*value, touched)).collect();
                let wanted = model.iter().rev().map(|(k, at)| (*k, start + Duration::from_secs(*at)));
                prop_assert_eq!(found, wanted.collect::<Vec<_>>());
                prop_assert!(streams.get(&key.to_string()).is_some());
            }
        }
    }
}
