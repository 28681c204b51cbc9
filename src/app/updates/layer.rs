//! A layer of the configuration: it counts at once, and proves itself.

use std::collections::BTreeSet;

use super::super::config;
use super::carry::{Carried, ELSEWHERE, LOOK_AGAIN, unready};
use super::probation::Probation;
use super::{SystemClock, Worker};
use crate::api::What;
use crate::event::Name;
use crate::task::Clock;
use crate::update::journal::Subject;
use crate::update::machine::Progress;
use crate::update::release::Content;

/// What a layer has a hand in, beyond what any does.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    /// Whether there are messages at all.
    brokers: bool,
    /// Where these pipelines have theirs from.
    inputs: BTreeSet<String>,
}

impl Reach {
    /// What cannot be read could have a hand in everything.
    fn of(text: Option<&str>) -> Self {
        let Some(layer) = text.and_then(|text| text.parse::<toml::Table>().ok()) else {
            return Self { brokers: true, ..Self::default() };
        };
        let pipelines = layer.get("pipeline").and_then(toml::Value::as_table);
        let feeds = |own: &toml::Value| own.get("input").is_some();
        let fed = pipelines.into_iter().flatten().filter(|(_, own)| feeds(own));
        Self {
            brokers: ["mqtt", "broker"].iter().any(|key| layer.contains_key(*key)),
            inputs: fed.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl Worker {
    /// Has a layer count, and watches it.
    pub(super) async fn prove_layer(
        &mut self,
        subject: &Subject,
        progress: &Progress,
        name: &Name,
        version: u64,
    ) -> Carried {
        let directory = self.config().dir.clone();
        if self.probation.as_ref().is_none_or(|known| !known.is_of(&progress.release)) {
            if self.probation.is_some() {
                return Carried::Waits(LOOK_AGAIN, "another is on probation".to_owned());
            }
            let content = Content::Config { name: name.clone(), version };
            // One that makes it right again is not waited with.
            let is_ready = self.counts(&content) || config::load(&self.sources).is_err();
            if !is_ready && let Err(why) = self.order(What::Reload).await {
                return Carried::Waits(ELSEWHERE, unready(&why));
            }
            let depot = self.agent.depot();
            let text = std::fs::read_to_string(depot.staged(&content))
                .or_else(|_| std::fs::read_to_string(depot.layer(name, version)));
            let reach = Reach::of(text.ok().as_deref());
            // A broker that goes away meanwhile, or a machine that stops, is not the doing of a layer that says nothing of
            // it.
            let concerns = |kind: &str| reach.brokers || kind == "pipeline";
            let feeds = |pipeline: &Name| reach.brokers || reach.inputs.contains(pipeline.as_str());
            let view = self.shown.load();
            let noted = self.present(&view, feeds).note(&directory, &progress.release, concerns);
            let entered = noted.and_then(|()| depot.enter_layer(name, version));
            if let Err(error) = entered {
                return self.settle(subject, Err(error.to_string()));
            }
            if let Err(why) = self.order(What::Reload).await {
                return self.settle(subject, Err(why));
            }
            let now = (SystemClock.now(), SystemClock.uptime());
            self.probation = Some(Probation::begin(&directory, &progress.release, now));
        }
        self.watch(subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_hand_in_what_it_says_something_of() {
        let reach = |text| Reach::of(Some(text));
        let rule = "[pipeline.a.rule.b]\nwhen = \"true\"\n[pipeline.c]\ninput = {}\n";
        assert_eq!(reach(rule), Reach { brokers: false, inputs: ["c".to_owned()].into() });
        for text in ["[mqtt.local]\nurl = \"mqtt://b\"\n", "[broker]\n", "no table"] {
            assert!(reach(text).brokers, "{text}");
        }
        assert!(Reach::of(None).brokers);
    }
}
