//! What is done at a start before anything of what came over the air is used.

use std::fs;
use std::path::Path;

use super::agent::AgentError;
use super::depot::Depot;
use super::journal::Journal;
use super::machine::{Event, Kind, Progress, State};
use super::release::Content;
use super::slots::Slots;
use crate::disk;

/// Notes that the process ends in order: what is tried is not to blame. No two notes are the same, so that each counts
/// once for whoever looks.
pub fn note_end(directory: &Path) -> std::io::Result<()> {
    disk::replace(&directory.join(ENDED), uuid::Uuid::now_v7().to_string().as_bytes())
}

/// Which end in order was noted last, if nobody has woken since.
pub fn noted_end(directory: &Path) -> Option<String> {
    let note = disk::read_bounded(&directory.join(ENDED), 64).ok()?;
    String::from_utf8(note).ok().filter(|note| !note.is_empty())
}

const ENDED: &str = "ended";

/// What was found at a start.
#[derive(Debug, Default)]
pub struct Woken {
    /// What is damaged, or cannot be done.
    pub notes: Vec<String>,
    /// A start could not be counted while a layer of the configuration is tried: none that came over the air is to be
    /// used this time.
    pub uncounted: bool,
}

/// Counts a start, before anything of what came over the air is used: a release that was being tried when the process
/// ended without order may be to blame, and is given up at the third time. A layer or a model that goes back is gone when
/// this returns: the start itself may have failed for it.
pub fn wake(directory: &Path) -> Result<Woken, AgentError> {
    let depot = Depot::at(directory);
    let mut woken = Woken::default();
    if !depot.place("journal").is_dir() {
        return Ok(woken);
    }
    // Somebody who only looks has it for a moment, a disk that cannot be written never gives it.
    let _held = depot.own().map_err(|error| woken.notes.push(error.to_string()));
    let (mut journal, damaged) = Journal::open(&depot.place("journal"))?;
    woken.notes.extend(damaged.iter().map(ToString::to_string));
    let in_order = fs::remove_file(depot.place(ENDED)).is_ok();
    let started = Slots::read(directory).trial.is_some();
    let all: Vec<_> =
        journal.iter().map(|(subject, known)| (subject.clone(), known.clone())).collect();
    for (subject, known) in all {
        // A program that waits for its hour was not started yet.
        let waits = known.kind == Kind::Binary && known.state == State::Probation && !started;
        let event = if in_order || waits { Event::Resumed } else { Event::CutOff };
        if let Err(error) = journal.step(&subject, event, "") {
            woken.notes.push(error.to_string());
            woken.uncounted |= known.kind == Kind::Config && !known.state.is_final();
        }
        let going = journal.get(&subject).filter(|now| now.state == State::RollingBack);
        if let Some(Err(error)) = going.map(|going| give_up(&depot, going)) {
            woken.notes.push(error.to_string());
        }
    }
    Ok(woken)
}

/// Nothing of what goes back is used. A program is the launcher's matter.
fn give_up(depot: &Depot, going: &Progress) -> std::io::Result<()> {
    match Content::of(&going.release) {
        Some(content @ (Content::Config { .. } | Content::Model { .. })) => depot.discard(&content),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::journal::Subject;

    /// A device whose release of one thing is in that state.
    fn device(release: &str, done: usize) -> (tempfile::TempDir, Depot, Subject) {
        let place = tempfile::tempdir().expect("tempdir");
        let depot = Depot::at(place.path());
        let _held = depot.own().expect("free");
        let subject = Content::of(release).expect("a release").subject();
        let (mut journal, _) = Journal::open(&depot.place("journal")).expect("opened");
        journal.begin(&subject, release).expect("begun");
        for _ in 0..done {
            journal.step(&subject, Event::Done, "").expect("saved");
        }
        (place, depot, subject)
    }

    fn state(depot: &Depot, subject: &Subject) -> State {
        let (journal, _) = Journal::open(&depot.place("journal")).expect("opened");
        journal.get(subject).expect("known").state
    }

    /// Its rules did not fit, so that no start came as far as to take it away: there was none that succeeded ever again.
    #[test]
    fn a_model_whose_commit_was_cut_off_thrice_is_gone_before_the_start() {
        let (place, depot, subject) = device("models/a/2.tar.zst", 6);
        assert_eq!(state(&depot, &subject), State::Committing);
        let model = depot.model(&subject.name, 2);
        fs::create_dir_all(&model).expect("directory");
        for start in 1..=3 {
            assert!(model.exists(), "start {start}");
            assert!(wake(place.path()).expect("woken").notes.is_empty());
        }
        assert!(!model.exists());
        assert_eq!(state(&depot, &subject), State::RollingBack);
    }

    #[test]
    fn a_program_that_waits_for_its_hour_is_not_to_blame_for_how_others_end() {
        let (place, depot, subject) = device("eir/9.0.0/t", 4);
        for _ in 0..5 {
            wake(place.path()).expect("woken");
            assert_eq!(state(&depot, &subject), State::Probation);
        }
        let mut slots = Slots::default();
        slots.try_out("9.0.0");
        slots.save(place.path()).expect("saved");
        for _ in 0..3 {
            wake(place.path()).expect("woken");
        }
        assert_eq!(state(&depot, &subject), State::RollingBack);
    }

    #[test]
    fn an_end_in_order_counts_once() {
        let (place, depot, subject) = device("config/a/2.toml", 4);
        for _ in 0..4 {
            note_end(place.path()).expect("noted");
            wake(place.path()).expect("woken");
            assert_eq!(noted_end(place.path()), None);
        }
        assert_eq!(state(&depot, &subject), State::Probation);
    }
}
