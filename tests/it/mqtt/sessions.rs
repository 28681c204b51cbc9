//! What survives a broken connection.

use std::time::Duration;

use eir::mqtt::{LinkState, QoS, Version};

use super::EVERY;
use crate::support::broker::{AnyBroker, Kind};
use crate::support::mqtt::{Client, config, publish};

#[tokio::test]
async fn acknowledgements_wait_for_what_came_before_and_the_rest_comes_again() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let wanted = [("t", QoS::AtLeastOnce)];
        let mut client = Client::up("keeper", &config, &wanted).await;
        let publisher = Client::up("publisher", &config, &[]).await;
        for number in 0..5 {
            publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        }
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(client.next().await);
        }
        // Out of order; 3 and 4 wait for 2, which nobody settles.
        for index in [4, 1, 3, 0] {
            held[index].ack.ack();
        }
        // The farewell carries the acknowledgements that may go.
        client.stop().await;
        drop(held);
        let mut client = Client::up("keeper", &config, &wanted).await;
        for number in 2..5 {
            let message = client.next().await;
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            assert_eq!(payload, number.to_string(), "{kind:?} {version:?}");
            assert!(message.dup, "{kind:?} {version:?}");
            message.ack.ack();
        }
        publisher.publish("t", "last", QoS::AtLeastOnce).await;
        assert_eq!(client.next_text().await, "last");
        client.stop().await;
        publisher.stop().await;
    }
}

#[tokio::test]
async fn the_receive_maximum_holds_the_broker_back() {
    for kind in [Kind::Mosquitto, Kind::Embedded] {
        let broker = AnyBroker::start(kind);
        let mut config = config(&broker.url(), Version::V5);
        config.receive_maximum = 3;
        let mut client = Client::up("narrow", &config, &[("t", QoS::AtLeastOnce)]).await;
        let publisher = Client::up("publisher", &config, &[]).await;
        for number in 0..20 {
            publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        }
        for number in 0..20 {
            assert!(client.messages.len() <= 3, "{kind:?}");
            assert_eq!(client.next_text().await, number.to_string(), "{kind:?}");
        }
        assert_eq!(client.link.counters().overruns, 0);
        client.stop().await;
        publisher.stop().await;
    }
}

#[tokio::test]
async fn too_many_unacknowledged_messages_cycle_the_connection_and_none_is_lost() {
    let broker = AnyBroker::start(Kind::Embedded);
    let mut config = config(&broker.url(), Version::V4);
    config.receive_maximum = 2;
    let mut client = Client::up("slow", &config, &[("t", QoS::AtLeastOnce)]).await;
    let publisher = Client::up("publisher", &config, &[]).await;
    for number in 0..30 {
        publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
    }
    let mut state = client.link.state();
    let down = state.wait_for(|s| matches!(s, LinkState::Connecting { .. }));
    tokio::time::timeout(Duration::from_secs(20), down).await.expect("in time").expect("a state");
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 30 {
        seen.insert(client.next_text().await);
    }
    assert!(client.link.counters().overruns >= 1);
    client.stop().await;
    publisher.stop().await;
}

#[tokio::test]
async fn a_message_that_is_dropped_unsettled_comes_again() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let mut client = Client::up("forgetful", &config, &[("t", QoS::ExactlyOnce)]).await;
        client.publish("t", "once", QoS::ExactlyOnce).await;
        let first = client.next().await;
        assert!(!first.dup);
        drop(first);
        let again = client.next().await;
        assert!(again.dup, "{kind:?} {version:?}");
        again.ack.ack();
        client.wait(LinkState::is_up).await;
        client.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back_empty_is_subscribed_to_again() {
    for (kind, version) in EVERY {
        let mut broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let mut client =
            Client::up("faithful", &config, &[("t/#", QoS::AtLeastOnce), ("u", QoS::AtMostOnce)])
                .await;
        client.publish("t/1", "before", QoS::AtLeastOnce).await;
        assert_eq!(client.next_text().await, "before");
        broker.kill();
        client.wait(|state| !state.is_up()).await;
        let error = client.link.publish(publish("t", "x", QoS::AtLeastOnce)).await;
        assert!(error.is_err_and(|error| !error.is_refused()), "{kind:?} {version:?}");
        broker.start_again();
        client.wait(|state| state.has_subscribed(2)).await;
        client.publish("t/2", "after", QoS::AtLeastOnce).await;
        assert_eq!(client.next_text().await, "after", "{kind:?} {version:?}");
        assert!(client.link.counters().reconnects >= 1);
        client.stop().await;
    }
}

#[tokio::test]
async fn the_status_is_retained_and_the_last_will_is_spoken() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let plain = config(&broker.url(), version);
        let mut with_status = plain.clone();
        with_status.status = true;
        let topic = "eir/device/status";
        let device = Client::up("device", &with_status, &[]).await;
        let mut watcher = Client::up("watcher", &plain, &[(topic, QoS::AtLeastOnce)]).await;
        assert_eq!(watcher.next_text().await, "online", "{kind:?} {version:?}");
        // Aborted: the broker has to find out by itself.
        drop(device);
        assert_eq!(watcher.next_text().await, "offline", "{kind:?} {version:?}");
        let device = Client::up("device", &with_status, &[]).await;
        assert_eq!(watcher.next_text().await, "online");
        device.stop().await;
        assert_eq!(watcher.next_text().await, "offline");
        let mut late = Client::up("late", &plain, &[(topic, QoS::AtLeastOnce)]).await;
        let message = late.next().await;
        assert!(message.retain && *message.payload == *b"offline", "{kind:?} {version:?}");
        message.ack.ack();
        late.stop().await;
        watcher.stop().await;
    }
}
