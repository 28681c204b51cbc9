//! A bounded queue between a source and a thread, with a named policy for when it is full.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a message when its queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Nothing is dropped: acknowledgements are withheld, and the broker stops at its limit of
    /// unacknowledged messages (QoS 1 and 2 only).
    #[default]
    Hold,
    /// The oldest message makes room: a camera wants the newest frame.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

/// What became of a pushed item.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It is in the queue.
    Queued,
    /// The queue was full: this one was dropped by policy (the oldest or the one pushed).
    Dropped(T),
    /// The queue was full, and its policy is to hold: the caller keeps the item.
    Full(T),
    /// The queue is closed; the caller keeps the item.
    Closed(T),
}

/// A bounded first-in first-out queue. Pushing never blocks; popping does.
#[derive(Debug)]
pub struct Queue<T> {
    capacity: usize,
    when_full: WhenFull,
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    woken: bool,
}

impl<T> Queue<T> {
    /// Room for `capacity` items, at least one.
    pub fn new(capacity: usize, when_full: WhenFull) -> Self {
        Self {
            capacity: capacity.max(1),
            when_full,
            state: Mutex::new(State { items: VecDeque::new(), closed: false, woken: false }),
            filled: Condvar::new(),
        }
    }

    /// Adds an item, or does what the policy says.
    pub fn push(&self, item: T) -> Pushed<T> {
        let mut state = self.lock();
        if state.closed {
            return Pushed::Closed(item);
        }
        let mut dropped = None;
        if state.items.len() >= self.capacity {
            match self.when_full {
                WhenFull::Hold => return Pushed::Full(item),
                WhenFull::DropNewest => return Pushed::Dropped(item),
                WhenFull::DropOldest => dropped = state.items.pop_front(),
            }
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        dropped.map_or(Pushed::Queued, Pushed::Dropped)
    }

    /// Adds an item whatever the policy, and gives back the oldest where more than `most` would wait.
    pub fn keep_newest(&self, item: T, most: usize) -> Option<T> {
        let mut state = self.lock();
        if state.closed {
            return Some(item);
        }
        let oldest = if state.items.len() >= most.max(1) { state.items.pop_front() } else { None };
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        oldest
    }

    /// Waits for at least one item and moves up to `most` into `batch`, oldest first; none where
    /// [`Queue::wake`] came before any. False: the queue is closed and empty.
    pub fn pop_into(&self, batch: &mut Vec<T>, most: usize) -> bool {
        let mut state = self.lock();
        loop {
            let woken = std::mem::take(&mut state.woken);
            if woken || !state.items.is_empty() {
                let count = state.items.len().min(most.max(1));
                batch.extend(state.items.drain(..count));
                return true;
            }
            if state.closed {
                return false;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Who pops gets to do something else, though nothing may have come.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.filled.notify_one();
    }

    /// No more items come in; what is queued can still be popped.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Closes the queue and takes out what nobody will pop any more.
    pub fn close_and_take(&self) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        let left = state.items.drain(..).collect();
        drop(state);
        self.filled.notify_all();
        left
    }

    /// The number of items that wait.
    pub fn len(&self) -> usize {
        self.lock().items.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // No code that can panic runs under this lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(when_full: WhenFull) -> Queue<u32> {
        let queue = Queue::new(2, when_full);
        assert_eq!(queue.push(1), Pushed::Queued);
        assert_eq!(queue.push(2), Pushed::Queued);
        queue
    }

    fn rest(queue: &Queue<u32>) -> Vec<u32> {
        queue.close();
        let mut all = Vec::new();
        while queue.pop_into(&mut all, 1) {}
        all
    }

    #[test]
    fn each_policy_does_what_its_name_says() {
        let queue = full(WhenFull::Hold);
        assert_eq!(queue.push(3), Pushed::Full(3));
        assert_eq!(rest(&queue), [1, 2]);

        let queue = full(WhenFull::DropOldest);
        assert_eq!(queue.push(3), Pushed::Dropped(1));
        assert_eq!(rest(&queue), [2, 3]);

        let queue = full(WhenFull::DropNewest);
        assert_eq!(queue.push(3), Pushed::Dropped(3));
        assert_eq!(rest(&queue), [1, 2]);
    }

    #[test]
    fn the_newest_are_kept_whatever_the_policy() {
        let queue = full(WhenFull::Hold);
        assert_eq!(queue.keep_newest(3, 3), None);
        assert_eq!(queue.keep_newest(4, 3), Some(1));
        assert_eq!(rest(&queue), [2, 3, 4]);
        assert_eq!(queue.keep_newest(5, 3), Some(5));
    }

    #[test]
    fn a_closed_queue_gives_items_back_and_ends() {
        let queue = full(WhenFull::Hold);
        queue.close();
        assert_eq!(queue.push(3), Pushed::Closed(3));
        let mut batch = Vec::new();
        assert!(queue.pop_into(&mut batch, 8));
        assert_eq!(batch, [1, 2]);
        assert!(!queue.pop_into(&mut batch, 8));
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let queue = std::sync::Arc::new(Queue::new(4, WhenFull::Hold));
        let other = std::sync::Arc::clone(&queue);
        let thread = std::thread::spawn(move || {
            let mut batch = Vec::new();
            other.pop_into(&mut batch, 4);
            batch
        });
        assert_eq!(queue.push(7), Pushed::Queued);
        assert_eq!(thread.join().expect("thread"), [7]);
    }

    #[test]
    fn who_is_woken_gets_nothing_once_and_waits_again() {
        let queue = full(WhenFull::Hold);
        queue.wake();
        let mut batch = Vec::new();
        assert!(queue.pop_into(&mut batch, 8));
        assert_eq!(batch, [1, 2], "what is there comes with it");
        queue.wake();
        batch.clear();
        assert!(queue.pop_into(&mut batch, 8));
        assert!(batch.is_empty());
        queue.close();
        assert!(!queue.pop_into(&mut batch, 8));
    }
}
