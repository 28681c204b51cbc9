//! What can be seen of a link from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::TopicFilter;

/// How a link is doing.
#[derive(Debug, Clone)]
pub enum LinkState {
    /// There is no connection; attempts go on for ever.
    Connecting {
        /// Since when.
        since: Instant,
        /// Why the last attempt or connection ended.
        last_error: Option<Arc<str>>,
    },
    /// The broker has accepted the connection.
    Up {
        /// Since when.
        since: Instant,
        /// How many of the wanted subscriptions the broker has granted so far.
        subscribed: usize,
        /// Those it has not, with its reason.
        refused: Vec<RefusedFilter>,
    },
    /// The link was stopped.
    Stopped,
}

impl LinkState {
    /// Whether messages can flow.
    pub const fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Whether at least `count` subscriptions are granted.
    pub const fn has_subscribed(&self, count: usize) -> bool {
        matches!(self, Self::Up { subscribed, .. } if *subscribed >= count)
    }
}

/// A subscription that the broker refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedFilter {
    /// What was asked for.
    pub filter: TopicFilter,
    /// The broker's reason, in words.
    pub reason: String,
}

/// How much went through a link since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages handed on.
    pub received: u64,
    /// Of those, messages over `max_packet`, handed on without their payload.
    pub oversize: u64,
    /// Messages that the broker has taken (QoS 0: written).
    pub published: u64,
    /// Messages that the broker refused, or would have.
    pub refused: u64,
    /// Connections that the broker accepted after the first.
    pub reconnects: u64,
    /// Connections that were cycled because messages found no room, or too many stayed
    /// unacknowledged for too long.
    pub overruns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: AtomicU64,
    pub(super) oversize: AtomicU64,
    pub(super) published: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) overruns: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            received: read(&self.received),
            oversize: read(&self.oversize),
            published: read(&self.published),
            refused: read(&self.refused),
            reconnects: read(&self.connects).saturating_sub(1),
            overruns: read(&self.overruns),
        }
    }
}
