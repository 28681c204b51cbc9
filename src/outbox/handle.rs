//! The outbox as the rest of the program holds it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::to_raw_value;
use tokio::sync::watch;
use tokio::time::timeout;

use super::OutboxConfig;
use super::inlet::{Command, Inlet};
use super::lane::Lane;
use super::memory::Memory;
use super::reader::Reader;
use super::record::{Draft, Kind};
use super::store::{Formats, Site, Thinning};
use super::writer::Writer;
use crate::event::{Ack, Decision, Name};
use crate::task::Clock;

/// A disk that takes longer than this over one transaction is told of as a problem.
const SLOW: Duration = Duration::from_secs(10);

/// What the program knows of its outbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The format that is written: a program on probation writes what the one before it can read.
    pub formats: Formats,
    /// How summaries are made into fewer where there is no room for all; without it, whole records go.
    pub thinning: Option<Thinning>,
}

/// The durable queue towards the clouds. Clones share it; one thread writes.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(super) shared: Arc<Shared>,
    /// The place of the newest record; closed when the thread has ended.
    pub(super) newest: watch::Receiver<i64>,
    _last: Arc<Last>,
}

/// Dropped with the last handle: nobody can append any more.
#[derive(Debug)]
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.inlet.close();
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub inlet: Inlet,
    path: PathBuf,
    status: Mutex<Status>,
    clock: Arc<dyn Clock>,
}

/// How the outbox is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Why records are not durable at the moment.
    pub problem: Option<String>,
    /// Records and bytes of their bodies on disk, by kind.
    pub stored: BTreeMap<Kind, Amount>,
    /// When the oldest record on disk was made.
    pub oldest: Option<Timestamp>,
    /// Records written since the start.
    pub written: u64,
    /// Records dropped since the start, whatever the reason. Gap records tell of them.
    pub dropped: u64,
    /// Records that a cloud refused since the start.
    pub refused: u64,
    /// Records that wait for the disk.
    pub waiting: u64,
    /// The epoch; 0 while there is no database.
    pub epoch: u64,
    /// Databases that were damaged and set aside since the start.
    pub set_aside: u64,
    /// Since when the disk has been asked to write, and has not answered.
    pub(super) busy_since: Option<Instant>,
}

/// A number of records, and of the bytes of their bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Status {
    /// Records that are on disk or wait for it.
    pub fn kept(&self) -> u64 {
        self.waiting + self.stored.values().map(|amount| amount.records).sum::<u64>()
    }
}

impl Outbox {
    /// Starts the thread, which opens the database. Whatever is wrong with that is told by
    /// [`Outbox::status`], and tried again until it works. Records are kept until each of `clouds` has
    /// them.
    pub fn start(
        config: &OutboxConfig,
        device: Name,
        clouds: Vec<impl Into<Lane>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::start_with(config, device, clouds, clock, Options::default())
    }

    /// The same, with what is not the user's to choose.
    pub fn start_with(
        config: &OutboxConfig,
        device: Name,
        clouds: Vec<impl Into<Lane>>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let (newest_sender, newest) = watch::channel(0);
        let shared = Arc::new(Shared {
            inlet: Inlet::new(config),
            path: config.path.clone(),
            status: Mutex::default(),
            clock: Arc::clone(&clock),
        });
        let outbox = Self { _last: Arc::new(Last(Arc::clone(&shared))), shared, newest };
        outbox.set_lanes(clouds);
        let shared = Arc::clone(&outbox.shared);
        let Options { formats, thinning } = options;
        let site = Site { config: config.clone(), device, clock, formats, thinning };
        let writer = Writer::new(site, shared, newest_sender);
        let spawned = std::thread::Builder::new().name("outbox".to_owned()).spawn(|| writer.run());
        if let Err(error) = spawned {
            outbox.shared.inlet.end();
            outbox.shared.status().problem = Some(format!("no thread could be started: {error}"));
        }
        outbox
    }

    /// Where the database lies.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Takes in a record; `ack` is settled when it is on disk, or given up by policy. Never waits.
    pub fn append(&self, draft: Draft, ack: Ack) {
        self.shared.inlet.push(draft, self.shared.clock.uptime(), ack);
    }

    /// Keeps `body` under this name for [`recall`](super::recall) after a restart, in the place of what was kept
    /// before; an empty one is forgotten. It is written with the next records. Never waits; false: it is longer than
    /// [`Outbox::most_remembered`], and what was kept before stays.
    pub fn remember(&self, name: &str, body: String) -> bool {
        if body.len() > self.most_remembered() {
            return false;
        }
        let clock = &self.shared.clock;
        let memory = Memory { saved: clock.wall(), uptime: clock.uptime(), body };
        self.shared.inlet.remember(name.to_owned(), memory);
        true
    }

    /// How many bytes may be remembered under one name.
    pub fn most_remembered(&self) -> usize {
        self.shared.inlet.max_body()
    }

    /// With `when_unwritable = "hold"`: waits as long as too much memory waits for the disk, or until
    /// `is_given_up`. Blocks the thread.
    pub fn wait_for_room(&self, is_given_up: impl Fn() -> bool) {
        self.shared.inlet.wait_for_room(is_given_up);
    }

    /// The clouds that records are kept for from now on, by each way that they are reached.
    pub fn set_lanes(&self, lanes: Vec<impl Into<Lane>>) {
        let lanes = lanes.into_iter().map(Into::into).collect();
        // An outbox that has ended keeps nothing any more.
        let _told = self.shared.inlet.ask(Command::Lanes(lanes));
    }

    /// What one cloud has not got yet, from the oldest on; its name stands for all records.
    pub fn reader(&self, cloud: impl Into<Lane>) -> Reader {
        Reader::new(cloud.into(), self.clone())
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        let mut status = self.shared.status().clone();
        status.waiting += self.shared.inlet.waiting() as u64;
        let now = self.shared.clock.now();
        let busy = status.busy_since.map(|since| now.saturating_duration_since(since));
        if let Some(busy) = busy.filter(|busy| *busy >= SLOW) {
            let seconds = busy.as_secs();
            status.problem.get_or_insert(format!("the disk has not answered for {seconds} s"));
        }
        status
    }

    /// Writes what waits and ends the thread; false: it did not get to its end within `deadline`, and
    /// is left behind.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.shared.inlet.close();
        let mut newest = self.newest.clone();
        let end = async { while newest.changed().await.is_ok() {} };
        timeout(deadline, end).await.is_ok()
    }
}

impl Shared {
    // Only plain values are set under this lock, so a poisoned state is still whole.
    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draft {
    /// The record of a decision: it has the decision's id, and its JSON for a body.
    pub fn decision(decision: &Decision) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: decision.id,
            origin: decision.origin.clone(),
            at: decision.at,
            kind: Kind::Decision,
            body: to_raw_value(decision)?,
        })
    }
}
