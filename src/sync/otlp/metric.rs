//! Points of metrics, gathered by the metric that they belong to.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::message::{
    Gauge, KeyValue, Metric, Number, NumberPoint, Points, Sum, Summary, SummaryPoint, Temporality,
};
use super::nanoseconds;

/// What is measured: a name, and its unit (UCUM).
pub(super) type Instrument = (&'static str, &'static str);

/// From when to when a point tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

/// Metrics of one device.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    sums: BTreeMap<Instrument, Vec<NumberPoint>>,
    gauges: BTreeMap<Instrument, Vec<NumberPoint>>,
    summaries: BTreeMap<Instrument, Vec<SummaryPoint>>,
}

impl Metrics {
    /// So much more within the window.
    pub(super) fn add(
        &mut self,
        of: Instrument,
        window: Window,
        attributes: Vec<KeyValue>,
        count: u64,
    ) {
        self.sums.entry(of).or_default().push(NumberPoint {
            attributes,
            start_time_unix_nano: nanoseconds(window.from),
            time_unix_nano: nanoseconds(window.to),
            value: Some(Number::Int(i64::try_from(count).unwrap_or(i64::MAX))),
        });
    }

    /// So much at this moment.
    pub(super) fn set(
        &mut self,
        of: Instrument,
        at: Timestamp,
        attributes: Vec<KeyValue>,
        value: f64,
    ) {
        self.gauges.entry(of).or_default().push(NumberPoint {
            attributes,
            start_time_unix_nano: 0,
            time_unix_nano: nanoseconds(at),
            value: Some(Number::Double(value)),
        });
    }

    /// How values are spread.
    pub(super) fn spread(&mut self, of: Instrument, point: SummaryPoint) {
        self.summaries.entry(of).or_default().push(point);
    }

    /// Each metric with its points.
    pub(super) fn into_messages(self) -> Vec<Metric> {
        let sums = self.sums.into_iter().map(|(of, data_points)| {
            let aggregation_temporality = Temporality::Delta.into();
            let sum = Sum { data_points, aggregation_temporality, is_monotonic: true };
            (of, Points::Sum(sum))
        });
        let gauges = self.gauges.into_iter();
        let gauges = gauges.map(|(of, data_points)| (of, Points::Gauge(Gauge { data_points })));
        let spreads = self.summaries.into_iter();
        let spreads =
            spreads.map(|(of, data_points)| (of, Points::Summary(Summary { data_points })));
        let all = sums.chain(gauges).chain(spreads);
        all.map(|((name, unit), points)| Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            points: Some(points),
        })
        .collect()
    }
}
