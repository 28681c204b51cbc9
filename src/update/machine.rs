//! What becomes of a release on a device: one table of states and events, for models, programs and configurations.
//!
//! A [`Progress`] is saved before the state that it names is entered, so that whoever starts after a power cut knows what
//! was under way. Whatever happens, in whatever order, a release ends [`State::Committed`] or [`State::RolledBack`]: it may
//! change its state [`MAX_MOVES`] times, and what tests it may be cut off [`MAX_STARTS`] times.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State changes of one release, the way back included.
pub const MAX_MOVES: u8 = 28;

/// Starts that a release which is being tested may cost: the third that it does not survive is its last.
pub const MAX_STARTS: u8 = 3;

/// Releases of one thing that are remembered for having been rolled back.
pub const MAX_GIVEN_UP: usize = 32;

/// The way back takes two: into [`State::RollingBack`] and out of it.
const WAY_BACK: u8 = 2;

/// What a release brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A version of a model.
    Model,
    /// eir itself.
    Binary,
    /// A layer of the configuration.
    Config,
}

/// How far a release is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is known, and waits for its wave, a maintenance window or somebody's word.
    Waiting,
    /// Its bytes are fetched, and verified as they come.
    Downloading,
    /// It is laid out beside what serves.
    Unpacking,
    /// It is tried without being asked for anything: golden samples, `eir check`.
    Checking,
    /// A model answers a share of the messages beside the one that serves, and nobody acts on what it says.
    Shadow,
    /// A model serves a share of the streams.
    Canary,
    /// A program or a configuration serves, and is to prove itself.
    Probation,
    /// It becomes what is started from now on.
    Committing,
    /// What was before becomes what is started again.
    RollingBack,
    /// The end: it serves.
    Committed,
    /// The other end: what was before serves.
    RolledBack,
}

/// What happened to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What its state is for is done: its time has come, all bytes are here, it has proved itself.
    Done,
    /// That cannot be done, or what was tested did not pass.
    Failed,
    /// Its publisher has taken it back.
    Halted,
    /// The process started, after one that ended in order.
    Resumed,
    /// The process started, after one that did not: a crash or a power cut.
    CutOff,
    /// Somebody, or what watches over what serves, wants what was before, though it had its end.
    Undone,
}

impl State {
    /// All of them, in the order of a release that goes well.
    pub const ALL: [Self; 11] = [
        Self::Waiting,
        Self::Downloading,
        Self::Unpacking,
        Self::Checking,
        Self::Shadow,
        Self::Canary,
        Self::Probation,
        Self::Committing,
        Self::RollingBack,
        Self::Committed,
        Self::RolledBack,
    ];

    /// Nothing follows.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Committed | Self::RolledBack)
    }

    /// It is unpacked, or what has not proved itself may run: an end without order may be its fault.
    const fn is_trial(self) -> bool {
        matches!(
            self,
            Self::Unpacking
                | Self::Checking
                | Self::Shadow
                | Self::Canary
                | Self::Probation
                | Self::Committing
        )
    }

    /// The table. The state itself: the event changes nothing.
    #[must_use]
    #[expect(clippy::match_same_arms, reason = "a table has a row for each pair")]
    pub const fn after(self, kind: Kind, event: Event) -> Self {
        use Event::{CutOff, Done, Failed, Halted, Resumed, Undone};
        match (self, event) {
            (Self::Waiting, Done) => Self::Downloading,
            (Self::Downloading, Done) => Self::Unpacking,
            (Self::Unpacking, Done) => Self::Checking,
            (Self::Checking, Done) => match kind {
                Kind::Model => Self::Shadow,
                Kind::Binary | Kind::Config => Self::Probation,
            },
            (Self::Shadow, Done) => Self::Canary,
            (Self::Canary | Self::Probation, Done) => Self::Committing,
            (Self::Committing, Done) => Self::Committed,
            (Self::RollingBack, Done) => Self::RolledBack,
            // There is nothing to undo yet.
            (Self::Waiting, Failed | Halted | Undone) => Self::RolledBack,
            // What has proved itself is not given up for being halted in its last step.
            (Self::Committing, Halted) => Self::Committing,
            (
                Self::Downloading
                | Self::Unpacking
                | Self::Checking
                | Self::Shadow
                | Self::Canary
                | Self::Probation
                | Self::Committing,
                Failed | Halted | Undone,
            ) => Self::RollingBack,
            // The way back is tried until it succeeds.
            (Self::RollingBack, Failed | Halted | Undone) => Self::RollingBack,
            // A model beside another is gone with the process: it is loaded and tried anew.
            (Self::Shadow | Self::Canary, Resumed | CutOff) => Self::Checking,
            (
                Self::Waiting
                | Self::Downloading
                | Self::Unpacking
                | Self::Checking
                | Self::Probation
                | Self::Committing
                | Self::RollingBack,
                Resumed | CutOff,
            ) => self,
            (Self::Committed, Undone) => Self::RollingBack,
            (Self::Committed | Self::RolledBack, _) => self,
        }
    }
}

/// A release on this device, as it is saved.
// An older eir reads what a newer one wrote before it went back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The target in the repository, as `models/defects/4.tar.zst`.
    pub release: String,
    /// What it brings.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// State changes so far.
    pub moves: u8,
    /// Starts without an order before, while it was tested.
    pub starts: u8,
    /// Why it goes back, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Earlier releases of the same thing that were rolled back, the last [`MAX_GIVEN_UP`]: none is begun again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<String>,
}

impl Progress {
    /// Of a release that was just found.
    pub fn new(release: impl Into<String>, kind: Kind) -> Self {
        let release = release.into();
        let (reason, given_up) = (None, Vec::new());
        Self { release, kind, state: State::Waiting, moves: 0, starts: 0, reason, given_up }
    }

    /// It was rolled back here, and is not to be begun again.
    pub fn has_given_up(&self, release: &str) -> bool {
        let goes_back = matches!(self.state, State::RollingBack | State::RolledBack);
        (goes_back && self.release == release) || self.given_up.iter().any(|known| known == release)
    }

    /// Of another release of the same thing, if this one had its end; `None`: it is not to be begun.
    #[must_use]
    pub fn followed_by(&self, release: &str) -> Option<Self> {
        let known = self.release == release || self.given_up.iter().any(|known| known == release);
        if !self.state.is_final() || known {
            return None;
        }
        let mut given_up = self.given_up.clone();
        if self.state == State::RolledBack {
            given_up.push(self.release.clone());
        }
        let excess = given_up.len().saturating_sub(MAX_GIVEN_UP);
        given_up.drain(..excess);
        Some(Self { given_up, ..Self::new(release, self.kind) })
    }

    /// What is to be saved now that this happened, and entered once it is; `None`: nothing changes. `why` is kept where
    /// the event is what turns the release back.
    #[must_use]
    pub fn step(&self, event: Event, why: &str) -> Option<Self> {
        if self.state.is_final() && event != Event::Undone {
            return None;
        }
        let mut next = Self { state: self.state.after(self.kind, event), ..self.clone() };
        if self.state.is_final() {
            // The way back is another matter than the way here, which had its end.
            next.moves = 0;
        }
        let mut reason = why.to_owned();
        if event == Event::CutOff && self.state.is_trial() {
            next.starts = next.starts.saturating_add(1);
            if next.starts >= MAX_STARTS {
                next.state = State::RollingBack;
                reason = format!("{} starts were cut off while it was tested", next.starts);
            }
        }
        if next.state == self.state && next.starts == self.starts {
            return None;
        }
        let goes_back = |state| matches!(state, State::RollingBack | State::RolledBack);
        if next.state != self.state {
            next.moves = next.moves.saturating_add(1);
            if next.moves > MAX_MOVES - WAY_BACK && !goes_back(next.state) && !next.state.is_final()
            {
                next.state = State::RollingBack;
                reason = format!("no end after {} steps", next.moves);
            }
        }
        if goes_back(next.state) && !goes_back(self.state) {
            next.reason = Some(reason);
        }
        Some(next)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Downloading => "downloading",
            Self::Unpacking => "unpacking",
            Self::Checking => "checking",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Probation => "probation",
            Self::Committing => "committing",
            Self::RollingBack => "rolling back",
            Self::Committed => "committed",
            Self::RolledBack => "rolled back",
        })
    }
}

#[cfg(test)]
mod tests;
