//! The directory of the jobs: what lies there, and how much it takes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use super::record::{Job, JobError, State};
use crate::disk;
use crate::task::{Clock, SystemClock};

const ABOUT: &str = "job.json";
const NAMES: &str = "inputs.json";
const RESULTS: &str = "results.ndjson";
const LOCK: &str = "lock";

/// What is known of a job takes no more than this; the names of its files take no more than that.
const MAX_ABOUT: u64 = 64 << 10;
const MAX_NAMES: u64 = 64 << 20;

/// So many that have ended are kept.
const MOST: usize = 1024;

/// All jobs, with the directory in our hands.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    max: u64,
    keep: Duration,
    waiting: usize,
    jobs: BTreeMap<Uuid, Kept>,
    /// Those that are being sent, and their keys.
    drafts: BTreeMap<Uuid, (Option<String>, u64)>,
    _ours: File,
}

/// A job that was taken.
#[derive(Debug)]
pub(super) struct Kept {
    pub told: watch::Sender<Job>,
    /// Nobody wants it any more.
    pub cancelled: Arc<AtomicBool>,
    /// What it takes of the disk.
    bytes: u64,
    /// Since when it has ended, as far as this run of eir knows.
    ended: Option<Instant>,
}

/// Where the parts of one job lie.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn file(&self, number: usize) -> PathBuf {
        self.0.join(number.to_string())
    }

    pub(super) fn results(&self) -> PathBuf {
        self.0.join(RESULTS)
    }

    pub(super) fn make(&self) -> io::Result<()> {
        fs::create_dir(&self.0)?;
        // What is in it is synced with it, and it with those beside it.
        self.0.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// Forgets all of it.
    pub(super) fn remove(&self) {
        if let Err(problem) = fs::remove_dir_all(&self.0) {
            tracing::debug!("{} cannot be removed: {problem}", self.0.display());
        }
    }

    pub(super) fn write(&self, job: &Job) -> io::Result<()> {
        disk::replace(&self.0.join(ABOUT), &serde_json::to_vec_pretty(job)?)
    }

    pub(super) fn write_names(&self, names: &[String]) -> io::Result<()> {
        let text = serde_json::to_vec(names)?;
        if text.len() as u64 > MAX_NAMES {
            return Err(io::Error::other("the names of the files take too much room"));
        }
        disk::replace(&self.0.join(NAMES), &text)
    }

    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        Ok(serde_json::from_slice(&disk::read_bounded(&self.0.join(NAMES), MAX_NAMES)?)?)
    }

    /// Inputs are needed no longer.
    pub(super) fn remove_inputs(&self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name() != ABOUT) {
            if entry.file_name() != RESULTS {
                let _gone = fs::remove_file(entry.path());
            }
        }
    }

    /// Cuts off what a kill left of a line; how many whole ones there are, and how many of them tell of an error.
    pub(super) fn mend_results(&self) -> io::Result<(u64, u64)> {
        let file = match File::options().read(true).write(true).open(self.results()) {
            Ok(file) => file,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            Err(problem) => return Err(problem),
        };
        let (mut lines, mut errors, mut whole) = (0, 0, 0);
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)? as u64;
            let told = serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&line);
            let (Ok(told), Some(b'\n')) = (told, line.last()) else { break };
            lines += 1;
            errors += u64::from(told.contains_key("error"));
            whole += read;
        }
        file.set_len(whole)?;
        Ok((lines, errors))
    }

    fn bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|about| about.len()).sum()
    }

    /// What is known of it; `None`: it was never handed in.
    fn read(&self) -> io::Result<Option<Job>> {
        match disk::read_bounded(&self.0.join(ABOUT), MAX_ABOUT) {
            Ok(about) => Ok(Some(serde_json::from_slice(&about)?)),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

impl Store {
    /// Opens the directory; what was sent only in part is removed, what was being worked on waits again.
    pub(super) fn open(
        dir: &Path,
        (max, keep, waiting): (u64, Duration, usize),
    ) -> io::Result<Self> {
        disk::make_directory(dir)?;
        let ours = disk::lock(&dir.join(LOCK)).map_err(|problem| match problem.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::other(format!("{} is in use by another eir", dir.display()))
            }
            _ => problem,
        })?;
        let mut store = Self {
            dir: dir.to_owned(),
            max,
            keep,
            waiting,
            jobs: BTreeMap::new(),
            drafts: BTreeMap::new(),
            _ours: ours,
        };
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let place = store.place(id);
            match place.read() {
                Ok(Some(mut job)) if job.id == id => {
                    if job.state == State::Running {
                        job.state = State::Pending;
                    } else if job.state.is_end() {
                        place.remove_inputs();
                    }
                    store.put(job, place.bytes());
                }
                Ok(None) => place.remove(),
                // It was promised to somebody: it stays for whoever can read it.
                Ok(Some(job)) => tracing::warn!("job {id} calls itself {}; left alone", job.id),
                Err(problem) => {
                    tracing::warn!("job {id} cannot be read and is left alone: {problem}");
                }
            }
        }
        Ok(store)
    }

    pub(super) fn place(&self, id: Uuid) -> Place {
        Place(self.dir.join(id.to_string()))
    }

    pub(super) fn put(&mut self, job: Job, bytes: u64) {
        let ended = job.state.is_end().then(|| SystemClock.now());
        let (id, told, cancelled) = (job.id, watch::Sender::new(job), Arc::default());
        self.jobs.insert(id, Kept { told, cancelled, bytes, ended });
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Kept> {
        self.jobs.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Job> {
        self.jobs.values().map(|kept| kept.told.borrow().clone())
    }

    pub(super) fn states(&self) -> impl Iterator<Item = State> {
        self.jobs.values().map(|kept| kept.told.borrow().state)
    }

    /// The next that waits.
    pub(super) fn next(&self) -> Option<Job> {
        self.all().find(|job| job.state == State::Pending)
    }

    /// The job that has this key; an error while it is being sent.
    pub(super) fn of_key(&self, key: &str) -> Result<Option<Job>, JobError> {
        if self.drafts.values().any(|(other, _)| other.as_deref() == Some(key)) {
            return Err(JobError::Underway);
        }
        Ok(self.all().find(|job| job.idempotency_key.as_deref() == Some(key)))
    }

    /// A place for a job that is to be sent.
    pub(super) fn draft(&mut self, id: Uuid, key: Option<String>) -> Result<(), JobError> {
        let at_work = self.states().filter(|state| !state.is_end()).count();
        if at_work + self.drafts.len() >= self.waiting {
            return Err(JobError::Busy(self.waiting));
        }
        self.drafts.insert(id, (key, 0));
        Ok(())
    }

    /// A draft becomes a job, or nothing.
    pub(super) fn settle(&mut self, id: Uuid, job: Option<Job>) {
        let Some((_, bytes)) = self.drafts.remove(&id) else { return };
        if let Some(job) = job {
            self.put(job, bytes);
        }
    }

    /// Room for so many bytes more of a job; others that have ended make place for it.
    pub(super) fn grow(&mut self, id: Uuid, more: u64) -> Result<(), JobError> {
        let own = match (self.drafts.get(&id), self.jobs.get(&id)) {
            (Some((_, bytes)), _) => *bytes,
            (None, Some(kept)) => kept.bytes,
            (None, None) => return Err(JobError::Unknown(id.to_string())),
        };
        if own.saturating_add(more) > self.max {
            return Err(JobError::TooLarge(self.max));
        }
        while self.used().saturating_add(more) > self.max {
            let first = self.first_ended().ok_or(JobError::NoRoom)?;
            self.forget(first);
        }
        if let Some((_, bytes)) = self.drafts.get_mut(&id) {
            *bytes += more;
        } else if let Some(kept) = self.jobs.get_mut(&id) {
            kept.bytes += more;
        }
        Ok(())
    }

    /// A job is as it is told now, and kept so.
    pub(super) fn tell(&self, job: Job) {
        if let Err(problem) = self.place(job.id).write(&job) {
            tracing::warn!(job = %job.id, "what became of it cannot be kept: {problem}");
        }
        if let Some(kept) = self.jobs.get(&job.id) {
            kept.told.send_replace(job);
        }
    }

    /// A job has ended; its inputs are not needed any more.
    pub(super) fn end(&mut self, id: Uuid, state: State, error: Option<String>) {
        let Some(kept) = self.jobs.get_mut(&id) else { return };
        kept.ended = Some(SystemClock.now());
        let mut job = kept.told.borrow().clone();
        (job.state, job.error) = (state, error);
        job.ended_at = Some(SystemClock.wall());
        self.tell(job);
    }

    /// Measures anew what it takes.
    pub(super) fn measure(&mut self, id: Uuid) {
        let bytes = self.place(id).bytes();
        if let Some(kept) = self.jobs.get_mut(&id) {
            kept.bytes = bytes;
        }
    }

    /// Forgets what was kept long enough, and what is too much.
    pub(super) fn sweep(&mut self, now: Instant) {
        let is_old = |kept: &Kept| {
            kept.ended.is_some_and(|ended| now.saturating_duration_since(ended) >= self.keep)
        };
        let old: Vec<_> =
            self.jobs.iter().filter(|(_, kept)| is_old(kept)).map(|(id, _)| *id).collect();
        for id in old {
            self.forget(id);
        }
        while self.jobs.values().filter(|kept| kept.ended.is_some()).count() > MOST
            && let Some(first) = self.first_ended()
        {
            self.forget(first);
        }
    }

    fn used(&self) -> u64 {
        let drafts = self.drafts.values().map(|(_, bytes)| *bytes);
        self.jobs.values().map(|kept| kept.bytes).chain(drafts).sum()
    }

    /// The one that ended first.
    fn first_ended(&self) -> Option<Uuid> {
        let ended = self.jobs.iter().filter_map(|(id, kept)| Some((kept.ended?, *id)));
        ended.min().map(|(_, id)| id)
    }

    fn forget(&mut self, id: Uuid) {
        self.jobs.remove(&id);
        self.place(id).remove();
    }
}
