//! What is done for a message or a request, as spans of a trace (<https://opentelemetry.io/docs/specs/otel/trace/api/>).
//!
//! Who works on something that is traced holds an [`Open`] span, notes what is done when, and closes it; the [`Tracer`]
//! has a bounded number of closed spans wait for whoever sends them, and counts what does not fit. Spans are best
//! effort: nobody ever waits for them. What is not traced costs one look at a pointer.

mod open;
mod span;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwapOption, Guard};
use rand::RngExt;
use tokio::sync::Notify;

pub use self::open::{Anchor, Open};
pub use self::span::{Event, Kind, Span};
use crate::event::TraceParent;

/// Where the tracer stands, while there is one: shared by all who work, exchanged by a reload.
#[derive(Debug, Clone, Default)]
pub struct Traces(Arc<ArcSwapOption<Tracer>>);

/// Which of what is done is traced, and the spans that wait to be sent.
#[derive(Debug)]
pub struct Tracer {
    ratio: f64,
    most: usize,
    batch: usize,
    waiting: Mutex<VecDeque<Span>>,
    filled: Notify,
    /// Spans that wait, or are on their way.
    pending: AtomicU64,
    sent: AtomicU64,
    dropped: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// What became of the spans so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceStatus {
    /// Spans that wait, or are on their way.
    pub waiting: u64,
    /// Spans that were taken by the receiver.
    pub sent: u64,
    /// Spans that did not fit into the queue, or that the receiver refused.
    pub dropped: u64,
    /// Why spans wait.
    pub problem: Option<String>,
}

impl Traces {
    /// The tracer of this moment; not to be held for long.
    pub fn current(&self) -> Guard<Option<Arc<Tracer>>> {
        self.0.load()
    }

    /// From now on this one, or none.
    pub fn set(&self, tracer: Option<Arc<Tracer>>) {
        self.0.store(tracer);
    }
}

impl Tracer {
    /// Traces that part of what names no parent. `most` spans wait, of which `batch` are sent at a time.
    pub fn new(ratio: f64, most: usize, batch: usize) -> Self {
        Self {
            ratio: ratio.clamp(0.0, 1.0),
            most,
            batch: batch.max(1),
            waiting: Mutex::default(),
            filled: Notify::new(),
            pending: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    /// Whether something is traced that came with this parent, or with none: a parent's own word counts.
    pub fn wants(&self, parent: Option<TraceParent>) -> bool {
        match parent {
            Some(parent) => parent.is_sampled(),
            None => self.ratio >= 1.0 || self.ratio > 0.0 && rand::rng().random_bool(self.ratio),
        }
    }

    /// Spans to be sent, where there is room for all of them.
    pub fn add(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let mut waiting = lock(&self.waiting);
        if waiting.len() + spans.len() > self.most {
            drop(waiting);
            self.filled.notify_one();
            self.dropped.fetch_add(count, Ordering::Relaxed);
            return;
        }
        self.pending.fetch_add(count, Ordering::Relaxed);
        waiting.extend(spans);
        let is_full = waiting.len() >= self.batch;
        drop(waiting);
        if is_full {
            self.filled.notify_one();
        }
    }

    /// The oldest that wait, at most a batch of them.
    pub fn take(&self) -> Vec<Span> {
        let mut waiting = lock(&self.waiting);
        let count = waiting.len().min(self.batch);
        waiting.drain(..count).collect()
    }

    /// Resolves when a batch is there, or was there since this was asked last.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// So many of those that were taken out were taken by the receiver.
    pub fn sends(&self, count: usize) {
        self.pending.fetch_sub(count as u64, Ordering::Relaxed);
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// So many of those that were taken out are given up.
    pub fn drops(&self, count: usize) {
        self.pending.fetch_sub(count as u64, Ordering::Relaxed);
        self.dropped.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Why spans wait from now on, or that they do not; returns what was so before.
    pub fn set_problem(&self, problem: Option<String>) -> Option<String> {
        std::mem::replace(&mut *lock(&self.problem), problem)
    }

    /// What became of the spans so far.
    pub fn status(&self) -> TraceStatus {
        TraceStatus {
            waiting: self.pending.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            problem: lock(&self.problem).clone(),
        }
    }
}

// No code that can panic runs under these locks.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    fn spans(tracer: &Arc<Tracer>, parts: usize) -> Vec<Span> {
        let (now, anchor) = (SystemClock.now(), Anchor::of(&SystemClock));
        let mut open = Open::begin(tracer, None, anchor, now).expect("it is traced");
        for _ in 0..parts {
            open.part("decode", now, now);
        }
        open.close("a", Kind::Consumer)
    }

    #[test]
    fn what_does_not_fit_is_dropped_as_a_whole_and_counted() {
        let tracer = Arc::new(Tracer::new(1.0, 5, 2));
        tracer.add(spans(&tracer, 2));
        tracer.add(spans(&tracer, 2));
        tracer.add(spans(&tracer, 1));
        assert_eq!(tracer.status().dropped, 3);
        assert_eq!([0; 4].map(|_| tracer.take().len()), [2, 2, 1, 0]);
        tracer.add(spans(&tracer, 4));
        tracer.sends(5);
        let status = TraceStatus { waiting: 5, sent: 5, dropped: 3, problem: None };
        assert_eq!(tracer.status(), status);
    }

    #[test]
    fn the_word_of_a_parent_counts_and_otherwise_the_ratio() {
        let told = |flags| {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            Some(text.parse::<TraceParent>().expect("a traceparent"))
        };
        let wanted = |ratio: f64, parent| {
            let tracer = Tracer::new(ratio, 1, 1);
            (0..2000).filter(|_| tracer.wants(parent)).count()
        };
        for ratio in [0.0, 0.5, 1.0] {
            assert_eq!((wanted(ratio, told("01")), wanted(ratio, told("00"))), (2000, 0));
        }
        assert_eq!((wanted(0.0, None), wanted(1.0, None)), (0, 2000));
        assert!((600..1400).contains(&wanted(0.5, None)));
    }

    #[tokio::test]
    async fn who_sends_is_woken_when_a_batch_is_there() {
        let tracer = Arc::new(Tracer::new(1.0, 100, 3));
        let (waiting, other) = (Arc::clone(&tracer), Arc::clone(&tracer));
        let wait = async move { waiting.filled().await };
        let fill = async move {
            other.add(spans(&other, 0));
            tokio::task::yield_now().await;
            other.add(spans(&other, 1));
        };
        tokio::join!(wait, fill);
        assert_eq!(tracer.take().len(), 3);
        let nothing = Traces::default();
        assert!(nothing.current().is_none());
        nothing.set(Some(tracer));
        assert!(nothing.current().is_some());
    }
}
