//! What one cloud has not got yet.

use tokio::sync::oneshot;

use super::inlet::{Command, Refused, Reply};
use super::{Batch, Lane, Outbox, Record};

/// While there is a backlog, so many batches in a row are of what is new; the next is of the backlog.
const LIVE_TURNS: u8 = 3;

/// Hands out the records that a cloud has not got by one way, each once. What is handed out is in the hands of the
/// caller until it is [`Reader::delivered`] or [`Reader::dead_letter`]ed; what is neither comes again after
/// [`Reader::rewind`] or a restart. Several batches may be in hand, and be done with in any order.
///
/// They come oldest first. Where more than a batch waits, what is written from then on comes before it: a
/// month of backlog does not hide today's alarm. One batch in four is of the backlog meanwhile, so that it
/// ends.
#[derive(Debug)]
pub struct Reader {
    lane: Lane,
    outbox: Outbox,
    /// Everything up to here was handed out, but for what `live` tells of; `None`: what the cloud has
    /// counts.
    position: Option<i64>,
    live: Option<Live>,
}

/// What came after the backlog.
#[derive(Debug, Clone, Copy)]
struct Live {
    /// The backlog ends here.
    from: i64,
    /// Everything behind `from` up to here was handed out.
    position: i64,
    /// Batches of it in a row.
    turns: u8,
}

impl Reader {
    pub(super) const fn new(lane: Lane, outbox: Outbox) -> Self {
        Self { lane, outbox, position: None, live: None }
    }

    /// The next records, at most `records` and about `bytes`, but at least one; `None`: there is nothing
    /// more at the moment, or the outbox has stopped. While the database cannot be read, this waits.
    pub async fn next(&mut self, records: usize, bytes: usize) -> Option<Batch> {
        let most = (records, bytes);
        loop {
            let newest = *self.outbox.newest.borrow();
            let batch = match self.live {
                Some(live) if live.position < newest && live.turns < LIVE_TURNS => {
                    let reply = self.read(Some(live.position), None, most).await?;
                    let (position, turns) = (reply.position, live.turns + 1);
                    self.live = Some(Live { position, turns, ..live });
                    reply.batch
                }
                Some(live) => {
                    let reply = self.read(self.position, Some(live.from), most).await?;
                    let is_done = reply.position >= live.from;
                    self.position = Some(if is_done { live.position } else { reply.position });
                    self.live = (!is_done).then_some(Live { turns: 0, ..live });
                    reply.batch
                }
                None => {
                    let reply = self.read(self.position, None, most).await?;
                    self.position = Some(reply.position);
                    let more = usize::try_from(reply.newest - reply.position).unwrap_or(0);
                    let (from, position) = (reply.newest, reply.newest);
                    self.live = (more > records).then_some(Live { from, position, turns: 0 });
                    return reply.batch;
                }
            };
            if batch.is_some() {
                return batch;
            }
        }
    }

    /// What lies between two places.
    async fn read(
        &self,
        after: Option<i64>,
        upto: Option<i64>,
        (records, bytes): (usize, usize),
    ) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        let lane = self.lane.clone();
        let command = Command::Read { lane, after, upto, records, bytes, reply };
        if !self.outbox.shared.inlet.ask(command) {
            return None;
        }
        answer.await.ok()
    }

    /// Waits until there is something that was not handed out; false: the outbox has stopped.
    pub async fn notified(&mut self) -> bool {
        if self.live.is_some() {
            // There is a backlog, as long as somebody hands it out.
            return self.outbox.newest.has_changed().is_ok();
        }
        let position = self.position.unwrap_or(-1);
        self.outbox.newest.wait_for(|newest| *newest > position).await.is_ok()
    }

    /// The cloud has all of the batch. The record is deleted when every cloud has it.
    pub fn delivered(&self, batch: &Batch) {
        let (lane, after, upto) = (self.lane.clone(), batch.after, batch.upto);
        // If the outbox has stopped, it comes again after the start.
        let _told = self.outbox.shared.inlet.ask(Command::Delivered { lane, after, upto });
    }

    /// The cloud will never take this record: it is kept in a bounded table for a person to look at, with
    /// the reason, and is done with as far as this cloud is concerned.
    pub fn dead_letter(&self, record: Record, reason: &str) {
        let (lane, reason) = (self.lane.clone(), reason.chars().take(500).collect());
        let refused = Box::new(Refused { lane, record, reason });
        let _told = self.outbox.shared.inlet.ask(Command::Refused(refused));
    }

    /// The way that they go.
    pub const fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Forgets what was handed out: what is not done with is handed out again.
    pub fn rewind(&mut self) {
        (self.position, self.live) = (None, None);
    }
}
