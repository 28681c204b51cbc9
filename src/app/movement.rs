//! Whether everything that should move does: what a watchdog wants to know.

use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::App;
use crate::event::Name;
use crate::task::{Clock, SystemClock};

/// What does not get on. Neither a broker that is away nor a model that is broken is such a thing: a new
/// start would help neither.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Stalled {
    /// The task of a connection does not answer, or is gone.
    #[error("connection `{0}` does not answer")]
    Connection(Name),
    /// A pipeline has been at the same step for longer than it may.
    #[error("pipeline `{0}` has not got on for {1:?}")]
    Pipeline(Name, Duration),
}

impl App {
    /// Whether intake and pipelines get on, or have nothing to do. To be called now and then: a
    /// pipeline is stalled that stands at the same step in all calls of the last `patience`. The disk
    /// is not asked.
    pub async fn moves(&mut self, patience: Duration) -> Result<(), Stalled> {
        let found = self.look(patience).await;
        self.stalled = found.clone().err();
        found
    }

    async fn look(&mut self, patience: Duration) -> Result<(), Stalled> {
        for (name, connection) in &self.connections {
            if !timeout(patience / 4, connection.answers()).await.unwrap_or(false) {
                return Err(Stalled::Connection(name.clone()));
            }
        }
        let now = SystemClock.now();
        let mut stalled = None;
        // Each is looked at, so that each knows since when it stands.
        for (name, pipeline) in &mut self.pipelines {
            if let Some(since) = pipeline.stuck(now).filter(|since| *since >= patience) {
                stalled.get_or_insert(Stalled::Pipeline(name.clone(), since));
            }
        }
        stalled.map_or(Ok(()), Err)
    }
}
