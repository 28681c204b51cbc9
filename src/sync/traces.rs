//! Spans on their way to a collector of OpenTelemetry.
//!
//! They wait in memory and in a bounded number alone: what does not fit while the receiver is away is dropped and counted.
//! Nothing waits for them, and no disk is worn by them.

mod config;

use std::sync::Arc;
use std::time::Duration;

pub use config::TracesConfig;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::Verdict;
use super::otlp::SpanUplink;
use crate::event::Name;
use crate::task::{Backoff, Group, Stop};
use crate::trace::{Span, TraceStatus, Tracer};

/// So many spans are sent at a time.
const BATCH: usize = 512;

/// How long spans wait for others to fill their batch.
const DELAY: Duration = Duration::from_secs(1);

/// A receiver that wants to be left alone for longer is asked again all the same.
const PATIENCE: Duration = Duration::from_mins(5);

/// Sends what a tracer hands out. Dropped, it stops at once.
#[derive(Debug)]
pub struct TraceExport {
    tracer: Arc<Tracer>,
    group: Group,
}

impl TraceExport {
    /// Starts to send. To be called within a runtime. An error says what is wrong and what would be right;
    /// [`TracesConfig::check`] finds it beforehand.
    pub fn start(config: &TracesConfig, device: &Name) -> Result<Self, String> {
        let uplink = SpanUplink::new(&config.cloud(), device.as_str())?;
        let tracer = Arc::new(Tracer::new(config.ratio, config.queue, BATCH));
        let backoff = Backoff::new(config.backoff.first, config.backoff.max);
        let sender = Sender { uplink: Arc::new(uplink), tracer: Arc::clone(&tracer), backoff };
        let mut group = Group::default();
        let stop = group.stop_signal();
        group.spawn("traces", sender.run(stop));
        Ok(Self { tracer, group })
    }

    /// What is traced with it.
    pub const fn tracer(&self) -> &Arc<Tracer> {
        &self.tracer
    }

    /// How it is doing.
    pub fn status(&self) -> TraceStatus {
        self.tracer.status()
    }

    /// Sends what waits, as long as that works and `deadline` has not passed; the rest is dropped.
    pub async fn stop(self, deadline: Duration) {
        self.group.drain(deadline).await;
        let TraceStatus { waiting, sent, dropped, .. } = self.tracer.status();
        tracing::info!(left = waiting, sent, dropped, "spans");
    }
}

struct Sender {
    uplink: Arc<SpanUplink>,
    tracer: Arc<Tracer>,
    backoff: Backoff,
}

impl Sender {
    async fn run(mut self, mut stop: Stop) {
        while !stop.is_stopped() {
            tokio::select! {
                () = stop.stopped() => {}
                _some_or_all = timeout(DELAY, self.tracer.filled()) => {}
            }
            loop {
                let spans = self.tracer.take();
                if spans.is_empty() {
                    break;
                }
                self.see_to(spans, &mut stop).await;
            }
        }
    }

    /// Sends a batch, until the receiver has said yes or no to it, or it is the end and one try failed.
    async fn see_to(&mut self, spans: Vec<Span>, stop: &mut Stop) {
        let count = spans.len();
        let uplink = Arc::clone(&self.uplink);
        let packed = spawn_blocking(move || uplink.pack(spans)).await;
        let packed = match packed.map_err(std::io::Error::other).flatten() {
            Ok(packed) => packed,
            Err(error) => {
                self.fails(&error.to_string());
                return self.tracer.drops(count);
            }
        };
        loop {
            let is_last = stop.is_stopped();
            let (why, after) = match self.uplink.send(packed.clone()).await {
                // Neither of the two is an error.
                Ok(None) | Err(Verdict::Delivered | Verdict::Part) => {
                    self.works();
                    return self.tracer.sends(count);
                }
                Ok(Some((no, why))) => {
                    let no = no.min(count);
                    self.tracer.sends(count - no);
                    return self.refused(no, &why);
                }
                Err(Verdict::TooLarge { why } | Verdict::Rejected { why }) => {
                    return self.refused(count, &why);
                }
                Err(Verdict::Wait { why, after }) => (why, after),
                Err(Verdict::Offline { why } | Verdict::Stop { why }) => (why, None),
            };
            self.fails(&why);
            if is_last {
                return self.tracer.drops(count);
            }
            let wait = self.backoff.next_wait().max(after.unwrap_or_default()).min(PATIENCE);
            tokio::select! {
                () = stop.stopped() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// The receiver has taken all of a batch.
    fn works(&mut self) {
        self.backoff.reset();
        if self.tracer.set_problem(None).is_some() {
            tracing::info!("spans are taken again");
        }
    }

    /// One line when it begins.
    fn fails(&self, why: &str) {
        if self.tracer.set_problem(Some(why.to_owned())).is_none() {
            tracing::warn!("spans are not taken, and dropped when they are too many: {why}");
        }
    }

    /// The receiver does not want so many of a batch.
    fn refused(&mut self, count: usize, why: &str) {
        self.backoff.reset();
        self.fails(why);
        self.tracer.drops(count);
    }
}
