//! Windows over the samples of a stream, and the bounded map that keeps one thing a stream.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::{HumanDuration, Order, Samples, StreamKey};

/// No window is longer than this many instants.
pub const MAX_SAMPLES: usize = 1 << 20;

/// No window holds more numbers than this, whatever its channels (64 MiB of them).
const MAX_VALUES: usize = 1 << 24;

/// How many instants make one model input, and how far the next one starts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Instants a window.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub samples: usize,
    /// Instants from the start of one window to the start of the next; by default `samples`. Smaller
    /// makes windows overlap, larger leaves gaps.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub step: Option<usize>,
}

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

/// A window that cannot be, or samples that do not fit it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the fields are what the message shows")]
pub enum WindowError {
    /// `samples` or `step` is 0 or too large; only from [`Window::new`].
    #[error("window.{name} is {found}; it must be 1 to {MAX_SAMPLES}")]
    Config { name: &'static str, found: usize },
    /// The message has another number of channels than those before it.
    #[error("the message has {found} channels, the window so far {wanted}; the window starts anew")]
    Channels { found: usize, wanted: usize },
    /// A window of so many channels would be too large.
    #[error("a window of {samples} instants of {channels} channels is too large")]
    TooLarge { samples: usize, channels: usize },
}

impl WindowError {
    /// A name for counters: one of a fixed few.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Config { .. } => "config",
            Self::Channels { .. } => "wrong_channels",
            Self::TooLarge { .. } => "too_large",
        }
    }
}

/// Gathers the samples of one stream into windows.
///
/// Memory is bounded by one window; it grows with the samples that came, not with the configuration.
#[derive(Debug, Clone)]
pub struct Window {
    samples: usize,
    step: usize,
    /// 0 until the first message.
    channels: usize,
    /// Interleaved, always short of one window between two calls.
    values: Vec<f32>,
    /// Instants to be skipped before the next window begins (`step` > `samples`).
    skip: usize,
}

impl Window {
    /// Checks the configuration.
    pub fn new(config: &WindowConfig) -> Result<Self, WindowError> {
        let step = config.step.unwrap_or(config.samples);
        for (name, found) in [("samples", config.samples), ("step", step)] {
            if !(1..=MAX_SAMPLES).contains(&found) {
                return Err(WindowError::Config { name, found });
            }
        }
        Ok(Self { samples: config.samples, step, channels: 0, values: Vec::new(), skip: 0 })
    }

    /// Adds the instants of one message and calls `emit` with every window that it fills:
    /// interleaved, exactly `samples` instants.
    ///
    /// An error leaves the window empty, and the next message starts it anew.
    pub fn push(
        &mut self,
        samples: &Samples,
        mut emit: impl FnMut(Samples),
    ) -> Result<(), WindowError> {
        self.check(samples)?;
        let mut next = self.skip.min(samples.len());
        self.skip -= next;
        while next < samples.len() {
            let held = self.values.len() / self.channels;
            let end = samples.len().min(next + self.samples - held);
            self.append(samples, next, end);
            next = end;
            if self.values.len() < self.samples * self.channels {
                break;
            }
            emit(Samples {
                channels: self.channels,
                order: Order::Interleaved,
                values: self.values.clone(),
            });
            // The move costs no more than the copy above: a ring would spare nothing.
            self.values.drain(..self.step.min(self.samples) * self.channels);
            self.skip = self.step.saturating_sub(self.samples);
            let skipped = self.skip.min(samples.len() - next);
            self.skip -= skipped;
            next += skipped;
        }
        Ok(())
    }

    fn check(&mut self, samples: &Samples) -> Result<(), WindowError> {
        let (found, wanted) = (samples.channels, self.channels);
        let size = self.samples.saturating_mul(found);
        if wanted != 0 && found != wanted {
            (self.channels, self.skip) = (0, 0);
            self.values.clear();
            return Err(WindowError::Channels { found, wanted });
        }
        if found == 0 || size > MAX_VALUES {
            return Err(WindowError::TooLarge { samples: self.samples, channels: found });
        }
        self.channels = found;
        Ok(())
    }

    fn append(&mut self, samples: &Samples, from: usize, to: usize) {
        let channels = self.channels;
        match samples.order {
            Order::Interleaved => {
                self.values.extend_from_slice(&samples.values[from * channels..to * channels]);
            }
            Order::Planar => {
                let instants = samples.len();
                self.values
                    .extend((from..to).flat_map(|t| {
                        (0..channels).map(move |c| samples.values[c * instants + t])
                    }));
            }
        }
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

    /// Every stream with its thing, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&StreamKey, &T)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.value))
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

    fn windows(samples: usize, step: Option<usize>, messages: &[Samples]) -> Vec<Vec<f32>> {
        let mut window = Window::new(&WindowConfig { samples, step }).expect("a window");
        let mut all = Vec::new();
        for message in messages {
            window.push(message, |full| all.push(full.values)).expect("fits");
        }
        all
    }

    fn counted(from: u16, to: u16, channels: usize, order: Order) -> Samples {
        let values = (from..to).map(f32::from).collect();
        Samples { channels, order, values }
    }

    #[test]
    fn planar_messages_come_out_interleaved() {
        let messages = [counted(0, 6, 2, Order::Planar), counted(6, 12, 2, Order::Planar)];
        let expected = [vec![0., 3., 1., 4.], vec![2., 5., 6., 9.], vec![7., 10., 8., 11.]];
        assert_eq!(windows(2, None, &messages), expected);
    }

    #[test]
    fn another_number_of_channels_starts_anew() {
        let mut window = Window::new(&WindowConfig { samples: 2, step: None }).expect("a window");
        let mut full = Vec::new();
        let one = counted(0, 1, 1, Order::Interleaved);
        let two = counted(5, 7, 2, Order::Interleaved);
        window.push(&one, |w| full.push(w)).expect("fits");
        assert_eq!(
            window.push(&two, |w| full.push(w)),
            Err(WindowError::Channels { found: 2, wanted: 1 })
        );
        window.push(&two, |w| full.push(w)).expect("starts anew");
        window.push(&two, |w| full.push(w)).expect("fits");
        assert_eq!(full.iter().map(|w| w.values.clone()).collect::<Vec<_>>(), [[5., 6., 5., 6.]]);
    }

    #[test]
    fn a_window_of_nothing_or_too_much_is_refused() {
        for (samples, step) in [(0, None), (1, Some(0)), (MAX_SAMPLES + 1, None)] {
            assert!(Window::new(&WindowConfig { samples, step }).is_err());
        }
        let mut window =
            Window::new(&WindowConfig { samples: MAX_SAMPLES, step: None }).expect("a window");
        let wide = counted(0, 100, 100, Order::Interleaved);
        let error = window.push(&wide, |_| ()).expect_err("100 Mi numbers");
        assert_eq!(error.kind(), "too_large");
    }

    proptest! {
        /// However the samples are cut into messages, the windows are those of the whole.
        #[test]
        fn windows_do_not_depend_on_messages(
            samples in 1_usize..9, step in 1_usize..13, cuts in prop::collection::vec(1_u16..20, 1..12)
        ) {
            let total: u16 = cuts.iter().sum();
            let mut from = 0;
            let messages: Vec<_> = cuts.iter().map(|cut| {
                from += cut;
                counted(from - cut, from, 1, Order::Interleaved)
            }).collect();
            let whole: Vec<f32> = (0..total).map(f32::from).collect();
            let expected: Vec<_> = (0..whole.len()).step_by(step)
                .filter_map(|at| whole.get(at..at + samples).map(<[f32]>::to_vec)).collect();
            prop_assert_eq!(windows(samples, Some(step), &messages), expected);
        }

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
                let mut found: Vec<_> = streams.iter().map(|(_, v)| *v).collect();
                let mut wanted: Vec<_> = model.iter().map(|(k, _)| *k).collect();
                found.sort_unstable();
                wanted.sort_unstable();
                prop_assert_eq!(found, wanted);
                prop_assert!(streams.get(&key.to_string()).is_some());
            }
        }
    }
}
