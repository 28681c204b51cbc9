//! What a fleet lives in: minutes, chance, a repository, and a keeper who hears of failures and halts what fails.

use std::collections::BTreeMap;

use eir::event::HumanDuration;
use eir::update::decimal::Decimal;
use eir::update::machine::{Kind, State};
use eir::update::release::{About, Content};
use eir::update::wave::Wave;
use jiff::{Timestamp, ToSpan};
use serde_json::json;
use tough::schema::Target;

use super::member::Member;

/// Minutes.
pub(super) const HOUR: u32 = 60;
pub(super) const DAY: u32 = 24 * HOUR;

pub(super) const DEVICES: usize = 10_000;

/// `[update].every`.
pub(super) const EVERY: u32 = 3 * HOUR;

/// Percent of the devices, and from which minute on.
pub(super) const WAVES: [(f64, u32); 4] =
    [(1.0, 0), (10.0, DAY), (50.0, 2 * DAY), (100.0, 3 * DAY)];

/// Percent of the devices of a wave.
pub(super) const STOP_AT: f64 = 5.0;

/// The keeper looks at what it has heard.
const KEEPER: u32 = 15;

pub(super) const TRIPLE: &str = "aarch64-unknown-linux-gnu";

/// What serves before anything is published.
pub(super) const FIRST: u64 = 3;

/// The same numbers from the same seed.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// One of 0 to `below - 1`.
    fn below(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(((self.0 >> 32) * u64::from(below)) >> 32).expect("it is less than `below`")
    }

    pub(super) fn between(&mut self, [least, most]: [u32; 2]) -> u32 {
        least + self.below(most - least + 1)
    }

    pub(super) fn happens(&mut self, per_mille: u32) -> bool {
        self.below(1000) < per_mille
    }

    /// As `[update].every` promises.
    fn wait(&mut self) -> u32 {
        self.between([EVERY / 2, EVERY / 2 * 3])
    }

    /// What is left of a wait that began some time ago: any moment rather falls into a long wait than into a short one.
    fn rest(&mut self) -> u32 {
        loop {
            let wait = self.wait();
            if self.below(EVERY / 2 * 3) < wait {
                return self.below(wait);
            }
        }
    }
}

/// What devices go through, in each thousand looks or things to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// The network goes away for hours.
    pub(super) away: u32,
    /// A start without order before.
    pub(super) cut_off: u32,
    /// A start after an end in order.
    pub(super) restart: u32,
}

/// As it is on most sites.
pub(super) const FAIR: Weather = Weather { away: 10, cut_off: 3, restart: 10 };

/// What they went through.
#[derive(Debug, Default)]
pub(super) struct Lived {
    pub(super) away: u32,
    pub(super) cut_off: u32,
    pub(super) restarts: u32,
}

/// What is wrong with a release, in one of its states.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flaw {
    Fails,
    Crashes,
}

#[derive(Debug)]
pub(super) struct Repository {
    pub(super) kind: Kind,
    /// Of its list.
    pub(super) version: u64,
    releases: BTreeMap<String, (Target, About)>,
    flaws: BTreeMap<u64, (State, Flaw)>,
}

impl Repository {
    pub(super) fn name(&self, number: u64) -> String {
        let content = match self.kind {
            Kind::Binary => {
                Content::Binary { version: format!("0.{number}.0"), triple: TRIPLE.to_owned() }
            }
            _ => Content::Model { name: "defects".parse().expect("a name"), version: number },
        };
        content.to_string()
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.releases.iter().map(|(name, (target, _))| (name.as_str(), target))
    }

    pub(super) fn about(&self, release: &str) -> &About {
        &self.releases[release].1
    }

    pub(super) fn flaw(&self, number: u64) -> Option<(State, Flaw)> {
        self.flaws.get(&number).copied()
    }

    fn say(&mut self, number: u64, about: About) {
        self.version += 1;
        let target =
            json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}, "custom": about.custom()});
        let target = serde_json::from_value(target).expect("a target");
        self.releases.insert(self.name(number), (target, about));
    }
}

/// Whoever watches: an end is heard of, and what fails too often in a wave is halted.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    known: BTreeMap<(usize, u64), State>,
    /// By release and wave: devices that were heard of, and those of them that went back.
    waves: BTreeMap<(u64, usize), [u32; 2]>,
    /// Releases, and when they were halted.
    pub(super) halted: BTreeMap<u64, u32>,
}

impl Keeper {
    pub(super) fn hear(&mut self, device: usize, (release, wave): (u64, usize), state: State) {
        let before = self.known.insert((device, release), state);
        let [heard, failed] = self.waves.entry((release, wave)).or_default();
        *heard += u32::from(before.is_none());
        *failed += u32::from(goes_back(state) && !before.is_some_and(goes_back));
    }

    fn look(&mut self, now: u32, repository: &mut Repository) {
        for (&(release, _), [heard, failed]) in &self.waves {
            let about = repository.about(&repository.name(release));
            let share = f64::from(*failed) * 100.0 / f64::from(*heard);
            if !about.halted && about.stop_at.is_some_and(|most| share > most.0) {
                let about = About { halted: true, ..about.clone() };
                repository.say(release, about);
                self.halted.insert(release, now);
            }
        }
    }
}

fn goes_back(state: State) -> bool {
    matches!(state, State::RollingBack | State::RolledBack)
}

/// All that a device can see and touch in one moment.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) now: u32,
    pub(super) moment: Timestamp,
    pub(super) weather: Weather,
    pub(super) chance: &'a mut Chance,
    pub(super) repository: &'a Repository,
    pub(super) keeper: &'a mut Keeper,
    pub(super) lived: &'a mut Lived,
    /// In this minute.
    pub(super) requests: &'a mut u32,
}

#[derive(Debug, Clone, Copy)]
enum Task {
    Look(usize),
    Finish(usize),
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) now: u32,
    pub(super) members: Vec<Member>,
    pub(super) repository: Repository,
    pub(super) keeper: Keeper,
    pub(super) lived: Lived,
    /// Minute by minute.
    pub(super) requests: Vec<u32>,
    agenda: BTreeMap<u32, Vec<Task>>,
    chance: Chance,
    weather: Weather,
}

impl Fleet {
    /// A fleet that has run for long.
    pub(super) fn new(kind: Kind, weather: Weather, seed: u64) -> Self {
        Self::begin(kind, weather, seed, Chance::rest)
    }

    /// A fleet whose devices were all switched on in this minute.
    pub(super) fn switched_on(kind: Kind, weather: Weather, seed: u64) -> Self {
        Self::begin(kind, weather, seed, Chance::wait)
    }

    fn begin(kind: Kind, weather: Weather, seed: u64, first: fn(&mut Chance) -> u32) -> Self {
        let mut chance = Chance(seed);
        let mut agenda: BTreeMap<u32, Vec<Task>> = BTreeMap::new();
        for number in 0..DEVICES {
            agenda.entry(first(&mut chance)).or_default().push(Task::Look(number));
        }
        let (releases, flaws) = (BTreeMap::new(), BTreeMap::new());
        Self {
            now: 0,
            members: (0..DEVICES).map(|number| Member::new(number, FIRST)).collect(),
            repository: Repository { kind, version: 0, releases, flaws },
            keeper: Keeper::default(),
            lived: Lived::default(),
            requests: Vec::new(),
            agenda,
            chance,
            weather,
        }
    }

    /// Its waves begin now.
    pub(super) fn publish(&mut self, number: u64, about: About, flaw: Option<(State, Flaw)>) {
        let about = About { published: Some(moment(self.now)), ..about };
        self.repository.say(number, about);
        self.repository.flaws.extend(flaw.map(|flaw| (number, flaw)));
    }

    /// Lives on to the beginning of that minute.
    pub(super) fn run_until(&mut self, minute: u32) {
        while self.now < minute {
            if self.now.is_multiple_of(KEEPER) {
                self.keeper.look(self.now, &mut self.repository);
            }
            let (moment, mut requests) = (moment(self.now), 0);
            for task in self.agenda.remove(&self.now).unwrap_or_default() {
                self.act(task, moment, &mut requests);
            }
            self.requests.push(requests);
            self.now += 1;
        }
    }

    fn act(&mut self, task: Task, moment: Timestamp, requests: &mut u32) {
        let Self { now, weather, chance, repository, keeper, lived, .. } = self;
        let (now, weather) = (*now, *weather);
        let mut around =
            Around { now, moment, weather, chance, repository, keeper, lived, requests };
        let (Task::Look(number) | Task::Finish(number)) = task;
        let member = &mut self.members[number];
        let mut next = Vec::new();
        match task {
            Task::Look(_) => {
                member.look(&mut around);
                next.push((around.chance.wait(), task));
            }
            Task::Finish(_) => {
                member.is_at_work = false;
                member.finish(&mut around);
            }
        }
        if let Some(wait) = member.work().filter(|_| !member.is_at_work) {
            member.is_at_work = true;
            next.push((wait, Task::Finish(number)));
        }
        for (wait, task) in next {
            self.agenda.entry(now + wait).or_default().push(task);
        }
    }

    /// How many devices are in this state with this release.
    pub(super) fn count(&self, number: u64, state: State) -> usize {
        let is_it = |member: &&Member| member.trying == number && member.state() == Some(state);
        self.members.iter().filter(is_it).count()
    }
}

/// A release that comes in [`WAVES`].
pub(super) fn in_waves(stop_at: Option<f64>) -> About {
    let wave = |(percent, after): (f64, u32)| {
        let after = HumanDuration::from_secs(u64::from(after) * 60);
        Wave { percent: Decimal(percent), after }
    };
    let waves = WAVES.map(wave).to_vec().try_into().expect("waves");
    About { waves, stop_at: stop_at.map(Decimal), ..About::default() }
}

/// The number of a release.
pub(super) fn number(release: &str) -> u64 {
    let number = match Content::of(release).expect("a release") {
        Content::Model { version, .. } | Content::Config { version, .. } => Some(version),
        Content::Binary { version, .. } => {
            version.split('.').nth(1).and_then(|minor| minor.parse().ok())
        }
    };
    number.expect("a number")
}

/// A minute as devices know it.
fn moment(minute: u32) -> Timestamp {
    let first: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
    first + i64::from(minute).minutes()
}
