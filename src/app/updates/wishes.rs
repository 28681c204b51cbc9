//! What somebody wants, by `eir update` or over the API.

use std::collections::BTreeMap;
use std::path::Path;

use super::carry::Carried;
use super::hawkbit::Hawk;
use super::{SystemClock, Wish, Worker};
use crate::task::Clock;
use crate::update::archive::{self, Limits};
use crate::update::machine::{Event, State};
use crate::update::release::Content;
use crate::update::source::Directory;

/// Files of a repository.
const MAX_ENTRIES: usize = 100_000;

/// What came of a repository that somebody brought.
#[derive(Debug, Default)]
pub(super) struct Came {
    /// Releases that were begun, and are all here.
    pub(super) begun: Vec<String>,
    /// Why there is more of it to take in.
    pub(super) later: Option<String>,
}

impl Worker {
    pub(super) async fn take_up_wishes(&mut self) {
        let directory = self.agent.depot().place("wishes");
        for (path, wish) in Wish::all(&directory) {
            // Taken up once: whatever becomes of it, or of this process, it is not done again and again.
            let taken = path.with_extension(Wish::TAKEN);
            if let Err(error) = std::fs::rename(&path, &taken) {
                self.refused = Some(format!("{}: {error}", path.display()));
                continue;
            }
            tracing::info!(?wish, "taken up");
            self.refused = self.fulfil(&wish).await.err();
            if let Some(problem) = &self.refused {
                tracing::warn!(?wish, "cannot be done: {problem}");
            }
            self.tell();
            if let Err(error) = std::fs::remove_file(&taken) {
                tracing::debug!("{} stays: {error}", taken.display());
            }
        }
    }

    async fn fulfil(&mut self, wish: &Wish) -> Result<(), String> {
        match wish {
            Wish::Check => {
                let asks = self.hawkbit.as_mut().map(Hawk::ask_soon).is_some();
                if self.web.is_none() {
                    return if asks {
                        Ok(())
                    } else {
                        Err("[update].url names no repository; `eir update import` takes one \
                                from a stick"
                            .to_owned())
                    };
                }
                self.look().await;
                Ok(())
            }
            Wish::Apply { subject } => {
                self.look().await;
                let is_it = |content: &Content| {
                    subject.as_ref().is_none_or(|subject| content.subject().word() == *subject)
                };
                let begun = self.agent.hasten(is_it).map_err(|error| error.to_string())?;
                let what = subject.as_deref().unwrap_or("this device");
                let nothing = || {
                    let is_word =
                        subject.as_ref().is_none_or(|word| word == "eir" || word.contains('/'));
                    let hint = if is_word { "" } else { "; write models/NAME, config/NAME or eir" };
                    format!("nothing newer is offered for {what}{hint}")
                };
                (!begun.is_empty()).then_some(()).ok_or_else(nothing)
            }
            Wish::Rollback { subject } => self.roll_back(subject),
            Wish::Import { path } => {
                let came = self.take_in(path, |_| true).await?;
                let nothing = || format!("{} has nothing newer", path.display());
                match came.later {
                    _ if !came.begun.is_empty() => Ok(()),
                    later => Err(later.unwrap_or_else(nothing)),
                }
            }
        }
    }

    fn roll_back(&mut self, word: &str) -> Result<(), String> {
        let found = self.agent.all().find(|(subject, _)| subject.word() == word);
        let unknown = || format!("no release of {word} was ever begun here");
        let (subject, state) =
            found.map(|(subject, known)| (subject.clone(), known.state)).ok_or_else(unknown)?;
        if state == State::RolledBack {
            let settled =
                self.agent.turn_to_serving(&subject).map_err(|error| error.to_string())?;
            if !settled {
                return Err(format!(
                    "{word} is rolled back already, and nothing that is published serves in its place"
                ));
            }
        }
        let moved = self.agent.step(&subject, Event::Undone, "somebody wanted it back");
        moved.map(drop).map_err(|error| error.to_string())
    }

    /// Takes what is wanted of a repository on a stick or in a bundle: the same checks, no network, and no waiting for a wave.
    pub(super) async fn take_in(
        &mut self,
        path: &Path,
        wanted: impl Fn(&Content) -> bool,
    ) -> Result<Came, String> {
        let unpacked = self.agent.depot().place("staging").join("bundle");
        let came = self.take_from(path, &unpacked, wanted).await;
        if let Err(error) = self.agent.depot().clear(&unpacked) {
            tracing::debug!("{} stays: {error}", unpacked.display());
        }
        came
    }

    async fn take_from(
        &mut self,
        path: &Path,
        unpacked: &Path,
        wanted: impl Fn(&Content) -> bool,
    ) -> Result<Came, String> {
        let source = if path.is_dir() {
            Directory(path.to_owned())
        } else {
            let (archive, into) = (path.to_owned(), unpacked.to_owned());
            let depot = self.agent.depot().clone();
            let limits = Limits { bytes: self.config().max.0 as u64, entries: MAX_ENTRIES };
            let unpack = move || -> Result<(), String> {
                depot.clear(&into).map_err(|error| error.to_string())?;
                let file = std::fs::File::open(&archive)
                    .map_err(|error| format!("{}: {error}", archive.display()))?;
                archive::unpack(file, &into, limits).map_err(|error| error.to_string())
            };
            let done = tokio::task::spawn_blocking(unpack).await;
            done.map_err(|error| error.to_string()).flatten()?;
            Directory(unpacked.to_owned())
        };
        let facts = self.facts();
        let looked = self.agent.look(&source, &SystemClock, &facts).await;
        looked.map_err(|error| error.to_string())?;
        self.looked = Some(SystemClock.wall());
        self.problem = None;
        let newest = self.agent.hasten(wanted).map_err(|error| error.to_string())?;
        // All of it now: the stick may be pulled.
        let now = SystemClock.now();
        let mut carried = BTreeMap::new();
        for subject in newest.iter().map(Content::subject) {
            let how = self.fetch_from(&subject, &source, now).await;
            carried.insert(subject, how);
        }
        let mut came = Came::default();
        for content in newest {
            let (subject, release) = (content.subject(), content.to_string());
            match (self.agent.progress(&subject), carried.remove(&subject)) {
                (Some(known), _) if known.release != release => {
                    came.later = Some(format!("{release} waits for {}", known.release));
                }
                (Some(known), Some(Carried::Waits(_, why)))
                    if known.state == State::Downloading =>
                {
                    came.later = Some(format!("{release}: {why}"));
                }
                _ => came.begun.push(release),
            }
        }
        Ok(came)
    }
}
