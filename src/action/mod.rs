//! Carrying decisions out: publish, call a webhook, write to the log. And having them looked at again by a remote
//! model ([`escalate`]).
//!
//! A pipeline's thread renders what is to be done and puts it into a bounded queue ([`Actions`]); a
//! task per broker link or webhook takes it out, tries again within a bound, and counts what became
//! of it ([`Couriers`]). So an action that fails stalls nobody: the oldest in its own queue is dropped.

mod actions;
pub mod escalate;
mod line;
mod log;
mod payload;
mod publish;
mod webhook;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::actions::{ActionError, Actions, DEFAULT_QUEUE};
pub use self::line::{ActionCounts, Couriers, Running};
pub use self::log::{LogConfig, LogLevel};
pub use self::publish::{PublishConfig, Publisher};
pub use self::webhook::{WebhookConfig, WebhookMethod};
use crate::event::{Device, Topic, TraceParent};
use crate::net::with_sources;

/// One entry of a rule's `do`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ActionConfig {
    /// Publish over MQTT.
    Publish(PublishConfig),
    /// Call an HTTP endpoint.
    Webhook(WebhookConfig),
    /// Write to eir's log.
    Log(LogConfig),
}

impl ActionConfig {
    /// A label of the device that one of its templates asks for and the device does not have.
    pub fn missing_label(&self, device: &Device) -> Option<&str> {
        let (topic, text) = match self {
            Self::Publish(publish) => (Some(&publish.topic), publish.payload.as_ref()),
            Self::Webhook(webhook) => (None, webhook.payload.as_ref()),
            Self::Log(log) => (None, log.message.as_ref()),
        };
        let missing = topic.and_then(|topic| topic.missing_label(device));
        missing.or_else(|| text.and_then(|text| text.missing_label(device)))
    }
}

/// The message that led to a decision: what an action needs of it.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// Its topic.
    pub topic: &'a Topic,
    /// MQTT 5 correlation data, handed on.
    pub correlation: Option<&'a Arc<[u8]>>,
    /// W3C trace context, handed on.
    pub traceparent: Option<TraceParent>,
}

/// What carries orders out: a broker link, a webhook, the log.
pub trait Actuator: Send + Sync + 'static {
    /// What is to be done, complete in itself.
    type Order: Send + Sync + 'static;

    /// Orders that are carried out at the same time, begun in the order in which they came.
    const TOGETHER: usize = 1;

    /// Does it once. Called again with the same order after [`Failure::Later`].
    fn carry_out(&self, order: &Self::Order) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// Trying again would not help.
    #[error("refused: {0}")]
    Refused(String),
    /// Another try may work.
    #[error("{why}")]
    Later {
        /// What is wrong at the moment.
        why: String,
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
    },
}

/// Tells whom it asks in which trace that happens.
fn hand_on(trace: Option<TraceParent>, headers: &mut HeaderMap) {
    let value = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok());
    headers.extend(value.map(|value| (HeaderName::from_static(TraceParent::NAME), value)));
}

impl Failure {
    /// An error and its causes in one line.
    fn later(error: &dyn std::error::Error) -> Self {
        Self::Later { why: with_sources(error), after: None }
    }
}
