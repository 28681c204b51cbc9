//! The log: to standard error, its level changeable while running.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::event::LogLevel;

/// Turns the level of the running log.
#[derive(Debug, Clone)]
pub(super) struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// What is logged from now on.
    pub(super) fn set(&self, level: LogLevel) {
        if let Err(error) = self.0.reload(targets(level)) {
            tracing::warn!("the log level stays: {error}");
        }
    }
}

/// Starts the log; once in a process.
pub(super) fn start(level: LogLevel) -> LogHandle {
    let (filter, handle) = reload::Layer::new(targets(level));
    let colours = std::io::stderr().is_terminal();
    // A line that cannot be written is lost: to say so on the same standard error would end us.
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .log_internal_errors(false);
    if let Err(error) = tracing_subscriber::registry().with(filter).with(lines).try_init() {
        super::print::note(format_args!("eir: a log is already set up: {error}"));
    }
    LogHandle(handle)
}

/// Ours at the level asked for; libraries only when something is wrong, or when asked to trace.
fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = if level == LogLevel::Trace { LevelFilter::DEBUG } else { LevelFilter::ERROR };
    Targets::new().with_target("eir", ours).with_default(libraries)
}
