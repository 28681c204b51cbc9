//! The clouds that records are sent to, as long as they are configured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Name;
use crate::outbox::Outbox;
use crate::sync::{Cloud, CloudConfig, CloudStatus, HttpsUplink};
use crate::task::Group;

/// Every `[cloud.NAME]` that runs.
#[derive(Debug, Default)]
pub(super) struct Clouds {
    running: BTreeMap<Name, (CloudConfig, Cloud)>,
}

impl Clouds {
    /// Makes what runs what is configured: a cloud that differs is stopped first and goes on from where it
    /// was, one that stays is asked at once whether it works now. What is gone or differs has `deadline` for
    /// what it still has to say.
    pub(super) async fn set(
        &mut self,
        configured: &BTreeMap<Name, CloudConfig>,
        outbox: &Outbox,
        deadline: Duration,
    ) {
        let running = std::mem::take(&mut self.running);
        let (same, old): (BTreeMap<_, _>, BTreeMap<_, _>) = running
            .into_iter()
            .partition(|(name, (config, _))| configured.get(name) == Some(config));
        stop_all(old.into_values().map(|(_, cloud)| cloud), deadline).await;
        self.running = same;
        outbox.set_clouds(configured.keys().cloned().collect());
        for (_, cloud) in self.running.values() {
            cloud.nudge();
        }
        for (name, config) in configured {
            if !self.running.contains_key(name) {
                self.start_one(name, config, outbox);
            }
        }
    }

    /// Starts what is configured.
    pub(super) fn start(&mut self, configured: &BTreeMap<Name, CloudConfig>, outbox: &Outbox) {
        for (name, config) in configured {
            self.start_one(name, config, outbox);
        }
    }

    /// The configuration was checked, so that it can be tried at least.
    fn start_one(&mut self, name: &Name, config: &CloudConfig, outbox: &Outbox) {
        match HttpsUplink::new(config) {
            Ok(uplink) => {
                let cloud = Cloud::start(name, config, uplink, outbox.reader(name.clone()));
                self.running.insert(name.clone(), (config.clone(), cloud));
            }
            Err(problem) => tracing::error!(cloud = %name, "records wait: {problem}"),
        }
    }

    /// How each is doing.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&Name, CloudStatus)> {
        self.running.iter().map(|(name, (_, cloud))| (name, cloud.status()))
    }

    /// Writes to the log what became of the records, and why some wait.
    pub(super) fn log(&self) {
        for (name, status) in self.statuses() {
            let CloudStatus { batches, records, sent_bytes, failures, dead, breaker, .. } = status;
            tracing::info!(cloud = %name, batches, records, sent_bytes, failures, dead, "sent");
            if let Some(reason) = status.problem {
                tracing::warn!(cloud = %name, ?breaker, "records wait: {reason}");
            }
        }
    }

    /// Sends what is in the outbox to those that take it, until `deadline` has passed.
    pub(super) async fn stop(self, deadline: Duration) {
        stop_all(self.running.into_values().map(|(_, cloud)| cloud), deadline).await;
    }
}

/// All at once: one that hangs takes no time from the others.
async fn stop_all(clouds: impl Iterator<Item = Cloud>, deadline: Duration) {
    let mut stopping = Group::default();
    for cloud in clouds {
        stopping.spawn("stop", async move { cloud.stop(deadline).await });
    }
    // Each ends by itself at the deadline; a little more for the end itself.
    stopping.drain(deadline + Duration::from_millis(100)).await;
}
