//! What somebody wants of the device's updates: `eir update …` puts it down as a file, and whoever runs takes it up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::disk;

/// A wish is a line.
const MAX_BYTES: u64 = 16 << 10;

/// Wishes that are taken up at a time.
const MOST: usize = 64;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "wish", deny_unknown_fields)]
pub enum Wish {
    /// Looking for new releases now.
    Check,
    /// Beginning what is offered without waiting for a wave or an hour: `models/defects`, `eir`; none: all of it. What was
    /// rolled back is tried once more.
    Apply {
        /// Which.
        subject: Option<String>,
    },
    /// What was before, instead of what serves or is being tried.
    Rollback {
        /// Which.
        subject: String,
    },
    /// Taking what a repository on a stick has: a directory, or a bundle of one.
    Import {
        /// Where it is.
        path: PathBuf,
    },
}

impl Wish {
    /// How a file ends whose wish is being carried out.
    pub const TAKEN: &str = "taken";

    /// Puts it down in a directory that is there; where, to see when it has been taken up. No more than wait there already
    /// are taken: [`io::ErrorKind::QuotaExceeded`].
    pub fn put(&self, directory: &Path) -> io::Result<PathBuf> {
        if fs::read_dir(directory)?.count() > MOST {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "other wishes wait to be taken up",
            ));
        }
        let path = directory.join(format!("{}.json", uuid::Uuid::now_v7()));
        disk::replace(&path, &serde_json::to_vec(self)?)?;
        Ok(path)
    }

    /// All that were put down, the oldest first, with where they lie: whoever carries one out removes it then.
    pub fn all(directory: &Path) -> Vec<(PathBuf, Self)> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        paths.sort();
        paths.truncate(MOST);
        let mut wishes = Vec::new();
        for path in paths {
            let read =
                disk::read_bounded(&path, MAX_BYTES).map(|bytes| serde_json::from_slice(&bytes));
            match read {
                Ok(Ok(wish)) => wishes.push((path, wish)),
                // Nobody could carry it out, now or later.
                Ok(Err(_)) => drop(fs::remove_file(&path)),
                Err(error) => tracing::debug!("{} is not read: {error}", path.display()),
            }
        }
        wishes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_taken_up_in_order_and_what_is_none_is_removed() {
        let place = tempfile::tempdir().expect("tempdir");
        let wishes = [Wish::Check, Wish::Rollback { subject: "models/defects".to_owned() }];
        for wish in &wishes {
            wish.put(place.path()).expect("put down");
        }
        disk::replace(&place.path().join("x.json"), b"{\"wish\": \"fly\"}").expect("file");
        let found: Vec<_> = Wish::all(place.path()).into_iter().map(|(_, wish)| wish).collect();
        assert_eq!(found, wishes);
        assert!(!place.path().join("x.json").exists());
    }
}
