//! What one cloud has not got yet.

use tokio::sync::oneshot;

use super::inlet::{Command, Refused};
use super::{Batch, Outbox, Record};
use crate::event::Name;

/// Hands out the records that a cloud has not got, oldest first, each once. What is handed out is in the
/// hands of the caller until it is [`Reader::delivered`] or [`Reader::dead_letter`]ed; what is neither
/// comes again after [`Reader::rewind`] or a restart. Several batches may be in hand, and be done with in
/// any order.
#[derive(Debug)]
pub struct Reader {
    cloud: Name,
    outbox: Outbox,
    /// Everything up to here was handed out; `None`: what the cloud has counts.
    position: Option<i64>,
}

impl Reader {
    pub(super) fn new(cloud: Name, outbox: Outbox) -> Self {
        Self { cloud, outbox, position: None }
    }

    /// The next records, at most `records` and about `bytes`, but at least one; `None`: there is nothing
    /// more at the moment, or the outbox has stopped. While the database cannot be read, this waits.
    pub async fn next(&mut self, records: usize, bytes: usize) -> Option<Batch> {
        let (reply, answer) = oneshot::channel();
        let (cloud, after) = (self.cloud.clone(), self.position);
        let command = Command::Read { cloud, after, records, bytes, reply };
        if !self.outbox.shared.inlet.ask(command) {
            return None;
        }
        let answer = answer.await.ok()?;
        self.position = Some(answer.position);
        answer.batch
    }

    /// Waits until there is something behind what was handed out; false: the outbox has stopped.
    pub async fn notified(&mut self) -> bool {
        let position = self.position.unwrap_or(-1);
        self.outbox.newest.wait_for(|newest| *newest > position).await.is_ok()
    }

    /// The cloud has all of the batch. The record is deleted when every cloud has it.
    pub fn delivered(&self, batch: &Batch) {
        let (cloud, after, upto) = (self.cloud.clone(), batch.after, batch.upto);
        // If the outbox has stopped, it comes again after the start.
        let _told = self.outbox.shared.inlet.ask(Command::Delivered { cloud, after, upto });
    }

    /// The cloud will never take this record: it is kept in a bounded table for a person to look at, with
    /// the reason, and is done with as far as this cloud is concerned.
    pub fn dead_letter(&self, record: Record, reason: &str) {
        let (cloud, reason) = (self.cloud.clone(), reason.chars().take(500).collect());
        let refused = Box::new(Refused { cloud, record, reason });
        let _told = self.outbox.shared.inlet.ask(Command::Refused(refused));
    }

    /// Forgets what was handed out: what is not done with is handed out again.
    pub fn rewind(&mut self) {
        self.position = None;
    }
}
