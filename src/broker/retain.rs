//! Retained messages in memory.

use std::time::Duration;

use async_trait::async_trait;
use rmqtt::Result;
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::types::{Retain, TopicFilter, TopicName};

/// Topics that can hold a retained message.
const MOST_RETAINED: isize = 10_000;

/// `rmqtt`'s own tree of messages, whose storage interface keeps nothing unless it is wrapped.
pub(super) struct Retained(DefaultRetainStorage);

impl Retained {
    pub(super) fn new() -> Self {
        Self(DefaultRetainStorage::new())
    }
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    async fn set(&self, topic: &TopicName, retain: Retain, expiry: Option<Duration>) -> Result<()> {
        let is_new = || async {
            // A topic has no wildcards: as a filter it matches itself alone.
            self.0.get_message(topic).await.is_ok_and(|found| found.is_empty())
        };
        if !retain.publish.payload.is_empty() && self.0.count().await >= MOST_RETAINED {
            self.0.remove_expired_messages().await;
            if self.0.count().await >= MOST_RETAINED && is_new().await {
                tracing::warn!(%topic, "broker: a message was not retained, too many are");
                return Ok(());
            }
        }
        // Zero is how the broker says that a message does not expire.
        self.0.set_with_timeout(topic, retain, expiry.filter(|expiry| !expiry.is_zero())).await
    }

    async fn get(&self, filter: &TopicFilter) -> Result<Vec<(TopicName, Retain)>> {
        self.0.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.0.count().await
    }

    async fn max(&self) -> isize {
        self.0.max().await
    }
}
