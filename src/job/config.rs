//! `[api.jobs]` as the user writes it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{ByteSize, HumanDuration};

/// Work that outlasts a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Where jobs are kept; made if it is not there.
    pub dir: PathBuf,
    /// Clients may name folders below this one instead of sending files. Without it they may not.
    pub inputs: Option<PathBuf>,
    /// Jobs that wait or run, 1 to 1024; further ones are told to come again.
    #[schemars(range(min = 1, max = 1024))]
    pub waiting: usize,
    /// How much of the disk all jobs may take, 1MiB to 1TiB. Who ended first makes room for others.
    pub max: ByteSize,
    /// For how long results are kept, a minute to a year. Counted is the time that eir runs.
    pub keep: HumanDuration,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            dir: "/var/lib/eir/jobs".into(),
            inputs: None,
            waiting: 16,
            max: ByteSize(256 << 20),
            keep: HumanDuration::from_secs(24 * 3600),
        }
    }
}

impl JobsConfig {
    /// Everything that cannot work, by key.
    pub fn check(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if !(1..=1024).contains(&self.waiting) {
            problems.push(("waiting", "must be from 1 to 1024"));
        }
        if !(1 << 20..=1 << 40).contains(&(self.max.0 as u64)) {
            problems.push(("max", "must be from 1MiB to 1TiB"));
        }
        let year = Duration::from_hours(366 * 24);
        if !(Duration::from_mins(1)..=year).contains(&self.keep.0) {
            problems.push(("keep", "must be from 1min to 366days"));
        }
        problems
    }
}
