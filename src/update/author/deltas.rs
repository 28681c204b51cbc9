//! Patches that lead from what is published to what is added, where they are worth it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor, Read};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tough::TargetName;
use tough::schema::{Hashes, Target};

use super::{AuthorError, Repository, failed, write};
use crate::disk;
use crate::update::archive;
use crate::update::delta::{self, MOST, Plain, Said};
use crate::update::plan::follows;
use crate::update::release::Content;
use crate::update::sign::hex;

/// Releases that patches lead from: the newest before the one that is added.
const FROM: usize = 3;

/// Bytes that a patch must save, besides the half of the whole: what is said of it is read by every device.
const SAVES: usize = 4 << 10;

/// A release that comes as a patch to whoever has another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smaller {
    /// The release that it leads from.
    pub from: String,
    /// Bytes of the patch.
    pub length: u64,
}

/// A patch that is not hosted yet.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) custom: HashMap<String, Value>,
    pub(super) told: Smaller,
}

impl Repository {
    /// Patches that lead to a release.
    pub(super) fn patches(
        &self,
        content: &Content,
        bytes: &[u8],
        sha256: &[u8],
    ) -> Result<Vec<Made>, AuthorError> {
        let Some(new) = opened(content, bytes) else { return Ok(Vec::new()) };
        let hash = Sha256::digest(&new).to_vec();
        let plain = Plain { sha256: hash.into(), length: new.len() as u64 };
        let mut made = Vec::new();
        for (from, target) in self.earlier(content) {
            let path = self.file(&from.to_string(), &target.hashes.sha256);
            // What was hosted may have been cleared away since.
            let Ok(old) = disk::read_bounded(&path, target.length) else { continue };
            let is_it = Sha256::digest(&old)[..] == target.hashes.sha256[..];
            let Some(old) = opened(&from, &old).filter(|_| is_it) else { continue };
            let patch = delta::make(&old, &new).map_err(|error| failed(&path, &error))?;
            let saved = bytes.len().saturating_sub(patch.len());
            if saved < SAVES.max(bytes.len() / 2) {
                continue;
            }
            // Tried here first, as devices will.
            let tried = delta::apply(&patch[..], Cursor::new(&old), io::sink(), &plain);
            tried.map_err(|error| failed(&path, &error))?;
            let custom = match serde_json::to_value(Said::new(plain.clone())) {
                Ok(Value::Object(custom)) => custom.into_iter().collect(),
                _ => HashMap::new(),
            };
            let name = delta::name(&target.hashes.sha256, sha256);
            let told = Smaller { from: from.to_string(), length: patch.len() as u64 };
            made.push(Made { name, bytes: patch, custom, told });
        }
        Ok(made)
    }

    /// Has bytes lie where they are hosted.
    pub(super) fn host(
        &self,
        target: &str,
        bytes: &[u8],
        custom: HashMap<String, Value>,
    ) -> Result<Target, AuthorError> {
        let sha256 = Sha256::digest(bytes).to_vec();
        let path = self.file(target, &sha256);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, &error))?;
        }
        write(&path, bytes)?;
        let hashes = Hashes { sha256: sha256.into(), _extra: HashMap::new() };
        Ok(Target { length: bytes.len() as u64, hashes, custom, _extra: HashMap::new() })
    }

    /// Releases of the same thing that are published and older, the newest first.
    fn earlier(&self, content: &Content) -> Vec<(Content, &Target)> {
        let all = self.releases().filter_map(|(name, target)| Some((Content::of(name)?, target)));
        let mut earlier: Vec<_> =
            all.filter(|(other, _)| is_same(other, content) && follows(content, other)).collect();
        earlier.sort_by(|(a, _), (b, _)| follows(b, a).cmp(&follows(a, b)));
        earlier.truncate(FROM);
        earlier
    }
}

/// Both are releases of the same thing, for the same machines.
fn is_same(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::Binary { triple: a, .. }, Content::Binary { triple: b, .. }) => a == b,
        _ => a.subject() == b.subject(),
    }
}

/// What patches are made between; `None`: it is too large, or no archive.
fn opened<'a>(content: &Content, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let opened = if delta::is_packed(Some(content)) {
        let mut tar = Vec::new();
        archive::packed(bytes).ok()?.take(MOST + 1).read_to_end(&mut tar).ok()?;
        Cow::Owned(tar)
    } else {
        Cow::Borrowed(bytes)
    };
    (opened.len() as u64 <= MOST).then_some(opened)
}

/// Takes out the patches that lead to what is not published.
pub(super) fn prune(all: &mut HashMap<TargetName, Target>) {
    let is_patch = |name: &TargetName| delta::ends(name.raw()).is_some();
    let releases = all.iter().filter(|(name, _)| !is_patch(name));
    let hashes: HashSet<_> = releases.map(|(_, target)| hex(&target.hashes.sha256)).collect();
    all.retain(|name, _| delta::ends(name.raw()).is_none_or(|(_, to)| hashes.contains(to)));
}
