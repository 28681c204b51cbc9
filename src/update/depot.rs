//! Where updates lie on a device, below `[update].dir`.
//!
//! ```text
//! trust/                    what is believed of the repository
//! journal/                  how far each release is
//! download/<sha256>         what was fetched, verified; `.part` while it comes; `.tar` where a patch made it
//! staging/<kind>-<name>-<version>
//! models/<name>/<version>/  models that serve, beside those of `[models].dir`
//! config/<name>.json        which layer of a name counts; the layers lie beside it
//! slots/<version>/eir       programs
//! ```
//!
//! What counts changes by one rename each time: a power cut leaves what was before or what comes after.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::release::Content;
use super::slots::Slots;
use super::wish::Wish;
use crate::disk;
use crate::event::Name;

/// A note of which layer counts is a line.
const MAX_POINTER: u64 = 4096;

/// Where a copy of the outbox lies while a new program looks at it.
pub const OUTBOX_COPY: &str = "outbox-copy.db";

/// Which version of each thing counts.
#[derive(Debug, Default)]
pub struct Counting {
    models: BTreeMap<Name, u64>,
    layers: BTreeMap<Name, u64>,
    /// Its version, and what it runs on.
    program: Option<(String, String)>,
}

impl Counting {
    /// Whether it is this one.
    pub fn has(&self, content: &Content) -> bool {
        match content {
            Content::Model { name, version } => self.models.get(name) == Some(version),
            Content::Config { name, version } => self.layers.get(name) == Some(version),
            Content::Binary { version, triple } => {
                self.program.as_ref().is_some_and(|known| (&known.0, &known.1) == (version, triple))
            }
        }
    }
}

/// Versions of a model or a program that are kept: the one that serves, and the one to go back to.
const KEPT: usize = 2;

/// The directory, looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depot {
    directory: PathBuf,
}

/// Which layer of a name counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The version that counts; none: no layer of that name does.
    pub active: Option<u64>,
    /// The one that counted before it.
    pub before: Option<u64>,
}

impl Depot {
    /// Nothing is read or made yet.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes the directories and takes them for this process alone, as long as the file is held;
    /// [`io::ErrorKind::WouldBlock`]: another one has them.
    pub fn own(&self) -> io::Result<File> {
        for name in ["download", "staging", "models", "config", "slots", "trash", "wishes"] {
            disk::make_directory(&self.directory.join(name))?;
        }
        // Those that a start made that was cut off.
        sync(Some(&self.directory))?;
        sync(self.directory.parent().filter(|above| !above.as_os_str().is_empty()))?;
        disk::lock(&self.directory.join("lock")).map_err(|error| match error.kind() {
            kind @ io::ErrorKind::WouldBlock => io::Error::new(kind, "another eir keeps it"),
            _ => error,
        })
    }

    /// Where a part of it lies.
    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where a release is laid out before it counts.
    pub fn staged(&self, content: &Content) -> PathBuf {
        let name = match content {
            Content::Model { name, version } => format!("model-{name}-{version}"),
            Content::Config { name, version } => format!("config-{name}-{version}"),
            Content::Binary { version, .. } => format!("binary-{version}"),
        };
        self.directory.join("staging").join(name)
    }

    /// Where a model lies once it serves.
    pub fn model(&self, name: &Name, version: u64) -> PathBuf {
        self.directory.join("models").join(name.as_str()).join(version.to_string())
    }

    /// Has a staged model serve from the next look on. Done again, it changes nothing.
    pub fn commit_model(&self, name: &Name, version: u64) -> io::Result<()> {
        let place = self.model(name, version);
        let staged = self.staged(&Content::Model { name: name.clone(), version });
        if let Some(parent) = place.parent() {
            disk::make_directory(parent)?;
        }
        // It was renamed whole.
        if place.is_dir() { Ok(()) } else { disk::rename(&staged, &place) }
    }

    /// Nothing of a release is left where it could count. Done again, it changes nothing.
    pub fn discard(&self, content: &Content) -> io::Result<()> {
        self.throw_away(&self.staged(content))?;
        match content {
            Content::Model { name, version } => self.throw_away(&self.model(name, *version)),
            Content::Config { name, version } => {
                let pointer = self.pointer(name)?;
                if pointer.active == Some(*version) {
                    self.point(name, Pointer { active: pointer.before, before: None })?;
                }
                self.throw_away(&self.layer(name, *version))
            }
            Content::Binary { version, .. } => self.throw_away(&self.place("slots").join(version)),
        }
    }

    /// The versions of a model that are here, the oldest first.
    pub fn versions(&self, name: &Name) -> Vec<u64> {
        let entries = fs::read_dir(self.place("models").join(name.as_str()));
        let entries = entries.into_iter().flatten().flatten();
        let mut versions: Vec<u64> = entries
            .filter_map(|entry| entry.file_name().to_str().and_then(|text| text.parse().ok()))
            .collect();
        versions.sort_unstable();
        versions
    }

    /// What counts of that which came over the air, on a device that runs programs for `triple`. What cannot be read does
    /// not.
    pub fn counting(&self, triple: Option<String>) -> Counting {
        let entries = fs::read_dir(self.place("models")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<Name>().ok());
        let newest = |name: Name| Some((self.versions(&name).pop()?, name));
        let models = names.filter_map(newest).map(|(version, name)| (name, version));
        let layers = self.layers().unwrap_or_default();
        Counting {
            models: models.collect(),
            layers: layers.into_iter().map(|(name, version, _)| (name, version)).collect(),
            program: Slots::read(&self.directory).current.zip(triple),
        }
    }

    /// It is here, be it to go back to.
    pub fn keeps(&self, content: &Content) -> bool {
        match content {
            Content::Model { name, version } => self.model(name, *version),
            Content::Config { name, version } => self.layer(name, *version),
            Content::Binary { version, .. } => self.place("slots").join(version),
        }
        .exists()
    }

    /// Throws away the versions of a model that nobody uses or would go back to.
    pub fn thin(&self, name: &Name, used: &[u64]) -> io::Result<()> {
        let versions = self.versions(name);
        let old = versions[..versions.len().saturating_sub(KEPT)].iter();
        let unused = old.filter(|version| !used.contains(version));
        unused.map(|version| self.model(name, *version)).try_for_each(|path| self.throw_away(&path))
    }

    /// Where a layer of the configuration lies.
    pub fn layer(&self, name: &Name, version: u64) -> PathBuf {
        self.place("config").join(format!("{name}-{version}.toml"))
    }

    /// Which layer of a name counts. A note that cannot be read names none.
    pub fn pointer(&self, name: &Name) -> io::Result<Pointer> {
        match disk::read_bounded(&self.pointer_file(name), MAX_POINTER) {
            Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Pointer::default()),
            Err(error) => Err(error),
        }
    }

    /// Has a staged layer count from the next look on. Done again, it changes nothing.
    pub fn enter_layer(&self, name: &Name, version: u64) -> io::Result<()> {
        let staged = self.staged(&Content::Config { name: name.clone(), version });
        let place = self.layer(name, version);
        match disk::rename(&staged, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.is_file() => {}
            moved => moved?,
        }
        let pointer = self.pointer(name)?;
        if pointer.active == Some(version) {
            return Ok(());
        }
        self.point(name, Pointer { active: Some(version), before: pointer.active })?;
        // Nobody goes back further than to the one before.
        pointer.before.map_or(Ok(()), |old| self.throw_away(&self.layer(name, old)))
    }

    /// The layers that count, by name.
    pub fn layers(&self) -> io::Result<Vec<(Name, u64, PathBuf)>> {
        let entries = match fs::read_dir(self.place("config")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut layers = Vec::new();
        for entry in entries {
            let file = entry?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            let Some(name) = name.and_then(|name| name.parse::<Name>().ok()) else { continue };
            if let Some(version) = self.pointer(&name)?.active {
                let path = self.layer(&name, version);
                layers.push((name, version, path));
            }
        }
        layers.sort();
        Ok(layers)
    }

    /// Removes what was thrown away or laid out and forgotten; `wanted` says which staged releases are not.
    pub fn sweep(&self, wanted: impl Fn(&Path) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(self.place("staging"))? {
            let path = entry?.path();
            if !wanted(&path) {
                self.throw_away(&path)?;
            }
        }
        let _may_be_gone = fs::remove_file(self.place(OUTBOX_COPY));
        for entry in fs::read_dir(self.place("wishes"))? {
            let path = entry?.path();
            // The process ended while it was carried out.
            if path.extension().is_some_and(|end| end == Wish::TAKEN) {
                fs::remove_file(&path)?;
            }
        }
        for entry in fs::read_dir(self.place("trash"))? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
        Ok(())
    }

    /// Nothing is where a release is to be laid out.
    pub fn clear(&self, staged: &Path) -> io::Result<()> {
        self.throw_away(staged)
    }

    /// Out of the way at once, whole; gone soon after.
    fn throw_away(&self, path: &Path) -> io::Result<()> {
        let trash = self.place("trash").join(uuid::Uuid::now_v7().to_string());
        match fs::rename(path, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        sync(path.parent())?;
        // What is left of it is swept away at the next start.
        let _rest =
            if trash.is_dir() { fs::remove_dir_all(&trash) } else { fs::remove_file(&trash) };
        Ok(())
    }

    fn point(&self, name: &Name, pointer: Pointer) -> io::Result<()> {
        disk::replace(&self.pointer_file(name), &serde_json::to_vec(&pointer)?)
    }

    fn pointer_file(&self, name: &Name) -> PathBuf {
        self.place("config").join(format!("{name}.json"))
    }
}

/// The names in a directory are on the disk once it is synced itself.
fn sync(directory: Option<&Path>) -> io::Result<()> {
    directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depot() -> (tempfile::TempDir, Depot, File) {
        let place = tempfile::tempdir().expect("tempdir");
        let depot = Depot::at(&place.path().join("update"));
        fs::create_dir_all(place.path().join("update")).expect("directory");
        let held = depot.own().expect("free");
        (place, depot, held)
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_model_is_staged_or_serves_and_the_last_two_are_kept() {
        let (_place, depot, _held) = depot();
        let defects = name("defects");
        for version in 1..=4 {
            let content = Content::Model { name: defects.clone(), version };
            let staged = depot.staged(&content);
            fs::create_dir(&staged).expect("staged");
            disk::replace(&staged.join("model.onnx"), b"graph").expect("file");
            for _ in 0..2 {
                depot.commit_model(&defects, version).expect("committed");
            }
            depot.thin(&defects, &[]).expect("thinned");
        }
        assert_eq!(depot.versions(&defects), [3, 4]);
        // One that a pipeline names is not thrown away under it.
        fs::create_dir(depot.model(&defects, 1)).expect("directory");
        depot.thin(&defects, &[1]).expect("thinned");
        assert_eq!(depot.versions(&defects), [1, 3, 4]);
        depot.thin(&defects, &[]).expect("thinned");
        depot.commit_model(&defects, 9).expect_err("it is not staged");
        let content = Content::Model { name: defects.clone(), version: 4 };
        for _ in 0..2 {
            depot.discard(&content).expect("discarded");
        }
        assert_eq!(depot.versions(&defects), [3]);
        assert_eq!(depot.own().expect_err("held").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_layer_counts_until_another_does_and_the_one_before_comes_back() {
        let (_place, depot, _held) = depot();
        let rules = name("rules-2");
        let enter = |version| {
            let content = Content::Config { name: rules.clone(), version };
            disk::replace(&depot.staged(&content), b"[log]").expect("staged");
            for _ in 0..2 {
                depot.enter_layer(&rules, version).expect("entered");
            }
            content
        };
        assert!(depot.layers().expect("none").is_empty());
        let first = enter(1);
        let second = enter(2);
        let layers = depot.layers().expect("layers");
        assert_eq!(layers, [(rules.clone(), 2, depot.layer(&rules, 2))]);
        for _ in 0..2 {
            depot.discard(&second).expect("back");
        }
        assert_eq!(depot.layers().expect("layers")[0].1, 1);
        depot.discard(&first).expect("back");
        assert!(depot.layers().expect("none").is_empty());
    }

    #[test]
    fn what_nobody_wants_is_swept_away() {
        let (_place, depot, _held) = depot();
        for (directory, file) in [("staging", "kept"), ("staging", "left"), ("trash", "old")] {
            fs::create_dir(depot.place(directory).join(file)).expect("directory");
        }
        depot.sweep(|path| path.ends_with("kept")).expect("swept");
        assert!(depot.place("staging/kept").is_dir() && !depot.place("staging/left").exists());
        assert_eq!(fs::read_dir(depot.place("trash")).expect("trash").count(), 0);
    }
}
