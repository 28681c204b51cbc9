//! The packets that a client sends and receives, the same for both protocol versions.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use super::{Publish, QoS, TopicFilter, Version, v4, v5};

/// What the broker sends.
#[derive(Debug)]
pub(super) enum Incoming {
    ConnAck(ConnAck),
    Publish(Delivery),
    PubAck(u16, Verdict),
    PubRec(u16, Verdict),
    PubRel(u16),
    PubComp(u16),
    SubAck(u16, Vec<Verdict>),
    UnsubAck,
    PingResp,
    /// MQTT 5: the broker ends the connection and says why.
    Disconnect(String),
    /// MQTT 5: the broker ends the connection because another client has the same identifier.
    TakenOver,
}

/// Accepted, or refused for a reason in words.
pub(super) type Verdict = Result<(), String>;

/// The broker's answer to a connection.
#[derive(Debug)]
pub(super) struct ConnAck {
    pub(super) session_present: bool,
    pub(super) verdict: Verdict,
    pub(super) limits: Limits,
}

/// What the broker can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// QoS 1 and 2 publishes on their way at one time.
    pub(super) in_flight: usize,
    /// Bytes of one packet.
    pub(super) packet: usize,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) subscription_ids: bool,
    /// Seconds between pings, if the broker wants another number.
    pub(super) keep_alive: Option<u16>,
}

/// A message from the broker.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) packet: u16,
    /// UTF-8.
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    /// The packet was over the limit and so many bytes long; the payload was skipped.
    pub(super) oversize: Option<usize>,
    pub(super) properties: Properties,
}

/// What MQTT 5 adds to a message.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) correlation: Option<Bytes>,
    pub(super) user: Vec<(String, String)>,
    pub(super) subscriptions: Vec<u32>,
}

/// What a client says first.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) login: Option<(String, String)>,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) session_expiry: u32,
    pub(super) receive_maximum: u16,
    pub(super) max_packet: usize,
    /// Topic and payload, retained, at QoS 1.
    pub(super) will: Option<(String, &'static [u8])>,
}

/// What a client says later.
#[derive(Debug)]
pub(super) enum Outgoing<'a> {
    Publish { packet: u16, dup: bool, publish: &'a Publish, payload: &'a Bytes },
    PubAck(u16),
    PubRec(u16),
    PubRel(u16),
    PubComp(u16),
    Subscribe { packet: u16, filter: &'a TopicFilter, qos: QoS, identify: bool },
    Unsubscribe { packet: u16, filter: &'a TopicFilter },
    Ping,
    Disconnect,
}

/// Why bytes are no packet, or a packet cannot be bytes.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// The packet is over the other side's limit.
    #[error("the packet is {size} bytes long, over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// A text or correlation data is longer than a packet can say.
    #[error("{0} is longer than 65535 bytes")]
    FieldTooLong(&'static str),
    /// The broker sent something that is no packet, or not for clients.
    #[error("the broker sent no valid packet: {0}")]
    Malformed(String),
}

/// Reads and writes packets of one protocol version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codec {
    version: Version,
    /// The largest packet that is read.
    max_incoming: usize,
}

/// At most this much is set aside for a packet before its bytes arrive.
const LARGEST_RESERVE: usize = 64 << 10;

impl Codec {
    pub(super) const fn new(version: Version, max_incoming: usize) -> Self {
        Self { version, max_incoming }
    }

    pub(super) const fn version(self) -> Version {
        self.version
    }

    pub(super) const fn max_incoming(self) -> usize {
        self.max_incoming
    }

    /// The next whole packet, taken out of `bytes`.
    pub(super) fn decode(&self, bytes: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        let Some(first) = bytes.chunk().first() else { return Ok(None) };
        if !is_for_clients(self.version, first >> 4) {
            return Err(WireError::Malformed(format!("a packet of type {}", first >> 4)));
        }
        let read = match self.version {
            Version::V4 => v4::read(bytes, self.max_incoming),
            Version::V5 => v5::read(bytes, self.max_incoming),
        };
        match read {
            Ok(packet) => Ok(Some(packet)),
            Err(Unread::Missing(count)) => {
                bytes.reserve(count.min(LARGEST_RESERVE));
                Ok(None)
            }
            Err(Unread::Malformed(reason)) => Err(WireError::Malformed(reason)),
        }
    }

    /// Appends a packet; nothing is appended when it fails.
    pub(super) fn encode(
        &self,
        packet: &Outgoing<'_>,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        if let Outgoing::Publish { publish, .. } = packet {
            check_fields(publish)?;
        }
        let before = out.len();
        let written = match self.version {
            Version::V4 => v4::write(packet, limit, out),
            Version::V5 => v5::write(packet, limit, out),
        };
        if written.is_err() {
            out.truncate(before);
        }
        written
    }

    pub(super) fn connect(&self, connect: &Connect, out: &mut BytesMut) -> Result<(), WireError> {
        match self.version {
            Version::V4 => v4::connect(connect, out),
            Version::V5 => v5::connect(connect, out),
        }
    }
}

/// Why a packet was not read.
pub(super) enum Unread {
    /// At least so many bytes have not arrived yet.
    Missing(usize),
    Malformed(String),
}

/// Whether a broker may send packets of this type (MQTT 5.0 §2.1.2). The others are not even parsed.
fn is_for_clients(version: Version, kind: u8) -> bool {
    matches!(kind, 2..=7 | 9 | 11 | 13) || (kind == 14 && version == Version::V5)
}

/// Lengths are sixteen bits on the wire.
fn check_fields(publish: &Publish) -> Result<(), WireError> {
    let long = |length: usize| length > usize::from(u16::MAX);
    if long(publish.topic.len()) {
        return Err(WireError::FieldTooLong("the topic"));
    }
    if publish.content_type.as_ref().is_some_and(|t| long(t.len())) {
        return Err(WireError::FieldTooLong("the content type"));
    }
    if publish.correlation.as_ref().is_some_and(|c| long(c.len())) {
        return Err(WireError::FieldTooLong("the correlation data"));
    }
    if publish.user_properties.iter().any(|(key, value)| long(key.len()) || long(value.len())) {
        return Err(WireError::FieldTooLong("a user property"));
    }
    Ok(())
}

/// `NotAuthorized` → `not authorized`: the codecs' reasons as words.
pub(super) fn words(reason: impl std::fmt::Debug) -> String {
    let mut text = String::new();
    for c in format!("{reason:?}").chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Version; 2] = [Version::V4, Version::V5];

    fn publish(topic: &str) -> Publish {
        Publish {
            topic: topic.to_owned(),
            qos: QoS::AtLeastOnce,
            retain: true,
            content_type: Some("application/json".to_owned()),
            correlation: Some([1_u8, 2].as_slice().into()),
            user_properties: vec![("id".to_owned(), "7".to_owned())],
            ..Publish::default()
        }
    }

    #[test]
    fn a_publish_survives_the_wire() {
        for version in BOTH {
            let codec = Codec::new(version, 1 << 20);
            let (publish, payload) = (publish("a/b"), Bytes::from_static(b"payload"));
            let mut bytes = BytesMut::new();
            let packet =
                Outgoing::Publish { packet: 9, dup: true, publish: &publish, payload: &payload };
            codec.encode(&packet, 1 << 20, &mut bytes).expect("encode");
            let Some(Incoming::Publish(read)) = codec.decode(&mut bytes).expect("decode") else {
                panic!("no publish");
            };
            assert_eq!((read.packet, &*read.topic, &read.payload), (9, &b"a/b"[..], &payload));
            assert_eq!((read.qos, read.retain, read.dup), (QoS::AtLeastOnce, true, true));
            let expected = if version == Version::V5 { publish.user_properties.len() } else { 0 };
            assert_eq!(read.properties.user.len(), expected);
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        for version in BOTH {
            let codec = Codec::new(version, 1 << 20);
            let payload = Bytes::from(vec![0; 2000]);
            let mut bytes = BytesMut::from(&b"before"[..]);
            let mut long = publish("a");
            let packet =
                Outgoing::Publish { packet: 1, dup: false, publish: &long, payload: &payload };
            let result = codec.encode(&packet, 1000, &mut bytes);
            assert!(matches!(result, Err(WireError::TooLarge { limit: 1000, .. })), "{result:?}");
            long.user_properties = vec![("k".to_owned(), "v".repeat(70_000))];
            let packet =
                Outgoing::Publish { packet: 1, dup: false, publish: &long, payload: &payload };
            let result = codec.encode(&packet, 1 << 20, &mut bytes);
            assert!(matches!(result, Err(WireError::FieldTooLong(_))), "{result:?}");
            assert_eq!(bytes, &b"before"[..]);
        }
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_by_its_header() {
        for version in BOTH {
            let mut bytes = BytesMut::from(&[0x30, 0xff, 0xff, 0x7f][..]);
            assert!(Codec::new(version, 1000).decode(&mut bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), kind in 0_u8..16) {
            for version in BOTH {
                let codec = Codec::new(version, 1000);
                let mut plain = BytesMut::from(&bytes[..]);
                while let Ok(Some(_)) = codec.decode(&mut plain) {}
                // The same with a header that fits, so that the bodies are reached.
                let mut framed = BytesMut::from(&[kind << 4 | 2, u8::try_from(bytes.len()).expect("short")][..]);
                framed.extend_from_slice(&bytes);
                while let Ok(Some(_)) = codec.decode(&mut framed) {}
            }
        }
    }
}
