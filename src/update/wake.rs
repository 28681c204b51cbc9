//! What is done at a start before anything of what came over the air is used.

use std::fs;
use std::path::Path;

use super::agent::AgentError;
use super::depot::Depot;
use super::journal::Journal;
use super::machine::{Event, State};
use super::release::Content;

/// Counts a start, before anything of what came over the air is used: a release that was being tried when the process
/// ended without order may be to blame, and is given up at the third time. A layer of the configuration that goes back
/// is gone when this returns. What was found damaged is told.
pub fn wake(directory: &Path) -> Result<Vec<String>, AgentError> {
    let depot = Depot::at(directory);
    if !depot.place("journal").is_dir() {
        return Ok(Vec::new());
    }
    let at = |reason| AgentError::Disk { path: directory.to_owned(), reason };
    let _held = depot.own().map_err(at)?;
    let (mut journal, damaged) = Journal::open(&depot.place("journal"))?;
    let in_order = fs::remove_file(depot.place("ended")).is_ok();
    let event = if in_order { Event::Resumed } else { Event::CutOff };
    let all: Vec<_> = journal.iter().map(|(subject, _)| subject.clone()).collect();
    for subject in all {
        journal.step(&subject, event, "")?;
        let Some(progress) = journal.get(&subject) else { continue };
        if let (State::RollingBack, Some(content @ Content::Config { .. })) =
            (progress.state, Content::of(&progress.release))
        {
            depot.discard(&content).map_err(at)?;
        }
    }
    Ok(damaged.iter().map(ToString::to_string).collect())
}
