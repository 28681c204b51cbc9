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
    let scope = Scope { name: "eir".to_owned(), version: VERSION.to_owned() };
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

fn resource(device: Option<&str>) -> Resource {
    let mut attributes =
        vec![attribute("service.name", "eir"), attribute("service.version", VERSION)];
    for key in ["service.instance.id", "host.name"] {
        attributes.extend(device.map(|device| attribute(key, device)));
    }
    Resource { attributes }
}

fn compress(message: &impl Message) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&message.encode_to_vec())?;
    encoder.finish()
}
