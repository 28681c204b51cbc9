//! What survives a broken connection.

use std::collections::BTreeSet;
use std::time::Duration;

use eir::mqtt::{LinkState, QoS, Version};
use eir::task::Group;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::EVERY;
use crate::support::broker::{AnyBroker, Kind};
use crate::support::mqtt::{Client, SOON, config, publish};

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
        let mut again = Vec::new();
        for _ in 2..5 {
            let message = client.next().await;
            assert!(message.dup, "{kind:?} {version:?}");
            again.push(String::from_utf8_lossy(&message.payload).into_owned());
            message.ack.ack();
        }
        if kind == Kind::Embedded {
            // rmqtt 0.24 sends the latest first.
            again.reverse();
        }
        assert_eq!(again, ["2", "3", "4"], "{kind:?} {version:?}");
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
            // mosquitto 2.0.11 sends more; each acknowledgement frees two places too many.
            assert!(kind == Kind::Mosquitto || client.messages.len() <= 3, "{kind:?}");
            assert_eq!(client.next_text().await, number.to_string(), "{kind:?}");
        }
        assert_eq!(client.link.counters().overruns, 0);
        client.stop().await;
        publisher.stop().await;
    }
}

#[tokio::test]
async fn a_flood_that_nobody_settles_waits_in_the_socket_and_then_cycles_the_connection() {
    let broker = AnyBroker::start(Kind::Embedded);
    let mut config = config(&broker.url(), Version::V4);
    config.receive_maximum = 1;
    config.keep_alive = Duration::from_secs(1);
    let bound = config.in_flight_bound();
    let mut client = Client::up("slow", &config, &[("t", QoS::AtLeastOnce)]).await;
    let publisher = Client::up("publisher", &config, &[]).await;
    for number in 0..bound * 2 {
        publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
    }
    let mut state = client.link.state();
    let down = state.wait_for(|s| matches!(s, LinkState::Connecting { .. }));
    timeout(SOON, down).await.expect("in time").expect("a state");
    assert_eq!(client.link.counters().overruns, 1);
    assert!(client.messages.len() >= bound);
    let mut seen = BTreeSet::new();
    while seen.len() < bound * 2 {
        seen.insert(client.next_text().await);
    }
    client.stop().await;
    publisher.stop().await;
}

/// mosquitto 2.0.11 does not keep to the receive maximum once there is a backlog.
#[tokio::test]
async fn a_backlog_behind_a_slow_consumer_arrives_once_and_in_order() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let mut config = config(&broker.url(), version);
        config.receive_maximum = 1;
        let count = config.in_flight_bound() * 4;
        let client = Client::up("backlog", &config, &[("t", QoS::AtLeastOnce)]).await;
        client.stop().await;
        let publisher = Client::up("publisher", &config, &[]).await;
        for number in 0..count {
            publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        }
        // The answer to the subscription stands behind the backlog.
        let mut client = Client::start("backlog", &config);
        client.subscribe(&[("t", QoS::AtLeastOnce)]);
        for number in 0..count {
            assert_eq!(client.next_text().await, number.to_string(), "{kind:?} {version:?}");
        }
        assert_eq!(client.link.counters().received, count as u64, "{kind:?} {version:?}");
        assert_eq!(client.link.counters().overruns, 0);
        client.stop().await;
        publisher.stop().await;
    }
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

/// A wire between the link and the broker that is cut again and again.
async fn unreliable(broker: String, mut cut: mpsc::Receiver<()>, group: &mut Group) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    group.spawn("wire", async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let Ok(mut far) = TcpStream::connect(&broker).await else { continue };
            near.set_nodelay(true).expect("near");
            far.set_nodelay(true).expect("far");
            tokio::select! {
                _ended = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                cut = cut.recv() => if cut.is_none() { return },
            }
        }
    });
    format!("mqtt://{address}")
}

#[tokio::test]
async fn a_wire_that_is_cut_again_and_again_loses_nothing() {
    const COUNT: usize = 400;
    for (kind, version) in EVERY {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let broker = AnyBroker::start(kind);
            let (scissors, cut) = mpsc::channel(1);
            let url = broker.url().replace("mqtt://", "");
            let mut wire = Group::default();
            let shaky = config(&unreliable(url, cut, &mut wire).await, version);
            // Both ways through the same wire: what is published, and what is received.
            let mut client = Client::up("shaky", &shaky, &[("t", qos)]).await;
            let link = client.link.clone();
            let sending = async {
                for number in 0..COUNT {
                    let message = publish("t", &number.to_string(), qos);
                    while let Err(error) = link.publish(message.clone()).await {
                        assert!(!error.is_refused(), "{error}");
                        assert!(link.state().wait_for(LinkState::is_up).await.is_ok());
                    }
                }
            };
            let receiving = async {
                let mut seen = BTreeSet::new();
                let mut total = 0;
                while seen.len() < COUNT {
                    seen.insert(client.next_text().await);
                    total += 1;
                    if total % 50 == 0 {
                        scissors.try_send(()).ok();
                    }
                }
            };
            tokio::join!(sending, receiving);
            assert!(client.link.counters().reconnects >= 3, "{kind:?} {version:?}");
            client.stop().await;
        }
    }
}

/// A task that was gone counted as alive: nobody was left to say no.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_answers_without_a_broker_and_not_when_its_task_is_gone() {
    let client = Client::start("alone", &config("mqtt://127.0.0.1:1", Version::V5));
    let Client { link, group, .. } = client;
    assert_eq!(timeout(SOON, link.answers()).await, Ok(true));
    group.drain(Duration::from_secs(5)).await;
    assert_eq!(timeout(SOON, link.answers()).await, Ok(false));
}
