//! Windows over the samples of a stream, and the bounded map that keeps one thing a stream.

mod keep;
mod streams;

pub use keep::KeptWindow;
pub use streams::{StreamLimits, Streams};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::{Order, Samples};

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
    /// Counts instead of `step`, as long as it is there.
    stride: Option<usize>,
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
        Ok(Self {
            samples: config.samples,
            step,
            channels: 0,
            values: Vec::new(),
            skip: 0,
            stride: None,
        })
    }

    /// From now on the next window starts so many instants behind the one before; `None`: as configured.
    pub fn set_stride(&mut self, stride: Option<usize>) {
        self.stride = stride;
    }

    /// The next window that the instants of one message fill, from instant `position` on: interleaved,
    /// exactly `samples` instants. `position` starts at 0 and moves with each call; `None` means that
    /// the message is used up.
    ///
    /// An error leaves the window empty, and the next message starts it anew.
    pub fn next(
        &mut self,
        samples: &Samples,
        position: &mut usize,
    ) -> Result<Option<Samples>, WindowError> {
        self.check(samples)?;
        let skipped = self.skip.min(samples.len().saturating_sub(*position));
        self.skip -= skipped;
        *position += skipped;
        let held = self.values.len() / self.channels;
        let end = samples.len().min(*position + self.samples - held);
        self.append(samples, *position, end);
        *position = end;
        if self.values.len() < self.samples * self.channels {
            return Ok(None);
        }
        let values = self.values.clone();
        // The move costs no more than the copy above: a ring would spare nothing.
        let step = self.stride.unwrap_or(self.step);
        self.values.drain(..step.min(self.samples) * self.channels);
        self.skip = step.saturating_sub(self.samples);
        Ok(Some(Samples { channels: self.channels, order: Order::Interleaved, values }))
    }

    /// What is held, to be gone on with after a restart; `None`: nothing is.
    pub fn keep(&self) -> Option<KeptWindow> {
        let Self { samples, step, channels, skip, .. } = *self;
        let is_new = self.values.is_empty() && skip == 0;
        (!is_new).then(|| KeptWindow {
            samples,
            step,
            channels,
            skip,
            values: keep::text(&self.values),
        })
    }

    /// Goes on with what was kept; false: that is of another configuration, or not whole.
    pub fn resume(&mut self, kept: &KeptWindow) -> bool {
        let Some(values) = keep::values(&kept.values) else { return false };
        let size = self.samples.saturating_mul(kept.channels);
        let fits = (kept.samples, kept.step) == (self.samples, self.step)
            && kept.channels > 0
            && kept.skip <= MAX_SAMPLES
            && size <= MAX_VALUES
            && values.len() < size
            && values.len().is_multiple_of(kept.channels);
        if fits {
            (self.channels, self.skip, self.values) = (kept.channels, kept.skip, values);
        }
        fits
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
        if from == to {
            return;
        }
        match samples.order {
            Order::Interleaved => {
                self.values.extend_from_slice(&samples.values[from * channels..to * channels]);
            }
            Order::Planar => {
                let start = self.values.len();
                self.values.resize(start + (to - from) * channels, 0.0);
                for channel in 0..channels {
                    let at = channel * samples.len();
                    let source = &samples.values[at + from..at + to];
                    let out = &mut self.values[start + channel..];
                    for (instant, value) in source.iter().enumerate() {
                        out[instant * channels] = *value;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(
        window: &mut Window,
        samples: &Samples,
        mut emit: impl FnMut(Samples),
    ) -> Result<(), WindowError> {
        let mut position = 0;
        while let Some(full) = window.next(samples, &mut position)? {
            emit(full);
        }
        Ok(())
    }

    fn windows(samples: usize, step: Option<usize>, messages: &[Samples]) -> Vec<Vec<f32>> {
        let mut window = Window::new(&WindowConfig { samples, step }).expect("a window");
        let mut all = Vec::new();
        for message in messages {
            push(&mut window, message, |full| all.push(full.values)).expect("fits");
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
    fn a_planar_message_that_ends_with_its_window_leaves_nothing() {
        let messages = [counted(0, 4, 2, Order::Planar), counted(4, 8, 2, Order::Planar)];
        assert_eq!(windows(2, None, &messages), [vec![0., 2., 1., 3.], vec![4., 6., 5., 7.]]);
    }

    #[test]
    fn a_stride_counts_instead_of_the_step_while_it_is_there() {
        let mut window = Window::new(&WindowConfig { samples: 2, step: None }).expect("a window");
        let mut firsts = Vec::new();
        let mut fill = |window: &mut Window, from: u16| {
            let message = counted(from, from + 6, 1, Order::Interleaved);
            push(window, &message, |full| firsts.push(full.values[0])).expect("fits");
        };
        fill(&mut window, 0);
        window.set_stride(Some(3));
        fill(&mut window, 6);
        window.set_stride(None);
        fill(&mut window, 12);
        assert_eq!(firsts, [0., 2., 4., 6., 9., 12., 14., 16.]);
    }

    #[test]
    fn what_was_kept_of_another_window_or_is_damaged_is_not_gone_on_with() {
        let config = WindowConfig { samples: 4, step: None };
        let mut window = Window::new(&config).expect("a window");
        assert_eq!(window.keep(), None);
        push(&mut window, &counted(0, 3, 1, Order::Interleaved), |_| ()).expect("fits");
        let kept = window.keep().expect("three of four");
        let full = KeptWindow { values: keep::text(&[0.0; 4]), ..kept.clone() };
        let halved = KeptWindow { channels: 2, ..kept.clone() };
        let none = KeptWindow { channels: 0, ..kept.clone() };
        let torn = KeptWindow { values: "AAA".to_owned(), ..kept.clone() };
        let skipped = KeptWindow { skip: MAX_SAMPLES + 1, ..kept.clone() };
        let other = KeptWindow { samples: 8, ..kept.clone() };
        for wrong in [full, halved, none, torn, skipped, other] {
            let mut fresh = Window::new(&config).expect("a window");
            assert!(!fresh.resume(&wrong), "{wrong:?}");
            assert_eq!(fresh.keep(), None);
        }
        assert!(Window::new(&config).expect("a window").resume(&kept));
    }

    #[test]
    fn another_number_of_channels_starts_anew() {
        let mut window = Window::new(&WindowConfig { samples: 2, step: None }).expect("a window");
        let mut full = Vec::new();
        let one = counted(0, 1, 1, Order::Interleaved);
        let two = counted(5, 7, 2, Order::Interleaved);
        push(&mut window, &one, |w| full.push(w)).expect("fits");
        assert_eq!(
            push(&mut window, &two, |w| full.push(w)),
            Err(WindowError::Channels { found: 2, wanted: 1 })
        );
        push(&mut window, &two, |w| full.push(w)).expect("starts anew");
        push(&mut window, &two, |w| full.push(w)).expect("fits");
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
        let error = push(&mut window, &wide, |_| ()).expect_err("100 Mi numbers");
        assert_eq!(error.kind(), "too_large");
    }

    proptest! {
        /// A restart between two messages makes no difference.
        #[test]
        fn a_window_that_was_kept_goes_on(
            samples in 1_usize..9, step in 1_usize..13, cuts in prop::collection::vec(1_u16..20, 1..12)
        ) {
            let config = WindowConfig { samples, step: Some(step) };
            let (mut whole, mut resumed) = (Vec::new(), Vec::new());
            let mut never = Window::new(&config).expect("a window");
            let mut always = never.clone();
            for cut in cuts {
                let message = counted(0, cut * 2, 2, Order::Interleaved);
                push(&mut never, &message, |full| whole.push(full.values)).expect("fits");
                push(&mut always, &message, |full| resumed.push(full.values)).expect("fits");
                if let Some(kept) = always.keep() {
                    let text = serde_json::to_string(&kept).expect("json");
                    always = Window::new(&config).expect("a window");
                    prop_assert!(always.resume(&serde_json::from_str(&text).expect("kept")));
                }
            }
            prop_assert_eq!(whole, resumed);
        }

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
    }
}
