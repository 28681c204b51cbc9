//! Where the work is done, and how it is taken up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::super::config::Sources;
use super::super::understudy::Stages;
use super::hawkbit::Hawk;
use super::pace::Pace;
use super::{FIRST_WAIT, Worker, jitter};
use crate::api::{Orders, Shown};
use crate::event::Device;
use crate::model::Models;
use crate::outbox::Outbox;
use crate::task::{Backoff, Clock, SystemClock};
use crate::update::agent::Agent;
use crate::update::config::UpdateConfig;
use crate::update::source::Web;
use crate::update::status::Status;

/// Where the work is done, once it can be.
pub(super) struct Site {
    pub(super) config: UpdateConfig,
    pub(super) device: Arc<Device>,
    pub(super) models: Arc<Models>,
    pub(super) stages: Stages,
    pub(super) orders: Orders,
    pub(super) shown: Shown,
    pub(super) outbox: Option<Outbox>,
    pub(super) sources: Sources,
    pub(super) status: Arc<ArcSwap<Status>>,
}

impl Site {
    /// Takes up the updates where they are, if everything that they need is there.
    pub(super) fn open(&self) -> Result<Worker, String> {
        let web = Web::open(&self.config)?;
        let opened = Agent::open(&self.config, Arc::clone(&self.device));
        let (agent, notes) = opened.map_err(|error| error.to_string())?;
        for note in notes {
            tracing::warn!("updates: {note}");
        }
        let hawkbit = Hawk::open(&self.config, &self.device)?;
        let knows_nothing = agent.knows_nothing();
        let (now, every) = (SystemClock.now(), self.config.every.0);
        Ok(Worker {
            agent,
            web,
            hawkbit,
            models: Arc::clone(&self.models),
            stages: self.stages.clone(),
            orders: self.orders.clone(),
            shown: Arc::clone(&self.shown),
            outbox: self.outbox.clone(),
            sources: self.sources.clone(),
            status: Arc::clone(&self.status),
            trials: BTreeMap::new(),
            probation: None,
            pace: Pace::default(),
            details: BTreeMap::new(),
            waits: BTreeMap::new(),
            borne: BTreeMap::new(),
            owed: BTreeSet::new(),
            looked: None,
            problem: None,
            refused: None,
            next_look: now + if knows_nothing { jitter(FIRST_WAIT) } else { self.first_wait() },
            backoff: Backoff::new(FIRST_WAIT, every),
            leave_at: now,
            unwritten: false,
            vouch_at: now + self.config.probation.0,
            inspect_at: now,
            inspected: BTreeMap::new(),
            leaving: false,
        })
    }

    /// A site that gets its power back does not ask as one: who has looked before waits for its turn.
    fn first_wait(&self) -> Duration {
        let every = self.config.every.0;
        let has_looked = Status::read(&self.config.dir).is_some_and(|left| left.looked.is_some());
        if has_looked { every.mul_f64(rand::random()) } else { jitter(every.min(FIRST_WAIT)) }
    }
}
