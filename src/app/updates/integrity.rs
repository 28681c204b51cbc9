//! Whether what serves is what was signed: looked at once after the start, and every hour.

use std::time::Duration;

use super::{SystemClock, Worker};
use crate::api::What;
use crate::task::Clock;
use crate::update::integrity::{Found, Serves};
use crate::update::release::Content;
use crate::update::status::Serving;

const EVERY: Duration = Duration::from_hours(1);

/// How long something is fetched anew before others get their turn, and how long they have it.
const ROUND: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_mins(1);

impl Worker {
    pub(super) async fn inspect(&mut self) {
        if SystemClock.now() < self.inspect_at || self.leaving {
            return;
        }
        self.inspect_at = SystemClock.now() + EVERY;
        for serves in self.agent.serving() {
            let release = serves.content.to_string();
            let mut found = self.look_at(&serves).await;
            if found != Ok(Found::Whole) && self.fetch_anew(&serves).await {
                found = self.look_at(&serves).await;
            }
            self.inspected.remove(&release);
            let whole = match found {
                Ok(Found::Whole) => Some(true),
                Ok(Found::Damaged) => Some(false),
                Ok(Found::Unknown) | Err(_) => None,
            };
            self.inspected.extend(whole.map(|whole| (release.clone(), whole)));
            match found {
                Ok(Found::Whole) => {}
                Ok(Found::Unknown) => tracing::warn!(
                    release,
                    "what was fetched of it is gone or damaged: nobody can vouch for what serves"
                ),
                Ok(Found::Damaged) => {
                    tracing::error!(release, "what serves is not what was signed");
                    self.mend(&serves).await;
                }
                Err(problem) => tracing::warn!(release, "cannot be looked at: {problem}"),
            }
            self.tell();
        }
        let serving = self.agent.serving();
        self.inspected
            .retain(|release, _| serving.iter().any(|of| of.content.to_string() == *release));
    }

    /// Fetches once more what was fetched, where that is gone or damaged.
    async fn fetch_anew(&mut self, serves: &Serves) -> bool {
        let own = serves.clone();
        let is_here = tokio::task::spawn_blocking(move || own.is_fetched()).await.unwrap_or(false);
        if is_here {
            return false;
        }
        let Some(web) = self.web.take() else { return false };
        let until = SystemClock.now() + ROUND;
        let fetched = self.agent.refetch(serves, &web, (&SystemClock, until)).await;
        self.web = Some(web);
        if let Err(problem) = &fetched {
            tracing::warn!(release = %serves.content, "is not fetched once more: {problem}");
            self.inspect_at = SystemClock.now() + AGAIN;
        }
        fetched.is_ok()
    }

    async fn look_at(&self, serves: &Serves) -> Result<Found, String> {
        let (serves, depot) = (serves.clone(), self.agent.depot().clone());
        let looked = tokio::task::spawn_blocking(move || serves.look(&depot)).await;
        looked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Lays it out anew; what runs is made of that.
    async fn mend(&mut self, serves: &Serves) {
        let (own, depot, most) =
            (serves.clone(), self.agent.depot().clone(), self.config().max.0 as u64);
        let mended = tokio::task::spawn_blocking(move || own.mend(&depot, most)).await;
        let release = serves.content.to_string();
        match mended.map_err(|error| error.to_string()).flatten() {
            Ok(true) => {
                tracing::warn!(release, "laid out anew from what was fetched");
                // A program is read at its next start.
                let reloads = !matches!(serves.content, Content::Binary { .. });
                if reloads && let Err(problem) = self.order(What::Reload).await {
                    self.problem = Some(problem);
                }
                self.inspected.insert(release, true);
            }
            Ok(false) => {
                self.problem =
                    Some(format!("{release} is damaged, and so is what was fetched of it"));
            }
            Err(problem) => self.problem = Some(format!("{release} is damaged: {problem}")),
        }
    }

    /// What is told of what serves.
    pub(super) fn serving(&self) -> Vec<Serving> {
        let serving = self.agent.serving().into_iter();
        serving
            .map(|serves| {
                let release = serves.content.to_string();
                let whole = self.inspected.get(&release).copied();
                Serving { sha256: serves.hex(), release, whole }
            })
            .collect()
    }
}
