//! Which of the records at hand is sent next, and what a verdict makes of them. Pure: it touches neither the
//! network nor the disk.
//!
//! A batch that is rejected is halved until the bad record stands alone. That the cloud does not want one
//! record is known only if it wants others: a record is given up when it was rejected alone, then another was
//! accepted, then it was rejected alone once more. A cloud that rejects everything, because somebody changed
//! something there, gets nothing less for it: after a few records it is asked slowly, each time with another
//! one, until one is accepted.

use std::collections::VecDeque;

use rand::RngExt;

use super::Verdict;

/// So many records rejected alone, none accepted in between, put the cloud in doubt and not the records.
const DOUBT: usize = 3;

/// A run of records.
pub(super) trait Run: Sized {
    /// How many they are.
    fn count(&self) -> usize;

    /// Cuts it in two; a single record comes back as it was.
    fn halve(self) -> (Self, Option<Self>);
}

/// The records that were read and are not done with. `R` is a run of them.
#[derive(Debug)]
pub(super) struct Plan<R> {
    /// In the order in which they were read.
    runs: VecDeque<R>,
    /// Rejected alone.
    suspects: VecDeque<Suspect<R>>,
}

#[derive(Debug)]
struct Suspect<R> {
    record: R,
    why: String,
    /// Another was accepted since.
    compared: bool,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Try<R> {
    pub(super) run: R,
    /// It was rejected alone before: why, and whether another was accepted since.
    suspect: Option<(String, bool)>,
}

/// What a verdict means for the records that were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome<R> {
    /// They are delivered.
    Delivered(R),
    /// The one record is given up: the cloud accepts others and not this one.
    GivenUp(R, String),
    /// They are sent again, in parts or whole.
    Kept,
}

impl<R: Run> Plan<R> {
    pub(super) const fn new() -> Self {
        Self { runs: VecDeque::new(), suspects: VecDeque::new() }
    }

    /// More records, behind the others.
    pub(super) fn add(&mut self, run: R) {
        self.runs.push_back(run);
    }

    /// There is nothing to send but what was rejected just now: more should be read.
    pub(super) fn wants_more(&self) -> bool {
        self.runs.is_empty() && !self.suspects.iter().any(|suspect| suspect.compared)
    }

    /// How many records wait that were rejected alone.
    pub(super) fn suspects(&self) -> usize {
        self.suspects.len()
    }

    /// Everything that was sent alone was rejected, one after the other: what is wrong with the last.
    pub(super) fn doubt(&self) -> Option<&str> {
        let rejected = self.suspects.iter().filter(|suspect| !suspect.compared);
        let last = self.suspects.back().filter(|_| rejected.count() >= DOUBT);
        last.map(|suspect| suspect.why.as_str())
    }

    /// Why a record waits that was rejected while there is no other to compare it with.
    pub(super) fn suspicion(&self) -> Option<&str> {
        self.suspects.back().map(|suspect| suspect.why.as_str())
    }

    /// What to send next, at most so many records. `recheck`: also what was rejected and is not compared yet, where
    /// there is nothing else.
    pub(super) fn take(&mut self, most: usize, recheck: bool) -> Option<Try<R>> {
        if let Some(at) = self.suspects.iter().position(|suspect| suspect.compared) {
            return self.retry(at);
        }
        if self.doubt().is_some() && !self.runs.is_empty() {
            return self.any_one();
        }
        match self.runs.pop_front() {
            Some(run) => Some(Try { run: self.cut(run, most), suspect: None }),
            None if recheck => self.retry(0),
            None => None,
        }
    }

    /// Takes the verdict on what [`Plan::take`] gave.
    pub(super) fn judge(&mut self, tried: Try<R>, verdict: &Verdict) -> Outcome<R> {
        let Try { run, suspect } = tried;
        match verdict {
            Verdict::Delivered => {
                for other in &mut self.suspects {
                    other.compared = true;
                }
                Outcome::Delivered(run)
            }
            Verdict::TooLarge { why } | Verdict::Rejected { why } => match run.halve() {
                (first, Some(second)) => {
                    self.runs.push_front(second);
                    self.runs.push_front(first);
                    Outcome::Kept
                }
                (record, None) if matches!(suspect, Some((_, true))) => {
                    Outcome::GivenUp(record, why.clone())
                }
                (record, None) => {
                    self.suspects.push_back(Suspect { record, why: why.clone(), compared: false });
                    Outcome::Kept
                }
            },
            Verdict::Part
            | Verdict::Wait { .. }
            | Verdict::Offline { .. }
            | Verdict::Stop { .. } => {
                match suspect {
                    None => self.runs.push_front(run),
                    // It says nothing of the record; what was found so far stands.
                    Some((why, compared)) => {
                        self.suspects.push_front(Suspect { record: run, why, compared });
                    }
                }
                Outcome::Kept
            }
        }
    }

    /// The first part of a run that is not too long; the rest of it is next.
    fn cut(&mut self, mut run: R, most: usize) -> R {
        while run.count() > most {
            match run.halve() {
                (first, Some(second)) => {
                    self.runs.push_front(second);
                    run = first;
                }
                (one, None) => return one,
            }
        }
        run
    }

    fn retry(&mut self, at: usize) -> Option<Try<R>> {
        let suspect = self.suspects.remove(at)?;
        Some(Try { run: suspect.record, suspect: Some((suspect.why, suspect.compared)) })
    }

    /// A single record from anywhere: the first ones may all be bad.
    fn any_one(&mut self) -> Option<Try<R>> {
        let mut rng = rand::rng();
        let mut at = rng.random_range(0..self.runs.len());
        let mut run = self.runs.remove(at)?;
        loop {
            match run.halve() {
                (one, None) => return Some(Try { run: one, suspect: None }),
                (first, Some(second)) if rng.random() => {
                    self.runs.insert(at, second);
                    run = first;
                }
                (first, Some(second)) => {
                    self.runs.insert(at, first);
                    at += 1;
                    run = second;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
