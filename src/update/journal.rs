//! Where the progress of releases is kept: one file for each thing that can be updated, replaced whole.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::machine::{Event, Kind, Progress, State};
use crate::disk;
use crate::event::Name;

/// A journal file is a few hundred bytes.
const MAX_BYTES: u64 = 1 << 16;

/// Things that can be under way at a time.
const MAX_FILES: usize = 1024;

/// What is updated: eir itself, a model by its name, a layer of the configuration by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// Which one.
    pub name: Name,
}

/// A journal that cannot be read or written.
#[derive(Debug, Error)]
#[error("{path}: {reason}", path = path.display())]
pub struct JournalError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The progress of all that is under way, on the disk before anything acts on it.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    all: BTreeMap<Subject, Progress>,
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is not there. A file that cannot be read is put aside under
    /// the name `….damaged`, told, and its release forgotten: what serves is not in it.
    pub fn open(directory: &Path) -> Result<(Self, Vec<JournalError>), JournalError> {
        let failed = |path: &Path, reason: &dyn ToString| JournalError {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let of_directory = |error: io::Error| failed(directory, &error);
        disk::make_directory(directory).map_err(of_directory)?;
        let (mut all, mut damaged) = (BTreeMap::new(), Vec::new());
        for entry in std::fs::read_dir(directory).map_err(of_directory)? {
            let path = entry.map_err(of_directory)?.path();
            let Some(subject) = Subject::of(&path) else { continue };
            if all.len() >= MAX_FILES {
                damaged.push(failed(&path, &format!("there are more than {MAX_FILES} already")));
                continue;
            }
            let progress = disk::read_bounded(&path, MAX_BYTES)
                .map_err(|error| failed(&path, &error))
                .and_then(|read| {
                    serde_json::from_slice::<Progress>(&read).map_err(|error| failed(&path, &error))
                })
                .and_then(|progress| {
                    let fits = progress.kind == subject.kind;
                    fits.then_some(progress).ok_or_else(|| failed(&path, &"of another kind"))
                });
            match progress {
                Ok(progress) => {
                    all.insert(subject, progress);
                }
                Err(error) => {
                    let aside = path.with_extension("json.damaged");
                    damaged.push(error);
                    damaged.extend(
                        disk::rename(&path, &aside).err().map(|error| failed(&path, &error)),
                    );
                }
            }
        }
        Ok((Self { directory: directory.to_owned(), all }, damaged))
    }

    /// How far the release of a subject is.
    pub fn get(&self, subject: &Subject) -> Option<&Progress> {
        self.all.get(subject)
    }

    /// All that is known of.
    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &Progress)> {
        self.all.iter()
    }

    /// A release of a subject was found: it waits from now on. Nothing is changed while another one is under way, or where
    /// it had its end or was rolled back once; false then.
    pub fn begin(&mut self, subject: &Subject, release: &str) -> Result<bool, JournalError> {
        let progress = match self.get(subject) {
            Some(before) => before.followed_by(release),
            None => Some(Progress::new(release, subject.kind)),
        };
        let Some(progress) = progress else { return Ok(false) };
        if self.get(subject).is_none() && self.all.len() >= MAX_FILES {
            let (path, most) = (self.directory.join(subject.file()), MAX_FILES);
            let reason = format!("{most} things are updated here already; release fewer names");
            return Err(JournalError { path, reason });
        }
        self.save(subject, progress)?;
        Ok(true)
    }

    /// A newer release takes the place of one that only waited, which is not given up for that.
    pub fn supersede(&mut self, subject: &Subject, release: &str) -> Result<bool, JournalError> {
        let waits = |known: &&Progress| known.state == State::Waiting && known.release != release;
        let Some(before) = self.get(subject).filter(waits) else { return Ok(false) };
        if before.given_up.iter().any(|known| known == release) {
            return Ok(false);
        }
        let progress = Progress { release: release.to_owned(), ..before.clone() };
        self.save(subject, progress)?;
        Ok(true)
    }

    /// A release that was rolled back is begun once more, because somebody wants it. Nothing is changed while one is under
    /// way; false then.
    pub fn retry(&mut self, subject: &Subject, release: &str) -> Result<bool, JournalError> {
        let went_back = |before: &&Progress| before.state == State::RolledBack;
        let Some(before) = self.get(subject).filter(went_back) else { return Ok(false) };
        let mut progress = Progress::new(release, subject.kind);
        progress.given_up.clone_from(&before.given_up);
        progress.given_up.push(before.release.clone());
        progress.given_up.retain(|known| known != release);
        self.save(subject, progress)?;
        Ok(true)
    }

    /// What serves takes the place of a release that went back; false: another one is under way, or it is that one.
    pub fn settle_on(&mut self, subject: &Subject, release: &str) -> Result<bool, JournalError> {
        let went_back = |before: &&Progress| before.state == State::RolledBack;
        let next =
            self.get(subject).filter(went_back).and_then(|before| before.followed_by(release));
        let Some(next) = next else { return Ok(false) };
        self.save(subject, Progress { state: State::Committed, ..next })?;
        Ok(true)
    }

    /// Saves what follows from an event. What is returned is on the disk, and may be entered; `None`: nothing changes.
    pub fn step(
        &mut self,
        subject: &Subject,
        event: Event,
        why: &str,
    ) -> Result<Option<&Progress>, JournalError> {
        let Some(next) = self.get(subject).and_then(|progress| progress.step(event, why)) else {
            return Ok(None);
        };
        self.save(subject, next)?;
        Ok(self.get(subject))
    }

    fn save(&mut self, subject: &Subject, progress: Progress) -> Result<(), JournalError> {
        let path = self.directory.join(subject.file());
        let failed = |reason: String| JournalError { path: path.clone(), reason };
        let text =
            serde_json::to_vec_pretty(&progress).map_err(|error| failed(error.to_string()))?;
        disk::replace(&path, &text).map_err(|error| failed(error.to_string()))?;
        self.all.insert(subject.clone(), progress);
        Ok(())
    }
}

impl Subject {
    fn file(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "model",
            Kind::Binary => "binary",
            Kind::Config => "config",
        };
        format!("{kind}-{}.json", self.name)
    }

    /// `None`: the file is another's.
    fn of(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
        let (kind, name) = stem.split_once('-')?;
        let kind = match kind {
            "model" => Kind::Model,
            "binary" => Kind::Binary,
            "config" => Kind::Config,
            _ => return None,
        };
        Some(Self { kind, name: name.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(kind: Kind, name: &str) -> Subject {
        Subject { kind, name: name.parse().expect("a name") }
    }

    fn open(directory: &Path) -> (Journal, Vec<String>) {
        let (journal, damaged) = Journal::open(directory).expect("a journal");
        (journal, damaged.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let place = tempfile::tempdir().expect("tempdir");
        let directory = place.path().join("update");
        let (model, binary) =
            (subject(Kind::Model, "defects-2.small"), subject(Kind::Binary, "eir"));
        let (mut journal, _) = open(&directory);
        assert!(journal.begin(&model, "models/defects-2.small/4.tar.zst").expect("saved"));
        assert!(journal.begin(&binary, "eir/0.5.0/aarch64-unknown-linux-gnu").expect("saved"));
        assert!(!journal.begin(&model, "models/defects-2.small/5.tar.zst").expect("one at a time"));
        let next = journal.step(&model, Event::Done, "").expect("saved").expect("it moves").state;
        assert_eq!(next, State::Downloading);
        assert!(journal.step(&model, Event::CutOff, "").expect("nothing to save").is_none());
        let (mut again, damaged) = open(&directory);
        assert!(damaged.is_empty());
        assert_eq!(again.iter().collect::<Vec<_>>(), journal.iter().collect::<Vec<_>>());
        let ended = again.step(&model, Event::Halted, "it was withdrawn").expect("saved");
        assert_eq!(ended.expect("it moves").reason.as_deref(), Some("it was withdrawn"));
        again.step(&model, Event::Done, "").expect("saved");
        assert!(!again.begin(&model, "models/defects-2.small/4.tar.zst").expect("had its end"));
        assert!(again.begin(&model, "models/defects-2.small/5.tar.zst").expect("another"));
    }

    /// What was only waiting was given up for good when a newer one came, and gone when that one was withdrawn.
    #[test]
    fn a_newer_release_takes_the_place_of_one_that_waits_and_gives_up_nothing() {
        let place = tempfile::tempdir().expect("tempdir");
        let model = subject(Kind::Model, "a");
        let (mut journal, _) = open(place.path());
        let [four, five] = ["models/a/4.tar.zst", "models/a/5.tar.zst"];
        assert!(!journal.supersede(&model, four).expect("nothing waits"));
        journal.begin(&model, four).expect("begun");
        assert!(journal.supersede(&model, five).expect("saved"));
        assert_eq!(journal.get(&model).expect("known").release, five);
        journal.step(&model, Event::Halted, "withdrawn").expect("saved");
        assert!(journal.begin(&model, four).expect("it is good for this device still"));
        journal.step(&model, Event::Done, "").expect("saved");
        assert!(!journal.supersede(&model, "models/a/6.tar.zst").expect("it is under way"));
    }

    /// What served was fetched again over itself, and thrown away when that failed.
    #[test]
    fn only_what_went_back_is_tried_once_more() {
        let place = tempfile::tempdir().expect("tempdir");
        let model = subject(Kind::Model, "a");
        let (mut journal, _) = open(place.path());
        let release = "models/a/4.tar.zst";
        journal.begin(&model, release).expect("begun");
        while journal.step(&model, Event::Done, "").expect("saved").is_some() {}
        assert!(!journal.retry(&model, release).expect("it serves"));
        journal.step(&model, Event::Undone, "not wanted").expect("saved");
        journal.step(&model, Event::Done, "").expect("saved");
        assert!(journal.retry(&model, release).expect("saved"));
        assert_eq!(journal.get(&model).expect("known").state, State::Waiting);
    }

    /// Behind a release that was given up nobody could go back from the one that served.
    #[test]
    fn what_serves_takes_the_place_of_what_went_back() {
        let place = tempfile::tempdir().expect("tempdir");
        let model = subject(Kind::Model, "a");
        let (mut journal, _) = open(place.path());
        let [four, five] = ["models/a/4.tar.zst", "models/a/5.tar.zst"];
        journal.begin(&model, five).expect("begun");
        assert!(!journal.settle_on(&model, four).expect("five is under way"));
        journal.step(&model, Event::Failed, "slow").expect("saved");
        journal.step(&model, Event::Done, "").expect("saved");
        assert!(!journal.settle_on(&model, five).expect("that is what went back"));
        assert!(journal.settle_on(&model, four).expect("saved"));
        let known = journal.get(&model).expect("known");
        assert_eq!((known.release.as_str(), known.state), (four, State::Committed));
        assert!(known.has_given_up(five));
    }

    #[test]
    fn what_cannot_be_read_is_put_aside_and_told() {
        let place = tempfile::tempdir().expect("tempdir");
        let (mut journal, _) = open(place.path());
        let good = subject(Kind::Config, "rules");
        journal.begin(&good, "config/rules/1.toml").expect("saved");
        for (file, text) in [
            ("model-a.json", "{"),
            (
                "model-b.json",
                r#"{"release": "r", "kind": "binary", "state": "waiting", "moves": 0, "starts": 0}"#,
            ),
            ("notes.txt", "not ours"),
            ("model-?.json", "no name of a model"),
        ] {
            disk::replace(&place.path().join(file), text.as_bytes()).expect("file");
        }
        let (journal, mut damaged) = open(place.path());
        damaged.sort();
        assert_eq!(damaged.len(), 2, "{damaged:?}");
        assert!(damaged[0].contains("model-a.json: ") && damaged[1].contains("another kind"));
        assert_eq!(journal.iter().map(|(subject, _)| subject).collect::<Vec<_>>(), [&good]);
        assert!(place.path().join("model-a.json.damaged").exists());
        assert!(open(place.path()).1.is_empty(), "it is told once");
    }
}
