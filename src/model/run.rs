//! Batches on their way through a model: on the thread of their caller, or beside it.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::Spent;
use crate::engine::{InferError, Port, Ran, Work};
use crate::event::Name;
use crate::pipeline::preprocess::Batch;
use crate::task::{Clock, SystemClock};

/// A batch, what is known of it, and its memory, which serves the next one.
#[derive(Debug)]
pub struct Run {
    pub(super) batch: Batch,
    pub(super) work: Work,
    /// For each item of the batch, its place among the answers.
    pub(super) places: Vec<usize>,
    /// When its inputs began to be prepared, and when they were.
    pub(super) prepared: (Instant, Instant),
}

/// A run at its end.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) run: Box<Run>,
    pub(super) spent: Result<Spent, InferError>,
}

impl Run {
    pub(super) fn new(batch: Batch) -> Self {
        let now = SystemClock.now();
        Self { batch, work: Work::default(), places: Vec::new(), prepared: (now, now) }
    }

    /// Runs it here and now.
    pub(super) fn through(mut self: Box<Self>, port: &Port) -> Finished {
        let (began, ready) = self.prepared;
        let came = if self.places.is_empty() { ready } else { SystemClock.now() };
        let spent = |Ran { waited, took, .. }| Spent {
            began,
            preparing: ready - began,
            waiting: (came - ready) + waited,
            running: took,
        };
        let none = Ran { waited: Duration::ZERO, took: Duration::ZERO, batch: 0, led: true };
        let ran = if self.places.is_empty() { Ok(none) } else { port.infer(&mut self.work) };
        Finished { spent: ran.map(spent), run: self }
    }
}

/// A thread that runs one batch after the other, while its caller prepares the next.
#[derive(Debug)]
pub(super) struct Beside {
    runs: SyncSender<Box<Run>>,
    finished: Receiver<Finished>,
}

impl Beside {
    /// `None`: there can be no more threads.
    pub(super) fn start(model: &Name, port: Port) -> Option<Self> {
        let (runs, to_run) = sync_channel::<Box<Run>>(1);
        let (ended, finished) = sync_channel(1);
        let work = move || {
            for run in to_run {
                if ended.send(run.through(&port)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("run {model}"));
        thread.spawn(work).ok().map(|_| Self { runs, finished })
    }

    /// Takes a run, which is to be waited for before the next; gives it back if the thread is gone.
    pub(super) fn take(&self, run: Box<Run>) -> Result<(), Box<Run>> {
        self.runs.send(run).map_err(|back| back.0)
    }

    /// What it was given last, if it is at its end.
    pub(super) fn poll(&self) -> Result<Finished, TryRecvError> {
        self.finished.try_recv()
    }

    /// Waits for what it was given last; `None`: the thread is gone, and the run with it.
    pub(super) fn wait(&self) -> Option<Finished> {
        self.finished.recv().ok()
    }
}
