//! The device's side of it all: looks what is new, begins what is due, fetches it, lays it out, and keeps how far each
//! release is. What only those can do who run models, programs and configurations, they do between two steps.

mod error;
mod fetch;
mod meter;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tough::schema::Target;

pub use self::error::AgentError;
use super::config::UpdateConfig;
use super::delta::{self, Course};
use super::depot::{Counting, Depot};
use super::integrity::Serves;
use super::journal::{Journal, JournalError, Subject};
use super::layout::unpack;
use super::machine::{Event, Progress, State};
use super::plan::{Installed, Offered, due, offers};
use super::release::{About, Content, Device as Seen};
use super::sign::hex;
use super::source::Source;
use super::store::Store;
use super::trust::Trusted;
use super::wake::note_end;
use super::wave::place;
use crate::event::Device;
use crate::net::Allowance;
use crate::task::{Clock, clock_synced};

/// What the device is and has at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What serves.
    pub installed: Installed,
    /// The engines that are here.
    pub engines: Vec<&'static str>,
    /// Bytes of memory that are available.
    pub memory: Option<u64>,
    /// The version that runs.
    pub eir: String,
    /// What it was built for.
    pub triple: String,
}

/// A release moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub subject: Subject,
    /// How far it is now.
    pub progress: Progress,
    /// The wave that the device is in, from 1.
    pub wave: Option<usize>,
}

/// How a piece of a download went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// There is more to come: bytes that are there, and all.
    More(u64, u64),
    /// It is all there, verified.
    Whole,
    /// Nothing comes for so long, and why.
    Wait(Duration, String),
    /// It is not where it should be. Who publishes may be late with it.
    Missing(String),
    /// It will never come.
    Failed(String),
}

/// Keeps the updates of a device.
#[derive(Debug)]
pub struct Agent {
    config: UpdateConfig,
    device: Arc<Device>,
    depot: Depot,
    /// Nobody else has the directory meanwhile.
    _held: File,
    store: Store,
    trusted: Trusted,
    journal: Journal,
    allowance: Allowance,
    offers: Vec<Offered>,
    /// What is open of each release that is fetched, by its name.
    downloads: BTreeMap<Subject, (String, Course)>,
    changes: Vec<Change>,
}

impl Agent {
    /// Takes up where the last process was; [`wake`](fn@super::wake) comes first. What was found damaged is told.
    pub fn open(
        config: &UpdateConfig,
        device: Arc<Device>,
    ) -> Result<(Self, Vec<String>), AgentError> {
        let depot = Depot::at(&config.dir);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |reason| AgentError::Disk { path, reason }
        };
        let held = depot.own().map_err(at(&config.dir))?;
        let root = config.read_root().map_err(at(&config.root))?;
        let (store, trusted, mut notes) = Store::open(&depot.place("trust"), &root)?;
        let (journal, damaged) = Journal::open(&depot.place("journal"))?;
        notes.extend(damaged.iter().map(ToString::to_string));
        let allowance = Allowance::new(None, config.rate, config.daily);
        let agent = Self {
            config: config.clone(),
            device,
            depot,
            _held: held,
            store,
            trusted,
            journal,
            allowance,
            offers: Vec::new(),
            downloads: BTreeMap::new(),
            changes: Vec::new(),
        };
        let wanted: BTreeSet<_> =
            agent.under_way().iter().filter_map(|(_, progress)| agent.staged(progress)).collect();
        // What cannot be swept away is no reason to take no updates.
        let swept = agent.depot.sweep(|path| wanted.contains(path));
        notes.extend(swept.err().map(|error| format!("what was left of before stays: {error}")));
        Ok((agent, notes))
    }

    /// The process ends in order: what is tried is not to blame.
    pub fn close(self) {
        if let Err(error) = note_end(&self.depot.place("")) {
            tracing::debug!("the end is not noted: {error}");
        }
    }

    /// Where things lie.
    pub const fn depot(&self) -> &Depot {
        &self.depot
    }

    /// As it is configured.
    pub const fn config(&self) -> &UpdateConfig {
        &self.config
    }

    /// How far the release of a subject is.
    pub fn progress(&self, subject: &Subject) -> Option<&Progress> {
        self.journal.get(subject)
    }

    /// All that is known of.
    pub fn all(&self) -> impl Iterator<Item = (&Subject, &Progress)> {
        self.journal.iter()
    }

    /// What has not had its end.
    pub fn under_way(&self) -> Vec<(Subject, Progress)> {
        let all = self.journal.iter().filter(|(_, progress)| !progress.state.is_final());
        all.map(|(subject, progress)| (subject.clone(), progress.clone())).collect()
    }

    /// What the last look found that is newer than what serves.
    pub fn offers(&self) -> &[Offered] {
        &self.offers
    }

    /// What moved since this was asked last.
    pub fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Nothing is believed yet, or not any more: the next look tells what is published.
    pub fn knows_nothing(&self) -> bool {
        self.trusted.targets().next().is_none()
    }

    /// What is said of a release, where it is still published.
    pub fn about(&self, release: &str) -> Option<About> {
        self.target(release).map(|target| About::of(&target))
    }

    /// Saves what follows from an event; what is returned may be entered.
    pub fn step(
        &mut self,
        subject: &Subject,
        event: Event,
        why: &str,
    ) -> Result<Option<State>, JournalError> {
        let before = self.journal.get(subject).map(|progress| progress.state);
        let Some(progress) = self.journal.step(subject, event, why)?.cloned() else {
            return Ok(None);
        };
        if before != Some(progress.state) {
            self.note(subject, progress.clone());
        }
        Ok(Some(progress.state))
    }

    /// What serves of a thing whose last release went back takes its place, so that it can go back too; false: nothing does
    /// that came over the air.
    pub fn turn_to_serving(&mut self, subject: &Subject) -> Result<bool, JournalError> {
        let counting = self.counting();
        let mut published = self.trusted.targets().filter_map(|(name, _)| Content::of(name));
        let serves = published.find(|it| it.subject() == *subject && counting.has(it));
        serves.map_or(Ok(false), |content| self.journal.settle_on(subject, &content.to_string()))
    }

    /// Fetches what is published, and begins what is due. Those whose publisher has taken them back are turned back.
    pub async fn look(
        &mut self,
        source: &impl Source,
        clock: &dyn Clock,
        facts: &Facts,
    ) -> Result<(), AgentError> {
        let now = self.store.moment(clock.wall(), clock_synced() == Some(true))?;
        self.store.refresh(&mut self.trusted, source, now).await?;
        for (subject, progress) in self.under_way() {
            match self.target(&progress.release).map(|target| About::of(&target)) {
                None => self.step(&subject, Event::Halted, "it was withdrawn")?,
                Some(about) if about.halted => {
                    self.step(&subject, Event::Halted, "its publisher halted it")?
                }
                Some(_) => None,
            };
        }
        let labels = &self.device.labels;
        let seen = Seen {
            id: self.device.id.as_str(),
            labels,
            eir: &facts.eir,
            triple: &facts.triple,
            engines: &facts.engines,
            memory: facts.memory,
        };
        self.offers = offers(self.trusted.targets(), &seen, &facts.installed);
        // An older one that is still good for this device counts where the newest was given up.
        let given_up = |offer: &&Offered| {
            let content = Content::of(&offer.release);
            let known = content.and_then(|content| self.progress(&content.subject()));
            known.is_some_and(|known| known.has_given_up(&offer.release))
        };
        let open: Vec<_> = self.offers.iter().filter(|offer| !given_up(offer)).cloned().collect();
        for (subject, content) in due(&open, now) {
            self.begin(&subject, &content.to_string())?;
        }
        Ok(())
    }

    /// Begins what is offered and wanted, whosever turn it is; what was rolled back is tried once more. What is offered of
    /// that: the newest of each thing.
    pub fn hasten(
        &mut self,
        wanted: impl Fn(&Content) -> bool,
    ) -> Result<Vec<Content>, JournalError> {
        let offers: Vec<_> = self
            .offers
            .iter()
            .filter(|offer| offer.why_not.is_none())
            .filter_map(|offer| Content::of(&offer.release))
            .filter(wanted)
            .map(|content| Offered {
                release: content.to_string(),
                from: Some(jiff::Timestamp::MIN),
                why_not: None,
            })
            .collect();
        let due = due(&offers, jiff::Timestamp::MAX);
        for (subject, content) in &due {
            let release = content.to_string();
            if !self.begin(subject, &release)? {
                self.journal.retry(subject, &release)?;
            }
            if self.progress(subject).is_some_and(|known| known.state == State::Waiting) {
                self.step(subject, Event::Done, "")?;
            }
        }
        Ok(due.into_values().collect())
    }

    /// One release of a thing at a time; a newer one takes the place of one that waits.
    fn begin(&mut self, subject: &Subject, release: &str) -> Result<bool, JournalError> {
        let begun =
            self.journal.supersede(subject, release)? || self.journal.begin(subject, release)?;
        if begun && let Some(progress) = self.progress(subject).cloned() {
            self.note(subject, progress);
        }
        Ok(begun)
    }

    /// What lays a release out beside what serves: to be called where it may take its time.
    pub fn unpacking(
        &self,
        subject: &Subject,
    ) -> Option<impl FnOnce() -> Result<(), String> + Send + use<>> {
        let content = Content::of(&self.progress(subject)?.release)?;
        let target = self.target(&content.to_string())?;
        let archive = self.archive(&target);
        let (depot, most) = (self.depot.clone(), self.config.max.0 as u64);
        Some(move || unpack(&depot, &content, &archive, most))
    }

    /// What serves of that which came over the air, and is still published.
    pub fn serving(&self) -> Vec<Serves> {
        let counting = self.counting();
        // What had its end and is not there any more is to serve as well.
        let committed = self.journal.iter().filter(|(_, known)| known.state == State::Committed);
        let committed: BTreeSet<_> = committed.map(|(_, known)| known.release.as_str()).collect();
        let serving = self.trusted.targets().filter_map(|(name, target)| {
            let content = Content::of(name)?;
            (committed.contains(name) || counting.has(&content)).then_some((content, target))
        });
        serving
            .map(|(content, target)| {
                let (sha256, archive) = (target.hashes.sha256.to_vec(), self.archive(target));
                let plain = delta::plain(self.trusted.targets(), target);
                Serves { content, sha256, archive, plain }
            })
            .collect()
    }

    /// What counts here. Programs are for what those are for that were begun.
    fn counting(&self) -> Counting {
        let triple = self.all().find_map(|(_, known)| match Content::of(&known.release) {
            Some(Content::Binary { triple, .. }) => Some(triple),
            _ => None,
        });
        self.depot.counting(triple)
    }

    /// Where what was fetched of a target lies.
    fn archive(&self, target: &Target) -> PathBuf {
        self.depot.place("download").join(hex(&target.hashes.sha256))
    }

    /// Removes what was fetched of releases that are over; of those that serve it is kept, to lay them out anew.
    pub fn tidy(&self) -> io::Result<()> {
        if self.knows_nothing() {
            return Ok(());
        }
        let kept = self.journal.iter().filter(|(_, known)| known.state != State::RolledBack);
        let kept = kept.map(|(_, known)| known.release.as_str());
        // The next release may come as a patch of what serves, whatever becomes of this one.
        let is_here = |name: &&str| Content::of(name).is_some_and(|it| self.depot.keeps(&it));
        let here = self.trusted.targets().map(|(name, _)| name).filter(is_here);
        let kept = kept.chain(here).filter_map(|release| self.target(release));
        let mut kept: BTreeSet<_> = kept.map(|target| hex(&target.hashes.sha256)).collect();
        kept.extend(delta::leading_to(self.trusted.targets(), &kept));
        for entry in fs::read_dir(self.depot.place("download"))? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if !kept.contains(stem) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn target(&self, release: &str) -> Option<Target> {
        self.trusted.targets().find(|(name, _)| *name == release).map(|(_, target)| target.clone())
    }

    fn staged(&self, progress: &Progress) -> Option<PathBuf> {
        Content::of(&progress.release).map(|content| self.depot.staged(&content))
    }

    fn note(&mut self, subject: &Subject, progress: Progress) {
        let place = place(self.device.id.as_str(), &progress.release);
        let wave = self.about(&progress.release).and_then(|about| about.waves.wave(place));
        let wave = wave.map(|wave| wave + 1);
        self.changes.push(Change { subject: subject.clone(), progress, wave });
    }
}
