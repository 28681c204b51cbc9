//! The work itself: one job after another, an item at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::desk::Inner;
use super::items::{Cut, Item, Items};
use super::record::{Job, JobError, Line, State};
use crate::engine::{InferError, Port, Work};
use crate::event::{Input, Prediction};
use crate::model::{Caller, Intake, Model, Reader, Served};
use crate::net::with_sources;
use crate::task::{Clock, SystemClock};

/// How often results are written out and progress is told.
const TELL: Duration = Duration::from_millis(250);

/// Room for results is asked for in parts of so many bytes.
const PART: u64 = 64 << 10;

/// So often eir may end within one input before that is left alone.
const MOST: u32 = 3;

/// While others take the model.
const AGAIN: Duration = Duration::from_millis(20);

/// How it came to an end, where nothing went wrong.
enum End {
    Done,
    Cancelled,
    /// It goes on at the next start.
    Stopped,
}

impl Inner {
    /// Does what there is to do until nothing more is to be done.
    pub(super) fn work(self: Arc<Self>) {
        while let Some(job) = self.next() {
            let id = job.id;
            let run = || Run::new(&self, job).and_then(|mut run| run.all());
            let panicked = |_| Err(JobError::Invalid("it went wrong; the log says how".to_owned()));
            let ended = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(panicked);
            let (state, error) = match ended {
                Ok((End::Stopped, _)) => return,
                Ok((End::Cancelled, _)) => (State::Cancelled, None),
                Ok((End::Done, None)) => (State::Succeeded, None),
                Ok((End::Done, Some(first))) => {
                    (State::Failed, Some(format!("none of its inputs could be used: {first}")))
                }
                Err(problem) => (State::Failed, Some(with_sources(&problem))),
            };
            tracing::info!(job = %id, ?state, error, "a job has ended");
            match self.with(|store| store.end(id, state, error)) {
                Ok(()) => self.tidy(id),
                Err(problem) => tracing::warn!(job = %id, "its end cannot be kept: {problem}"),
            }
        }
    }
}

/// A job at hand.
struct Run<'a> {
    inner: &'a Inner,
    job: Job,
    model: Arc<Model>,
    served: Arc<Served>,
    port: Port,
    caller: Caller,
    reader: Reader,
    intake: Intake,
    cut: Option<Cut>,
    files: Vec<(String, PathBuf)>,
    results: BufWriter<File>,
    /// Lines of an earlier run: what they tell of is done.
    behind: u64,
    told: Instant,
    /// Bytes for which no room was asked yet.
    unpaid: u64,
    /// The first error.
    first: Option<String>,
}

impl<'a> Run<'a> {
    fn new(inner: &'a Inner, mut job: Job) -> Result<Self, JobError> {
        let place = inner.with(|store| store.place(job.id))?;
        let gone = |problem: &dyn std::error::Error| JobError::Invalid(with_sources(problem));
        let version = job.model_version.parse().unwrap_or(0);
        let model = inner.shelf.borrow(&job.model_name, version).map_err(|error| gone(&error))?;
        let intake = Intake::new(model.package()).map_err(|error| gone(&error))?;
        let cut = Cut::new(&job.plan, &intake)?;
        let folder = inner.folder(&job.plan)?;
        let names = place.names()?.into_iter().enumerate();
        let files = names.map(|(number, name)| {
            let path =
                folder.as_ref().map_or_else(|| place.file(number), |folder| folder.join(&name));
            (name, path)
        });
        let files = files.collect();
        let (lines, errors) = place.mend_results()?;
        if lines > job.results {
            job.begun = 1;
        } else if job.begun > MOST {
            let message = format!("eir ended {MOST} times while it worked on the same input");
            return Err(JobError::Invalid(message));
        }
        (job.results, job.errors) = (lines, errors);
        // Only what comes behind this counts as getting on, the next time.
        inner.with(|store| store.tell(job.clone()))?;
        let results = File::options().create(true).append(true).open(place.results())?;
        Ok(Self {
            served: inner.shelf.served(&model),
            port: model.port(),
            caller: model.caller().map_err(|error| gone(&error))?,
            reader: model.reader().map_err(|error| gone(&error))?,
            inner,
            model,
            intake,
            cut,
            files,
            results: BufWriter::new(results),
            behind: lines,
            told: SystemClock.now(),
            unpaid: 0,
            first: None,
            job,
        })
    }

    /// All of it; and the first error, where there was nothing else.
    fn all(&mut self) -> Result<(End, Option<String>), JobError> {
        let cancelled = self
            .inner
            .with(|store| store.get(self.job.id).map(|kept| Arc::clone(&kept.cancelled)))?;
        let cancelled = cancelled.ok_or_else(|| JobError::Unknown(self.job.id.to_string()))?;
        let files = std::mem::take(&mut self.files);
        let count = files.len() as f64;
        for (number, (name, path)) in files.iter().enumerate() {
            let mut items = match Items::open(path, name, &self.intake, self.cut) {
                Ok(items) => items,
                Err(problem) => {
                    if self.behind > 0 {
                        self.behind -= 1;
                    } else {
                        self.write(name, (None, Err(problem)))?;
                    }
                    continue;
                }
            };
            self.behind -= items.skip(self.behind);
            loop {
                if cancelled.load(Ordering::Relaxed) {
                    self.tell()?;
                    return Ok((End::Cancelled, None));
                }
                if self.inner.is_stopped() {
                    self.put_down()?;
                    return Ok((End::Stopped, None));
                }
                let Some(item) = items.next() else { break };
                match self.answer(item) {
                    Ok(answered) => self.write(name, answered)?,
                    // It is asked again after the next start.
                    Err(Stopped) => continue,
                }
                self.job.progress = (number as f64 + items.progress()) / count;
                if SystemClock.now().saturating_duration_since(self.told) >= TELL {
                    self.tell()?;
                }
            }
        }
        self.job.progress = 1.0;
        self.tell()?;
        self.results.get_ref().sync_all()?;
        let nothing = self.job.errors == self.job.results;
        let told = || self.first.clone().unwrap_or_else(|| "the results say why".to_owned());
        Ok((End::Done, nothing.then(told)))
    }

    /// What the model makes of it.
    fn answer(&mut self, (from, input): Item) -> Result<Answered, Stopped> {
        let answer = match input {
            Ok(input) => self.predict(&input)?,
            Err(problem) => Err(problem),
        };
        Ok((from, answer))
    }

    fn predict(&mut self, input: &Input) -> Result<Result<Prediction, String>, Stopped> {
        let began = SystemClock.now();
        let prepared = match self.caller.prepare(input) {
            Ok(prepared) => prepared,
            Err(problem) => return Ok(Err(with_sources(&problem))),
        };
        let mut work = Work::new(vec![prepared.tensor.clone()]);
        let ran = loop {
            match self.port.infer(&mut work) {
                Err(InferError::Overloaded(_)) if self.inner.is_stopped() => return Err(Stopped),
                // Who waits for an answer goes first.
                Err(InferError::Overloaded(_)) => self.inner.pause(AGAIN),
                ran => break ran,
            }
        };
        let ran = match ran {
            Ok(ran) => ran,
            Err(problem) => {
                self.served.fail();
                tracing::warn!(model = %self.model.package().name, "a job's input failed: {problem}");
                return Ok(Err("the model failed on it; the log says why".to_owned()));
            }
        };
        let took = SystemClock.now().saturating_duration_since(began);
        let now_ms = u64::try_from(SystemClock.wall().as_millisecond()).unwrap_or(0);
        self.served.answer(1, took, ran, now_ms);
        Ok(self.reader.read(&prepared, &work.outputs).map_err(|problem| with_sources(&problem)))
    }

    fn write(&mut self, name: &str, (from, answer): Answered) -> Result<(), JobError> {
        let (prediction, error) = match answer {
            Ok(prediction) => (Some(prediction), None),
            Err(problem) => (None, Some(problem)),
        };
        self.job.results += 1;
        if let Some(error) = &error {
            self.job.errors += 1;
            self.first.get_or_insert_with(|| format!("{name} {error}"));
        }
        let line = Line { input: name, from, prediction, error };
        let mut line = serde_json::to_vec(&line).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.unpaid += line.len() as u64;
        if self.unpaid >= PART {
            self.pay()?;
        }
        Ok(self.results.write_all(&line)?)
    }

    /// Room for what was written.
    fn pay(&mut self) -> Result<(), JobError> {
        self.inner.grow(self.job.id, std::mem::take(&mut self.unpaid))
    }

    /// It goes on at the next start.
    fn put_down(&mut self) -> Result<(), JobError> {
        self.results.flush()?;
        (self.job.state, self.job.begun) = (State::Pending, 0);
        self.inner.with(|store| store.tell(self.job.clone()))
    }

    /// Shows how far it is.
    fn tell(&mut self) -> Result<(), JobError> {
        self.told = SystemClock.now();
        self.pay()?;
        self.results.flush()?;
        let id: Uuid = self.job.id;
        self.inner.with(|store| {
            if let Some(kept) = store.get(id) {
                kept.told.send_replace(self.job.clone());
            }
        })
    }
}

/// Where it was, and what the model said or why nothing.
type Answered = (Option<u64>, Result<Prediction, String>);

/// Nothing more is to be done.
struct Stopped;
