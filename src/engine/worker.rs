//! A thread of its own for a session, with a bounded queue before it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use thiserror::Error;

use super::{EngineError, Session};
use crate::event::Tensor;
use crate::task::{Pushed, Queue, WhenFull};

/// After so many failures in a row the session is built anew.
const FAILURES: u32 = 3;

/// An inference that did not happen.
#[derive(Debug, Error)]
pub enum InferError {
    /// Too many callers wait already.
    #[error("the model is overloaded: {0} callers wait already")]
    Overloaded(usize),
    /// The worker has ended.
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

/// A session on its thread. Dropping the worker ends the thread when the queue is empty.
#[derive(Debug)]
pub struct Worker {
    queue: Arc<Queue<Job>>,
    capacity: usize,
    thread: Option<JoinHandle<()>>,
}

/// One caller's way to a worker; its buffers are used again by every call.
#[derive(Debug)]
pub struct Port {
    queue: Arc<Queue<Job>>,
    capacity: usize,
    reply: Arc<Reply>,
}

struct Job {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    reply: Option<Arc<Reply>>,
}

struct Done {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    result: Result<(), InferError>,
}

#[derive(Default)]
struct Reply {
    done: Mutex<Option<Done>>,
    told: Condvar,
}

impl Worker {
    /// Starts the thread.
    pub fn spawn(
        name: &str,
        capacity: usize,
        session: Box<dyn Session>,
        mend: Mend,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::new(capacity, WhenFull::Hold));
        let jobs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name(format!("model {name}"))
            .spawn(move || serve(&jobs, session, mend))?;
        Ok(Self { queue, capacity: capacity.max(1), thread: Some(thread) })
    }

    /// A way in for one caller.
    pub fn port(&self) -> Port {
        Port {
            queue: Arc::clone(&self.queue),
            capacity: self.capacity,
            reply: Arc::new(Reply::default()),
        }
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a model's thread panicked");
        }
    }
}

impl Port {
    /// Runs the model and waits for the answer. The inputs come back untouched, the outputs replace
    /// what was in `outputs`, in its memory where that fits.
    pub fn infer(
        &mut self,
        inputs: &mut Vec<Tensor>,
        outputs: &mut Vec<Tensor>,
    ) -> Result<(), InferError> {
        let job = Job {
            inputs: std::mem::take(inputs),
            outputs: std::mem::take(outputs),
            reply: Some(Arc::clone(&self.reply)),
        };
        let refused = match self.queue.push(job) {
            Pushed::Queued => None,
            Pushed::Closed(job) => Some((job, InferError::Stopped)),
            Pushed::Full(job) | Pushed::Dropped(job) => {
                Some((job, InferError::Overloaded(self.capacity)))
            }
        };
        if let Some((mut job, error)) = refused {
            job.reply = None;
            *inputs = std::mem::take(&mut job.inputs);
            *outputs = std::mem::take(&mut job.outputs);
            return Err(error);
        }
        let done = self.reply.wait();
        *inputs = done.inputs;
        *outputs = done.outputs;
        done.result
    }
}

impl Reply {
    fn wait(&self) -> Done {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(done) = done.take() {
                return done;
            }
            done = self.told.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, done: Done) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        self.told.notify_one();
    }
}

impl Job {
    fn answer(mut self, result: Result<(), InferError>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<(), InferError>) {
        if let Some(reply) = self.reply.take() {
            let inputs = std::mem::take(&mut self.inputs);
            let outputs = std::mem::take(&mut self.outputs);
            reply.tell(Done { inputs, outputs, result });
        }
    }
}

impl Drop for Job {
    /// Whoever waits is told even if the thread dies with the job in its hands.
    fn drop(&mut self) {
        self.tell(Err(InferError::Stopped));
    }
}

fn serve(jobs: &Queue<Job>, mut session: Box<dyn Session>, mut mend: Mend) {
    let mut next = Vec::with_capacity(1);
    let mut health = Health::default();
    while jobs.pop_into(&mut next, 1) {
        for mut job in next.drain(..) {
            let result = session.run(&job.inputs, &mut job.outputs);
            match &result {
                Err(error) if error.is_callers() => {}
                Err(error) => {
                    if health.failed(matches!(error, EngineError::Panicked { .. })) {
                        match mend(Condition::Failing(error)) {
                            Some(better) => {
                                session = better;
                                health = Health::default();
                            }
                            None => health.gave_up(),
                        }
                    }
                }
                Ok(()) => {
                    if health.is_given_up() {
                        // There is no better session than the one that works again.
                        let _none = mend(Condition::Well);
                    }
                    health = Health::default();
                }
            }
            job.answer(result.map_err(InferError::Engine));
        }
    }
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

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineKind;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

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
    fn inputs_come_back_and_outputs_arrive() {
        let worker =
            Worker::spawn("echo", 4, Box::<Echo>::default(), Box::new(|_| None)).expect("thread");
        let mut port = worker.port();
        let (mut inputs, mut outputs) = (one(3.0), Vec::new());
        for _ in 0..100 {
            port.infer(&mut inputs, &mut outputs).expect("answer");
            assert_eq!((&inputs, &outputs), (&one(3.0), &one(3.0)));
        }
        drop(worker);
        assert!(matches!(port.infer(&mut inputs, &mut outputs), Err(InferError::Stopped)));
        assert_eq!(inputs, one(3.0), "a refused call loses nothing");
    }

    #[test]
    fn a_full_queue_refuses() {
        let barrier = Arc::new(Barrier::new(2));
        let session = Box::new(Echo(Some(Arc::clone(&barrier))));
        let worker = Worker::spawn("slow", 1, session, Box::new(|_| None)).expect("thread");
        let call = |worker: &Worker| {
            let mut port = worker.port();
            thread::spawn(move || port.infer(&mut one(1.0), &mut Vec::new()).is_ok())
        };
        let first = call(&worker);
        barrier.wait(); // the first is being run, the queue is empty
        let second = call(&worker);
        while worker.waiting() < 1 {
            thread::yield_now();
        }
        let third = worker.port().infer(&mut one(1.0), &mut Vec::new());
        assert!(matches!(third, Err(InferError::Overloaded(1))));
        barrier.wait();
        barrier.wait();
        barrier.wait();
        assert!(first.join().expect("first") && second.join().expect("second"));
    }

    #[test]
    fn a_session_that_keeps_failing_is_rebuilt() {
        let rebuilt = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&rebuilt);
        let rebuild = Box::new(move |_: Condition<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            Some(Box::<Echo>::default() as Box<dyn Session>)
        });
        let worker = Worker::spawn("bad", 1, Box::<Echo>::default(), rebuild).expect("thread");
        let mut port = worker.port();
        let mut run = |value: f32| port.infer(&mut one(value), &mut Vec::new()).is_ok();
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
