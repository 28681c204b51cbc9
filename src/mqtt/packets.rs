//! The packets of one connection. Of a message over the limit nothing but its head is read.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Version;
use super::wire::{Codec, Delivery, Incoming, WireError};

/// Where a message over the limit has more bytes of properties than this, they are skipped too.
const MOST_PROPERTIES: usize = 16 << 10;

/// At most this much is read ahead of a message that is skipped.
const LARGEST_RESERVE: usize = 64 << 10;

/// Takes packets out of the bytes that have arrived.
///
/// MQTT 3.1.1 cannot tell a broker what is too large, and not every broker of MQTT 5 listens. To refuse
/// such a message by closing the connection would have it delivered again, for ever. So it is skipped
/// as it streams in, never held, and handed on without its payload: whoever it is for can settle it.
#[derive(Debug)]
pub(super) struct Packets {
    codec: Codec,
    skipping: Option<Skipping>,
}

/// A message over the limit and how many of its bytes are still to come.
#[derive(Debug)]
struct Skipping {
    delivery: Delivery,
    missing: usize,
}

impl Packets {
    pub(super) const fn new(codec: Codec) -> Self {
        Self { codec, skipping: None }
    }

    /// The next whole packet, taken out of `bytes`, which are those behind the ones of the last call.
    /// None: more must arrive first.
    pub(super) fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        if self.skipping.is_none() {
            let Some(header) = Header::read(bytes).filter(|h| h.is_oversize(self.codec)) else {
                return self.codec.decode(bytes);
            };
            self.skipping = header.begin(self.codec.version(), bytes)?;
        }
        let Some(Skipping { missing, .. }) = &mut self.skipping else {
            bytes.reserve(LARGEST_RESERVE);
            return Ok(None);
        };
        let here = bytes.len().min(*missing);
        *missing -= here;
        if *missing > 0 {
            bytes.clear();
            bytes.reserve(LARGEST_RESERVE.min(*missing));
            return Ok(None);
        }
        bytes.advance(here);
        Ok(self.skipping.take().map(|skipped| Incoming::Publish(skipped.delivery)))
    }
}

/// The fixed header of a packet (MQTT 5.0 §2.1.1).
#[derive(Debug, Clone, Copy)]
struct Header {
    first: u8,
    /// Its own length.
    width: usize,
    /// Of what follows it.
    length: usize,
}

impl Header {
    /// None where it is not here yet, or is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let (length, width) = variable_integer(rest)?;
        Some(Self { first: *first, width: 1 + width, length })
    }

    fn is_oversize(&self, codec: Codec) -> bool {
        self.first >> 4 == 3 && self.length > codec.max_incoming()
    }

    /// Reads the head of a message, as the packet that it would be without a payload; takes nothing out
    /// of `bytes`. None: it is not all here yet.
    fn begin(self, version: Version, bytes: &[u8]) -> Result<Option<Skipping>, WireError> {
        let body = bytes.get(self.width..).unwrap_or_default();
        let Some(head) = self.head(version, &body[..body.len().min(self.length)])? else {
            return Ok(None);
        };
        let mut packet = BytesMut::with_capacity(head.len() + 5);
        packet.put_u8(self.first);
        put_variable_integer(head.len(), &mut packet);
        packet.extend_from_slice(&head);
        match Codec::new(version, usize::MAX).decode(&mut packet)? {
            Some(Incoming::Publish(delivery)) => {
                let delivery =
                    Delivery { payload: Bytes::new(), oversize: Some(self.length), ..delivery };
                Ok(Some(Skipping { delivery, missing: self.width + self.length }))
            }
            _ => Err(malformed()),
        }
    }

    /// Topic, packet identifier and properties: all that stands before the payload.
    fn head(self, version: Version, body: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
        let whole = body.len() == self.length;
        // What is missing now is missing for ever when the packet is all here or not long enough.
        let wait =
            |end: usize| if whole || end > self.length { Err(malformed()) } else { Ok(None) };
        let Some([high, low]) = body.first_chunk::<2>() else { return wait(2) };
        let identifier = if self.first & 0b110 == 0 { 0 } else { 2 };
        let end = 2 + usize::from(u16::from_be_bytes([*high, *low])) + identifier;
        let Some((fixed, rest)) = body.split_at_checked(end) else { return wait(end) };
        if version == Version::V4 {
            return Ok(Some(fixed.to_vec()));
        }
        let Some((length, width)) = variable_integer(rest) else {
            return if rest.len() < 4 { wait(end + rest.len() + 1) } else { Err(malformed()) };
        };
        let end = end + width + length;
        if end > self.length {
            return Err(malformed());
        }
        if length > MOST_PROPERTIES {
            return Ok(Some([fixed, &[0]].concat()));
        }
        match body.get(..end) {
            Some(head) => Ok(Some(head.to_vec())),
            None => Ok(None),
        }
    }
}

fn malformed() -> WireError {
    WireError::Malformed("a message whose head is longer than itself".to_owned())
}

/// A number and how many bytes it takes, one to four (MQTT 5.0 §1.5.5). None: more must come, or it is
/// longer.
fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, index + 1));
        }
    }
    None
}

fn put_variable_integer(mut number: usize, out: &mut BytesMut) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        out.put_u8(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::wire::Outgoing;
    use crate::mqtt::{Publish, QoS};
    use proptest::prelude::*;

    const BOTH: [Version; 2] = [Version::V4, Version::V5];
    const LIMIT: usize = 1000;

    #[derive(Debug, Clone)]
    struct Sent {
        topic: String,
        qos: u8,
        size: usize,
        /// Bytes of one user property.
        property: usize,
    }

    /// Packet identifier, topic, bytes of payload, user properties, whether it was over the limit.
    type Seen = (u16, String, usize, usize, bool);

    fn encoded(version: Version, all: &[Sent]) -> BytesMut {
        let mut bytes = BytesMut::new();
        for (packet, sent) in (1..).zip(all) {
            let publish = Publish {
                topic: sent.topic.clone(),
                qos: QoS::try_from(sent.qos).expect("0, 1 or 2"),
                user_properties: vec![("k".to_owned(), "v".repeat(sent.property))],
                ..Publish::default()
            };
            let payload = Bytes::from(vec![b'x'; sent.size]);
            let packet =
                Outgoing::Publish { packet, dup: false, publish: &publish, payload: &payload };
            Codec::new(version, LIMIT).encode(&packet, usize::MAX, &mut bytes).expect("encode");
        }
        bytes
    }

    fn expected(version: Version, all: &[Sent]) -> Vec<Seen> {
        let mut seen = Vec::new();
        for (packet, sent) in (1..).zip(all) {
            let one = encoded(version, std::slice::from_ref(sent));
            let header = Header::read(&one).expect("a header");
            let oversize = header.length > LIMIT;
            let keeps = version == Version::V5 && !(oversize && sent.property > MOST_PROPERTIES);
            seen.push((
                if sent.qos == 0 { 0 } else { packet },
                sent.topic.clone(),
                if oversize { 0 } else { sent.size },
                usize::from(keeps),
                oversize,
            ));
        }
        seen
    }

    /// Reads what arrives in pieces that end at `cuts`; also the most that was ever held.
    fn read(
        version: Version,
        bytes: &[u8],
        cuts: &[usize],
    ) -> Result<(Vec<Seen>, usize), WireError> {
        let mut packets = Packets::new(Codec::new(version, LIMIT));
        let (mut buffer, mut seen, mut most) = (BytesMut::new(), Vec::new(), 0);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.push(bytes.len());
        cuts.sort_unstable();
        let mut from = 0;
        for to in cuts {
            buffer.extend_from_slice(&bytes[from..to]);
            from = to;
            while let Some(packet) = packets.next(&mut buffer)? {
                let Incoming::Publish(p) = packet else { continue };
                let user = p.properties.user.len();
                let topic = String::from_utf8(p.topic.into()).expect("UTF-8");
                seen.push((p.packet, topic, p.payload.len(), user, p.oversize.is_some()));
            }
            most = most.max(buffer.len());
        }
        Ok((seen, most))
    }

    #[test]
    fn fifty_megabytes_are_never_held() {
        for version in BOTH {
            for property in [5, MOST_PROPERTIES * 2] {
                let large = Sent { topic: "a/b".to_owned(), qos: 1, size: 50 << 20, property };
                let small = Sent { topic: "c".to_owned(), qos: 1, size: 3, property: 5 };
                let all = [large, small];
                let bytes = encoded(version, &all);
                let cuts: Vec<_> = (0..bytes.len()).step_by(4096).collect();
                let (seen, most) = read(version, &bytes, &cuts).expect("valid");
                assert_eq!(seen, expected(version, &all));
                assert!(most <= MOST_PROPERTIES + 4096, "{most} bytes were held");
            }
        }
    }

    #[test]
    fn a_large_packet_that_is_no_message_is_refused() {
        for version in BOTH {
            let header = [0x90, 0xff, 0xff, 0x7f];
            assert!(read(version, &header, &[]).is_err());
            // A head that is longer than its packet; quality of service 3; a length of five bytes.
            let mut lying = vec![0x30, 0xe9, 0x07, 0xff, 0xff];
            lying.extend(vec![b'x'; 1001]);
            assert!(read(version, &lying, &[]).is_err());
            let mut third = vec![0x36, 0xe9, 0x07, 0, 1];
            third.extend(vec![b'x'; 1001]);
            assert!(read(version, &third, &[]).is_err());
            assert!(read(version, &[0x30, 0xff, 0xff, 0xff, 0xff, 1], &[]).is_err());
        }
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let size = prop_oneof![0_usize..50, 900_usize..1100, 5_000_usize..60_000];
        let property = prop_oneof![0_usize..20, 900_usize..1100, 16_300_usize..16_500];
        ("[a-z/é]{1,9}", 0_u8..3, size, property).prop_map(|(topic, qos, size, property)| Sent {
            topic,
            qos,
            size,
            property,
        })
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_split_the_same_messages_come_out(
            all in prop::collection::vec(sent(), 1..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            near in prop::collection::vec(0_usize..40, 0..10),
        ) {
            for version in BOTH {
                let bytes = encoded(version, &all);
                let mut cuts: Vec<_> = cuts.iter().map(|i| i.index(bytes.len())).collect();
                // Cuts inside of the first head, where they matter most.
                cuts.extend(&near);
                let (seen, _) = read(version, &bytes, &cuts).expect("valid");
                // User properties of just about the limit may be kept or not.
                let plain = |all: Vec<Seen>| -> Vec<_> {
                    all.into_iter().map(|(id, topic, size, _, over)| (id, topic, size, over)).collect()
                };
                prop_assert_eq!(plain(seen.clone()), plain(expected(version, &all)));
                prop_assert_eq!(seen, read(version, &bytes, &[]).expect("valid").0);
            }
        }

        #[test]
        fn bytes_that_are_no_message_end_the_same_way_however_they_are_split(
            first in 0x30_u8..0x40,
            body in prop::collection::vec(any::<u8>(), 0..64),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            for version in BOTH {
                let mut bytes = vec![first, 0xe9, 0x07];
                bytes.extend(&body);
                bytes.resize(3 + LIMIT + 1, 0);
                let cuts: Vec<_> = cuts.iter().map(|i| i.index(bytes.len())).collect();
                let whole = read(version, &bytes, &[]).map(|(seen, _)| seen).ok();
                prop_assert_eq!(read(version, &bytes, &cuts).map(|(seen, _)| seen).ok(), whole);
            }
        }
    }
}
