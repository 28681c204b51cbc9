//! What is known of a model or a layer before anybody relies on it.

use std::sync::Arc;

use super::super::check::check;
use super::super::config;
use super::Worker;
use super::carry::Done;
use super::trial::Trial;
use crate::event::Name;
use crate::model::Model;
use crate::package::Package;
use crate::summary::Board;
use crate::update::journal::Subject;
use crate::update::release::Content;

impl Worker {
    /// Loads a model beside the one that serves: its golden samples are run on this device.
    pub(super) async fn check_model(
        &mut self,
        subject: &Subject,
        name: &Name,
        version: u64,
    ) -> Done {
        let content = Content::Model { name: name.clone(), version };
        let staged = self.agent.depot().staged(&content);
        let models = Arc::clone(&self.models);
        let named = name.clone();
        let load = move || -> Result<Arc<Model>, String> {
            let package = Package::open(&staged).map_err(|error| error.to_string())?;
            let package = Package { name: named, version, ..package };
            models.serve(package, None).map_err(|error| error.to_string())
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let model = loaded.map_err(|error| error.to_string()).flatten()?;
        self.trials.insert(subject.clone(), Trial::new(model, self.stages.of(name)));
        Ok(())
    }

    /// Bytes of memory that are available.
    pub(super) fn available(&self) -> Option<u64> {
        Board::read(&self.config().dir).memory.map(|memory| memory.available_bytes)
    }

    pub(super) fn spare_memory(&self) -> Done {
        let (spare, found) = (self.config().spare_memory.0 as u64, self.available());
        match found.filter(|found| *found < spare) {
            Some(found) => {
                Err(format!("{found} bytes of memory are available, {spare} are to stay so"))
            }
            None => Ok(()),
        }
    }

    /// Whether the configuration is right with the layer in it: all that `eir check` finds.
    pub(super) async fn check_layer(&self, name: &Name, content: &Content) -> Done {
        let staged = self.agent.depot().staged(content);
        let text = std::fs::read_to_string(&staged).map_err(|error| error.to_string())?;
        let tried = Some((name.clone(), text));
        let sources = config::Sources { tried, ..self.sources.clone() };
        let examine = move || -> Done {
            let config = config::load(&sources).map_err(|problems| problems.to_string())?;
            let wrong: Vec<_> = check(&config)
                .into_iter()
                .filter_map(|finding| finding.outcome.err())
                .flatten()
                .map(|problem| problem.to_string())
                .collect();
            if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
        };
        let examined = tokio::task::spawn_blocking(examine).await;
        examined.map_err(|error| error.to_string()).flatten()
    }
}

/// Both say the same kind of thing in the same words.
pub(super) fn is_alike(a: &Model, b: &Model) -> bool {
    let sorted = |package: &Package| {
        let mut labels = package.labels.clone();
        labels.sort_unstable();
        labels
    };
    a.package().spec.task == b.package().spec.task && sorted(a.package()) == sorted(b.package())
}
