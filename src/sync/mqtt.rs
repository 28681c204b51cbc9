//! The uplink over MQTT: a broker takes the records, and whoever listens there has them.

use super::{Batch, Encoding, Uplink, Verdict};
use crate::event::Name;
use crate::mqtt::{Link, Publish, PublishError, QoS};

/// Publishes batches on a named connection, at `eir/<device>/records`, QoS 1. A batch is newline-delimited
/// JSON, not compressed, so that any client reads it; to MQTT 5 it is named by content type and the user
/// property `idempotency-key`.
#[derive(Debug)]
pub struct MqttUplink {
    link: Link,
    topic: String,
}

impl MqttUplink {
    /// An uplink of this device on the connection.
    pub fn new(link: Link, device: &Name) -> Self {
        Self { link, topic: format!("eir/{device}/records") }
    }
}

impl Uplink for MqttUplink {
    const ENCODING: Encoding = Encoding::Plain;

    async fn send(&self, batch: &Batch) -> (Verdict, usize) {
        let mut publish = Publish::new(&self.topic, batch.body().to_vec(), QoS::AtLeastOnce);
        publish.content_type = Some("application/x-ndjson".to_owned());
        publish.user_properties.push(("idempotency-key".to_owned(), batch.key().to_owned()));
        let verdict = match self.link.publish(publish).await {
            Ok(()) => Verdict::Delivered,
            // Also a packet that is larger than the broker takes: a smaller one may do.
            Err(PublishError::Refused(why)) => {
                Verdict::Rejected { why: format!("connection `{}`: {why}", self.link.name()) }
            }
            Err(error @ PublishError::Disconnected) => {
                Verdict::Offline { why: format!("connection `{}`: {error}", self.link.name()) }
            }
            Err(error @ PublishError::Timeout(_)) => Verdict::Wait {
                why: format!("connection `{}`: {error}", self.link.name()),
                after: None,
            },
        };
        (verdict, batch.body().len())
    }
}
