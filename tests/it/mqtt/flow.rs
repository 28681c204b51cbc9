//! Messages that go through.

use std::sync::Arc;

use eir::broker::{Broker, BrokerConfig};
use eir::event::Envelope;
use eir::ingest::{Route, Router};
use eir::mqtt::{Link, QoS, Version};
use eir::task::{Group, Queue, WhenFull};
use tokio::time::timeout;

use super::EVERY;
use crate::support::broker::{AnyBroker, Kind};
use crate::support::mosquitto::Mosquitto;
use crate::support::mqtt::{Client, SOON, config, publish};

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[tokio::test]
async fn messages_arrive_at_every_quality_of_service() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let wanted = [("plant/+/vibration", QoS::ExactlyOnce)];
        let mut subscriber = Client::up("subscriber", &config, &wanted).await;
        let publisher = Client::up("publisher", &config, &[]).await;
        for qos in ALL_QOS {
            for number in 0..50 {
                publisher.publish("plant/7/vibration", &number.to_string(), qos).await;
            }
            for number in 0..50 {
                let message = subscriber.next().await;
                let payload = number.to_string();
                assert_eq!(*message.payload, *payload.as_bytes(), "{kind:?} {version:?} {qos:?}");
                assert_eq!((message.qos, message.dup, message.retain), (qos, false, false));
                message.ack.ack();
            }
        }
        assert_eq!(subscriber.link.counters().received, 150);
        assert_eq!(publisher.link.counters().published, 150);
        subscriber.stop().await;
        publisher.stop().await;
    }
}

#[tokio::test]
async fn what_a_publisher_says_about_a_message_comes_along() {
    for kind in [Kind::Mosquitto, Kind::Embedded] {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), Version::V5);
        let mut client = Client::up("both", &config, &[("a/#", QoS::AtLeastOnce)]).await;
        let mut sent = publish("a/b", "x", QoS::AtLeastOnce);
        sent.content_type = Some("application/json".to_owned());
        sent.correlation = Some(b"abc".as_slice().into());
        sent.user_properties = vec![
            ("id".to_owned(), "m-1".to_owned()),
            (
                "traceparent".to_owned(),
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            ),
        ];
        client.link.publish(sent.clone()).await.expect("published");
        let message = client.next().await;
        assert_eq!(message.id.as_deref(), Some("m-1"), "{kind:?}");
        assert_eq!(message.correlation, sent.correlation);
        assert_eq!(message.traceparent.as_deref(), Some(sent.user_properties[1].1.as_str()));
        message.ack.ack();
        client.stop().await;
    }
}

#[tokio::test]
async fn five_mebibytes_go_through_and_nine_are_refused_without_losing_the_connection() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let mut client = Client::up("large", &config, &[("t", QoS::AtLeastOnce)]).await;
        let large = publish("t", &"x".repeat(9 << 20), QoS::AtLeastOnce);
        let error = client.link.publish(large).await.expect_err("too large");
        assert!(error.is_refused(), "{error}");
        client.publish("t", &"x".repeat(5 << 20), QoS::AtLeastOnce).await;
        let message = client.next().await;
        assert_eq!(message.payload.len(), 5 << 20);
        message.ack.ack();
        assert_eq!(client.link.counters().reconnects, 0);
        client.stop().await;
    }
}

#[tokio::test]
async fn a_packet_over_the_brokers_own_maximum_is_refused() {
    let mosquitto = Mosquitto::with("allow_anonymous true\nmax_packet_size 2000\n");
    let config = config(&format!("mqtt://127.0.0.1:{}", mosquitto.port()), Version::V5);
    let client = Client::up("large", &config, &[]).await;
    let error = client
        .link
        .publish(publish("t", &"x".repeat(3000), QoS::AtLeastOnce))
        .await
        .expect_err("too large");
    assert!(error.is_refused() && error.to_string().contains("2000"), "{error}");
    client.publish("t", "small", QoS::AtLeastOnce).await;
    assert_eq!(client.link.counters().reconnects, 0);
    client.stop().await;
}

#[tokio::test]
async fn a_shared_subscription_spreads_messages_over_its_group() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let shared = [("$share/group/t/#", QoS::AtLeastOnce)];
        let mut first = Client::up("first", &config, &shared).await;
        let mut second = Client::up("second", &config, &shared).await;
        let publisher = Client::up("publisher", &config, &[]).await;
        let mut counts = (0, 0);
        for number in 0..40 {
            publisher.publish("t/x", &number.to_string(), QoS::AtLeastOnce).await;
        }
        for _ in 0..40 {
            tokio::select! {
                _text = first.next_text() => counts.0 += 1,
                _text = second.next_text() => counts.1 += 1,
            }
        }
        assert!(counts.0 > 5 && counts.1 > 5, "{kind:?} {version:?}: {counts:?}");
        for client in [first, second, publisher] {
            client.stop().await;
        }
    }
}

#[tokio::test]
async fn subscriptions_change_while_the_link_is_up() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let mut client = Client::up("changing", &config, &[("a", QoS::AtLeastOnce)]).await;
        client.subscribe(&[("b", QoS::AtLeastOnce), ("c", QoS::AtLeastOnce)]);
        client.wait(|state| state.has_subscribed(2)).await;
        for topic in ["a", "b", "c"] {
            client.publish(topic, topic, QoS::AtLeastOnce).await;
        }
        assert_eq!(client.next_text().await, "b");
        assert_eq!(client.next_text().await, "c");
        client.stop().await;
    }
}

/// Two pipelines whose filters overlap: brokers may deliver once for each subscription.
#[tokio::test]
async fn overlapping_filters_give_each_pipeline_a_message_once() {
    for kind in [Kind::Mosquitto, Kind::Embedded] {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), Version::V5);
        let route = |filter: &str| Route {
            filter: filter.parse().expect("a filter"),
            queue: Arc::new(Queue::<Envelope>::new(64, WhenFull::Hold)),
            parked: None,
            counters: Arc::default(),
        };
        let routes = [route("plant/+/x"), route("plant/#"), route("$share/g/plant/1/x")];
        let router = Router::new();
        router.set(routes.to_vec());
        let mut group = Group::default();
        let link = Link::start("overlap", "device", &config, router.handler(), &mut group)
            .expect("a link");
        link.set_subscriptions(routes.iter().map(|r| (r.filter.clone(), QoS::AtLeastOnce)));
        let mut state = link.state();
        timeout(SOON, state.wait_for(|s| s.has_subscribed(3))).await.expect("in time").expect("up");
        for _ in 0..10 {
            link.publish(publish("plant/1/x", "1", QoS::AtLeastOnce)).await.expect("published");
        }
        // The last message, on the one route that is alone with it, tells that the others are there.
        link.publish(publish("plant/end", "1", QoS::AtLeastOnce)).await.expect("published");
        let queues: Vec<_> = routes.iter().map(|r| Arc::clone(&r.queue)).collect();
        let counts = tokio::task::spawn_blocking(move || {
            let mut seen = vec![0; queues.len()];
            let mut batch = Vec::new();
            while seen[1] < 11 {
                assert!(queues[1].pop_into(&mut batch, 64));
                seen[1] += batch.len();
                batch.drain(..).for_each(|envelope: Envelope| envelope.ack.settle());
            }
            (seen[1], queues[0].len(), queues[2].len())
        });
        let counts = timeout(SOON, counts).await.expect("in time").expect("counted");
        assert_eq!(counts, (11, 10, 10), "{kind:?}");
        assert_eq!(router.counters().unmatched, 0);
        assert_eq!(group.drain(SOON).await, 0);
    }
}

#[tokio::test]
async fn the_embedded_broker_keeps_to_its_number_of_clients() {
    let config_of_broker = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        max_connections: 2,
        ..BrokerConfig::default()
    };
    let broker = Broker::start(&config_of_broker).expect("broker");
    for version in [Version::V5, Version::V4] {
        let config = config(&format!("mqtt://{}", broker.local_addr()), version);
        let first = Client::up("first", &config, &[]).await;
        let second = Client::up("second", &config, &[]).await;
        let third = Client::start("third", &config);
        let refused = |state: &eir::mqtt::LinkState| {
            matches!(state, eir::mqtt::LinkState::Connecting { last_error: Some(e), .. }
                if e.contains("not authorized"))
        };
        third.wait(refused).await;
        first.stop().await;
        third.wait(eir::mqtt::LinkState::is_up).await;
        second.stop().await;
        third.stop().await;
    }
}
