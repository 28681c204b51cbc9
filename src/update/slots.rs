//! Which program starts: the packaged one, or one that came over the air.
//!
//! The packaged program is the base, and is never changed. It looks here before anything else, counts the start *before* it
//! hands over, and so returns by itself from a program that cannot even begin. What it reads is one small file that
//! later versions only add to; whatever is wrong with it, the base itself runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::machine::MAX_STARTS;
use super::release::newer;
use crate::disk;

/// The file is a few lines.
const MAX_BYTES: u64 = 64 << 10;

/// What is known of the programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slots {
    /// The version that has proved itself; none: the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The one before it; none: the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// A version that is to prove itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<String>,
    /// Starts since the last that did well: of the trial, or of the current version in this boot.
    pub starts: u8,
    /// The boot that they were counted in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The end in order that a start was not counted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excused: Option<String>,
    /// The last version that was given up, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
}

/// A version that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub version: String,
    /// What it did.
    pub reason: String,
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its version.
    pub version: String,
    /// Where it lies.
    pub program: PathBuf,
}

impl Slots {
    /// As they lie in the directory of the updates. What cannot be read counts as none: the base runs.
    pub fn read(directory: &Path) -> Self {
        Self::load(directory).unwrap_or_default()
    }

    /// The same for who would write it anew: an error is no reason to forget what is there. A file that is damaged
    /// counts as none.
    pub fn load(directory: &Path) -> io::Result<Self> {
        match disk::read_bounded(&file(directory), MAX_BYTES) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// On the disk for good.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        disk::replace(&file(directory), &serde_json::to_vec_pretty(self)?)
    }

    /// What starts now, with that start counted: to be saved before it is. `base` is the version of the base. Without a
    /// boot that is known, all starts are of the same. A version that has proved itself is not to blame for an end `in_order`.
    pub fn next(
        &mut self,
        directory: &Path,
        base: &str,
        (boot, in_order): (Option<&str>, bool),
    ) -> Option<Start> {
        loop {
            // A package that was installed since is as new as what came over the air, or newer.
            let outdated = |version: &String| !newer(version, base);
            if self.current.as_ref().is_some_and(outdated) {
                self.current = None;
            }
            if self.previous.as_ref().is_some_and(outdated) {
                self.previous = None;
            }
            let version = self.trial.as_ref().or(self.current.as_ref())?.clone();
            if self.trial.is_none() && (in_order || self.boot.as_deref() != boot) {
                // Ended as it should, or cut off with the power, not by itself.
                self.starts = 0;
            }
            self.boot = boot.map(str::to_owned);
            let program = program(directory, &version);
            let why = if !program.is_file() {
                format!("{} is not there", program.display())
            } else if self.starts >= MAX_STARTS {
                format!("{} starts of it did not do well", self.starts)
            } else {
                self.starts += 1;
                return Some(Start { version, program });
            };
            self.give_up(&why);
        }
    }

    /// A version is tried from the next start on. Starts that it had already count.
    pub fn try_out(&mut self, version: &str) {
        if self.trial.as_deref() != Some(version) {
            self.trial = Some(version.to_owned());
            self.starts = 0;
        }
    }

    /// What runs has done well; a trial has proved itself, and stays.
    pub fn confirm(&mut self) {
        self.starts = 0;
        if let Some(trial) = self.trial.take() {
            self.previous = self.current.replace(trial);
        }
    }

    /// The trial is over, or the current version is no good: the one before it starts from now on.
    pub fn give_up(&mut self, reason: &str) {
        self.starts = 0;
        let version = match self.trial.take() {
            Some(trial) => Some(trial),
            None => std::mem::replace(&mut self.current, self.previous.take()),
        };
        let reason = reason.to_owned();
        self.failed = version.map(|version| Failed { version, reason }).or(self.failed.take());
    }
}

/// Where the program of a version lies.
pub fn program(directory: &Path, version: &str) -> PathBuf {
    directory.join("slots").join(version).join("eir")
}

/// Throws away the programs of all versions but those that may start.
pub fn thin(directory: &Path, slots: &Slots) -> io::Result<()> {
    let kept = [&slots.current, &slots.previous, &slots.trial];
    for entry in fs::read_dir(directory.join("slots"))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name();
        let is_kept = kept.iter().any(|version| version.as_deref().is_some_and(|v| *name == *v));
        if !is_kept {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn file(directory: &Path) -> PathBuf {
    directory.join("slots.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Option<&str> = Some("first");

    fn place(versions: &[&str]) -> tempfile::TempDir {
        let place = tempfile::tempdir().expect("tempdir");
        for version in versions {
            let program = program(place.path(), version);
            fs::create_dir_all(program.parent().expect("a directory")).expect("directory");
            disk::replace(&program, b"#!/bin/sh").expect("a program");
        }
        place
    }

    fn next(slots: &mut Slots, place: &tempfile::TempDir) -> Option<String> {
        slots.next(place.path(), "0.1.0", (BOOT, false)).map(|start| start.version)
    }

    #[test]
    fn a_trial_has_three_starts_and_then_what_was_before_is_back() {
        let place = place(&["0.2.0", "0.3.0"]);
        let mut slots = Slots::default();
        assert_eq!(next(&mut slots, &place), None, "the base");
        slots.try_out("0.2.0");
        assert_eq!(next(&mut slots, &place).as_deref(), Some("0.2.0"));
        slots.confirm();
        slots.try_out("0.3.0");
        for start in 1..=3 {
            assert_eq!(next(&mut slots, &place).as_deref(), Some("0.3.0"), "start {start}");
            slots.try_out("0.3.0");
            slots.save(place.path()).expect("saved");
            slots = Slots::read(place.path());
        }
        assert_eq!(next(&mut slots, &place).as_deref(), Some("0.2.0"));
        let failed = slots.failed.as_ref().expect("it is told");
        assert_eq!(
            (&*failed.version, &*failed.reason),
            ("0.3.0", "3 starts of it did not do well")
        );
    }

    #[test]
    fn what_proved_itself_and_fails_later_makes_way_for_the_one_before_and_that_for_the_base() {
        let place = place(&["0.2.0", "0.3.0"]);
        let mut slots = Slots::default();
        for version in ["0.2.0", "0.3.0"] {
            slots.try_out(version);
            assert!(next(&mut slots, &place).is_some());
            slots.confirm();
        }
        let started: Vec<_> = (0..7).map(|_| next(&mut slots, &place)).collect();
        let [new, old] = ["0.3.0", "0.2.0"].map(|version| Some(version.to_owned()));
        assert_eq!(started, [new.clone(), new.clone(), new, old.clone(), old.clone(), old, None]);
    }

    #[test]
    fn power_cuts_alone_demote_nobody_that_has_proved_itself() {
        let place = place(&["0.2.0"]);
        let mut slots = Slots::default();
        slots.try_out("0.2.0");
        assert!(next(&mut slots, &place).is_some());
        slots.confirm();
        for boot in 0..20 {
            let boot = boot.to_string();
            assert!(slots.next(place.path(), "0.1.0", (Some(&boot), false)).is_some());
        }
        // Nor does somebody who starts it again and again.
        for _ in 0..20 {
            assert!(slots.next(place.path(), "0.1.0", (BOOT, true)).is_some());
        }
    }

    #[test]
    fn a_package_that_was_installed_since_is_not_held_back() {
        let place = place(&["0.2.0"]);
        let mut slots = Slots { current: Some("0.2.0".to_owned()), ..Slots::default() };
        assert!(slots.next(place.path(), "0.2.0", (BOOT, false)).is_none());
        assert_eq!(slots.failed, None, "it did nothing wrong");
    }

    #[test]
    fn whatever_is_wrong_with_the_file_or_the_program_the_base_runs() {
        let place = place(&[]);
        disk::replace(&file(place.path()), b"{\"current\": 7").expect("damaged");
        assert_eq!(Slots::read(place.path()), Slots::default());
        disk::replace(&file(place.path()), br#"{"current": "0.9.0", "of later": 1}"#).expect("new");
        let mut slots = Slots::read(place.path());
        assert_eq!(next(&mut slots, &place), None);
        assert!(slots.failed.expect("told").reason.ends_with("eir is not there"));
    }

    #[test]
    fn programs_that_cannot_start_any_more_are_thrown_away() {
        let place = place(&["0.2.0", "0.3.0", "0.4.0"]);
        let slots = Slots {
            current: Some("0.4.0".to_owned()),
            previous: Some("0.3.0".to_owned()),
            ..Slots::default()
        };
        thin(place.path(), &slots).expect("thinned");
        assert!(
            !program(place.path(), "0.2.0").exists() && program(place.path(), "0.3.0").exists()
        );
    }
}
