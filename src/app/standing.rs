//! A server inside the process while it runs, and while it cannot.

use std::fmt;

/// A server that is tried again until its port is free.
pub(super) struct Standing<T> {
    what: &'static str,
    start: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    state: Result<T, String>,
}

impl<T> Standing<T> {
    /// Starts it. Where that fails, who needs it waits as for any other, and [`Standing::heal`] tries again.
    pub(super) fn start(
        what: &'static str,
        start: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let state = start();
        if let Err(problem) = &state {
            tracing::error!("{what} does not run: {problem}");
        }
        Self { what, start: Box::new(start), state }
    }

    /// Tries again what failed.
    pub(super) fn heal(&mut self) {
        let Err(before) = &self.state else { return };
        let now = (self.start)();
        match &now {
            Ok(_) => tracing::info!("{} runs", self.what),
            Err(problem) if problem != before => {
                tracing::error!("{} does not run: {problem}", self.what);
            }
            Err(_) => {}
        }
        self.state = now;
    }

    /// Whether it runs, and why not.
    pub(super) fn state(&self) -> Result<(), String> {
        self.state.as_ref().map(drop).map_err(Clone::clone)
    }

    /// Tells the log why it does not run.
    pub(super) fn log(&self) {
        if let Err(problem) = &self.state {
            tracing::warn!("{} does not run: {problem}", self.what);
        }
    }

    /// What runs.
    pub(super) fn running(&self) -> Option<&T> {
        self.state.as_ref().ok()
    }

    /// What runs, to be stopped.
    pub(super) fn into_running(self) -> Option<T> {
        self.state.ok()
    }
}

impl<T: fmt::Debug> fmt::Debug for Standing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Standing").field(&self.what).field(&self.state).finish()
    }
}
