//! What is done for a release in each of its states. Each may be done again after a power cut: what was done before
//! stays done.

use std::time::{Duration, Instant};

use super::super::understudy::Part;
use super::examine::is_alike;
use super::probation::{Present, Probation};
use super::trial::Verdict;
use super::{SystemClock, Worker};
use crate::api::{View, What};
use crate::event::Name;
use crate::task::Clock;
use crate::update::agent::Fetched;
use crate::update::decimal::Decimal;
use crate::update::journal::Subject;
use crate::update::machine::{Event, Kind, Progress, State};
use crate::update::release::Content;
use crate::update::source::Source;

/// Pieces of a download that are fetched before others get their turn.
const TURN: Duration = Duration::from_secs(1);

/// How long it is waited for something outside: an hour of the day, another release.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The shortest wait after what a disk or somebody else did not do.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// How often, and how far apart, it is asked for what is published and not there.
const MISSING: u8 = 5;
const NOT_THERE: Duration = Duration::from_mins(1);

/// How often it is looked, [`AGAIN`] apart, whether there is enough memory for two models.
const TIGHT: u8 = 3;

/// How long it is waited for somebody who is at work on the device's own configuration: what is configured must be taken
/// over as it is before a release has a hand in it, or the release would be blamed.
pub(super) const ELSEWHERE: Duration = Duration::from_mins(1);

pub(super) fn unready(why: &str) -> String {
    format!("waits for the device's own configuration: {why}")
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    /// It is in another state, or in none any more.
    On,
    /// It is where it was, with what is to be known of that.
    Stays(String),
    /// The same, and nothing is to be done for so long.
    Waits(Duration, String),
}

/// Done, or why not; or not yet.
pub(super) type Done = Result<(), String>;

impl Worker {
    /// Takes a release a step further.
    pub(super) async fn carry(&mut self, subject: &Subject) -> Carried {
        let Some(progress) = self.agent.progress(subject).cloned() else { return Carried::On };
        let Some(content) = Content::of(&progress.release) else {
            return self.settle(subject, Err("its name says nothing".to_owned()));
        };
        match progress.state {
            State::Waiting => self.wait(subject),
            State::Downloading => self.download(subject).await,
            State::Unpacking => match self.agent.unpacking(subject) {
                Some(unpack) => {
                    let done = tokio::task::spawn_blocking(unpack).await;
                    self.settle(subject, done.map_err(|error| error.to_string()).flatten())
                }
                None if self.agent.knows_nothing() => {
                    Carried::Waits(LOOK_AGAIN, "waits for a look at the repository".to_owned())
                }
                None => self.settle(subject, Err("it is not published any more".to_owned())),
            },
            State::Checking => {
                let checked = match &content {
                    Content::Model { name, version } => {
                        self.check_model(subject, name, *version).await
                    }
                    Content::Config { name, .. } => self.check_layer(name, &content).await,
                    Content::Binary { version, .. } => self.check_program(&content, version).await,
                };
                self.settle(subject, checked)
            }
            State::Shadow | State::Canary => self.try_model(subject, &progress, &content),
            State::Probation => match &content {
                Content::Config { name, version } => {
                    self.prove_layer(subject, &progress, name, *version).await
                }
                Content::Binary { version, .. } => {
                    self.prove_program(subject, &progress, &content, version).await
                }
                Content::Model { .. } => {
                    self.settle(subject, Err("a model has no probation".to_owned()))
                }
            },
            State::Committing => {
                let begins = matches!(content, Content::Model { .. }) && !self.counts(&content);
                if begins && let Err(why) = self.order(What::Reload).await {
                    return Carried::Waits(ELSEWHERE, unready(&why));
                }
                let committed = self.commit(subject, &content).await;
                self.settle(subject, committed)
            }
            State::RollingBack => self.go_back(subject, &content).await,
            State::Committed | State::RolledBack => Carried::On,
        }
    }

    /// Saves what became of a state.
    pub(super) fn settle(&mut self, subject: &Subject, done: Done) -> Carried {
        let (event, why) = match done {
            Ok(()) => (Event::Done, String::new()),
            Err(why) => (Event::Failed, why),
        };
        match self.agent.step(subject, event, &why) {
            Ok(_) => Carried::On,
            // Nothing is entered that is not saved.
            Err(error) => Carried::Waits(AGAIN, error.to_string()),
        }
    }

    fn wait(&mut self, subject: &Subject) -> Carried {
        match self.closed() {
            Some(why) => Carried::Waits(LOOK_AGAIN, why),
            None => self.settle(subject, Ok(())),
        }
    }

    /// Why nothing is begun at this hour.
    pub(super) fn closed(&self) -> Option<String> {
        let hours = self.config().window?;
        let local = SystemClock.wall().to_zoned(jiff::tz::TimeZone::system());
        hours.wait(&local).map(|_| format!("waits for {hours}"))
    }

    async fn download(&mut self, subject: &Subject) -> Carried {
        let Some(web) = self.web.take() else {
            let why = "it came on a stick that is gone; import it again".to_owned();
            return Carried::Waits(LOOK_AGAIN, why);
        };
        let carried = self.fetch_from(subject, &web, SystemClock.now() + TURN).await;
        self.web = Some(web);
        carried
    }

    /// Fetches pieces until then; at least one, and without a limit of time where `until` has passed already.
    pub(super) async fn fetch_from(
        &mut self,
        subject: &Subject,
        source: &impl Source,
        until: Instant,
    ) -> Carried {
        let is_limited = until > SystemClock.now();
        while self.agent.progress(subject).is_some_and(|p| p.state == State::Downloading) {
            match self.agent.fetch(subject, source, &SystemClock).await {
                Fetched::More(have, all) => {
                    let detail = format!("{have} of {all} bytes");
                    if is_limited && SystemClock.now() >= until {
                        return Carried::Stays(detail);
                    }
                }
                Fetched::Whole => {
                    self.borne.remove(subject);
                    return self.settle(subject, Ok(()));
                }
                Fetched::Wait(time, why) => return Carried::Waits(time, why),
                Fetched::Missing(why) => return self.bear(subject, (MISSING, NOT_THERE), why),
                Fetched::Failed(why) => return self.settle(subject, Err(why)),
            }
        }
        Carried::On
    }

    /// What may pass is borne some times, so far apart, before the release is given up.
    fn bear(&mut self, subject: &Subject, (times, apart): (u8, Duration), why: String) -> Carried {
        let borne = self.borne.entry(subject.clone()).or_default();
        *borne += 1;
        if *borne < times {
            return Carried::Waits(apart, why);
        }
        self.borne.remove(subject);
        self.settle(subject, Err(why))
    }

    /// Shadow and canary.
    fn try_model(&mut self, subject: &Subject, progress: &Progress, content: &Content) -> Carried {
        let Content::Model { name, .. } = content else {
            return self.settle(subject, Err("only models are tried so".to_owned()));
        };
        let about = self.agent.about(&progress.release).unwrap_or_default();
        let serving = self.models.in_use(name);
        let config = self.config();
        let (part, share, length, least) = if progress.state == State::Shadow {
            let shadow = &config.shadow;
            (Part::Shadow, shadow.share, shadow.length.0, shadow.least)
        } else {
            (Part::Canary, config.canary.share, config.canary.length.0, 1)
        };
        if let Err(why) = self.spare_memory() {
            // Others take and give memory too.
            return self.bear(subject, (TIGHT, AGAIN), why);
        }
        self.borne.remove(subject);
        let Some(trial) = self.trials.get_mut(subject) else {
            // The process was another when it was loaded.
            return self.settle(subject, Err("it is not loaded".to_owned()));
        };
        // With other labels both cannot agree, and rules that are written for the old ones know no stream of the new.
        let alike = serving.iter().any(|model| is_alike(model, &trial.model));
        let has_part = if part == Part::Shadow { !serving.is_empty() } else { alike };
        if !has_part || share <= 0.0 {
            return self.settle(subject, Ok(()));
        }
        let mut judge = about.judge;
        if !alike {
            judge.min_agreement = Decimal(0.0);
        }
        let now = SystemClock.now();
        trial.play(part, share, now);
        match trial.verdict(&judge, (length, least), now) {
            Verdict::Open(detail) => Carried::Stays(detail),
            Verdict::Passed => self.settle(subject, Ok(())),
            Verdict::Failed(why) => self.settle(subject, Err(why)),
        }
    }

    /// How things are, with the pace of those pipelines that count.
    pub(super) fn present<'a>(
        &self,
        view: &'a View,
        counts: impl Fn(&Name) -> bool,
    ) -> Present<'a> {
        let mut rates = self.pace.rates();
        rates.retain(|name, _| counts(name));
        let spare = self.spare_memory().is_ok();
        Present { view, rates, spare, uptime: SystemClock.uptime() }
    }

    /// Looks after what is on probation.
    pub(super) fn watch(&mut self, subject: &Subject) -> Carried {
        let length = self.config().probation.0;
        let (view, now) = (self.shown.load_full(), SystemClock.now());
        let tight = self.spare_memory().err();
        let Some(probation) = &mut self.probation else { return Carried::On };
        match probation.look((&view, tight), length, now) {
            Verdict::Open(detail) => Carried::Stays(detail),
            Verdict::Passed => self.settle(subject, Ok(())),
            Verdict::Failed(why) => self.settle(subject, Err(why)),
        }
    }

    async fn commit(&mut self, subject: &Subject, content: &Content) -> Done {
        match content {
            Content::Model { name, version } => {
                // What was tried lies elsewhere from now on, and is loaded from there.
                self.trials.remove(subject);
                let told = |error: std::io::Error| error.to_string();
                self.agent.depot().commit_model(name, *version).map_err(told)?;
                self.order(What::Reload).await?;
                let used: Vec<_> =
                    self.models.in_use(name).iter().map(|model| model.package().version).collect();
                if let Err(error) = self.agent.depot().thin(name, &used) {
                    tracing::warn!("an old version of {name} stays: {error}");
                }
            }
            Content::Config { .. } => self.end_probation(&content.to_string()),
            Content::Binary { version, .. } => {
                self.keep_program(version)?;
                self.end_probation(&content.to_string());
            }
        }
        self.settled();
        Ok(())
    }

    async fn go_back(&mut self, subject: &Subject, content: &Content) -> Carried {
        self.trials.remove(subject);
        self.borne.remove(subject);
        self.end_probation(&content.to_string());
        if let Content::Binary { version, .. } = content
            && let Some(carried) = self.leave_program(subject, version).await
        {
            return carried;
        }
        if self.counts(content) {
            // What runs may be made of it until a reload says otherwise.
            self.owed.insert(subject.clone());
        }
        if let Err(error) = self.agent.depot().discard(content) {
            return Carried::Waits(AGAIN, error.to_string());
        }
        if self.owed.contains(subject) {
            if let Err(why) = self.order(What::Reload).await {
                return Carried::Waits(AGAIN, format!("what runs stays until a reload: {why}"));
            }
            self.owed.remove(subject);
        }
        let carried = self.settle(subject, Ok(()));
        self.settled();
        carried
    }

    /// Something else serves: what was fetched of others goes, and what is here is looked at.
    fn settled(&mut self) {
        if let Err(error) = self.agent.tidy() {
            tracing::debug!("what was fetched is not tidied: {error}");
        }
        self.inspect_at = SystemClock.now();
    }

    /// Whether what runs may be made of it.
    pub(super) fn counts(&self, content: &Content) -> bool {
        let depot = self.agent.depot();
        match content {
            Content::Model { name, version } => depot.model(name, *version).exists(),
            Content::Config { name, version } => {
                depot.pointer(name).is_ok_and(|pointer| pointer.active == Some(*version))
            }
            Content::Binary { .. } => false,
        }
    }

    /// The probation of a release is over; that of another goes on, with what it noted.
    fn end_probation(&mut self, release: &str) {
        self.probation.take_if(|probation| probation.is_of(release));
        Probation::forget(&self.config().dir, release);
    }

    /// Something else is being tried, which a new start would break off.
    pub(super) fn busy(&self, subject: &Subject) -> Option<String> {
        let tried = |(other, known): &(Subject, Progress)| {
            let is_tried = matches!(
                known.state,
                State::Shadow | State::Canary | State::Probation | State::Committing
            );
            other != subject && is_tried && other.kind != Kind::Binary
        };
        let found = self.agent.under_way().into_iter().find(tried)?;
        Some(format!("waits for {}", found.0.word()))
    }
}
