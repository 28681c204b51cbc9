//! The jobs.

use super::{Outcome, Page};
use crate::job::State;

impl Page {
    pub(super) fn jobs(&self, jobs: &[(State, usize)]) -> Outcome {
        self.gauge(
            "eir_jobs",
            "Jobs that are kept, by their state.",
            ["state"],
            jobs.iter().map(|(state, count)| ([state.as_str()], *count as f64)),
        )
    }
}
