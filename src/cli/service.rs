//! What a service manager such as systemd is told, and what it asks: `sd_notify(3)`, `sd_watchdog_enabled(3)`.
//! Without one nothing of this happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Interval;

use crate::app::App;

/// The service manager that started this process, if it listens.
pub(super) struct Service {
    /// How long it waits for a sign of life before it starts the process anew.
    patience: Option<Duration>,
    well: bool,
}

impl Service {
    pub(super) fn new() -> Self {
        let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
        Self { patience, well: true }
    }

    /// How often [`Service::feed`] wants to be called; twice as often as need be.
    pub(super) fn ticks(&self) -> Interval {
        // Without a watchdog the question is still asked, so that a stall is in the log.
        super::run::every(self.patience.unwrap_or(Duration::from_mins(1)) / 2)
    }

    /// Built and started; what is broken is degraded, and no reason to wait.
    pub(super) fn ready(&self, app: &App) {
        let status = status(app);
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// A reload began. It ends with [`Service::ready`], whatever came of it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!("the service manager is not told of the reload: {error}"),
        }
    }

    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Gives a sign of life, if what should move does.
    pub(super) async fn feed(&mut self, app: &mut App) {
        match app.moves(self.patience.unwrap_or(Duration::from_mins(1))).await {
            Ok(()) => {
                let status = status(app);
                tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
                self.well = true;
            }
            // Once is enough in the log.
            Err(stalled) if self.well => {
                tracing::error!("stalled; the watchdog is not fed: {stalled}");
                self.well = false;
            }
            Err(_) => {}
        }
    }
}

/// One line for `systemctl status`.
fn status(app: &App) -> String {
    let pipelines = app.pipelines();
    let degraded: Vec<_> =
        pipelines.iter().filter(|p| p.problem.is_some()).map(|p| p.name.as_str()).collect();
    if degraded.is_empty() {
        format!("{} pipelines run", pipelines.len())
    } else {
        format!("{} pipelines, degraded: {}", pipelines.len(), degraded.join(", "))
    }
}

/// A manager that does not listen is no reason to stop working.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}
