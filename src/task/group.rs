//! Tasks that are started together and stopped together.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Says when to stop; every task of a [`Group`] holds one and may ask it at any await point.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves when the group stops.
    pub async fn stopped(&mut self) {
        // An error means that the group is gone, which is as good as told.
        let _gone = self.0.wait_for(|stop| *stop).await;
    }

    /// Whether the group is stopping.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}

/// A set of named tasks with one stop signal and a drain that ends by a deadline.
#[derive(Debug)]
pub struct Group {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Default for Group {
    fn default() -> Self {
        Self { stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }
}

impl Group {
    /// The signal that this group's tasks listen to.
    pub fn stop_signal(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Starts a task of this group.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // What has ended is forgotten: a group that lives long does not grow.
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            task.await;
            tracing::trace!(task = name, "ended");
        });
    }

    /// Asks all to stop, waits until `deadline` has passed, aborts the rest and says how many those were.
    pub async fn drain(mut self, deadline: Duration) -> usize {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(deadline, all).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.tasks.shutdown().await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_by_its_deadline_and_counts_what_was_left() {
        let mut group = Group::default();
        let mut stop = group.stop_signal();
        group.spawn("polite", async move { stop.stopped().await });
        group.spawn("deaf", std::future::pending());
        assert_eq!(group.drain(Duration::from_secs(5)).await, 1);
    }
}
