//! From the lines of a batch to what is asked of a receiver.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::health::Health;
use super::log::{log, unread};
use super::message::{
    ExportLogs, ExportMetrics, LogRecord, Resource, ResourceLogs, ResourceMetrics, Scope,
    ScopeLogs, ScopeMetrics,
};
use super::metric::Metrics;
use super::summary::Summary;
use super::value::attribute;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who tells.
pub(super) fn scope() -> Scope {
    Scope { name: "eir".to_owned(), version: VERSION.to_owned() }
}

/// A record as the outbox writes it (`interfaces.md` §5).
#[derive(Debug, Deserialize)]
pub(super) struct Line<'a> {
    pub(super) id: String,
    pub(super) origin: Option<String>,
    device: String,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) kind: String,
    #[serde(borrow)]
    pub(super) body: &'a RawValue,
}

/// What one device tells.
#[derive(Debug, Default)]
struct Told {
    logs: Vec<LogRecord>,
    metrics: Metrics,
}

impl Told {
    /// What cannot be told by metrics alone is told by a log record.
    fn add(&mut self, line: &Line<'_>) {
        let body = line.body.get();
        match line.kind.as_str() {
            "summary" => match serde_json::from_str::<Summary>(body) {
                Ok(summary) => return summary.tell(line.at, &mut self.metrics),
                Err(error) => tracing::debug!(id = line.id, "no such summary is known: {error}"),
            },
            "health" => match serde_json::from_str::<Health>(body) {
                Ok(health) => health.tell(line.at, &mut self.metrics),
                Err(error) => tracing::debug!(id = line.id, "no such health is known: {error}"),
            },
            _ => {}
        }
        self.logs.push(log(line));
    }
}

/// The logs and the metrics of a batch, compressed with gzip; `None` where there are none.
pub(super) fn pack(lines: &[u8]) -> io::Result<[Option<Vec<u8>>; 2]> {
    let (logs, metrics) = export(lines);
    let logs = (!logs.resource_logs.is_empty()).then(|| compress(&logs));
    let metrics = (!metrics.resource_metrics.is_empty()).then(|| compress(&metrics));
    Ok([logs.transpose()?, metrics.transpose()?])
}

/// The outbox of one device holds records of another name where it was renamed meanwhile.
fn export(lines: &[u8]) -> (ExportLogs, ExportMetrics) {
    let mut devices: BTreeMap<Option<String>, Told> = BTreeMap::new();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Line<'_>>(line) {
            Ok(line) => devices.entry(Some(line.device.clone())).or_default().add(&line),
            Err(_) => devices.entry(None).or_default().logs.push(unread(line)),
        }
    }
    let scope = scope();
    let (mut logs, mut metrics) = (ExportLogs::default(), ExportMetrics::default());
    for (device, told) in devices {
        let resource = resource(device.as_deref());
        if !told.logs.is_empty() {
            let scope_logs = vec![ScopeLogs { scope: Some(scope.clone()), log_records: told.logs }];
            let of_device = ResourceLogs { resource: Some(resource.clone()), scope_logs };
            logs.resource_logs.push(of_device);
        }
        let found = told.metrics.into_messages();
        if !found.is_empty() {
            let scope_metrics = vec![ScopeMetrics { scope: Some(scope.clone()), metrics: found }];
            let of_device = ResourceMetrics { resource: Some(resource), scope_metrics };
            metrics.resource_metrics.push(of_device);
        }
    }
    (logs, metrics)
}

pub(super) fn resource(device: Option<&str>) -> Resource {
    let mut attributes =
        vec![attribute("service.name", "eir"), attribute("service.version", VERSION)];
    for key in ["service.instance.id", "host.name"] {
        attributes.extend(device.map(|device| attribute(key, device)));
    }
    Resource { attributes }
}

pub(super) fn compress(message: &impl Message) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&message.encode_to_vec())?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{AnyKind, AnyValue, KeyValue, Points};
    use super::*;

    const SPREAD: &str = r#"{"count":4,"min":0.1,"max":0.9,"mean":0.5,"p05":0.1,"p50":0.5,"p95":0.9,
        "p99":0.9,"sketch":"AA=="}"#;

    fn line(kind: &str, at: &str, body: &str) -> String {
        let body = body.replace('\n', " ");
        format!(
            "{{\"v\":1,\"id\":\"018f\",\"origin\":null,\"device\":\"press-07\",\"epoch\":7,\"seq\":3,\
             \"at\":\"2026-03-01T{at}Z\",\"kind\":\"{kind}\",\"body\":{body}}}\n"
        )
    }

    fn summary() -> String {
        format!(
            r#"{{"from":"2026-03-01T10:00:00Z","to":"2026-03-01T10:01:00Z","seconds":60.0,"late":false,
            "pipeline":"bearing","model":"bearing","version":1,"engine":"ort","messages":5,"bytes":50,
            "dropped":{{"drop_oldest":2}},"errors":{{}},"inferences":4,"decisions":{{"fault":1}},
            "classes":{{"healthy":3,"inner":1}},"score":{SPREAD},"latency":null,
            "drift":{{"score":{{"psi":0.5,"reading":"large"}},
                      "input":[{{"channel":2,"psi":0.25,"reading":"moderate"}}]}},
            "groups":{{"a":{{"inferences":4,"decisions":{{}},"classes":{{}},"score":null,"latency":{SPREAD},
            "drift":null}}}}}}"#
        )
    }

    /// Every point as text: name, attributes, from, to (seconds of the day), value.
    fn points(metrics: &ExportMetrics) -> Vec<String> {
        let scopes = metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let told = |name: &str, of: &[KeyValue], from: u64, to: u64, value: String| {
            let word = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.kind.clone())
            {
                Some(AnyKind::Text(text)) => text,
                other => format!("{other:?}"),
            };
            let of: Vec<_> = of.iter().skip(4).map(|pair| word(&pair.value)).collect();
            let second = |nanoseconds: u64| nanoseconds / 1_000_000_000 % 86_400;
            format!("{name} {} {}-{} {value}", of.join(","), second(from), second(to))
        };
        let metrics = scopes.flat_map(|scope| &scope.metrics);
        let points = metrics.flat_map(|metric| match metric.points.as_ref().expect("points") {
            Points::Sum(sum) => {
                assert!((sum.aggregation_temporality, sum.is_monotonic) == (1, true));
                let points = sum.data_points.iter();
                points
                    .map(|p| {
                        let value = format!("{:?}", p.value);
                        let (from, to) = (p.start_time_unix_nano, p.time_unix_nano);
                        told(&metric.name, &p.attributes, from, to, value)
                    })
                    .collect::<Vec<_>>()
            }
            Points::Gauge(gauge) => {
                let points = gauge.data_points.iter();
                points
                    .map(|p| {
                        let value = format!("{:?}", p.value);
                        told(&metric.name, &p.attributes, 0, p.time_unix_nano, value)
                    })
                    .collect()
            }
            Points::Summary(summary) => {
                let points = summary.data_points.iter();
                points
                    .map(|p| {
                        let quantiles = p.quantile_values.len();
                        let value = format!("{} {} {quantiles}", p.count, p.sum);
                        let (from, to) = (p.start_time_unix_nano, p.time_unix_nano);
                        told(&metric.name, &p.attributes, from, to, value)
                    })
                    .collect()
            }
        });
        points.collect()
    }

    #[test]
    fn a_summary_is_metrics_alone() {
        let (logs, metrics) = export(line("summary", "10:01:00.2", &summary()).as_bytes());
        assert_eq!(logs.resource_logs, []);
        let wanted = [
            "eir.bytes  36000-36060 Some(Int(50))",
            "eir.classes healthy 36000-36060 Some(Int(3))",
            "eir.classes inner 36000-36060 Some(Int(1))",
            "eir.decisions fault 36000-36060 Some(Int(1))",
            "eir.dropped drop_oldest 36000-36060 Some(Int(2))",
            "eir.group.inferences a 36000-36060 Some(Int(4))",
            "eir.inferences  36000-36060 Some(Int(4))",
            "eir.messages  36000-36060 Some(Int(5))",
            "eir.drift.psi score 0-36060 Some(Double(0.5))",
            "eir.drift.psi input,Some(Int(2)) 0-36060 Some(Double(0.25))",
            "eir.group.latency a 36000-36060 4 2 6",
            "eir.score  36000-36060 4 2 6",
        ];
        assert_eq!(points(&metrics), wanted);
    }

    #[test]
    fn two_parts_of_one_window_are_two_points() {
        let first = line("summary", "10:00:20", &summary());
        let both = first + &line("summary", "10:01:00", &summary());
        let (_, metrics) = export(both.as_bytes());
        let messages = points(&metrics).into_iter().filter(|p| p.starts_with("eir.messages"));
        let wanted =
            ["eir.messages  36000-36020 Some(Int(5))", "eir.messages  36000-36060 Some(Int(5))"];
        assert_eq!(messages.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn health_is_told_twice_and_a_board_may_be_silent() {
        let health = r#"{"temperature_celsius":48.5,"throttled":null,"load":[0.5,1.0,2.0],
            "memory":{"total_bytes":4,"available_bytes":3,"resident_bytes":null},"disk":null,
            "clock_synced":true,"uptime_seconds":9.5,"pipelines":{}}"#;
        let silent = r#"{"temperature_celsius":null,"load":null,"memory":null,"disk":null,
            "uptime_seconds":null}"#;
        let (logs, metrics) = export(line("health", "10:01:00", health).as_bytes());
        assert_eq!(logs.resource_logs[0].scope_logs[0].log_records.len(), 1);
        assert_eq!(points(&metrics).len(), 7, "{:?}", points(&metrics));
        let (logs, metrics) = export(line("health", "10:01:00", silent).as_bytes());
        assert_eq!((logs.resource_logs.len(), metrics.resource_metrics.len()), (1, 0));
    }

    #[test]
    fn what_is_not_understood_is_a_log_record_with_all_of_it() {
        let strange = [
            line("summary", "10:00:00", "{\"pipeline\":\"x\"}"),
            line("health", "10:00:00", "[1]"),
            line("census", "10:00:00", "null"),
            "{\"no\":\"record\"}\n".to_owned(),
            "\u{fe}\n".to_owned(),
        ];
        let (logs, metrics) = export(strange.concat().as_bytes());
        assert_eq!(metrics.resource_metrics, []);
        let all = logs.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        let all = all.flat_map(|scope| &scope.log_records);
        let mut names: Vec<_> = all.map(|log| log.event_name.as_str()).collect();
        names.sort_unstable();
        let wanted = ["eir.census", "eir.health", "eir.summary", "eir.unread", "eir.unread"];
        assert_eq!(names, wanted);
    }

    proptest! {
        #[test]
        fn any_bytes_are_packed(bytes in any::<Vec<u8>>(), body in "[\\[\\]{}\":,0-9a-z]{0,20}") {
            prop_assert!(pack(&bytes).is_ok());
            prop_assert!(pack(line("summary", "10:00:00", &body).as_bytes()).is_ok());
        }
    }
}
