//! The numbers of a `health` record as gauges.

use jiff::Timestamp;
use serde::Deserialize;

use super::metric::Metrics;
use super::value::attribute;

/// The body of a `health` record, as far as it is numbers; null where the board does not tell.
#[derive(Debug, Deserialize)]
pub(super) struct Health {
    temperature_celsius: Option<f64>,
    load: Option<[f64; 3]>,
    memory: Option<Memory>,
    disk: Option<Disk>,
    uptime_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Memory {
    #[serde(rename = "total_bytes")]
    total: u64,
    #[serde(rename = "available_bytes")]
    available: u64,
    #[serde(rename = "resident_bytes")]
    resident: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Disk {
    total_bytes: u64,
    available_bytes: u64,
}

impl Health {
    /// Adds what it tells of the moment `at`.
    pub(super) fn tell(&self, at: Timestamp, metrics: &mut Metrics) {
        let (memory, disk) = (self.memory.as_ref(), self.disk.as_ref());
        let bytes = |bytes: u64| bytes as f64;
        let numbers = [
            (("eir.temperature", "Cel"), self.temperature_celsius),
            (("eir.memory.total", "By"), memory.map(|memory| bytes(memory.total))),
            (("eir.memory.available", "By"), memory.map(|memory| bytes(memory.available))),
            (("eir.memory.resident", "By"), memory.and_then(|m| m.resident).map(bytes)),
            (("eir.disk.total", "By"), disk.map(|disk| bytes(disk.total_bytes))),
            (("eir.disk.available", "By"), disk.map(|disk| bytes(disk.available_bytes))),
            (("eir.uptime", "s"), self.uptime_seconds),
        ];
        for (instrument, number) in numbers {
            if let Some(number) = number {
                metrics.set(instrument, at, Vec::new(), number);
            }
        }
        for (minutes, load) in [1, 5, 15].into_iter().zip(self.load.into_iter().flatten()) {
            metrics.set(("eir.load", "1"), at, vec![attribute("minutes", minutes)], load);
        }
    }
}
