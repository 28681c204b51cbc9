//! `[pipeline.NAME.sample.NAME]` as the user writes it.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ByteSize, Name};
use crate::package::Task;

/// Inputs that are sent to the clouds, or kept in a directory, to be labelled. One of `uncertain`, `random`, `rule` and
/// `novel` says which.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// Those with a score from the first to the second number.
    #[schemars(example = [0.3, 0.6])]
    pub uncertain: Option<[f32; 2]>,
    /// This part of all, more than 0 and at most 1.
    pub random: Option<f64>,
    /// Those that made this rule of the pipeline fire.
    pub rule: Option<Name>,
    /// Those of whose values more than this part lies outside what the package's `reference.json` knows: below its
    /// lowest or above its highest quantile.
    pub novel: Option<f64>,
    /// The most that is taken in an hour of the clock.
    pub hourly: Quota,
    /// The most that is taken in a day, UTC.
    pub daily: Quota,
    /// Detections with these labels are made unrecognisable before the picture leaves the process. For models that
    /// detect these.
    pub redact: Vec<String>,
    /// A directory instead of the clouds.
    pub archive: Option<ArchiveConfig>,
}

/// At most so many, of at most so many bytes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// How many.
    pub count: u64,
    /// Of how many bytes.
    pub size: ByteSize,
}

impl Default for Quota {
    fn default() -> Self {
        Self { count: 20, size: ByteSize(4 << 20) }
    }
}

/// A directory that samples are kept in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// The directory; it is made if it is not there, and should hold nothing else.
    pub dir: PathBuf,
    /// How much it may hold; the oldest make room.
    pub max: ByteSize,
}

/// Which inputs are taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Strategy {
    Uncertain([f32; 2]),
    Random(f64),
    Rule(Name),
    Novel(f64),
}

impl SampleConfig {
    /// The one that is written.
    pub(super) fn strategy(&self) -> Option<Strategy> {
        let mut all = [
            self.uncertain.map(Strategy::Uncertain),
            self.random.map(Strategy::Random),
            self.rule.clone().map(Strategy::Rule),
            self.novel.map(Strategy::Novel),
        ]
        .into_iter()
        .flatten();
        all.next().filter(|_| all.next().is_none())
    }

    /// What a model of this task, with these labels, cannot hide: the key, and what would be right.
    pub fn check_model(&self, task: Task, labels: &[Arc<str>]) -> Vec<(&'static str, String)> {
        if !self.redact.is_empty() && task != Task::Detection {
            let what = "hides what a model detects, and this one detects nothing; remove it";
            return vec![("redact", what.to_owned())];
        }
        let unknown =
            self.redact.iter().find(|label| labels.iter().all(|known| **known != ***label));
        unknown
            .map(|label| {
                let known = labels.join(", ");
                ("redact", format!("the model knows no `{label}`; it knows {known}"))
            })
            .into_iter()
            .collect()
    }

    /// Everything that cannot work: the key, and what would be right. `rules` are those of the pipeline.
    pub fn check<'a>(
        &self,
        mut rules: impl Iterator<Item = &'a Name>,
    ) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.strategy().is_none() {
            let what = "one of uncertain, random, rule and novel says which inputs are taken";
            problems.push(("uncertain", what.to_owned()));
        }
        if self.uncertain.is_some_and(|[low, high]| low > high) {
            problems.push(("uncertain", "the first number must not be the larger".to_owned()));
        }
        let parts = [("random", self.random), ("novel", self.novel)];
        let wrong = parts.iter().filter(|(_, part)| part.is_some_and(|p| !(p > 0.0 && p <= 1.0)));
        problems.extend(wrong.map(|(key, _)| (*key, "must be from 0 to 1, and not 0".to_owned())));
        if let Some(rule) = &self.rule
            && !rules.any(|known| known == rule)
        {
            problems.push(("rule", format!("the pipeline has no rule `{rule}`")));
        }
        if self.archive.as_ref().is_some_and(|archive| archive.max.0 < 1 << 20) {
            problems.push(("archive.max", format!("must be at least {}", ByteSize(1 << 20))));
        }
        problems
    }
}
