//! `[summary]` and `[pipeline.NAME.summary]` as the user writes them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{HumanDuration, KeyTemplate};

/// What happened, told to the clouds at regular times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SummaryConfig {
    /// The length of a window, 1s to 1d. Windows begin at its multiples since midnight, UTC, where a day is one
    /// itself.
    pub every: HumanDuration,
}

impl Default for SummaryConfig {
    fn default() -> Self {
        Self { every: HumanDuration::from_secs(60) }
    }
}

impl SummaryConfig {
    /// Everything that cannot work: the key, and what would be right.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let allowed = Duration::from_secs(1)..=Duration::from_hours(24);
        let wrong = !allowed.contains(&self.every.0) || self.every.0.subsec_nanos() != 0;
        let message = || ("every", "must be whole seconds, from 1s to 1d".to_owned());
        wrong.then(message).into_iter().collect()
    }
}

/// What the summaries of a pipeline tell apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Also a part for each group of streams, e.g. `{topic.1}` for one a machine; at most 64 of them.
    pub group: Option<KeyTemplate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_whole_seconds() {
        for (text, right) in
            [("1s", true), ("1d", true), ("0s", false), ("1500ms", false), ("25h", false)]
        {
            let config: SummaryConfig =
                toml::from_str(&format!("every = '{text}'")).expect("a config");
            assert_eq!(config.check().is_empty(), right, "{text}");
        }
        assert!(toml::from_str::<SummaryConfig>("each = '1s'").is_err());
    }
}
