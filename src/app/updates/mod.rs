//! Carries releases through: between what the agent fetches, and what runs here.
//!
//! One task does it all, a step at a time, so that no two things change at once. What only the one can do who holds the
//! [`App`](super::App) is ordered from it, as an administrator would over the API.

mod carry;
mod examine;
mod hawkbit;
mod integrity;
mod layer;
mod pace;
mod probation;
mod program;
mod site;
mod trial;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::oneshot;

use self::carry::Carried;
use self::hawkbit::Hawk;
use self::pace::Pace;
use self::probation::Probation;
use self::site::Site;
use self::trial::Trial;
use super::App;
use super::config::{Sources, keep_good};
use super::summaries::record;
use super::understudy::{Seen, Stages};
use crate::api::{Order, Orders, Shown, What};
use crate::engine::{EngineKind, Form};
use crate::event::Name;
use crate::model::Models;
use crate::outbox::{Kind as RecordKind, Outbox};
use crate::task::{Backoff, Clock, Group, Stop, SystemClock};
use crate::update::agent::{Agent, Change, Facts};
use crate::update::config::UpdateConfig;
use crate::update::depot::Depot;
use crate::update::journal::Subject;
use crate::update::note_end;
use crate::update::plan::Installed;
use crate::update::source::Web;
use crate::update::status::{ReleaseStatus, Status};
use crate::update::wish::Wish;

pub use self::program::BASE;

/// How often it is looked what has become of what is under way, and whether somebody wants something.
const TICK: Duration = Duration::from_secs(1);

/// How often details are written down.
const LEAVE_EVERY: Duration = Duration::from_secs(10);

/// How often it is tried again to begin: a root of trust may come later.
const OPEN_AGAIN: Duration = Duration::from_secs(10);

/// The first wait after a look that found nobody; it grows to what is configured.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// The updates of a running device.
#[derive(Debug)]
pub(super) struct Updates {
    status: Arc<ArcSwap<Status>>,
    /// Where wishes are put down.
    wishes: PathBuf,
    group: Group,
}

/// What is told of an update to the cloud.
#[derive(Debug, Serialize)]
struct Told<'a> {
    subject: String,
    release: &'a str,
    state: crate::update::machine::State,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    wave: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// What was seen of a model beside the one that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Seen>,
    /// The version of eir that tells it.
    version: &'static str,
}

/// Does the work.
struct Worker {
    agent: Agent,
    web: Option<Web>,
    hawkbit: Option<Hawk>,
    models: Arc<Models>,
    stages: Stages,
    orders: Orders,
    shown: Shown,
    outbox: Option<Outbox>,
    sources: Sources,
    status: Arc<ArcSwap<Status>>,
    trials: BTreeMap<Subject, Trial>,
    probation: Option<Probation>,
    pace: Pace,
    /// What is to be known of what is under way.
    details: BTreeMap<Subject, String>,
    /// Nothing is done for these before.
    waits: BTreeMap<Subject, Instant>,
    /// How often what keeps these from going on was borne.
    borne: BTreeMap<Subject, u8>,
    /// What was taken away of these, and may still run.
    owed: BTreeSet<Subject>,
    looked: Option<jiff::Timestamp>,
    problem: Option<String>,
    refused: Option<String>,
    next_look: Instant,
    backoff: Backoff,
    /// Details alone are not written down before.
    leave_at: Instant,
    /// There are some.
    unwritten: bool,
    /// What runs has done well by then.
    vouch_at: Instant,
    /// When what serves is compared with what was signed.
    inspect_at: Instant,
    /// What was found: whole or not.
    inspected: BTreeMap<String, bool>,
    /// The program is being exchanged: nothing more is done.
    leaving: bool,
}

impl App {
    /// Begins to take updates, where the configuration has `[update]`. What is wrong with them is told, and the rest works.
    /// `sources` are what the configuration was read from. To be called within a runtime.
    pub fn take_updates(&mut self, sources: &Sources) {
        let Some(config) = &self.config.update else { return };
        let status = Arc::new(ArcSwap::from_pointee(Status::default()));
        let wishes = Depot::at(&config.dir).place("wishes");
        let site = Site {
            config: config.clone(),
            device: Arc::clone(&self.workshop.device),
            models: Arc::clone(&self.workshop.models),
            stages: self.workshop.stages.clone(),
            orders: self.handles.orders.clone(),
            shown: Arc::clone(&self.handles.shown),
            outbox: self.workshop.outbox.clone(),
            sources: sources.clone(),
            status: Arc::clone(&status),
        };
        let mut group = Group::default();
        let mut stop = group.stop_signal();
        group.spawn("updates", async move {
            let mut told = None;
            let worker = loop {
                match site.open() {
                    Ok(worker) => break worker,
                    Err(problem) => {
                        if told.as_ref() != Some(&problem) {
                            tracing::error!("no updates are taken: {problem}");
                        }
                        let problem = told.insert(problem).clone();
                        let broken = Status { problem: Some(problem), ..Status::default() };
                        site.status.store(Arc::new(broken));
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(OPEN_AGAIN) => {}
                    () = stop.stopped() => {
                        // An end in order, too.
                        let _counts = note_end(&site.config.dir);
                        return;
                    }
                }
            };
            Box::pin(worker.run(stop)).await;
        });
        self.updates = Some(Updates { status, wishes, group });
    }
}

impl App {
    /// Keeps the configuration as it is, for when a newer program leaves one that this one cannot read.
    pub fn keep_good(&self) {
        let Some(update) = self.config.update.as_ref().filter(|update| update.dir.is_dir()) else {
            return;
        };
        if let Err(error) = keep_good(&update.dir, &self.config) {
            tracing::debug!("the configuration is not kept: {error}");
        }
    }

    /// How the updates are doing, where any are taken.
    pub fn updates(&self) -> Option<Arc<Status>> {
        self.updates.as_ref().map(|updates| updates.status().0)
    }
}

impl Updates {
    pub(super) fn status(&self) -> (Arc<Status>, PathBuf) {
        (self.status.load_full(), self.wishes.clone())
    }

    pub(super) async fn stop(self, deadline: Duration) {
        self.group.drain(deadline).await;
    }
}

impl Worker {
    async fn run(mut self, mut stop: Stop) {
        self.reconcile();
        loop {
            self.pace.count(&self.shown.load(), SystemClock.now());
            let round = async {
                self.take_up_wishes().await;
                if SystemClock.now() >= self.next_look {
                    self.look().await;
                }
                self.carry_on().await;
                self.heed_hawkbit().await;
                self.vouch();
                self.inspect().await;
            };
            tokio::select! {
                () = round => {}
                // What is saved is saved; what was being done is done anew.
                () = stop.stopped() => break,
            }
            self.tell();
            let pause = if self.details.is_empty() { TICK } else { TICK / 4 };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.stopped() => break,
            }
        }
        self.agent.close();
    }

    fn config(&self) -> &UpdateConfig {
        self.agent.config()
    }

    /// Looks for what is new.
    async fn look(&mut self) {
        let Some(web) = self.web.take() else {
            self.next_look = SystemClock.now() + jitter(self.config().every.0);
            return;
        };
        let facts = self.facts();
        let outcome = self.agent.look(&web, &SystemClock, &facts).await;
        self.web = Some(web);
        let every = self.config().every.0;
        let wait = match outcome {
            Ok(()) => {
                self.looked = Some(SystemClock.wall());
                self.problem = None;
                self.backoff.reset();
                jitter(every)
            }
            Err(error) => {
                let told = error.to_string();
                if self.problem.as_ref() != Some(&told) {
                    tracing::warn!("no look for updates: {told}");
                }
                self.problem = Some(told);
                // What is wrong for good is not asked for again and again.
                let wait =
                    if error.is_lasting() { jitter(every) } else { self.backoff.next_wait() };
                wait.max(error.after().unwrap_or_default()).max(TICK)
            }
        };
        self.next_look = SystemClock.now() + wait;
    }

    /// What the device is and has.
    fn facts(&self) -> Facts {
        let repository = self.models.repository().ok();
        let newest = |name: &Name| {
            repository.as_ref().and_then(|models| models.latest(name).ok()).unwrap_or(0)
        };
        let names = self.stages.names().into_iter().chain(self.config().models.iter().cloned());
        let models = names.map(|name| (name.clone(), newest(&name))).collect();
        let layers = self.agent.depot().layers().unwrap_or_default();
        let layers = layers.into_iter().map(|(name, version, _)| (name, version)).collect();
        let has_ort = self.models.engine(EngineKind::Ort, Form::Stored).is_ok();
        let engines = if has_ort { vec!["ort", "tract"] } else { vec!["tract"] };
        Facts {
            installed: Installed { models, layers },
            engines,
            memory: self.available(),
            eir: env!("CARGO_PKG_VERSION").to_owned(),
            triple: env!("EIR_TARGET").to_owned(),
        }
    }

    /// Takes each release that is under way a step further.
    async fn carry_on(&mut self) {
        for (subject, _) in self.agent.under_way() {
            if self.leaving {
                return;
            }
            let now = SystemClock.now();
            if self.waits.get(&subject).is_some_and(|until| *until > now) {
                continue;
            }
            self.waits.remove(&subject);
            match self.carry(&subject).await {
                Carried::On => drop(self.details.remove(&subject)),
                Carried::Stays(detail) => drop(self.details.insert(subject, detail)),
                Carried::Waits(time, why) => {
                    self.waits.insert(subject.clone(), now + time);
                    self.details.insert(subject, why);
                }
            }
            self.tell();
        }
    }

    /// Has whoever holds the app do something.
    async fn order(&self, what: What) -> Result<(), String> {
        let (done, outcome) = oneshot::channel();
        let nobody = || "nobody here carries it out".to_owned();
        self.orders.send(Order { what, done }).await.map_err(|_| nobody())?;
        outcome.await.map_err(|_| nobody())?
    }

    /// Tells what moved: the log, the cloud, and those who look on.
    fn tell(&mut self) {
        for Change { subject, progress, wave } in self.agent.changes() {
            let measured = self.trials.get(&subject).and_then(Trial::seen);
            let reason = progress.reason.as_deref();
            tracing::info!(
                release = progress.release,
                state = %progress.state,
                reason,
                "update"
            );
            if let Some(outbox) = &self.outbox {
                let told = Told {
                    subject: subject.word(),
                    release: &progress.release,
                    state: progress.state,
                    wave,
                    reason,
                    measured,
                    version: env!("CARGO_PKG_VERSION"),
                };
                record(outbox, RecordKind::Update, SystemClock.wall(), &told);
            }
        }
        let releases = self.agent.all().map(|(subject, progress)| ReleaseStatus {
            subject: subject.word(),
            release: progress.release.clone(),
            state: progress.state.to_string(),
            reason: progress.reason.clone(),
            detail: self.details.get(subject).filter(|_| !progress.state.is_final()).cloned(),
        });
        let status = Status {
            looked: self.looked,
            problem: self.problem.clone(),
            refused: self.refused.clone(),
            hawkbit: self.hawkbit.as_ref().and_then(Hawk::word),
            releases: releases.collect(),
            offers: self.agent.offers().to_vec(),
            serving: self.serving(),
        };
        let before = self.status.load_full();
        self.unwritten |= status != *before;
        // Each wears the disk: how far something is is not worth one every time.
        let now = SystemClock.now();
        if self.unwritten && (!status.is_like(&before) || now >= self.leave_at) {
            let left = status.leave(&self.config().dir);
            if let Err(error) = &left {
                tracing::debug!("how the updates are doing is not written down: {error}");
            }
            (self.unwritten, self.leave_at) = (left.is_err(), now + LEAVE_EVERY);
        }
        self.status.store(Arc::new(status));
    }
}

/// Between half and one and a half times that: devices that were switched on at once drift apart.
fn jitter(time: Duration) -> Duration {
    time.mul_f64(0.5 + rand::random::<f64>())
}
