//! What a hawkBit server wants: it is asked when it is time, and told what becomes of it.

mod errand;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{SystemClock, TICK, Worker, jitter};
use crate::event::Device;
use crate::task::{Backoff, Clock};
use crate::update::config::UpdateConfig;
use crate::update::depot::Depot;
use crate::update::hawkbit::bundle::Fetching;
use crate::update::hawkbit::config::{Confirm, HawkbitConfig};
use crate::update::hawkbit::ddi::{Deployment, Execution, Feedback, attributes};
use crate::update::hawkbit::errand::{Ending, Errand, Memory};
use crate::update::hawkbit::{DdiError, Hawkbit};

/// The first wait after a server that was not there; it grows to what is configured.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Keeps what a server wants.
#[derive(Debug)]
pub(super) struct Hawk {
    client: Hawkbit,
    config: HawkbitConfig,
    depot: Depot,
    most: u64,
    /// What the device is.
    attributes: BTreeMap<String, String>,
    memory: Memory,
    /// What the server said of the errand last.
    orders: Option<Deployment>,
    fetching: Option<Fetching>,
    pace: Duration,
    next_poll: Instant,
    /// Nothing is asked before.
    quiet: Instant,
    /// Nothing is tried with the bundle before.
    later: Instant,
    backoff: Backoff,
    /// What is wrong, and what was the last time.
    problem: Option<String>,
    told: Option<String>,
    /// What it waits for.
    waits: Option<String>,
    confirmed: Option<u64>,
    /// The process was another when the errand was begun.
    resumed: bool,
}

impl Worker {
    /// Asks the server if it is time, and goes on with what it wants.
    pub(super) async fn heed_hawkbit(&mut self) {
        let Some(mut hawk) = self.hawkbit.take() else { return };
        if !self.leaving {
            hawk.round(self).await;
        }
        self.hawkbit = Some(hawk);
    }
}

impl Hawk {
    /// Takes up where the last process was; `None`: no server is named.
    pub(super) fn open(config: &UpdateConfig, device: &Device) -> Result<Option<Self>, String> {
        let client = Hawkbit::open(config, device.id.as_str())?;
        let Some((client, hawkbit)) = client.zip(config.hawkbit.clone()) else { return Ok(None) };
        let depot = Depot::at(&config.dir);
        let memory = Memory::read(&depot.place("hawkbit.json"));
        let (now, every) = (SystemClock.now(), hawkbit.every.0);
        if memory.errand.is_none() {
            sweep(&depot);
        }
        let hawk = Self {
            client,
            depot,
            most: config.max.0 as u64,
            attributes: attributes(&device.labels, (env!("CARGO_PKG_VERSION"), env!("EIR_TARGET"))),
            resumed: memory.errand.is_some(),
            memory,
            orders: None,
            fetching: None,
            pace: every,
            next_poll: now + jitter(every.min(FIRST_WAIT)),
            quiet: now,
            later: now,
            backoff: Backoff::new(FIRST_WAIT, every.max(FIRST_WAIT)),
            problem: None,
            told: None,
            waits: None,
            confirmed: None,
            config: hawkbit,
        };
        Ok(Some(hawk))
    }

    /// What is wrong, or waited for.
    pub(super) fn word(&self) -> Option<String> {
        self.problem.clone().or_else(|| self.waits.clone())
    }

    /// The server is asked in the next round, unless it is to be left alone.
    pub(super) fn ask_soon(&mut self) {
        self.next_poll = SystemClock.now();
    }

    async fn round(&mut self, worker: &mut Worker) {
        if !self.is_quiet() {
            self.told = self.problem.take();
            if SystemClock.now() >= self.next_poll
                && let Err(error) = self.poll().await
            {
                // Asked again, it says all of it again.
                self.client.forget();
                self.put_off(&error);
            }
        }
        self.carry(worker).await;
    }

    fn is_quiet(&self) -> bool {
        SystemClock.now() < self.quiet
    }

    /// Leaves the server alone for a while.
    fn put_off(&mut self, error: &DdiError) {
        let wait = match error {
            DdiError::Later { after, .. } => {
                self.backoff.next_wait().max(after.unwrap_or_default())
            }
            // Somebody must put it right.
            DdiError::Refused(_) | DdiError::Strange(_) | DdiError::Over => jitter(self.pace),
        };
        self.quiet = SystemClock.now() + wait.max(TICK);
        let problem = error.to_string();
        if self.told.as_ref() != Some(&problem) {
            tracing::warn!("hawkBit: {problem}");
        }
        self.told = Some(problem.clone());
        self.problem = Some(problem);
    }

    async fn poll(&mut self) -> Result<(), DdiError> {
        let (base, is_new) = self.client.poll().await?;
        self.backoff.reset();
        self.waits = None;
        self.pace = base.pace().unwrap_or(self.config.every.0);
        let mut next = jitter(self.pace);
        if let Some(action) = base.cancel().filter(|_| is_new) {
            self.cancel(action).await?;
        }
        if let Some(action) = base.confirmation()
            && self.confirm(action, is_new).await?
        {
            next = next.min(TICK);
        }
        match base.deployment() {
            Some(action) if self.memory.is_open(action) => self.heed(action).await?,
            Some(action) if is_new => self.repeat(action).await?,
            None if base.cancel().is_none() => self.drop_forgotten(),
            Some(_) | None => {}
        }
        self.introduce(base.wants_attributes() && is_new).await?;
        self.next_poll = SystemClock.now() + next;
        Ok(())
    }

    /// Looks at an action that is to be carried out.
    async fn heed(&mut self, action: u64) -> Result<(), DdiError> {
        let orders = self.client.deployment(action).await?;
        let bundle = orders.bundle();
        if self.orders.as_ref().is_none_or(|known| known.bundle() != bundle) {
            self.fetching = None;
        }
        if self.memory.errand.as_ref().is_none_or(|errand| errand.action != action) {
            tracing::info!(action, "hawkBit has something to install");
            self.sweep();
            self.resumed = false;
            self.memory.errand = Some(Errand::new(action));
            self.keep();
        }
        self.orders = Some(orders);
        if let Err(why) = bundle {
            self.end(Ending::failed(why));
        }
        Ok(())
    }

    /// The server did not hear how it ended.
    async fn repeat(&self, action: u64) -> Result<(), DdiError> {
        let done = self.memory.done.as_ref().filter(|done| done.action == action);
        let Some(ending) = done.and_then(|done| done.ending.as_ref()) else { return Ok(()) };
        match self.client.tell(action, &ending.feedback()).await {
            Ok(()) | Err(DdiError::Over) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The server wants nothing any more.
    fn drop_forgotten(&mut self) {
        match &self.memory.errand {
            // It goes its way, whoever wanted it.
            Some(errand) if errand.ending.is_none() && !errand.releases.is_empty() => return,
            Some(errand) if errand.ending.is_none() => self.memory.errand = None,
            Some(_) => self.memory.close(),
            None => return,
        }
        self.keep();
        self.sweep();
    }

    async fn cancel(&mut self, action: u64) -> Result<(), DdiError> {
        let stop = self.client.to_cancel(action).await?;
        let mut memory = self.memory.clone();
        let feedback = match memory.cancel(stop) {
            Ok(()) => Feedback::closed(true, vec!["nothing of it was installed".to_owned()]),
            Err(why) => Feedback::open(Execution::Rejected, vec![why]),
        };
        match self.client.answer_cancel(action, &feedback).await {
            Ok(()) | Err(DdiError::Over) => {}
            Err(error) => return Err(error),
        }
        tracing::info!(action = stop, answer = ?feedback.execution, "hawkBit cancels");
        self.memory = memory;
        self.keep();
        if self.memory.errand.is_none() {
            self.sweep();
        }
        Ok(())
    }

    /// Whether it was confirmed just now.
    async fn confirm(&mut self, action: u64, is_new: bool) -> Result<bool, DdiError> {
        let is_first = self.confirmed != Some(action);
        match self.config.confirm {
            Confirm::Auto if is_new || is_first => {
                self.client.confirm(action).await?;
                tracing::info!(action, "confirmed to hawkBit");
            }
            Confirm::Auto => return Ok(false),
            Confirm::Ask => {
                let waits = format!("action {action} waits to be confirmed at the server");
                if is_first {
                    tracing::info!("hawkBit: {waits}");
                }
                self.confirmed = Some(action);
                self.waits = Some(waits);
                return Ok(false);
            }
        }
        self.confirmed = Some(action);
        Ok(is_first)
    }

    /// Tells what the device is, where that is asked or has changed.
    async fn introduce(&mut self, is_asked: bool) -> Result<(), DdiError> {
        if !is_asked && self.memory.attributes == self.attributes {
            return Ok(());
        }
        match self.client.introduce(&self.attributes).await {
            Err(error @ DdiError::Later { .. }) => return Err(error),
            // A quota, say: nothing that is wanted depends on it.
            Err(error) => tracing::warn!("hawkBit does not take the device's labels: {error}"),
            Ok(()) => {}
        }
        self.memory.attributes.clone_from(&self.attributes);
        self.keep();
        Ok(())
    }

    /// Nothing of a bundle is needed any more.
    fn sweep(&mut self) {
        (self.orders, self.fetching, self.waits) = (None, None, None);
        sweep(&self.depot);
    }

    fn keep(&self) {
        if let Err(error) = self.memory.leave(&self.depot.place("hawkbit.json")) {
            tracing::warn!("what hawkBit wants is not noted: {error}");
        }
    }
}

fn sweep(depot: &Depot) {
    match std::fs::remove_dir_all(depot.place("hawkbit")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::debug!("what hawkBit brought stays: {error}");
        }
        Ok(()) | Err(_) => {}
    }
}
