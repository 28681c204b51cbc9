//! What is published and what arrives.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::inbox::Inbox;
use crate::event::Topic;

/// Quality of service, written 0, 1 or 2.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub enum QoS {
    /// Sent once and forgotten.
    AtMostOnce,
    /// Sent until acknowledged.
    #[default]
    AtLeastOnce,
    /// Sent until acknowledged, and recognised when it comes again.
    ExactlyOnce,
}

impl TryFrom<u8> for QoS {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            other => Err(format!("{other} is no quality of service; use 0, 1 or 2")),
        }
    }
}

impl From<QoS> for u8 {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        }
    }
}

impl JsonSchema for QoS {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "QoS".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "enum": [0, 1, 2] })
    }
}

/// A message to publish. What MQTT 3.1.1 has no place for is left out there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publish {
    /// No wildcards, not empty.
    pub topic: String,
    /// The bytes.
    pub payload: Vec<u8>,
    /// 1 if not said otherwise.
    pub qos: QoS,
    /// The broker keeps it for those who subscribe later.
    pub retain: bool,
    /// MIME type of the payload (MQTT 5).
    pub content_type: Option<String>,
    /// Correlation data (MQTT 5).
    pub correlation: Option<Arc<[u8]>>,
    /// User properties, in order (MQTT 5).
    pub user_properties: Vec<(String, String)>,
}

impl Publish {
    /// A message with nothing beside its payload.
    pub fn new(topic: &str, payload: Vec<u8>, qos: QoS) -> Self {
        Self { topic: topic.to_owned(), payload, qos, ..Self::default() }
    }
}

/// A message that has arrived.
#[derive(Debug)]
pub struct Message {
    /// Where it was published.
    pub topic: Topic,
    /// The bytes; none if the message is `oversize`.
    pub payload: Arc<[u8]>,
    /// The lower of what the publisher and the subscription asked for.
    pub qos: QoS,
    /// It was kept by the broker from before the subscription.
    pub retain: bool,
    /// The broker may have delivered it before.
    pub dup: bool,
    /// The packet was larger than `max_packet`: so many bytes behind its fixed header. Its payload was
    /// skipped; only its acknowledgement is left to do, as the broker would deliver it again for ever.
    pub oversize: Option<usize>,
    /// The publisher's name for it: user property `id` (MQTT 5).
    pub id: Option<String>,
    /// Correlation data (MQTT 5).
    pub correlation: Option<Arc<[u8]>>,
    /// W3C trace context: user property `traceparent` (MQTT 5).
    pub traceparent: Option<String>,
    /// Which subscriptions it was delivered for ([`TopicFilter::subscription_id`]); empty when the
    /// broker does not tell (MQTT 3.1.1). A broker may deliver one message once for each
    /// subscription that matches.
    ///
    /// [`TopicFilter::subscription_id`]: super::TopicFilter::subscription_id
    pub subscriptions: Vec<u32>,
    /// To be told when the message is settled.
    pub ack: AckHandle,
}

/// Acknowledges one message, from any thread, without ever blocking. Dropped unused, it has the
/// message delivered again: as acknowledgements go out in order, every later one would wait for it.
pub struct AckHandle(Option<Slot>);

struct Slot {
    inbox: Arc<Inbox>,
    /// Which connection delivered it.
    epoch: u64,
    /// Its place among that connection's messages.
    sequence: u64,
}

impl AckHandle {
    /// For a message that wants no acknowledgement.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn new(inbox: Arc<Inbox>, epoch: u64, sequence: u64) -> Self {
        Self(Some(Slot { inbox, epoch, sequence }))
    }

    /// The message is settled. The broker is told as soon as everything that arrived before it is
    /// settled too; after a reconnect it is not told, and delivers the message again.
    pub fn ack(&self) {
        if let Some(slot) = &self.0 {
            slot.inbox.settle(slot.epoch, slot.sequence);
        }
    }

    /// There is no room for the message: nothing more is read, and when what came before it is
    /// acknowledged the connection is closed and, after a wait, opened again; the broker then delivers
    /// once more what is not acknowledged. Does nothing for QoS 0.
    pub fn redeliver(&self) {
        if let Some(slot) = &self.0 {
            slot.inbox.refuse(slot.epoch, slot.sequence);
        }
    }
}

impl AckHandle {
    /// The message stays unacknowledged, and with it all that come after it, until the connection
    /// ends. For a link that is about to stop.
    pub fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        if let Some(slot) = &self.0 {
            slot.inbox.refuse(slot.epoch, slot.sequence);
        }
    }
}

impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.as_ref().map(|slot| (slot.epoch, slot.sequence));
        f.debug_tuple("AckHandle").field(&place).finish()
    }
}
