//! The models as clients use them.

use std::sync::Arc;

use super::{Count, Outcome, Page};
use crate::event::ModelName;
use crate::model::{Served, ServedCounts};

/// What was asked of every version of every model.
pub(in crate::api) type AllServed = [((ModelName, u64), Arc<Served>)];

/// Picks a sum of seconds.
type Time = fn(&ServedCounts) -> f64;

impl Page {
    pub(super) fn models(&self, all: &AllServed) -> Outcome {
        let all: Vec<_> = all
            .iter()
            .map(|((model, version), served)| (model, version.to_string(), served.counts()))
            .collect();
        self.counter(
            "eir_api_requests_total",
            "What became of the requests of clients to a model.",
            ["model", "version", "outcome"],
            all.iter().flat_map(|(model, version, counts)| {
                let ran = counts.answered.saturating_sub(counts.hits);
                let outcomes = [("ran", ran), ("cached", counts.hits), ("failed", counts.failed)];
                outcomes
                    .map(|(outcome, count)| ([model.as_str(), version.as_str(), outcome], count))
            }),
        )?;
        let counters: [(&str, &str, Count<ServedCounts>); 3] = [
            ("inferences", "Items that clients were answered.", |c| c.inferences),
            ("executions", "Runs for clients; one may hold what several asked.", |c| c.executions),
            ("cache_misses", "Requests that were not in the cache.", |c| c.misses),
        ];
        for (name, help, count) in counters {
            self.counter(
                &format!("eir_api_{name}_total"),
                help,
                ["model", "version"],
                all.iter().map(|(model, version, counts)| {
                    ([model.as_str(), version.as_str()], count(counts))
                }),
            )?;
        }
        let times: [(&str, &str, Time); 3] = [
            ("request", "From whole requests to whole answers.", |c| c.took.as_secs_f64()),
            ("wait", "Requests waiting for an instance.", |c| c.waited.as_secs_f64()),
            ("inference", "Requests in the model.", |c| c.ran.as_secs_f64()),
        ];
        for (name, help, time) in times {
            self.seconds(
                &format!("eir_api_{name}_seconds_total"),
                help,
                ["model", "version"],
                all.iter().map(|(model, version, counts)| {
                    ([model.as_str(), version.as_str()], time(counts))
                }),
            )?;
        }
        Ok(())
    }
}
