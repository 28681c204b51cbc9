//! Looks over eir's shoulder: how long each message took, what was decided, and how right it was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sketches_ddsketch::{Config as SketchConfig, DDSketch};

use super::judge::judge;
use super::report::{PipelineReport, Report, Sent};
use super::truth::Event;
use super::world::Ledger;
use crate::app::{Observation, Observer};
use crate::cli::table::thousands;
use crate::mqtt::Message;
use crate::task::{Clock, SystemClock};

/// One pipeline of the demo as it is judged.
#[derive(Debug)]
pub(super) struct Watched {
    pub name: &'static str,
    pub events: Vec<Event>,
    /// Time between two messages: message `n` shows the world at `n × period`.
    pub period: Duration,
    pub engine: String,
}

/// What was seen so far.
pub(super) struct Watch {
    pipelines: Vec<(&'static str, Ledger)>,
    seen: Mutex<Vec<Seen>>,
}

struct Seen {
    latency: DDSketch,
    /// Numbers of the messages that made a rule fire, as the decisions on the broker tell them.
    decided: Vec<u32>,
}

impl Watch {
    pub(super) fn new(pipelines: impl Iterator<Item = (&'static str, Ledger)>) -> Self {
        let pipelines: Vec<_> = pipelines.collect();
        let seen =
            || Seen { latency: DDSketch::new(SketchConfig::defaults()), decided: Vec::new() };
        Self { seen: Mutex::new(pipelines.iter().map(|_| seen()).collect()), pipelines }
    }

    /// Notes the time from publish to decision (fired or not) of every message.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let watch = Arc::clone(self);
        Arc::new(move |observation: &Observation<'_>| {
            let Some(index) = watch.index(observation.pipeline.as_str()) else { return };
            let number = observation.id.and_then(|id| id.parse().ok());
            let sent = number.and_then(|number| watch.pipelines[index].1.sent_at(number));
            if let Some(sent) = sent {
                let latency = SystemClock.now().duration_since(sent);
                watch.lock()[index].latency.add(latency.as_secs_f64());
            }
        })
    }

    /// Reads a decision off the broker and says it in a line.
    pub(super) fn read(&self, message: &Message) -> String {
        let decision: serde_json::Value =
            serde_json::from_slice(&message.payload).unwrap_or_default();
        let text =
            |pointer: &str| decision.pointer(pointer).and_then(|v| v.as_str()).unwrap_or("?");
        let pipeline = text("/pipeline");
        // `origin` is the publisher's number with pipeline and rule.
        let number = text("/origin").split(':').next().and_then(|id| id.parse::<u32>().ok());
        if let Some(index) = self.index(pipeline) {
            let seen = &mut self.lock()[index];
            seen.decided.extend(number);
        }
        let best = decision.pointer("/prediction/detections/0").or(decision.pointer("/prediction"));
        let label = best.and_then(|p| p.get("label")).and_then(|v| v.as_str()).unwrap_or("");
        let score = best.and_then(|p| p.get("score")).and_then(serde_json::Value::as_f64);
        let latency = decision.pointer("/latency_us").and_then(serde_json::Value::as_f64);
        format!(
            "decision    {:<24} {:<8} {label} {:.2}  after {:.1} ms",
            message.topic,
            text("/rule"),
            score.unwrap_or(f64::NAN),
            latency.unwrap_or(f64::NAN) / 1e3,
        )
    }

    /// Progress in a few words.
    pub(super) fn summary(&self) -> String {
        let sent = self
            .pipelines
            .iter()
            .map(|(name, ledger)| format!("{name} {} messages", thousands(ledger.total().0)));
        let decisions: usize = self.lock().iter().map(|seen| seen.decided.len()).sum();
        let sent: Vec<_> = sent.collect();
        format!("{} · {decisions} decisions", sent.join(" · "))
    }

    /// The closing table.
    pub(super) fn report(
        &self,
        seed: u64,
        watched: impl Iterator<Item = Watched>,
        sent: Sent,
    ) -> Report {
        let seen = self.lock();
        let millis = |sketch: &DDSketch, q| sketch.quantile(q).ok().flatten().map(|s| s * 1e3);
        let pipelines =
            watched.zip(&*seen).zip(&self.pipelines).map(|((watched, seen), (_, ledger))| {
                let moments: Vec<_> = seen.decided.iter().map(|n| watched.period * *n).collect();
                let messages = ledger.total().0;
                let shown = shown(watched.period, messages);
                let verdict = judge(&watched.events, &moments, shown);
                PipelineReport {
                    name: watched.name.to_owned(),
                    engine: watched.engine,
                    messages,
                    decisions: moments.len(),
                    events: verdict.events,
                    precision: verdict.precision,
                    recall: verdict.recall,
                    p50_ms: millis(&seen.latency, 0.5),
                    p99_ms: millis(&seen.latency, 0.99),
                }
            });
        Report {
            seed,
            pipelines: pipelines.collect(),
            bytes_in: self.pipelines.iter().map(|(_, ledger)| ledger.total().1).sum(),
            bytes_up: sent.received.bytes,
            cloud: sent,
        }
    }

    fn index(&self, pipeline: &str) -> Option<usize> {
        self.pipelines.iter().position(|(name, _)| *name == pipeline)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far into its world a device has come with so many messages. On a machine that cannot keep up
/// this is less than the time that has passed.
fn shown(period: Duration, messages: u64) -> Duration {
    period.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::world::FRAME;

    #[test]
    fn what_a_slow_camera_never_showed_is_not_held_against_the_pipeline() {
        let event = |start, end| Event {
            label: "scratch",
            start: Duration::from_secs(start),
            end: Duration::from_secs(end),
        };
        let ledger = Ledger::default();
        for _ in 0..82 {
            ledger.send(1);
        }
        let watch = Watch::new([("defects", ledger)].into_iter());
        watch.lock()[0].decided.push(25);
        let watched = || Watched {
            name: "defects",
            events: vec![event(2, 3), event(10, 11)],
            period: FRAME,
            engine: String::new(),
        };
        let report = watch.report(1, [watched()].into_iter(), Sent::default());
        assert_eq!((report.pipelines[0].events, report.pipelines[0].recall), (1, Some(1.0)));
    }
}
