//! How every observer speaks to the core loop. Sending never blocks; a loop that ended hears nothing.

use tokio::sync::mpsc::UnboundedSender;

use crate::model::status::SourceScope;
use crate::model::{ActionId, Look, Observation, Outcome, Report, Source};

/// The way to the core loop.
#[derive(Clone)]
pub(super) struct Reports(pub UnboundedSender<Report>);

impl Reports {
    pub fn observed(&self, observation: Observation) {
        // Nobody listens once the core loop has ended, and nobody misses it.
        let _ = self.0.send(Report::Observed(observation));
    }

    pub fn finished(&self, id: ActionId, outcome: Outcome) {
        let _ = self.0.send(Report::Finished(id, outcome));
    }

    pub fn blind(&self, scope: SourceScope, why: String) {
        let SourceScope { source, group, engine, gpu } = scope;
        self.observed(Observation::Blind { source, group, engine, gpu, why });
    }

    /// Whether the core loop has ended.
    pub fn closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A source as a whole.
pub(super) fn whole(source: Source) -> SourceScope {
    SourceScope { source, group: None, engine: None, gpu: None }
}

/// What a look reads.
pub(super) fn scope_of(look: &Look) -> SourceScope {
    match look {
        Look::Gpu(gpu) => SourceScope { gpu: Some(gpu.clone()), ..whole(Source::Nvml) },
        Look::Server { group, .. } | Look::Clients { group, .. } => {
            SourceScope { group: Some(group.clone()), ..whole(Source::Mps) }
        }
        Look::Trees(group) | Look::Commands { group, .. } => {
            SourceScope { group: Some(group.clone()), ..whole(Source::Procfs) }
        }
        Look::Overlap(group) => SourceScope { group: Some(group.clone()), ..whole(Source::Probe) },
        Look::Environment(engine) => {
            SourceScope { group: Some(engine.group.clone()), engine: Some(engine.clone()), ..whole(Source::Procfs) }
        }
        Look::Health(engine) | Look::Load(engine) | Look::Traffic(engine) | Look::Token(engine) => {
            SourceScope { group: Some(engine.group.clone()), engine: Some(engine.clone()), ..whole(Source::Engine) }
        }
    }
}
