//! The load: what is sent, when, and what comes back. It runs on the same cores as what it measures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::id;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use super::process;
use super::subject::{Running, Subject};
use super::wire::{self, Reader};
use super::workload::{Case, FIRST, Workload};

/// Who has not decided by then never will.
const PATIENCE: Duration = Duration::from_mins(1);

/// After the last message, decisions are waited for no longer.
const GRACE: Duration = Duration::from_millis(800);

/// Sensor messages that are written with one call, as many as go through.
const CHUNK: u64 = 40;

/// The end of a wait is waited for awake: the kernel wakes late.
const AWAKE: Duration = Duration::from_micros(80);

/// Who decides nothing for so long lost what was on its way.
const STALL: Duration = Duration::from_secs(5);

/// How a sensor's message begins, and how long its number is.
const BEFORE_NUMBER: &str = r#"{"seq":"#;
const DIGITS: usize = 10;

/// Room for decisions that nobody has looked at.
const SEEN: usize = 1 << 20;

/// A decision: the number of its message where it has one, and when it came.
type Seen = (Option<u64>, Instant);

/// What one subject did in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// Milliseconds from start to the first decision.
    pub(crate) start: f64,
    /// Milliseconds from when a message was due to its decision, at a fixed rate.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Messages a second, as many as go through.
    pub(crate) per_second: f64,
    /// Seconds of CPU for 100,000 messages, or 1,000 frames, meanwhile; and at the fixed rate.
    pub(crate) cpu: f64,
    pub(crate) cpu_calm: f64,
    /// MB at the end.
    pub(crate) resident: f64,
    /// The part of a core that the load took.
    pub(crate) own: f64,
    /// Messages that were due a decision and got none.
    pub(crate) lost: u64,
}

/// How long each part takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) calm: Duration,
    pub(crate) before: Duration,
    pub(crate) busy: Duration,
}

/// The two ends of one subject: its messages go in here and its decisions come out.
#[derive(Debug)]
struct Ends {
    case: Case,
    /// Each message as it is written, and where its payload begins.
    packets: Vec<(Vec<u8>, usize)>,
    sender: TcpStream,
    seen: Receiver<Seen>,
    /// Messages, ever.
    sent: u64,
    /// Decisions that should come, and those that came, since they were counted last.
    due: u64,
    came: u64,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a subject, measures it and ends it.
pub(crate) fn measure(
    (subject, case): (Subject, Case),
    work: &Workload,
    (place, port): (&Path, u16),
    pace: Pace,
) -> Found {
    let mut ends = Ends::open((subject, case), work, port);
    let began = Instant::now();
    let running = Running::start((subject, case), work, (place, port));
    let mut found = Found::default();
    if let Some(first) = ends.first() {
        found.start = millis(first - began);
        ends.settle();
        ends.measure(&running, pace, &mut found);
    } else {
        found.lost = ends.sent;
    }
    drop(running);
    ends.close();
    found
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Ends {
    fn open((subject, case): (Subject, Case), work: &Workload, port: u16) -> Self {
        let word = subject.word();
        let mut reader = wire::connect(port, &format!("bench-{word}-reads")).expect("the broker");
        wire::subscribe(&mut reader, &format!("{word}/out"), case.qos).expect("a subscription");
        let sender = wire::connect(port, &format!("bench-{word}-sends")).expect("the broker");
        // Nobody waits for what the broker says to these: it is read and forgotten.
        let mut answers = sender.try_clone().expect("a handle");
        let forget = spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while answers.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let (decided, seen) = sync_channel(SEEN);
        let read = spawn(move || read(Reader::new(reader), &decided));
        let packet = |(level, payload): &(String, Vec<u8>)| {
            wire::publish(&format!("{word}/in/{level}"), payload, case.qos)
        };
        let packets = work.messages.iter().map(packet).collect();
        Self { case, packets, sender, seen, sent: 0, due: 0, came: 0, threads: vec![forget, read] }
    }

    /// The reader ends with its connection, and the connection with the broker's side of it.
    fn close(self) {
        drop(self.seen);
        let _gone = self.sender.shutdown(std::net::Shutdown::Both);
        let [forget, _] = self.threads.try_into().expect("two");
        forget.join().expect("a thread");
    }

    fn measure(&mut self, running: &Running, pace: Pace, found: &mut Found) {
        let Case { share, .. } = self.case;
        let unit = self.case.unit();
        let cpu = || process::cpu(&process::tree(running.id()));
        let per = |from: Duration, messages: u64| {
            cpu().saturating_sub(from).as_secs_f64() * unit / messages as f64
        };
        let (before, sent) = (cpu(), self.sent);
        let mut took = self.calm(pace.calm);
        found.cpu_calm = per(before, self.sent - sent);
        took.sort_unstable();
        let at = |percent| took.get(took.len() * percent / 100).copied().map_or(f64::NAN, millis);
        (found.p50, found.p99) = (at(50), at(99));
        found.lost += self.settle();

        let mut before = (Duration::ZERO, Duration::ZERO);
        let decided = self.busy(pace, || before = (cpu(), process::cpu(&[id()])));
        let time = pace.busy.as_secs_f64();
        found.own = process::cpu(&[id()]).saturating_sub(before.1).as_secs_f64() / time;
        found.per_second = (decided * share) as f64 / time;
        found.cpu = per(before.0, decided * share);
        found.lost += self.settle();
        found.resident = process::memory(&process::tree(running.id())).resident;
    }

    /// Sends so many, each with the next number.
    fn send(&mut self, count: u64) {
        let mut bytes = Vec::new();
        for number in self.sent..self.sent + count {
            let next = usize::try_from(number).expect("64 bits") % self.packets.len();
            let (packet, payload) = &mut self.packets[next];
            if self.case.is_numbered() {
                let place = *payload + BEFORE_NUMBER.len();
                packet[place..place + DIGITS]
                    .copy_from_slice((FIRST + number).to_string().as_bytes());
            }
            bytes.extend_from_slice(packet);
        }
        self.sender.write_all(&bytes).expect("the broker");
        // The last of each `share` messages is a decision.
        let decisions = |sent: u64| sent / self.case.share;
        self.due += decisions(self.sent + count) - decisions(self.sent);
        self.sent += count;
    }

    /// The next decision, if it comes in time.
    fn next(&mut self, patience: Duration) -> Option<Seen> {
        let seen = self.seen.recv_timeout(patience).ok()?;
        self.came += 1;
        Some(seen)
    }

    /// Sends until there is a decision, and says when that was.
    fn first(&mut self) -> Option<Instant> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(self.case.share);
            if let Some((_, at)) = self.next(Duration::from_millis(2)) {
                return Some(at);
            }
        }
        None
    }

    /// Waits until no more decisions come; how many are missing since this was asked last.
    fn settle(&mut self) -> u64 {
        while self.next(GRACE).is_some() {}
        let missing = self.due.saturating_sub(self.came);
        (self.due, self.came) = (0, 0);
        missing
    }

    /// Sends at a fixed rate, whatever comes back; how long each decision took from when its message was due.
    fn calm(&mut self, time: Duration) -> Vec<Duration> {
        let rate = self.case.rate();
        let count = rate * u32::try_from(time.as_secs()).expect("short");
        let (base, start) = (self.sent, Instant::now());
        let due = |number: u64| {
            start + Duration::from_secs(1) * u32::try_from(number).expect("few") / rate
        };
        let is_numbered = self.case.is_numbered();
        let mut took = Vec::new();
        let mut note = |(number, at): Seen, place: usize| {
            assert!(number.is_some() || !is_numbered, "a decision does not say of which message");
            // One of before the start is late, and none of these.
            let place = number.map_or(Some(place as u64), |it| it.checked_sub(FIRST + base));
            took.extend(place.map(|place| at.saturating_duration_since(due(place))));
        };
        let mut place = 0;
        for number in 0..u64::from(count) {
            loop {
                let rest = due(number).saturating_duration_since(Instant::now());
                match rest.checked_sub(AWAKE) {
                    Some(rest) => {
                        if let Some(seen) = self.next(rest) {
                            note(seen, place);
                            place += 1;
                        }
                    }
                    None if rest.is_zero() => break,
                    None => std::hint::spin_loop(),
                }
            }
            self.send(1);
        }
        while let Some(seen) = self.next(GRACE) {
            note(seen, place);
            place += 1;
        }
        took
    }

    /// Keeps a window of messages on their way; how many decisions came in the time that counts.
    fn busy(&mut self, pace: Pace, begin: impl FnOnce()) -> u64 {
        let (window, share) = (self.case.window(), self.case.share);
        let chunk = if self.case.is_numbered() { CHUNK } else { 1 };
        let from = Instant::now() + pace.before;
        let until = from + pace.busy;
        let (mut begin, mut counted) = (Some(begin), 0);
        while Instant::now() < until {
            if Instant::now() >= from
                && let Some(begin) = begin.take()
            {
                begin();
            }
            if (self.due - self.came) * share + chunk <= window {
                self.send(chunk);
                continue;
            }
            let Some((_, at)) = self.next(STALL) else { break };
            counted += u64::from((from..until).contains(&at));
            while let Ok((_, at)) = self.seen.try_recv() {
                self.came += 1;
                counted += u64::from((from..until).contains(&at));
            }
        }
        counted
    }
}

/// Hands on each decision as it comes.
fn read(mut reader: Reader, decided: &SyncSender<Seen>) {
    let mut gone = false;
    while !gone {
        let read = reader.read(|payload| {
            gone |= decided.send((number(payload), Instant::now())).is_err();
        });
        gone |= read.is_err();
    }
}

/// The number of the message that a decision is about, behind the name that each program gives it.
fn number(payload: &[u8]) -> Option<u64> {
    let behind = |name: &str| {
        let at = payload.windows(name.len()).position(|found| found == name.as_bytes())?;
        // Python writes a blank first.
        payload.get(at + name.len()..)?.trim_ascii_start().get(..DIGITS)
    };
    let digits = behind(r#""seq":"#).or_else(|| behind(r#""origin":""#))?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
