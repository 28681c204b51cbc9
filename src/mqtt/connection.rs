//! One connection: how it begins, what belongs to it, and what its packets become.

use std::convert::Infallible;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::Instant;

use crate::event::Topics;
use crate::net::TlsConfig;

use super::endpoint::Endpoint;
use super::packets::Packets;
use super::transport::{self, Stream};
use super::wire::{Codec, ConnAck, Connect, Delivery, Incoming, Limits};
use super::{AckHandle, Message};

/// One connection that the broker has accepted.
pub(super) struct Connection {
    pub(super) reader: ReadHalf<Box<dyn Stream>>,
    pub(super) writer: WriteHalf<Box<dyn Stream>>,
    pub(super) incoming: BytesMut,
    pub(super) packets: Packets,
    pub(super) outgoing: BytesMut,
    /// Something was written that was not flushed.
    pub(super) dirty: bool,
    pub(super) limits: Limits,
    pub(super) epoch: u64,
    pub(super) up_since: std::time::Instant,
    pub(super) keep_alive: Duration,
    pub(super) ping_at: Instant,
    /// By when the broker must have sent something, after a ping.
    pub(super) alive_by: Option<Instant>,
    /// Nothing is read, because the inbox is full; by when something of it must be settled.
    pub(super) settle_by: Option<Instant>,
}

impl Connection {
    pub(super) fn next_deadline(&self) -> Instant {
        [self.alive_by, self.settle_by].into_iter().flatten().fold(self.ping_at, Instant::min)
    }
}

/// Opens a stream and waits until the broker has accepted; also what it sent behind that.
pub(super) async fn handshake(
    endpoint: Endpoint,
    tls: TlsConfig,
    codec: Codec,
    connect: Connect,
) -> Result<(Box<dyn Stream>, ConnAck, BytesMut), String> {
    let failed = |error: &dyn std::error::Error| super::with_sources(error);
    let mut stream = transport::open(&endpoint, &tls).await?;
    let mut bytes = BytesMut::new();
    codec.connect(&connect, &mut bytes).map_err(|error| failed(&error))?;
    stream.write_all_buf(&mut bytes).await.map_err(|error| failed(&error))?;
    stream.flush().await.map_err(|error| failed(&error))?;
    loop {
        match codec.decode(&mut bytes).map_err(|error| failed(&error))? {
            None => {}
            Some(Incoming::ConnAck(ack)) => {
                return match ack.verdict {
                    Ok(()) => Ok((stream, ack, bytes)),
                    Err(reason) => Err(format!("the broker refused the connection: {reason}")),
                };
            }
            Some(_) => return Err("the broker did not answer the connection".to_owned()),
        }
        if stream.read_buf(&mut bytes).await.map_err(|error| failed(&error))? == 0 {
            return Err("the broker closed the connection without an answer".to_owned());
        }
    }
}

/// Writes everything. When it is cancelled, what was not written is still in `bytes`.
pub(super) async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    bytes: &mut BytesMut,
    dirty: &mut bool,
) -> std::io::Result<()> {
    *dirty = true;
    writer.write_all_buf(bytes).await?;
    writer.flush().await?;
    *dirty = false;
    Ok(())
}

pub(super) fn message(delivery: Delivery, ack: AckHandle, topics: &mut Topics<()>) -> Message {
    let Delivery { topic, payload, qos, retain, dup, oversize, properties, .. } = delivery;
    // Whoever read it has seen to that.
    let topic = str::from_utf8(&topic).unwrap_or_default();
    let (topic, ()) =
        topics.get(topic, |_| Ok::<_, Infallible>(())).unwrap_or_else(|none| match none {});
    let mut id = None;
    let mut traceparent = None;
    for (key, value) in properties.user {
        match key.as_str() {
            "id" if id.is_none() => id = Some(value),
            "traceparent" if traceparent.is_none() => traceparent = Some(value),
            _ => {}
        }
    }
    Message {
        topic,
        payload: payload.as_ref().into(),
        qos,
        retain,
        dup,
        oversize,
        id,
        correlation: properties.correlation.as_deref().map(Into::into),
        traceparent,
        subscriptions: properties.subscriptions,
        ack,
    }
}
