//! Why there are no updates.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::Fetched;
use super::fetch::NO_ROOM;
use crate::update::download::DownloadError;
use crate::update::journal::JournalError;
use crate::update::source::FetchError;
use crate::update::store::StoreError;

/// The shortest wait after a piece that did not come.
const AGAIN: Duration = Duration::from_secs(10);

/// Why there are no updates.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The directory is not there, cannot be written, or another process has it.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// What is believed cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// How far releases are cannot be read or kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AgentError {
    /// Another look would find the same, until somebody changes something.
    pub const fn is_lasting(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Fetch(FetchError::Later { .. })))
    }

    /// How long the server wants to be left alone.
    pub const fn after(&self) -> Option<Duration> {
        match self {
            Self::Store(StoreError::Fetch(FetchError::Later { after, .. })) => *after,
            _ => None,
        }
    }
}

/// What becomes of a download that did not come.
pub(super) fn failed(error: &DownloadError) -> Fetched {
    let why = error.to_string();
    match error {
        DownloadError::Fetch(FetchError::Later { after, .. }) => {
            Fetched::Wait(after.unwrap_or_default().max(AGAIN), why)
        }
        DownloadError::Torn(_) => Fetched::Wait(AGAIN, why),
        DownloadError::Missing(_) => Fetched::Missing(why),
        DownloadError::Disk { .. } => Fetched::Wait(NO_ROOM, why),
        _ => Fetched::Failed(why),
    }
}
