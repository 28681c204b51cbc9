//! Where jobs are handed in and asked for.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::config::JobsConfig;
use super::draft::Draft;
use super::items::Cut;
use super::record::{Job, JobError, Plan, State};
use super::store::Store;
use crate::model::{Intake, Model, Shelf};
use crate::net::with_sources;
use crate::task::{Clock, SystemClock};

/// How often what is old is looked for, and a directory that could not be opened is tried again.
const LOOK: Duration = Duration::from_secs(30);

/// A key has no more bytes.
const MAX_KEY: usize = 255;

/// The jobs of this device.
#[derive(Debug)]
pub struct Jobs {
    inner: Arc<Inner>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// What comes of asking for a job.
#[derive(Debug)]
pub enum Begun {
    /// It was asked for before.
    Known(Box<Job>),
    /// It is to be sent.
    New(Box<Draft>),
}

#[derive(Debug)]
pub(super) struct Inner {
    config: JobsConfig,
    pub(super) shelf: Arc<Shelf>,
    /// `None` as long as the directory cannot be used.
    store: Mutex<Option<Store>>,
    /// Why not.
    problem: Mutex<Option<String>>,
    /// There may be something to do.
    came: Condvar,
    stop: AtomicBool,
}

impl Jobs {
    /// Goes on with what lies in the directory. Where that cannot be used it is tried again.
    pub fn start(config: &JobsConfig, shelf: Arc<Shelf>) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            config: config.clone(),
            shelf,
            store: Mutex::default(),
            problem: Mutex::default(),
            came: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let worker = {
            let inner = Arc::clone(&inner);
            std::thread::Builder::new().name("jobs".to_owned()).spawn(move || inner.work())?
        };
        Ok(Self { inner, worker: Mutex::new(Some(worker)) })
    }

    /// Asks for a job: the one that has this key, or a new one. A folder is read here; files are to be sent, of so many
    /// bytes if that is known.
    pub fn begin(
        &self,
        model: &Model,
        plan: &Plan,
        key: Option<String>,
        size: Option<u64>,
    ) -> Result<Begun, JobError> {
        let most = self.inner.config.max.0 as u64;
        if size.is_some_and(|size| size > most) {
            // Before others make room for it in vain.
            return Err(JobError::TooLarge(most));
        }
        let package = model.package();
        if let Some(key) = &key
            && !(1..=MAX_KEY).contains(&key.len())
        {
            let message = format!("an Idempotency-Key has 1 to {MAX_KEY} characters");
            return Err(JobError::Invalid(message));
        }
        let intake =
            Intake::new(package).map_err(|error| JobError::Invalid(with_sources(&error)))?;
        let _fits = Cut::new(plan, &intake)?;
        model.reader().map_err(|error| JobError::Invalid(with_sources(&error)))?;
        let inputs = match (&plan.folder, &self.inner.config.inputs) {
            (Some(_), None) => {
                let message =
                    "folders are not to be named here: [api.jobs] inputs says below which";
                return Err(JobError::Invalid(message.to_owned()));
            }
            (folder, inputs) => folder.as_deref().zip(inputs.as_deref()),
        };
        let (model, version) = (package.name.clone(), package.version);
        let job = Job::new(model, version, plan.clone(), key.clone());
        let known = self.inner.with(|store| {
            store.sweep(SystemClock.now());
            let known = key.as_deref().map_or(Ok(None), |key| store.of_key(key))?;
            match known {
                Some(known) => Ok(Some(known)),
                None => store.draft(job.id, key).map(|()| None),
            }
        })??;
        if let Some(known) = known {
            let another = || JobError::Another(known.id);
            let same = known.is_like(&job).then(|| Begun::Known(Box::new(known.clone())));
            return same.ok_or_else(another);
        }
        let id = job.id;
        let place = self.inner.with(|store| store.place(id))?;
        let mut draft = Draft::new(&self.inner, job, place)?;
        if let Some((folder, inputs)) = inputs {
            draft.take_folder(inputs, folder, intake.kind())?;
        }
        Ok(Begun::New(Box::new(draft)))
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Result<Vec<Job>, JobError> {
        self.inner.with(|store| store.all().collect())
    }

    /// How many there are in each state.
    pub fn counts(&self) -> Result<[(State, usize); 5], JobError> {
        let mut counts = State::ALL.map(|state| (state, 0));
        self.inner.with(|store| {
            for state in store.states() {
                counts[state as usize].1 += 1;
            }
        })?;
        Ok(counts)
    }

    /// One of them, to be looked at as it goes on.
    pub fn watch(&self, id: Uuid) -> Result<watch::Receiver<Job>, JobError> {
        let found = self.inner.with(|store| store.get(id).map(|kept| kept.told.subscribe()))?;
        found.ok_or_else(|| JobError::Unknown(id.to_string()))
    }

    /// Its results so far; `None`: there are none.
    pub fn results(&self, id: Uuid) -> Result<Option<File>, JobError> {
        self.watch(id)?;
        let path = self.inner.with(|store| store.place(id))?.results();
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem.into()),
        }
    }

    /// Nobody wants it any more. One that has ended stays as it is.
    pub fn cancel(&self, id: Uuid) -> Result<Job, JobError> {
        let told = self.watch(id)?;
        let waited = self.inner.with(|store| {
            let kept = store.get(id)?;
            kept.cancelled.store(true, Ordering::Relaxed);
            let is_waiting = kept.told.borrow().state == State::Pending;
            is_waiting.then(|| store.end(id, State::Cancelled, None))
        })?;
        if waited.is_some() {
            self.inner.tidy(id);
        }
        Ok(told.borrow().clone())
    }

    /// Why none can be kept at the moment.
    pub fn problem(&self) -> Option<String> {
        lock(&self.inner.problem).clone()
    }

    /// Works no more; what is not done goes on at the next start.
    pub fn halt(&self) {
        let _waits = self.inner.lock();
        self.inner.stop.store(true, Ordering::Relaxed);
        self.inner.came.notify_all();
    }

    /// Waits until the model has answered, after [`Jobs::halt`].
    pub fn wait(&self) {
        let worker = lock(&self.worker).take();
        if let Some(worker) = worker {
            let _ended = worker.join();
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.halt();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<Store>> {
        lock(&self.store)
    }

    /// Does something with the directory, which is opened if it is not.
    pub(super) fn with<T>(&self, what: impl FnOnce(&mut Store) -> T) -> Result<T, JobError> {
        let mut store = self.lock();
        self.open(&mut store)?;
        match &mut *store {
            Some(store) => Ok(what(store)),
            None => Err(io::Error::from(io::ErrorKind::NotFound).into()),
        }
    }

    fn open(&self, store: &mut Option<Store>) -> io::Result<()> {
        if store.is_some() {
            return Ok(());
        }
        let JobsConfig { dir, max, keep, waiting, .. } = &self.config;
        let opened = Store::open(dir, (max.0 as u64, keep.0, *waiting));
        let problem = opened.as_ref().err().map(ToString::to_string);
        let before = std::mem::replace(&mut *lock(&self.problem), problem.clone());
        if let Some(problem) = problem.filter(|problem| before.as_ref() != Some(problem)) {
            tracing::warn!("[api.jobs] jobs cannot be kept: {problem}");
        }
        *store = Some(opened?);
        Ok(())
    }

    /// Room for so many bytes more of a job.
    pub(super) fn grow(&self, id: Uuid, more: u64) -> Result<(), JobError> {
        self.with(|store| store.grow(id, more))?
    }

    /// A draft was handed in, or given up.
    pub(super) fn settle(&self, id: Uuid, job: Option<Job>) {
        let settled = self.with(|store| store.settle(id, job));
        if let Err(problem) = settled {
            tracing::debug!("a draft is left behind: {problem}");
        }
        self.came.notify_all();
    }

    /// The next job that waits, when there is one; `None`: no more are to be done.
    pub(super) fn next(&self) -> Option<Job> {
        let mut store = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            // Where that fails, why is told of.
            let _opened = self.open(&mut store).is_ok();
            if let Some(store) = &mut *store {
                store.sweep(SystemClock.now());
                if let Some(mut job) = store.next() {
                    job.state = State::Running;
                    job.begun += 1;
                    job.started_at.get_or_insert_with(|| SystemClock.wall());
                    store.tell(job.clone());
                    return Some(job);
                }
            }
            let waited = self.came.wait_timeout(store, LOOK);
            store = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Removes the inputs of a job that has ended.
    pub(super) fn tidy(&self, id: Uuid) {
        let tidied = self.with(|store| store.place(id)).and_then(|place| {
            // That may take a while.
            place.remove_inputs();
            self.with(|store| store.measure(id))
        });
        if let Err(problem) = tidied {
            tracing::debug!(job = %id, "its inputs are left behind: {problem}");
        }
    }

    /// Waits a moment, or until no more is to be done.
    pub(super) fn pause(&self, time: Duration) {
        let store = self.lock();
        if !self.is_stopped() {
            drop(self.came.wait_timeout(store, time));
        }
    }

    /// No more is to be done.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The folder that clients may name others below.
    pub(super) fn folder(&self, plan: &Plan) -> Result<Option<std::path::PathBuf>, JobError> {
        let named = plan.folder.as_deref().zip(self.config.inputs.as_deref());
        named.map(|(folder, inputs)| super::draft::below(inputs, folder)).transpose()
    }
}

// What is done under these locks leaves nothing half done.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
