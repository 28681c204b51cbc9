//! `eir run`: the service.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::service::Watchdog;
use super::{Exit, Failure, launch, log, service};
use crate::api::{Order, What};
use crate::app::App;
use crate::app::config::{self, Config, Problems, Sources};
use crate::task::{Clock, SystemClock};
use crate::update::slots::Slots;
use crate::update::{Woken, note_end, wake};

/// How often it is tried to build again what is degraded.
const HEAL_EVERY: Duration = Duration::from_secs(10);

/// How often those who look in from the side get something new to see, and how punctual summaries are.
const TICK: Duration = Duration::from_secs(1);

/// 2026-01-01: no clock that is right says less.
const MADE: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// By then what the start needs has run, and the first messages have gone their way.
const SETTLE_AFTER: Duration = Duration::from_secs(3);

/// What the process ends for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It was asked to.
    Stop,
    /// Another program is to start in its place.
    Exchange,
}

pub(super) fn run(sources: &Sources) -> Result<(), Failure> {
    launch::hand_over(sources);
    // Before the configuration is read: a layer of it that takes the process down is given up here.
    let directory = config::update_directory(sources);
    let woken = directory.as_deref().map_or_else(Woken::default, awake);
    let uncounted = Sources { bare: true, ..sources.clone() };
    let loaded = load_in_any_case(if woken.uncounted { &uncounted } else { sources });
    let (config, set_aside) = loaded.inspect_err(|_| excuse(directory.as_deref()))?;
    let log = log::start(config.log.level);
    woken.notes.iter().for_each(|note| tracing::warn!("updates: {note}"));
    if let Some(problems) = set_aside {
        tracing::error!(
            "layers that came over the air do not count: with them the configuration is not valid:\n{problems}"
        );
    }
    warn_of_files(&config);
    if let Some(warning) = warn_of_clock(SystemClock.wall()) {
        tracing::warn!("{warning}");
    }
    match super::runtime()?.block_on(serve(config, sources, &log))? {
        Ending::Stop => Ok(()),
        Ending::Exchange => Err(launch::exchange()),
    }
}

/// What cannot even be looked at is not trusted either.
fn awake(directory: &Path) -> Woken {
    wake(directory)
        .unwrap_or_else(|error| Woken { notes: vec![error.to_string()], uncounted: true })
}

/// A mistake in the device's own files is nobody's fault who came over the air.
fn excuse(directory: Option<&Path>) {
    if let Some(directory) = directory.filter(|directory| directory.is_dir()) {
        // Where that cannot be written, the start counts: it is given up too early, and not too late.
        let _counts = note_end(directory);
    }
}

/// Starts what is configured; where that only works without what came over the air, without that.
fn start(config: Config, sources: &Sources) -> Result<App, Failure> {
    let problems = match App::start(config, None) {
        Err(problems) => problems,
        Ok(app) => return Ok(app),
    };
    let bare = Sources { bare: true, ..sources.clone() };
    match config::load(&bare).map(|config| Config { without_releases: true, ..config }) {
        Ok(config) if config.update.is_some() => {
            let app = App::start(config, None).map_err(super::start_failure)?;
            tracing::error!("what came over the air does not count: with it {problems}");
            Ok(app)
        }
        Ok(_) | Err(_) => Err(super::start_failure(problems)),
    }
}

/// Reads a configuration, without the layers that came over the air if it is only right without them: nobody who could
/// mend it is there.
fn load_in_any_case(sources: &Sources) -> Result<(Config, Option<Problems>), Failure> {
    let Err(problems) = config::load(sources) else { return Ok((load(sources)?, None)) };
    let bare = Sources { bare: true, ..sources.clone() };
    match config::load(&bare) {
        Ok(config) if config.update.is_some() => return Ok((config, Some(problems))),
        Ok(_) | Err(_) => {}
    }
    // Written for a newer eir, which was given up: this one goes on with what it ran with last.
    let directory = config::update_directory(sources);
    let last = directory.filter(|directory| Slots::read(directory).failed.is_some());
    match last.and_then(|directory| config::last_good(&directory)) {
        Some(good) => Ok((good, Some(problems))),
        None => Err(not_valid(&problems)),
    }
}

/// Reads a configuration; a mistake ends the command.
pub(super) fn load(sources: &Sources) -> Result<Config, Failure> {
    config::load(sources).map_err(|problems| not_valid(&problems))
}

fn not_valid(problems: &Problems) -> Failure {
    Failure::new(Exit::Config, anyhow::anyhow!("the configuration is not valid:\n{problems}"))
}

/// A file that cannot be read degrades what needs it, and nothing else.
fn warn_of_files(config: &Config) {
    for problem in config.files() {
        tracing::warn!("{problem}");
    }
}

/// A board without a battery starts in 1970, and its network may be what has to tell it the time.
fn warn_of_clock(wall: Timestamp) -> Option<String> {
    (wall < MADE).then(|| {
        format!(
            "the clock says {wall:.0}, which cannot be: what is recorded carries that time, and TLS finds \
             certificates not valid yet, until the clock is set"
        )
    })
}

async fn serve(config: Config, sources: &Sources, log: &log::LogHandle) -> Result<Ending, Failure> {
    let mut signals = Signals::listen()?;
    let mut app = start(config, sources).inspect_err(|_| {
        excuse(config::update_directory(sources).as_deref());
    })?;
    app.take_updates(sources);
    service::ready(&app);
    let mut orders = app.take_orders();
    let mut watchdog = Watchdog::new();
    let mut watch = watchdog.ticks();
    let mut report = every(app.report_every());
    let mut heal = every(HEAL_EVERY);
    let mut tick = every(TICK);
    let settle = tokio::time::sleep(SETTLE_AFTER);
    tokio::pin!(settle);
    let mut settled = false;
    let mut ending = Ending::Stop;
    loop {
        tokio::select! {
            () = recv(&mut signals.reload) => {
                service::reloading();
                if reload(&mut app, sources, log).await.is_ok() {
                    report = every(app.report_every());
                }
                service::ready(&app);
            }
            Some(Order { what, done }) = ordered(&mut orders) => {
                let outcome = match what {
                    What::Log(level) => {
                        log.set(level);
                        Ok(())
                    }
                    What::Exchange => {
                        ending = Ending::Exchange;
                        Ok(())
                    }
                    What::Reload => {
                        service::reloading();
                        let outcome = reload(&mut app, sources, log).await;
                        if outcome.is_ok() {
                            report = every(app.report_every());
                        }
                        service::ready(&app);
                        outcome
                    }
                };
                // Who ordered it may be gone.
                let _unheard = done.send(outcome);
                if ending == Ending::Exchange {
                    break;
                }
            }
            _ = watch.tick() => watchdog.feed(&mut app).await,
            _ = report.tick() => app.log_counts(),
            _ = heal.tick() => app.heal(),
            _ = tick.tick() => app.tick(),
            () = &mut settle, if !settled => {
                app.settle();
                app.keep_good();
                settled = true;
            }
            () = recv(&mut signals.terminate) => break,
            () = recv(&mut signals.interrupt) => break,
        }
    }
    match ending {
        Ending::Stop => service::stopping(),
        // The same process goes on as another program.
        Ending::Exchange => service::exchanging(),
    }
    tracing::info!("draining; a second signal stops at once");
    tokio::select! {
        () = app.drain() => Ok(ending),
        () = recv(&mut signals.terminate) => Err(stopped_at_once()),
        () = recv(&mut signals.interrupt) => Err(stopped_at_once()),
    }
}

pub(super) async fn ordered(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    orders.as_mut()?.recv().await
}

/// Takes the configuration as it is now; an error says why it is refused, and nothing changed.
async fn reload(app: &mut App, sources: &Sources, log: &log::LogHandle) -> Result<(), String> {
    let config = match config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            tracing::error!("reload refused, nothing changed:\n{problems}");
            return Err(format!("the configuration is not valid:\n{problems}"));
        }
    };
    let level = config.log.level;
    warn_of_files(&config);
    match app.reload(config).await {
        Ok(()) => {
            log.set(level);
            Ok(())
        }
        Err(error) => {
            tracing::error!("reload refused, nothing changed: {error}");
            Err(error.to_string())
        }
    }
}

fn stopped_at_once() -> Failure {
    Failure::new(
        Exit::Failed,
        anyhow::anyhow!("stopped at once; unacknowledged messages come again"),
    )
}

/// Ticks from now on, the first time after one period.
pub(super) fn every(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("failed to listen for signals");
        Ok(Self {
            reload: listen(SignalKind::hangup())?,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }
}

async fn recv(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        // No more signals can come: wait for the others.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_without_a_battery_is_warned_of() {
        let warning = warn_of_clock("1970-01-01T00:00:10.5Z".parse().expect("time"));
        assert!(warning.expect("a warning").contains("1970-01-01T00:00:10Z"));
        assert_eq!(warn_of_clock("2026-01-01T00:00:00Z".parse().expect("time")), None);
    }
}
