//! A client whose messages a test can wait for.

use std::sync::Arc;
use std::time::Duration;

use eir::mqtt::{ConnectionConfig, Link, LinkState, Message, Publish, QoS, TopicFilter, Version};
use eir::task::Group;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing that a test waits for takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A link and what arrives on it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) group: Group,
}

/// A connection without status messages that tries again at once.
pub(crate) fn config(url: &str, version: Version) -> ConnectionConfig {
    let mut config = ConnectionConfig::new(url);
    config.version = version;
    config.status = false;
    config.backoff.first = Duration::from_millis(10);
    config.backoff.max = Duration::from_millis(100);
    config
}

impl Client {
    /// Starts to connect as `eir-device-<name>`.
    pub(crate) fn start(name: &str, config: &ConnectionConfig) -> Self {
        let (sender, messages) = mpsc::channel(10_000);
        let handler = Arc::new(move |message| sender.try_send(message).expect("room"));
        let mut group = Group::default();
        let link = Link::start(name, "device", config, handler, &mut group).expect("a link");
        Self { link, messages, group }
    }

    /// Connected, with these subscriptions granted.
    pub(crate) async fn up(name: &str, config: &ConnectionConfig, filters: &[(&str, QoS)]) -> Self {
        let client = Self::start(name, config);
        client.subscribe(filters);
        client.wait(|state| state.is_up() && state.has_subscribed(filters.len())).await;
        client
    }

    pub(crate) fn subscribe(&self, filters: &[(&str, QoS)]) {
        let parsed = |(filter, qos): &(&str, QoS)| -> (TopicFilter, QoS) {
            (filter.parse().expect("a filter"), *qos)
        };
        self.link.set_subscriptions(filters.iter().map(parsed));
    }

    pub(crate) async fn wait(&self, wanted: impl Fn(&LinkState) -> bool) -> LinkState {
        let mut state = self.link.state();
        let found = timeout(SOON, state.wait_for(|state| wanted(state))).await;
        assert!(found.is_ok(), "waited too long in {:?}", self.link.state().borrow());
        found.expect("in time").expect("a state").clone()
    }

    /// The next message; whoever takes it must acknowledge it.
    pub(crate) async fn next(&mut self) -> Message {
        timeout(SOON, self.messages.recv()).await.expect("a message in time").expect("a message")
    }

    /// The payload of the next message, acknowledged.
    pub(crate) async fn next_text(&mut self) -> String {
        let message = self.next().await;
        message.ack.ack();
        String::from_utf8(message.payload.to_vec()).expect("text")
    }

    pub(crate) async fn publish(&self, topic: &str, payload: &str, qos: QoS) {
        let publish = publish(topic, payload, qos);
        self.link.publish(publish).await.expect("published");
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.group.drain(SOON).await, 0);
    }
}

pub(crate) fn publish(topic: &str, payload: &str, qos: QoS) -> Publish {
    Publish {
        topic: topic.to_owned(),
        payload: payload.as_bytes().to_vec(),
        qos,
        ..Publish::default()
    }
}
