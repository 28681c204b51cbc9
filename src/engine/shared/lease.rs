//! An instance in the hands of one caller, and the batch that it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::instance::Instance;
use super::queue::Ticket;
use super::{InferError, Inner, Work};
use crate::event::Tensor;
use crate::task::{Clock, SystemClock};

/// An instance that is the caller's, until it is run or dropped.
#[derive(Debug)]
#[must_use = "somebody else could use the instance"]
pub struct Lease {
    inner: Arc<Inner>,
    /// `None`: it was given back.
    instance: Option<Instance>,
    work: Work,
    came: Instant,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// From entering to the run.
    pub waited: Duration,
    /// The run, of the whole batch.
    pub took: Duration,
    /// Items in the batch.
    pub batch: usize,
    /// It was the caller who ran it; false: another took it along.
    pub led: bool,
}

/// Another's work in this batch. Should it not be finished, who waits for it hears that.
struct Companion {
    ticket: Arc<Ticket>,
    work: Option<Work>,
}

impl Companion {
    fn finish(mut self, ran: Result<Ran, InferError>) {
        if let Some(work) = self.work.take() {
            self.ticket.finish(work, ran);
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.ticket.finish(work, Err(InferError::Stopped));
        }
    }
}

impl Lease {
    pub(super) fn new(inner: &Arc<Inner>, instance: Instance, work: Work) -> Self {
        let came = SystemClock.now();
        Self { inner: Arc::clone(inner), instance: Some(instance), work, came }
    }

    /// When its holder began to wait.
    pub(super) fn came(&mut self, at: Instant) {
        self.came = at;
    }

    /// How long the run will take, going by those before; `None`: nobody knows, or it waits for others.
    pub fn expected(&self) -> Option<Duration> {
        let pace = self.inner.pace.load(Ordering::Relaxed);
        let items = self.work.items().max(self.inner.terms.max_batch);
        let all = pace.saturating_mul(u64::try_from(items).unwrap_or(u64::MAX));
        (pace > 0 && self.inner.terms.max_delay.is_zero()).then(|| Duration::from_nanos(all))
    }

    /// Runs the work on this thread, and with it that of others who wait, as far as one batch goes.
    pub fn run(mut self) -> (Work, Result<Ran, InferError>) {
        let mut work = std::mem::take(&mut self.work);
        let company = self.company(&work);
        let Some(instance) = &mut self.instance else {
            return (work, Err(InferError::Stopped));
        };
        let ran = if company.is_empty() {
            self.inner.run(instance, &mut work, self.came)
        } else {
            self.inner.run_together(instance, &mut work, self.came, company)
        };
        (work, ran)
    }

    /// Those who wait and can share this run.
    fn company(&self, work: &Work) -> Vec<Companion> {
        let terms = &self.inner.terms;
        let mut room = terms.max_batch.saturating_sub(work.items());
        let mut company = Vec::new();
        if room == 0 || terms.max_batch == 1 || work.items() == 0 {
            return company;
        }
        let until = SystemClock.now() + terms.max_delay;
        let mut queue = self.inner.queue();
        loop {
            let fits = |ticket: &Ticket, other: &Work| ticket.items <= room && work.is_like(other);
            if let Some((ticket, work)) = queue.take_along(fits) {
                room -= ticket.items;
                company.push(Companion { ticket, work: Some(work) });
                continue;
            }
            let left = until.saturating_duration_since(SystemClock.now());
            if room == 0 || left.is_zero() {
                return company;
            }
            let waited = self.inner.came.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        let unneeded = self.inner.queue().release(instance);
        drop(unneeded);
    }
}

impl Inner {
    fn run(
        &self,
        instance: &mut Instance,
        work: &mut Work,
        came: Instant,
    ) -> Result<Ran, InferError> {
        let batch = work.items();
        let began = SystemClock.now();
        instance.run(work, &self.mend)?;
        let took = SystemClock.now() - began;
        self.note(took, batch);
        Ok(Ran { waited: began.saturating_duration_since(came), took, batch, led: true })
    }

    /// One run for all, where the model takes that; else each alone.
    fn run_together(
        &self,
        instance: &mut Instance,
        work: &mut Work,
        came: Instant,
        company: Vec<Companion>,
    ) -> Result<Ran, InferError> {
        let mine = work.items();
        let mut all = Work { inputs: work.inputs.clone(), outputs: Vec::new() };
        for other in company.iter().filter_map(|companion| companion.work.as_ref()) {
            for (tensor, more) in all.inputs.iter_mut().zip(&other.inputs) {
                tensor.append(more);
            }
        }
        let ran = self.run(instance, &mut all, came);
        let batch = all.items();
        let whole = |tensor: &Tensor| tensor.shape().first() == Some(&batch);
        let ran = match ran {
            Ok(ran) if all.outputs.iter().all(whole) => ran,
            // Whose fault it is shows when each runs alone.
            _ => {
                for mut companion in company {
                    let ran = match &mut companion.work {
                        Some(work) => self.run(instance, work, companion.ticket.came),
                        None => Err(InferError::Stopped),
                    };
                    companion.finish(ran);
                }
                return self.run(instance, work, came);
            }
        };
        let began = came + ran.waited;
        let mut from = mine;
        for mut companion in company {
            if let Some(work) = &mut companion.work {
                let items = work.items();
                work.outputs = cut(&all.outputs, from, items);
                from += items;
            }
            let waited = began.saturating_duration_since(companion.ticket.came);
            companion.finish(Ok(Ran { waited, led: false, ..ran }));
        }
        work.outputs = cut(&all.outputs, 0, mine);
        Ok(ran)
    }

    /// How long an item takes, smoothed.
    fn note(&self, took: Duration, items: usize) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / (items.max(1) as u64);
        let before = self.pace.load(Ordering::Relaxed);
        let now = if before == 0 { nanos } else { before - before / 8 + nanos / 8 };
        self.pace.store(now.max(1), Ordering::Relaxed);
    }
}

fn cut(outputs: &[Tensor], from: usize, items: usize) -> Vec<Tensor> {
    outputs.iter().filter_map(|tensor| tensor.items(from, items)).collect()
}

impl Work {
    /// With these inputs and no answer yet.
    pub fn new(inputs: Vec<Tensor>) -> Self {
        Self { inputs, outputs: Vec::new() }
    }

    /// Items along the first dimension of the first input, 1 where it has none.
    pub fn items(&self) -> usize {
        self.inputs.first().and_then(|input| input.shape().first()).copied().unwrap_or(1)
    }

    /// But for the number of items, the inputs have the same form.
    fn is_like(&self, other: &Self) -> bool {
        let alike = |(a, b): (&Tensor, &Tensor)| {
            let tail = |tensor: &Tensor| tensor.shape().get(1..).map(<[usize]>::to_vec);
            a.dtype() == b.dtype() && tail(a).is_some() && tail(a) == tail(b)
        };
        let even = |work: &Self| {
            let items = work.items();
            work.inputs.iter().all(|input| input.shape().first() == Some(&items))
        };
        self.inputs.len() == other.inputs.len()
            && self.inputs.iter().zip(&other.inputs).all(alike)
            && even(self)
            && even(other)
    }
}
