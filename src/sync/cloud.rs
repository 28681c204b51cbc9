//! The handle of one cloud.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::worker::Worker;
use super::{CloudConfig, CloudStatus, Uplink};
use crate::event::Name;
use crate::outbox::Reader;
use crate::task::Group;

/// One `[cloud.NAME]` while it runs. Dropped, it stops at once; what was not delivered stays in the outbox.
#[derive(Debug)]
pub struct Cloud {
    status: watch::Receiver<CloudStatus>,
    nudge: Arc<Notify>,
    group: Group,
}

impl Cloud {
    /// Starts to send what the reader hands out. To be called within a runtime.
    pub fn start(name: &Name, config: &CloudConfig, uplink: impl Uplink, reader: Reader) -> Self {
        let (sender, status) = watch::channel(CloudStatus::default());
        let nudge = Arc::new(Notify::new());
        let mut group = Group::default();
        let reader = (name.clone(), reader);
        let worker = Worker::new(config, uplink, reader, sender, Arc::clone(&nudge));
        let stop = group.stop_signal();
        group.spawn("cloud", worker.run(stop));
        Self { status, nudge, group }
    }

    /// How it is doing.
    pub fn status(&self) -> CloudStatus {
        self.status.borrow().clone()
    }

    /// How it is doing, to be watched.
    pub fn watch(&self) -> watch::Receiver<CloudStatus> {
        self.status.clone()
    }

    /// Something may have changed: the wait that is going on, or the next one, ends at once.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Sends what is in the outbox, as long as that works and `deadline` has not passed.
    pub async fn stop(self, deadline: Duration) {
        self.group.drain(deadline).await;
    }
}
