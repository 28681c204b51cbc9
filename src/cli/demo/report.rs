//! The closing table, for a person and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::cloud::Received;
use crate::cli::table::{bytes, table, thousands};

/// What a run of the demo came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub seed: u64,
    pub pipelines: Vec<PipelineReport>,
    /// Payload bytes that came in: what a cloud would have needed.
    pub bytes_in: u64,
    /// Bytes of what was sent to the cloud, compressed.
    pub bytes_up: u64,
    pub cloud: Sent,
}

/// What became of the records.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sent {
    #[serde(flatten)]
    pub received: Received,
    /// For how long the cloud could not be reached.
    #[serde(skip)]
    pub outage: Option<Duration>,
    /// The most records that waited on disk meanwhile.
    #[serde(skip)]
    pub waited: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct PipelineReport {
    pub name: String,
    pub engine: String,
    pub messages: u64,
    pub decisions: usize,
    #[serde(skip)]
    pub events: usize,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl Report {
    /// The table that ends the demo.
    pub(super) fn to_text(&self) -> String {
        let header = [
            "pipeline",
            "engine",
            "messages",
            "decisions",
            "events",
            "precision",
            "recall",
            "p50 ms",
            "p99 ms",
        ];
        let rows: Vec<_> = self.pipelines.iter().map(PipelineReport::row).collect();
        let ratio = match self.bytes_up {
            0 => String::new(),
            up => format!(" (1 in {})", thousands(self.bytes_in / up)),
        };
        format!(
            "{}p50 and p99 are latency from publish to decision\n\nbytes in  {:>9}  what a cloud would have needed\nbytes up  {:>9}  what leaves the device{ratio}\n",
            table(&header, &rows),
            bytes(self.bytes_in),
            bytes(self.bytes_up),
        ) + &self.cloud.to_text()
    }
}

impl Sent {
    fn to_text(&self) -> String {
        let Received { records, again, missing, .. } = &self.received;
        let kinds: Vec<_> = records.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let mut text = format!(
            "records   {:>9}  at the cloud: {}; {missing} missing, {again} twice\n",
            records.values().sum::<u64>(),
            kinds.join(", "),
        );
        if let Some(outage) = self.outage {
            let (outage, waited) = (humantime::format_duration(outage), self.waited);
            text.extend([format!(
                "network           gone for {outage}; meanwhile {waited} records waited on disk\n"
            )]);
        }
        text
    }
}

impl PipelineReport {
    fn row(&self) -> Vec<String> {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
        vec![
            self.name.clone(),
            self.engine.clone(),
            thousands(self.messages),
            self.decisions.to_string(),
            self.events.to_string(),
            number(self.precision),
            number(self.recall),
            number(self.p50_ms),
            number(self.p99_ms),
        ]
    }
}
