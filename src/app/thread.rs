//! The thread of a pipeline, and how one waits for its end without waiting for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::flow::{Flow, Progress};
use crate::event::{Envelope, Name};
use crate::task::Queue;

/// How long a thread may take to notice that it is to give up: one batch of the slowest model.
const GIVE_UP: Duration = Duration::from_millis(500);

/// A running pipeline. Dropped, the thread works on until its queue is closed.
#[derive(Debug)]
pub(super) struct Thread {
    progress: Arc<Progress>,
    handle: JoinHandle<()>,
    /// The last step that [`Thread::stuck`] saw, and when it was new.
    seen: Option<(u64, Instant)>,
    /// Closed by the thread's end, however it comes.
    ended: oneshot::Receiver<()>,
}

impl Thread {
    pub(super) fn spawn(
        name: &Name,
        flow: Flow,
        queue: Arc<Queue<Envelope>>,
    ) -> Result<Self, String> {
        let progress = Arc::clone(&flow.progress);
        let (alive, ended) = oneshot::channel();
        let handle = std::thread::Builder::new()
            .name(format!("pipe {name}"))
            .spawn(move || {
                flow.run(&queue);
                drop::<oneshot::Sender<()>>(alive);
            })
            .map_err(|error| format!("no thread could be started: {error}"))?;
        Ok(Self { progress, handle, seen: None, ended })
    }

    /// For how long it has been at the same step, as far as the calls so far saw; `None` while it gets
    /// on, or has nothing to do.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<Duration> {
        let idle = self.progress.in_hand.load(Ordering::Relaxed) == 0;
        if idle && !self.has_ended() {
            self.seen = None;
            return None;
        }
        let step = self.progress.steps.load(Ordering::Relaxed);
        match self.seen {
            Some((seen, since)) if seen == step => Some(now.saturating_duration_since(since)),
            _ => {
                self.seen = Some((step, now));
                None
            }
        }
    }

    /// Has it keep its streams; it is to be woken then.
    pub(super) fn keep(&self) {
        self.progress.keep.store(true, Ordering::Relaxed);
    }

    /// The thread is gone, which none should be before it is told.
    fn has_ended(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the closed queue is worked off. After `deadline` the thread gives up; how many
    /// messages were in its hands is returned, and they come again.
    pub(super) async fn finish(mut self, deadline: Duration) -> usize {
        if timeout(deadline, &mut self.ended).await.is_ok() {
            return 0;
        }
        self.progress.halted.store(true, Ordering::Relaxed);
        // A model that does not answer is left behind; nothing more is decided or settled.
        let _noticed = timeout(GIVE_UP, &mut self.ended).await.is_ok();
        self.progress.in_hand.load(Ordering::Relaxed)
    }
}
