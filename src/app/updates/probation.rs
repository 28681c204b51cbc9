//! What serves already and is to prove itself: a new program, or a new layer of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::trial::Verdict;
use crate::api::View;
use crate::disk;
use crate::event::Name;

/// The file names what was well: a line each.
const MAX_BYTES: u64 = 1 << 20;

/// What is not well again after so many times the probation is given up.
const PATIENCE: u32 = 3;

/// A connection takes its time, however short the probation.
const SETTLE: Duration = Duration::from_secs(30);

/// Messages of which more than half fail, once there are so many, are no accident.
const MANY: u64 = 20;

/// What was well before: it is not to be worse off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Before {
    release: String,
    well: BTreeSet<(String, String)>,
}

/// Watches over what is on probation.
#[derive(Debug)]
pub(super) struct Probation {
    before: Before,
    since: Instant,
    well_since: Option<Instant>,
    /// Messages and failures of each pipeline at the first look.
    counted: Option<BTreeMap<Name, (u64, u64)>>,
}

impl Probation {
    /// Notes what is well now, before anything changes: on the disk, since the process may be another then. A note that
    /// was made for the same release stays.
    /// What `concerns` says does not depend on the release is left out.
    pub(super) fn note(
        directory: &Path,
        release: &str,
        (view, concerns): (&View, impl Fn(&str) -> bool),
    ) -> std::io::Result<()> {
        if let Some(before) = read(directory).filter(|before| before.release == release) {
            // Written anew: on a disk that takes nothing, a start with it could not be counted.
            return disk::replace(&file(directory), &serde_json::to_vec(&before)?);
        }
        let well = view.works().filter(|(kind, _)| concerns(kind));
        let well = well.map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect();
        let before = Before { release: release.to_owned(), well };
        disk::replace(&file(directory), &serde_json::to_vec(&before)?)
    }

    /// Begins to watch. Without a note nothing is known to have been well.
    pub(super) fn begin(directory: &Path, release: &str, now: Instant) -> Self {
        let noted = read(directory).filter(|before| before.release == release);
        let unknown = || Before { release: release.to_owned(), well: BTreeSet::new() };
        let before = noted.unwrap_or_else(unknown);
        Self { before, since: now, well_since: None, counted: None }
    }

    /// It is over, one way or the other.
    pub(super) fn forget(directory: &Path, release: &str) {
        if read(directory).is_some_and(|before| before.release == release) {
            // What is left names a release, and counts for no other.
            let _gone = std::fs::remove_file(file(directory));
        }
    }

    /// Whether it is about this release.
    pub(super) fn is_of(&self, release: &str) -> bool {
        self.before.release == release
    }

    /// How it stands: well without a break for all of `length`.
    pub(super) fn look(&mut self, view: &View, length: Duration, now: Instant) -> Verdict {
        let ill = self.ill(view);
        let gone = now.saturating_duration_since(self.since);
        if let Some(ill) = ill {
            self.well_since = None;
            if gone > length.saturating_mul(PATIENCE).max(SETTLE) {
                return Verdict::Failed(ill);
            }
            return Verdict::Open(ill);
        }
        let since = *self.well_since.get_or_insert(now);
        let well = now.saturating_duration_since(since);
        if well >= length {
            return Verdict::Passed;
        }
        let left = humantime::format_duration(Duration::from_secs(
            length.saturating_sub(well).as_secs() + 1,
        ));
        Verdict::Open(format!("it does well; {left} to go"))
    }

    /// What is not as it was, or not as it should be.
    fn ill(&mut self, view: &View) -> Option<String> {
        if let Some(stalled) = &view.stalled {
            return Some(stalled.clone());
        }
        let works: BTreeSet<_> = view.works().collect();
        let lost = self.before.well.iter().find(|(kind, name)| {
            let is_there = view.is_there(kind, name);
            is_there && !works.contains(&(kind.as_str(), name.as_str()))
        });
        if let Some((kind, name)) = lost {
            return Some(format!("{kind} {name} is not well, and was before"));
        }
        let counts: BTreeMap<_, _> = view
            .pipelines
            .iter()
            .map(|pipeline| {
                let failed = pipeline.counts.errors.values().sum::<u64>();
                (pipeline.name.clone(), (pipeline.counts.messages, failed))
            })
            .collect();
        let first = self.counted.get_or_insert_with(|| counts.clone());
        for (name, (messages, failed)) in &counts {
            let (messages_before, failed_before) = first.get(name).copied().unwrap_or_default();
            // A pipeline that was built anew counts from nothing.
            let new = *messages < messages_before;
            let (messages, failed) = if new {
                (*messages, *failed)
            } else {
                (messages - messages_before, failed.saturating_sub(failed_before))
            };
            if messages >= MANY && failed * 2 > messages {
                return Some(format!("pipeline {name}: {failed} of {messages} messages fail"));
            }
        }
        None
    }
}

fn read(directory: &Path) -> Option<Before> {
    let bytes = disk::read_bounded(&file(directory), MAX_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn file(directory: &Path) -> PathBuf {
    directory.join("probation.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    fn view(states: &[(&str, bool)]) -> View {
        let name = |text: &str| text.parse::<Name>().expect("a name");
        let state = |well: bool| if well { Ok(()) } else { Err("refused".to_owned()) };
        let connections = states.iter().map(|(text, well)| (name(text), state(*well))).collect();
        View { connections, ..View::new(name("d"), SystemClock.now()) }
    }

    #[test]
    fn what_was_well_must_be_well_again_and_what_was_not_need_not() {
        let place = tempfile::tempdir().expect("tempdir");
        let (release, minute) = ("config/rules/2.toml", Duration::from_mins(1));
        let before = view(&[("a", true), ("b", false), ("gone", true)]);
        Probation::note(place.path(), release, (&before, |_| true)).expect("noted");
        // The second time things are worse already.
        Probation::note(place.path(), release, (&view(&[]), |_| true)).expect("the first stays");
        // Another release that went back took the note with it, and what was ill by then passed for well.
        Probation::forget(place.path(), "models/a/2.tar.zst");
        let start = SystemClock.now();
        let mut probation = Probation::begin(place.path(), release, start);
        let well = view(&[("a", true), ("b", false)]);
        let ill = view(&[("a", false), ("b", true)]);
        assert!(
            matches!(probation.look(&ill, minute, start), Verdict::Open(why) if why.contains("connection a"))
        );
        assert!(matches!(probation.look(&well, minute, start + minute), Verdict::Open(_)));
        // A break begins it anew.
        assert!(matches!(probation.look(&ill, minute, start + minute * 3 / 2), Verdict::Open(_)));
        assert!(matches!(probation.look(&well, minute, start + minute * 2), Verdict::Open(_)));
        assert_eq!(probation.look(&well, minute, start + minute * 3), Verdict::Passed);
        assert!(matches!(probation.look(&ill, minute, start + minute * 4), Verdict::Failed(_)));
        let stalled = View { stalled: Some("it stands".to_owned()), ..well };
        assert_eq!(
            probation.look(&stalled, minute, start + minute * 5),
            Verdict::Failed("it stands".to_owned())
        );
    }
}
