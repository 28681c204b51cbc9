//! A bounded queue from the pipelines' threads to one actuator, and the task that empties it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
        let next = line.lock().pop_front();
        if let Some((since, order)) = next {
            deliver(&actuator, &order, since, patience, &line.meter).await;
            line.meter.waiting.fetch_sub(1, Ordering::Relaxed);
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

async fn deliver<A: Actuator>(
    actuator: &A,
    order: &A::Order,
    since: Instant,
    patience: Patience,
    meter: &Meter,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    for tries in 0..=patience.retries {
        if since.elapsed() > patience.age {
            break;
        }
        if tries > 0 {
            add(&meter.retried);
        }
        let after = match actuator.carry_out(order).await {
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
mod tests {
    //! A scripted actuator on tokio's clock.

    use tokio::sync::mpsc;

    use super::*;

    /// Answers with the script, then with success, and tells what it was asked to do.
    struct Scripted {
        answers: Mutex<VecDeque<Result<(), Failure>>>,
        asked: mpsc::Sender<u32>,
    }

    impl Actuator for Scripted {
        type Order = u32;

        async fn carry_out(&self, order: &u32) -> Result<(), Failure> {
            self.asked.send(*order).await.expect("the test listens");
            let next = self.answers.lock().expect("lock").pop_front();
            next.unwrap_or(Ok(()))
        }
    }

    fn later() -> Result<(), Failure> {
        Err(Failure::Later { why: "busy".to_owned(), after: None })
    }

    fn refused() -> Result<(), Failure> {
        Err(Failure::Refused("no".to_owned()))
    }

    const PATIENCE: Patience = Patience { retries: 2, age: Duration::from_mins(1) };

    fn scripted(
        capacity: usize,
        patience: Patience,
        answers: Vec<Result<(), Failure>>,
    ) -> (Arc<Line<u32>>, Couriers, mpsc::Receiver<u32>) {
        let (asked, hears) = mpsc::channel(100);
        let line = Line::new("test".to_owned(), capacity);
        let mut couriers = Couriers::default();
        couriers.add(Scripted { answers: Mutex::new(answers.into()), asked }, &line, patience);
        (line, couriers, hears)
    }

    async fn all(mut hears: mpsc::Receiver<u32>) -> Vec<u32> {
        let mut asked = Vec::new();
        while let Some(order) = hears.recv().await {
            asked.push(order);
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn orders_are_tried_again_in_order_and_within_bounds() {
        let answers = vec![later(), later(), Ok(()), refused(), later(), later(), later()];
        let (line, couriers, hears) = scripted(10, PATIENCE, answers);
        for order in 1..=4 {
            line.push(order);
        }
        assert_eq!(couriers.start().drain(Duration::from_secs(100)).await, 0);
        // 1 works at the third try, 2 is refused, 3 is given up after its third, 4 works.
        assert_eq!(all(hears).await, [1, 1, 1, 2, 3, 3, 3, 4]);
        let counts = line.meter().snapshot();
        assert_eq!((counts.sent, counts.failed, counts.retried), (2, 2, 4));
        assert_eq!((counts.waiting, counts.healthy), (0, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_its_oldest_and_counts_it() {
        let (line, couriers, hears) = scripted(2, PATIENCE, vec![]);
        for order in 1..=5 {
            line.push(order);
        }
        assert_eq!(line.meter().snapshot().dropped, 3);
        assert_eq!(line.meter().snapshot().waiting, 2);
        assert_eq!(couriers.start().drain(Duration::from_secs(1)).await, 0);
        assert_eq!(all(hears).await, [4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_by_its_deadline_and_counts_what_is_left() {
        let wait = Duration::from_secs(20);
        let busy = Err(Failure::Later { why: "busy".to_owned(), after: Some(wait) });
        let (line, couriers, hears) = scripted(10, PATIENCE, vec![Ok(()), busy]);
        for order in 1..=3 {
            line.push(order);
        }
        assert_eq!(couriers.start().drain(Duration::from_secs(5)).await, 2);
        assert_eq!(all(hears).await, [1, 2]);
        assert_eq!(line.meter().snapshot().sent, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_is_too_old_is_given_up() {
        let patience = Patience { retries: 1000, age: Duration::from_secs(30) };
        let (line, couriers, _hears) = scripted(10, patience, (0..1000).map(|_| later()).collect());
        line.push(1);
        line.push(2);
        let start = Instant::now();
        // The channel holds what is asked; both orders end within the age of the first.
        assert_eq!(couriers.start().drain(Duration::from_secs(100)).await, 0);
        assert!(start.elapsed() <= Duration::from_secs(30));
        assert_eq!(line.meter().snapshot().failed, 2);
    }

    #[tokio::test]
    async fn a_task_that_waits_is_woken_from_a_thread() {
        let (line, couriers, mut hears) = scripted(10, PATIENCE, vec![]);
        let running = couriers.start();
        let pushed = Arc::clone(&line);
        let thread = std::thread::spawn(move || pushed.push(7));
        assert_eq!(hears.recv().await, Some(7));
        thread.join().expect("thread");
        assert_eq!(running.drain(Duration::from_secs(5)).await, 0);
    }
}
