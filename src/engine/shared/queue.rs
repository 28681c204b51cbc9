//! Who waits for an instance, and in which order.

use std::collections::VecDeque;
use std::fmt;
use std::mem::replace;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::instance::Instance;
use super::lease::{Lease, Ran};
use super::{InferError, Inner, Priority, Terms, Work, lock};
use crate::task::{Clock, SystemClock};

/// Who has waited for so long is given the next instance, whoever else comes.
const PATIENCE: Duration = Duration::from_millis(5);

/// Idle instances, and those who wait for one. No pipeline waits where one is idle; a client may be on its way to it, or
/// gather with others before it takes it, and whoever comes meanwhile takes it: to keep it for a task that is not there
/// yet would keep all others waiting.
#[derive(Debug)]
pub(super) struct Queue {
    idle: Vec<Instance>,
    /// Pipelines, then clients; each in the order in which they came.
    waiting: [VecDeque<Arc<Ticket>>; 2],
    closed: bool,
}

/// A place in the queue.
pub(super) struct Ticket {
    slot: Mutex<Slot>,
    pub(super) came: Instant,
    /// Items along the first dimension of what is to be run.
    pub(super) items: usize,
}

enum Slot {
    /// In the queue.
    Waiting(Work, Option<Waker>),
    /// In the batch of another.
    Taken(Option<Waker>),
    /// An instance came by.
    Leads(Instance, Work),
    /// Somebody ran it.
    Done(Work, Result<Ran, InferError>),
    /// Nobody waits any more.
    Left,
}

pub(super) enum Entered {
    Leads(Instance),
    Waits(Arc<Ticket>),
}

impl Queue {
    pub(super) const fn new(idle: Vec<Instance>) -> Self {
        Self { idle, waiting: [VecDeque::new(), VecDeque::new()], closed: false }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Who finds an instance idle takes it, or gathers with others as long as there are places.
    pub(super) fn enter(
        &mut self,
        work: &mut Work,
        priority: Priority,
        terms: &Terms,
        gathers: bool,
    ) -> Result<Entered, InferError> {
        if self.closed {
            return Err(InferError::Stopped);
        }
        let is_full = self.waiting() >= terms.queue.max(1);
        if (is_full || !gathers)
            && let Some(instance) = self.idle.pop()
        {
            return Ok(Entered::Leads(instance));
        }
        if is_full {
            return Err(InferError::Overloaded(terms.queue.max(1)));
        }
        let items = work.items();
        let slot = Mutex::new(Slot::Waiting(std::mem::take(work), None));
        let ticket = Arc::new(Ticket { slot, came: SystemClock.now(), items });
        self.waiting[priority as usize].push_back(Arc::clone(&ticket));
        Ok(Entered::Waits(ticket))
    }

    /// Gives an instance to the next who waits, or calls it. What comes back is not needed any more, and to be dropped out of
    /// the lock.
    pub(super) fn release(&mut self, instance: Instance) -> Vec<Instance> {
        let [pipelines, clients] = &mut self.waiting;
        let now = SystemClock.now();
        let urgent = |ticket: &mut Arc<Ticket>| now.duration_since(ticket.came) >= PATIENCE;
        if let Some(ticket) = pipelines.pop_front().or_else(|| clients.pop_front_if(urgent)) {
            ticket.lead(instance);
            return Vec::new();
        }
        self.idle.push(instance);
        self.settle()
    }

    /// Calls the next client, if there is something for it. What comes back is not needed any more.
    fn settle(&mut self) -> Vec<Instance> {
        let [_, clients] = &self.waiting;
        match clients.front() {
            Some(next) => {
                if !self.idle.is_empty() {
                    next.call();
                }
                Vec::new()
            }
            None if self.closed => std::mem::take(&mut self.idle),
            None => Vec::new(),
        }
    }

    /// Gives a client that was called an instance, if one is still there.
    fn answer(&mut self, ticket: &Arc<Ticket>) {
        if let Some(instance) = self.idle.pop() {
            self.leave(ticket);
            ticket.lead(instance);
        }
    }

    /// Takes the next who waits, if `fits` says so of what is to be run.
    pub(super) fn take_along(
        &mut self,
        fits: impl Fn(&Ticket, &Work) -> bool,
    ) -> Option<(Arc<Ticket>, Work)> {
        for line in &mut self.waiting {
            if let Some(ticket) = line.front()
                && let Some(work) = ticket.take(&fits)
            {
                return line.pop_front().map(|ticket| (ticket, work));
            }
        }
        None
    }

    /// Lets nobody in any more; who waits is still served.
    pub(super) fn close(&mut self) -> Vec<Instance> {
        self.closed = true;
        self.settle()
    }

    fn leave(&mut self, ticket: &Arc<Ticket>) {
        for line in &mut self.waiting {
            line.retain(|other| !Arc::ptr_eq(other, ticket));
        }
    }
}

impl Ticket {
    fn lead(&self, instance: Instance) {
        let mut slot = lock(&self.slot);
        if let Slot::Waiting(work, waker) = replace(&mut *slot, Slot::Left) {
            *slot = Slot::Leads(instance, work);
            wake(waker);
        }
    }

    fn call(&self) {
        if let Slot::Waiting(_, Some(waker)) = &*lock(&self.slot) {
            waker.wake_by_ref();
        }
    }

    fn take(&self, fits: impl Fn(&Self, &Work) -> bool) -> Option<Work> {
        let mut slot = lock(&self.slot);
        match replace(&mut *slot, Slot::Left) {
            Slot::Waiting(work, waker) if fits(self, &work) => {
                *slot = Slot::Taken(waker);
                Some(work)
            }
            other => {
                *slot = other;
                None
            }
        }
    }

    /// What was taken along was run; who waited for it may have left.
    pub(super) fn finish(&self, work: Work, ran: Result<Ran, InferError>) {
        let mut slot = lock(&self.slot);
        if let Slot::Taken(waker) = replace(&mut *slot, Slot::Left) {
            *slot = Slot::Done(work, ran);
            wake(waker);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a turn brings.
#[derive(Debug)]
pub enum Step {
    /// An instance, to be run by who waited.
    Lead(Lease),
    /// Another took it along.
    Done(Work, Result<Ran, InferError>),
}

/// A place in the queue, until it is called. Dropping it leaves the queue: nobody runs what nobody waits for.
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct Turn {
    inner: Arc<Inner>,
    ticket: Arc<Ticket>,
}

impl Turn {
    pub(super) fn new(inner: &Arc<Inner>, ticket: Arc<Ticket>) -> Self {
        Self { inner: Arc::clone(inner), ticket }
    }
}

impl Future for Turn {
    type Output = Step;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Step> {
        let mut queue = self.inner.queue();
        if matches!(&*lock(&self.ticket.slot), Slot::Waiting(..)) {
            queue.answer(&self.ticket);
        }
        let mut slot = lock(&self.ticket.slot);
        let waits = |waker: &mut Option<Waker>| match waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        };
        match &mut *slot {
            Slot::Waiting(_, waker) | Slot::Taken(waker) => {
                waits(waker);
                return Poll::Pending;
            }
            Slot::Leads(..) | Slot::Done(..) | Slot::Left => {}
        }
        match replace(&mut *slot, Slot::Left) {
            Slot::Leads(instance, work) => {
                let mut lease = Lease::new(&self.inner, instance, work);
                lease.came(self.ticket.came);
                Poll::Ready(Step::Lead(lease))
            }
            Slot::Done(work, ran) => Poll::Ready(Step::Done(work, ran)),
            // It was polled after its end.
            Slot::Waiting(..) | Slot::Taken(_) | Slot::Left => Poll::Pending,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queue = self.inner.queue();
        let left = replace(&mut *lock(&self.ticket.slot), Slot::Left);
        let unneeded = match left {
            Slot::Waiting(..) => {
                queue.leave(&self.ticket);
                // It may have been called.
                queue.settle()
            }
            Slot::Leads(instance, _) => queue.release(instance),
            Slot::Taken(_) | Slot::Done(..) | Slot::Left => Vec::new(),
        };
        drop(queue);
        drop(unneeded);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("items", &self.items).finish_non_exhaustive()
    }
}
