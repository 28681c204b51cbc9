//! What a service manager such as systemd is told, and what it asks: `sd_notify(3)`, `sd_watchdog_enabled(3)`.
//! Without one nothing of this happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Interval;

use crate::app::App;

/// As long as a start may take by the unit that is shipped (`TimeoutStartSec=`), and a drain before it.
const EXCHANGE: Duration = Duration::from_mins(4);

/// Built and started; what is broken is degraded, and no reason to wait.
pub(super) fn ready(app: &App) {
    let status = status(app);
    let mut states = vec![NotifyState::Ready, NotifyState::Status(&status)];
    // The program before this one may have asked for more patience.
    states.extend(asked().map(watchdog));
    tell(&states);
}

/// Another program goes on as this process. Nobody can give a sign of life until its models are loaded.
pub(super) fn exchanging() {
    reloading();
    if let Some(patience) = asked() {
        tell(&[NotifyState::Watchdog, watchdog(patience.max(EXCHANGE))]);
    }
}

/// How long it waits for a sign of life.
fn asked() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

fn watchdog(patience: Duration) -> NotifyState<'static> {
    NotifyState::WatchdogUsec(u32::try_from(patience.as_micros()).unwrap_or(u32::MAX))
}

/// A reload began. It ends with [`ready`], whatever came of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("the service manager is not told of the reload: {error}"),
    }
}

/// The end began.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The service manager's question whether this process is alive.
pub(super) struct Watchdog {
    /// How long it waits for a sign of life before it starts the process anew. Where nobody asks, the
    /// question is still put, so that a stall is in the log.
    patience: Duration,
    well: bool,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { patience: asked().unwrap_or(Duration::from_mins(1)), well: true }
    }

    /// How often [`Watchdog::feed`] wants to be called; twice as often as need be.
    pub(super) fn ticks(&self) -> Interval {
        super::run::every(self.patience / 2)
    }

    /// Gives a sign of life, if what should move does.
    pub(super) async fn feed(&mut self, app: &mut App) {
        match app.moves(self.patience).await {
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
    let mut status = if degraded.is_empty() {
        format!("{} pipelines run", pipelines.len())
    } else {
        format!("{} pipelines, degraded: {}", pipelines.len(), degraded.join(", "))
    };
    if let Some(problem) = app.outbox().and_then(|outbox| outbox.problem) {
        status.extend(["; outbox degraded: ", &problem]);
    }
    for (lane, cloud) in app.clouds() {
        if let Some(problem) = cloud.problem {
            status.extend(["; records wait for cloud ", &lane.to_string(), ": ", &problem]);
        }
    }
    status
}

/// A manager that does not listen is no reason to stop working.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager does not listen: {error}");
    }
}
