//! What is being carried out for the server, over restarts, and what it is to be told of that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ddi::Feedback;
use crate::disk;
use crate::update::machine::State;

/// The file is a few lines a release.
const MAX_BYTES: u64 = 1 << 20;

/// What is kept of the server.
// An older eir reads what a newer one wrote before it went back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What is being carried out.
    pub errand: Option<Errand>,
    /// The last action that had its end here.
    pub done: Option<Done>,
    /// What the server was told of the device.
    pub attributes: BTreeMap<String, String>,
}

/// An action that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// The server's number of it.
    pub action: u64,
    /// All that the bundle brings is begun: there is no way back but that of each release.
    #[serde(default)]
    pub imported: bool,
    /// What was begun of it.
    #[serde(default)]
    pub releases: BTreeSet<String>,
    /// What the server was told of each, and under no name of the whole.
    #[serde(default)]
    pub told: BTreeMap<String, String>,
    /// How it ended, until the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// An action that had its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The server's number of it.
    pub action: u64,
    /// How it ended; none: it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// All of it serves.
    pub is_well: bool,
    /// What there is to say.
    pub details: Vec<String>,
}

/// How far a release is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// As the repository calls it.
    pub release: String,
    /// How far.
    pub state: State,
    /// Why it went back.
    pub reason: Option<String>,
}

impl Memory {
    /// As it was left; what cannot be read is forgotten: the server says again what it wants.
    pub fn read(file: &Path) -> Self {
        let read = disk::read_bounded(file, MAX_BYTES).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Leaves it for after a restart.
    pub fn leave(&self, file: &Path) -> std::io::Result<()> {
        disk::replace(file, &serde_json::to_vec_pretty(self)?)
    }

    /// Whether an action is one to begin with or to go on fetching: neither done nor past that.
    pub fn is_open(&self, action: u64) -> bool {
        let is_past = |errand: &Errand| {
            errand.action == action && (errand.imported || errand.ending.is_some())
        };
        let is_done = self.done.as_ref().is_some_and(|done| done.action == action);
        !is_done && !self.errand.as_ref().is_some_and(is_past)
    }

    /// The end of what is carried out, as the server knows it.
    pub fn close(&mut self) {
        if let Some(Errand { action, ending, .. }) = self.errand.take() {
            self.done = Some(Done { action, ending });
        }
    }

    /// Gives an action up that the server cancels, if that can still be done; why not.
    pub fn cancel(&mut self, action: u64) -> Result<(), String> {
        if let Some(errand) = self.errand.as_ref().filter(|errand| errand.action == action) {
            if errand.ending.is_some() {
                return Err("it is over already".to_owned());
            }
            if let Some(begun) = errand.releases.first() {
                return Err(format!("{begun} is being installed already"));
            }
            self.errand = None;
        }
        if self.done.as_ref().is_none_or(|done| done.action != action) {
            self.done = Some(Done { action, ending: None });
        }
        Ok(())
    }
}

impl Errand {
    /// Nothing is done for it yet.
    pub const fn new(action: u64) -> Self {
        Self {
            action,
            imported: false,
            releases: BTreeSet::new(),
            told: BTreeMap::new(),
            ending: None,
        }
    }

    /// What moved since the server was told: a line each, by release.
    pub fn news(&self, standing: &[Standing]) -> BTreeMap<String, String> {
        let lines = standing.iter().map(|at| (at.release.clone(), at.line()));
        lines.filter(|(release, line)| self.told.get(release) != Some(line)).collect()
    }

    /// How it ended, once all that it brought had its end.
    pub fn end(&self, standing: &[Standing]) -> Option<Ending> {
        if !self.imported || standing.iter().any(|at| !at.state.is_final()) {
            return None;
        }
        let is_well = standing.iter().all(|at| at.state == State::Committed);
        Some(Ending { is_well, details: standing.iter().map(Standing::line).collect() })
    }
}

impl Ending {
    /// Well, with what there is to say.
    pub const fn well(details: Vec<String>) -> Self {
        Self { is_well: true, details }
    }

    /// Not well, and why.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { is_well: false, details: vec![reason.into()] }
    }

    /// As the server is told.
    pub fn feedback(&self) -> Feedback {
        Feedback::closed(self.is_well, self.details.clone())
    }
}

impl Standing {
    /// `models/defects/4.tar.zst: shadow`.
    fn line(&self) -> String {
        let Self { release, state, reason } = self;
        match reason {
            Some(reason) => format!("{release}: {state}: {reason}"),
            None => format!("{release}: {state}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(release: &str, state: State, reason: Option<&str>) -> Standing {
        Standing { release: release.to_owned(), state, reason: reason.map(str::to_owned) }
    }

    fn carried(imported: bool) -> Errand {
        let releases = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        Errand { imported, releases, ..Errand::new(7) }
    }

    #[test]
    fn what_moved_is_told_once_and_the_end_when_all_had_theirs() {
        let mut errand = carried(true);
        let now = [at("a", State::Shadow, None), at("b", State::Committed, None)];
        let news = errand.news(&now);
        assert_eq!(news.values().collect::<Vec<_>>(), ["a: shadow", "b: committed"]);
        errand.told.extend(news);
        assert!(errand.news(&now).is_empty());
        assert_eq!(errand.end(&now), None);
        let well = [at("a", State::Committed, None), at("b", State::Committed, None)];
        assert!(errand.end(&well).expect("over").is_well);
        let back = [at("a", State::RolledBack, Some("it is slow")), well[1].clone()];
        let ending = errand.end(&back).expect("over");
        assert!(!ending.is_well);
        assert_eq!(ending.details, ["a: rolled back: it is slow", "b: committed"]);
        assert_eq!(carried(false).end(&well), None, "more of it is to come");
    }

    #[test]
    fn what_is_begun_is_not_cancelled_and_what_is_not_is_not_begun_again() {
        let mut memory = Memory { errand: Some(Errand::new(7)), ..Memory::default() };
        assert!(memory.is_open(7) && memory.is_open(8));
        memory.cancel(7).expect("nothing is begun");
        assert_eq!((memory.errand.as_ref(), memory.is_open(7)), (None, false));
        memory.cancel(7).expect("again");
        memory.cancel(9).expect("nobody knows it");
        assert!(!memory.is_open(9));
        memory.errand = Some(carried(true));
        assert!(!memory.is_open(7));
        let why = memory.cancel(7).expect_err("it is begun");
        assert_eq!(why, "a is being installed already");
        memory.errand.as_mut().expect("there").ending = Some(Ending::failed("x"));
        assert_eq!(memory.cancel(7).expect_err("over"), "it is over already");
        memory.close();
        let done = memory.done.clone().expect("done");
        assert_eq!((done.action, done.ending), (7, Some(Ending::failed("x"))));
        assert!(!memory.is_open(7));
    }

    #[test]
    fn it_is_there_after_a_restart_and_what_is_damaged_is_forgotten() {
        let place = tempfile::tempdir().expect("tempdir");
        let file = place.path().join("hawkbit.json");
        assert_eq!(Memory::read(&file), Memory::default());
        let memory = Memory { errand: Some(carried(true)), ..Memory::default() };
        memory.leave(&file).expect("written");
        assert_eq!(Memory::read(&file), memory);
        disk::replace(&file, b"{\"errand\": 7}").expect("written");
        assert_eq!(Memory::read(&file), Memory::default());
    }
}
