//! What is on its way to the broker, and what of it survives a reconnect.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::link::Command;
use super::state::Tally;
use super::wire::{Codec, Limits, Outgoing, Verdict, WireError};
use super::{Publish, PublishError, QoS};

/// Packet identifiers of publishes are from here down to 1; those above name subscriptions.
pub(super) const LAST_PUBLISH_ID: u16 = 0x7fff;

/// The most QoS 1 and 2 publishes that wait for the broker at one time, even if it would take more.
const MOST_FLIGHTS: usize = 128;

/// The publishes that the broker has not confirmed, oldest first, and the QoS 2 messages that it has
/// not released. Both belong to the session and outlive a connection.
#[derive(Debug)]
pub(super) struct Session {
    flights: VecDeque<Flight>,
    last_packet: u16,
    /// QoS 2 messages that were settled and whose PUBREL is still to come: delivered again, they are
    /// not handed on again (MQTT 5.0 §4.3.3).
    received: BTreeSet<u16>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Flight {
    packet: u16,
    stage: Stage,
    publish: Publish,
    payload: Bytes,
    /// None: the link's own status message, which every connection sends anew.
    reply: Option<oneshot::Sender<Result<(), PublishError>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To be written; `again`: the broker may know it already.
    Queued { again: bool },
    /// Written, no answer yet.
    Sent,
    /// QoS 2: PUBREC came, PUBREL was written.
    Released,
}

impl Session {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Self { flights: VecDeque::new(), last_packet: 0, received: BTreeSet::new(), tally }
    }

    /// Whether another publish can be taken.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.flights.len() < limits.in_flight.min(MOST_FLIGHTS)
    }

    /// Takes a publish and writes it, or answers why not.
    pub(super) fn publish(
        &mut self,
        command: Command,
        codec: Codec,
        limits: &Limits,
        out: &mut BytesMut,
    ) {
        let Command { publish, payload, reply } = command;
        if reply.is_closed() {
            return;
        }
        if publish.qos == QoS::AtMostOnce {
            let answer = write_publish(0, false, &publish, &payload, codec, limits, out);
            self.count(&answer);
            answer_to(Some(reply), answer);
        } else {
            self.take(publish, payload, Some(reply));
            self.flush(codec, limits, out);
        }
    }

    /// Takes a message of the link's own; it does not survive a reconnect.
    pub(super) fn announce(&mut self, publish: Publish, payload: &'static [u8]) {
        self.take(publish, Bytes::from_static(payload), None);
    }

    fn take(
        &mut self,
        publish: Publish,
        payload: Bytes,
        reply: Option<oneshot::Sender<Result<(), PublishError>>>,
    ) {
        let packet = self.next_packet();
        let stage = Stage::Queued { again: false };
        self.flights.push_back(Flight { packet, stage, publish, payload, reply });
    }

    /// A new connection. With the session gone the broker knows nothing of what was sent, and even a
    /// message that it had received must be published anew; otherwise what was sent is sent again,
    /// marked so. Whichever it is, nothing that somebody still waits for is forgotten.
    pub(super) fn reconnected(&mut self, session_present: bool, codec: Codec, out: &mut BytesMut) {
        if !session_present {
            self.received.clear();
        }
        self.flights.retain(|flight| {
            let wanted = flight.reply.as_ref().is_some_and(|reply| !reply.is_closed());
            // The broker holds on to the identifier of a QoS 2 message until it is released.
            wanted || (session_present && flight.publish.qos == QoS::ExactlyOnce)
        });
        for flight in &mut self.flights {
            flight.stage = match flight.stage {
                Stage::Released if session_present => {
                    // Four bytes; no broker's limit is lower.
                    let _written = codec.encode(&Outgoing::PubRel(flight.packet), 16, out);
                    Stage::Released
                }
                Stage::Queued { again } => Stage::Queued { again: again && session_present },
                Stage::Sent | Stage::Released => Stage::Queued { again: session_present },
            };
        }
    }

    /// Writes what may be written now, oldest first.
    pub(super) fn flush(&mut self, codec: Codec, limits: &Limits, out: &mut BytesMut) {
        let queued = |flight: &Flight| matches!(flight.stage, Stage::Queued { .. });
        let mut under_way = self.flights.iter().filter(|flight| !queued(flight)).count();
        let mut index = 0;
        while let Some(flight) = self.flights.get_mut(index) {
            if under_way >= limits.in_flight {
                return;
            }
            let Stage::Queued { again } = flight.stage else {
                index += 1;
                continue;
            };
            let Flight { packet, publish, payload, .. } = flight;
            match write_publish(*packet, again, publish, payload, codec, limits, out) {
                Ok(()) => {
                    flight.stage = Stage::Sent;
                    under_way += 1;
                    index += 1;
                }
                refused => self.finish(index, refused),
            }
        }
    }

    /// PUBACK, or PUBREC that refuses.
    pub(super) fn confirmed(&mut self, packet: u16, verdict: Verdict) {
        if let Some(index) = self.flights.iter().position(|flight| flight.packet == packet) {
            self.finish(index, verdict.map_err(PublishError::Refused));
        }
    }

    /// PUBREC: whether PUBREL is the answer. It also is for an identifier that is not known, so that
    /// the broker can let go of it.
    pub(super) fn taken_over(&mut self, packet: u16, verdict: Verdict) -> bool {
        if verdict.is_err() {
            self.confirmed(packet, verdict);
            return false;
        }
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.packet == packet) {
            flight.stage = Stage::Released;
        }
        true
    }

    /// A QoS 2 message was settled: PUBREC goes out.
    pub(super) fn receive(&mut self, packet: u16) {
        self.received.insert(packet);
    }

    /// Whether PUBREC went out before and PUBREL is still to come.
    pub(super) fn has_received(&self, packet: u16) -> bool {
        self.received.contains(&packet)
    }

    /// PUBREL came.
    pub(super) fn release(&mut self, packet: u16) {
        self.received.remove(&packet);
    }

    /// The link has ended.
    pub(super) fn give_up(&mut self) {
        for flight in self.flights.drain(..) {
            answer_to(flight.reply, Err(PublishError::Disconnected));
        }
    }

    fn finish(&mut self, index: usize, answer: Result<(), PublishError>) {
        if let Some(flight) = self.flights.remove(index) {
            self.count(&answer);
            answer_to(flight.reply, answer);
        }
    }

    fn count(&self, answer: &Result<(), PublishError>) {
        Tally::add(if answer.is_ok() { &self.tally.published } else { &self.tally.refused });
    }

    fn next_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet % LAST_PUBLISH_ID + 1;
            // There are far fewer flights than identifiers.
            if self.flights.iter().all(|flight| flight.packet != self.last_packet) {
                return self.last_packet;
            }
        }
    }
}

fn write_publish(
    packet: u16,
    dup: bool,
    publish: &Publish,
    payload: &Bytes,
    codec: Codec,
    limits: &Limits,
    out: &mut BytesMut,
) -> Result<(), PublishError> {
    if publish.qos > limits.qos {
        let most = u8::from(limits.qos);
        return Err(PublishError::Refused(format!("the broker takes QoS {most} at most")));
    }
    if publish.retain && !limits.retain {
        return Err(PublishError::Refused("the broker retains no messages".to_owned()));
    }
    codec
        .encode(&Outgoing::Publish { packet, dup, publish, payload }, limits.packet, out)
        .map_err(|error: WireError| PublishError::Refused(error.to_string()))
}

fn answer_to(
    reply: Option<oneshot::Sender<Result<(), PublishError>>>,
    answer: Result<(), PublishError>,
) {
    if let Some(reply) = reply {
        // Nobody may be waiting any more.
        let _unheard = reply.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Version;
    use crate::mqtt::wire::Incoming;

    type Answer = oneshot::Receiver<Result<(), PublishError>>;

    const CODEC: Codec = Codec::new(Version::V5, 1 << 20);

    fn limits(in_flight: usize) -> Limits {
        Limits {
            in_flight,
            packet: 1 << 20,
            qos: QoS::ExactlyOnce,
            retain: true,
            subscription_ids: true,
            keep_alive: None,
        }
    }

    fn send(session: &mut Session, payload: &str, qos: QoS, out: &mut BytesMut) -> Answer {
        let (reply, answer) = oneshot::channel();
        let publish = Publish { topic: "t".to_owned(), qos, ..Publish::default() };
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        session.publish(Command { publish, payload, reply }, CODEC, &limits(10), out);
        answer
    }

    /// The packet identifier, payload and duplicate flag of each written publish; -1 for PUBREL.
    fn written(out: &mut BytesMut) -> Vec<(u16, String, bool)> {
        let mut all = Vec::new();
        while let Ok(Some(packet)) = CODEC.decode(out) {
            all.push(match packet {
                Incoming::Publish(p) => {
                    (p.packet, String::from_utf8_lossy(&p.payload).into_owned(), p.dup)
                }
                Incoming::PubRel(packet) => (packet, "released".to_owned(), false),
                other => panic!("{other:?}"),
            });
        }
        all
    }

    #[test]
    fn what_was_not_confirmed_is_sent_again_with_the_session_or_without() {
        for present in [true, false] {
            let mut session = Session::new(Arc::default());
            let mut out = BytesMut::new();
            let mut first = send(&mut session, "a", QoS::AtLeastOnce, &mut out);
            let second = send(&mut session, "b", QoS::ExactlyOnce, &mut out);
            let given_up = send(&mut session, "c", QoS::AtLeastOnce, &mut out);
            assert_eq!(written(&mut out).len(), 3);
            assert!(session.taken_over(2, Ok(())));
            drop(given_up);
            session.reconnected(present, CODEC, &mut out);
            session.flush(CODEC, &limits(10), &mut out);
            let again = |packet, what: &str, dup| (packet, what.to_owned(), dup);
            if present {
                assert_eq!(written(&mut out), [again(2, "released", false), again(1, "a", true)]);
            } else {
                assert_eq!(written(&mut out), [again(1, "a", false), again(2, "b", false)]);
            }
            session.confirmed(1, Ok(()));
            assert_eq!(first.try_recv(), Ok(Ok(())));
            drop(second);
        }
    }

    #[test]
    fn a_broker_that_takes_fewer_gets_the_rest_later() {
        let mut session = Session::new(Arc::default());
        let mut out = BytesMut::new();
        let _answers: Vec<_> =
            (0..3).map(|_| send(&mut session, "x", QoS::AtLeastOnce, &mut out)).collect();
        written(&mut out);
        session.reconnected(true, CODEC, &mut out);
        assert!(!session.has_room(&limits(1)));
        for packet in 1..=3 {
            session.flush(CODEC, &limits(1), &mut out);
            assert_eq!(written(&mut out), [(packet, "x".to_owned(), true)]);
            session.confirmed(packet, Ok(()));
        }
    }

    #[test]
    fn what_the_broker_would_refuse_is_not_sent() {
        let mut session = Session::new(Arc::default());
        let mut out = BytesMut::new();
        let mut answer = send(&mut session, &"x".repeat(2 << 20), QoS::AtLeastOnce, &mut out);
        assert!(answer.try_recv().expect("an answer").expect_err("refused").is_refused());
        assert!(out.is_empty());
        assert!(session.has_room(&limits(1)));
    }

    #[test]
    fn identifiers_in_use_are_passed_over() {
        let mut session = Session::new(Arc::default());
        let mut out = BytesMut::new();
        let _stuck = send(&mut session, "stuck", QoS::AtLeastOnce, &mut out);
        session.last_packet = LAST_PUBLISH_ID - 1;
        assert_eq!(session.next_packet(), LAST_PUBLISH_ID);
        assert_eq!(session.next_packet(), 2);
    }
}
