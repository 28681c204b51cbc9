//! Brokers that misbehave, played by the tests.

use std::net::SocketAddr;
use std::time::Duration;

use eir::mqtt::{ConnectionConfig, LinkState, PublishError, QoS, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::mqtt::{Client, SOON, config, publish};

/// MQTT 3.1.1: accepted, with the session or without.
const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
const PUBLISH_QOS1: u8 = 0x32;
const PUBLISH_AGAIN: u8 = 0x3a;

pub(super) async fn listen() -> (TcpListener, ConnectionConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address: SocketAddr = listener.local_addr().expect("address");
    (listener, config(&format!("mqtt://{address}"), Version::V4))
}

/// A client's next packet: its first byte and what follows the length.
pub(super) async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let first = stream.read_u8().await.expect("a packet");
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.expect("a length");
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    (first, body)
}

pub(super) async fn accept(listener: &TcpListener, session_present: bool) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("accept");
    assert_eq!(packet(&mut stream).await.0, 0x10, "CONNECT comes first");
    let mut answer = ACCEPTED;
    answer[2] = u8::from(session_present);
    stream.write_all(&answer).await.expect("write");
    stream
}

/// Accepts in MQTT 5, without a word about limits.
pub(super) async fn accept_v5(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("accept");
    assert_eq!(packet(&mut stream).await.0, 0x10, "CONNECT comes first");
    stream.write_all(&[0x20, 3, 0, 0, 0]).await.expect("write");
    stream
}

#[tokio::test]
async fn a_broker_that_accepts_and_says_nothing_is_given_up() {
    let (listener, mut config) = listen().await;
    config.connect_timeout = Duration::from_millis(50);
    let client = Client::start("patient", &config);
    let (_first, _) = timeout(SOON, listener.accept()).await.expect("in time").expect("accept");
    let (_second, _) = timeout(SOON, listener.accept()).await.expect("again").expect("accept");
    client
        .wait(|state| {
            matches!(state, LinkState::Connecting { last_error: Some(e), .. }
                if e.contains("no answer"))
        })
        .await;
    assert_eq!(
        client.link.publish(publish("t", "x", QoS::AtMostOnce)).await,
        Err(PublishError::Disconnected)
    );
    client.stop().await;
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_given_up() {
    let (listener, mut config) = listen().await;
    config.keep_alive = Duration::from_secs(1);
    config.connect_timeout = Duration::from_millis(50);
    let client = Client::start("patient", &config);
    let mut stream = accept(&listener, false).await;
    assert_eq!(timeout(SOON, packet(&mut stream)).await.expect("a ping").0, 0xc0);
    client
        .wait(|state| {
            matches!(state, LinkState::Connecting { last_error: Some(e), .. }
                if e.contains("unanswered"))
        })
        .await;
    client.stop().await;
}

#[tokio::test]
async fn a_publish_waits_for_its_acknowledgement_across_reconnects() {
    for session_present in [true, false] {
        let (listener, config) = listen().await;
        let client = Client::start("stubborn", &config);
        let mut stream = accept(&listener, false).await;
        client.wait(LinkState::is_up).await;
        let script = async {
            let (first, body) = packet(&mut stream).await;
            assert_eq!(first, PUBLISH_QOS1);
            drop(stream);
            let mut stream = accept(&listener, session_present).await;
            let (again, same) = packet(&mut stream).await;
            assert_eq!(again, if session_present { PUBLISH_AGAIN } else { PUBLISH_QOS1 });
            assert_eq!(same, body);
            stream.write_all(&[0x40, 2, body[3], body[4]]).await.expect("write");
            stream
        };
        let answer = client.link.publish(publish("t", "x", QoS::AtLeastOnce));
        let (answer, _stream) =
            timeout(SOON, async { tokio::join!(answer, script) }).await.expect("in time");
        assert_eq!(answer, Ok(()));
        client.stop().await;
    }
}

#[tokio::test]
async fn a_publish_that_nobody_acknowledges_times_out() {
    let (listener, mut config) = listen().await;
    config.publish_timeout = Duration::from_millis(50);
    let client = Client::start("waiting", &config);
    let _stream = accept(&listener, false).await;
    client.wait(LinkState::is_up).await;
    let answer = client.link.publish(publish("t", "x", QoS::AtLeastOnce)).await;
    assert_eq!(answer, Err(PublishError::Timeout(config.publish_timeout)));
    client.stop().await;
}

#[tokio::test]
async fn rubbish_from_a_broker_ends_the_connection_and_nothing_else() {
    for rubbish in
        [&[0xf0, 0][..], &[0x82, 1, 0], &[0x90, 0xff, 0xff, 0xff, 0x7f], &[0x20, 2, 0, 0]]
    {
        let (listener, config) = listen().await;
        let client = Client::start("robust", &config);
        let mut stream = accept(&listener, false).await;
        client.wait(LinkState::is_up).await;
        stream.write_all(rubbish).await.expect("write");
        let _again = accept(&listener, false).await;
        client.wait(|_| client.link.counters().reconnects == 1).await;
        client.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_comes_twice_on_one_connection_is_handed_on_once() {
    let (listener, config) = listen().await;
    let mut client = Client::start("once", &config);
    let mut stream = accept(&listener, false).await;
    let deliver = |first: u8, packet: u8, payload: u8| [first, 6, 0, 1, b't', 0, packet, payload];
    for bytes in [deliver(0x32, 1, b'a'), deliver(0x3a, 1, b'a'), deliver(0x32, 2, b'b')] {
        stream.write_all(&bytes).await.expect("write");
    }
    assert_eq!(client.next_text().await, "a");
    assert_eq!(client.next_text().await, "b");
    assert_eq!(packet(&mut stream).await, (0x40, vec![0, 1]));
    assert_eq!(packet(&mut stream).await, (0x40, vec![0, 2]));
    // QoS 2: again after PUBREC and before PUBREL, as a broker does that missed the PUBREC.
    for bytes in [deliver(0x34, 3, b'c'), deliver(0x34, 4, b'd')] {
        stream.write_all(&bytes).await.expect("write");
    }
    assert_eq!(client.next_text().await, "c");
    assert_eq!(packet(&mut stream).await, (0x50, vec![0, 3]));
    stream.write_all(&deliver(0x3c, 3, b'c')).await.expect("write");
    assert_eq!(client.next_text().await, "d");
    assert_eq!(packet(&mut stream).await, (0x50, vec![0, 4]));
    assert_eq!(packet(&mut stream).await, (0x50, vec![0, 3]));
    stream.write_all(&[0x62, 2, 0, 3]).await.expect("write");
    assert_eq!(packet(&mut stream).await, (0x70, vec![0, 3]));
    assert_eq!(client.link.counters().received, 4);
    client.stop().await;
}
