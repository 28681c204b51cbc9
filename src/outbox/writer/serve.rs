//! Answers to readers.

use tokio::sync::oneshot;

use super::super::inlet::Reply;
use super::super::store::Store;
use super::super::{Lane, OutboxError};
use super::Writer;

/// A reader that waits for its answer.
pub(super) struct Read {
    pub(super) lane: Lane,
    pub(super) after: Option<i64>,
    pub(super) upto: Option<i64>,
    pub(super) most: (usize, usize),
    pub(super) reply: oneshot::Sender<Reply>,
}

impl Writer {
    /// Answers readers. A database that cannot be written to may well be readable.
    pub(super) fn serve(&mut self, may_open: bool) {
        self.reads.retain(|read| !read.reply.is_closed());
        if self.reads.is_empty() || may_open && self.reopen_to_read().is_err() {
            return;
        }
        let Err(error) = self.answer() else { return };
        self.store = None;
        let recovered = if error.is_corrupt() { self.set_aside(&error) } else { Err(error) };
        match recovered {
            // What is left of it can be read.
            Ok(()) => {
                self.attempt();
                if self.answer().is_err() {
                    self.store = None;
                }
            }
            Err(error) => self.refuse(&error),
        }
    }

    /// Answers as many as can be; the others wait.
    fn answer(&mut self) -> Result<(), OutboxError> {
        let Some(store) = &self.store else { return Ok(()) };
        while let Some(read) = self.reads.pop() {
            match store.next(&self.clouds, &read.lane, (read.after, read.upto), read.most) {
                Ok(reply) => {
                    if let Some(batch) = &reply.batch {
                        self.clouds.hand_out(&read.lane, batch.after, batch.upto);
                    } else {
                        // Nothing is left there for this cloud. Unmarked, a place that was swept before it
                        // came would keep its cursor, and so every later record, for good.
                        let cursor = self.clouds.progress(&read.lane).cursor();
                        let from = read.after.unwrap_or(cursor);
                        self.clouds.skip(&read.lane, from, reply.position);
                    }
                    // Who asked may have gone.
                    drop(read.reply.send(reply));
                }
                Err(error) => {
                    self.reads.push(read);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn reopen_to_read(&mut self) -> Result<(), OutboxError> {
        if self.store.is_none() && self.lock.is_some() {
            let store = Store::open(&self.site, self.known())?;
            self.clouds.load(&store)?;
            self.store = Some(store);
        }
        Ok(())
    }
}
