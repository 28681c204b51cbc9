//! One session, and how it does.

use std::sync::Mutex;

use super::{InferError, Work, lock};
use crate::engine::{EngineError, Session};

/// After so many failures in a row the session is built anew.
const FAILURES: u32 = 3;

/// Looks after sessions: builds one anew when it keeps failing (`None`: there is no better one), and hears when it works
/// again after that was in vain.
pub type Mend = Box<dyn FnMut(Condition<'_>) -> Option<Box<dyn Session>> + Send>;

/// How a session does.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'a> {
    /// It keeps failing; this is the last failure.
    Failing(&'a EngineError),
    /// It works again.
    Well,
}

/// A session and how it does.
#[derive(Debug)]
pub(super) struct Instance {
    session: Box<dyn Session>,
    health: Health,
}

impl Instance {
    pub(super) fn new(session: Box<dyn Session>) -> Self {
        Self { session, health: Health::default() }
    }

    pub(super) fn run(&mut self, work: &mut Work, mend: &Mutex<Mend>) -> Result<(), InferError> {
        let result = self.session.run(&work.inputs, &mut work.outputs);
        match &result {
            Err(error) if error.is_callers() => {}
            Err(error) => {
                if self.health.failed(matches!(error, EngineError::Panicked { .. })) {
                    match lock(mend)(Condition::Failing(error)) {
                        Some(better) => *self = Self::new(better),
                        None => self.health.gave_up(),
                    }
                }
            }
            Ok(()) => {
                if self.health.is_given_up() {
                    // There is no better session than the one that works again.
                    let _none = lock(mend)(Condition::Well);
                }
                self.health = Health::default();
            }
        }
        Ok(result?)
    }
}

/// Failures in a row, and how many it takes until the session is built anew. Each try that is in vain
/// doubles that: building is dear.
#[derive(Debug)]
pub(super) struct Health {
    failures: u32,
    patience: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { failures: 0, patience: FAILURES }
    }
}

impl Health {
    /// One more failure; true: it is time to build anew. A session that panicked may be in any state.
    pub(super) const fn failed(&mut self, panicked: bool) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures >= self.patience || (panicked && !self.is_given_up())
    }

    pub(super) const fn gave_up(&mut self) {
        self.patience = self.patience.saturating_mul(2);
    }

    const fn is_given_up(&self) -> bool {
        self.patience > FAILURES
    }
}
