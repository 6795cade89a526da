//! What can't be known of a domain and its engines, and why. Nothing follows from it; it is reported.

use crate::decide::facts::engine::Engine;
use crate::decide::facts::reading::Reading;
use crate::decide::facts::scene::Scene;
use crate::decide::policy::MpsUse;
use crate::model::{Moment, Question, Unknown};

impl Scene {
    /// Questions about an engine that have no answer now.
    pub(crate) fn unknown_of(&self, engine: &Engine, reading: Option<&Reading>, now: Moment) -> Vec<Unknown> {
        if !engine.stage.has_served() {
            return Vec::new();
        }
        let limits = self.unknown_limits(engine, reading);
        let load = engine.load(now).and_then(|load| load.no_metrics.clone());
        let traffic = engine.instance.progress.passage.blind().map(ToOwned::to_owned);
        let hang = engine.unknown_hang(load.as_deref(), traffic.as_deref());
        let all =
            [(Question::Limits, limits), (Question::Load, load), (Question::Traffic, traffic), (Question::Hang, hang)];
        all.into_iter().filter_map(|(question, why)| Some(Unknown { question, why: why? })).collect()
    }

    fn unknown_limits(&self, engine: &Engine, reading: Option<&Reading>) -> Option<String> {
        let limited = engine.policy.sm_limited || engine.policy.device_memory_limit.is_some();
        let uses = |process: &&crate::model::ProcessId| self.uses_the_gpu(**process, reading);
        let process = engine
            .instance
            .limits
            .overwritten()
            .iter()
            .find(uses)
            .filter(|_| limited && engine.instance.mps == MpsUse::Client)?;
        Some(format!(
            "its process {process} has overwritten its environment, as setproctitle does: whether its limits were passed on \
             can't be seen"
        ))
    }
}
