//! One model for several callers: each runs it on its own thread when its turn comes, and takes those along who wait
//! with the same kind of question.
//!
//! A model may have several instances, each a session of its own. Who finds one idle runs it at once. Who does not waits
//! in a bounded queue, as a thread or as a task; pipelines go before clients. Whoever runs an instance asks for the
//! others in the queue too, as far as one batch goes ([`Lease::run`]): under load batches form by themselves, and
//! without load nobody waits for one.

mod instance;
mod lease;
mod queue;

pub use instance::{Condition, Mend};
pub use lease::{Lease, Ran};
pub use queue::{Step, Turn};

use std::fmt;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use thiserror::Error;

use self::instance::Instance;
use self::queue::{Entered, Queue};
use super::{EngineError, Session};
use crate::event::Tensor;

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

/// How callers share a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Callers that may wait, at least one.
    pub queue: usize,
    /// Items along the first dimension that share a run; with 1 every caller runs alone. More than 1 only where the first
    /// dimension of all inputs and outputs is the batch.
    pub max_batch: usize,
    /// How long who runs an instance waits for others when there is room in its batch.
    pub max_delay: Duration,
}

impl Terms {
    /// Everybody alone, with so many waiting.
    pub const fn alone(queue: usize) -> Self {
        Self { queue, max_batch: 1, max_delay: Duration::ZERO }
    }
}

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A pipeline: what it decides cannot wait.
    Pipeline,
    /// Somebody who asks from outside.
    Client,
}

/// What is to be run, in the order of the signature, and what came of it. Whoever runs it may hold it for a while; it comes
/// back.
#[derive(Debug, Default)]
pub struct Work {
    /// What the model is given.
    pub inputs: Vec<Tensor>,
    /// What it said, in the memory of what was here before where that fits. After an error anything.
    pub outputs: Vec<Tensor>,
}

/// A model's sessions, which several callers use in turns. Dropping it unloads them, after those who wait already.
#[derive(Debug)]
pub struct Shared {
    inner: Arc<Inner>,
}

/// A caller's way to a model.
#[derive(Debug, Clone)]
pub struct Port {
    inner: Arc<Inner>,
    priority: Priority,
}

/// What comes of entering.
#[derive(Debug)]
pub enum Entry {
    /// An instance was idle; it is the caller's.
    Now(Lease),
    /// To be waited for. Dropping it leaves the queue.
    Later(Turn),
}

struct Inner {
    terms: Terms,
    queue: Mutex<Queue>,
    /// Somebody came.
    came: Condvar,
    mend: Mutex<Mend>,
    /// Nanoseconds that an item took lately; 0: nobody knows.
    pace: AtomicU64,
}

impl Shared {
    /// Shares sessions of one model between callers.
    pub fn new(terms: Terms, sessions: Vec<Box<dyn Session>>, mend: Mend) -> Self {
        let inner = Inner {
            terms,
            queue: Mutex::new(Queue::new(sessions.into_iter().map(Instance::new).collect())),
            came: Condvar::new(),
            mend: Mutex::new(mend),
            pace: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A way in for callers of one kind.
    pub fn port(&self, priority: Priority) -> Port {
        Port { inner: Arc::clone(&self.inner), priority }
    }

    /// Callers that wait.
    pub fn waiting(&self) -> usize {
        self.inner.queue().waiting()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = self.inner.queue().close();
        // Out of the lock: that may take a while.
        drop(idle);
    }
}

impl Port {
    /// Takes an instance or a place in the queue, and the work out of where it is; it stays there where it is refused.
    pub fn enter(&self, work: &mut Work) -> Result<Entry, InferError> {
        self.enter_as(work, false)
    }

    /// The same; where callers share runs it is a place in the queue even if an instance is idle. Who asks for its turn
    /// a moment later runs those along who came meanwhile.
    pub fn gather(&self, work: &mut Work) -> Result<Entry, InferError> {
        self.enter_as(work, self.inner.terms.max_batch > 1)
    }

    fn enter_as(&self, work: &mut Work, gathers: bool) -> Result<Entry, InferError> {
        let entered = self.inner.queue().enter(work, self.priority, &self.inner.terms, gathers)?;
        Ok(match entered {
            Entered::Leads(instance) => {
                Entry::Now(Lease::new(&self.inner, instance, std::mem::take(work)))
            }
            Entered::Waits(ticket) => {
                self.inner.came.notify_all();
                Entry::Later(Turn::new(&self.inner, ticket))
            }
        })
    }

    /// Runs the model on this thread, after those who came before.
    pub fn infer(&self, work: &mut Work) -> Result<Ran, InferError> {
        let lease = match self.enter(work)? {
            Entry::Now(lease) => lease,
            Entry::Later(turn) => match wait(turn) {
                Step::Lead(lease) => lease,
                Step::Done(back, ran) => {
                    *work = back;
                    return ran;
                }
            },
        };
        let (back, ran) = lease.run();
        *work = back;
        ran
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a turn on this thread.
fn wait(turn: Turn) -> Step {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut turn = pin!(turn);
    loop {
        match turn.as_mut().poll(&mut context) {
            Poll::Ready(step) => return step,
            Poll::Pending => thread::park(),
        }
    }
}

// No code that can panic runs under these locks but the engine's, which leaves nothing half done: a session that panicked
// says so.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("terms", &self.terms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
