//! Somebody who keeps a repository of releases.

use std::path::{Path, PathBuf};

use eir::task::{Clock, SystemClock};
use eir::update::archive;
use eir::update::author::{Lifetimes, Repository, Roles};
use eir::update::release::{About, Content};
use eir::update::sign::{Key, Scheme};

/// What was built this program for.
pub(crate) const TRIPLE: &str = env!("EIR_TARGET");

/// A repository with its keys.
pub(crate) struct Keeper {
    pub(crate) place: tempfile::TempDir,
    repository: Repository,
    targets: Key,
    online: Key,
}

impl Keeper {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("tempdir");
        let [first, second, targets, online] =
            [(); 4].map(|()| Key::generate(Scheme::default()).expect("random"));
        let roles = Roles {
            root: (2, vec![&first, &second]),
            targets: (1, vec![&targets]),
            online: &online,
        };
        let directory = place.path().join("repository");
        let now = SystemClock.wall();
        let repository =
            Repository::init(&directory, &roles, Lifetimes::default(), now).expect("made");
        let mut keeper = Self { place, repository, targets, online };
        keeper.publish();
        keeper
    }

    /// What is hosted.
    pub(crate) fn directory(&self) -> PathBuf {
        self.place.path().join("repository")
    }

    /// All of it in one file.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        archive::pack_files(&self.directory(), self.repository.files()).expect("packed")
    }

    /// Where trust begins.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory().join("metadata/1.root.json")
    }

    /// Publishes a release at once.
    pub(crate) fn release(&mut self, name: &str, bytes: &[u8], about: serde_json::Value) {
        let content = Content::of(name).expect("a release");
        let about: About = serde_json::from_value(about).expect("about");
        self.repository.add(&content, bytes, &about).expect("added");
        self.publish();
    }

    /// Publishes a version of a model as it lies in a directory.
    pub(crate) fn model(&mut self, name: &str, directory: &Path, about: serde_json::Value) {
        let bytes = archive::pack(directory).expect("packed");
        self.release(name, &bytes, about);
    }

    /// Takes a release back.
    pub(crate) fn halt(&mut self, name: &str) {
        let content = Content::of(name).expect("a release");
        let mut about = self.repository.about(&content).expect("read").expect("there");
        about.halted = true;
        self.repository.amend(&content, &about).expect("changed");
        self.publish();
    }

    fn publish(&mut self) {
        let keys = [&self.targets, &self.online];
        self.repository.publish(&keys, SystemClock.wall()).expect("published");
    }
}

/// A copy of the shipped bearing model in a directory, changed as `change` says.
pub(crate) fn bearing(into: &Path, change: impl FnOnce(&Path)) {
    let from = super::site::models().join("bearing/1");
    std::fs::create_dir_all(into.join("golden")).expect("directory");
    for below in ["", "golden"] {
        for entry in std::fs::read_dir(from.join(below)).expect("the model") {
            let path = entry.expect("entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name");
                std::fs::copy(&path, into.join(below).join(name)).expect("copied");
            }
        }
    }
    change(into);
}
