//! What a restart goes on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::OutboxError;
use super::store::{connect_to_read, load_memories};
use crate::task::{Clock, Uptime};

/// What was remembered last under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// When, by the wall clock of then.
    pub saved: Timestamp,
    /// When, as the board itself knew it.
    pub uptime: Option<Uptime>,
    /// What.
    pub body: String,
}

impl Memory {
    /// How long ago that was. The board knows it where it was not started anew; otherwise the wall clock does, if it
    /// was right then and is right now. Where neither knows, it was before the board was started.
    pub fn age(&self, clock: &dyn Clock) -> Duration {
        let by_wall = || {
            let age = clock.wall().duration_since(self.saved);
            Duration::try_from(age).unwrap_or_default()
        };
        match (&self.uptime, clock.uptime()) {
            (Some(then), Some(now)) if then.boot == now.boot => {
                now.since.saturating_sub(then.since)
            }
            (Some(then), Some(now)) if !then.synced || !now.synced => now.since,
            _ => by_wall(),
        }
    }
}

/// What the outbox at `path` remembers, by name; to be asked before it is started. Nothing where there is none yet.
pub fn recall(path: &Path) -> Result<BTreeMap<String, Memory>, OutboxError> {
    match connect_to_read(path) {
        Ok(db) => load_memories(&db),
        Err(OutboxError::Absent(_)) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}
