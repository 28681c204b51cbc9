//! What a pipeline does with less while there is too much for the device, step by step, and when it takes all up again.
//!
//! The [`Ladder`] goes down a step when the load was too high for a while, and up again when it was low for longer.
//! Between low and high it stays where it is, and a step that was given back too early is held twice as long the next
//! time, so that it does not go up and down for ever.

use std::fmt;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::window::{MAX_SAMPLES, WindowConfig};
use crate::event::HumanDuration;
use crate::package::ModelRef;

/// Steps of one pipeline.
pub const MAX_STEPS: usize = 8;

/// A step is held at most this many times as long as it says.
const MOST_PATIENCE: u32 = 16;

/// When there is too much to do, and what is done with less then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DegradeConfig {
    /// It is too much when a message waited longer than this in the queue; above 0. A message that the queue drops,
    /// or a processor that is throttled, is too much in any case.
    #[serde(default = "lag")]
    pub lag: HumanDuration,
    /// It is also too much when the processor is hotter than this, in °C.
    #[serde(default)]
    pub celsius: Option<f64>,
    /// After so long of too much the next step is taken.
    #[serde(default = "after")]
    pub after: HumanDuration,
    /// After so long without, less than half of `lag` and 3 °C below `celsius`, the last step is given back. Where
    /// that turned out to be too early, it is twice as long the next time, up to 16 times.
    #[serde(default = "back")]
    pub back: HumanDuration,
    /// What is done, in this order; each step is added to those before it.
    #[schemars(length(min = 1, max = 8))]
    pub steps: Vec<StepConfig>,
}

fn lag() -> HumanDuration {
    HumanDuration(Duration::from_millis(500))
}

fn after() -> HumanDuration {
    HumanDuration::from_secs(5)
}

fn back() -> HumanDuration {
    HumanDuration::from_secs(60)
}

/// What is done with less; at least one of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepConfig {
    /// Messages a second that are looked at in each stream; the others are settled and counted. Not with a window,
    /// which would have gaps.
    #[serde(default)]
    #[schemars(range(min = 0.001, max = 100_000.0))]
    pub rate: Option<f64>,
    /// A model that serves instead: of the same task, with the same labels. It is loaded from the start.
    #[serde(default)]
    pub model: Option<String>,
    /// Instants from the start of one window to the start of the next, instead of the window's `step`; larger than that.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub stride: Option<usize>,
}

impl DegradeConfig {
    /// What is wrong with it, beside this window: the keys and what would be right.
    pub fn check(&self, window: Option<&WindowConfig>) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.lag.0.is_zero() {
            found.push(("lag".to_owned(), "must be longer than 0, as \"500ms\"".to_owned()));
        }
        if self.celsius.is_some_and(|celsius| !celsius.is_finite()) {
            found.push(("celsius".to_owned(), "must be a number, as 80".to_owned()));
        }
        if !(1..=MAX_STEPS).contains(&self.steps.len()) {
            found.push(("steps".to_owned(), format!("must be 1 to {MAX_STEPS} steps")));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let told = step.check(window).into_iter();
            found.extend(told.map(|(part, what)| (format!("steps.{index}{part}"), what)));
        }
        found
    }
}

impl StepConfig {
    fn check(&self, window: Option<&WindowConfig>) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if *self == (Self { rate: None, model: None, stride: None }) {
            found.push(("", "does nothing; say rate, model or stride".to_owned()));
        }
        if let Some(rate) = self.rate {
            if !(0.001..=1e5).contains(&rate) {
                found.push((".rate", "must be messages a second, 0.001 to 100000".to_owned()));
            }
            if window.is_some() {
                let message = "would leave gaps inside the windows; use stride";
                found.push((".rate", message.to_owned()));
            }
        }
        if let Some(Err(error)) = self.model.as_ref().map(|model| model.parse::<ModelRef>()) {
            found.push((".model", error.to_string()));
        }
        match (self.stride, window) {
            (Some(_), None) => {
                let message = "there is no window to stride; use rate";
                found.push((".stride", message.to_owned()));
            }
            (Some(stride), Some(WindowConfig { samples, step })) => {
                let step = step.unwrap_or(*samples);
                if !(step + 1..=MAX_SAMPLES).contains(&stride) {
                    let message =
                        format!("must be more than the window's step, {step}, up to {MAX_SAMPLES}");
                    found.push((".stride", message));
                }
            }
            (None, _) => {}
        }
        found
    }
}

/// What a pipeline had to bear since it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// The longest that a message waited in the queue.
    pub waited: Duration,
    /// Messages that the queue dropped.
    pub dropped: u64,
    /// The processor is held back.
    pub throttled: bool,
    /// How hot it is.
    pub celsius: Option<f64>,
}

/// Why a step was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pressure {
    /// The queue dropped so many messages.
    Dropped(u64),
    /// A message waited so long in the queue.
    Waited(Duration),
    /// The processor is held back.
    Throttled,
    /// It is so hot, in °C.
    Hot(f64),
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dropped(messages) => write!(f, "the queue dropped {messages} messages"),
            Self::Waited(time) => write!(f, "a message waited {time:.1?} in the queue"),
            Self::Throttled => f.write_str("the processor is throttled"),
            Self::Hot(celsius) => write!(f, "the processor is at {celsius:.0} °C"),
        }
    }
}

impl Load {
    fn pressure(&self, config: &DegradeConfig) -> Option<Pressure> {
        let hot = self.celsius.zip(config.celsius).filter(|(now, most)| now > most);
        if self.dropped > 0 {
            Some(Pressure::Dropped(self.dropped))
        } else if self.waited > config.lag.0 {
            Some(Pressure::Waited(self.waited))
        } else if self.throttled {
            Some(Pressure::Throttled)
        } else {
            hot.map(|(celsius, _)| Pressure::Hot(celsius))
        }
    }

    fn is_low(&self, config: &DegradeConfig) -> bool {
        let warm = self.celsius.zip(config.celsius).is_some_and(|(now, most)| now > most - 3.0);
        self.dropped == 0 && self.waited < config.lag.0 / 2 && !self.throttled && !warm
    }
}

/// Which steps of a pipeline are taken.
#[derive(Debug, Default)]
pub struct Ladder {
    taken: usize,
    /// Why the last one was.
    why: Option<Pressure>,
    high_since: Option<Instant>,
    low_since: Option<Instant>,
    /// When the last step was given back, and how many times as long as configured it was held.
    given_back: Option<Instant>,
    patience: u32,
}

impl Ladder {
    /// How many steps are taken now.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Why the last of them was.
    pub const fn why(&self) -> Option<Pressure> {
        self.why
    }

    /// Takes a step or gives one back, if it is time to; true if so. To be called about once a second.
    pub fn look(&mut self, config: &DegradeConfig, load: &Load, now: Instant) -> bool {
        let long = |since: &Option<Instant>| {
            since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
        };
        if let Some(pressure) = load.pressure(config) {
            self.low_since = None;
            self.high_since.get_or_insert(now);
            if long(&self.high_since) < config.after.0 || self.taken == config.steps.len() {
                return false;
            }
            let early = self.given_back.is_some() && long(&self.given_back) < config.back.0;
            let patience = self.patience.max(1);
            self.patience = if early { (patience * 2).min(MOST_PATIENCE) } else { patience };
            self.taken += 1;
            self.why = Some(pressure);
            // The next one is another wait away.
            self.high_since = Some(now);
            return true;
        }
        self.high_since = None;
        if !load.is_low(config) {
            self.low_since = None;
            return false;
        }
        self.low_since.get_or_insert(now);
        if self.taken == 0
            || long(&self.low_since) < config.back.0.saturating_mul(self.patience.max(1))
        {
            if self.taken == 0 && long(&self.low_since) >= config.back.0 {
                self.patience = 1;
            }
            return false;
        }
        self.taken -= 1;
        self.given_back = Some(now);
        self.low_since = Some(now);
        if self.taken == 0 {
            self.why = None;
        }
        true
    }
}

/// Lets through of one stream what comes at most at some rate.
#[derive(Debug, Default)]
pub struct Pace {
    due: Option<Instant>,
}

impl Pace {
    /// Whether a message that came at `at` is one of at most `rate` a second.
    pub fn admits(&mut self, rate: f64, at: Instant) -> bool {
        let apart = Duration::from_secs_f64(1.0 / rate);
        match self.due {
            Some(due) if at < due => false,
            // Messages that come unevenly still make the rate; after silence it begins anew.
            Some(due) if at < due + apart => {
                self.due = Some(due + apart);
                true
            }
            _ => {
                self.due = Some(at + apart);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
