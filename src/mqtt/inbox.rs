//! Which messages are here unacknowledged, and the order in which the broker is told about them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::QoS;

/// The messages of one connection that are not acknowledged yet, in order of arrival.
///
/// MQTT 5.0 §4.6 asks for acknowledgements in order of receipt: what is settled early waits here for
/// what came before it. Each connection begins an epoch; what an earlier one delivered is forgotten,
/// because its packet identifiers mean nothing any more and the broker delivers it again.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    window: Mutex<Window>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Window {
    epoch: u64,
    /// The sequence number of the first entry.
    first: u64,
    entries: VecDeque<Entry>,
    /// Of payload, in all entries.
    bytes: usize,
    /// Some message will not be settled on this connection.
    refused: bool,
}

#[derive(Debug)]
struct Entry {
    packet: u16,
    qos: QoS,
    bytes: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Settled,
    /// Nobody took it, or nobody can settle it any more: it must be delivered again.
    Refused,
}

impl Window {
    fn entry(&mut self, epoch: u64, sequence: u64) -> Option<&mut Entry> {
        let index = sequence.checked_sub(self.first).filter(|_| epoch == self.epoch)?;
        self.entries.get_mut(usize::try_from(index).ok()?)
    }
}

impl Inbox {
    /// A new connection: forgets the messages of the one before and returns its epoch.
    pub(super) fn begin(&self) -> u64 {
        let mut window = self.lock();
        window.first += window.entries.len() as u64;
        window.entries.clear();
        window.bytes = 0;
        window.refused = false;
        window.epoch += 1;
        window.epoch
    }

    /// Takes a message in; its sequence number.
    pub(super) fn push(&self, packet: u16, qos: QoS, bytes: usize, settled: bool) -> u64 {
        let mut window = self.lock();
        window.bytes += bytes;
        let stage = if settled { Stage::Settled } else { Stage::Waiting };
        window.entries.push_back(Entry { packet, qos, bytes, stage });
        window.first + window.entries.len() as u64 - 1
    }

    /// The next message that the broker may be told about.
    pub(super) fn pop_settled(&self) -> Option<(u16, QoS)> {
        let mut window = self.lock();
        if window.entries.front()?.stage != Stage::Settled {
            return None;
        }
        let entry = window.entries.pop_front()?;
        window.first += 1;
        window.bytes -= entry.bytes;
        Some((entry.packet, entry.qos))
    }

    pub(super) fn settle(&self, epoch: u64, sequence: u64) {
        let mut window = self.lock();
        let Some(entry) = window.entry(epoch, sequence) else { return };
        if entry.stage == Stage::Waiting {
            entry.stage = Stage::Settled;
        }
        let is_next = sequence == window.first;
        drop(window);
        if is_next {
            self.changed.notify_one();
        }
    }

    /// This message will not be settled on this connection, unless it is already.
    pub(super) fn refuse(&self, epoch: u64, sequence: u64) {
        let mut window = self.lock();
        let Some(entry) = window.entry(epoch, sequence) else { return };
        if entry.stage == Stage::Waiting {
            entry.stage = Stage::Refused;
            window.refused = true;
            drop(window);
            self.changed.notify_one();
        }
    }

    /// Whether the next message to acknowledge never will be: the connection has no future. What came
    /// before it is acknowledged by then, so that the next connection gets further.
    pub(super) fn is_stuck(&self) -> bool {
        self.lock().entries.front().is_some_and(|entry| entry.stage == Stage::Refused)
    }

    /// Whether a message of this connection under this identifier waits to be settled. Old brokers
    /// deliver again when an acknowledgement is late; the message is here already.
    pub(super) fn holds(&self, packet: u16) -> bool {
        self.lock().entries.iter().any(|entry| entry.packet == packet)
    }

    /// Whether no more may be taken in before something is settled.
    pub(super) fn is_full(&self, most: usize, most_bytes: usize) -> bool {
        let window = self.lock();
        window.refused || window.entries.len() >= most || window.bytes >= most_bytes
    }

    /// Resolves when the first message was settled or one was refused.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    // No code that can panic runs under this lock, so a poisoned window is still whole.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn popped(inbox: &Inbox) -> Vec<u16> {
        std::iter::from_fn(|| inbox.pop_settled().map(|(packet, _)| packet)).collect()
    }

    #[test]
    fn what_an_earlier_connection_delivered_is_ignored() {
        let inbox = Inbox::default();
        let old = inbox.begin();
        let first = inbox.push(1, QoS::AtLeastOnce, 9, false);
        let new = inbox.begin();
        let again = inbox.push(1, QoS::AtLeastOnce, 9, false);
        assert_ne!(first, again);
        inbox.settle(old, first);
        inbox.settle(old, again);
        assert_eq!(popped(&inbox), Vec::<u16>::new());
        inbox.settle(new, again);
        inbox.settle(new, again);
        assert_eq!(popped(&inbox), [1]);
        inbox.settle(new, again);
        inbox.settle(new, 99);
        assert!(inbox.is_full(0, 99) && !inbox.is_full(1, 1));
        inbox.push(2, QoS::AtLeastOnce, 9, false);
        assert!(inbox.is_full(1, 99) && inbox.is_full(99, 9) && !inbox.is_full(2, 10));
    }

    #[test]
    fn a_message_that_nobody_can_settle_any_more_ends_the_connection_when_it_is_next() {
        let inbox = Inbox::default();
        let epoch = inbox.begin();
        let settled = inbox.push(1, QoS::AtLeastOnce, 9, false);
        inbox.settle(epoch, settled);
        inbox.refuse(epoch, settled);
        let waiting = inbox.push(2, QoS::AtLeastOnce, 9, false);
        let lost = inbox.push(3, QoS::AtLeastOnce, 9, false);
        inbox.refuse(epoch, lost);
        assert!(inbox.is_full(99, 99), "nothing more is read");
        assert_eq!(popped(&inbox), [1]);
        assert!(!inbox.is_stuck(), "what came before can still be acknowledged");
        inbox.settle(epoch, waiting);
        inbox.settle(epoch, lost);
        assert_eq!(popped(&inbox), [2]);
        assert!(inbox.is_stuck());
        inbox.begin();
        assert!(!inbox.is_stuck() && !inbox.is_full(99, 99));
    }

    proptest! {
        #[test]
        fn in_whatever_order_they_settle_they_come_out_in_order(
            order in Just((0_u16..20).collect::<Vec<_>>()).prop_shuffle()
        ) {
            let inbox = Inbox::default();
            let epoch = inbox.begin();
            let sequences: Vec<_> =
                (0_u16..20).map(|packet| inbox.push(packet, QoS::AtLeastOnce, 9, false)).collect();
            let mut out = Vec::new();
            for packet in order {
                inbox.settle(epoch, sequences[usize::from(packet)]);
                out.extend(popped(&inbox));
            }
            prop_assert_eq!(out, (0_u16..20).collect::<Vec<_>>());
        }
    }
}
