//! One session for several callers: each runs it on its own thread when its turn comes.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::{EngineError, Session};
use crate::event::Tensor;

/// After so many failures in a row the session is built anew.
const FAILURES: u32 = 3;

/// An inference that did not happen.
#[derive(Debug, Error)]
pub enum InferError {
    /// Too many callers wait already.
    #[error("the model is overloaded: {0} callers wait already")]
    Overloaded(usize),
    /// The session is gone.
    #[error("the model was unloaded")]
    Stopped,
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Looks after a session: builds it anew when it keeps failing (`None`: there is no better one), and
/// hears when it works again after that was in vain.
pub type Mend = Box<dyn FnMut(Condition<'_>) -> Option<Box<dyn Session>> + Send>;

/// How a session does.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// It keeps failing; this is the last failure.
    Failing(&'a EngineError),
    /// It works again.
    Well,
}

/// A session that several callers use in turns. Dropping it unloads the session, after those who wait
/// for it already.
#[derive(Debug)]
pub struct Shared {
    inner: Arc<Inner>,
}

/// One caller's way to a session.
#[derive(Debug, Clone)]
pub struct Port {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    capacity: usize,
    queue: Mutex<Queue>,
    moved: Condvar,
    /// Locked only by the one whose turn it is.
    served: Mutex<Served>,
}

/// Turns are given out in order: `now` is being served, up to `next` they wait.
#[derive(Debug, Default)]
struct Queue {
    now: u64,
    next: u64,
    closed: bool,
}

struct Served {
    session: Option<Box<dyn Session>>,
    mend: Mend,
    health: Health,
}

impl Shared {
    /// Shares a session between callers, of whom `capacity` may wait, at least one.
    pub fn new(capacity: usize, session: Box<dyn Session>, mend: Mend) -> Self {
        let served = Served { session: Some(session), mend, health: Health::default() };
        let inner = Inner {
            capacity: capacity.max(1),
            queue: Mutex::default(),
            moved: Condvar::new(),
            served: Mutex::new(served),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A way in for one caller.
    pub fn port(&self) -> Port {
        Port { inner: Arc::clone(&self.inner) }
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.inner.queue).inside().saturating_sub(1)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut queue = lock(&self.inner.queue);
        queue.closed = true;
        let _turn = self.inner.wait(queue);
        lock(&self.inner.served).session = None;
    }
}

impl Port {
    /// Runs the model on the caller's thread, after those who came before. The outputs replace what
    /// was in `outputs`, in its memory where that fits.
    pub fn infer(
        &mut self,
        inputs: &[Tensor],
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), InferError> {
        let _turn = self.inner.turn()?;
        lock(&self.inner.served).run(inputs, outputs)
    }
}

impl Inner {
    fn turn(&self) -> Result<Turn<'_>, InferError> {
        let queue = lock(&self.queue);
        if queue.closed {
            return Err(InferError::Stopped);
        }
        // One is served, the others wait.
        if queue.inside() > self.capacity {
            return Err(InferError::Overloaded(self.capacity));
        }
        Ok(self.wait(queue))
    }

    fn wait(&self, mut queue: MutexGuard<'_, Queue>) -> Turn<'_> {
        let mine = queue.next;
        queue.next += 1;
        while queue.now != mine {
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

impl Queue {
    fn inside(&self) -> usize {
        usize::try_from(self.next - self.now).unwrap_or(usize::MAX)
    }
}

/// Whoever holds it is being served. It passes on even if the engine panics.
struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0.queue);
        queue.now += 1;
        let others = queue.inside() > 0;
        drop(queue);
        if others {
            self.0.moved.notify_all();
        }
    }
}

impl Served {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), InferError> {
        let session = self.session.as_mut().ok_or(InferError::Stopped)?;
        let result = session.run(inputs, outputs);
        match &result {
            Err(error) if error.is_callers() => {}
            Err(error) => {
                if self.health.failed(matches!(error, EngineError::Panicked { .. })) {
                    match (self.mend)(Condition::Failing(error)) {
                        Some(better) => {
                            *session = better;
                            self.health = Health::default();
                        }
                        None => self.health.gave_up(),
                    }
                }
            }
            Ok(()) => {
                if self.health.is_given_up() {
                    // There is no better session than the one that works again.
                    let _none = (self.mend)(Condition::Well);
                }
                self.health = Health::default();
            }
        }
        Ok(result?)
    }
}

// What panics under a lock leaves nothing half done: the queue is counted by `Turn`, and a session that
// panicked says so.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Failures in a row, and how many it takes until the session is built anew. Each try that is in vain
/// doubles that: building is dear.
struct Health {
    failures: u32,
    patience: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { failures: 0, patience: FAILURES }
    }
}

impl Health {
    /// One more failure; true: it is time to build anew. A session that panicked may be in any state.
    const fn failed(&mut self, panicked: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.patience || (panicked && !self.is_given_up())
    }

    const fn gave_up(&mut self) {
        self.patience = self.patience.saturating_mul(2);
    }

    const fn is_given_up(&self) -> bool {
        self.patience > FAILURES
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("session", &self.session).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    /// Gives its inputs back, or does what the first number says.
    #[derive(Debug, Default)]
    struct Echo(Option<Arc<Barrier>>);

    impl Session for Echo {
        fn run(&mut self, inputs: &[Tensor], outputs: &mut Vec<Tensor>) -> Result<(), EngineError> {
            if let Some(barrier) = &self.0 {
                barrier.wait();
                barrier.wait();
            }
            if inputs[0].as_f32().expect("f32")[0] < 0.0 {
                return Err(EngineError::Run { engine: EngineKind::Ort, reason: "told to".into() });
            }
            outputs.clear();
            outputs.extend_from_slice(inputs);
            Ok(())
        }
    }

    fn one(value: f32) -> Vec<Tensor> {
        vec![Tensor::new(vec![1], vec![value]).expect("tensor")]
    }

    #[test]
    fn outputs_arrive_until_the_session_is_unloaded() {
        let shared = Shared::new(4, Box::<Echo>::default(), Box::new(|_| None));
        let mut port = shared.port();
        let mut outputs = Vec::new();
        for _ in 0..100 {
            port.infer(&one(3.0), &mut outputs).expect("answer");
            assert_eq!(outputs, one(3.0));
        }
        drop(shared);
        assert!(matches!(port.infer(&one(3.0), &mut outputs), Err(InferError::Stopped)));
    }

    #[test]
    fn one_too_many_is_refused() {
        let barrier = Arc::new(Barrier::new(2));
        let session = Box::new(Echo(Some(Arc::clone(&barrier))));
        let shared = Shared::new(1, session, Box::new(|_| None));
        let call = || {
            let mut port = shared.port();
            thread::spawn(move || port.infer(&one(1.0), &mut Vec::new()).is_ok())
        };
        let first = call();
        barrier.wait(); // the first is being run, nobody waits
        let second = call();
        while shared.waiting() < 1 {
            thread::yield_now();
        }
        let third = shared.port().infer(&one(1.0), &mut Vec::new());
        assert!(matches!(third, Err(InferError::Overloaded(1))));
        barrier.wait();
        barrier.wait();
        barrier.wait();
        assert!(first.join().expect("first") && second.join().expect("second"));
    }

    /// Counts those who run it at once.
    #[derive(Debug)]
    struct Lonely(Arc<AtomicU32>);

    impl Session for Lonely {
        fn run(&mut self, _: &[Tensor], _: &mut Vec<Tensor>) -> Result<(), EngineError> {
            assert_eq!(self.0.fetch_add(1, Ordering::SeqCst), 0, "another runs it");
            thread::yield_now();
            self.0.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[test]
    fn callers_take_turns_and_none_is_left_waiting() {
        let session = Box::new(Lonely(Arc::default()));
        let shared = Shared::new(8, session, Box::new(|_| None));
        let ports: Vec<_> = (0..8).map(|_| shared.port()).collect();
        thread::scope(|scope| {
            for mut port in ports {
                scope.spawn(move || {
                    for _ in 0..500 {
                        port.infer(&[], &mut Vec::new()).expect("turn");
                    }
                });
            }
        });
        assert_eq!(shared.waiting(), 0);
    }

    #[derive(Debug)]
    struct Bomb;

    impl Session for Bomb {
        fn run(&mut self, _: &[Tensor], _: &mut Vec<Tensor>) -> Result<(), EngineError> {
            panic!("boom")
        }
    }

    #[test]
    fn a_turn_passes_on_when_a_caller_dies_in_it() {
        let shared = Shared::new(2, Box::new(Bomb), Box::new(|_| None));
        for _ in 0..3 {
            let mut port = shared.port();
            let died = thread::spawn(move || port.infer(&[], &mut Vec::new()).is_ok()).join();
            assert!(died.is_err());
        }
        assert_eq!(shared.waiting(), 0);
    }

    #[test]
    fn a_session_that_keeps_failing_is_rebuilt() {
        let rebuilt = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&rebuilt);
        let rebuild = Box::new(move |_: Condition<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            Some(Box::<Echo>::default() as Box<dyn Session>)
        });
        let shared = Shared::new(1, Box::<Echo>::default(), rebuild);
        let mut port = shared.port();
        let mut run = |value: f32| port.infer(&one(value), &mut Vec::new()).is_ok();
        assert_eq!([-1.0, -1.0, 1.0, -1.0, -1.0].map(&mut run), [false, false, true, false, false]);
        assert_eq!(rebuilt.load(Ordering::Relaxed), 0, "a success in between");
        assert!(!run(-1.0));
        assert_eq!(rebuilt.load(Ordering::Relaxed), 1);
        assert!(run(1.0));
    }

    #[test]
    fn what_cannot_be_mended_is_tried_ever_less_often() {
        let mut health = Health::default();
        let mut tries = Vec::new();
        for failure in 1..=100 {
            if health.failed(failure == 2 || failure == 20) {
                tries.push(failure);
                health.gave_up();
            }
        }
        assert_eq!(tries, [2, 6, 12, 24, 48, 96], "at once after the first panic, not after each");
    }
}
