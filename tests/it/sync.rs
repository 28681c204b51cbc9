//! From the outbox to clouds that fail in every way they can.

mod certificate;
mod device;
mod faults;
mod mqtt;
mod otlp;
mod rejected;
mod several;
mod tls;
mod uploads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eir::event::{Ack, Name};
use eir::outbox::{Draft, Kind, Outbox, OutboxConfig};
use eir::sync::{Cloud as Sync, CloudConfig, CloudStatus, HttpsUplink};
use eir::task::SystemClock;
use tempfile::TempDir;

use super::support::cloud::{Answer, Asked, Cloud, OK};
use super::support::tus::{self, Tus};
use super::support::within;

/// An outbox in a directory of its own.
struct Device {
    outbox: Outbox,
    _directory: TempDir,
}

impl Device {
    fn new(clouds: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("outbox.db");
        let config = OutboxConfig { path, ..OutboxConfig::default() };
        let clouds = clouds.iter().map(|cloud| name(cloud)).collect();
        let outbox = Outbox::start(&config, name("press-07"), clouds, Arc::new(SystemClock));
        Self { outbox, _directory: directory }
    }

    /// Takes in a decision for each word and waits until all are on disk; the ids of the records.
    async fn put(&self, words: impl IntoIterator<Item = String>) -> BTreeSet<String> {
        let (told, mut hear) = tokio::sync::mpsc::channel(1000);
        let put = |word: String| {
            let body = serde_json::value::to_raw_value(&word).expect("json");
            let at = "2026-03-01T10:00:00Z".parse().expect("time");
            let id = uuid::Uuid::now_v7();
            let draft = Draft { id, origin: None, at, kind: Kind::Decision, body };
            let told = told.clone();
            self.outbox.append(draft, Ack::new(move || told.try_send(()).expect("room")));
            id.to_string()
        };
        let ids: BTreeSet<_> = words.into_iter().map(put).collect();
        for _ in &ids {
            within("a record on disk", hear.recv()).await.expect("settled");
        }
        // When the second of two questions is answered, what was before the first is counted.
        let mut probe = self.outbox.reader(name("probe"));
        for _ in 0..2 {
            within("an answer", probe.next(1, 1)).await;
        }
        ids
    }

    /// Takes in a record and waits until it is on disk.
    async fn take(&self, kind: Kind, body: &str) -> String {
        let (told, mut hear) = tokio::sync::mpsc::channel(1);
        let body = serde_json::value::RawValue::from_string(body.to_owned()).expect("json");
        let at = "2026-03-01T10:00:00Z".parse().expect("time");
        let (id, origin) = (uuid::Uuid::now_v7(), Some("12:bearing".to_owned()));
        let draft = Draft { id, origin, at, kind, body };
        self.outbox.append(draft, Ack::new(move || told.try_send(()).expect("room")));
        within("a record on disk", hear.recv()).await.expect("settled");
        id.to_string()
    }

    async fn some(&self, count: usize) -> BTreeSet<String> {
        self.put((0..count).map(|number| format!("record {number}"))).await
    }

    /// Starts to send.
    fn sync(&self, cloud: &str, config: &CloudConfig) -> Sync {
        let uplink = HttpsUplink::new(config).expect("an uplink");
        Sync::start(config, uplink, self.outbox.reader(name(cloud)))
    }

    fn stored(&self) -> u64 {
        let status = self.outbox.status();
        status.waiting + status.stored.values().map(|amount| amount.records).sum::<u64>()
    }

    /// Waits until so many records are left.
    async fn holds(&self, count: u64) {
        let wait = async {
            while self.stored() != count || self.outbox.status().waiting > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{count} records in {:?}", self.outbox.status()), wait).await;
    }
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}

/// A cloud that is tried again at once.
fn config(url: &str) -> CloudConfig {
    let mut config = CloudConfig::new(url);
    config.max_delay = Duration::ZERO;
    config.timeout = Duration::from_millis(500);
    config.backoff.first = Duration::from_millis(1);
    config.backoff.max = Duration::from_millis(20);
    config.recheck = Duration::from_millis(20);
    config
}

fn set(ids: Vec<String>) -> BTreeSet<String> {
    ids.into_iter().collect()
}

async fn until(sync: &Sync, what: &str, met: impl Fn(&CloudStatus) -> bool) -> CloudStatus {
    let mut watch = sync.watch();
    let status = within(what, watch.wait_for(|status| met(status))).await;
    status.expect("a status").clone()
}
