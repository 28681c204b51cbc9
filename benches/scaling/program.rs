//! The program with so many of everything, and a load whose every message decides.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::model;
use super::wire::{self, Reader};

/// Messages on their way at a time.
const WINDOW: u64 = 500;

/// Who has not decided by then never will; valgrind takes its time.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many there are of what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Over all pipelines, each of which has as many.
    pub(crate) streams: usize,
    pub(crate) pipelines: usize,
    /// Pipelines take them in turns.
    pub(crate) models: usize,
    /// Of each pipeline.
    pub(crate) rules: usize,
}

/// A running one; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Option<Child>,
    packets: Vec<Vec<u8>>,
    sender: TcpStream,
    decisions: Reader,
    sent: u64,
    came: u64,
    counted: bool,
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _waited = child.wait();
        }
    }
}

impl Program {
    /// Starts it in `place`, under callgrind if its instructions are to be counted, and waits for its first decision.
    pub(crate) fn start(shape: Shape, (place, port): (&Path, u16), counted: bool) -> Self {
        let models = place.join("models");
        for number in 0..shape.models {
            let named = models.join(format!("m{number}"));
            if !named.exists() {
                model::write(&models);
                std::fs::rename(models.join(model::NAME), named).expect("a model");
            }
        }
        let file = place.join("eir.toml");
        let text = configuration(shape, &models, port);
        eir::disk::replace(&file, text.as_bytes()).expect("a configuration");
        let program = env!("CARGO_BIN_EXE_eir");
        let mut command = if counted {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", program]);
            command
        } else {
            Command::new(program)
        };
        command.arg("run").arg("--config").arg(file).env("ORT_DISABLE_TELEMETRY", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(if counted { Stdio::piped() } else { Stdio::null() });

        let name = format!("scaling-{}", another());
        let mut reader = wire::connect(port, &format!("{name}-reads")).expect("the broker");
        wire::subscribe(&mut reader, "out", 0).expect("a subscription");
        reader.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        let sender = wire::connect(port, &format!("{name}-sends")).expect("the broker");
        let vector = &model::vectors(1);
        let numbers = vector.as_f32().expect("floats");
        let payload = serde_json::json!({ "x": numbers }).to_string();
        let packets = (0..shape.streams).map(|stream| {
            let topic = format!("in/{}/{stream}", stream % shape.pipelines);
            wire::publish(&topic, payload.as_bytes(), 0).0
        });
        let mut started = Self {
            child: Some(command.spawn().expect("the program")),
            packets: packets.collect(),
            sender,
            decisions: Reader::new(reader),
            sent: 0,
            came: 0,
            counted,
        };
        started.wait_for_start();
        started
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Sends to each stream until all have decided, so that nothing is to be made any more.
    fn wait_for_start(&mut self) {
        let end = Instant::now() + PATIENCE;
        while self.came == 0 {
            assert!(Instant::now() < end, "no decision came");
            self.send(1);
            self.read();
        }
        // What was sent before the subscription is lost; what was sent behind it comes.
        self.settle();
        self.decide(2 * self.packets.len() as u64);
    }

    fn settle(&mut self) {
        loop {
            let before = self.came;
            self.read();
            if self.came == before {
                break;
            }
        }
        (self.sent, self.came) = (0, 0);
    }

    fn send(&mut self, count: u64) {
        for number in self.sent..self.sent + count {
            let next = usize::try_from(number).expect("64 bits") % self.packets.len();
            self.sender.write_all(&self.packets[next]).expect("the broker");
        }
        self.sent += count;
    }

    /// Reads what is there, or waits for a moment.
    fn read(&mut self) {
        let came = &mut self.came;
        // Nothing came in time: who counts sees it.
        let _in_time = self.decisions.read(|_| *came += 1).is_ok();
    }

    /// Sends so many with a window of them on their way, and waits for all decisions.
    pub(crate) fn decide(&mut self, count: u64) {
        let (until, end) = (self.sent + count, Instant::now() + PATIENCE);
        while self.came < until {
            assert!(Instant::now() < end, "{} of {until} decided", self.came);
            let room = WINDOW.saturating_sub(self.sent - self.came).min(until - self.sent);
            self.send(room);
            self.read();
        }
    }

    /// Sends so many a second, and reads what comes.
    pub(crate) fn pace(&mut self, rate: u32, time: Duration) {
        let (begin, base) = (Instant::now(), self.sent);
        while begin.elapsed() < time {
            let micros = u64::try_from(begin.elapsed().as_micros()).expect("short");
            let due = base + micros * u64::from(rate) / 1_000_000;
            self.send(due.saturating_sub(self.sent));
            if self.came < self.sent {
                self.read();
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Ends it in order; its instructions.
    pub(crate) fn count(mut self) -> u64 {
        assert!(self.counted, "it runs without valgrind");
        let child = self.child.take().expect("it runs");
        let ended = Command::new("kill").arg(child.id().to_string()).status();
        assert!(ended.is_ok_and(|status| status.success()), "it cannot be ended");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let counted = said.split_once("Collected : ").and_then(|(_, rest)| rest.lines().next());
        let counted = counted.and_then(|count| count.trim().parse().ok());
        assert!(counted.is_some(), "callgrind says nothing: {said}");
        counted.unwrap_or_default()
    }
}

fn configuration(shape: Shape, models: &Path, port: u16) -> String {
    let mut text = format!(
        "[device]\nid = \"bench\"\n[log]\nlevel = \"warn\"\n\
         [models]\ndir = {:?}\nort = {{ intra_threads = 1 }}\n\
         [mqtt.local]\nurl = \"mqtt://127.0.0.1:{port}\"\n",
        models.display().to_string(),
    );
    for pipeline in 0..shape.pipelines {
        let model = pipeline % shape.models;
        let _infallible = write!(
            text,
            "[pipeline.p{pipeline}]\n\
             input = {{ mqtt = {{ broker = \"local\", topic = \"in/{pipeline}/+\", qos = 0 }} }}\n\
             decode = {{ json = {{ fields = [\"/x\"] }} }}\nmodel = \"m{model}\"\n\
             queue = {{ capacity = 8192, when_full = \"drop_oldest\" }}\nactions = {{ queue = 8192 }}\n\
             [pipeline.p{pipeline}.rule.r0]\nwhen = \"true\"\nuntil = \"true\"\nrecord = false\n\
             do = [{{ publish = {{ broker = \"local\", topic = \"out\" }} }}]\n"
        );
        for rule in 1..shape.rules {
            let (place, limit) = (rule % model::CLASSES, 100 + rule);
            let _infallible = write!(
                text,
                "[pipeline.p{pipeline}.rule.r{rule}]\nwhen = \"values[{place}] > {limit}.0\"\nrecord = false\n"
            );
        }
    }
    text
}

/// Another client each time.
fn another() -> u128 {
    std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_nanos()
}
