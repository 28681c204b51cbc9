//! Releases over the air.

use super::{Outcome, Page};
use crate::update::status::Status;

impl Page {
    pub(super) fn updates(&self, updates: &Status) -> Outcome {
        let up = f64::from(u8::from(updates.problem.is_none()));
        self.gauge("eir_updates_up", "Whether new releases can be found.", [], [([], up)])?;
        self.gauge(
            "eir_updates_looked_timestamp_seconds",
            "When the repository was last looked at and all was well.",
            [],
            updates.looked.map(|at| ([], at.as_millisecond() as f64 / 1000.0)),
        )?;
        self.gauge(
            "eir_update_state",
            "How far the release of each thing is: 1 at the state that it is in.",
            ["subject", "release", "state"],
            updates
                .releases
                .iter()
                .map(|of| ([of.subject.as_str(), of.release.as_str(), of.state.as_str()], 1.0)),
        )?;
        self.gauge(
            "eir_release_whole",
            "Whether what serves is what was signed.",
            ["release"],
            updates
                .serving
                .iter()
                .filter_map(|of| Some(([of.release.as_str()], f64::from(u8::from(of.whole?))))),
        )
    }
}
