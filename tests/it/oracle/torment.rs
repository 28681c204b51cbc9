//! What is done to eir, its broker, its disk and its network.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use eir::task::{Clock, SystemClock};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::door::{Door, Manner};
use super::place::{End, Place, Wire};
use super::run;
use crate::support::{Mosquitto, Process};

/// How the network fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The link is down, and the system knows.
    Pulled,
    /// Packets vanish, and connections stay open for all that anybody knows.
    Swallowed,
}

/// One thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Kill,
    Restart,
    Broker,
    FullDisk,
    ReadOnlyDisk,
    Cut(Wire, Cut),
    NoName,
    Tls(Manner),
}

impl Card {
    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Broker => "broker",
            Self::FullDisk => "full disk",
            Self::ReadOnlyDisk => "read-only disk",
            Self::Cut(Wire::Cloud, Cut::Pulled) => "cloud unplugged",
            Self::Cut(Wire::Cloud, Cut::Swallowed) => "cloud in the void",
            Self::Cut(Wire::Broker, Cut::Pulled) => "broker unplugged",
            Self::Cut(Wire::Broker, Cut::Swallowed) => "broker in the void",
            Self::NoName => "no name",
            Self::Tls(Manner::Stranger) => "strange certificate",
            Self::Tls(_) => "no handshake",
        }
    }
}

/// What can be done anywhere. Kills come most often: they are what a moment matters to.
const ANYWHERE: [Card; 9] = [
    Card::Kill,
    Card::Kill,
    Card::Kill,
    Card::Kill,
    Card::Kill,
    Card::Restart,
    Card::Broker,
    Card::Tls(Manner::Stranger),
    Card::Tls(Manner::HangsUp),
];

/// What a long run has besides: hundreds of kills.
const MORE_KILLS: [Card; 5] = [Card::Kill; 5];

/// What takes namespaces.
const INSIDE: [Card; 6] = [
    Card::ReadOnlyDisk,
    Card::Cut(Wire::Cloud, Cut::Pulled),
    Card::Cut(Wire::Cloud, Cut::Swallowed),
    Card::Cut(Wire::Broker, Cut::Pulled),
    Card::Cut(Wire::Broker, Cut::Swallowed),
    Card::NoName,
];

/// Who does it. Each thing is done once, in no order, before any is done again.
pub(super) struct Tormentor {
    rng: StdRng,
    file: PathBuf,
    place: Option<Place>,
    door: Arc<Door>,
    deck: Vec<Card>,
    left: Vec<Card>,
    /// What goes on at the moment.
    going_on: Vec<Card>,
    done: BTreeMap<&'static str, u32>,
    rounds: u32,
    /// What the processes that have ended said.
    log: String,
}

impl Tormentor {
    /// `is_long`: there is time for many kills, and to fill the disk, as far as eir can tell.
    pub(super) fn new(
        rng: StdRng,
        file: PathBuf,
        place: Option<Place>,
        door: Arc<Door>,
        is_long: bool,
    ) -> Self {
        let mut deck = ANYWHERE.to_vec();
        deck.extend(place.iter().flat_map(|_| INSIDE));
        if is_long {
            deck.push(Card::FullDisk);
            deck.extend(MORE_KILLS);
        }
        let (left, going_on, done) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { rng, file, place, door, deck, left, going_on, done, rounds: 0, log: String::new() }
    }

    /// Starts the service where it belongs.
    pub(super) fn run(&self) -> Process {
        match &self.place {
            Some(place) => place.run(&self.file),
            None => run(Command::new("sh"), &self.file),
        }
    }

    /// How often each thing was done.
    pub(super) const fn done(&self) -> &BTreeMap<&'static str, u32> {
        &self.done
    }

    /// What the processes that have ended said.
    pub(super) fn log(&self) -> &str {
        &self.log
    }

    /// Everything that it can do was done.
    pub(super) const fn has_done_all(&self) -> bool {
        self.rounds > 1 || (self.rounds == 1 && self.left.is_empty())
    }

    /// What it can do and has not done, as far as anybody felt it.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let felt = |card: &Card| match card {
            Card::Tls(manner) => self.door.met(*manner) > 0,
            _ => self.done.contains_key(card.word()),
        };
        self.deck.iter().filter(|card| !felt(card)).map(|card| card.word()).collect()
    }

    /// A while in which nothing new happens.
    pub(super) async fn rest(&mut self, most: u64) {
        let while_ms = self.rng.random_range(most / 10..most);
        tokio::time::sleep(Duration::from_millis(while_ms)).await;
    }

    /// Does something bad. The process may be another one then.
    pub(super) async fn torment(
        &mut self,
        mut process: Process,
        broker: &mut Mosquitto,
    ) -> Process {
        // Troubles meet each other, but not so many that nothing ever works.
        if self.rng.random_bool(0.5) || self.going_on.len() > 2 {
            self.relent(&process);
        }
        if self.left.is_empty() {
            self.left.clone_from(&self.deck);
            self.left.shuffle(&mut self.rng);
            self.rounds += 1;
        }
        let Some(card) = self.left.pop() else { return process };
        *self.done.entry(card.word()).or_default() += 1;
        match card {
            Card::Kill => self.again(process, "KILL").await,
            Card::Restart => self.again(process, "TERM").await,
            Card::ReadOnlyDisk => {
                self.ends(process, "KILL").await;
                self.start(card);
                let mut process = self.run();
                process.says("Read-only file system").await;
                process
            }
            Card::Broker => {
                broker.end();
                self.rest(1000).await;
                broker.start_again();
                process
            }
            Card::FullDisk => {
                limit_files(&process, "65536");
                self.going_on.push(card);
                process
            }
            Card::Tls(manner) => {
                // It is felt at the next connection alone, and nothing else may be in its way.
                self.relent(&process);
                self.start(card);
                self.is_felt(manner).await;
                process
            }
            Card::NoName => {
                // Only who looks it up notices, and nothing else may be in the way of that.
                self.relent(&process);
                self.start(card);
                process.says("failed to lookup").await;
                process
            }
            Card::Cut(..) => {
                self.start(card);
                process
            }
        }
    }

    async fn again(&mut self, process: Process, signal: &str) -> Process {
        self.ends(process, signal).await;
        self.run()
    }

    /// Ends the process, and says how it ended.
    pub(super) async fn ends(&mut self, process: Process, signal: &str) -> ExitStatus {
        process.signal(signal);
        let (status, log) = process.ended().await;
        self.log += &log;
        status
    }

    async fn is_felt(&self, manner: Manner) {
        let (before, patience) =
            (self.door.met(manner), SystemClock.now() + Duration::from_secs(10));
        while self.door.met(manner) == before && SystemClock.now() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Begins what goes on until it relents.
    fn start(&mut self, card: Card) {
        self.end(|other| match (other, card) {
            (Card::Cut(wire, _), Card::Cut(new, _)) => wire == new,
            _ => other == card,
        });
        let end = if self.rng.random_bool(0.5) { End::Near } else { End::Far };
        match (card, &self.place) {
            (Card::Tls(manner), _) => self.door.set(manner),
            (Card::ReadOnlyDisk, Some(place)) => place.read_only(true),
            (Card::Cut(wire, Cut::Pulled), Some(place)) => place.pull(wire, end),
            (Card::Cut(wire, Cut::Swallowed), Some(place)) => place.swallow(wire, end),
            (Card::NoName, Some(place)) => place.name(false),
            _ => return,
        }
        self.going_on.push(card);
    }

    /// Ends whatever goes on.
    pub(super) fn relent(&mut self, process: &Process) {
        // It may not be the process that was limited; then it changes nothing.
        limit_files(process, "unlimited");
        self.end(|_| true);
    }

    fn end(&mut self, which: impl Fn(Card) -> bool) {
        for card in self.going_on.extract_if(.., |card| which(*card)) {
            match (card, &self.place) {
                (Card::Tls(_), _) => self.door.set(Manner::Right),
                (Card::ReadOnlyDisk, Some(place)) => place.read_only(false),
                (Card::Cut(wire, _), Some(place)) => place.mend(wire),
                (Card::NoName, Some(place)) => place.name(true),
                _ => {}
            }
        }
    }
}

/// How large a file of the process may grow: with 64 KiB the disk is as good as full.
fn limit_files(process: &Process, bytes: &str) {
    let pid = process.id().to_string();
    // The hard limit stays, so that anybody may raise the other again. It may have just been killed.
    let limit = format!("--fsize={bytes}:unlimited");
    let _done = Command::new("prlimit").args(["--pid", &pid, &limit]).output();
}
