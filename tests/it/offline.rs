//! A month without a cloud, in virtual time and little memory: the files stay within `[outbox] max`, memory does not
//! grow, whatever had to go is told of, and what is there leaves gently when the cloud is back.
//!
//! `EIR_OFFLINE_RECORDS` sets how many records that is (a month of five pipelines by default). It runs in a process of
//! its own, so that the cap on its memory is nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eir::event::{Ack, ByteSize, Input, Name, Order, Prediction, Samples};
use eir::outbox::{Draft, Inspector, Kind, Options, Outbox, OutboxConfig, Thinning};
use eir::summary::{Gatherer, Seen, merge, mergeable};
use eir::sync::{Batch, Cloud, CloudConfig, Encoding, Uplink, Verdict};
use eir::task::{Clock, SystemClock};
use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use uuid::Uuid;

use super::support::clock::Turned;

const NAME: &str = "offline::a_month_offline_takes_no_more_memory_and_disk_than_a_day";

/// Set in the process of its own.
const INSIDE: &str = "EIR_OFFLINE_INSIDE";

/// What the process may have for its data, stacks included.
const MEMORY: usize = 96 << 20;

/// How much memory may come and go once everything has been used: allocators keep some.
const WAVES: u64 = 6 << 20;

const PIPELINES: u64 = 5;

const A_DAY: u64 = 24 * 60;

/// So many minutes are written before anybody waits for the disk.
const TOGETHER: u64 = 10;

const MAX: usize = 16 << 20;

#[test]
fn a_month_offline_takes_no_more_memory_and_disk_than_a_day() {
    if std::env::var_os(INSIDE).is_some() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        // Waits between tries pass as soon as nobody has anything else to do.
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(month());
        return;
    }
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={MEMORY}")).arg("--");
    command.arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", NAME, "--nocapture"]).env(INSIDE, "1").stdin(Stdio::null());
    let output = command.output().expect("prlimit");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    eprintln!("{}", text(&output.stderr));
    let passed = output.status.success() && text(&output.stdout).contains("1 passed");
    assert!(passed, "{}: {}", output.status, text(&output.stdout));
}

async fn month() {
    let wanted = std::env::var("EIR_OFFLINE_RECORDS");
    let minutes = wanted
        .map_or(30 * A_DAY, |text| text.parse::<u64>().expect("a number").div_ceil(PIPELINES));
    let directory = tempfile::tempdir().expect("tempdir");
    let (clock, bodies) = (Turned::new(), bodies());
    let outbox = start(directory.path(), &clock);
    let started = SystemClock.now();

    let link = Arc::new(Link::default());
    let mut cloud = None;
    let (settled, mut durable) = mpsc::channel(1000);
    let (mut disk, mut memory) = (0, Memory::default());
    for minute in 0..minutes {
        clock.pass(Duration::from_mins(1));
        tell(&outbox, &bodies, clock.wall(), &settled);
        if minute % TOGETHER == TOGETHER - 1 || minute + 1 == minutes {
            for _ in 0..(minute % TOGETHER + 1) * PIPELINES {
                durable.recv().await.expect("settled");
            }
        }
        if minute % 60 == 0 {
            disk = disk.max(files(directory.path()));
        }
        if minute % A_DAY == 0 {
            // Somebody answers that nobody is there, and later there is no network at all.
            let day = minute / A_DAY;
            link.change(if day < 6 { Way::Nobody } else { Way::Down });
            cloud.get_or_insert_with(|| connect(&outbox, &link));
            link.turns.add_permits(1);
            // Until the outbox is full and everything has been used, memory grows by right.
            memory.look(minute >= minutes / 4);
        }
    }
    let seconds = (SystemClock.now() - started).as_secs_f64();
    let (records, status) = (minutes * PIPELINES, outbox.status());
    assert!(disk <= MAX as u64, "{disk} bytes on disk");
    assert!(memory.grew() <= WAVES, "{memory:?}");
    assert_eq!(status.problem, None);
    let gaps = status.stored.get(&Kind::Gap).map_or(0, |amount| amount.records);
    assert!(gaps < 20, "{gaps} gap records in the place of what could be kept");
    let findings = Inspector::open(outbox.path()).expect("open").verify().expect("verify");
    assert_eq!(findings, [], "something is missing without a word");
    eprintln!(
        "{records} records in {seconds:.1} s: {} kept, {} given up; {disk} bytes on disk at most; {memory:?}",
        status.kept(),
        status.dropped,
    );
    returns(&outbox, &link, records).await;
    memory.look(true);
    eprintln!("with the way back: {memory:?}");
    tokio::time::resume();
    drop(cloud);
    assert!(outbox.stop(Duration::from_mins(1)).await);
}

/// The cloud is there again.
async fn returns(outbox: &Outbox, link: &Link, records: u64) {
    let left = outbox.status().kept();
    let up = Instant::now();
    link.change(Way::Up);
    // The try that was under way when the link came up is for nothing.
    link.turns.add_permits(1);
    let patience = SystemClock.now() + Duration::from_mins(5);
    while outbox.status().kept() > 0 {
        assert!(SystemClock.now() < patience, "{:?}", outbox.status());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let seen = link.seen.lock().expect("seen");
    let first = seen.batches.first().expect("something came");
    assert!(first.0 - up <= Duration::from_secs(5), "asked after {:?}", first.0 - up);
    let sizes: Vec<_> = seen.batches.iter().map(|(_, size)| *size).collect();
    eprintln!("{left} left, first after {:?}: {sizes:?}", first.0 - up);
    // A batch may be twice as large each time, from a sixteenth of the largest on.
    let most = CloudConfig::new("https://c.example").max_records;
    let mut limit = most / 16;
    for size in &sizes {
        assert!(*size <= limit, "{sizes:?}");
        limit = most.min(limit * 2);
    }
    seen.judge(records);
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn start(directory: &Path, clock: &Arc<Turned>) -> Outbox {
    let path = directory.join("outbox.db");
    let config = OutboxConfig { path, max: ByteSize(MAX), ..OutboxConfig::default() };
    let options = Options { thinning: Some(Thinning { mergeable, merge }), ..Options::default() };
    Outbox::start_with(&config, name("press-07"), vec![name("main")], clock.clone(), options)
}

fn connect(outbox: &Outbox, link: &Arc<Link>) -> Cloud {
    let config = CloudConfig::new("https://c.example");
    let uplink = Wire(Arc::clone(link));
    Cloud::start(&config, uplink, outbox.reader(name("main")))
}

/// The summary of a minute of each pipeline, with a place for the time.
fn bodies() -> Vec<String> {
    let body = |pipeline: u64| {
        let gatherer = Gatherer::default();
        for number in 0..500_u16 {
            let part = f32::from(number % 97) / 1e3;
            let prediction = Prediction::Classification {
                label: if number % 50 == 0 { "inner_race" } else { "healthy" }.into(),
                score: 0.9 + part,
                scores: Vec::new(),
            };
            let input =
                Input::Samples(Samples { channels: 1, order: Order::Interleaved, values: vec![] });
            let latency = Duration::from_micros(300 + u64::from(number));
            gatherer.add(
                None,
                None,
                &Seen { input: &input, prediction: &prediction, latency, fired: &[] },
            );
        }
        let mut body = serde_json::to_value(gatherer.take()).expect("json");
        let more = serde_json::json!({
            "from": "FROM", "to": "TO", "seconds": 60.0, "late": false,
            "pipeline": format!("bearing-{pipeline}"), "model": "bearing", "version": 1, "engine": "ort",
            "messages": 500, "bytes": 2_379_500, "dropped": {}, "errors": {}
        });
        let fields = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(fields);
        body.to_string()
    };
    (0..PIPELINES).map(body).collect()
}

/// The minute that is over, told by every pipeline, and a word on `settled` for each of them when it is on disk.
fn tell(outbox: &Outbox, bodies: &[String], at: Timestamp, settled: &mpsc::Sender<()>) {
    let from = at - jiff::SignedDuration::from_mins(1);
    for body in bodies {
        let body = body.replace("FROM", &from.to_string()).replace("TO", &at.to_string());
        let body = RawValue::from_string(body).expect("json");
        let draft = Draft { id: Uuid::now_v7(), origin: None, at, kind: Kind::Summary, body };
        let settled = settled.clone();
        outbox.append(draft, Ack::new(move || settled.try_send(()).expect("room")));
    }
}

/// The bytes of the outbox's files, its log and that log's index included.
fn files(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).expect("directory");
    // The log's index comes and goes.
    entries.filter_map(|entry| entry.expect("entry").metadata().ok()).map(|file| file.len()).sum()
}

/// What the process has in memory, in bytes.
#[derive(Debug, Default)]
struct Memory {
    first: u64,
    most: u64,
    peak: u64,
}

impl Memory {
    fn look(&mut self, is_warm: bool) {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            let kib = line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok());
            kib.expect("a number") << 10
        };
        let now = field("VmRSS:");
        self.first = if is_warm && self.first > 0 { self.first } else { now };
        self.most = if is_warm { self.most.max(now) } else { 0 };
        self.peak = field("VmHWM:");
    }

    const fn grew(&self) -> u64 {
        self.most.saturating_sub(self.first)
    }
}

/// How the way to the cloud is.
#[derive(Debug, Clone, Copy, Default)]
enum Way {
    /// The network is there, and nobody answers.
    #[default]
    Nobody,
    Down,
    Up,
}

/// The way to the cloud, and the cloud. While it is away each try ends when a turn is given to it: a month of tries
/// is not what this is about.
struct Link {
    way: Mutex<Way>,
    turns: Semaphore,
    seen: Mutex<Arrived>,
}

impl Default for Link {
    fn default() -> Self {
        Self { way: Mutex::default(), turns: Semaphore::new(0), seen: Mutex::default() }
    }
}

impl Link {
    fn change(&self, way: Way) {
        *self.way.lock().expect("way") = way;
    }
}

struct Wire(Arc<Link>);

impl Uplink for Wire {
    const ENCODING: Encoding = Encoding::Zstd;

    async fn send(&self, batch: &Batch) -> (Verdict, usize) {
        let way = *self.0.way.lock().expect("way");
        let why = "away".to_owned();
        let verdict = match way {
            Way::Nobody => Verdict::Wait { why, after: None },
            Way::Down => Verdict::Offline { why },
            Way::Up => {
                self.0.seen.lock().expect("seen").take(batch);
                return (Verdict::Delivered, batch.body().len());
            }
        };
        self.0.turns.acquire().await.expect("a turn").forget();
        (verdict, 0)
    }
}

/// What came to the cloud.
#[derive(Debug, Default)]
struct Arrived {
    /// When, and how many records.
    batches: Vec<(Instant, usize)>,
    seqs: BTreeSet<u64>,
    /// How many records were told of as given up, by reason.
    told: BTreeMap<String, u64>,
    /// Minutes that summaries tell of, and how many of these were made of others.
    minutes: u64,
    merged: u64,
}

impl Arrived {
    fn take(&mut self, batch: &Batch) {
        self.batches.push((Instant::now(), batch.records()));
        let lines = zstd::stream::decode_all(batch.body().as_ref()).expect("zstd");
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_slice(line).expect("json");
            let (body, seq) = (&record["body"], record["seq"].as_u64().expect("seq"));
            assert!(self.seqs.insert(seq), "{seq} came twice, though nothing went wrong");
            if record["kind"] == "gap" {
                let reason = body["reason"].as_str().expect("reason").to_owned();
                let number = |key: &str| body[key].as_u64();
                // A gap record that was itself given up: of what it told is told again.
                let told = number("told").unwrap_or(0) + number("count").expect("count");
                *self.told.entry(reason).or_default() += told;
            } else {
                let merged = body["merged"].as_u64();
                self.minutes += merged.unwrap_or(1);
                self.merged += u64::from(merged.is_some());
            }
        }
    }

    /// Every place that is empty is told of.
    fn judge(&self, records: u64) {
        let last = *self.seqs.last().expect("records");
        let (empty, told) = (last - self.seqs.len() as u64, self.told.values().sum::<u64>());
        eprintln!(
            "{empty} places of {last} empty, {told} told of ({:?}); {} minutes, {} records made of others",
            self.told, self.minutes, self.merged
        );
        assert!(empty <= told, "{empty} empty, {told} told of");
        // Where there was room for hours, no minute is missing, and none counts twice.
        let only_merged = self.told.keys().all(|reason| reason == "downsampled");
        assert!(!only_merged || self.minutes == records, "{} of {records} minutes", self.minutes);
    }
}
