//! What can be wrong with the outbox.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the outbox cannot be used. None of it ends the process.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// The path leads to something that is no file.
    #[error("{} is a directory; name a file in it", .0.display())]
    Directory(PathBuf),
    /// Nothing is there.
    #[error("no outbox at {}", .0.display())]
    Absent(PathBuf),
    /// A later version of eir wrote it.
    #[error(
        "{} has format {found}, and this eir knows formats up to {known}; it was not touched: use \
         the eir that wrote it, or move it away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known here.
        known: i64,
    },
    /// A database of some other program.
    #[error("{} is a database of another program; it was not touched: name another file", .0.display())]
    Foreign(PathBuf),
    /// Another process writes to it.
    #[error("another process has {} open; one outbox has one writer", .0.display())]
    Taken(PathBuf),
    /// A file or a directory that it needs cannot be had.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database is damaged.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The disk, or SQLite on it, refuses.
    #[error("{}", with_code(.0))]
    Disk(rusqlite::Error),
}

/// "disk I/O error" alone says little: which of them, by SQLite's extended result code
/// (<https://www.sqlite.org/rescode.html>).
fn with_code(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            format!("{error} (SQLite code {})", failure.extended_code)
        }
        _ => error.to_string(),
    }
}

impl OutboxError {
    pub(super) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// The content is wrong, not the disk that it is on.
    pub(super) fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt(_))
    }
}

impl From<rusqlite::Error> for OutboxError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error;
        let damaged = match &error {
            Error::SqliteFailure(failure, _) => {
                matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            }
            // What was written has these types, and nothing else was.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::QueryReturnedNoRows
            | Error::Utf8Error(..) => true,
            _ => false,
        };
        if damaged { Self::Corrupt(error.to_string()) } else { Self::Disk(error) }
    }
}
