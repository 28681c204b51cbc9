//! The view as Prometheus reads it: text format 0.0.4, base units, names that stay.

mod board;
mod jobs;
mod models;
mod traces;
mod updates;

use std::path::Path;

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use self::models::AllServed;
use super::view::{Counts, PipelineStatus, View};
use crate::job::State;
use crate::outbox::{self, Lane};
use crate::summary::{Board, Drift};
use crate::sync::CloudStatus;
use crate::task::{BreakerState, Clock, SystemClock};

type Outcome = Result<(), prometheus::Error>;

/// Picks a counter.
type Count<T> = fn(&T) -> u64;

/// Every metric with its help, in alphabetical order.
pub(super) fn text(
    view: &View,
    served: &AllServed,
    jobs: Option<&[(State, usize)]>,
    format: Format,
) -> Result<String, prometheus::Error> {
    let page = Page(Registry::new());
    page.device(view)?;
    page.pipelines(&view.pipelines)?;
    if let Some(outbox) = &view.outbox {
        page.outbox(outbox)?;
    }
    page.clouds(&view.clouds)?;
    if let Some(traces) = &view.traces {
        page.traces(traces)?;
    }
    if let Some((updates, _)) = &view.updates {
        page.updates(updates)?;
    }
    page.models(served)?;
    if let Some(jobs) = jobs {
        page.jobs(jobs)?;
    }
    page.board(&Board::read(view.data.as_deref().unwrap_or(Path::new("/"))))?;
    let families = page.0.gather();
    let text = TextEncoder::new().encode_to_string(&families)?;
    Ok(match format {
        Format::Prometheus => text,
        Format::OpenMetrics => open_metrics(&text),
    })
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client takes, as its Accept says.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
        if open { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The same in `OpenMetrics`: a family of counters has the name of its counters without `_total`, and the text has an end.
fn open_metrics(text: &str) -> String {
    let mut open = String::with_capacity(text.len() + 8);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        // The help of a family comes right before its type.
        let about = if line.starts_with("# HELP ") { lines.peek().copied() } else { Some(line) };
        let counts =
            about.is_some_and(|about| about.starts_with("# TYPE ") && about.ends_with(" counter"));
        let told = if counts { line.replacen("_total ", " ", 1) } else { line.to_owned() };
        open.push_str(&told);
        open.push('\n');
    }
    open.push_str("# EOF\n");
    open
}

/// The metrics of one answer.
struct Page(Registry);

/// Label values, in the order of the labels, and what was counted or measured.
type Sample<'a, const N: usize> = ([&'a str; N], f64);

impl Page {
    fn counter<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) -> Outcome {
        let samples = samples.into_iter().map(|(values, count)| (values, count as f64));
        self.seconds(name, help, labels, samples)
    }

    fn gauge<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = Sample<'a, N>>,
    ) -> Outcome {
        let family = GaugeVec::new(Opts::new(name, help), &labels)?;
        for (values, value) in samples {
            family.with_label_values(&values).set(value);
        }
        self.add(family)
    }

    /// A counter of seconds.
    fn seconds<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = Sample<'a, N>>,
    ) -> Outcome {
        let family = CounterVec::new(Opts::new(name, help), &labels)?;
        for (values, time) in samples {
            family.with_label_values(&values).inc_by(time);
        }
        self.add(family)
    }

    fn add(&self, family: impl Collector + 'static) -> Outcome {
        self.0.register(Box::new(family))
    }

    fn device(&self, view: &View) -> Outcome {
        // Nothing of it where the system does not tell, as without /proc.
        self.add(ProcessCollector::for_self())?;
        let labels = ["device", "version"];
        let info = [view.device.as_str(), env!("CARGO_PKG_VERSION")];
        self.gauge("eir_info", "The device and its version of eir.", labels, [(info, 1.0)])?;
        self.gauge(
            "eir_mqtt_up",
            "Whether messages flow on the connection to a broker.",
            ["connection"],
            view.connections.iter().map(|(name, state)| ([name.as_str()], flag(state.is_ok()))),
        )?;
        self.gauge(
            "eir_broker_up",
            "Whether the embedded broker runs.",
            [],
            view.broker.iter().map(|state| ([], flag(state.is_ok()))),
        )
    }

    fn pipelines(&self, all: &[PipelineStatus]) -> Outcome {
        let whole = |pipeline: &&PipelineStatus| pipeline.problem.is_none();
        self.gauge(
            "eir_pipeline_up",
            "Whether the pipeline decides; 0 while it is degraded.",
            ["pipeline"],
            all.iter().map(|p| ([p.name.as_str()], flag(whole(&p)))),
        )?;
        self.gauge(
            "eir_pipeline_info",
            "The model of the pipeline, and the engine that runs it.",
            ["pipeline", "model", "engine"],
            all.iter()
                .filter(whole)
                .map(|p| ([p.name.as_str(), p.model.as_str(), p.engine.as_str()], 1.0)),
        )?;
        let counters: [(&str, &str, Count<Counts>); 7] = [
            ("messages", "Messages taken from the queue.", |c| c.messages),
            ("message_bytes", "Payloads of the messages taken from the queue.", |c| c.bytes),
            ("messages_dropped", "Messages dropped by the policy of the queue.", |c| c.dropped),
            ("gated", "Pictures in which too little had changed to run the model.", |c| c.gated),
            ("thinned", "Messages that a lower rate left out, while there was too much.", |c| {
                c.thinned
            }),
            ("inferences", "Model inputs that were run.", |c| c.inferences),
            ("decisions", "Times that a rule fired.", |c| c.decisions),
        ];
        for (name, help, count) in counters {
            let samples = all.iter().map(|p| ([p.name.as_str()], count(&p.counts)));
            self.counter(&format!("eir_{name}_total"), help, ["pipeline"], samples)?;
        }
        self.counter(
            "eir_errors_total",
            "Messages and rules that failed, by kind.",
            ["pipeline", "kind"],
            all.iter().flat_map(|p| {
                p.counts.errors.iter().map(|(kind, count)| ([p.name.as_str(), *kind], *count))
            }),
        )?;
        for pipeline in all {
            self.add(pipeline.latency.clone())?;
            self.add(pipeline.stages.clone())?;
        }
        let drifts = || all.iter().filter_map(|p| Some((p.name.as_str(), p.drift.as_ref()?)));
        self.gauge(
            "eir_drift_psi",
            "How far the scores of the last summary are from the model's reference: a population stability index.",
            ["pipeline"],
            drifts().filter_map(|(pipeline, drift)| Some(([pipeline], drift.score.as_ref()?.psi))),
        )?;
        let largest =
            |drift: &Drift| drift.input.iter().map(|channel| channel.shift.psi).reduce(f64::max);
        self.gauge(
            "eir_input_drift_psi",
            "The same of the input channel that is the farthest.",
            ["pipeline"],
            drifts().filter_map(|(pipeline, drift)| Some(([pipeline], largest(drift)?))),
        )?;
        self.gauge(
            "eir_degrade_steps",
            "Steps that the pipeline takes to do with less, while there is too much.",
            ["pipeline"],
            all.iter().filter_map(|p| Some(([p.name.as_str()], p.step.as_ref()?.taken as f64))),
        )?;
        self.actions(all)?;
        self.escalations(all)
    }

    fn escalations(&self, all: &[PipelineStatus]) -> Outcome {
        let escalating =
            || all.iter().filter_map(|p| Some((p.name.as_str(), p.escalation.as_ref()?)));
        self.counter(
            "eir_escalated_total",
            "Cases that were not certain.",
            ["pipeline"],
            escalating().map(|(pipeline, status)| ([pipeline], status.escalated)),
        )?;
        self.counter(
            "eir_escalations_total",
            "What became of the cases that were not certain: answered, from the cache, or dropped and why.",
            ["pipeline", "outcome"],
            escalating().flat_map(|(pipeline, status)| {
                status.fates.iter().map(move |(name, count)| ([pipeline, *name], *count))
            }),
        )?;
        self.counter(
            "eir_amendments_total",
            "What second opinions did: decisions confirmed, withdrawn, or made after all.",
            ["pipeline", "verdict"],
            escalating().flat_map(|(pipeline, status)| {
                status.verdicts.iter().map(move |(name, count)| ([pipeline, *name], *count))
            }),
        )?;
        self.gauge(
            "eir_escalation_breaker",
            "Where the circuit breaker of the remote stands: 1 at the state it is in.",
            ["pipeline", "state"],
            escalating().flat_map(|(pipeline, status)| {
                breaker(status.breaker).map(|(word, is)| ([pipeline, word], is))
            }),
        )
    }

    fn actions(&self, all: &[PipelineStatus]) -> Outcome {
        let actions = || {
            all.iter().flat_map(|p| p.actions.iter().map(move |action| (p.name.as_str(), action)))
        };
        self.counter(
            "eir_actions_total",
            "What became of the actions: sent, failed, dropped from a full queue, or not rendered.",
            ["pipeline", "action", "outcome"],
            actions().flat_map(|(pipeline, action)| {
                [
                    ("sent", action.sent),
                    ("failed", action.failed),
                    ("dropped", action.dropped),
                    ("unrendered", action.unrendered),
                ]
                .map(|(outcome, count)| ([pipeline, action.name.as_str(), outcome], count))
            }),
        )?;
        self.counter(
            "eir_action_retries_total",
            "Tries of actions after a first one.",
            ["pipeline", "action"],
            actions().map(|(pipeline, action)| ([pipeline, action.name.as_str()], action.retried)),
        )?;
        self.gauge(
            "eir_actions_waiting",
            "Actions that wait or are being carried out.",
            ["pipeline", "action"],
            actions().map(|(pipeline, action)| {
                ([pipeline, action.name.as_str()], action.waiting as f64)
            }),
        )
    }

    fn outbox(&self, outbox: &outbox::Status) -> Outcome {
        let stored = |amount: fn(&outbox::Amount) -> u64| {
            let kinds = outbox.stored.iter();
            kinds.map(move |(kind, stored)| ([kind.as_str()], amount(stored) as f64))
        };
        let up = flag(outbox.problem.is_none());
        self.gauge("eir_outbox_up", "Whether records become durable.", [], [([], up)])?;
        self.gauge(
            "eir_outbox_records",
            "Records on disk, by kind.",
            ["kind"],
            stored(|amount| amount.records),
        )?;
        self.gauge(
            "eir_outbox_record_bytes",
            "Bodies of the records on disk, by kind.",
            ["kind"],
            stored(|amount| amount.bytes),
        )?;
        self.gauge(
            "eir_outbox_waiting",
            "Records that wait for the disk.",
            [],
            [([], outbox.waiting as f64)],
        )?;
        let age = outbox
            .oldest
            .map(|oldest| SystemClock.wall().duration_since(oldest).as_secs_f64().max(0.0));
        self.gauge(
            "eir_outbox_oldest_seconds",
            "The age of the oldest record on disk.",
            [],
            age.map(|age| ([], age)),
        )?;
        let counters = [
            ("written", "Records written.", outbox.written),
            ("dropped", "Records dropped, whatever the reason.", outbox.dropped),
            ("refused", "Records that a cloud refused.", outbox.refused),
            ("set_aside", "Databases that were damaged and set aside.", outbox.set_aside),
        ];
        for (name, help, count) in counters {
            self.counter(&format!("eir_outbox_{name}_total"), help, [], [([], count)])?;
        }
        Ok(())
    }

    fn clouds(&self, all: &[(Lane, CloudStatus)]) -> Outcome {
        let all: Vec<_> = all.iter().map(|(lane, status)| (lane.to_string(), status)).collect();
        self.gauge(
            "eir_cloud_up",
            "Whether records leave.",
            ["cloud"],
            all.iter().map(|(name, status)| ([name.as_str()], flag(status.problem.is_none()))),
        )?;
        self.gauge(
            "eir_cloud_breaker",
            "Where the circuit breaker stands: 1 at the state it is in.",
            ["cloud", "state"],
            all.iter().flat_map(|(name, status)| {
                breaker(status.breaker).map(|(word, is)| ([name.as_str(), word], is))
            }),
        )?;
        let counters: [(&str, &str, Count<CloudStatus>); 6] = [
            ("batches", "Batches that were delivered.", |s| s.batches),
            ("records", "Records that were delivered.", |s| s.records),
            ("sent_bytes", "What was delivered, compressed.", |s| s.sent_bytes),
            ("raw_bytes", "What was delivered, before it was compressed.", |s| s.raw_bytes),
            ("failures", "Tries that did not deliver.", |s| s.failures),
            ("rejected_records", "Records that the cloud rejected for good.", |s| s.dead),
        ];
        for (name, help, count) in counters {
            let samples = all.iter().map(|(cloud, status)| ([cloud.as_str()], count(status)));
            self.counter(&format!("eir_cloud_{name}_total"), help, ["cloud"], samples)?;
        }
        Ok(())
    }
}

/// Each state of a breaker, and 1 at the one that it is in.
fn breaker(stands: BreakerState) -> [(&'static str, f64); 3] {
    BreakerState::ALL.map(|state| (state.as_str(), flag(state == stands)))
}

/// 1 for yes.
fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
