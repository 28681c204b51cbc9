//! How a cloud is doing, for health and for the log.

use crate::task::BreakerState;

/// What became of the records for one cloud since the start, and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudStatus {
    /// Why records do not leave.
    pub problem: Option<String>,
    /// A person must change something before it gets better.
    pub needs_a_person: bool,
    /// Why nothing is sent although it could be: what `allow` and `daily` say.
    pub paused: Option<String>,
    /// Where the breaker stands.
    pub breaker: BreakerState,
    /// Batches that were delivered.
    pub batches: u64,
    /// Records that were delivered.
    pub records: u64,
    /// What was sent for batches that were delivered, compressed.
    pub sent_bytes: u64,
    /// The same before it was compressed.
    pub raw_bytes: u64,
    /// Tries that did not deliver.
    pub failures: u64,
    /// Records that the cloud rejected for good, now in the dead letters.
    pub dead: u64,
}

impl CloudStatus {
    /// Notes what is wrong. One line in the log when it begins, whatever the traffic.
    pub(super) fn fail(&mut self, cloud: &str, why: &str, needs_a_person: bool) {
        let is_new = self.problem.is_none() || needs_a_person && !self.needs_a_person;
        if !is_new {
            tracing::debug!(cloud, "{why}");
        } else if needs_a_person {
            tracing::error!(cloud, "records wait: {why}");
        } else {
            tracing::warn!(cloud, "records wait: {why}");
        }
        self.problem = Some(why.to_owned());
        self.needs_a_person = needs_a_person;
    }

    /// Notes that it works.
    pub(super) fn works(&mut self, cloud: &str) {
        if self.problem.take().is_some() {
            tracing::info!(cloud, "records leave again");
        }
        self.needs_a_person = false;
    }
}
