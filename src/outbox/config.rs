//! `[outbox]` as the user writes it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ByteSize, HumanDuration};

/// The smallest outbox that has room for a batch and for the telling of what it dropped.
const LEAST: usize = 1 << 20;

/// Records on their way to the clouds, kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// The SQLite file. Its directory is made if it is not there. The same for everybody: a place that
    /// depended on who may write where would hide the records of the service from `eir outbox`.
    pub path: PathBuf,
    /// How much of the disk it may take, its write-ahead log included. When full, the oldest samples
    /// are dropped, then summaries are made into hourly ones, then dropped, then the rest, and a `gap` record tells of each.
    pub max: ByteSize,
    /// Records older than this are dropped and told of. Counted is the time that eir runs, so that a
    /// clock that jumps drops nothing. By default they are kept as long as there is room.
    pub max_age: Option<HumanDuration>,
    /// What happens to acknowledgements while the disk refuses.
    pub when_unwritable: WhenUnwritable,
    /// How much memory may wait for the disk.
    pub queue: ByteSize,
    /// How often open windows and what rules remember are written down, where they have changed: after a kill
    /// eir goes on with what is at most so old. What a stream left is forgotten after `streams.idle`.
    pub state_every: HumanDuration,
}

/// What happens while the disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnwritable {
    /// Messages are decided and acknowledged; their records are counted, and a `gap` record tells of
    /// them when the disk is back.
    #[default]
    Continue,
    /// Acknowledgements are withheld until the records are on disk; the broker keeps what comes.
    Hold,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            path: "/var/lib/eir/outbox.db".into(),
            max: ByteSize(256 << 20),
            max_age: None,
            when_unwritable: WhenUnwritable::Continue,
            queue: ByteSize(8 << 20),
            state_every: HumanDuration::from_secs(60),
        }
    }
}

impl OutboxConfig {
    /// Everything that cannot work: the key, and what would be right.
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.path.file_name().is_none() {
            problems.push(("path", "must name a file, like \"/var/lib/eir/outbox.db\"".to_owned()));
        }
        if self.max.0 < LEAST {
            problems.push(("max", format!("must be at least {}", ByteSize(LEAST))));
        }
        if self.queue.0 < 64 << 10 {
            problems.push(("queue", "must be at least 64KiB".to_owned()));
        }
        if !(1..=3600).contains(&self.state_every.0.as_secs()) {
            problems.push(("state_every", "must be 1s to 1h".to_owned()));
        }
        if self.max_age.is_some_and(|age| age.0.as_secs() < 60) {
            problems.push(("max_age", "must be at least 1m".to_owned()));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_says_what_would() {
        let keys = |text: &str| -> Vec<&str> {
            let config: OutboxConfig = toml::from_str(text).expect(text);
            config.check().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(""), Vec::<&str>::new());
        assert_eq!(keys("max = '1MiB'\nmax_age = '30days'"), Vec::<&str>::new());
        assert_eq!(
            keys("path = '..'\nmax = '64KiB'\nqueue = '1KiB'\nmax_age = '5s'\nstate_every = '0s'"),
            ["path", "max", "queue", "state_every", "max_age"]
        );
        assert!(toml::from_str::<OutboxConfig>("when_unwritable = 'exit'").is_err());
    }
}
