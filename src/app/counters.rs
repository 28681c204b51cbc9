//! What one pipeline has done, counted where it happens and read from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sketches_ddsketch::{Config as SketchConfig, DDSketch};

use crate::api::{Counts, Histogram, HistogramOpts, HistogramVec};
use crate::event::Name;
use crate::model::Spent;

/// The same kind of error is logged at most this often; every one is counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Upper bounds in seconds: from a small model on a fast board to a camera that cannot keep up.
const LATENCIES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The same for what is only a part of that.
const STAGES: [f64; 13] = [
    0.000_01, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5,
    2.5,
];

/// The counters of one pipeline.
pub(super) struct Counters {
    pipeline: Name,
    messages: AtomicU64,
    bytes: AtomicU64,
    gated: AtomicU64,
    thinned: AtomicU64,
    inferences: AtomicU64,
    decisions: AtomicU64,
    latency: Histogram,
    stages: Stages,
    rest: Mutex<Rest>,
}

/// How long messages spend where.
struct Stages {
    family: HistogramVec,
    queue: Histogram,
    preprocess: Histogram,
    wait: Histogram,
    inference: Histogram,
}

struct Rest {
    errors: BTreeMap<&'static str, Kind>,
    latency: DDSketch,
}

#[derive(Debug)]
struct Kind {
    count: u64,
    logged_at: Instant,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl Counters {
    pub(super) fn new(pipeline: Name) -> Self {
        let help = "From the arrival of a message to its decision.";
        let latency = HistogramOpts::new("eir_decision_latency_seconds", help)
            .const_label("pipeline", pipeline.as_str())
            .buckets(LATENCIES.to_vec());
        Self {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            gated: AtomicU64::new(0),
            thinned: AtomicU64::new(0),
            inferences: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
            stages: Stages::new(&pipeline),
            latency: Histogram::with_opts(latency).expect("names and bounds are constants"),
            rest: Mutex::new(Rest {
                errors: BTreeMap::new(),
                latency: DDSketch::new(SketchConfig::defaults()),
            }),
            pipeline,
        }
    }

    /// A message waited in the queue.
    pub(super) fn queued(&self, time: Duration) {
        self.stages.queue.observe(time.as_secs_f64());
    }

    /// The model was run.
    pub(super) fn ran(&self, spent: Spent) {
        self.stages.preprocess.observe(spent.preparing.as_secs_f64());
        self.stages.wait.observe(spent.waiting.as_secs_f64());
        self.stages.inference.observe(spent.running.as_secs_f64());
    }

    /// Goes on counting.
    pub(super) fn stages(&self) -> HistogramVec {
        self.stages.family.clone()
    }

    pub(super) fn message(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn gated(&self) {
        self.gated.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn thinned(&self) {
        self.thinned.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn inferences(&self, count: usize) {
        self.inferences.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn decision(&self) {
        self.decisions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn latencies(&self, latencies: impl Iterator<Item = Duration>) {
        let mut rest = self.rest();
        for latency in latencies {
            rest.latency.add(latency.as_secs_f64());
            self.latency.observe(latency.as_secs_f64());
        }
    }

    /// Counts an error, and logs it unless one of its kind was logged just now.
    pub(super) fn error(&self, kind: &'static str, message: &dyn fmt::Display, now: Instant) {
        let mut rest = self.rest();
        let logged = rest.errors.entry(kind);
        let mut is_new = false;
        let entry = logged.or_insert_with(|| {
            is_new = true;
            Kind { count: 0, logged_at: now }
        });
        entry.count += 1;
        if is_new || now.duration_since(entry.logged_at) >= LOG_EVERY {
            entry.logged_at = now;
            let (count, pipeline) = (entry.count, &self.pipeline);
            drop(rest);
            tracing::warn!(%pipeline, kind, count, "{message}");
        }
    }

    /// Goes on counting.
    pub(super) fn latency(&self) -> Histogram {
        self.latency.clone()
    }

    pub(super) fn snapshot(&self) -> Counts {
        let rest = self.rest();
        let quantile = |q| rest.latency.quantile(q).ok().flatten();
        Counts {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            gated: self.gated.load(Ordering::Relaxed),
            thinned: self.thinned.load(Ordering::Relaxed),
            inferences: self.inferences.load(Ordering::Relaxed),
            decisions: self.decisions.load(Ordering::Relaxed),
            dropped: 0,
            errors: rest.errors.iter().map(|(kind, found)| (*kind, found.count)).collect(),
            p50: quantile(0.5),
            p99: quantile(0.99),
        }
    }

    fn rest(&self) -> std::sync::MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stages {
    fn new(pipeline: &Name) -> Self {
        let help = "How long messages spent in a stage: queue of each; preprocess, wait for an instance of the \
                    model, and inference of each run.";
        let options = HistogramOpts::new("eir_stage_seconds", help)
            .const_label("pipeline", pipeline.as_str())
            .buckets(STAGES.to_vec());
        let family =
            HistogramVec::new(options, &["stage"]).expect("names and bounds are constants");
        let stage = |name: &str| family.with_label_values(&[name]);
        Self {
            queue: stage("queue"),
            preprocess: stage("preprocess"),
            wait: stage("wait"),
            inference: stage("inference"),
            family,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Clock, SystemClock};

    #[test]
    fn every_error_is_counted_by_kind() {
        let counters = Counters::new("p".parse().expect("name"));
        for _ in 0..3 {
            counters.error("syntax", &"bad", SystemClock.now());
        }
        counters.error("empty", &"bad", SystemClock.now());
        let counts = counters.snapshot();
        assert_eq!(counts.errors, BTreeMap::from([("syntax", 3), ("empty", 1)]));
        assert_eq!(counts.p50, None);
    }
}
