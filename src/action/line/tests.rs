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

/// An actuator that does many things at a time, and gates each.
struct Gated {
    gate: Arc<tokio::sync::Semaphore>,
    asked: mpsc::Sender<u32>,
}

impl Actuator for Gated {
    type Order = u32;
    const TOGETHER: usize = 3;

    async fn carry_out(&self, order: &u32) -> Result<(), Failure> {
        self.asked.send(*order).await.expect("the test listens");
        self.gate.acquire().await.expect("open").forget();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_as_are_allowed_are_under_way_and_begin_in_order() {
    let (asked, mut hears) = mpsc::channel(100);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let line = Line::new("test".to_owned(), 10);
    let mut couriers = Couriers::default();
    couriers.add(Gated { gate: Arc::clone(&gate), asked }, &line, PATIENCE);
    for order in 1..=5 {
        line.push(order);
    }
    let running = couriers.start();
    for order in 1..=3 {
        assert_eq!(hears.recv().await, Some(order));
    }
    sleep(Duration::from_secs(1)).await;
    assert!(hears.try_recv().is_err(), "the fourth waits");
    assert_eq!(line.meter().snapshot().waiting, 5);
    gate.add_permits(5);
    assert_eq!(running.drain(Duration::from_secs(5)).await, 0);
    assert_eq!(all(hears).await, [4, 5]);
    assert_eq!(line.meter().snapshot().sent, 5);
}

/// Fails each order the first time that it is asked for one of `fails`, and does three at a time.
struct Fails {
    fails: Mutex<Vec<u32>>,
    asked: mpsc::Sender<u32>,
}

impl Actuator for Fails {
    type Order = u32;
    const TOGETHER: usize = 3;

    async fn carry_out(&self, order: &u32) -> Result<(), Failure> {
        self.asked.send(*order).await.expect("the test listens");
        let mut fails = self.fails.lock().expect("lock");
        match fails.iter().position(|of| of == order) {
            Some(at) => {
                fails.remove(at);
                later()
            }
            None => Ok(()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn behind_one_that_is_tried_again_the_others_go_out_once_more_in_order() {
    let (asked, hears) = mpsc::channel(100);
    let line = Line::new("test".to_owned(), 10);
    let mut couriers = Couriers::default();
    couriers.add(Fails { fails: Mutex::new(vec![2, 2]), asked }, &line, PATIENCE);
    for order in 1..=4 {
        line.push(order);
    }
    assert_eq!(couriers.start().drain(Duration::from_secs(10)).await, 0);
    assert_eq!(all(hears).await, [1, 2, 3, 2, 2, 3, 4]);
    let counts = line.meter().snapshot();
    assert_eq!((counts.sent, counts.failed, counts.retried), (4, 0, 3));
}

/// Takes its time for 1, and fails whatever it is asked for.
struct Slow(mpsc::Sender<u32>);

impl Actuator for Slow {
    type Order = u32;
    const TOGETHER: usize = 3;

    async fn carry_out(&self, order: &u32) -> Result<(), Failure> {
        self.0.send(*order).await.expect("the test listens");
        if *order == 1 {
            sleep(Duration::from_secs(20)).await;
        }
        later()
    }
}

/// An order went out once more behind a slow one, however old it had become.
#[tokio::test(start_paused = true)]
async fn what_became_too_old_behind_another_is_not_sent() {
    let (asked, hears) = mpsc::channel(100);
    let line = Line::new("test".to_owned(), 10);
    let mut couriers = Couriers::default();
    let patience = Patience { retries: 1000, age: Duration::from_secs(30) };
    couriers.add(Slow(asked), &line, patience);
    line.push(1);
    line.push(2);
    assert_eq!(couriers.start().drain(Duration::from_secs(100)).await, 0);
    assert_eq!(all(hears).await, [1, 2, 1]);
    let counts = line.meter().snapshot();
    assert_eq!((counts.sent, counts.failed, counts.retried), (0, 2, 1));
}
