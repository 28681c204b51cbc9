//! Between two connections.

use crate::task::{Clock, Stop, SystemClock};

use super::super::LinkState;
use super::super::link::Question;
use super::Driver;

impl Driver {
    /// Waits for something without a connection: publishes are turned away. None: told to stop.
    pub(super) async fn meanwhile<T>(
        &mut self,
        stop: &mut Stop,
        wait: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = stop.stopped() => return None,
                done = &mut wait => return Some(done),
                Some(command) = self.commands.recv() => command.turn_away(),
                Some(question) = self.questions.recv() => answer(question),
            }
        }
    }

    pub(super) fn down(&mut self, error: &str) {
        tracing::debug!(link = self.name, error, "not connected");
        while let Ok(command) = self.commands.try_recv() {
            command.turn_away();
        }
        let now = SystemClock.now();
        self.report.send_modify(|state| {
            let since = match state {
                LinkState::Connecting { since, last_error } => {
                    if last_error.is_none() {
                        tracing::warn!(link = self.name, error, "cannot connect");
                    }
                    *since
                }
                LinkState::Up { .. } | LinkState::Stopped => {
                    tracing::warn!(link = self.name, error, "connection lost");
                    now
                }
            };
            *state = LinkState::Connecting { since, last_error: Some(error.into()) };
        });
    }
}

pub(super) fn answer(question: Question) {
    // Who asked may have given up waiting.
    let _unheard = question.send(());
}
