//! What serves already and is to prove itself: a new program, or a new layer of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::pace::{Messages, Rates, messages};
use super::trial::Verdict;
use crate::api::View;
use crate::disk;
use crate::event::Name;
use crate::task::Uptime;

/// The file names what was well: a line each.
const MAX_BYTES: u64 = 1 << 20;

/// What is not well again after so many times the probation is given up.
const PATIENCE: u32 = 3;

/// A connection takes its time, however short the probation.
const SETTLE: Duration = Duration::from_secs(30);

/// Messages of which more than half fail, once there are so many, are no accident.
const MANY: u64 = 20;

/// What came before that says nothing of what should come now.
const STALE: Duration = Duration::from_hours(1);

/// How things are before anything changes.
#[derive(Debug)]
pub(super) struct Present<'a> {
    pub view: &'a View,
    /// Of the pipelines whose messages the release could keep from coming.
    pub rates: Rates,
    /// There is memory to spare.
    pub spare: bool,
    pub uptime: Option<Uptime>,
}

impl Present<'_> {
    /// Notes it: on the disk, since the process may be another by then. A note that was made for the same release stays.
    /// Of what is well only those kinds count that the release concerns.
    pub(super) fn note(
        self,
        directory: &Path,
        release: &str,
        concerns: impl Fn(&str) -> bool,
    ) -> std::io::Result<()> {
        if let Some(before) = read(directory).filter(|before| before.release == release) {
            // Written anew: on a disk that takes nothing, a start with it could not be counted.
            return disk::replace(&file(directory), &serde_json::to_vec(&before)?);
        }
        let Self { view, rates, spare, uptime } = self;
        let well = view.works().filter(|(kind, _)| concerns(kind));
        let well = well.map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect();
        let up = view.connections.iter().filter(|(_, state)| state.is_ok());
        let up = up.map(|(name, _)| name.clone()).collect();
        let at = uptime.map(|uptime| (uptime.boot.to_string(), uptime.since.as_secs()));
        let before = Before { release: release.to_owned(), well, up, rates, at, spare };
        disk::replace(&file(directory), &serde_json::to_vec(&before)?)
    }
}

/// What was well before: it is not to be worse off. Another version may have written it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Before {
    release: String,
    well: BTreeSet<(String, String)>,
    /// Connections that were up.
    up: BTreeSet<Name>,
    rates: Rates,
    /// When that was so: the start of the board, and seconds since.
    at: Option<(String, u64)>,
    spare: bool,
}

/// Watches over what is on probation.
#[derive(Debug)]
pub(super) struct Probation {
    before: Before,
    since: Instant,
    well_since: Option<Instant>,
    /// Messages and failures of each pipeline at the first look.
    counted: Option<BTreeMap<Name, (u64, u64)>>,
    /// Messages of each pipeline, and since when there are no more.
    heard: BTreeMap<Name, (u64, Instant)>,
    /// Since when there is too little memory.
    tight: Option<Instant>,
}

impl Probation {
    /// Begins to watch. Without a note nothing is known to have been well.
    pub(super) fn begin(
        directory: &Path,
        release: &str,
        (now, uptime): (Instant, Option<Uptime>),
    ) -> Self {
        let noted = read(directory).filter(|before| before.release == release);
        let unknown = || Before { release: release.to_owned(), ..Before::default() };
        let mut before = noted.unwrap_or_else(unknown);
        let fresh = before.at.as_ref().zip(uptime).is_some_and(|((boot, seconds), uptime)| {
            *boot == *uptime.boot && uptime.since.as_secs() < seconds + STALE.as_secs()
        });
        if !fresh {
            // The board was off since, and the plant may be still.
            before.rates.clear();
        }
        let (counted, heard) = (None, BTreeMap::new());
        Self { before, since: now, well_since: None, counted, heard, tight: None }
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

    /// How it stands: well without a break for all of `length`. `tight` is what there is to say of too little memory.
    pub(super) fn look(
        &mut self,
        (view, tight): (&View, Option<String>),
        length: Duration,
        now: Instant,
    ) -> Verdict {
        // While a connection is down that was up nobody can tell what is silent.
        let is_down = |(name, state): &(Name, Result<(), String>)| {
            state.is_err() && self.before.up.contains(name)
        };
        if view.connections.iter().any(is_down) {
            self.heard.clear();
        }
        let ill = self.ill(view).or_else(|| self.silent(messages(view), length, now));
        let ill = ill.or_else(|| self.tight(tight, length, now));
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

    /// A pipeline whose messages do not come any more.
    fn silent(&mut self, messages: Messages, length: Duration, now: Instant) -> Option<String> {
        for (name, messages) in messages {
            let Some(rate) = self.before.rates.get(&name) else { continue };
            let heard = self.heard.entry(name.clone()).or_insert((messages, now));
            if heard.0 != messages {
                *heard = (messages, now);
            }
            let silence = now.saturating_duration_since(heard.1);
            if silence >= SETTLE.min(length / 2) && rate * silence.as_secs_f64() >= MANY as f64 {
                let seconds = silence.as_secs();
                return Some(format!(
                    "pipeline {name} has had no message for {seconds} s, and had {rate:.1} a second before"
                ));
            }
        }
        None
    }

    /// Too little memory for a while, where there was enough.
    fn tight(&mut self, tight: Option<String>, length: Duration, now: Instant) -> Option<String> {
        let Some(tight) = tight.filter(|_| self.before.spare) else {
            self.tight = None;
            return None;
        };
        let since = *self.tight.get_or_insert(now);
        let lasts = now.saturating_duration_since(since) >= SETTLE.min(length / 2);
        lasts.then_some(tight)
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

    fn uptime(boot: &str) -> Uptime {
        Uptime { boot: boot.into(), since: Duration::from_hours(9), synced: false }
    }

    fn present(view: &View, rates: Rates) -> Present<'_> {
        Present { view, rates, spare: true, uptime: Some(uptime("b")) }
    }

    #[test]
    fn what_was_well_must_be_well_again_and_what_was_not_need_not() {
        let place = tempfile::tempdir().expect("tempdir");
        let (release, minute) = ("config/rules/2.toml", Duration::from_mins(1));
        let before = view(&[("a", true), ("b", false), ("gone", true)]);
        present(&before, Rates::new()).note(place.path(), release, |_| true).expect("noted");
        // The second time things are worse already.
        present(&view(&[]), Rates::new())
            .note(place.path(), release, |_| true)
            .expect("the first stays");
        // Another release that went back took the note with it, and what was ill by then passed for well.
        Probation::forget(place.path(), "models/a/2.tar.zst");
        let start = SystemClock.now();
        let mut probation = Probation::begin(place.path(), release, (start, Some(uptime("b"))));
        let well = view(&[("a", true), ("b", false)]);
        let ill = view(&[("a", false), ("b", true)]);
        assert!(
            matches!(probation.look((&ill, None), minute, start), Verdict::Open(why) if why.contains("connection a"))
        );
        assert!(matches!(probation.look((&well, None), minute, start + minute), Verdict::Open(_)));
        // A break begins it anew.
        assert!(matches!(
            probation.look((&ill, None), minute, start + minute * 3 / 2),
            Verdict::Open(_)
        ));
        assert!(matches!(
            probation.look((&well, None), minute, start + minute * 2),
            Verdict::Open(_)
        ));
        assert_eq!(probation.look((&well, None), minute, start + minute * 3), Verdict::Passed);
        assert!(matches!(
            probation.look((&ill, None), minute, start + minute * 4),
            Verdict::Failed(_)
        ));
        let stalled = View { stalled: Some("it stands".to_owned()), ..well };
        assert_eq!(
            probation.look((&stalled, None), minute, start + minute * 5),
            Verdict::Failed("it stands".to_owned())
        );
    }
    #[test]
    fn a_release_that_takes_the_memory_goes_back_and_one_that_took_it_for_a_moment_does_not() {
        let place = tempfile::tempdir().expect("tempdir");
        let (release, minute) = ("eir/0.2.0/t", Duration::from_mins(1));
        let view = view(&[]);
        present(&view, Rates::new()).note(place.path(), release, |_| true).expect("noted");
        let start = SystemClock.now();
        let mut probation = Probation::begin(place.path(), release, (start, Some(uptime("b"))));
        let mut look = |tight: bool, seconds| {
            let tight = tight.then(|| "1 bytes of memory are available".to_owned());
            probation.look((&view, tight), minute, start + Duration::from_secs(seconds))
        };
        for (tight, seconds) in [(true, 0), (true, 29), (false, 30), (true, 31)] {
            let verdict = look(tight, seconds);
            assert!(matches!(verdict, Verdict::Open(why) if why.starts_with("it does well")));
        }
        let verdict = look(true, 61);
        assert!(matches!(verdict, Verdict::Open(why) if why.ends_with("of memory are available")));
        let verdict = look(true, 181);
        assert!(matches!(verdict, Verdict::Failed(why) if why.ends_with("are available")));
    }

    /// A layer with the topic of nobody passed: nothing was ill, and nothing came.
    #[test]
    fn where_messages_do_not_come_any_more_a_release_goes_back() {
        let place = tempfile::tempdir().expect("tempdir");
        let (release, minute) = ("config/a/2.toml", Duration::from_mins(1));
        let messages = |count| Messages::from([("a".parse().expect("a name"), count)]);
        let start = SystemClock.now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let rates = Rates::from([("a".parse().expect("a name"), 10.0)]);
        let before = view(&[("a", true)]);
        present(&before, rates).note(place.path(), release, |_| true).expect("noted");
        let mut probation = Probation::begin(place.path(), release, (start, Some(uptime("b"))));
        for (count, second) in [(0, 100), (7, 120), (7, 149)] {
            assert_eq!(probation.silent(messages(count), minute, after(second)), None);
        }
        let told = "pipeline a has had no message for 30 s, and had 10.0 a second before";
        let silent = probation.silent(messages(7), minute, after(150));
        assert_eq!(silent.as_deref(), Some(told));
        // A broker that is away is no answer; a new one that nobody finds is.
        let new = view(&[("a", true), ("b", false)]);
        probation.look((&new, None), minute, after(151));
        assert!(probation.silent(messages(7), minute, after(151)).is_some());
        probation.look((&view(&[("a", false)]), None), minute, after(152));
        assert_eq!(probation.silent(messages(7), minute, after(153)), None);
        // Of another release nothing is known, and after the board was off nobody can tell.
        for (release, boot) in [("config/a/3.toml", "b"), (release, "c")] {
            let mut other = Probation::begin(place.path(), release, (start, Some(uptime(boot))));
            for second in [0, 300] {
                assert_eq!(other.silent(messages(7), minute, after(second)), None);
            }
        }
    }
}
