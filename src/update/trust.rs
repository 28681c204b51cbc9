//! Whom a device believes: the client's side of The Update Framework, without the network and without a clock of its own.
//!
//! The order is the specification's (TUF 1.0, section 5): the chain of roots first, each signed by the one before and by
//! itself, then timestamp, snapshot, targets. [`Trusted`] takes one file after the other as bytes and either believes the
//! whole of it or stays as it was. What a signature means is `tough`'s knowledge.

use std::num::NonZeroU64;

use jiff::Timestamp as Instant;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tough::schema::{Metafile, Role, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp};

/// Bytes that a root may have.
pub const MAX_ROOT: u64 = 512 << 10;
/// Bytes that a timestamp may have.
pub const MAX_TIMESTAMP: u64 = 16 << 10;
/// Bytes that a snapshot may have, where the timestamp does not say it.
pub const MAX_SNAPSHOT: u64 = 2 << 20;
/// Bytes that a list of targets may have, where the snapshot does not say it.
pub const MAX_TARGETS: u64 = 8 << 20;

const SNAPSHOT: &str = "snapshot.json";
const TARGETS: &str = "targets.json";

/// Metadata that is not believed.
#[derive(Debug, Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("the {role} cannot be read: {reason}")]
    Unreadable {
        /// Which file.
        role: RoleType,
        /// What is wrong with it.
        reason: String,
    },
    /// Too few of those who may sign it did.
    #[error("the {role} is not signed as it should be: {reason}")]
    Signatures {
        /// Which file.
        role: RoleType,
        /// What is missing.
        reason: String,
    },
    /// It is older than what was seen, or not the one that another file speaks of.
    #[error("the {role} has version {found}, which should be {wanted}")]
    Version {
        /// Which file.
        role: RoleType,
        /// Its version.
        found: u64,
        /// What would be right.
        wanted: String,
    },
    /// Its time is over.
    #[error("the {role} was good until {until}; whoever keeps the repository is to sign it anew")]
    Expired {
        /// Which file.
        role: RoleType,
        /// Its last moment.
        until: Instant,
    },
    /// It is another than the file that was signed for.
    #[error("the {role} is another than the one that was signed for: {reason}")]
    Other {
        /// Which file.
        role: RoleType,
        /// How that shows.
        reason: &'static str,
    },
    /// Something that comes before it is missing.
    #[error("the {role} comes before its {before} is there")]
    Order {
        /// Which file.
        role: RoleType,
        /// What comes first.
        before: RoleType,
    },
}

/// What is believed so far.
#[derive(Debug, Clone)]
pub struct Trusted {
    root: Signed<Root>,
    timestamp: Option<Signed<Timestamp>>,
    snapshot: Option<Signed<Snapshot>>,
    targets: Option<Signed<Targets>>,
}

impl Trusted {
    /// Begins with a root that came with the device or was believed before. That it is over does not matter: the newest
    /// one counts.
    pub fn new(root: &[u8]) -> Result<Self, TrustError> {
        let root: Signed<Root> = read(root)?;
        signed(&root.signed, &root)?;
        Ok(Self { root, timestamp: None, snapshot: None, targets: None })
    }

    /// The root that counts.
    pub fn root(&self) -> &Root {
        &self.root.signed
    }

    /// The version that the next root has, if there is one.
    pub fn next_root(&self) -> NonZeroU64 {
        self.root.signed.version.saturating_add(1)
    }

    /// The next root: signed by those whom the one before names, and by its own. Where it names others for timestamp or
    /// snapshot, what those signed before is forgotten, and with it how far an attacker could have pushed their versions;
    /// true then.
    pub fn take_root(&mut self, bytes: &[u8]) -> Result<bool, TrustError> {
        let next: Signed<Root> = read(bytes)?;
        signed(self.root(), &next)?;
        signed(&next.signed, &next)?;
        is_version(&next.signed, self.next_root(), "one more than the last")?;
        let keys = |root: &Root, role| {
            let mut keys =
                root.roles.get(&role).map(|role| role.keyids.clone()).unwrap_or_default();
            keys.sort();
            keys
        };
        let mut others = [RoleType::Timestamp, RoleType::Snapshot].into_iter();
        let forgets = others.any(|role| keys(self.root(), role) != keys(&next.signed, role));
        if forgets {
            (self.timestamp, self.snapshot) = (None, None);
        }
        self.root = next;
        Ok(forgets)
    }

    /// The timestamp, now that the newest root is there. The same version again changes nothing.
    pub fn take_timestamp(&mut self, bytes: &[u8], now: Instant) -> Result<(), TrustError> {
        fresh(self.root(), now)?;
        let next: Signed<Timestamp> = read(bytes)?;
        signed(self.root(), &next)?;
        let snapshot = meta(&next.signed.meta, SNAPSHOT, RoleType::Timestamp)?;
        if let Some(before) = &self.timestamp {
            is_no_older(&next.signed, before.signed.version)?;
            let known = meta(&before.signed.meta, SNAPSHOT, RoleType::Timestamp)?;
            if snapshot.version < known.version {
                return Err(older(RoleType::Snapshot, snapshot.version, known.version));
            }
        }
        // It is kept though it is over: how new things are is known from it.
        let over = fresh(&next.signed, now);
        self.timestamp = Some(next);
        over
    }

    /// The version of the timestamp; 0: there is none.
    pub fn timestamp_version(&self) -> u64 {
        self.timestamp.as_ref().map_or(0, |timestamp| timestamp.signed.version.get())
    }

    /// What the timestamp says of the snapshot: its version, and the most bytes that it can have.
    pub fn snapshot_to_fetch(&self) -> Option<(NonZeroU64, u64)> {
        let meta = self.timestamp.as_ref()?.signed.meta.get(SNAPSHOT)?;
        Some((meta.version, meta.length.unwrap_or(MAX_SNAPSHOT)))
    }

    /// The snapshot that the timestamp speaks of.
    pub fn take_snapshot(&mut self, bytes: &[u8], now: Instant) -> Result<(), TrustError> {
        let role = RoleType::Snapshot;
        let order = TrustError::Order { role, before: RoleType::Timestamp };
        let timestamp = self.timestamp.as_ref().ok_or(order)?;
        fresh(&timestamp.signed, now)?;
        let said = meta(&timestamp.signed.meta, SNAPSHOT, RoleType::Timestamp)?;
        is_that(bytes, said, role)?;
        let next: Signed<Snapshot> = read(bytes)?;
        signed(self.root(), &next)?;
        is_version(&next.signed, said.version, "as the timestamp says")?;
        if let Some(before) = &self.snapshot {
            for (name, known) in &before.signed.meta {
                let now_said = meta(&next.signed.meta, name, role)?;
                if now_said.version < known.version {
                    return Err(older(RoleType::Targets, now_said.version, known.version));
                }
            }
        }
        fresh(&next.signed, now)?;
        self.snapshot = Some(next);
        Ok(())
    }

    /// A snapshot that was believed before. It need not be the one that the timestamp speaks of: how new things were is
    /// known from it, and nothing else.
    pub fn remember_snapshot(&mut self, bytes: &[u8]) -> Result<(), TrustError> {
        let known: Signed<Snapshot> = read(bytes)?;
        signed(self.root(), &known)?;
        self.snapshot = Some(known);
        Ok(())
    }

    /// The snapshot, where it is the one that the timestamp speaks of.
    fn current_snapshot(&self) -> Option<&Snapshot> {
        let (version, _) = self.snapshot_to_fetch()?;
        self.snapshot.as_ref().map(|known| &known.signed).filter(|known| known.version == version)
    }

    /// What the snapshot says of the targets: their version, and the most bytes that they can have.
    pub fn targets_to_fetch(&self) -> Option<(NonZeroU64, u64)> {
        let meta = self.current_snapshot()?.meta.get(TARGETS)?;
        Some((meta.version, meta.length.unwrap_or(MAX_TARGETS)))
    }

    /// The list of targets that the snapshot speaks of.
    pub fn take_targets(&mut self, bytes: &[u8], now: Instant) -> Result<(), TrustError> {
        let role = RoleType::Targets;
        let order = TrustError::Order { role, before: RoleType::Snapshot };
        let snapshot = self.current_snapshot().ok_or(order)?;
        fresh(snapshot, now)?;
        let said = meta(&snapshot.meta, TARGETS, RoleType::Snapshot)?;
        is_that(bytes, said, role)?;
        let next: Signed<Targets> = read(bytes)?;
        signed(self.root(), &next)?;
        is_version(&next.signed, said.version, "as the snapshot says")?;
        fresh(&next.signed, now)?;
        self.targets = Some(next);
        Ok(())
    }

    /// Until when what is believed is good, role by role.
    pub fn good_until(&self) -> Vec<(RoleType, Instant)> {
        fn of<T: Role>(role: &Signed<T>) -> (RoleType, Instant) {
            (T::TYPE, role.signed.expires())
        }
        let mut all = vec![of(&self.root)];
        all.extend(self.targets.as_ref().map(of));
        all.extend(self.snapshot.as_ref().map(of));
        all.extend(self.timestamp.as_ref().map(of));
        all
    }

    /// What there is, by name, as it was believed last: whoever acts on it has refreshed it just now.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        let targets = self.targets.iter().flat_map(|targets| &targets.signed.targets);
        targets.map(|(name, target)| (name.raw(), target))
    }
}

fn read<T: Role + DeserializeOwned>(bytes: &[u8]) -> Result<Signed<T>, TrustError> {
    let unreadable = |error: serde_json::Error| TrustError::Unreadable {
        role: T::TYPE,
        reason: error.to_string(),
    };
    serde_json::from_slice(bytes).map_err(unreadable)
}

/// Enough of those whom a root names have signed it.
fn signed<T: Role>(by: &Root, what: &Signed<T>) -> Result<(), TrustError> {
    let reason = |error: tough::schema::Error| TrustError::Signatures {
        role: T::TYPE,
        reason: error.to_string(),
    };
    by.verify_role(what).map_err(reason)
}

fn fresh<T: Role>(role: &T, now: Instant) -> Result<(), TrustError> {
    let until = role.expires();
    if now < until { Ok(()) } else { Err(TrustError::Expired { role: T::TYPE, until }) }
}

fn is_version<T: Role>(role: &T, wanted: NonZeroU64, why: &str) -> Result<(), TrustError> {
    if role.version() == wanted {
        return Ok(());
    }
    let (role, found) = (T::TYPE, role.version().get());
    Err(TrustError::Version { role, found, wanted: format!("{wanted}, {why}") })
}

fn is_no_older<T: Role>(role: &T, known: NonZeroU64) -> Result<(), TrustError> {
    if role.version() >= known { Ok(()) } else { Err(older(T::TYPE, role.version(), known)) }
}

fn older(role: RoleType, found: NonZeroU64, known: NonZeroU64) -> TrustError {
    TrustError::Version {
        role,
        found: found.get(),
        wanted: format!("{known} at least, which was seen"),
    }
}

fn meta<'a>(
    all: &'a std::collections::HashMap<String, Metafile>,
    name: &str,
    role: RoleType,
) -> Result<&'a Metafile, TrustError> {
    let missing = || TrustError::Unreadable { role, reason: format!("it does not name {name}") };
    all.get(name).ok_or_else(missing)
}

/// The file has the length and the hash that were signed for, where they were.
fn is_that(bytes: &[u8], said: &Metafile, role: RoleType) -> Result<(), TrustError> {
    if said.length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(TrustError::Other { role, reason: "it has another length" });
    }
    let hash = said.hashes.as_ref().map(|hashes| &hashes.sha256);
    if hash.is_some_and(|hash| hash[..] != Sha256::digest(bytes)[..]) {
        return Err(TrustError::Other { role, reason: "it has another SHA-256" });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
