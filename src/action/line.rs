//! A bounded queue from the pipelines' threads to one actuator, and the task that empties it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::{Actuator, Failure};
use crate::task::{Backoff, Group, Stop};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long an order is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Tries after the first.
    pub(super) retries: u32,
    /// From being queued to being given up.
    pub(super) age: Duration,
}

/// What became of the orders of one actuator since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionCounts {
    /// The actuator: `publish local`, `webhook fault[1] example.com:443` (rule, place in its `do`,
    /// host), `log`; unique within a pipeline.
    pub name: String,
    /// Carried out.
    pub sent: u64,
    /// Given up: refused, too old, or tried too often.
    pub failed: u64,
    /// Tries after a first one.
    pub retried: u64,
    /// The oldest in a full queue, dropped for a newer one.
    pub dropped: u64,
    /// Not even queued: a template could not be filled in.
    pub unrendered: u64,
    /// Waiting or being carried out at the moment.
    pub waiting: usize,
    /// The last try worked, or there was none.
    pub healthy: bool,
}

/// The counters of one actuator.
#[derive(Debug)]
pub(super) struct Meter {
    name: String,
    sent: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
    unrendered: AtomicU64,
    waiting: AtomicUsize,
    failing: AtomicBool,
}

impl Meter {
    fn new(name: String) -> Self {
        Self {
            name,
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unrendered: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            failing: AtomicBool::new(false),
        }
    }

    pub(super) fn snapshot(&self) -> ActionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ActionCounts {
            name: self.name.clone(),
            sent: read(&self.sent),
            failed: read(&self.failed),
            retried: read(&self.retried),
            dropped: read(&self.dropped),
            unrendered: read(&self.unrendered),
            waiting: self.waiting.load(Ordering::Relaxed),
            healthy: !self.failing.load(Ordering::Relaxed),
        }
    }

    pub(super) fn unrendered(&self) {
        add(&self.unrendered);
    }

    /// One line when it begins and one when it is over, whatever the traffic.
    fn worked(&self) {
        add(&self.sent);
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(action = self.name, "works again");
        }
    }

    fn went_wrong(&self, failure: &Failure) {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(action = self.name, %failure, "failed");
        } else {
            tracing::warn!(action = self.name, %failure, "failed");
        }
    }
}

fn add(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}

/// The queue. Putting an order in never waits.
#[derive(Debug)]
pub(super) struct Line<O> {
    orders: Mutex<VecDeque<(Instant, O)>>,
    capacity: usize,
    filled: Notify,
    meter: Arc<Meter>,
}

impl<O> Line<O> {
    pub(super) fn new(name: String, capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            orders: Mutex::new(VecDeque::new()),
            capacity: capacity.max(1),
            filled: Notify::new(),
            meter: Arc::new(Meter::new(name)),
        })
    }

    pub(super) const fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Adds an order; the oldest makes room where there is none.
    pub(super) fn push(&self, order: O) {
        let mut orders = self.lock();
        let oldest = if orders.len() >= self.capacity { orders.pop_front() } else { None };
        orders.push_back((Instant::now(), order));
        drop(orders);
        if oldest.is_some() {
            let dropped = add(&self.meter.dropped);
            if dropped.is_power_of_two() {
                tracing::warn!(action = self.meter.name, dropped, "queue full, oldest dropped");
            }
        } else {
            self.meter.waiting.fetch_add(1, Ordering::Relaxed);
        }
        self.filled.notify_one();
    }

    /// The oldest, at most so many.
    fn take(&self, most: usize) -> Vec<(Instant, O)> {
        let mut orders = self.lock();
        let count = orders.len().min(most);
        orders.drain(..count).collect()
    }

    // No code that can panic runs under this lock, so what it guards is still whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, O)>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Empties a line, in order, until it is told to stop and nothing is left.
async fn carry<A: Actuator>(
    actuator: A,
    line: Arc<Line<A::Order>>,
    patience: Patience,
    mut stop: Stop,
) {
    loop {
        let next = line.take(A::TOGETHER);
        if !next.is_empty() {
            let outcomes = join_all(next.iter().map(|(since, order)| async {
                let in_time = since.elapsed() <= patience.age;
                if in_time { Some(actuator.carry_out(order).await) } else { None }
            }));
            let outcomes = outcomes.await;
            let mut behind = false;
            for ((since, order), mut outcome) in next.iter().zip(outcomes) {
                // What went out beside one that must be tried again goes out once more behind it: the last word on a
                // topic is the last decision. What became too old meanwhile does not.
                if behind && outcome.is_some() && since.elapsed() <= patience.age {
                    add(&line.meter.retried);
                    outcome = Some(actuator.carry_out(order).await);
                }
                behind |= matches!(outcome, Some(Err(Failure::Later { .. })));
                finish(&actuator, (*since, order), outcome, patience, &line.meter).await;
                line.meter.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        } else if stop.is_stopped() {
            return;
        } else {
            tokio::select! {
                () = line.filled.notified() => {}
                () = stop.stopped() => {}
            }
        }
    }
}

/// Tries again what its first try did not do. None: it was too old for one.
async fn finish<A: Actuator>(
    actuator: &A,
    (since, order): (Instant, &A::Order),
    first: Option<Result<(), Failure>>,
    patience: Patience,
    meter: &Meter,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut next = first;
    for tries in 0..=patience.retries {
        let Some(outcome) = next.take() else { break };
        let after = match outcome {
            Ok(()) => return meter.worked(),
            Err(failure) => {
                meter.went_wrong(&failure);
                match failure {
                    Failure::Refused(_) => break,
                    Failure::Later { after, .. } => after.unwrap_or_default(),
                }
            }
        };
        let wait = backoff.next_wait().max(after);
        if tries == patience.retries || since.elapsed() + wait > patience.age {
            break;
        }
        sleep(wait).await;
        add(&meter.retried);
        next = Some(actuator.carry_out(order).await);
    }
    add(&meter.failed);
}

type Courier = Box<dyn FnOnce(Stop) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The tasks that carry out what [`super::Actions`] queues; built, not yet started.
#[derive(Default)]
pub struct Couriers {
    tasks: Vec<Courier>,
    meters: Vec<Arc<Meter>>,
}

impl Couriers {
    pub(super) fn add<A: Actuator>(
        &mut self,
        actuator: A,
        line: &Arc<Line<A::Order>>,
        patience: Patience,
    ) {
        self.meters.push(Arc::clone(line.meter()));
        let line = Arc::clone(line);
        self.tasks.push(Box::new(move |stop| Box::pin(carry(actuator, line, patience, stop))));
    }

    pub(super) fn meters(&self) -> &[Arc<Meter>] {
        &self.meters
    }

    /// Starts one task for each actuator, on the runtime that this is called in.
    pub fn start(self) -> Running {
        let mut group = Group::default();
        for task in self.tasks {
            let stop = group.stop_signal();
            group.spawn("action", task(stop));
        }
        Running { group, meters: self.meters }
    }
}

impl fmt::Debug for Couriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.meters.iter().map(|meter| &meter.name)).finish()
    }
}

/// The tasks at work. Dropped, they stop at once.
#[derive(Debug)]
pub struct Running {
    group: Group,
    meters: Vec<Arc<Meter>>,
}

impl Running {
    /// Carries out what is queued until `deadline` has passed and says how many orders were left. To
    /// be called when nothing dispatches any more.
    pub async fn drain(self, deadline: Duration) -> usize {
        self.group.drain(deadline).await;
        self.meters.iter().map(|meter| meter.waiting.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests;
