//! Settling a message: who waits for it, and what happens when nobody does any more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A share in the acknowledgement of one message.
///
/// A message may feed several pipelines; each holds a share. When the last share is settled, the
/// source is told and may acknowledge. A share that is dropped without being settled keeps the
/// message unacknowledged for good, so that the broker delivers it again: a thread that dies with a
/// message in its hands never counts as having consumed it.
pub struct Ack(Option<Arc<Pending>>);

struct Pending {
    shares: AtomicUsize,
    settled: Box<dyn Fn() + Send + Sync>,
}

impl Ack {
    /// The acknowledgement of a message that nobody waits for (QoS 0, a file, the demo).
    pub const fn none() -> Self {
        Self(None)
    }

    /// The first share; `settled` runs once, on the thread that settles last.
    pub fn new(settled: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Pending { shares: AtomicUsize::new(1), settled: Box::new(settled) })))
    }

    /// Somebody waits for it.
    pub const fn is_awaited(&self) -> bool {
        self.0.is_some()
    }

    /// One more share for one more consumer.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(self.0.as_ref().map(|pending| {
            pending.shares.fetch_add(1, Ordering::Relaxed);
            Arc::clone(pending)
        }))
    }

    /// This consumer is done: the message was consumed, or dropped under a named policy and counted.
    pub fn settle(self) {
        if let Some(pending) = self.0
            && pending.shares.fetch_sub(1, Ordering::AcqRel) == 1
        {
            (pending.settled)();
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = self.0.as_ref().map(|p| p.shares.load(Ordering::Relaxed));
        f.debug_tuple("Ack").field(&shares).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counted() -> (Ack, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let inner = Arc::clone(&count);
        (
            Ack::new(move || {
                inner.fetch_add(1, Ordering::Relaxed);
            }),
            count,
        )
    }

    #[test]
    fn the_last_share_settles() {
        let (ack, count) = counted();
        let (a, b) = (ack.share(), ack.share());
        ack.settle();
        a.settle();
        assert_eq!(count.load(Ordering::Relaxed), 0);
        b.settle();
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_dropped_share_never_settles() {
        let (ack, count) = counted();
        drop(ack.share());
        ack.settle();
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}
