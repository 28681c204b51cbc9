//! The wanted subscriptions, and how far the broker has been told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::BytesMut;

use super::session::LAST_PUBLISH_ID;
use super::wire::{Codec, Limits, Outgoing, Verdict, WireError};
use super::{QoS, RefusedFilter, TopicFilter};

/// What was asked of the broker on this connection.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    asked: BTreeMap<TopicFilter, QoS>,
    /// By packet identifier.
    waiting: HashMap<u16, TopicFilter>,
    granted: BTreeSet<TopicFilter>,
    refused: BTreeMap<TopicFilter, String>,
    last_packet: u16,
}

impl Subscriptions {
    /// A new connection: everything is asked for again, whatever the broker may remember.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Asks for the difference between what is wanted and what was asked for.
    pub(super) fn ask(
        &mut self,
        wanted: &BTreeMap<TopicFilter, QoS>,
        codec: Codec,
        limits: &Limits,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        let unwanted: Vec<_> =
            self.asked.keys().filter(|filter| !wanted.contains_key(filter)).cloned().collect();
        for filter in &unwanted {
            let packet = self.next_packet();
            codec.encode(&Outgoing::Unsubscribe { packet, filter }, limits.packet, out)?;
            self.asked.remove(filter);
            self.granted.remove(filter);
            self.refused.remove(filter);
        }
        for (filter, &qos) in wanted {
            if self.asked.get(filter) == Some(&qos) {
                continue;
            }
            let packet = self.next_packet();
            let identify = limits.subscription_ids;
            let subscribe = Outgoing::Subscribe { packet, filter, qos, identify };
            codec.encode(&subscribe, limits.packet, out)?;
            self.asked.insert(filter.clone(), qos);
            self.waiting.insert(packet, filter.clone());
        }
        Ok(())
    }

    /// The broker's answer to one of the questions.
    pub(super) fn answered(&mut self, packet: u16, verdicts: Vec<Verdict>) {
        let Some(filter) = self.waiting.remove(&packet) else { return };
        if !self.asked.contains_key(&filter) {
            return;
        }
        if let Some(Err(reason)) = verdicts.into_iter().next() {
            tracing::warn!(%filter, reason, "subscription refused");
            self.granted.remove(&filter);
            self.refused.insert(filter, reason);
        } else {
            self.refused.remove(&filter);
            self.granted.insert(filter);
        }
    }

    pub(super) fn granted(&self) -> usize {
        self.granted.len()
    }

    pub(super) fn refused(&self) -> Vec<RefusedFilter> {
        let both = |(filter, reason): (&TopicFilter, &String)| RefusedFilter {
            filter: filter.clone(),
            reason: reason.clone(),
        };
        self.refused.iter().map(both).collect()
    }

    /// Above those of publishes, so that the two cannot meet.
    fn next_packet(&mut self) -> u16 {
        self.last_packet = match self.last_packet {
            0 | u16::MAX => LAST_PUBLISH_ID + 1,
            last => last + 1,
        };
        self.last_packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Version;

    #[test]
    fn only_the_difference_is_asked_for() {
        let codec = Codec::new(Version::V4, 1 << 20);
        let limits = Limits {
            in_flight: 1,
            packet: 1 << 20,
            qos: QoS::ExactlyOnce,
            retain: true,
            subscription_ids: false,
            keep_alive: None,
        };
        let wanted = |filters: &[(&str, QoS)]| -> BTreeMap<TopicFilter, QoS> {
            filters.iter().map(|(f, q)| (f.parse().expect("filter"), *q)).collect()
        };
        let mut subscriptions = Subscriptions::default();
        let mut asked = |filters: &[(&str, QoS)]| {
            let mut out = BytesMut::new();
            subscriptions.ask(&wanted(filters), codec, &limits, &mut out).expect("ask");
            out.len()
        };
        let one = asked(&[("a", QoS::AtLeastOnce)]);
        assert!(one > 0);
        assert_eq!(asked(&[("a", QoS::AtLeastOnce)]), 0);
        assert_eq!(asked(&[("a", QoS::AtMostOnce), ("b", QoS::AtMostOnce)]), 2 * one);
        assert_eq!(asked(&[("b", QoS::AtMostOnce)]), one - 1);
        subscriptions.answered(LAST_PUBLISH_ID + 3, vec![Err("no".to_owned())]);
        subscriptions.answered(LAST_PUBLISH_ID + 1, vec![Ok(())]);
        assert_eq!((subscriptions.granted(), subscriptions.refused().len()), (0, 1));
    }
}
