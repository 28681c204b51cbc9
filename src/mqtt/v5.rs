//! MQTT 5.0 packets through `rumqttc`'s codec.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck as RawConnAck, Connect as RawConnect, ConnectProperties, ConnectReturnCode, Disconnect,
    DisconnectReasonCode, Filter, LastWill, Login, Packet, PingReq, PubAck, PubAckReason, PubComp,
    PubRec, PubRecReason, PubRel, Publish as RawPublish, PublishProperties, RetainForwardRule,
    SubAck, Subscribe, SubscribeProperties, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS as RawQoS};

use super::wire::{
    ConnAck, Connect, Delivery, Incoming, Limits, Outgoing, Properties, Unread, Verdict, WireError,
    words,
};
use super::{Publish, QoS};

pub(super) fn read(bytes: &mut BytesMut, limit: usize) -> Result<Incoming, Unread> {
    match Packet::read(bytes, Some(u32::try_from(limit).unwrap_or(u32::MAX))) {
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
    let properties = ConnectProperties {
        session_expiry_interval: Some(connect.session_expiry),
        receive_maximum: Some(connect.receive_maximum),
        max_packet_size: u32::try_from(connect.max_packet).ok(),
        ..ConnectProperties::new()
    };
    let raw = RawConnect {
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.clone(),
        clean_start: connect.clean,
        properties: Some(properties),
    };
    let will = connect
        .will
        .as_ref()
        .map(|(topic, payload)| LastWill::new(topic, *payload, RawQoS::AtLeastOnce, true, None));
    let login = connect.login.as_ref().map(|(user, password)| Login::new(user, password));
    encode(&Packet::Connect(raw, will, login), usize::MAX, out)
}

fn encode(packet: &Packet, limit: usize, out: &mut BytesMut) -> Result<(), WireError> {
    packet.write(out, u32::try_from(limit).ok()).map(|_| ()).map_err(|error| match error {
        Error::OutgoingPacketTooLarge { pkt_size, max } => WireError::TooLarge {
            size: usize::try_from(pkt_size).unwrap_or(usize::MAX),
            limit: usize::try_from(max).unwrap_or(usize::MAX),
        },
        other => WireError::Malformed(other.to_string()),
    })
}

fn outgoing(packet: &Outgoing<'_>) -> Packet {
    match packet {
        Outgoing::Publish { packet, dup, publish, payload } => {
            let properties = publish_properties(publish);
            let qos = raw(publish.qos);
            let mut raw =
                RawPublish::new(&publish.topic, qos, Bytes::clone(payload), Some(properties));
            (raw.pkid, raw.dup, raw.retain) = (*packet, *dup, publish.retain);
            Packet::Publish(raw)
        }
        Outgoing::PubAck(packet) => Packet::PubAck(PubAck::new(*packet, None)),
        Outgoing::PubRec(packet) => Packet::PubRec(PubRec::new(*packet, None)),
        Outgoing::PubRel(packet) => Packet::PubRel(PubRel::new(*packet, None)),
        Outgoing::PubComp(packet) => Packet::PubComp(PubComp::new(*packet, None)),
        Outgoing::Subscribe { packet, filter, qos, identify } => {
            // A shared subscription has no retained messages; asking for a rule is an error there.
            let rule = if filter.group().is_some() {
                RetainForwardRule::OnEverySubscribe
            } else {
                // After a reconnect that found the session, retained messages are not news.
                RetainForwardRule::OnNewSubscribe
            };
            let wanted =
                Filter { retain_forward_rule: rule, ..Filter::new(filter.as_str(), raw(*qos)) };
            let id = usize::try_from(filter.subscription_id()).ok().filter(|_| *identify);
            let properties =
                id.map(|id| SubscribeProperties { id: Some(id), user_properties: Vec::new() });
            let mut subscribe = Subscribe::new(wanted, properties);
            subscribe.pkid = *packet;
            Packet::Subscribe(subscribe)
        }
        Outgoing::Unsubscribe { packet, filter } => {
            let mut unsubscribe = Unsubscribe::new(filter.as_str(), None);
            unsubscribe.pkid = *packet;
            Packet::Unsubscribe(unsubscribe)
        }
        Outgoing::Ping => Packet::PingReq(PingReq),
        Outgoing::Disconnect => {
            Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
        }
    }
}

fn publish_properties(publish: &Publish) -> PublishProperties {
    PublishProperties {
        content_type: publish.content_type.clone(),
        correlation_data: publish.correlation.as_deref().map(Bytes::copy_from_slice),
        user_properties: publish.user_properties.clone(),
        ..PublishProperties::default()
    }
}

fn incoming(packet: Packet) -> Result<Incoming, Unread> {
    Ok(match packet {
        Packet::ConnAck(ack) => Incoming::ConnAck(conn_ack(&ack)),
        Packet::Publish(raw) => Incoming::Publish(delivery(raw)?),
        Packet::PubAck(ack) => Incoming::PubAck(
            ack.pkid,
            match ack.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                reason => Err(words(reason)),
            },
        ),
        Packet::PubRec(ack) => Incoming::PubRec(
            ack.pkid,
            match ack.reason {
                PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Ok(()),
                reason => Err(words(reason)),
            },
        ),
        Packet::PubRel(ack) => Incoming::PubRel(ack.pkid),
        Packet::PubComp(ack) => Incoming::PubComp(ack.pkid),
        Packet::SubAck(ack) => sub_ack(&ack),
        Packet::UnsubAck(_) => Incoming::UnsubAck,
        Packet::PingResp(_) => Incoming::PingResp,
        Packet::Disconnect(end) => match end.reason_code {
            DisconnectReasonCode::SessionTakenOver => Incoming::TakenOver,
            reason => Incoming::Disconnect(words(reason)),
        },
        _ => return Err(Unread::Malformed("a packet that is for brokers".to_owned())),
    })
}

fn conn_ack(ack: &RawConnAck) -> ConnAck {
    let properties = ack.properties.as_ref();
    let told = |wanted: Option<u8>| wanted != Some(0);
    ConnAck {
        session_present: ack.session_present,
        verdict: match ack.code {
            ConnectReturnCode::Success => Ok(()),
            code => Err(words(code)),
        },
        limits: Limits {
            in_flight: properties.and_then(|p| p.receive_max).unwrap_or(u16::MAX).max(1).into(),
            packet: properties
                .and_then(|p| p.max_packet_size)
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(usize::MAX),
            qos: properties
                .and_then(|p| p.max_qos)
                .and_then(|qos| QoS::try_from(qos).ok())
                .unwrap_or(QoS::ExactlyOnce),
            retain: told(properties.and_then(|p| p.retain_available)),
            subscription_ids: told(properties.and_then(|p| p.subscription_identifiers_available)),
            keep_alive: properties.and_then(|p| p.server_keep_alive),
        },
    }
}

fn delivery(raw: RawPublish) -> Result<Delivery, Unread> {
    str::from_utf8(&raw.topic)
        .map_err(|_| Unread::Malformed("the topic is not UTF-8".to_owned()))?;
    let properties = raw.properties.map(|p| Properties {
        correlation: p.correlation_data,
        user: p.user_properties,
        subscriptions: p
            .subscription_identifiers
            .into_iter()
            .filter_map(|id| u32::try_from(id).ok())
            .collect(),
    });
    Ok(Delivery {
        packet: raw.pkid,
        topic: raw.topic,
        payload: raw.payload,
        qos: cooked(raw.qos),
        retain: raw.retain,
        dup: raw.dup,
        oversize: None,
        properties: properties.unwrap_or_default(),
    })
}

fn sub_ack(ack: &SubAck) -> Incoming {
    let verdict = |code: &SubscribeReasonCode| -> Verdict {
        match code {
            SubscribeReasonCode::Success(_) => Ok(()),
            code => Err(words(code)),
        }
    };
    Incoming::SubAck(ack.pkid, ack.return_codes.iter().map(verdict).collect())
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
