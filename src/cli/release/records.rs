//! `eir release status --records`: what became of releases on devices, by the records that these send to the cloud.
//!
//! What is kept in memory is bounded: the last word of at most [`MAX_PAIRS`] pairs of a device and a release, of which each
//! takes some hundred bytes, [`MAX_REASONS`] reasons, and one line.

mod report;

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

pub(super) use self::report::status;
use super::{Exit, Failure};
use crate::cli::table::thousands;
use crate::event::Name;
use crate::update::machine::State;
use crate::update::release::Content;

/// Pairs of a device and a release.
const MAX_PAIRS: usize = 1_000_000;

/// Different reasons; what comes behind them counts as [`OTHER`].
const MAX_REASONS: usize = 10_000;
const OTHER: &str = "other reasons";

/// Letters that are kept of a reason.
const MAX_REASON: usize = 200;

/// Records of one device on one release at the same moment whose ids are remembered.
const MAX_IDS: usize = 64;

/// Bytes of a line; what a longer one says is not read.
const MAX_LINE: u64 = 16 << 20;

/// Any record.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// One of an update.
#[derive(Deserialize)]
struct Record {
    v: u64,
    #[serde(default)]
    id: Option<Uuid>,
    device: Name,
    at: Timestamp,
    body: Body,
}

#[derive(Deserialize)]
struct Body {
    release: String,
    state: State,
    /// From 1; a release has 32 at most.
    #[serde(default)]
    wave: Option<NonZeroU8>,
    #[serde(default)]
    reason: Option<String>,
}

/// The last that a device said of a release.
#[derive(Debug)]
struct Word {
    at: Timestamp,
    /// Of all that it said at that moment.
    ids: Vec<Uuid>,
    state: State,
    wave: Option<NonZeroU8>,
    reason: Option<Arc<str>>,
}

/// What devices said.
#[derive(Debug)]
struct Records {
    words: BTreeMap<String, HashMap<Name, Word>>,
    pairs: usize,
    /// So many fit.
    most: usize,
    /// By what they say without numbers: the first that said it.
    reasons: HashMap<String, Arc<str>>,
    lines: u64,
    unread: u64,
    /// The first line that cannot be read, and why.
    first: Option<(u64, String)>,
}

impl Records {
    fn new(most: usize) -> Self {
        let (words, reasons) = (BTreeMap::new(), HashMap::new());
        Self { words, pairs: 0, most, reasons, lines: 0, unread: 0, first: None }
    }

    /// Of a file, or `-`: standard input.
    fn read(file: &Path) -> Result<Self, Failure> {
        let mut records = Self::new(MAX_PAIRS);
        let unreadable = |error: io::Error| {
            let error = anyhow::Error::new(error);
            let error = error.context(format!("failed to read {}", file.display()));
            Failure::new(Exit::NoInput, error)
        };
        if file == Path::new("-") {
            records.take_all(io::stdin().lock(), MAX_LINE).map_err(unreadable)?;
        } else {
            let open = File::open(file).map_err(unreadable)?;
            records.take_all(BufReader::new(open), MAX_LINE).map_err(unreadable)?;
        }
        if records.pairs > records.most {
            let most = thousands(records.most as u64);
            let told = format!(
                "more than {most} pairs of a device and a release; give those of fewer releases"
            );
            return Err(Failure::new(Exit::Failed, anyhow::anyhow!("{}: {told}", file.display())));
        }
        Ok(records)
    }

    /// Takes line by line, until there are too many pairs.
    fn take_all(&mut self, mut lines: impl BufRead, most: u64) -> io::Result<()> {
        let mut line = Vec::new();
        while self.pairs <= self.most {
            line.clear();
            if io::Read::take(&mut lines, most).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.lines += 1;
            let taken = if line.len() as u64 == most && !line.ends_with(b"\n") {
                lines.skip_until(b'\n')?;
                Err(format!("it has more than {most} bytes"))
            } else {
                self.take(&line)
            };
            if let Err(why) = taken {
                self.unread += 1;
                self.first.get_or_insert_with(|| (self.lines, plain(&why)));
            }
        }
        Ok(())
    }

    /// One line; why it cannot be read.
    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let wrong = |error: serde_json::Error| error.to_string();
        let head: Head<'_> = serde_json::from_slice(line).map_err(wrong)?;
        if head.kind != "update" {
            return Ok(());
        }
        let Record { v, id, device, at, body } = serde_json::from_slice(line).map_err(wrong)?;
        if v != 1 {
            return Err(format!("its form is {v}, and only 1 is known"));
        }
        if Content::of(&body.release).is_none() {
            return Err(format!("`{}` is no release", body.release));
        }
        let reason = body.reason.filter(|_| goes_back(body.state)).map(|why| self.reason(&why));
        let ids = id.into_iter().collect();
        let word = Word { at, ids, state: body.state, wave: body.wave, reason };
        match self.words.entry(body.release).or_default().entry(device) {
            Entry::Vacant(place) => {
                place.insert(word);
                self.pairs += 1;
            }
            Entry::Occupied(mut known) => known.get_mut().follow(word),
        }
        Ok(())
    }

    /// The same text is kept once, and one that says the same with other numbers counts as the first.
    fn reason(&mut self, text: &str) -> Arc<str> {
        let text = plain(text);
        let alike = without_numbers(&text);
        let is_full = self.reasons.len() >= MAX_REASONS && !self.reasons.contains_key(&alike);
        let (alike, text) =
            if is_full { (OTHER.to_owned(), OTHER) } else { (alike, text.as_str()) };
        Arc::clone(self.reasons.entry(alike).or_insert_with(|| text.into()))
    }
}

/// `it takes 1.72 times as long` as `it takes # times as long`.
fn without_numbers(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut within = false;
    for letter in text.chars() {
        let number = letter.is_ascii_digit() || within && letter == '.';
        if !number {
            masked.push(letter);
        } else if !within {
            masked.push('#');
        }
        within = number;
    }
    masked
}

impl Word {
    /// What counts from now on: this, or what came behind it.
    fn follow(&mut self, next: Self) {
        if next.at < self.at || next.ids.iter().any(|id| self.ids.contains(id)) {
            return;
        }
        let mut ids = next.ids;
        if next.at == self.at {
            ids.extend(self.ids.iter().take(MAX_IDS));
        }
        *self = Self { ids, ..next };
    }
}

const fn goes_back(state: State) -> bool {
    matches!(state, State::RollingBack | State::RolledBack)
}

/// Text from elsewhere as a terminal may show it.
fn plain(text: &str) -> String {
    let text = text.trim().replace('\n', "; ");
    text.chars().take(MAX_REASON).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
