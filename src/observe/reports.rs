//! How every observer speaks to the core loop. Sending never blocks; a loop that ended hears nothing.

use tokio::sync::mpsc::UnboundedSender;

use crate::model::{ActionId, Blindness, Observation, Outcome, Report, SourceScope};

/// The way to the core loop.
#[derive(Clone)]
pub(super) struct Reports(pub UnboundedSender<Report>);

impl Reports {
    pub(super) fn observed(&self, observation: Observation) {
        // Nothing listens once the core loop has ended, and nothing is missed.
        let _ = self.0.send(Report::Observed(observation));
    }

    pub(super) fn finished(&self, id: ActionId, outcome: Outcome) {
        let _ = self.0.send(Report::Finished(id, outcome));
    }

    pub(super) fn blind(&self, scope: SourceScope, blindness: Blindness) {
        let Blindness { state, why } = blindness;
        self.observed(Observation::Blind { scope, state, why });
    }

    /// Whether the core loop has ended.
    pub(super) fn closed(&self) -> bool {
        self.0.is_closed()
    }
}
