//! The handle of one cloud.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::worker::Worker;
use super::{CloudConfig, CloudStatus, TusUplink, Uplink};
use crate::net::Allowance;
use crate::outbox::{Lane, Reader};
use crate::task::Group;

/// One `[cloud.NAME]` while it runs. Dropped, it stops at once; what was not delivered stays in the outbox.
#[derive(Debug)]
pub struct Cloud {
    allowance: Arc<Mutex<Allowance>>,
    records: Way,
    samples: Option<Way>,
    group: Group,
}

/// One way to the cloud.
#[derive(Debug)]
struct Way {
    lane: Lane,
    status: watch::Receiver<CloudStatus>,
    nudge: Arc<Notify>,
}

impl Cloud {
    /// Starts to send what the reader hands out. To be called within a runtime.
    pub fn start(config: &CloudConfig, uplink: impl Uplink, reader: Reader) -> Self {
        let allowance =
            Arc::new(Mutex::new(Allowance::new(config.allow, config.rate, config.daily)));
        let mut group = Group::default();
        let records = Way::start(config, uplink, reader, (&mut group, Arc::clone(&allowance)));
        Self { allowance, records, samples: None, group }
    }

    /// Also uploads what the reader of [`Lane::Samples`] hands out, one at a time, within the same hours and rate. To
    /// be called within a runtime.
    #[must_use]
    pub fn with_samples(mut self, config: &CloudConfig, uplink: TusUplink, reader: Reader) -> Self {
        let config = CloudConfig { max_records: 1, max_delay: Duration::ZERO, ..config.clone() };
        let within = (&mut self.group, Arc::clone(&self.allowance));
        self.samples = Some(Way::start(&config, uplink, reader, within));
        self
    }

    /// How it is doing.
    pub fn status(&self) -> CloudStatus {
        self.records.status.borrow().clone()
    }

    /// How each way to it is doing.
    pub fn statuses(&self) -> impl Iterator<Item = (&Lane, CloudStatus)> {
        self.ways().map(|way| (&way.lane, way.status.borrow().clone()))
    }

    /// How it is doing, to be watched.
    pub fn watch(&self) -> watch::Receiver<CloudStatus> {
        self.records.status.clone()
    }

    /// How it is doing with samples, to be watched.
    pub fn watch_samples(&self) -> Option<watch::Receiver<CloudStatus>> {
        self.samples.as_ref().map(|way| way.status.clone())
    }

    /// Something may have changed: the wait that is going on, or the next one, ends at once.
    pub fn nudge(&self) {
        self.ways().for_each(|way| way.nudge.notify_one());
    }

    /// Sends what is in the outbox, as long as that works and `deadline` has not passed.
    pub async fn stop(self, deadline: Duration) {
        self.group.drain(deadline).await;
    }

    fn ways(&self) -> impl Iterator<Item = &Way> {
        std::iter::once(&self.records).chain(&self.samples)
    }
}

impl Way {
    fn start(
        config: &CloudConfig,
        uplink: impl Uplink,
        reader: Reader,
        (group, allowance): (&mut Group, Arc<Mutex<Allowance>>),
    ) -> Self {
        let (sender, status) = watch::channel(CloudStatus::default());
        let nudge = Arc::new(Notify::new());
        let lane = reader.lane().clone();
        let signals = (sender, Arc::clone(&nudge));
        let worker = Worker::new(config, uplink, reader, allowance, signals);
        let stop = group.stop_signal();
        group.spawn("cloud", worker.run(stop));
        Self { lane, status, nudge }
    }
}
