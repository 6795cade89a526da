//! Fences: they end with the reading that shows the engine's last request gone, as `observe` ends them.

use std::collections::BTreeMap;
use std::time::Duration;

use mpswarden_core::decide::Input;
use mpswarden_core::model::traffic::InFlight;
use mpswarden_core::model::{ActionId, Member, Observation, Outcome};

use super::{Happening, World};

/// Looks at connections further apart say nothing about the time between them.
const GAP: Duration = Duration::from_secs(15);

/// What is in flight in each engine, and the fences that wait for it.
#[derive(Debug, Default)]
pub(super) struct Fences {
    in_flight: BTreeMap<Member, InFlight>,
    open: BTreeMap<Member, ActionId>,
}

impl World {
    pub(super) fn fence(&mut self, id: ActionId, engine: Member) {
        self.fences.open.insert(engine, id);
    }

    /// A new incarnation of it starts.
    pub(super) fn forget_requests(&mut self, engine: &Member) {
        self.fences.in_flight.remove(engine);
        self.fences.open.remove(engine);
    }

    /// Sees an input that the watchdog is about to get.
    pub(super) fn fences_see(&mut self, input: &Input) {
        let now = self.now;
        match input {
            Input::Observed(Observation::Traffic { engine, traffic }) => {
                let requests = self.fences.in_flight.entry(engine.clone()).or_default();
                requests.saw_traffic(traffic.as_ref().ok(), GAP, now);
            }
            Input::Observed(Observation::Load { engine, load }) => {
                let left = self.fences.in_flight.entry(engine.clone()).or_default().saw_load(load.clone(), now);
                let ended = left.is_some_and(|left| left <= 0.0);
                if let Some(id) = ended.then(|| self.fences.open.remove(engine)).flatten() {
                    self.later(Duration::ZERO, Happening::Finish(id, Outcome::Done));
                }
            }
            _ => {}
        }
    }
}
