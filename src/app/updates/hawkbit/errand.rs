//! An action of the server is carried out: its bundle is fetched and taken in, and the server is told how its releases do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::{SystemClock, Worker};
use super::Hawk;
use crate::task::Clock;
use crate::update::hawkbit::DdiError;
use crate::update::hawkbit::bundle::{BundleError, Fetching};
use crate::update::hawkbit::ddi::{Deployment, Execution, Feedback};
use crate::update::hawkbit::errand::{Ending, Errand, Standing};
use crate::update::machine::State;
use crate::update::release::Content;

/// Pieces of a bundle that are fetched before others get their turn.
const TURN: Duration = Duration::from_secs(1);

/// How long it is waited for room on the disk, or for another release.
const LATER: Duration = Duration::from_mins(10);

impl Worker {
    /// How far a release is that was begun for the server.
    fn standing(&self, release: &str) -> Standing {
        let subject = Content::of(release).map(|content| content.subject());
        let progress = subject.and_then(|subject| self.agent.progress(&subject));
        let (state, reason) = match progress {
            Some(known) if known.release == release => (known.state, known.reason.clone()),
            // Another took its place since.
            Some(known) if !known.given_up.iter().any(|name| name == release) => {
                (State::Committed, None)
            }
            Some(_) => (State::RolledBack, None),
            None => (State::RolledBack, Some("nothing is known of it any more".to_owned())),
        };
        Standing { release: release.to_owned(), state, reason }
    }
}

impl Hawk {
    /// Takes the errand a step further.
    pub(super) async fn carry(&mut self, worker: &mut Worker) {
        let Some(errand) = &self.memory.errand else { return };
        if let Some(ending) = &errand.ending {
            let feedback = ending.feedback();
            if self.tell(feedback).await {
                self.memory.close();
                self.keep();
            }
            return;
        }
        if errand.imported {
            return self.follow(worker).await;
        }
        // After a restart nothing is known of it until the server was asked.
        let Some(orders) = self.orders.clone() else { return };
        if !orders.may_fetch() {
            return self.say("skip", Execution::Scheduled, "it is not to be fetched yet").await;
        }
        if SystemClock.now() < self.later {
            return;
        }
        match self.fetch(&orders, worker).await {
            Ok(None) => {}
            Ok(Some(_)) if !orders.may_install() => {
                let why = "it is fetched and is not to be installed yet";
                self.say("fetched", Execution::Scheduled, why).await;
            }
            Ok(Some(file)) => match worker.closed().filter(|_| !orders.is_forced()) {
                Some(why) => self.say("window", Execution::Scheduled, &why).await,
                None => self.import(&file, worker).await,
            },
            Err(BundleError::Bad(why)) => self.end(Ending::failed(why)),
            Err(BundleError::Disk(why)) => {
                self.later = SystemClock.now() + LATER;
                self.say("disk", Execution::Proceeding, &why).await;
            }
            Err(BundleError::Server(error)) => {
                if !matches!(error, DdiError::Later { .. }) {
                    let why = error.to_string();
                    self.say("artifact", Execution::Proceeding, &why).await;
                }
                self.put_off(&error);
            }
        }
    }

    /// Fetches pieces of the bundle, for a while; the file once it is here.
    async fn fetch(
        &mut self,
        orders: &Deployment,
        worker: &mut Worker,
    ) -> Result<Option<PathBuf>, BundleError> {
        let mut fetching = match self.fetching.take() {
            Some(fetching) => fetching,
            None => self.begin(orders).await?,
        };
        let until = SystemClock.now() + TURN;
        loop {
            let (have, all) = fetching.progress();
            let put_off = worker.agent.put_off(&SystemClock).filter(|_| have < all);
            if let Some((wait, why)) = put_off {
                (self.later, self.waits) = (SystemClock.now() + wait, Some(why));
            } else if have == all || !self.is_quiet() {
                let stepped =
                    fetching.step(&self.client, worker.agent.piece(true, &SystemClock)).await;
                let stepped = stepped.map(|file| file.map(Path::to_owned));
                worker.agent.came(fetching.progress().0 - have, &SystemClock);
                match stepped {
                    Ok(None) if SystemClock.now() < until => continue,
                    Ok(None) => self.waits = Some(format!("{have} of {all} bytes are fetched")),
                    Ok(file) => {
                        self.fetching = Some(fetching);
                        return Ok(file);
                    }
                    Err(error @ BundleError::Server(_)) => {
                        self.fetching = Some(fetching);
                        return Err(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            self.fetching = Some(fetching);
            return Ok(None);
        }
    }

    async fn begin(&mut self, orders: &Deployment) -> Result<Fetching, BundleError> {
        let bundle = orders.bundle().map_err(BundleError::Bad)?;
        let url = self.client.artifact(&bundle.link).map_err(BundleError::Bad)?;
        let action = self.memory.errand.as_ref().map_or(0, |errand| errand.action);
        let file = self.depot.place("hawkbit").join(format!("{action}.tar.zst"));
        let (most, line) = (self.most, format!("{}: {} bytes", bundle.name, bundle.size));
        let open = move || Fetching::open(url, &bundle, &file, most);
        let opened = tokio::task::spawn_blocking(open).await;
        let fetching = opened.map_err(|error| BundleError::Disk(error.to_string()))??;
        self.say("fetch", Execution::Proceeding, &line).await;
        Ok(fetching)
    }

    /// Has the bundle checked and taken in as one from a stick.
    async fn import(&mut self, file: &Path, worker: &mut Worker) {
        let errand = self.memory.errand.as_ref();
        let tried = errand.into_iter().flat_map(|errand| &errand.releases);
        let tried: BTreeSet<_> =
            tried.filter_map(|release| Some(Content::of(release)?.subject())).collect();
        let wanted = |content: &Content| !tried.contains(&content.subject());
        let came = match worker.take_in(file, wanted).await {
            Ok(came) => came,
            Err(why) => return self.end(Ending::failed(why)),
        };
        let Some(errand) = &mut self.memory.errand else { return };
        errand.releases.extend(came.begun);
        errand.imported = came.later.is_none();
        let is_nothing = errand.imported && errand.releases.is_empty();
        self.keep();
        if is_nothing {
            let mut details = vec!["it has nothing newer for this device".to_owned()];
            let offers = worker.agent.offers().iter();
            let refused =
                offers.filter_map(|offer| Some((&offer.release, offer.why_not.as_ref()?)));
            details.extend(refused.map(|(release, why)| format!("{release}: {why}")));
            return self.end(Ending::well(details));
        }
        match came.later {
            None => self.sweep(),
            Some(why) => {
                self.later = SystemClock.now() + LATER;
                self.say("later", Execution::Proceeding, &why).await;
            }
        }
    }

    /// Tells how far the releases are that came of it.
    async fn follow(&mut self, worker: &Worker) {
        let Some(errand) = &self.memory.errand else { return };
        let standing: Vec<_> =
            errand.releases.iter().map(|release| worker.standing(release)).collect();
        if let Some(ending) = errand.end(&standing) {
            return self.end(ending);
        }
        let news = errand.news(&standing);
        if news.is_empty() {
            return;
        }
        let lines = news.values().cloned().collect();
        if self.tell(Feedback::open(Execution::Proceeding, lines)).await {
            self.note(news);
        }
    }

    /// Tells something of the errand, once.
    async fn say(&mut self, of: &str, execution: Execution, line: &str) {
        self.waits = Some(line.to_owned());
        let is_told = |errand: &Errand| errand.told.contains_key(of);
        if self.memory.errand.as_ref().is_none_or(is_told) {
            return;
        }
        if self.tell(Feedback::open(execution, vec![line.to_owned()])).await {
            self.note(BTreeMap::from([(of.to_owned(), line.to_owned())]));
        }
    }

    /// Whether the server knows it now.
    async fn tell(&mut self, mut feedback: Feedback) -> bool {
        let Some(errand) = self.memory.errand.as_ref().filter(|_| !self.is_quiet()) else {
            return false;
        };
        if feedback.execution == Execution::Proceeding && self.resumed {
            feedback.execution = Execution::Resumed;
        }
        match self.client.tell(errand.action, &feedback).await {
            Ok(()) => {
                self.resumed = false;
                true
            }
            Err(DdiError::Over) => {
                tracing::info!(action = errand.action, "it is over for hawkBit");
                self.memory.close();
                self.keep();
                self.sweep();
                false
            }
            Err(error) => {
                self.put_off(&error);
                false
            }
        }
    }

    /// The server knows that.
    fn note(&mut self, told: BTreeMap<String, String>) {
        if let Some(errand) = &mut self.memory.errand {
            errand.told.extend(told);
            self.keep();
        }
    }

    /// That is how it ended; the server is told in the next round.
    pub(super) fn end(&mut self, ending: Ending) {
        let details = ending.details.join("; ");
        if ending.is_well {
            tracing::info!("hawkBit: {details}");
        } else {
            tracing::warn!("hawkBit: {details}");
        }
        if let Some(errand) = &mut self.memory.errand {
            errand.ending = Some(ending);
        }
        self.keep();
        self.sweep();
    }
}
