//! Who may sign what in a repository, and for how long.

use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp as Instant;
use tough::schema::{RoleType, Root};

use super::AuthorError;
use crate::update::sign::{self, Key, hex};

const DAY: Duration = Duration::from_hours(24);

/// How long signatures are good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of roots.
    pub root: Duration,
    /// Of lists of targets.
    pub targets: Duration,
    /// Of snapshots and timestamps: for so long nobody notices that the repository is frozen.
    pub online: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { root: 365 * DAY, targets: 180 * DAY, online: 14 * DAY }
    }
}

/// Who may sign what: the keys of a new root.
#[derive(Debug)]
pub struct Roles<'a> {
    /// Root keys, kept offline, and how many of them are needed.
    pub root: (u64, Vec<&'a Key>),
    /// Keys that say what is published, kept offline, and how many of them are needed.
    pub targets: (u64, Vec<&'a Key>),
    /// The key of snapshots and timestamps, at hand where they are renewed.
    pub online: &'a Key,
}

impl Roles<'_> {
    pub(super) fn sign(
        &self,
        version: NonZeroU64,
        keys: &[&Key],
        lifetimes: Lifetimes,
        now: Instant,
    ) -> Result<Vec<u8>, AuthorError> {
        for (role, (threshold, keys)) in
            [(RoleType::Root, &self.root), (RoleType::Targets, &self.targets)]
        {
            if *threshold == 0 || *threshold > keys.len() as u64 {
                let found = keys.len();
                let told =
                    format!("{role}: {threshold} of {found} keys can never be met, or by nobody");
                return Err(AuthorError::Refused(told));
            }
        }
        let roles = [
            (RoleType::Root, self.root.0, self.root.1.clone()),
            (RoleType::Targets, self.targets.0, self.targets.1.clone()),
            (RoleType::Snapshot, 1, vec![self.online]),
            (RoleType::Timestamp, 1, vec![self.online]),
        ];
        let root = sign::root(version, after(now, lifetimes.root)?, &roles);
        Ok(sign::sign(root, keys)?)
    }

    /// Who signs what is published.
    pub(super) fn publishing(&self) -> Vec<&Key> {
        self.targets.1.iter().copied().chain([self.online]).collect()
    }
}

/// Those of the keys that may sign for a role, if they are enough.
pub(super) fn chosen<'a>(
    root: &Root,
    role: RoleType,
    keys: &[&'a Key],
) -> Result<Vec<&'a Key>, AuthorError> {
    let needed = root.roles.get(&role).map_or(0, |role| role.threshold.get());
    let named: Vec<_> = root.roles.get(&role).into_iter().flat_map(|role| &role.keyids).collect();
    let mut found: Vec<&Key> = Vec::new();
    for key in keys {
        let known = found.iter().any(|other| other.id() == key.id());
        if !known && named.iter().any(|id| hex(id) == key.id()) {
            found.push(key);
        }
    }
    if (found.len() as u64) < needed || found.is_empty() {
        return Err(AuthorError::Keys { role, found: found.len(), needed });
    }
    Ok(found)
}

pub(super) fn after(now: Instant, lifetime: Duration) -> Result<Instant, AuthorError> {
    let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let until = now.as_second().checked_add(seconds).and_then(|at| Instant::from_second(at).ok());
    until.ok_or_else(|| AuthorError::Refused("a signature cannot be good for so long".to_owned()))
}
