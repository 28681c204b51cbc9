//! A `summary` record as metrics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::message::{KeyValue, SummaryPoint, ValueAtQuantile};
use super::metric::{Instrument, Metrics, Window};
use super::nanoseconds;
use super::value::attribute;

const MESSAGES: Instrument = ("eir.messages", "{message}");
const BYTES: Instrument = ("eir.bytes", "By");
const DROPPED: Instrument = ("eir.dropped", "{message}");
const ERRORS: Instrument = ("eir.errors", "{error}");

/// Of a whole pipeline.
const WHOLE: Instruments = Instruments {
    inferences: ("eir.inferences", "{inference}"),
    decisions: ("eir.decisions", "{decision}"),
    classes: ("eir.classes", "{class}"),
    score: ("eir.score", "1"),
    latency: ("eir.latency", "s"),
    psi: ("eir.drift.psi", "1"),
};

/// Of a group of its streams: with the same names, who adds up all points would count twice.
const GROUP: Instruments = Instruments {
    inferences: ("eir.group.inferences", "{inference}"),
    decisions: ("eir.group.decisions", "{decision}"),
    classes: ("eir.group.classes", "{class}"),
    score: ("eir.group.score", "1"),
    latency: ("eir.group.latency", "s"),
    psi: ("eir.group.drift.psi", "1"),
};

/// What a part of a window is told by.
struct Instruments {
    inferences: Instrument,
    decisions: Instrument,
    classes: Instrument,
    score: Instrument,
    latency: Instrument,
    psi: Instrument,
}

/// The body of a `summary` record, as far as metrics tell it.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    from: Timestamp,
    to: Timestamp,
    pipeline: String,
    model: Option<String>,
    version: Option<u64>,
    engine: Option<String>,
    messages: u64,
    bytes: u64,
    dropped: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    #[serde(flatten)]
    whole: Part,
    #[serde(default)]
    groups: BTreeMap<String, Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    inferences: u64,
    decisions: BTreeMap<String, u64>,
    classes: BTreeMap<String, u64>,
    score: Option<Spread>,
    latency: Option<Spread>,
    drift: Option<Drift>,
}

#[derive(Debug, Deserialize)]
struct Spread {
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    p05: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug, Deserialize)]
struct Drift {
    score: Option<Shift>,
    input: Vec<ChannelShift>,
}

#[derive(Debug, Deserialize)]
struct Shift {
    psi: f64,
}

#[derive(Debug, Deserialize)]
struct ChannelShift {
    channel: u64,
    psi: f64,
}

impl Summary {
    /// Adds what it tells; the record was made at `at`.
    pub(super) fn tell(&self, at: Timestamp, metrics: &mut Metrics) {
        // A window that the end of the program cut short is told in two parts, and they must not be taken for the
        // same point sent twice.
        let to = if self.from < at && at < self.to { at } else { self.to };
        let window = Window { from: self.from, to };
        let mut of = vec![attribute("pipeline", self.pipeline.as_str())];
        of.extend(self.model.as_deref().map(|model| attribute("model", model)));
        of.extend(self.version.map(|version| attribute("version", version)));
        of.extend(self.engine.as_deref().map(|engine| attribute("engine", engine)));

        metrics.add(MESSAGES, window, of.clone(), self.messages);
        metrics.add(BYTES, window, of.clone(), self.bytes);
        by(metrics, (DROPPED, "reason"), window, &of, &self.dropped);
        by(metrics, (ERRORS, "kind"), window, &of, &self.errors);
        self.whole.tell(&WHOLE, window, &of, metrics);
        for (group, part) in &self.groups {
            let mut of = of.clone();
            of.push(attribute("group", group.as_str()));
            part.tell(&GROUP, window, &of, metrics);
        }
    }
}

impl Part {
    fn tell(&self, by_name: &Instruments, window: Window, of: &[KeyValue], metrics: &mut Metrics) {
        metrics.add(by_name.inferences, window, of.to_vec(), self.inferences);
        by(metrics, (by_name.decisions, "rule"), window, of, &self.decisions);
        by(metrics, (by_name.classes, "class"), window, of, &self.classes);
        for (instrument, spread) in [(by_name.score, &self.score), (by_name.latency, &self.latency)]
        {
            if let Some(spread) = spread {
                metrics.spread(instrument, spread.point(window, of.to_vec()));
            }
        }
        let Some(drift) = &self.drift else { return };
        let mut tell = |psi, more: &[KeyValue]| {
            metrics.set(by_name.psi, window.to, [of, more].concat(), psi);
        };
        if let Some(score) = &drift.score {
            tell(score.psi, &[attribute("of", "score")]);
        }
        for input in &drift.input {
            tell(input.psi, &[attribute("of", "input"), attribute("channel", input.channel)]);
        }
    }
}

impl Spread {
    /// The smallest and the largest value are the quantiles 0 and 1.
    fn point(&self, window: Window, attributes: Vec<KeyValue>) -> SummaryPoint {
        let quantiles = [
            (0.0, self.min),
            (0.05, self.p05),
            (0.5, self.p50),
            (0.95, self.p95),
            (0.99, self.p99),
            (1.0, self.max),
        ];
        SummaryPoint {
            attributes,
            start_time_unix_nano: nanoseconds(window.from),
            time_unix_nano: nanoseconds(window.to),
            count: self.count,
            sum: self.mean * self.count as f64,
            quantile_values: quantiles
                .map(|(quantile, value)| ValueAtQuantile { quantile, value })
                .to_vec(),
        }
    }
}

/// One point for each count, told apart by the attribute `key`.
fn by(
    metrics: &mut Metrics,
    (instrument, key): (Instrument, &str),
    window: Window,
    of: &[KeyValue],
    counts: &BTreeMap<String, u64>,
) {
    for (word, count) in counts {
        let attributes = [of, &[attribute(key, word.as_str())]].concat();
        metrics.add(instrument, window, attributes, *count);
    }
}
