//! Spans on their way out, started and stopped with the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Name;
use crate::sync::{TraceExport, TracesConfig};
use crate::trace::{TraceStatus, Traces};

/// What is traced, and where that goes.
#[derive(Debug, Default)]
pub(super) struct Tracing {
    traces: Traces,
    running: Option<(TracesConfig, TraceExport)>,
}

impl Tracing {
    /// Starts what is configured, on the runtime that this is called in.
    pub(super) fn start(config: Option<&TracesConfig>, device: &Name) -> Self {
        let mut tracing = Self::default();
        tracing.begin(config, device);
        tracing
    }

    /// Where all who work find the tracer.
    pub(super) const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Makes what runs what is configured. What differs has `deadline` for what it still has to send.
    pub(super) async fn set(
        &mut self,
        config: Option<&TracesConfig>,
        device: &Name,
        deadline: Duration,
    ) {
        if self.running.as_ref().map(|(running, _)| running) == config {
            return;
        }
        let before = self.running.take();
        self.begin(config, device);
        if let Some((_, export)) = before {
            export.stop(deadline).await;
        }
    }

    /// How it is doing, where there is something.
    pub(super) fn status(&self) -> Option<TraceStatus> {
        self.running.as_ref().map(|(_, export)| export.status())
    }

    /// Writes to the log what became of the spans, and why some wait.
    pub(super) fn log(&self) {
        let Some(status) = self.status() else { return };
        let TraceStatus { waiting, sent, dropped, problem } = status;
        tracing::info!(waiting, sent, dropped, "spans");
        if let Some(reason) = problem {
            tracing::warn!("spans are not taken: {reason}");
        }
    }

    /// Sends what waits, until `deadline` has passed.
    pub(super) async fn stop(self, deadline: Duration) {
        self.traces.set(None);
        if let Some((_, export)) = self.running {
            export.stop(deadline).await;
        }
    }

    /// The configuration was checked, so that it can be tried at least.
    fn begin(&mut self, config: Option<&TracesConfig>, device: &Name) {
        let started = config.and_then(|config| match TraceExport::start(config, device) {
            Ok(export) => Some((config.clone(), export)),
            Err(problem) => {
                tracing::error!("nothing is traced: {problem}");
                None
            }
        });
        self.traces.set(started.as_ref().map(|(_, export)| Arc::clone(export.tracer())));
        self.running = started;
    }
}
