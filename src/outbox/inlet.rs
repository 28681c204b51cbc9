//! The bounded way into the outbox's thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::gap::{Losses, Lost, Reason};
use super::store::Memories;
use super::{Batch, Draft, Lane, Memory, OutboxConfig, Record, WhenUnwritable};
use crate::event::Ack;
use crate::task::Uptime;

/// With `hold`, so many times `queue` may wait: pipelines stop taking messages at `queue`, and one message
/// may make more than one record.
const HOLD_FACTOR: usize = 4;

/// How often who waits for room looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A record that waits for the disk, and who waits for it.
#[derive(Debug)]
pub(super) struct Item {
    pub draft: Draft,
    /// When it was made, for a board that may not know the time.
    pub made: Option<Uptime>,
    pub ack: Ack,
}

/// What readers and the app ask of the thread.
#[derive(Debug)]
pub(super) enum Command {
    /// The next records for a cloud.
    Read {
        lane: Lane,
        /// Behind this place; behind all that the cloud has by default.
        after: Option<i64>,
        /// Up to this place; the newest by default.
        upto: Option<i64>,
        records: usize,
        bytes: usize,
        reply: oneshot::Sender<Reply>,
    },
    /// A cloud has everything behind `after` up to `upto`.
    Delivered { lane: Lane, after: i64, upto: i64 },
    /// A cloud will never take this record.
    Refused(Box<Refused>),
    /// The ways to clouds that records are kept for.
    Lanes(Vec<Lane>),
}

/// A record that a cloud will never take.
#[derive(Debug)]
pub(super) struct Refused {
    pub lane: Lane,
    pub record: Record,
    pub reason: String,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) struct Reply {
    pub batch: Option<Batch>,
    /// Everything up to here was looked at.
    pub position: i64,
    /// The place of the newest record.
    pub newest: i64,
}

/// What the thread takes out.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub commands: VecDeque<Command>,
    pub losses: Losses,
    pub memories: Memories,
    pub is_closing: bool,
}

#[derive(Debug)]
pub(super) struct Inlet {
    queue: usize,
    max_body: usize,
    when_unwritable: WhenUnwritable,
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Of what is in `items` and in the thread's hands.
    bytes: usize,
    /// Few: a reader waits for each answer, and is done with each batch once.
    commands: VecDeque<Command>,
    losses: Losses,
    /// The newest of each name.
    memories: Memories,
    is_closing: bool,
    has_ended: bool,
}

impl Inlet {
    pub(super) fn new(config: &OutboxConfig) -> Self {
        Self {
            queue: config.queue.0,
            max_body: (config.max.0 / 8).min(4 << 20),
            when_unwritable: config.when_unwritable,
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Takes a record in, or does what the policy says. Never waits.
    pub(super) fn push(&self, draft: Draft, made: Option<Uptime>, ack: Ack) {
        let cost = draft.cost();
        let mut state = self.lock();
        let hold = self.when_unwritable == WhenUnwritable::Hold;
        let limit = if hold { self.queue.saturating_mul(HOLD_FACTOR) } else { self.queue };
        let refused = if draft.body.get().len() > self.max_body {
            Some(Reason::TooLarge)
        } else if state.has_ended {
            Some(Reason::Unwritable)
        } else if state.bytes + cost > limit {
            Some(Reason::Overload)
        } else {
            None
        };
        let Some(reason) = refused else {
            state.bytes += cost;
            state.items.push_back(Item { draft, made, ack });
            drop(state);
            self.work.notify_one();
            return;
        };
        // Nobody will ever write a record that is too large: to hold its message would not help. What no message
        // is behind does not come again.
        if hold && reason != Reason::TooLarge && ack.is_awaited() {
            // The share is dropped unsettled: the message comes again.
            return;
        }
        state.losses.add(reason, &Lost::unwritten(&draft));
        drop(state);
        self.work.notify_one();
        ack.settle();
    }

    /// How long a body may be.
    pub(super) const fn max_body(&self) -> usize {
        self.max_body
    }

    /// Takes in what is to be remembered, in the place of what was not written yet.
    pub(super) fn remember(&self, name: String, memory: Memory) {
        let mut state = self.lock();
        if !state.has_ended {
            state.memories.insert(name, memory);
        }
        drop(state);
        self.work.notify_one();
    }

    /// Waits, with `hold`, as long as more waits for the disk than may; until `is_given_up`.
    pub(super) fn wait_for_room(&self, is_given_up: impl Fn() -> bool) {
        if self.when_unwritable == WhenUnwritable::Continue {
            return;
        }
        let mut state = self.lock();
        while state.bytes > self.queue && !state.has_ended && !is_given_up() {
            let waited = self.room.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks something of the thread; false: it has ended.
    pub(super) fn ask(&self, command: Command) -> bool {
        let mut state = self.lock();
        if state.has_ended {
            return false;
        }
        state.commands.push_back(command);
        drop(state);
        self.work.notify_one();
        true
    }

    /// Waits until there is something to do, or `timeout` has passed. Records count only `with_items`.
    pub(super) fn wait(&self, timeout: Duration, with_items: bool) -> Taken {
        let idle = |state: &mut State| {
            let items = with_items && !state.items.is_empty();
            let told = state.losses.is_empty() && state.memories.is_empty();
            !items && state.commands.is_empty() && told && !state.is_closing
        };
        let waited = self.work.wait_timeout_while(self.lock(), timeout, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        Taken {
            commands: std::mem::take(&mut state.commands),
            losses: std::mem::take(&mut state.losses),
            memories: std::mem::take(&mut state.memories),
            is_closing: state.is_closing,
        }
    }

    /// Moves waiting records into `hand` until it holds `bytes`.
    pub(super) fn take_into(&self, hand: &mut Vec<Item>, bytes: usize) {
        let mut state = self.lock();
        let mut held: usize = hand.iter().map(|item| item.draft.cost()).sum();
        while held < bytes {
            let Some(item) = state.items.pop_front() else { break };
            held += item.draft.cost();
            hand.push(item);
        }
    }

    /// What was in hand is done with.
    pub(super) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.room.notify_all();
    }

    /// Write what is there, then end.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.work.notify_one();
    }

    /// The thread is gone; what still waits is returned.
    pub(super) fn end(&self) -> Vec<Item> {
        let mut state = self.lock();
        state.has_ended = true;
        // Whoever waits for an answer gets none.
        state.commands.clear();
        state.memories.clear();
        state.bytes = 0;
        let left = state.items.drain(..).collect();
        drop(state);
        self.room.notify_all();
        left
    }

    /// Records that wait, those in the thread's hands apart.
    pub(super) fn waiting(&self) -> usize {
        self.lock().items.len()
    }

    // No code that can panic runs under this lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
