//! The thread that writes.

mod serve;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::serve::Read;
use super::gap::{Losses, Lost, Reason};
use super::handle::Shared;
use super::inlet::{Command, Item, Refused};
use super::store::{self, Clouds, Known, Memories, Site, Store, Work};
use super::{OutboxError, WhenUnwritable};
use crate::disk;
use crate::task::Backoff;

/// What one transaction takes at most, in bytes; a single record may be larger.
const BATCH: usize = 1 << 20;

/// How soon and how late a disk that refused is asked again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// How often records are looked at for their age when nothing else happens.
const TICK: Duration = Duration::from_mins(1);

/// Refused records that wait for the disk; one more pushes out the oldest.
const MOST_REFUSED: usize = 64;

pub(super) struct Writer {
    site: Site,
    shared: Arc<Shared>,
    newest: watch::Sender<i64>,
    lock: Option<File>,
    store: Option<Store>,
    clouds: Clouds,
    hand: Vec<Item>,
    losses: Losses,
    /// Not written yet. What the disk refuses waits for a newer one, or until it is back.
    memories: Memories,
    refused: VecDeque<Refused>,
    reads: Vec<Read>,
    /// Why the disk is not asked before a certain time.
    refusal: Option<Refusal>,
    backoff: Backoff,
    next_tick: Instant,
}

struct Refusal {
    reason: String,
    retry_at: Instant,
}

impl Writer {
    pub(super) fn new(site: Site, shared: Arc<Shared>, newest: watch::Sender<i64>) -> Self {
        let next_tick = site.clock.now() + TICK;
        Self {
            site,
            shared,
            newest,
            lock: None,
            store: None,
            clouds: Clouds::default(),
            hand: Vec::new(),
            losses: Losses::default(),
            memories: Memories::new(),
            refused: VecDeque::new(),
            reads: Vec::new(),
            refusal: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            next_tick,
        }
    }

    /// Works until it is told to close, and what waits is written or given up.
    pub(super) fn run(mut self) {
        self.attempt();
        self.report();
        loop {
            let now = self.site.clock.now();
            let wake_at = self.refusal.as_ref().map_or(self.next_tick, |refusal| refusal.retry_at);
            // With `hold`, what waits goes on waiting while the disk refuses.
            let with_items = self.refusal.is_none() || self.gives_up();
            let taken = self.shared.inlet.wait(wake_at.saturating_duration_since(now), with_items);
            self.shared.status().dropped += taken.losses.count();
            self.losses.merge(taken.losses);
            self.memories.extend(taken.memories);
            self.obey(taken.commands);
            let is_due = taken.is_closing || self.site.clock.now() >= wake_at;
            if is_due || self.refusal.is_none() {
                self.attempt();
            }
            if self.refusal.is_some() && self.gives_up() {
                self.give_up();
            }
            self.serve(is_due);
            self.report();
            if taken.is_closing && (self.refusal.is_some() || self.shared.inlet.waiting() == 0) {
                break;
            }
        }
        self.end();
    }

    fn gives_up(&self) -> bool {
        self.site.config.when_unwritable == WhenUnwritable::Continue
    }

    fn obey(&mut self, commands: VecDeque<Command>) {
        for command in commands {
            match command {
                Command::Read { lane, after, upto, records, bytes, reply } => {
                    self.reads.push(Read { lane, after, upto, most: (records, bytes), reply });
                }
                Command::Delivered { lane, after, upto } => self.clouds.mark(&lane, after, upto),
                Command::Refused(refused) => {
                    let pos = refused.record.pos;
                    self.clouds.mark(&refused.lane, pos - 1, pos);
                    if self.refused.len() >= MOST_REFUSED {
                        self.refused.pop_front();
                    }
                    self.refused.push_back(*refused);
                    self.shared.status().refused += 1;
                }
                Command::Lanes(lanes) => {
                    self.clouds.configure(lanes);
                    // What cannot be read now is done when it is opened anew.
                    let joined = self.store.as_ref().map(|store| self.clouds.rejoin(store));
                    if let Some(Err(error)) = joined {
                        tracing::debug!("the ways to the clouds wait for the outbox: {error}");
                        self.store = None;
                    }
                }
            }
        }
    }

    /// Writes what waits. A disk that fails is tried once more at once, with the database opened anew;
    /// after that it refuses.
    fn attempt(&mut self) {
        let most = BATCH.min(self.site.config.max.0 / 16);
        self.shared.inlet.take_into(&mut self.hand, most);
        if self.has_nothing_to_do() {
            return;
        }
        self.shared.status().busy_since = Some(self.site.clock.now());
        let outcome = self.write().or_else(|error| self.recover(error));
        self.shared.status().busy_since = None;
        if let Err(error) = outcome {
            self.refuse(&error);
            return;
        }
        self.next_tick = self.site.clock.now() + TICK;
        if let Some(refusal) = self.refusal.take() {
            tracing::info!(after = refusal.reason, "the outbox is written to again");
        }
        self.backoff.reset();
    }

    fn has_nothing_to_do(&self) -> bool {
        self.store.is_some()
            && self.refusal.is_none()
            && self.hand.is_empty()
            && self.losses.is_empty()
            && self.memories.is_empty()
            && self.refused.is_empty()
            && !self.clouds.has_changed()
            && self.site.clock.now() < self.next_tick
    }

    fn write(&mut self) -> Result<(), OutboxError> {
        match &mut self.store {
            // It was opened to be read from, say.
            Some(store) if self.refusal.is_some() => store.probe()?,
            Some(_) => {}
            None => self.open()?,
        }
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut work = Work {
            items: &self.hand,
            memories: &self.memories,
            losses: &self.losses,
            clouds: &mut self.clouds,
            refused: self.refused.make_contiguous(),
        };
        let written = store.write(&mut work)?;
        let newest = store.newest();
        self.report_stored(written.dropped);
        self.losses = Losses::default();
        self.memories.clear();
        self.refused.clear();
        // Before anybody hears that it is written.
        self.newest.send_replace(newest);
        self.settle();
        Ok(())
    }

    /// The records in hand are on disk.
    fn settle(&mut self) {
        let cost = self.hand.iter().map(|item| item.draft.cost()).sum();
        self.hand.drain(..).for_each(|item| item.ack.settle());
        self.shared.inlet.release(cost);
    }

    fn open(&mut self) -> Result<(), OutboxError> {
        let path = &self.site.config.path;
        if self.lock.is_none() {
            if let Some(directory) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                disk::make_directory(directory)
                    .map_err(|error| OutboxError::io(directory, error))?;
            }
            self.lock = Some(lock(path)?);
        }
        store::finish_salvage(path)?;
        let mut store = Store::open(&self.site, self.known())?;
        self.clouds.load(&store)?;
        store.probe()?;
        self.newest.send_replace(store.newest());
        self.store = Some(store);
        Ok(())
    }

    /// Should the file be another one than before, what readers and clouds have in hand stays behind them.
    fn known(&self) -> Known {
        let pos = self.clouds.highest().max(*self.newest.borrow());
        Known { epoch: self.shared.status().epoch, pos }
    }

    /// After an error: the handle is not trusted any more, and what the file holds is looked at afresh.
    fn recover(&mut self, error: OutboxError) -> Result<(), OutboxError> {
        let was_open = self.store.take().is_some();
        if error.is_corrupt() {
            self.set_aside(&error)?;
            return self.write();
        }
        if !was_open {
            return Err(error);
        }
        self.open()?;
        let Some(store) = &self.store else { return Ok(()) };
        store.distrust_log()?;
        if let Some(last) = self.hand.last()
            && store.ends_with(last.draft.id)?
        {
            // The commit had been complete, and now it is on disk.
            self.losses = Losses::default();
            self.memories.clear();
            self.refused.clear();
            self.report_stored(0);
            self.settle();
        }
        self.write()
    }

    fn set_aside(&mut self, why: &OutboxError) -> Result<(), OutboxError> {
        let done = store::salvage(&self.site, self.known())?;
        let (aside, records, missing) = (done.aside.display(), done.records, done.missing);
        tracing::error!(%aside, records, missing, "a fresh outbox goes on with what could be read: {why}");
        self.shared.status().set_aside += 1;
        Ok(())
    }

    fn refuse(&mut self, error: &OutboxError) {
        self.store = None;
        let reason = error.to_string();
        if self.refusal.as_ref().is_none_or(|before| before.reason != reason) {
            let path = self.site.config.path.display();
            let meanwhile = if self.gives_up() {
                "records are given up and counted"
            } else {
                "acknowledgements are withheld"
            };
            tracing::error!(%path, "the outbox cannot be written to, {meanwhile}: {reason}");
        }
        let retry_at = self.site.clock.now() + self.backoff.next_wait();
        self.refusal = Some(Refusal { reason, retry_at });
    }

    /// Counts what waits, and lets its messages be acknowledged.
    fn give_up(&mut self) {
        loop {
            self.shared.inlet.take_into(&mut self.hand, usize::MAX);
            if self.hand.is_empty() {
                return;
            }
            let cost = self.hand.iter().map(|item| item.draft.cost()).sum();
            self.shared.status().dropped += self.hand.len() as u64;
            for item in self.hand.drain(..) {
                self.losses.add(Reason::Unwritable, &Lost::unwritten(&item.draft));
                item.ack.settle();
            }
            self.shared.inlet.release(cost);
        }
    }

    fn report(&self) {
        let mut status = self.shared.status();
        status.problem = self.refusal.as_ref().map(|refusal| refusal.reason.clone());
        status.waiting = self.hand.len() as u64;
    }

    /// Before anybody is told that it is written: who then looks finds it.
    fn report_stored(&self, dropped: u64) {
        let Some(store) = &self.store else { return };
        let oldest = store.oldest();
        let mut status = self.shared.status();
        status.stored.clone_from(store.tally().amounts());
        status.oldest = oldest;
        status.epoch = store.epoch();
        status.dropped += dropped;
        status.written += self.hand.len() as u64;
    }

    fn end(mut self) {
        self.hand.extend(self.shared.inlet.end());
        let lost = self.hand.len() as u64 + self.losses.count();
        if lost > 0 && self.gives_up() {
            tracing::error!(records = lost, "not written, and nothing on disk tells of them");
            self.give_up();
        } else if lost > 0 {
            tracing::warn!(records = lost, "not written; their messages come again");
        }
        // The log is emptied into the file, and another process may have it, before anybody is told of
        // the end.
        drop(self.store.take());
        drop(self.lock.take());
        self.report();
        tracing::debug!("the outbox is closed");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // However it came to its end: nobody may wait for it any more.
        let left = self.shared.inlet.end();
        if std::thread::panicking() {
            let records = left.len() + self.hand.len();
            tracing::error!(
                records,
                "the outbox's thread failed; nothing is recorded until a restart"
            );
            self.shared.status().problem = Some("its thread failed; restart eir".to_owned());
        }
    }
}

/// The right to write: one process has it.
pub(super) fn lock(path: &std::path::Path) -> Result<File, OutboxError> {
    let file = store::beside(path, ".lock");
    disk::lock(&file).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OutboxError::Taken(path.to_owned()),
        _ => OutboxError::io(file, error),
    })
}
