//! A repository is read as its keeper left it, be it in the middle of something.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use jiff::Timestamp as Instant;
use tough::schema::Target;

use super::{AuthorError, Lifetimes, Repository, Versions, failed};
use crate::disk;
use crate::update::download::hosted;
use crate::update::trust::{self, Trusted};

/// Roots that a repository may have had.
const MAX_ROOTS: u64 = 1024;

impl Repository {
    /// Reads a repository. That its signatures are over does not matter to who renews them.
    pub fn open(directory: &Path, lifetimes: Lifetimes) -> Result<Self, AuthorError> {
        let metadata = directory.join("metadata");
        let read = |name: &str, most| {
            let path = metadata.join(name);
            disk::read_bounded(&path, most).map_err(|error| failed(&path, &error))
        };
        let mut trusted = Trusted::new(&read("1.root.json", trust::MAX_ROOT)?)?;
        let mut last = None;
        for number in 2..=MAX_ROOTS {
            let name = format!("{number}.root.json");
            if !metadata.join(&name).exists() {
                break;
            }
            let (root, before) = (read(&name, trust::MAX_ROOT)?, trusted.clone());
            trusted.take_root(&root)?;
            last = Some((root, before));
        }
        let ever = Instant::MIN;
        let believed = |mut trusted: Trusted| -> Result<Trusted, AuthorError> {
            trusted.take_timestamp(&read("timestamp.json", trust::MAX_TIMESTAMP)?, ever)?;
            if let Some((version, most)) = trusted.snapshot_to_fetch() {
                trusted.take_snapshot(&read(&format!("{version}.snapshot.json"), most)?, ever)?;
            }
            if let Some((version, most)) = trusted.targets_to_fetch() {
                trusted.take_targets(&read(&format!("{version}.targets.json"), most)?, ever)?;
            }
            Ok(trusted)
        };
        // What is not signed by the newest root's keys may be by those before: a rotation was cut off.
        let (mut trusted, newest) = match (believed(trusted), last) {
            (Ok(trusted), _) => (trusted, None),
            (Err(error), Some((root, before))) => {
                (believed(before).map_err(|_| error)?, Some(root))
            }
            (Err(error), None) => return Err(error),
        };
        let of = |known: Option<(NonZeroU64, u64)>| known.map_or(0, |(version, _)| version.get());
        let versions = Versions {
            timestamp: trusted.timestamp_version(),
            snapshot: of(trusted.snapshot_to_fetch()),
            targets: of(trusted.targets_to_fetch()),
        };
        let unfinished = newest.is_some();
        if let Some(root) = newest {
            trusted.take_root(&root)?;
        }
        let directory = directory.to_owned();
        Ok(Self { directory, trusted, versions, lifetimes, unfinished })
    }

    /// The files of what is published, within the repository: for who takes all of it. Patches are for those who have a
    /// part of it already.
    pub fn files(&self) -> Vec<PathBuf> {
        let Versions { snapshot, targets, .. } = self.versions;
        let roots = (1..self.trusted.next_root().get()).map(|number| format!("{number}.root.json"));
        let lists = [
            "timestamp.json".to_owned(),
            format!("{snapshot}.snapshot.json"),
            format!("{targets}.targets.json"),
        ];
        let metadata = roots.chain(lists).map(|name| Path::new("metadata").join(name));
        let place = |(name, target): (&str, &Target)| hosted(name, &target.hashes.sha256).into();
        metadata.chain(self.releases().map(place)).collect()
    }
}
