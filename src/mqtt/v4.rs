//! MQTT 3.1.1 packets through `rumqttc`'s codec.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::v4::{
    ConnAck as RawConnAck, Connect as RawConnect, ConnectReturnCode, LastWill, Login, Packet,
    PubAck, PubComp, PubRec, PubRel, Publish as RawPublish, SubAck, Subscribe, SubscribeFilter,
    SubscribeReasonCode, Unsubscribe,
};
use rumqttc::mqttbytes::{Error, QoS as RawQoS};

use super::QoS;
use super::wire::{
    ConnAck, Connect, Delivery, Incoming, Limits, Outgoing, Properties, Unread, WireError, words,
};

pub(super) fn read(bytes: &mut BytesMut, limit: usize) -> Result<Incoming, Unread> {
    match Packet::read(bytes, limit) {
        Ok(packet) => incoming(packet),
        Err(Error::InsufficientBytes(count)) => Err(Unread::Missing(count)),
        Err(error) => Err(Unread::Malformed(error.to_string())),
    }
}

pub(super) fn write(
    packet: &Outgoing<'_>,
    limit: usize,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    encode(&outgoing(packet), limit, out)
}

pub(super) fn connect(connect: &Connect, out: &mut BytesMut) -> Result<(), WireError> {
    let mut raw = RawConnect::new(&connect.client_id);
    raw.keep_alive = connect.keep_alive;
    raw.clean_session = connect.clean;
    raw.login = connect.login.as_ref().map(|(user, password)| Login::new(user, password));
    raw.last_will = connect
        .will
        .as_ref()
        .map(|(topic, payload)| LastWill::new(topic, *payload, RawQoS::AtLeastOnce, true));
    encode(&Packet::Connect(raw), usize::MAX, out)
}

fn encode(packet: &Packet, limit: usize, out: &mut BytesMut) -> Result<(), WireError> {
    packet.write(out, limit).map(|_| ()).map_err(|error| match error {
        Error::OutgoingPacketTooLarge { pkt_size: size, max: limit } => {
            WireError::TooLarge { size, limit }
        }
        other => WireError::Malformed(other.to_string()),
    })
}

fn outgoing(packet: &Outgoing<'_>) -> Packet {
    match packet {
        Outgoing::Publish { packet, dup, publish, payload } => {
            let qos = raw(publish.qos);
            let mut raw = RawPublish::from_bytes(&publish.topic, qos, Bytes::clone(payload));
            (raw.pkid, raw.dup, raw.retain) = (*packet, *dup, publish.retain);
            Packet::Publish(raw)
        }
        Outgoing::PubAck(packet) => Packet::PubAck(PubAck::new(*packet)),
        Outgoing::PubRec(packet) => Packet::PubRec(PubRec::new(*packet)),
        Outgoing::PubRel(packet) => Packet::PubRel(PubRel::new(*packet)),
        Outgoing::PubComp(packet) => Packet::PubComp(PubComp::new(*packet)),
        Outgoing::Subscribe { packet, filter, qos, .. } => Packet::Subscribe(Subscribe {
            pkid: *packet,
            filters: vec![SubscribeFilter::new(filter.as_str().to_owned(), raw(*qos))],
        }),
        Outgoing::Unsubscribe { packet, filter } => Packet::Unsubscribe(Unsubscribe {
            pkid: *packet,
            topics: vec![filter.as_str().to_owned()],
        }),
        Outgoing::Ping => Packet::PingReq,
        Outgoing::Disconnect => Packet::Disconnect,
    }
}

fn incoming(packet: Packet) -> Result<Incoming, Unread> {
    Ok(match packet {
        Packet::ConnAck(ack) => Incoming::ConnAck(conn_ack(&ack)),
        Packet::Publish(raw) => Incoming::Publish(Delivery {
            packet: raw.pkid,
            topic: raw.topic.into(),
            payload: raw.payload,
            qos: cooked(raw.qos),
            retain: raw.retain,
            dup: raw.dup,
            oversize: None,
            properties: Properties::default(),
        }),
        Packet::PubAck(ack) => Incoming::PubAck(ack.pkid, Ok(())),
        Packet::PubRec(ack) => Incoming::PubRec(ack.pkid, Ok(())),
        Packet::PubRel(ack) => Incoming::PubRel(ack.pkid),
        Packet::PubComp(ack) => Incoming::PubComp(ack.pkid),
        Packet::SubAck(ack) => sub_ack(&ack),
        Packet::UnsubAck(_) => Incoming::UnsubAck,
        Packet::PingResp => Incoming::PingResp,
        other => return Err(Unread::Malformed(format!("a {} packet", words(kind(&other))))),
    })
}

fn conn_ack(ack: &RawConnAck) -> ConnAck {
    ConnAck {
        session_present: ack.session_present,
        verdict: match ack.code {
            ConnectReturnCode::Success => Ok(()),
            code => Err(words(code)),
        },
        limits: Limits {
            in_flight: usize::from(u16::MAX),
            packet: usize::MAX,
            qos: QoS::ExactlyOnce,
            retain: true,
            subscription_ids: false,
            keep_alive: None,
        },
    }
}

fn sub_ack(ack: &SubAck) -> Incoming {
    let verdict = |code: &SubscribeReasonCode| match code {
        SubscribeReasonCode::Success(_) => Ok(()),
        SubscribeReasonCode::Failure => Err("refused without a reason".to_owned()),
    };
    Incoming::SubAck(ack.pkid, ack.return_codes.iter().map(verdict).collect())
}

const fn kind(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "Connect",
        Packet::Subscribe(_) => "Subscribe",
        Packet::Unsubscribe(_) => "Unsubscribe",
        Packet::Disconnect => "Disconnect",
        _ => "Ping",
    }
}

const fn raw(qos: QoS) -> RawQoS {
    match qos {
        QoS::AtMostOnce => RawQoS::AtMostOnce,
        QoS::AtLeastOnce => RawQoS::AtLeastOnce,
        QoS::ExactlyOnce => RawQoS::ExactlyOnce,
    }
}

const fn cooked(qos: RawQoS) -> QoS {
    match qos {
        RawQoS::AtMostOnce => QoS::AtMostOnce,
        RawQoS::AtLeastOnce => QoS::AtLeastOnce,
        RawQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}
