//! What clients asked of a version of a model, and what they were answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::Ran;
use crate::event::Tensor;
use crate::task::{Cache, ContentHash};

/// What was asked of a version of a model. It outlives the model: who loads it again counts on.
#[derive(Debug)]
pub struct Served {
    counts: [AtomicU64; COUNTS],
    /// Answers that are kept; `None`: none are.
    cache: Option<Mutex<Cache<Arc<Vec<Tensor>>>>>,
}

/// The counters, each in its place.
#[derive(Debug, Clone, Copy)]
enum Count {
    Inferences,
    Executions,
    Answered,
    Failed,
    Took,
    Waited,
    Ran,
    Last,
    Hits,
    HitTook,
    Misses,
}

const COUNTS: usize = Count::Misses as usize + 1;

/// [`Served`] at one moment. Times are sums over all answered requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServedCounts {
    /// Items that were answered.
    pub inferences: u64,
    /// Runs of the model for clients; one may hold what several asked.
    pub executions: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// From the whole request to the whole answer.
    pub took: Duration,
    /// Waiting for an instance.
    pub waited: Duration,
    /// In the model.
    pub ran: Duration,
    /// Milliseconds since 1970 at the last answer.
    pub last_ms: u64,
    /// Requests that were answered from the cache.
    pub hits: u64,
    /// How long these took.
    pub hit_took: Duration,
    /// Requests that were looked for in the cache in vain.
    pub misses: u64,
}

impl Served {
    /// Keeps so many bytes of answers.
    pub(super) fn new(cache: usize) -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            cache: (cache > 0).then(|| Mutex::new(Cache::new(cache))),
        }
    }

    /// Counts a request that the model answered with so many items.
    pub fn answer(&self, items: usize, took: Duration, ran: Ran, at_ms: u64) {
        self.add(Count::Inferences, items as u64);
        self.add(Count::Executions, u64::from(ran.led));
        self.add(Count::Answered, 1);
        self.add(Count::Took, nanos(took));
        self.add(Count::Waited, nanos(ran.waited));
        self.add(Count::Ran, nanos(ran.took));
        self.counts[Count::Last as usize].store(at_ms, Ordering::Relaxed);
    }

    /// Counts a request that was answered from the cache.
    pub fn hit(&self, items: usize, took: Duration, at_ms: u64) {
        self.add(Count::Inferences, items as u64);
        self.add(Count::Answered, 1);
        self.add(Count::Took, nanos(took));
        self.add(Count::Hits, 1);
        self.add(Count::HitTook, nanos(took));
        self.counts[Count::Last as usize].store(at_ms, Ordering::Relaxed);
    }

    /// Counts a request that failed.
    pub fn fail(&self) {
        self.add(Count::Failed, 1);
    }

    /// Whether answers are kept.
    pub const fn keeps(&self) -> bool {
        self.cache.is_some()
    }

    /// What was answered to the same content.
    pub fn kept(&self, content: &ContentHash) -> Option<Arc<Vec<Tensor>>> {
        let cache = self.cache.as_ref()?;
        let found = cache.lock().unwrap_or_else(PoisonError::into_inner).get(content);
        if found.is_none() {
            self.add(Count::Misses, 1);
        }
        found
    }

    /// Keeps an answer.
    pub fn keep(&self, content: ContentHash, answer: &Arc<Vec<Tensor>>) {
        let Some(cache) = &self.cache else { return };
        let size = |tensor: &Tensor| tensor.data().bytes() + 128;
        let bytes = answer.iter().map(size).sum();
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.put(content, Arc::clone(answer), bytes);
    }

    /// The counters as they are.
    pub fn counts(&self) -> ServedCounts {
        let read = |count: Count| self.counts[count as usize].load(Ordering::Relaxed);
        let time = |count| Duration::from_nanos(read(count));
        ServedCounts {
            inferences: read(Count::Inferences),
            executions: read(Count::Executions),
            answered: read(Count::Answered),
            failed: read(Count::Failed),
            took: time(Count::Took),
            waited: time(Count::Waited),
            ran: time(Count::Ran),
            last_ms: read(Count::Last),
            hits: read(Count::Hits),
            hit_took: time(Count::HitTook),
            misses: read(Count::Misses),
        }
    }

    fn add(&self, count: Count, more: u64) {
        self.counts[count as usize].fetch_add(more, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
