//! What is written to the log from time to time, and at the end.

use std::collections::BTreeMap;

use super::App;
use crate::action::escalate::Tally;
use crate::api::Counts;
use crate::event::Name;
use crate::outbox;

impl App {
    /// Writes every pipeline's counters to the log, and what is degraded.
    pub fn log_counts(&self) {
        for (name, pipeline) in &self.pipelines {
            log_counts(name, &pipeline.counters().read());
            log_escalation(name, pipeline.escalated().as_deref());
            for action in pipeline.action_counts() {
                tracing::info!(pipeline = %name, ?action, "action counts");
            }
            if let Some(reason) = pipeline.problem() {
                tracing::warn!(pipeline = %name, "degraded: {reason}");
            }
        }
        if let Some(broker) = &self.broker {
            broker.log();
        }
        if let Some(api) = &self.api {
            api.log();
        }
        if let Some(outbox) = self.outbox() {
            log_outbox(&outbox);
        }
        self.clouds.log();
        self.tracing.log();
        for (name, connection) in &self.connections {
            if let Some(reason) = connection.problem() {
                tracing::warn!(connection = %name, "degraded: {reason}");
            }
        }
    }
}

fn log_outbox(status: &outbox::Status) {
    let stored: u64 = status.stored.values().map(|amount| amount.records).sum();
    let outbox::Status { written, dropped, refused, waiting, .. } = status;
    tracing::info!(stored, written, dropped, refused, waiting, "outbox");
    if let Some(reason) = &status.problem {
        tracing::warn!("the outbox is degraded: {reason}");
    }
}

pub(super) fn log_counts(name: &Name, counts: &Counts) {
    let millis = |seconds: Option<f64>| seconds.map(|s| (s * 1e5).round() / 1e2);
    tracing::info!(
        pipeline = %name,
        messages = counts.messages,
        gated = counts.gated,
        thinned = counts.thinned,
        inferences = counts.inferences,
        decisions = counts.decisions,
        dropped = counts.dropped,
        errors = ?counts.errors,
        p50_ms = millis(counts.p50),
        p99_ms = millis(counts.p99),
        "counts"
    );
}

/// What became of the uncertain cases of a pipeline, where it escalates them.
pub(super) fn log_escalation(name: &Name, tally: Option<&Tally>) {
    let Some(status) = tally.map(Tally::status) else { return };
    let named = |all: &[(&'static str, u64)]| -> BTreeMap<_, _> {
        all.iter().copied().filter(|(_, count)| *count > 0).collect()
    };
    tracing::info!(
        pipeline = %name,
        escalated = status.escalated,
        outcomes = ?named(&status.fates),
        amendments = ?named(&status.verdicts),
        breaker = status.breaker.as_str(),
        "escalation counts"
    );
}
