//! What the records come to, and what follows from it.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::Path;

use super::{Records, goes_back};
use crate::cli::release::{Failure, change, failed, print};
use crate::cli::table::{table, thousands};
use crate::update::author::Repository;
use crate::update::machine::State;
use crate::update::release::{About, Content};

/// Reasons that are shown.
const SHOWN: usize = 10;

/// Letters of a release's name in a table.
const NAME: usize = 40;

/// Devices of one wave, by how far they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wave {
    pub(super) updated: u64,
    pub(super) under_way: u64,
    /// Or on the way back.
    pub(super) back: u64,
}

/// By release and wave; devices that name none come first.
pub(super) type Waves<'a> = BTreeMap<(&'a str, Option<NonZeroU8>), Wave>;

/// Shows what became of releases, and says or does what follows where too many devices of a wave went back.
pub(in crate::cli::release) fn status(
    file: &Path,
    repository: Result<Repository, Failure>,
    halt: bool,
) -> Result<(), Failure> {
    let repository = match repository {
        Ok(repository) => Some(repository),
        Err(failure) if halt => return Err(failure),
        Err(failure) => {
            print::note(format!("{failure}; nothing is said of stop_at"));
            None
        }
    };
    let records = Records::read(file)?;
    let waves = records.waves();
    // Before anything is printed: who reads only the beginning has not meant a half of it.
    let advice = match &repository {
        Some(repository) => advice(&waves, repository, halt)?,
        None => Vec::new(),
    };
    let reasons = records.reasons();
    if waves.is_empty() {
        print::line("no device has said anything of a release")?;
    } else {
        print::line(shown(&waves).trim_end())?;
    }
    if !reasons.is_empty() {
        print::line(format!("\n{}", shown_reasons(&reasons).trim_end()))?;
    }
    if !advice.is_empty() {
        print::line(format!("\n{}", advice.join("\n")))?;
    }
    if let Some((line, why)) = &records.first {
        let unread = thousands(records.unread);
        print::note(format!(
            "lines that are no records: {unread}; the first is line {line}: {why}"
        ));
    }
    Ok(())
}

impl Records {
    pub(super) fn waves(&self) -> Waves<'_> {
        let mut waves = Waves::new();
        for (release, words) in &self.words {
            for word in words.values() {
                let wave = waves.entry((release.as_str(), word.wave)).or_default();
                match word.state {
                    State::Committed => wave.updated += 1,
                    state if goes_back(state) => wave.back += 1,
                    _ => wave.under_way += 1,
                }
            }
        }
        waves
    }

    /// Why devices went back, most of them first.
    pub(super) fn reasons(&self) -> Vec<(u64, &str, &str)> {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for (release, words) in &self.words {
            for word in words.values().filter(|word| goes_back(word.state)) {
                let reason = word.reason.as_deref().unwrap_or("no reason was given");
                *counts.entry((release, reason)).or_default() += 1;
            }
        }
        let mut counts: Vec<_> =
            counts.into_iter().map(|((release, reason), count)| (count, release, reason)).collect();
        counts.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
        counts.truncate(SHOWN);
        counts
    }
}

impl Wave {
    const fn devices(&self) -> u64 {
        self.updated + self.under_way + self.back
    }

    /// Of those that went back, in percent.
    fn share(&self) -> f64 {
        self.back as f64 * 100.0 / self.devices() as f64
    }
}

/// At most two digits behind the point: `12 %`, `0.25 %`.
fn percent(share: f64) -> String {
    format!("{} %", (share * 100.0).round() / 100.0)
}

/// A name that fits into a table.
fn short(name: &str) -> String {
    let letters: Vec<_> = name.chars().collect();
    if letters.len() <= NAME {
        return name.to_owned();
    }
    let (begin, end) = (&letters[..NAME / 2], &letters[letters.len() - NAME / 2 + 1..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

pub(super) fn shown(waves: &Waves<'_>) -> String {
    let row = |((release, number), wave): (&(&str, Option<NonZeroU8>), &Wave)| {
        let number = number.map_or_else(|| "–".to_owned(), |number| number.to_string());
        let [devices, updated, under_way, back] =
            [wave.devices(), wave.updated, wave.under_way, wave.back].map(thousands);
        let back = format!("{back} ({})", percent(wave.share()));
        vec![short(release), number, devices, updated, under_way, back]
    };
    let rows: Vec<_> = waves.iter().map(row).collect();
    table(&["release", "wave", "devices", "updated", "under way", "rolled back"], &rows)
}

pub(super) fn shown_reasons(reasons: &[(u64, &str, &str)]) -> String {
    let header = "went back because";
    let widths = reasons.iter().map(|(_, _, reason)| reason.chars().count());
    let widest = widths.chain([header.len()]).max().unwrap_or(0);
    let row = |(count, release, reason): &(u64, &str, &str)| {
        // All as wide as the widest: they begin below each other.
        vec![thousands(*count), short(release), format!("{reason:<widest$}")]
    };
    let rows: Vec<_> = reasons.iter().map(row).collect();
    table(&["devices", "release", &format!("{header:<widest$}")], &rows)
}

/// What is to be done about waves in which more went back than their release allows; with `halt` it is done.
fn advice(waves: &Waves<'_>, repository: &Repository, halt: bool) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for ((release, number), wave) in waves {
        let Some(content) = Content::of(release) else { continue };
        let Some(about) = repository.about(&content).map_err(failed)? else { continue };
        let Some(most) = about.stop_at.filter(|most| wave.share() > most.0) else { continue };
        if halt && !about.halted {
            change(repository, &content, |about| about.halted = true)?;
        }
        let mut published = repository.releases().filter(|(name, _)| name == release);
        let next = if published.any(|(_, target)| About::of(target).halted) {
            format!("{release} is halted")
        } else if about.halted || halt {
            format!("{release} is halted once `eir release publish` has signed that")
        } else {
            format!("`eir release halt {release}`, then `eir release publish`")
        };
        let wave_is =
            number.map_or_else(|| "no wave".to_owned(), |number| format!("wave {number}"));
        let (share, most) = (percent(wave.share()), percent(most.0));
        lines.push(format!("{wave_is}: {share} rolled back, more than stop_at {most}: {next}"));
    }
    Ok(lines)
}
