//! The task behind a link: connects, serves the connection, connects again.

mod ended;
mod greeting;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::event::Topics;
use crate::task::{Backoff, Clock, Stop, SystemClock};

use super::connection::{Connection, handshake, message, write};
use super::endpoint::Endpoint;
use super::inbox::Inbox;
use super::link::{Command, Handler, Question};
use super::packets::Packets;
use super::session::Session;
use super::state::Tally;
use super::subscriptions::Subscriptions;
use super::transport::Stream;
use super::wire::{Codec, ConnAck, Delivery, Incoming, Outgoing};
use super::{AckHandle, ConnectionConfig, LinkState, QoS, TopicFilter};
use ended::{EarlyEnds, Ended, taken_over};
use waiting::answer;

/// A connection that held for this long was a good one: the next wait is a short one again.
const STABLE: Duration = Duration::from_secs(10);

/// While so many bytes wait to be written, no publish is taken and nothing read.
const HIGH_WATER: usize = 256 << 10;

pub(super) struct Driver {
    name: String,
    client_id: String,
    status_topic: Option<String>,
    config: ConnectionConfig,
    endpoint: Endpoint,
    codec: Codec,
    handler: Handler,
    commands: mpsc::Receiver<Command>,
    questions: mpsc::Receiver<Question>,
    wanted: watch::Receiver<BTreeMap<TopicFilter, QoS>>,
    report: watch::Sender<LinkState>,
    tally: Arc<Tally>,
    inbox: Arc<Inbox>,
    session: Session,
    subscriptions: Subscriptions,
    early_ends: EarlyEnds,
    topics: Topics<()>,
}

impl Driver {
    pub(super) fn new(
        (name, device): (&str, &str),
        (config, endpoint): (ConnectionConfig, Endpoint),
        handler: Handler,
        (commands, questions, wanted): (
            mpsc::Receiver<Command>,
            mpsc::Receiver<Question>,
            watch::Receiver<BTreeMap<TopicFilter, QoS>>,
        ),
        (report, tally): (watch::Sender<LinkState>, Arc<Tally>),
    ) -> Self {
        let client_id = config.client_id.clone().unwrap_or_else(|| format!("eir-{device}-{name}"));
        Self {
            name: name.to_owned(),
            client_id,
            status_topic: config.status.then(|| format!("eir/{device}/status")),
            codec: Codec::new(config.version, config.max_packet),
            endpoint,
            handler,
            commands,
            questions,
            wanted,
            report,
            inbox: Arc::default(),
            session: Session::new(Arc::clone(&tally)),
            tally,
            subscriptions: Subscriptions::default(),
            early_ends: EarlyEnds::default(),
            topics: Topics::default(),
            config,
        }
    }

    /// Connects and serves until `stop`.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut backoff = Backoff::new(self.config.backoff.first, self.config.backoff.max);
        loop {
            match self.once(&mut stop, &mut backoff).await {
                Ended::Stopped => break,
                Ended::Overrun => {
                    Tally::add(&self.tally.overruns);
                    self.down("too many messages wait for their acknowledgement");
                }
                Ended::TakenOver => self.down(&taken_over(&self.client_id)),
                Ended::Closed(error) => {
                    self.down(&self.early_ends.explain(error, &self.client_id));
                }
                Ended::Failed(error) => self.down(&error),
            }
            let wait = backoff.next_wait();
            if self.meanwhile(&mut stop, sleep(wait)).await.is_none() {
                break;
            }
        }
        self.session.give_up();
        self.report.send_replace(LinkState::Stopped);
    }

    /// One attempt and, if it succeeds, one connection.
    async fn once(&mut self, stop: &mut Stop, backoff: &mut Backoff) -> Ended {
        let connect = match self.connect_packet() {
            Ok(connect) => connect,
            Err(error) => return Ended::Failed(error),
        };
        let (endpoint, tls) = (self.endpoint.clone(), self.config.tls());
        let (codec, patience) = (self.codec, self.config.connect_timeout);
        let attempt = timeout(patience, handshake(endpoint, tls, codec, connect));
        let (stream, ack, rest) = match self.meanwhile(stop, attempt).await {
            None => return Ended::Stopped,
            Some(Err(_)) => return Ended::Failed(format!("no answer within {patience:?}")),
            Some(Ok(Err(error))) => return Ended::Failed(error),
            Some(Ok(Ok(accepted))) => accepted,
        };
        let mut connection = self.accept(stream, ack, rest);
        let began = Instant::now();
        let ended = match self.serve(&mut connection, stop).await {
            Ok(()) => Ended::Stopped,
            Err(ended) => ended,
        };
        if matches!(ended, Ended::Stopped) {
            self.farewell(&mut connection).await;
        }
        self.early_ends.note(&ended, began.elapsed());
        if began.elapsed() >= STABLE {
            backoff.reset();
        }
        ended
    }

    /// Everything that a new connection begins with.
    fn accept(&mut self, stream: Box<dyn Stream>, ack: ConnAck, incoming: BytesMut) -> Connection {
        Tally::add(&self.tally.connects);
        let ConnAck { session_present, mut limits, .. } = ack;
        limits.packet = limits.packet.min(self.config.max_packet);
        let epoch = self.inbox.begin();
        let mut outgoing = BytesMut::new();
        self.session.reconnected(session_present, self.codec, &mut outgoing);
        if let Some(publish) = self.status() {
            self.session.announce(publish, b"online");
        }
        self.subscriptions.reset();
        self.wanted.mark_changed();
        let keep_alive =
            limits.keep_alive.map_or(self.config.keep_alive, |s| Duration::from_secs(s.into()));
        let up_since = SystemClock.now();
        self.report.send_replace(LinkState::Up {
            since: up_since,
            subscribed: 0,
            refused: Vec::new(),
        });
        tracing::info!(link = self.name, url = self.config.url, session_present, "connected");
        let (reader, writer) = tokio::io::split(stream);
        Connection {
            reader,
            writer,
            incoming,
            packets: Packets::new(self.codec),
            outgoing,
            dirty: false,
            limits,
            epoch,
            up_since,
            keep_alive,
            ping_at: Instant::now() + keep_alive,
            alive_by: None,
            settle_by: None,
        }
    }

    /// Serves a connection; returns when told to stop.
    async fn serve(&mut self, connection: &mut Connection, stop: &mut Stop) -> Result<(), Ended> {
        // One timer for all rounds: most of them change nothing about it.
        let alarm = sleep_until(connection.next_deadline());
        tokio::pin!(alarm);
        loop {
            self.take_in(connection)?;
            self.put_out(connection)?;
            let calm = connection.outgoing.len() < HIGH_WATER;
            let reading = calm && connection.settle_by.is_none();
            let room = calm && self.session.has_room(&connection.limits);
            let unwritten = !connection.outgoing.is_empty() || connection.dirty;
            let deadline = connection.next_deadline();
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            let Connection { reader, writer, incoming, outgoing, dirty, .. } = connection;
            tokio::select! {
                () = stop.stopped() => return Ok(()),
                () = self.inbox.changed() => {}
                Some(question) = self.questions.recv() => answer(question),
                Ok(()) = self.wanted.changed() => {
                    let wanted = self.wanted.borrow_and_update();
                    let limits = &connection.limits;
                    self.subscriptions.ask(&wanted, self.codec, limits, outgoing)?;
                }
                written = write(writer, outgoing, dirty), if unwritten => {
                    written.map_err(|error| Ended::lost(&error))?;
                }
                read = reader.read_buf(incoming), if reading => {
                    if read.map_err(|error| Ended::lost(&error))? == 0 {
                        return Err(Ended::Closed("the broker closed the connection".to_owned()));
                    }
                    connection.alive_by = None;
                }
                Some(command) = self.commands.recv(), if room => {
                    self.publish(command, connection);
                }
                () = &mut alarm => {
                    self.overdue(connection)?;
                    // It is over, and a timer that is over stays so until it is told when to go off again.
                    alarm.as_mut().reset(connection.next_deadline());
                }
            }
        }
    }

    /// Takes this publish and those that wait behind it, while there is room.
    fn publish(&mut self, first: Command, connection: &mut Connection) {
        let Connection { limits, outgoing, .. } = connection;
        let mut next = Some(first);
        while let Some(command) = next {
            self.session.publish(command, self.codec, limits, outgoing);
            let room = outgoing.len() < HIGH_WATER && self.session.has_room(limits);
            next = if room { self.commands.try_recv().ok() } else { None };
        }
    }

    /// Something is due: a ping, or the end of patience.
    fn overdue(&self, connection: &mut Connection) -> Result<(), Ended> {
        let now = Instant::now();
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|by| by <= now);
        if is_past(connection.settle_by) {
            return Err(Ended::Overrun);
        }
        if is_past(connection.alive_by) {
            return Err(Ended::Failed("the broker left a ping unanswered".to_owned()));
        }
        if connection.ping_at > now {
            return Ok(());
        }
        connection.ping_at = now + connection.keep_alive;
        // While nothing is read, no answer is seen.
        if connection.settle_by.is_none() {
            connection.alive_by = Some(now + self.config.connect_timeout);
        }
        self.write(connection, &Outgoing::Ping)
    }

    fn write(&self, connection: &mut Connection, packet: &Outgoing<'_>) -> Result<(), Ended> {
        let limit = connection.limits.packet;
        Ok(self.codec.encode(packet, limit, &mut connection.outgoing)?)
    }

    /// Queues acknowledgements and publishes that may go now.
    fn put_out(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        while let Some((packet, qos)) = self.inbox.pop_settled() {
            connection.settle_by = None;
            if qos == QoS::ExactlyOnce {
                self.session.receive(packet);
                self.write(connection, &Outgoing::PubRec(packet))?;
            } else {
                self.write(connection, &Outgoing::PubAck(packet))?;
            }
        }
        self.session.flush(self.codec, &connection.limits, &mut connection.outgoing);
        if self.inbox.is_stuck() && connection.outgoing.is_empty() && !connection.dirty {
            return Err(Ended::Overrun);
        }
        if !self.is_full() {
            connection.settle_by = None;
        } else if connection.settle_by.is_none() {
            connection.settle_by = Some(Instant::now() + connection.keep_alive);
            connection.alive_by = None;
        }
        Ok(())
    }

    /// Whether the broker has sent more than it may, or than there is room for, and what else it sends
    /// must wait in the socket.
    fn is_full(&self) -> bool {
        self.inbox.is_full(self.config.in_flight_bound(), self.config.unsettled_bytes())
    }

    /// Handles every whole packet that has arrived, while there is room.
    fn take_in(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        while !self.is_full()
            && let Some(packet) = connection.packets.next(&mut connection.incoming)?
        {
            match packet {
                Incoming::Publish(delivery) => self.deliver(delivery, connection),
                Incoming::PubAck(packet, verdict) => self.session.confirmed(packet, verdict),
                Incoming::PubRec(packet, verdict) => {
                    if self.session.taken_over(packet, verdict) {
                        self.write(connection, &Outgoing::PubRel(packet))?;
                    }
                }
                Incoming::PubRel(packet) => {
                    self.session.release(packet);
                    self.write(connection, &Outgoing::PubComp(packet))?;
                }
                Incoming::PubComp(packet) => self.session.confirmed(packet, Ok(())),
                Incoming::SubAck(packet, verdicts) => {
                    self.subscriptions.answered(packet, verdicts);
                    self.report.send_replace(LinkState::Up {
                        since: connection.up_since,
                        subscribed: self.subscriptions.granted(),
                        refused: self.subscriptions.refused(),
                    });
                }
                Incoming::UnsubAck | Incoming::PingResp => {}
                Incoming::Disconnect(reason) => {
                    return Err(Ended::Failed(format!(
                        "the broker ended the connection: {reason}"
                    )));
                }
                Incoming::TakenOver => return Err(Ended::TakenOver),
                Incoming::ConnAck(_) => {
                    return Err(Ended::Failed("the broker accepted twice".to_owned()));
                }
            }
        }
        Ok(())
    }

    fn deliver(&mut self, delivery: Delivery, connection: &Connection) {
        let Delivery { packet, qos, dup, .. } = delivery;
        let bytes = delivery.payload.len();
        let ack = if qos == QoS::AtMostOnce {
            AckHandle::none()
        } else if dup && self.inbox.holds(packet) {
            return;
        } else if qos == QoS::ExactlyOnce && self.session.has_received(packet) {
            self.inbox.push(packet, qos, bytes, true);
            return;
        } else {
            let sequence = self.inbox.push(packet, qos, bytes, false);
            AckHandle::new(Arc::clone(&self.inbox), connection.epoch, sequence)
        };
        Tally::add(&self.tally.received);
        if let Some(bytes) = delivery.oversize {
            Tally::add(&self.tally.oversize);
            let topic = String::from_utf8_lossy(&delivery.topic);
            let topic = format_args!("{topic:.200}");
            let limit = self.config.max_packet;
            tracing::warn!(link = self.name, %topic, bytes, limit, "message over max_packet: dropped");
        }
        (self.handler)(message(delivery, ack, &mut self.topics));
    }
}
