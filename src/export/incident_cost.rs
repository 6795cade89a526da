//! What an incident cost: requests that were in flight in engines that went down in it, and for how long each of these
//! engines did not serve.

use std::collections::BTreeMap;

use crate::model::{EngineName, EngineState, Event, GroupStatus, Moment, What};

/// The cost of one incident, so far.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// Engines that are down, and since when.
    down: BTreeMap<EngineName, Moment>,
    /// Seconds that engines did not serve, until they served again.
    seconds: BTreeMap<EngineName, f64>,
    /// Requests in flight as last read, of the engines that went down; `None`: of none of them it is known.
    requests: Option<f64>,
}

impl Cost {
    /// An event of the incident. `group`: as it was before.
    pub(super) fn add(&mut self, event: &Event, group: Option<&GroupStatus>) {
        match (&event.what, &event.engine) {
            (What::RestartBegan { .. }, None) => {
                let engines = group.into_iter().flat_map(|group| &group.engines);
                let up = engines.filter(|engine| is_up(engine.state)).map(|engine| engine.name.clone());
                up.for_each(|engine| self.goes_down(&engine, event.at, group));
            }
            (What::EngineFailing { .. } | What::EngineExited { .. } | What::RestartBegan { .. }, Some(engine)) => {
                self.goes_down(engine, event.at, group);
            }
            (What::EngineServing { .. }, Some(engine)) => {
                if let Some(since) = self.down.remove(engine) {
                    *self.seconds.entry(engine.clone()).or_default() += event.at.since(since).as_secs_f64();
                }
            }
            _ => {}
        }
    }

    fn goes_down(&mut self, engine: &EngineName, at: Moment, group: Option<&GroupStatus>) {
        if self.down.contains_key(engine) {
            return;
        }
        self.down.insert(engine.clone(), at);
        let known = group.and_then(|group| group.engines.iter().find(|known| known.name == *engine));
        let up = known.filter(|known| is_up(known.state));
        if let Some(requests) = up.and_then(|known| known.load.as_ref()?.in_flight()) {
            self.requests = Some(self.requests.unwrap_or(0.0) + requests);
        }
    }

    /// Seconds that each engine did not serve, until `at` where it does not serve yet.
    pub(super) fn seconds(&self, at: Moment) -> BTreeMap<EngineName, f64> {
        let mut all = self.seconds.clone();
        for (engine, since) in &self.down {
            *all.entry(engine.clone()).or_default() += at.since(*since).as_secs_f64();
        }
        all
    }

    /// Requests that were in flight in the engines that went down; `None`: not known.
    pub(super) fn requests(&self) -> Option<f64> {
        self.requests
    }
}

/// Whether an engine may have had requests.
fn is_up(state: EngineState) -> bool {
    matches!(state, EngineState::Serving | EngineState::Failing | EngineState::Unknown | EngineState::Stopping)
}
