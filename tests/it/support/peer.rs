//! An MQTT client that is not ours: rumqttc with its own event loop.

use std::time::Duration;

use eir::task::Group;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc;

use super::within;

/// A client of a broker on this machine.
pub(crate) struct Peer {
    client: AsyncClient,
    received: mpsc::Receiver<(String, Vec<u8>)>,
    events: mpsc::Receiver<&'static str>,
    _group: Group,
}

impl Peer {
    /// Connects, and waits for the broker's word.
    pub(crate) async fn connect(id: &str, port: u16) -> Self {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_max_packet_size(Some(100 << 20)).set_keep_alive(Duration::from_secs(30));
        let (client, mut eventloop) = AsyncClient::new(options, 64);
        let (messages, received) = mpsc::channel(10_000);
        let (notes, events) = mpsc::channel(10_000);
        let mut group = Group::default();
        group.spawn("peer", async move {
            while let Ok(event) = eventloop.poll().await {
                let note = match event {
                    Event::Incoming(Packet::ConnAck(_)) => "connected",
                    Event::Incoming(Packet::SubAck(_)) => "subscribed",
                    Event::Incoming(Packet::PubAck(_)) => "published",
                    Event::Incoming(Packet::Publish(publish)) => {
                        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                        let _full = messages.try_send((topic, publish.payload.to_vec()));
                        continue;
                    }
                    _ => continue,
                };
                let _full = notes.try_send(note);
            }
        });
        let mut peer = Self { client, received, events, _group: group };
        peer.wait("connected").await;
        peer
    }

    /// Subscribes at QoS 1, and waits until it is granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.expect("subscribe");
        self.wait("subscribed").await;
    }

    /// Publishes at QoS 1, and waits for the PUBACK.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.expect("publish");
        self.wait("published").await;
    }

    /// The next message of any subscription.
    pub(crate) async fn next(&mut self) -> (String, Vec<u8>) {
        within("a message", self.received.recv()).await.expect("connection")
    }

    /// The next message as JSON.
    pub(crate) async fn next_json(&mut self) -> (String, serde_json::Value) {
        let (topic, payload) = self.next().await;
        (topic, serde_json::from_slice(&payload).expect("json"))
    }

    /// The next message as JSON, if one comes within that time.
    pub(crate) async fn next_json_within(
        &mut self,
        wait: Duration,
    ) -> Option<(String, serde_json::Value)> {
        tokio::time::timeout(wait, self.next_json()).await.ok()
    }

    /// What has arrived and was not read yet.
    pub(crate) fn pending(&mut self) -> usize {
        self.received.len()
    }

    async fn wait(&mut self, wanted: &str) {
        while within(wanted, self.events.recv()).await.expect("connection") != wanted {}
    }
}
