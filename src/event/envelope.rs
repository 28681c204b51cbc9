//! A message as it came in, not yet looked into.

use std::sync::Arc;
use std::time::Instant;

use super::{Ack, Topic, TraceParent};

/// A message from outside: bytes, where they came from, and who waits for their acknowledgement.
#[derive(Debug)]
pub struct Envelope {
    /// Where it was published.
    pub topic: Topic,
    /// The bytes, shared between the pipelines that want them.
    pub payload: Arc<[u8]>,
    /// When it arrived, for latencies.
    pub received_at: Instant,
    /// The publisher's name for this message (MQTT 5 user property `id`), if it gave one.
    pub id: Option<Arc<str>>,
    /// MQTT 5 correlation data, handed on with the decision.
    pub correlation: Option<Arc<[u8]>>,
    /// W3C `traceparent` user property, handed on with the decision.
    pub traceparent: Option<TraceParent>,
    /// The broker says that it may have delivered this message before.
    pub redelivered: bool,
    /// To be settled when this message is consumed or dropped by policy.
    pub ack: Ack,
}

impl Envelope {
    /// The same message with nobody waiting for its acknowledgement, which is returned.
    #[must_use]
    pub fn detach(self) -> (Self, Ack) {
        let Self { topic, payload, received_at, id, correlation, traceparent, redelivered, ack } =
            self;
        let ack_of_nobody = Ack::none();
        let rest = Self {
            topic,
            payload,
            received_at,
            id,
            correlation,
            traceparent,
            redelivered,
            ack: ack_of_nobody,
        };
        (rest, ack)
    }

    /// What is left of it for what comes later: where it came from and what is handed on, without its bytes,
    /// and with nobody waiting.
    #[must_use]
    pub fn trace(&self) -> Self {
        // No share of the acknowledgement: one that is dropped unsettled makes the message come again.
        Self {
            topic: self.topic.clone(),
            payload: Arc::default(),
            received_at: self.received_at,
            id: self.id.clone(),
            correlation: self.correlation.clone(),
            traceparent: self.traceparent,
            redelivered: self.redelivered,
            ack: Ack::none(),
        }
    }

    /// The same message for one more pipeline.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            payload: Arc::clone(&self.payload),
            received_at: self.received_at,
            id: self.id.clone(),
            correlation: self.correlation.clone(),
            traceparent: self.traceparent,
            redelivered: self.redelivered,
            ack: self.ack.share(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A trace that held a share of the acknowledgement made every message come twice.
    #[test]
    fn a_trace_has_no_part_in_the_acknowledgement() {
        let settled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&settled);
        let ack = Ack::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let received_at = Instant::now();
        let envelope = Envelope {
            topic: Topic::new("a/b"),
            payload: (*b"bytes").into(),
            received_at,
            id: Some("7".into()),
            correlation: None,
            traceparent: None,
            redelivered: true,
            ack,
        };
        let trace = envelope.trace();
        assert!(trace.payload.is_empty() && trace.redelivered);
        assert_eq!((&trace.topic, trace.id.as_deref()), (&envelope.topic, Some("7")));
        drop(trace);
        envelope.ack.settle();
        assert_eq!(settled.load(Ordering::Relaxed), 1);
    }
}
