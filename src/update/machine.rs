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
        use Event::{CutOff, Done, Failed, Halted, Resumed};
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
            (Self::Waiting, Failed | Halted) => Self::RolledBack,
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
                Failed | Halted,
            ) => Self::RollingBack,
            // The way back is tried until it succeeds.
            (Self::RollingBack, Failed | Halted) => Self::RollingBack,
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
            (Self::Committed | Self::RolledBack, _) => self,
        }
    }
}

/// A release on this device, as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
}

impl Progress {
    /// Of a release that was just found.
    pub fn new(release: impl Into<String>, kind: Kind) -> Self {
        let release = release.into();
        Self { release, kind, state: State::Waiting, moves: 0, starts: 0, reason: None }
    }

    /// What is to be saved now that this happened, and entered once it is; `None`: nothing changes. `why` is kept where
    /// the event is what turns the release back.
    #[must_use]
    pub fn step(&self, event: Event, why: &str) -> Option<Self> {
        if self.state.is_final() {
            return None;
        }
        let mut next = Self { state: self.state.after(self.kind, event), ..self.clone() };
        let mut reason = why.to_owned();
        if event == Event::CutOff && self.state.is_trial() {
            next.starts = next.starts.saturating_add(1);
            if next.starts >= MAX_STARTS {
                next.state = State::RollingBack;
                reason = format!("{} starts were cut off while it was tested", next.starts);
            }
        }
        if next == *self {
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
mod tests {
    use super::*;

    const EVENTS: [Event; 5] =
        [Event::Done, Event::Failed, Event::Halted, Event::Resumed, Event::CutOff];
    const KINDS: [Kind; 3] = [Kind::Model, Kind::Binary, Kind::Config];

    /// Another hand's copy of the table: state, then what follows each of [`EVENTS`].
    const TABLE: [(State, [State; 5]); 11] = {
        use State::*;
        [
            (Waiting, [Downloading, RolledBack, RolledBack, Waiting, Waiting]),
            (Downloading, [Unpacking, RollingBack, RollingBack, Downloading, Downloading]),
            (Unpacking, [Checking, RollingBack, RollingBack, Unpacking, Unpacking]),
            (Checking, [Shadow, RollingBack, RollingBack, Checking, Checking]),
            (Shadow, [Canary, RollingBack, RollingBack, Checking, Checking]),
            (Canary, [Committing, RollingBack, RollingBack, Checking, Checking]),
            (Probation, [Committing, RollingBack, RollingBack, Probation, Probation]),
            (Committing, [Committed, RollingBack, Committing, Committing, Committing]),
            (RollingBack, [RolledBack, RollingBack, RollingBack, RollingBack, RollingBack]),
            (Committed, [Committed; 5]),
            (RolledBack, [RolledBack; 5]),
        ]
    };

    #[test]
    fn every_state_and_event_is_as_the_table_says() {
        assert_eq!(TABLE.map(|(state, _)| state), State::ALL);
        for (state, row) in TABLE {
            for (event, expected) in EVENTS.into_iter().zip(row) {
                for kind in KINDS {
                    let tested_otherwise = state == State::Checking && kind != Kind::Model;
                    let expected = match expected {
                        State::Shadow if tested_otherwise => State::Probation,
                        expected => expected,
                    };
                    assert_eq!(state.after(kind, event), expected, "{kind:?} {state} {event:?}");
                    let before = Progress { state, ..Progress::new("r", kind) };
                    let after = before.step(event, "why");
                    let cut_off = event == Event::CutOff && state.is_trial();
                    match after {
                        None => assert!(expected == state && !cut_off),
                        Some(after) => {
                            assert_eq!(after.state, expected);
                            assert_eq!(after.moves, u8::from(expected != state));
                            assert_eq!(after.starts, u8::from(cut_off));
                            let back = matches!(expected, State::RollingBack | State::RolledBack);
                            let turns = back && state != State::RollingBack;
                            assert_eq!(after.reason.as_deref(), turns.then_some("why"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_goes_well_is_committed_without_a_detour() {
        for (kind, length) in [(Kind::Model, 7), (Kind::Binary, 6), (Kind::Config, 6)] {
            let mut progress = Progress::new("r", kind);
            while let Some(next) = progress.step(Event::Done, "") {
                progress = next;
            }
            assert_eq!((progress.state, progress.moves), (State::Committed, length), "{kind:?}");
            assert_eq!(progress.reason, None);
        }
    }

    #[test]
    fn the_third_start_that_a_trial_does_not_survive_is_its_last() {
        let mut progress = Progress { state: State::Probation, ..Progress::new("r", Kind::Binary) };
        for start in 1..MAX_STARTS {
            progress = progress.step(Event::CutOff, "").expect("it is counted before it starts");
            assert_eq!((progress.state, progress.starts), (State::Probation, start));
            assert_eq!(progress.step(Event::Resumed, ""), None, "an end in order costs nothing");
        }
        let back = progress.step(Event::CutOff, "").expect("the last");
        assert_eq!(back.state, State::RollingBack);
        assert!(back.reason.expect("a reason").starts_with("3 starts"));
        // One that takes the process down while it is unpacked, or in its last step, does not do so for ever.
        for state in [State::Unpacking, State::Committing] {
            let mut progress = Progress { state, ..Progress::new("r", Kind::Config) };
            for _ in 0..MAX_STARTS {
                progress = progress.step(Event::CutOff, "").expect("it is counted");
            }
            assert_eq!(progress.state, State::RollingBack);
        }
        // A download that is cut off every day is nobody's fault.
        let download = Progress { state: State::Downloading, ..Progress::new("r", Kind::Binary) };
        assert_eq!(download.step(Event::CutOff, ""), None);
    }

    #[test]
    fn whatever_happens_a_release_ends_within_its_moves() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).expect("31 bits")
        };
        let (mut committed, mut gave_up) = (0, 0);
        for run in 0..20_000 {
            let mut progress = Progress::new("r", KINDS[run % 3]);
            let mut saved = 0;
            while !progress.state.is_final() {
                // Mostly starts, so that some never get on.
                let event = match next() % 8 {
                    0..=2 => Event::Done,
                    3 if next() % 8 == 0 => Event::Failed,
                    4 if next() % 8 == 0 => Event::Halted,
                    5 if next() % 4 == 0 => Event::CutOff,
                    _ => Event::Resumed,
                };
                if let Some(after) = progress.step(event, "why") {
                    saved += u8::from(after.state != progress.state);
                    progress = after;
                }
            }
            assert!(saved == progress.moves && saved <= MAX_MOVES, "{progress:?}");
            let back = progress.state == State::RolledBack;
            assert_eq!(progress.reason.is_some(), back, "{progress:?}");
            committed += usize::from(!back);
            gave_up += usize::from(progress.reason.is_some_and(|why| why.starts_with("no end")));
        }
        assert!(committed > 1_000 && gave_up > 0, "{committed} committed, {gave_up} gave up");
    }
}
