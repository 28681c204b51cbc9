//! The task that empties the outbox towards one cloud.

use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Zoned;
use jiff::tz::TimeZone;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::apart::without_input;
use super::pace::Pace;
use super::plan::{Outcome, Plan, Run, Try};
use super::{Batch, CloudConfig, CloudStatus, Encoding, Uplink, Verdict};
use crate::net::Allowance;
use crate::outbox::{self, Kind, Lane, Reader, Record};
use crate::task::{Clock, Stop, SystemClock};

/// So many records that were rejected alone are in hand at most; further ones stay in the outbox.
const MOST_SUSPECTS: usize = 1000;

/// How long the end waits for a cloud that was away.
const LAST_TRY: Duration = Duration::from_secs(1);

/// What one cloud's task works with.
#[derive(Debug)]
pub(super) struct Worker<U> {
    uplink: U,
    reader: Reader,
    plan: Plan<outbox::Batch>,
    pace: Pace,
    /// One for all ways to the cloud.
    allowance: Arc<Mutex<Allowance>>,
    /// The inputs of samples go another way.
    apart: bool,
    max_delay: Duration,
    recheck: Duration,
    status: watch::Sender<CloudStatus>,
    nudge: Arc<Notify>,
    /// There was more behind what was read last: the next batch waits for nothing.
    more: bool,
}

impl<U: Uplink> Worker<U> {
    pub(super) fn new(
        config: &CloudConfig,
        uplink: U,
        reader: Reader,
        allowance: Arc<Mutex<Allowance>>,
        (status, nudge): (watch::Sender<CloudStatus>, Arc<Notify>),
    ) -> Self {
        let is_all = matches!(reader.lane(), Lane::Records(_));
        Self {
            apart: is_all && config.samples.is_some(),
            uplink,
            reader,
            plan: Plan::new(),
            pace: Pace::new(config),
            allowance,
            max_delay: config.max_delay,
            recheck: config.recheck,
            status,
            nudge,
            more: false,
        }
    }

    /// Works until it is told to stop, then sends what there is, as long as that works.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut wait = Duration::ZERO;
        while self.rest(wait, &mut stop).await {
            self.pace.rested();
            let due = self.fill(&mut stop).await;
            if stop.is_stopped() {
                break;
            }
            wait = match self.held_back() {
                Some(wait) => wait,
                None => match self.plan.take(self.pace.limits().0, due) {
                    Some(tried) => self.send(tried).await,
                    None => Duration::ZERO,
                },
            };
        }
        self.flush().await;
    }

    /// Waits, unless somebody says that it may work now; false: stop.
    async fn rest(&self, wait: Duration, stop: &mut Stop) -> bool {
        if !wait.is_zero() {
            tokio::select! {
                () = sleep(wait) => {}
                () = self.nudge.notified() => {}
                () = stop.stopped() => {}
            }
        }
        !stop.is_stopped()
    }

    /// How long nothing may be sent.
    fn held_back(&self) -> Option<Duration> {
        let held = self.allowance().wait(SystemClock.now(), &local());
        let (wait, why) = held.map_or((None, None), |(wait, why)| (Some(wait), why));
        self.status.send_if_modified(|status| {
            let changed = status.paused != why;
            status.paused = why;
            changed
        });
        wait
    }

    /// Reads what comes next, where nothing is in hand that could be sent. True: what was rejected is due
    /// again.
    async fn fill(&mut self, stop: &mut Stop) -> bool {
        if !self.plan.wants_more() {
            return false;
        }
        let (suspects, in_doubt) = (self.plan.suspects(), self.plan.doubt().is_some());
        if in_doubt {
            // The wait was before. Another record is as good to ask with, and perhaps better.
            if suspects < MOST_SUSPECTS {
                self.read_until(stop).await;
            }
            return true;
        }
        tokio::select! {
            there = self.reader.notified() => if !there { stop.stopped().await },
            () = sleep(self.recheck), if suspects > 0 => return true,
            () = self.nudge.notified() => return true,
            () = stop.stopped() => return false,
        }
        if !self.more && !self.max_delay.is_zero() {
            tokio::select! {
                () = sleep(self.max_delay) => {}
                () = stop.stopped() => return false,
            }
        }
        self.read_until(stop).await;
        false
    }

    async fn read_until(&mut self, stop: &mut Stop) {
        tokio::select! {
            // Dropped unanswered, it changes nothing: what was not handed over is read again.
            () = self.read() => {}
            () = stop.stopped() => {}
        }
    }

    async fn read(&mut self) {
        let (records, bytes) = self.pace.limits();
        let bytes = self.allowance().most(bytes, &local());
        if let Some(batch) = self.reader.next(records, bytes).await {
            self.plan.add(batch);
        }
        self.more = tokio::select! {
            biased;
            there = self.reader.notified() => there,
            () = ready(()) => false,
        };
    }

    /// Sends once, and does what the verdict says; how long to wait then.
    async fn send(&mut self, tried: Try<outbox::Batch>) -> Duration {
        let (run, apart) = (tried.run.clone(), self.apart);
        let packed = tokio::task::spawn_blocking(move || pack(&run, U::ENCODING, apart)).await;
        let packed = packed.map_err(std::io::Error::other).and_then(|packed| packed);
        let (verdict, sent) = match packed {
            Ok(batch) => {
                self.uplink.allow(self.allowance().most(usize::MAX, &local()));
                let (verdict, bytes) = self.uplink.send(&batch).await;
                if !matches!(verdict, Verdict::Offline { .. }) {
                    self.allowance().sent(bytes, SystemClock.now(), &local());
                }
                (verdict, Some((batch, bytes)))
            }
            Err(error) => (
                Verdict::Wait { why: format!("failed to pack records: {error}"), after: None },
                None,
            ),
        };
        let raw_bytes = sent.as_ref().map_or(0, |(batch, _)| batch.raw_bytes());
        let mut wait = self.pace.after(&verdict, raw_bytes);
        match self.plan.judge(tried, &verdict) {
            Outcome::Delivered(run) => {
                self.reader.delivered(&run);
                self.count(sent);
            }
            Outcome::GivenUp(run, why) => self.give_up(&run, &why),
            Outcome::Kept if verdict == Verdict::Part => {
                let bytes = sent.map_or(0, |(_, bytes)| bytes as u64);
                self.status.send_modify(|status| status.sent_bytes += bytes);
            }
            Outcome::Kept => {}
        }
        // A cloud that is away or busy says nothing of its records, and how long it wants to be left alone.
        let rejects = matches!(verdict, Verdict::Rejected { .. } | Verdict::TooLarge { .. });
        let doubt = self.plan.doubt().filter(|_| rejects);
        let doubt = doubt.map(|why| format!("every record is rejected: {why}"));
        if doubt.is_some() {
            wait = self.pace.trip();
        }
        self.tell(&verdict, doubt.as_deref());
        wait
    }

    // No code that can panic runs under this lock.
    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, sent: Option<(Batch, usize)>) {
        let Some((batch, bytes)) = sent else { return };
        self.status.send_modify(|status| {
            status.batches += 1;
            status.records += batch.records() as u64;
            status.sent_bytes += bytes as u64;
            status.raw_bytes += batch.raw_bytes() as u64;
        });
    }

    /// The cloud accepts others, and not this one.
    fn give_up(&self, run: &outbox::Batch, why: &str) {
        for record in run.records() {
            self.reader.dead_letter(record.clone(), why);
            self.status.send_modify(|status| status.dead += 1);
            let (cloud, id, dead) = (self.reader.lane(), record.id, self.status.borrow().dead);
            // However many they are, the log has a few lines.
            if dead.is_power_of_two() {
                tracing::error!(%cloud, %id, dead, "rejected for good, see the dead letters: {why}");
            }
        }
    }

    fn tell(&self, verdict: &Verdict, doubt: Option<&str>) {
        let cloud = &self.reader.lane().to_string();
        let suspicion = self.plan.suspicion().filter(|_| self.plan.wants_more());
        self.status.send_modify(|status| {
            status.breaker = self.pace.state();
            if !matches!(verdict, Verdict::Delivered | Verdict::Part) {
                status.failures += 1;
            }
            match verdict {
                _ if doubt.is_some() => status.fail(cloud, doubt.unwrap_or_default(), true),
                Verdict::Delivered | Verdict::Part => status.works(cloud),
                Verdict::Stop { why } => status.fail(cloud, why, true),
                Verdict::Wait { why, .. } | Verdict::Offline { why } => {
                    status.fail(cloud, why, false);
                }
                // The cloud answers: a record is looked for, or waits for another to compare it with.
                Verdict::TooLarge { .. } | Verdict::Rejected { .. } => match suspicion {
                    Some(why) => status.fail(cloud, why, false),
                    None => status.works(cloud),
                },
            }
        });
    }

    /// Sends what there is, as long as that works: what does not leave now is on disk. A cloud that was away
    /// is asked once more, and not for long: it may be back, and the next start far away.
    async fn flush(&mut self) {
        if self.status.borrow().problem.is_some() {
            let _in_time = timeout(LAST_TRY, self.flush_one()).await.is_ok();
        }
        while self.status.borrow().problem.is_none() && self.flush_one().await {}
    }

    /// False: there is nothing that may leave.
    async fn flush_one(&mut self) -> bool {
        if self.plan.wants_more() {
            self.read().await;
        }
        if self.held_back().is_some() {
            return false;
        }
        let Some(tried) = self.plan.take(self.pace.limits().0, false) else { return false };
        self.send(tried).await;
        true
    }
}

impl Run for outbox::Batch {
    fn count(&self) -> usize {
        self.records().len()
    }

    fn halve(self) -> (Self, Option<Self>) {
        self.halve()
    }
}

/// The records as they go over the wire; `apart`: samples without their inputs.
fn pack(run: &outbox::Batch, encoding: Encoding, apart: bool) -> std::io::Result<Batch> {
    let line = |record: &Record| {
        if apart && record.kind == Kind::Sample {
            serde_json::to_vec(&without_input(record.clone()))
        } else {
            serde_json::to_vec(record)
        }
    };
    let lines: Vec<_> = run.records().iter().map(line).collect::<Result<_, _>>()?;
    Batch::new(lines.iter().map(Vec::as_slice), encoding)
}

/// The time of day where the device is.
fn local() -> Zoned {
    SystemClock.wall().to_zoned(TimeZone::system())
}
