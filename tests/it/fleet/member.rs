//! One device of the fleet: it looks, decides with the code that devices run, and lives through what its site does to it.

use std::collections::BTreeMap;

use eir::update::machine::{Event, Kind, Progress, State};
use eir::update::plan::{Installed, Offered, due, offers};
use eir::update::release::Device;
use eir::update::wave::place;

use super::world::{Around, Flaw, TRIPLE, number};

/// What a look asks for: the next root, which is hardly ever there, and the timestamp.
pub(super) const LOOK: u32 = 2;

/// What it asks for besides once something was published: the snapshot and the list.
const CHANGE: u32 = 2;

/// Pieces of a release, and how many of them a look fetches.
const PIECES: u32 = 12;
const PIECES_OF_A_LOOK: [u32; 2] = [3, 6];

/// For so many minutes a network is away.
const AWAY: [u32; 2] = [60, 360];

#[derive(Debug)]
pub(super) struct Member {
    /// Its place in the fleet.
    number: usize,
    pub(super) id: String,
    /// The version that serves.
    pub(super) serves: u64,
    /// The version that served when the release was begun.
    before: u64,
    /// The version that is under way, or had its end.
    pub(super) trying: u64,
    /// The wave that it is in for it.
    wave: usize,
    pub(super) progress: Option<Progress>,
    /// Versions that it began, and when.
    pub(super) begun: Vec<(u64, u32)>,
    offers: Vec<Offered>,
    /// The list of the repository that it knows, and what served when it looked through it.
    seen: (u64, u64),
    /// Pieces that are to be fetched.
    left: u32,
    away_until: u32,
    /// The keeper does not know yet how far it is.
    untold: bool,
    /// It has something to do besides looking, and it stands in the agenda.
    pub(super) is_at_work: bool,
}

impl Member {
    pub(super) fn new(number: usize, serves: u64) -> Self {
        Self {
            number,
            id: format!("device-{number}"),
            serves,
            before: serves,
            trying: serves,
            wave: 0,
            progress: None,
            begun: Vec::new(),
            offers: Vec::new(),
            seen: (0, serves),
            left: 0,
            away_until: 0,
            untold: false,
            is_at_work: false,
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.progress.as_ref().map(|progress| progress.state)
    }

    /// Minutes until what its release is at is done; `None`: it has nothing to do but to look.
    pub(super) fn work(&self) -> Option<u32> {
        match self.state()? {
            State::Waiting | State::Downloading | State::Committed | State::RolledBack => None,
            State::Unpacking | State::Committing | State::RollingBack => Some(1),
            State::Checking | State::Probation => Some(2),
            State::Shadow | State::Canary => Some(10),
        }
    }

    /// Looks for releases, and fetches of the one that is under way.
    pub(super) fn look(&mut self, around: &mut Around<'_>) {
        if around.now < self.away_until {
            return;
        }
        if around.chance.happens(around.weather.away) {
            self.away_until = around.now + around.chance.between(AWAY);
            around.lived.away += 1;
            return;
        }
        *around.requests += LOOK;
        if self.untold {
            self.tell(around);
        }
        self.refresh(around);
        self.begin(around);
        if self.state() == Some(State::Downloading) {
            if self.is_interrupted(around) {
                return;
            }
            let fetched = around.chance.between(PIECES_OF_A_LOOK).min(self.left);
            *around.requests += fetched;
            self.left -= fetched;
            if self.left == 0 {
                self.step(Event::Done, "", around);
            }
        }
    }

    fn refresh(&mut self, around: &mut Around<'_>) {
        let repository = around.repository;
        let seen = (repository.version, self.serves);
        if self.seen == seen {
            return;
        }
        if self.seen.0 != repository.version {
            *around.requests += CHANGE;
        }
        self.seen = seen;
        let (labels, mut installed) = (BTreeMap::new(), Installed::default());
        let mut eir = "0.1.0".to_owned();
        if repository.kind == Kind::Binary {
            eir = format!("0.{}.0", self.serves);
        } else {
            let model = "defects".parse().expect("a name");
            installed.models = BTreeMap::from([(model, self.serves)]);
        }
        let device = Device {
            id: &self.id,
            labels: &labels,
            eir: &eir,
            triple: TRIPLE,
            engines: &["tract"],
            memory: None,
        };
        self.offers = offers(repository.targets(), &device, &installed);
        let known = self.progress.as_ref().map(|known| repository.about(&known.release));
        if known.is_some_and(|about| about.halted) {
            self.step(Event::Halted, "its publisher halted it", around);
        }
    }

    /// Begins what is due, unless something is under way.
    fn begin(&mut self, around: &mut Around<'_>) {
        if self.offers.is_empty() || self.state().is_some_and(|state| !state.is_final()) {
            return;
        }
        let due = due(&self.offers, around.moment);
        let Some((subject, content)) = due.first_key_value() else { return };
        let release = content.to_string();
        let next = match &self.progress {
            Some(before) => before.followed_by(&release),
            None => Some(Progress::new(release.as_str(), subject.kind)),
        };
        let Some(next) = next else { return };
        let waves = &around.repository.about(&release).waves;
        self.wave = waves.wave(place(&self.id, &release)).expect("its turn came");
        self.trying = number(&release);
        (self.progress, self.before, self.left) = (Some(next), self.serves, PIECES);
        self.begun.push((self.trying, around.now));
        self.tell(around);
        self.step(Event::Done, "", around);
    }

    /// Comes to the end of what its release is at.
    pub(super) fn finish(&mut self, around: &mut Around<'_>) {
        let Some(state) = self.state().filter(|_| self.work().is_some()) else { return };
        if self.is_interrupted(around) {
            return;
        }
        match around.repository.flaw(self.trying) {
            Some((at, Flaw::Fails)) if at == state => {
                self.step(Event::Failed, "it is no good", around);
            }
            Some((at, Flaw::Crashes)) if at == state => self.start(Event::CutOff, around),
            _ => self.step(Event::Done, "", around),
        }
    }

    /// Its site cuts the power, or somebody starts it anew.
    fn is_interrupted(&mut self, around: &mut Around<'_>) -> bool {
        if around.chance.happens(around.weather.cut_off) {
            around.lived.cut_off += 1;
            self.start(Event::CutOff, around);
        } else if around.chance.happens(around.weather.restart) {
            around.lived.restarts += 1;
            self.start(Event::Resumed, around);
        } else {
            return false;
        }
        true
    }

    /// A start knows what was saved, and nothing else.
    fn start(&mut self, event: Event, around: &mut Around<'_>) {
        let saved = serde_json::to_vec(&self.progress).expect("json");
        self.progress = serde_json::from_slice(&saved).expect("a progress");
        self.step(event, "", around);
    }

    /// What follows is saved, and then entered.
    fn step(&mut self, event: Event, why: &str, around: &mut Around<'_>) {
        let Some(before) = &self.progress else { return };
        let Some(next) = before.step(event, why) else { return };
        match (before.state, next.state) {
            // A program serves while it is to prove itself.
            (_, State::Probation | State::Committed) => self.serves = self.trying,
            (State::RollingBack, State::RolledBack) => self.serves = self.before,
            _ => {}
        }
        self.progress = Some(next);
        self.tell(around);
    }

    /// How far it is, to the keeper: now, or with the next look that finds the network there.
    fn tell(&mut self, around: &mut Around<'_>) {
        self.untold = around.now < self.away_until;
        if let Some(state) = self.state().filter(|_| !self.untold) {
            around.keeper.hear(self.number, (self.trying, self.wave), state);
        }
    }
}
