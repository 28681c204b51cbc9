//! Messages that are larger than we take.

use eir::mqtt::{Message, QoS, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::EVERY;
use super::faults::{accept, accept_v5, listen, packet};
use crate::support::broker::AnyBroker;
use crate::support::mqtt::{Client, SOON, config};

const LARGE: usize = 50 << 20;

fn is_oversize(message: &Message) -> bool {
    let oversize = message.oversize.is_some_and(|bytes| bytes >= LARGE);
    assert_eq!(oversize, message.payload.is_empty());
    oversize
}

/// It had ended the connection, and the broker delivered it again, for ever.
#[tokio::test]
async fn fifty_megabytes_are_skipped_and_the_next_message_arrives() {
    for (kind, version) in EVERY {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let broker = AnyBroker::start(kind);
            let ours = config(&broker.url(), version);
            let mut theirs = ours.clone();
            theirs.max_packet = LARGE + 1000;
            let mut client = Client::up("small", &ours, &[("t/#", qos)]).await;
            let publisher = Client::up("large", &theirs, &[]).await;
            publisher.publish("t/large", &"x".repeat(LARGE), qos).await;
            publisher.publish("t/small", "good", qos).await;
            let mut message = client.next().await;
            // With MQTT 5 the broker knows what is too large, and drops it itself.
            assert_eq!(is_oversize(&message), version == Version::V4, "{kind:?} {version:?}");
            if is_oversize(&message) {
                assert_eq!((message.topic.as_str(), message.qos), ("t/large", qos));
                message.ack.ack();
                message = client.next().await;
            }
            assert_eq!(&*message.payload, b"good", "{kind:?} {version:?}");
            message.ack.ack();
            let counters = client.link.counters();
            assert_eq!(counters.reconnects, 0, "{kind:?} {version:?}");
            assert_eq!(counters.oversize, u64::from(version == Version::V4));
            client.stop().await;
            // Acknowledged, it does not come again.
            let mut client = Client::up("small", &ours, &[("t/#", qos)]).await;
            publisher.publish("t/last", "last", qos).await;
            assert_eq!(client.next_text().await, "last", "{kind:?} {version:?}");
            client.stop().await;
            publisher.stop().await;
        }
    }
}

/// A broker of MQTT 5 may take no notice of the maximum packet size.
#[tokio::test]
async fn fifty_megabytes_against_our_word_are_skipped_and_acknowledged_in_order() {
    for version in [Version::V4, Version::V5] {
        let (listener, mut config) = listen().await;
        config.version = version;
        let mut client = Client::start("small", &config);
        let mut stream = match version {
            Version::V4 => accept(&listener, false).await,
            Version::V5 => accept_v5(&listener).await,
        };
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let deliver = |first: u8, packet: u8, size: usize| {
            let mut length = 5 + properties.len() + size;
            let mut bytes = vec![first];
            while length > 0x7f {
                bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
                length >>= 7;
            }
            bytes.push(u8::try_from(length).expect("seven bits"));
            bytes.extend([0, 1, b't', 0, packet]);
            bytes.extend(properties);
            bytes.resize(bytes.len() + size, b'x');
            bytes
        };
        for bytes in [deliver(0x32, 1, 1), deliver(0x32, 2, LARGE), deliver(0x32, 3, 1)] {
            timeout(SOON, stream.write_all(&bytes)).await.expect("in time").expect("write");
        }
        let first = client.next().await;
        let large = client.next().await;
        let last = client.next().await;
        assert!(is_oversize(&large) && !is_oversize(&first) && !is_oversize(&last));
        large.ack.ack();
        last.ack.ack();
        first.ack.ack();
        for number in 1..=3 {
            let (kind, body) = timeout(SOON, packet(&mut stream)).await.expect("in time");
            assert_eq!((kind, body.get(..2)), (0x40, Some(&[0, number][..])));
        }
        assert_eq!(client.link.counters().reconnects, 0);
        client.stop().await;
    }
}
