//! The clouds that records are sent to, as long as they are configured.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Connection;
use super::recall::{Recalled, remember_upload};
use crate::event::Name;
use crate::mqtt::Link;
use crate::outbox::{Lane, Outbox};
use crate::sync::{
    Cloud, CloudConfig, CloudStatus, HttpsUplink, MqttUplink, OtlpUplink, TusUplink,
};
use crate::task::Group;

/// Every `[cloud.NAME]` that runs.
#[derive(Debug, Default)]
pub(super) struct Clouds {
    running: BTreeMap<Name, Running>,
}

#[derive(Debug)]
struct Running {
    config: CloudConfig,
    /// The connection that it sends on, where that is one to a broker.
    link: Option<Link>,
    cloud: Cloud,
}

/// What clouds are started with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    pub outbox: &'a Outbox,
    pub device: &'a Name,
    pub connections: &'a BTreeMap<Name, Connection>,
    pub recalled: &'a Recalled,
}

impl Site<'_> {
    fn link(&self, config: &CloudConfig) -> Option<&Link> {
        config.mqtt.as_ref().and_then(|name| self.connections.get(name)).map(Connection::link)
    }
}

impl Clouds {
    /// Makes what runs what is configured: a cloud that differs is stopped first and goes on from where it
    /// was, one that stays is asked at once whether it works now. What is gone or differs has `deadline` for
    /// what it still has to say.
    pub(super) async fn set(
        &mut self,
        configured: &BTreeMap<Name, CloudConfig>,
        site: Site<'_>,
        deadline: Duration,
    ) {
        let running = std::mem::take(&mut self.running);
        let (same, old): (BTreeMap<_, _>, BTreeMap<_, _>) =
            running.into_iter().partition(|(name, running)| {
                let link = running.link.as_ref().zip(site.link(&running.config));
                configured.get(name) == Some(&running.config)
                    && (running.link.is_none() || link.is_some_and(|(old, new)| old.is(new)))
            });
        stop_all(old.into_values().map(|old| old.cloud), deadline).await;
        self.running = same;
        site.outbox.set_lanes(lanes(configured));
        for running in self.running.values() {
            running.cloud.nudge();
        }
        for (name, config) in configured {
            if !self.running.contains_key(name) {
                self.start_one(name, config, site);
            }
        }
    }

    /// Starts what is configured.
    pub(super) fn start(&mut self, configured: &BTreeMap<Name, CloudConfig>, site: Site<'_>) {
        for (name, config) in configured {
            self.start_one(name, config, site);
        }
    }

    /// The configuration was checked, so that it can be tried at least.
    fn start_one(&mut self, name: &Name, config: &CloudConfig, site: Site<'_>) {
        let reader = site.outbox.reader(name.clone());
        let link = site.link(config).cloned();
        let started = match &link {
            Some(link) => {
                let uplink = MqttUplink::new(link.clone(), site.device);
                Ok(Cloud::start(config, uplink, reader))
            }
            None if config.is_otlp() => {
                OtlpUplink::new(config).map(|uplink| Cloud::start(config, uplink, reader))
            }
            None => HttpsUplink::new(config).map(|uplink| Cloud::start(config, uplink, reader)),
        };
        let started = started.and_then(|cloud| match &config.samples {
            Some(_) => with_samples(cloud, name, config, site),
            None => Ok(cloud),
        });
        match started {
            Ok(cloud) => {
                let running = Running { config: config.clone(), link, cloud };
                self.running.insert(name.clone(), running);
            }
            Err(problem) => tracing::error!(cloud = %name, "records wait: {problem}"),
        }
    }

    /// How each way to each of them is doing.
    pub(super) fn statuses(&self) -> impl Iterator<Item = (&Lane, CloudStatus)> {
        self.running.values().flat_map(|running| running.cloud.statuses())
    }

    /// Writes to the log what became of the records, and why some wait.
    pub(super) fn log(&self) {
        for (name, status) in self.statuses() {
            let CloudStatus { batches, records, sent_bytes, failures, dead, breaker, .. } = status;
            tracing::info!(cloud = %name, batches, records, sent_bytes, failures, dead, "sent");
            if let Some(reason) = status.paused {
                tracing::info!(cloud = %name, "records wait: {reason}");
            }
            if let Some(reason) = status.problem {
                tracing::warn!(cloud = %name, ?breaker, "records wait: {reason}");
            }
        }
    }

    /// Sends what is in the outbox to those that take it, until `deadline` has passed.
    pub(super) async fn stop(self, deadline: Duration) {
        stop_all(self.running.into_values().map(|running| running.cloud), deadline).await;
    }
}

/// Every way to every cloud.
pub(super) fn lanes(configured: &BTreeMap<Name, CloudConfig>) -> Vec<Lane> {
    configured.iter().flat_map(|(name, config)| config.lanes(name)).collect()
}

/// The inputs of samples go there as uploads; one that an earlier start began goes on.
fn with_samples(
    cloud: Cloud,
    name: &Name,
    config: &CloudConfig,
    site: Site<'_>,
) -> Result<Cloud, String> {
    let (cloud_name, outbox) = (name.clone(), site.outbox.clone());
    let remember = move |upload| remember_upload(&outbox, &cloud_name, upload);
    let uplink = TusUplink::new(config, site.recalled.upload(name), remember)?;
    let reader = site.outbox.reader(Lane::Samples(name.clone()));
    Ok(cloud.with_samples(config, uplink, reader))
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
