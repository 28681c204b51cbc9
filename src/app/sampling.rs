//! Inputs worth labelling, on their way from a pipeline's thread to the clouds or to an archive.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::arrival::Provenance;
use super::config::PipelineConfig;
use crate::event::{Envelope, Name};
use crate::outbox::{Draft, Kind, Outbox};
use crate::package::Package;
use crate::summary::{Baseline, Origin, Sampler, Seen};

/// The samplers of one pipeline.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    samplers: Vec<Sampler>,
    baseline: Option<Arc<Baseline>>,
    outbox: Option<Outbox>,
}

impl Sampling {
    pub(super) fn new(config: &PipelineConfig, package: &Package, outbox: Option<Outbox>) -> Self {
        let start = |(name, config): (&Name, _)| {
            let started = Sampler::start(name, config);
            started
                .map_err(|error| tracing::error!(sample = %name, "nothing is kept: {error}"))
                .ok()
        };
        let baseline =
            package.reference.as_ref().map(|reference| Arc::new(Baseline::new(reference)));
        Self { samplers: config.sample.iter().filter_map(start).collect(), baseline, outbox }
    }

    /// Takes what the samplers want. A sample that goes to the clouds is on disk before its message is
    /// acknowledged, as a decision is.
    pub(super) fn take(
        &mut self,
        seen: &Seen<'_>,
        from: Origin<'_>,
        (envelope, cause): (&Envelope, Option<&Provenance>),
        at: Timestamp,
    ) {
        for sampler in &mut self.samplers {
            let taken = sampler.take(seen, self.baseline.as_ref(), from, at);
            let (Some(sample), Some(outbox)) = (taken, &self.outbox) else { continue };
            let origin = cause.map(|cause| cause.origin(from.pipeline, &sample.sampler));
            let (id, kind, body) = (Uuid::now_v7(), Kind::Sample, sample.body);
            outbox.append(Draft { id, origin, at, kind, body }, envelope.ack.share());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.samplers.is_empty()
    }
}
