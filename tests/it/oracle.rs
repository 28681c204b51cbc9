//! The promise that nothing acknowledged is lost, put to the test: a real broker, a publisher of numbered messages, eir
//! as a process, a cloud that fails in every way, and a tormentor of all of them. In the end everything that the
//! broker acknowledged to the publisher is at the cloud, nothing else is, and in order.
//!
//! `EIR_TORTURE_SECONDS` sets how long (20 by default; `make torture` takes ten minutes), `EIR_TORTURE_SEED` which way. Only
//! where the time is set the disk is filled, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eir::mqtt::{QoS, Version};
use eir::outbox::Inspector;
use eir::task::{Clock, Group, SystemClock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::outbox::{subscribed, verify, with_outbox};
use super::support::cloud::{Answer, Asked, Cloud, OK};
use super::support::mqtt::{self, Client};
use super::support::{Mosquitto, Peer, Process, site, within};

/// The number of the messages that only look whether the device has subscribed.
const PROBE: u64 = 1_000_000;

/// What the cloud has seen.
#[derive(Default)]
struct Ledger {
    /// By place, of the records that it said yes to: kind, and number of the message.
    yes: BTreeMap<(u64, u64), (String, Option<u64>)>,
    /// The numbers in all that it was ever sent.
    sent: BTreeSet<u64>,
    /// Gaps that tell of decisions.
    gaps: Vec<serde_json::Value>,
}

impl Ledger {
    fn note(&mut self, asked: &Asked, yes: bool) {
        for record in &asked.records {
            let number = |record: &serde_json::Value| {
                record["origin"].as_str()?.strip_suffix(":bearing:fault")?.parse().ok()
            };
            let (kind, number) = (record["kind"].as_str().expect("kind"), number(record));
            self.sent.extend(number);
            if kind == "gap" && record["body"]["kind"] == "decision" {
                self.gaps.push(record["body"].clone());
            }
            if yes {
                let part = |key: &str| record[key].as_u64().expect(key);
                self.yes.insert((part("epoch"), part("seq")), (kind.to_owned(), number));
            }
        }
    }

    fn arrived(&self) -> BTreeSet<u64> {
        self.yes.values().filter_map(|(_, number)| *number).collect()
    }

    /// The number of each message where it came first, in the order of the records.
    fn in_order(&self) -> Vec<u64> {
        let mut seen = BTreeSet::new();
        let numbers = self.yes.values().filter_map(|(_, number)| *number);
        numbers.filter(|number| *number != PROBE && seen.insert(*number)).collect()
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Says yes half of the time, and the worst otherwise. It does not lie about what it never takes: a record that
/// is too large twice, others accepted in between, is given up by right.
fn answer(rng: &mut StdRng, asked: &Asked) -> (Answer, bool) {
    match rng.random_range(0..20) {
        0..10 => (OK, true),
        10 => (Answer::Status(500, "", ""), false),
        11 => (Answer::Status(429, "Retry-After: 0\r\n", ""), false),
        12 if asked.records.len() > 1 => (Answer::Status(413, "", ""), false),
        13 => (Answer::Status(401, "", ""), false),
        14 => (Answer::Status(200, "Content-Type: text/html\r\n", "<html>log in</html>"), false),
        15 => (Answer::Drip, false),
        16 => (Answer::Silence, false),
        17 => (Answer::Endless, true),
        // It took them, and the answer is lost on the way.
        _ => (Answer::Reset, false),
    }
}

/// Starts the service; where a file may not grow, that is an error and no signal.
fn run(file: &Path) -> Process {
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; exec \"$0\" run --config \"$1\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_eir")]).arg(file);
    Process::spawn(command)
}

/// How large a file of the process may grow: with 64 KiB the disk is as good as full.
fn limit_files(process: &Process, bytes: &str) {
    let pid = process.id().to_string();
    // It may have just been killed.
    let _done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}")]).output();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_and_nothing_invented() {
    let seconds = setting("EIR_TORTURE_SECONDS", 20);
    let seed = setting("EIR_TORTURE_SEED", 1);
    let mut rng = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().expect("tempdir");
    let kept = directory.path().join("broker");
    std::fs::create_dir(&kept).expect("directory");
    // A broker that is ended in order keeps the sessions of its clients.
    let lines = format!(
        "allow_anonymous true\nuser root\npersistence true\npersistence_location {}/\n",
        kept.display()
    );
    let mut broker = Mosquitto::with(&lines);

    let (ledger, calm) =
        (Arc::new(Mutex::new(Ledger::default())), Arc::new(AtomicBool::new(false)));
    let (book, peace) = (Arc::clone(&ledger), Arc::clone(&calm));
    let mut whims = StdRng::seed_from_u64(seed + 1);
    let cloud = Cloud::start(move |asked| {
        let (answer, yes) =
            if peace.load(Ordering::Relaxed) { (OK, true) } else { answer(&mut whims, asked) };
        book.lock().expect("ledger").note(asked, yes);
        answer
    })
    .await;

    let more = format!(
        "when_unwritable = \"hold\"\n[summary]\nevery = \"1s\"\n[cloud.main]\nurl = \"{}\"\n\
         max_records = 50\nmax_delay = \"10ms\"\ntimeout = \"300ms\"\nrecheck = \"1s\"\n\
         backoff = {{ first = \"5ms\", max = \"100ms\" }}",
        cloud.url()
    );
    let (file, path) = with_outbox(directory.path(), broker.port(), &more);
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    subscribed(&file, &mut peer).await.signal("TERM");
    let mut process = run(&file);
    drop(peer);

    let stop = Arc::new(AtomicBool::new(false));
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let client = Client::up("publisher", &mqtt::config(&url, Version::V5), &[]).await;
    let (count, published) = tokio::sync::oneshot::channel();
    let mut publisher = Group::default();
    let stopped = Arc::clone(&stop);
    publisher.spawn("publisher", async move {
        count.send(publish(client, stopped).await).expect("somebody wants to know");
    });
    let end = SystemClock.now() + Duration::from_secs(seconds);
    let mut torments = BTreeMap::<&str, u32>::new();
    while SystemClock.now() < end {
        tokio::time::sleep(Duration::from_millis(rng.random_range(200..2200))).await;
        cloud.forget();
        let torment;
        (process, torment) = self::torment(&mut rng, process, &mut broker, &file).await;
        *torments.entry(torment).or_default() += 1;
    }
    limit_files(&process, "unlimited");
    calm.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let published = within("the last word of the broker", published).await.expect("publisher");

    let patience = SystemClock.now() + Duration::from_secs(setting("EIR_TORTURE_PATIENCE", 120));
    let missing = || -> BTreeSet<u64> {
        let arrived = ledger.lock().expect("ledger").arrived();
        (0..published).filter(|number| !arrived.contains(number)).collect()
    };
    while !missing().is_empty() && SystemClock.now() < patience {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let missing = missing();
    let outbox = Inspector::open(&path).expect("outbox").contents().expect("contents");
    if !missing.is_empty() {
        process.signal("TERM");
        let (status, log) = process.ended().await;
        panic!("lost of {published} after {torments:?}: {missing:?}; {outbox:?}\n{status}\n{log}");
    }
    assert_eq!(outbox.dead, 0, "{outbox:?}");
    judge(&ledger.lock().expect("ledger"), published);
    process.signal("TERM");
    let (status, log) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    verify(&path);
    let records = ledger.lock().expect("ledger").yes.len();
    eprintln!("{published} messages, {records} records; {torments:?}; 0 lost, 0 invented");
}

/// Does something bad, and says what. The process may be another one then.
async fn torment(
    rng: &mut StdRng,
    process: Process,
    broker: &mut Mosquitto,
    file: &Path,
) -> (Process, &'static str) {
    let kinds = if std::env::var_os("EIR_TORTURE_SECONDS").is_some() { 10 } else { 8 };
    match rng.random_range(0..kinds) {
        kind @ (0..6 | 7) => {
            let (signal, word) = if kind == 7 { ("TERM", "restart") } else { ("KILL", "kill") };
            process.signal(signal);
            process.ended().await;
            (run(file), word)
        }
        6 => {
            broker.end();
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..1000))).await;
            broker.start_again();
            (process, "broker")
        }
        8 => {
            limit_files(&process, "65536");
            (process, "full disk")
        }
        _ => {
            limit_files(&process, "unlimited");
            (process, "room again")
        }
    }
}

/// Publishes one number after the other, each until the broker has acknowledged it; how many that were.
async fn publish(client: Client, stop: Arc<AtomicBool>) -> u64 {
    let template = site::window("outer_race", PROBE);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let payload = template.replace(&PROBE.to_string(), &number.to_string());
        let publish = mqtt::publish("plant/a/vibration", &payload, QoS::AtLeastOnce);
        if client.link.publish(publish).await.is_ok() {
            number += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    number
}

fn judge(ledger: &Ledger, published: u64) {
    // The last one may be with the broker although its word did not come.
    let invented: Vec<_> =
        ledger.sent.iter().filter(|number| **number > published && **number != PROBE).collect();
    assert!(invented.is_empty(), "invented: {invented:?}");
    assert!(ledger.gaps.is_empty(), "given up: {:?}", ledger.gaps);
    let order = ledger.in_order();
    assert!(order.is_sorted(), "out of order: {order:?}");
}

#[test]
fn the_ledger_knows_first_from_again() {
    let record = |seq: u64, number: u64| {
        serde_json::json!({ "kind": "decision", "epoch": 1, "seq": seq,
                            "origin": format!("{number}:bearing:fault") })
    };
    let records = vec![record(2, 7), record(1, 6), record(3, 6), record(4, 8)];
    let asked =
        Asked { number: 0, head: String::new(), key: String::new(), body: Vec::new(), records };
    let mut ledger = Ledger::default();
    ledger.note(&asked, true);
    assert_eq!(ledger.in_order(), [6, 7, 8]);
    assert_eq!(ledger.arrived(), BTreeSet::from([6, 7, 8]));
}
