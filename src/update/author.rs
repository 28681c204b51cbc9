//! A repository as its keeper sees it: a directory of static files that any web server or bucket can host.
//!
//! ```text
//! metadata/1.root.json 2.root.json … timestamp.json 7.snapshot.json 4.targets.json
//! targets/models/defects/<sha256>.4.tar.zst
//! targets/deltas/<sha256>.<old sha256>-<new sha256>
//! draft.json                                  what is added or withdrawn and not published yet; not to be hosted
//! ```
//!
//! What is hosted is consistent at every moment: files get names of their own, and the timestamp, which leads to all others,
//! is replaced last and whole.

mod deltas;
mod open;
mod roles;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use jiff::Timestamp as Instant;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use tough::TargetName;
use tough::schema::{RoleType, Target};

pub use self::deltas::Smaller;
pub use self::roles::{Lifetimes, Roles};
use self::roles::{after, chosen};
use super::delta;
use super::download::hosted;
use super::release::{About, Content};
use super::sign::{self, Key, SignError};
use super::trust::{self, TrustError, Trusted};
use crate::disk;

/// A draft is a few hundred bytes a release.
const MAX_DRAFT: u64 = 8 << 20;

/// What a keeper cannot do.
#[derive(Debug, Error)]
pub enum AuthorError {
    /// The disk.
    #[error("{path}: {reason}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Its own metadata is damaged.
    #[error("the repository cannot be read: {0}")]
    Damaged(#[from] TrustError),
    /// A key or a signature.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The keys that are at hand may not do it.
    #[error("too few keys for {role}: {found} of the {needed} that are needed are here")]
    Keys {
        /// What is to be signed.
        role: RoleType,
        /// Of its keys, so many are here.
        found: usize,
        /// So many are needed.
        needed: u64,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Refused(String),
}

/// What is added and withdrawn, and not published yet.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Draft {
    /// By target; `None`: it is withdrawn.
    changes: BTreeMap<String, Option<Target>>,
}

/// A repository on the disk of its keeper.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    trusted: Trusted,
    versions: Versions,
    lifetimes: Lifetimes,
    /// The newest root is there, and what its keys are to sign is not: a rotation was cut off.
    unfinished: bool,
}

/// The last version of each, counted on over other keys: no file that is hosted, or in somebody's cache, is ever written
/// anew.
#[derive(Debug, Clone, Copy, Default)]
struct Versions {
    timestamp: u64,
    snapshot: u64,
    targets: u64,
}

impl Repository {
    /// Makes a repository without releases.
    pub fn init(
        directory: &Path,
        roles: &Roles<'_>,
        lifetimes: Lifetimes,
        now: Instant,
    ) -> Result<Self, AuthorError> {
        let first = directory.join("metadata/1.root.json");
        // Without a timestamp nobody has ever seen it: an init that was cut off.
        if directory.join("metadata/timestamp.json").exists() {
            let told = format!("{}: there is a repository already", directory.display());
            return Err(AuthorError::Refused(told));
        }
        for below in ["metadata", "targets"] {
            let path = directory.join(below);
            std::fs::create_dir_all(&path).map_err(|error| failed(&path, &error))?;
        }
        let bytes = roles.sign(NonZeroU64::MIN, &roles.root.1, lifetimes, now)?;
        let trusted = Trusted::new(&bytes)?;
        write(&first, &bytes)?;
        let (directory, versions) = (directory.to_owned(), Versions::default());
        let mut repository = Self { directory, trusted, versions, lifetimes, unfinished: false };
        repository.publish_anew(&roles.publishing(), now)?;
        Ok(repository)
    }

    /// What is published. The patches between them go with them, and are none.
    pub fn releases(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.trusted.targets().filter(|(name, _)| delta::ends(name).is_none())
    }

    /// Until when what is signed is good, role by role.
    pub fn good_until(&self) -> Vec<(RoleType, Instant)> {
        self.trusted.good_until()
    }

    /// What is added (true) or withdrawn (false), and not published yet.
    pub fn draft(&self) -> Result<Vec<(String, bool)>, AuthorError> {
        let changes = self.read_draft()?.changes.into_iter();
        let changes = changes.filter(|(target, _)| delta::ends(target).is_none());
        Ok(changes.map(|(target, what)| (target, what.is_some())).collect())
    }

    /// Adds a release to the draft, and its bytes to what is hosted. What was published is never given other bytes: devices
    /// know it by its version. Patches that lead to it are added with it, and told.
    pub fn add(
        &self,
        content: &Content,
        bytes: &[u8],
        about: &About,
    ) -> Result<Vec<Smaller>, AuthorError> {
        let target = content.to_string();
        let sha256 = Sha256::digest(bytes).to_vec();
        let path = self.file(&target, &sha256);
        self.is_free(&target, &path)?;
        let patches = self.patches(content, bytes, &sha256)?;
        // Added once more it is the same release still.
        let about = match self.about(content)? {
            Some(About { published, waves, stop_at, halted, .. }) => {
                About { published, waves, stop_at, halted, ..about.clone() }
            }
            None => about.clone(),
        };
        let entry = self.host(&target, bytes, about.custom())?;
        let (mut told, mut changes) = (Vec::new(), vec![(target, Some(entry))]);
        for patch in patches {
            let entry = self.host(&patch.name, &patch.bytes, patch.custom)?;
            changes.push((patch.name, Some(entry)));
            told.push(patch.told);
        }
        self.change(changes)?;
        Ok(told)
    }

    /// No other bytes were ever hosted under this name. What was added, and never published, makes room.
    fn is_free(&self, target: &str, path: &Path) -> Result<(), AuthorError> {
        let (Some(parent), Some((_, name))) = (path.parent(), target.rsplit_once('/')) else {
            return Ok(());
        };
        let published = self.releases().any(|(known, _)| known == target);
        let drafted = self.read_draft()?.changes.remove(target).flatten();
        let drafted = drafted.filter(|_| !published);
        let drafted = drafted.map(|entry| self.file(target, &entry.hashes.sha256));
        let ending = format!(".{name}");
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let other = entry.path();
            let is_it = entry
                .file_name()
                .to_str()
                .is_some_and(|file| file.len() == 64 + ending.len() && file.ends_with(&ending));
            if !is_it || other == path {
                continue;
            }
            if Some(&other) != drafted.as_ref() {
                return Err(AuthorError::Refused(format!(
                    "{target} was published with other bytes; give these another version"
                )));
            }
            std::fs::remove_file(&other).map_err(|error| failed(&other, &error))?;
        }
        Ok(())
    }

    /// What is said of a release, in the draft or else as it is published.
    pub fn about(&self, content: &Content) -> Result<Option<About>, AuthorError> {
        Ok(self.entry(&content.to_string())?.map(|entry| About::of(&entry)))
    }

    /// Says other things of a release, in the draft.
    pub fn amend(&self, content: &Content, about: &About) -> Result<(), AuthorError> {
        let target = content.to_string();
        let entry = self.entry(&target)?;
        let missing = || AuthorError::Refused(format!("{target} is neither published nor added"));
        let mut entry = entry.ok_or_else(missing)?;
        entry.custom = about.custom();
        self.change([(target, Some(entry))])
    }

    fn entry(&self, target: &str) -> Result<Option<Target>, AuthorError> {
        let published =
            || self.releases().find(|(name, _)| *name == target).map(|(_, entry)| entry);
        let drafted = self.read_draft()?.changes.remove(target);
        Ok(drafted.unwrap_or_else(|| published().cloned()))
    }

    /// Has a release taken out of what is published, and the patches that lead to it with it. Its bytes stay where they are, for those who have just begun.
    pub fn withdraw(&self, content: &Content) -> Result<(), AuthorError> {
        let target = content.to_string();
        if !self.releases().any(|(name, _)| name == target) {
            return Err(AuthorError::Refused(format!("{target} is not published")));
        }
        self.change([(target, None)])
    }

    fn change(
        &self,
        changes: impl IntoIterator<Item = (String, Option<Target>)>,
    ) -> Result<(), AuthorError> {
        let mut draft = self.read_draft()?;
        draft.changes.extend(changes);
        let path = self.directory.join("draft.json");
        let text = serde_json::to_vec_pretty(&draft).map_err(|error| failed(&path, &error))?;
        write(&path, &text)
    }

    fn read_draft(&self) -> Result<Draft, AuthorError> {
        let path = self.directory.join("draft.json");
        if !path.exists() {
            return Ok(Draft::default());
        }
        let bytes = disk::read_bounded(&path, MAX_DRAFT).map_err(|error| failed(&path, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(&path, &error))
    }

    /// Publishes the draft, and renews what the keys may sign. Without a draft the online key is enough.
    pub fn publish(&mut self, keys: &[&Key], now: Instant) -> Result<(), AuthorError> {
        let may = chosen(self.trusted.root(), RoleType::Targets, keys).is_ok();
        if may || self.unfinished || !self.read_draft()?.changes.is_empty() {
            return self.publish_anew(keys, now);
        }
        let path = self.metadata(&format!("{}.targets.json", self.versions.targets));
        let targets = disk::read_bounded(&path, trust::MAX_TARGETS);
        self.lead_to(&targets.map_err(|error| failed(&path, &error))?, self.versions, keys, now)
    }

    /// The same with a new list of targets in any case.
    fn publish_anew(&mut self, keys: &[&Key], now: Instant) -> Result<(), AuthorError> {
        let keys_of_targets = chosen(self.trusted.root(), RoleType::Targets, keys)?;
        let draft = self.read_draft()?;
        let changed = draft.changes.iter().map(|(name, what)| (name.as_str(), what.as_ref()));
        let before = self.trusted.targets().map(|(name, target)| (name, Some(target)));
        let mut all: HashMap<TargetName, Target> = HashMap::new();
        for (name, target) in before.chain(changed) {
            let name = TargetName::new(name);
            let name = name.map_err(|error| AuthorError::Refused(error.to_string()))?;
            match target {
                Some(target) => all.insert(name, published(target, now)),
                None => all.remove(&name),
            };
        }
        deltas::prune(&mut all);
        let versions = Versions { targets: self.versions.targets + 1, ..self.versions };
        let until = after(now, self.lifetimes.targets)?;
        let targets = sign::targets(number(versions.targets), until, all);
        let targets = sign::sign(targets, &keys_of_targets)?;
        self.lead_to(&targets, versions, keys, now)?;
        let draft = self.directory.join("draft.json");
        if draft.exists() {
            std::fs::remove_file(&draft).map_err(|error| failed(&draft, &error))?;
        }
        Ok(())
    }

    /// Writes a list of targets and what leads to it, the timestamp last.
    fn lead_to(
        &mut self,
        targets: &[u8],
        versions: Versions,
        keys: &[&Key],
        now: Instant,
    ) -> Result<(), AuthorError> {
        let root = self.trusted.root();
        let [for_snapshot, for_timestamp] =
            [RoleType::Snapshot, RoleType::Timestamp].map(|role| chosen(root, role, keys));
        let until = after(now, self.lifetimes.online)?;
        let versions = Versions {
            snapshot: versions.snapshot + 1,
            timestamp: versions.timestamp + 1,
            ..versions
        };
        let [of_targets, of_snapshot, of_timestamp] =
            [versions.targets, versions.snapshot, versions.timestamp].map(number);
        let snapshot = sign::snapshot(of_snapshot, until, of_targets, targets);
        let snapshot = sign::sign(snapshot, &for_snapshot?)?;
        let timestamp = sign::timestamp(of_timestamp, until, of_snapshot, &snapshot);
        let timestamp = sign::sign(timestamp, &for_timestamp?)?;
        for (role, bytes, most) in [
            (RoleType::Targets, targets, trust::MAX_TARGETS),
            (RoleType::Snapshot, &snapshot, trust::MAX_SNAPSHOT),
            (RoleType::Timestamp, &timestamp, trust::MAX_TIMESTAMP),
        ] {
            if bytes.len() as u64 > most {
                let told = format!("the {role} would have {} bytes, {most} are read", bytes.len());
                return Err(AuthorError::Refused(told));
            }
        }
        // Believed here first: nothing is hosted that devices would refuse.
        let mut trusted = self.trusted.clone();
        trusted.take_timestamp(&timestamp, now)?;
        trusted.take_snapshot(&snapshot, now)?;
        trusted.take_targets(targets, now)?;
        write(&self.metadata(&format!("{of_targets}.targets.json")), targets)?;
        write(&self.metadata(&format!("{of_snapshot}.snapshot.json")), &snapshot)?;
        write(&self.metadata("timestamp.json"), &timestamp)?;
        (self.trusted, self.versions, self.unfinished) = (trusted, versions, false);
        Ok(())
    }

    /// Names who may sign from now on. Enough of those who could so far, `old`, and of the new ones sign that; what is
    /// published is signed anew.
    pub fn rotate(
        &mut self,
        roles: &Roles<'_>,
        old: &[&Key],
        now: Instant,
    ) -> Result<(), AuthorError> {
        let mut keys = chosen(self.trusted.root(), RoleType::Root, old)?;
        keys.retain(|old| roles.root.1.iter().all(|new| new.id() != old.id()));
        keys.extend(&roles.root.1);
        let version = self.trusted.next_root();
        let bytes = roles.sign(version, &keys, self.lifetimes, now)?;
        self.trusted.take_root(&bytes)?;
        write(&self.metadata(&format!("{version}.root.json")), &bytes)?;
        self.publish_anew(&roles.publishing(), now)
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.directory.join("metadata").join(name)
    }

    /// Where the bytes of a target are hosted.
    fn file(&self, target: &str, sha256: &[u8]) -> PathBuf {
        self.directory.join(hosted(target, sha256))
    }
}

/// With the moment of its publication, unless it has one.
fn published(target: &Target, now: Instant) -> Target {
    let mut target = target.clone();
    if delta::Said::of(&target).is_some() {
        return target;
    }
    target.custom.entry("published".to_owned()).or_insert_with(|| now.to_string().into());
    target
}

/// Versions count from 1.
fn number(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap_or(NonZeroU64::MIN)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AuthorError> {
    disk::replace(path, bytes).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, reason: &dyn ToString) -> AuthorError {
    AuthorError::Io { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests;
