//! From the link into the queues of pipelines.

use std::collections::BTreeSet;
use std::sync::Arc;

use eir::event::Envelope;
use eir::ingest::{Route, Router, hold_capacity};
use eir::mqtt::{ConnectionConfig, Link, QoS, TopicFilter, Version};
use eir::task::{Group, Queue, WhenFull};
use tokio::time::timeout;

use super::EVERY;
use crate::support::broker::{AnyBroker, Kind};
use crate::support::mqtt::{Client, SOON, config};

/// A pipeline's end of a route.
struct End {
    route: Route,
}

impl End {
    fn new(filter: &str, capacity: usize, when_full: WhenFull) -> Self {
        let filter: TopicFilter = filter.parse().expect("a filter");
        let queue = Arc::new(Queue::new(capacity, when_full));
        Self { route: Route { filter, queue, parked: None, counters: Arc::default() } }
    }

    /// The payloads of the next messages, each settled.
    async fn take(&self, count: usize) -> Vec<String> {
        let queue = Arc::clone(&self.route.queue);
        let taken = tokio::task::spawn_blocking(move || {
            let mut texts = Vec::new();
            let mut batch: Vec<Envelope> = Vec::new();
            while texts.len() < count && queue.pop_into(&mut batch, count - texts.len()) {
                texts.extend(batch.drain(..).map(settled));
            }
            texts
        });
        let taken = timeout(SOON, taken).await;
        if taken.is_err() {
            // Lets the waiting thread go, so that the test can fail.
            self.route.queue.close();
        }
        taken.expect("in time").expect("taken")
    }
}

fn settled(envelope: Envelope) -> String {
    envelope.ack.settle();
    String::from_utf8(envelope.payload.to_vec()).expect("text")
}

/// A link whose messages go through a router.
struct Site {
    router: Router,
    link: Link,
    group: Group,
}

impl Site {
    async fn start(config: &ConnectionConfig, ends: &[&End]) -> Self {
        let router = Router::new();
        let mut group = Group::default();
        let link =
            Link::start("site", "device", config, router.handler(), &mut group).expect("a link");
        let site = Self { router, link, group };
        site.serve(ends).await;
        site
    }

    async fn serve(&self, ends: &[&End]) {
        self.router.set(ends.iter().map(|end| end.route.clone()).collect());
        let filters: BTreeSet<_> = ends.iter().map(|end| &end.route.filter).collect();
        let wanted = ends.iter().map(|end| (end.route.filter.clone(), QoS::AtLeastOnce));
        self.link.set_subscriptions(wanted);
        let mut state = self.link.state();
        let granted = state.wait_for(|state| state.has_subscribed(filters.len()));
        timeout(SOON, granted).await.expect("in time").expect("a state");
    }
}

#[tokio::test]
async fn a_holding_queue_that_is_full_has_its_messages_delivered_again() {
    // Not the embedded broker: a message that it is writing when the connection breaks is lost there.
    for (kind, version) in EVERY.into_iter().filter(|(kind, _)| *kind == Kind::Mosquitto) {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let publisher = Client::up("publisher", &config, &[]).await;
        // Far smaller than `hold_capacity` would make it.
        let end = End::new("t", 2, WhenFull::Hold);
        let site = Site::start(&config, &[&end]).await;
        for number in 0..10 {
            publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        }
        let mut seen = BTreeSet::new();
        while seen.len() < 10 {
            seen.extend(end.take(1).await);
        }
        assert!(end.route.counters.sent_back() > 0, "{kind:?} {version:?}");
        assert_eq!(end.route.counters.dropped(), 0);
        assert_eq!(site.group.drain(SOON).await, 0);
        publisher.stop().await;
    }
}

#[tokio::test]
async fn a_queue_with_room_for_all_that_may_be_unacknowledged_holds_and_never_sends_back() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let mut config = config(&broker.url(), version);
        config.receive_maximum = 2;
        let publisher = Client::up("publisher", &config, &[]).await;
        let end = End::new("t", hold_capacity(&config, 1), WhenFull::Hold);
        let site = Site::start(&config, &[&end]).await;
        let count = config.in_flight_bound() * 3;
        for number in 0..count {
            publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        }
        let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(end.take(count).await, expected, "{kind:?} {version:?}");
        assert_eq!((end.route.counters.sent_back(), end.route.counters.dropped()), (0, 0));
        assert_eq!(site.link.counters().reconnects, 0);
        assert_eq!(site.group.drain(SOON).await, 0);
        publisher.stop().await;
    }
}

#[tokio::test]
async fn what_a_policy_drops_is_counted_and_acknowledged() {
    let broker = AnyBroker::start(Kind::Mosquitto);
    let config = config(&broker.url(), Version::V5);
    let publisher = Client::up("publisher", &config, &[]).await;
    let newest = End::new("t", 2, WhenFull::DropOldest);
    let oldest = End::new("t", 2, WhenFull::DropNewest);
    let all = End::new("t", 64, WhenFull::Hold);
    let site = Site::start(&config, &[&newest, &all]).await;
    site.router.set([&newest, &oldest, &all].map(|end| end.route.clone()).to_vec());
    for number in 0..10 {
        publisher.publish("t", &number.to_string(), QoS::AtLeastOnce).await;
        publisher.publish("unwanted", "x", QoS::AtLeastOnce).await;
    }
    all.take(10).await;
    assert_eq!(newest.take(2).await, ["8", "9"]);
    assert_eq!(oldest.take(2).await, ["0", "1"]);
    assert_eq!((newest.route.counters.dropped(), oldest.route.counters.dropped()), (8, 8));
    assert_eq!(site.group.drain(SOON).await, 0);
    // Everything was acknowledged: nothing comes again.
    let again = End::new("t", 64, WhenFull::Hold);
    let site = Site::start(&config, &[&again]).await;
    publisher.publish("t", "new", QoS::AtLeastOnce).await;
    assert_eq!(again.take(1).await, ["new"]);
    assert_eq!(site.group.drain(SOON).await, 0);
    publisher.stop().await;
}

#[tokio::test]
async fn messages_after_the_intake_closed_are_kept_by_the_broker() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let config = config(&broker.url(), version);
        let mut publisher = Client::up("publisher", &config, &[("t", QoS::AtLeastOnce)]).await;
        let end = End::new("t", 64, WhenFull::Hold);
        let site = Site::start(&config, &[&end]).await;
        site.router.close();
        publisher.publish("t", "late", QoS::AtLeastOnce).await;
        assert_eq!(publisher.next_text().await, "late");
        assert_eq!(site.group.drain(SOON).await, 0);
        assert!(end.route.queue.is_empty());
        let site = Site::start(&config, &[&end]).await;
        assert_eq!(end.take(1).await, ["late"], "{kind:?} {version:?}");
        assert_eq!(site.group.drain(SOON).await, 0);
        publisher.stop().await;
    }
}
