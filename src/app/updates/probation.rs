//! What serves already and is to prove itself: a new program, or a new layer of the configuration.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

/// How far apart messages are counted, and how many counts are kept.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const COUNTS: usize = 13;

/// What was well before: it is not to be worse off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Before {
    release: String,
    well: BTreeSet<(String, String)>,
    #[serde(default)]
    rates: Rates,
    /// There was memory to spare.
    #[serde(default)]
    spare: bool,
}

/// How many messages came to each pipeline.
type Messages = BTreeMap<Name, u64>;

/// Messages a second, of each pipeline.
pub(super) type Rates = BTreeMap<Name, f64>;

/// How many messages came in the last minute.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, Messages)>);

impl Pace {
    /// Counts, if it is time.
    pub(super) fn count(&mut self, view: &View, now: Instant) {
        self.add(now, || messages(view));
    }

    fn add(&mut self, now: Instant, count: impl FnOnce() -> Messages) {
        let last = self.0.back().map(|(at, _)| now.saturating_duration_since(*at));
        if last.is_some_and(|gone| gone < COUNT_EVERY) {
            return;
        }
        if self.0.len() == COUNTS {
            self.0.pop_front();
        }
        self.0.push_back((now, count()));
    }

    /// Of those pipelines that were there all the time.
    pub(super) fn rates(&self) -> Rates {
        let Some(((since, before), (until, after))) = self.0.front().zip(self.0.back()) else {
            return Rates::new();
        };
        let seconds = until.saturating_duration_since(*since).as_secs_f64().max(1.0);
        let rates = after.iter().filter_map(|(name, messages)| {
            // One that was built anew counts from nothing.
            let more = messages.checked_sub(*before.get(name)?)?;
            Some((name.clone(), more as f64 / seconds))
        });
        rates.collect()
    }
}

fn messages(view: &View) -> Messages {
    view.pipelines.iter().map(|known| (known.name.clone(), known.counts.messages)).collect()
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
}

impl Probation {
    /// Notes what is well now, before anything changes: on the disk, since the process may be another then. A note that
    /// was made for the same release stays.
    /// What `concerns` says does not depend on the release is left out.
    pub(super) fn note(
        directory: &Path,
        release: &str,
        (view, concerns): (&View, impl Fn(&str) -> bool),
        (rates, spare): (Rates, bool),
    ) -> std::io::Result<()> {
        if let Some(before) = read(directory).filter(|before| before.release == release) {
            // Written anew: on a disk that takes nothing, a start with it could not be counted.
            return disk::replace(&file(directory), &serde_json::to_vec(&before)?);
        }
        let well = view.works().filter(|(kind, _)| concerns(kind));
        let well = well.map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect();
        let before = Before { release: release.to_owned(), well, rates, spare };
        disk::replace(&file(directory), &serde_json::to_vec(&before)?)
    }

    /// Begins to watch. Without a note nothing is known to have been well.
    pub(super) fn begin(directory: &Path, release: &str, now: Instant) -> Self {
        let noted = read(directory).filter(|before| before.release == release);
        let unknown = || Before {
            release: release.to_owned(),
            well: BTreeSet::new(),
            rates: Rates::new(),
            spare: false,
        };
        let before = noted.unwrap_or_else(unknown);
        Self { before, since: now, well_since: None, counted: None, heard: BTreeMap::new() }
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
        // While a connection is down nobody can tell what is silent.
        if view.connections.iter().any(|(_, state)| state.is_err()) {
            self.heard.clear();
        }
        let ill = self.ill(view).or_else(|| self.silent(messages(view), length, now));
        let ill = ill.or_else(|| tight.filter(|_| self.before.spare));
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
        Probation::note(place.path(), release, (&before, |_| true), (Rates::new(), true))
            .expect("noted");
        // The second time things are worse already.
        Probation::note(place.path(), release, (&view(&[]), |_| true), (Rates::new(), true))
            .expect("the first stays");
        // Another release that went back took the note with it, and what was ill by then passed for well.
        Probation::forget(place.path(), "models/a/2.tar.zst");
        let start = SystemClock.now();
        let mut probation = Probation::begin(place.path(), release, start);
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
        // Somebody who leaks makes it so.
        let tight = || Some("1 bytes of memory are available".to_owned());
        let verdict = probation.look((&well, tight()), minute, start + minute * 4);
        assert!(matches!(verdict, Verdict::Failed(why) if why.contains("of memory")));
        let stalled = View { stalled: Some("it stands".to_owned()), ..well };
        assert_eq!(
            probation.look((&stalled, None), minute, start + minute * 5),
            Verdict::Failed("it stands".to_owned())
        );
    }
    /// A layer with the topic of nobody passed: nothing was ill, and nothing came.
    #[test]
    fn where_messages_do_not_come_any_more_a_release_goes_back() {
        let place = tempfile::tempdir().expect("tempdir");
        let (release, minute) = ("config/a/2.toml", Duration::from_mins(1));
        let messages = |count| Messages::from([("a".parse().expect("a name"), count)]);
        let (start, mut pace) = (SystemClock.now(), Pace::default());
        let after = |seconds| start + Duration::from_secs(seconds);
        for second in 0..100 {
            pace.add(after(second), || messages(second * 10));
        }
        assert_eq!(pace.rates().into_values().collect::<Vec<_>>(), [10.0]);
        let well = (&view(&[]), |_: &str| true);
        Probation::note(place.path(), release, well, (pace.rates(), true)).expect("noted");
        let mut probation = Probation::begin(place.path(), release, start);
        for (count, second) in [(0, 100), (7, 120), (7, 149)] {
            assert_eq!(probation.silent(messages(count), minute, after(second)), None);
        }
        assert_eq!(
            probation.silent(messages(7), minute, after(150)).as_deref(),
            Some("pipeline a has had no message for 30 s, and had 10.0 a second before")
        );
        // Of another release nothing is known.
        let mut other = Probation::begin(place.path(), "config/a/3.toml", start);
        for second in [0, 300] {
            assert_eq!(other.silent(messages(7), minute, after(second)), None);
        }
    }
}
