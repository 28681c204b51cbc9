//! Decisions over MQTT.

use std::future::Future;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::payload::Payload;
use super::{Actuator, Failure};
use crate::event::{HumanDuration, Name, TextTemplate, TopicTemplate};
use crate::mqtt::{Link, Publish, QoS};
use crate::net::with_sources;

/// `publish = { broker = "local", topic = "plant/{key}/alarm", retain = true }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// The name of a broker connection: `[mqtt.NAME]`.
    pub broker: Name,
    /// Where to publish.
    pub topic: TopicTemplate,
    /// What to publish; by default the decision as JSON.
    #[serde(default)]
    pub payload: Option<TextTemplate>,
    /// MQTT 5 content type; by default `application/json` without a `payload`, otherwise none.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Quality of service.
    #[serde(default)]
    pub qos: QoS,
    /// The broker keeps it for those who subscribe later.
    #[serde(default)]
    pub retain: bool,
    /// Given up when it could not be published for so long.
    #[serde(default = "five_minutes")]
    pub max_age: HumanDuration,
}

const fn five_minutes() -> HumanDuration {
    HumanDuration::from_secs(300)
}

/// Who publishes: a broker link, or what stands in for one in a test.
pub trait Publisher: Send + Sync + 'static {
    /// Publishes and waits for the broker's word (QoS 1 and 2).
    fn publish(&self, message: Publish) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl Publisher for Link {
    async fn publish(&self, message: Publish) -> Result<(), Failure> {
        Self::publish(self, message).await.map_err(|error| {
            if error.is_refused() {
                Failure::Refused(with_sources(&error))
            } else {
                Failure::later(&error)
            }
        })
    }
}

/// One message to publish; the payload is made when it is sent.
#[derive(Debug)]
pub(super) struct PublishOrder {
    /// All but the payload.
    pub(super) message: Publish,
    pub(super) payload: Payload,
}

/// Publishes over one link.
#[derive(Debug)]
pub(super) struct PublishActuator<P>(pub(super) P);

impl<P: Publisher> Actuator for PublishActuator<P> {
    type Order = PublishOrder;

    /// The link sends them in this order.
    const TOGETHER: usize = 32;

    async fn carry_out(&self, order: &PublishOrder) -> Result<(), Failure> {
        let payload = order.payload.bytes()?;
        self.0.publish(Publish { payload, ..order.message.clone() }).await
    }
}
