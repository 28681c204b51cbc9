//! MQTT messages into the queues of the pipelines that want them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Ack, Envelope, Name, Topic};
use crate::mqtt::{ConnectionConfig, Message, QoS, TopicFilter};
use crate::task::{Clock, Pushed, Queue, SystemClock};

/// `input = { mqtt = { … } }`: messages from a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttInputConfig {
    /// The name of a `[mqtt.NAME]` connection.
    pub broker: Name,
    /// Topic filter; `$share/group/filter` spreads the messages over the devices of that group.
    pub topic: TopicFilter,
    /// Quality of service of the subscription.
    #[serde(default)]
    pub qos: QoS,
    /// Where the publisher's own name for a message stands in a JSON payload: a JSON Pointer such as
    /// `/seq`. Without it the MQTT 5 user property `id` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pub id: Option<String>,
}

/// Room that a queue which holds needs so that it never has to turn a message away: all that the
/// broker may send unacknowledged, and once more for what an earlier connection left behind, which
/// the broker sends again.
pub fn hold_capacity(connection: &ConnectionConfig, configured: usize) -> usize {
    configured.max(connection.in_flight_bound() * 2)
}

/// One pipeline that wants messages of a connection.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which messages.
    pub filter: TopicFilter,
    /// Where they go; its policy decides what happens when it is full.
    pub queue: Arc<Queue<Envelope>>,
    /// Nobody takes from the queue at the moment. Acknowledgements go out in order, so one message that
    /// is held would stop every pipeline of the connection: messages are settled at once, and the
    /// newest so many wait.
    pub parked: Option<usize>,
    /// How many went there.
    pub counters: Arc<RouteCounters>,
}

/// What happened on one route.
#[derive(Debug, Default)]
pub struct RouteCounters {
    queued: AtomicU64,
    dropped: AtomicU64,
    sent_back: AtomicU64,
    too_large: AtomicU64,
}

impl RouteCounters {
    /// Messages that went into the queue.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Messages that the queue's policy dropped, or that found it full at QoS 0.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Messages over the connection's `max_packet`: nobody saw their payload, and they were settled.
    pub fn too_large(&self) -> u64 {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Messages that found a holding queue full, and that the broker delivers again.
    pub fn sent_back(&self) -> u64 {
        self.sent_back.load(Ordering::Relaxed)
    }
}

/// What happened to messages that took no route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouterCounters {
    /// Nobody wanted them; they were acknowledged.
    pub unmatched: u64,
    /// They came after the intake was closed; they were not acknowledged.
    pub left: u64,
}

/// Sends the messages of one connection to every pipeline that wants them. Its table can be replaced
/// at any time. Clones share it.
#[derive(Clone, Default)]
pub struct Router(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// None: the intake is closed.
    routes: ArcSwap<Option<Vec<Route>>>,
    unmatched: AtomicU64,
    left: AtomicU64,
}

impl Router {
    /// A router whose intake is closed until [`Router::set`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the table; a message sees the old one or the new one, whole.
    pub fn set(&self, routes: Vec<Route>) {
        self.exchange(Some(routes));
    }

    /// Stops the intake: messages that come now stay unacknowledged, and the broker keeps them.
    pub fn close(&self) {
        self.exchange(None);
    }

    /// When this returns, no message is on its way by the old table any more: its queues may be closed.
    fn exchange(&self, routes: Option<Vec<Route>>) {
        let old = self.0.routes.swap(Arc::new(routes));
        // Routing a message never blocks, so this is a matter of microseconds.
        while Arc::strong_count(&old) > 1 {
            std::thread::yield_now();
        }
    }

    /// For [`crate::mqtt::Link::start`].
    pub fn handler(&self) -> Arc<dyn Fn(Message) + Send + Sync> {
        let router = self.clone();
        Arc::new(move |message| router.route(message))
    }

    /// Messages that took no route.
    pub fn counters(&self) -> RouterCounters {
        RouterCounters {
            unmatched: self.0.unmatched.load(Ordering::Relaxed),
            left: self.0.left.load(Ordering::Relaxed),
        }
    }

    /// Hands a message to every pipeline that wants it. Never blocks.
    pub fn route(&self, message: Message) {
        let table = self.0.routes.load();
        let Some(routes) = table.as_ref() else {
            self.0.left.fetch_add(1, Ordering::Relaxed);
            message.ack.leave();
            return;
        };
        let wanted = || wanted(routes, &message.topic, &message.subscriptions);
        if message.oversize.is_some() {
            for route in wanted() {
                count(&route.counters.too_large);
            }
            message.ack.ack();
            return;
        }
        let (ack, settled) = match message.qos {
            QoS::AtMostOnce => (None, Ack::none()),
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                let ack = Arc::new(message.ack);
                let settled = Arc::clone(&ack);
                (Some(ack), Ack::new(move || settled.ack()))
            }
        };
        let envelope = Envelope {
            topic: message.topic.clone(),
            payload: message.payload,
            received_at: SystemClock.now(),
            id: message.id.map(Into::into),
            correlation: message.correlation,
            // One that is none is handed on to nobody.
            traceparent: message.traceparent.and_then(|told| told.parse().ok()),
            redelivered: message.dup,
            ack: settled,
        };
        let mut is_wanted = false;
        for route in wanted() {
            is_wanted = true;
            let counters = &route.counters;
            if let Some(most) = route.parked {
                let (message, ack) = envelope.share().detach();
                count(&counters.queued);
                if route.queue.keep_newest(message, most).is_some() {
                    count(&counters.dropped);
                }
                ack.settle();
                continue;
            }
            match (route.queue.push(envelope.share()), &ack) {
                (Pushed::Queued, _) => count(&counters.queued),
                (Pushed::Dropped(dropped), _) => {
                    count(&counters.dropped);
                    dropped.ack.settle();
                }
                (Pushed::Full(_), None) => count(&counters.dropped),
                // Full and holding, or the pipeline is being taken down.
                (Pushed::Full(_) | Pushed::Closed(_), ack) => {
                    count(&counters.sent_back);
                    if let Some(ack) = ack {
                        ack.redeliver();
                    }
                }
            }
        }
        if !is_wanted {
            self.0.unmatched.fetch_add(1, Ordering::Relaxed);
        }
        envelope.ack.settle();
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// The routes that a delivery is for. A broker may deliver a message once for each subscription that
/// matches; where it says for which, only those routes take it, so that none gets it twice.
fn wanted<'a>(
    routes: &'a [Route],
    topic: &Topic,
    subscriptions: &[u32],
) -> impl Iterator<Item = &'a Route> {
    let is_named = move |route: &Route| subscriptions.contains(&route.filter.subscription_id());
    let matches = move |route: &Route| route.filter.matches(topic.as_str());
    let any_named = routes.iter().any(|route| is_named(route) && matches(route));
    routes.iter().filter(move |route| (is_named(route) || !any_named) && matches(route))
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
