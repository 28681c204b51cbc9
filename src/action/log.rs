//! Decisions into eir's own log.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Actuator, Failure};
use crate::event::{Decision, TextTemplate};

/// `log = { level = "warn", message = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How loud.
    pub level: LogLevel,
    /// What to say; by default that the rule fired. Rule, stream and id are added as fields.
    pub message: Option<TextTemplate>,
}

/// How loud a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the usual levels")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// One line to write.
#[derive(Debug)]
pub(super) struct LogOrder {
    pub(super) level: LogLevel,
    pub(super) message: Option<String>,
    pub(super) decision: Arc<Decision>,
}

/// Writes to the log.
#[derive(Debug)]
pub(super) struct LogActuator;

impl Actuator for LogActuator {
    type Order = LogOrder;

    async fn carry_out(&self, order: &LogOrder) -> Result<(), Failure> {
        let decision = &*order.decision;
        let message = order.message.as_deref().unwrap_or("rule fired");
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    pipeline = %decision.pipeline,
                    rule = %decision.rule,
                    stream = %decision.stream,
                    id = %decision.id,
                    "{message}"
                )
            };
        }
        match order.level {
            LogLevel::Error => line!(error),
            LogLevel::Warn => line!(warn),
            LogLevel::Info => line!(info),
            LogLevel::Debug => line!(debug),
            LogLevel::Trace => line!(trace),
        }
        Ok(())
    }
}
