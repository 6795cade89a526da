//! What can't be known of an engine, and why. Nothing follows from it; it is said.

use crate::model::{EngineKind, Moment, Question, Unknown};

use super::domain::Domain;
use super::engine::{Engine, Stage};
use super::reading::Reading;

impl Domain {
    /// Questions about an engine that have no answer now.
    pub fn unknown_of(&self, engine: &Engine, reading: Option<&Reading>, now: Moment) -> Vec<Unknown> {
        if !matches!(engine.stage, Stage::Serving | Stage::Failing) {
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
        let process =
            engine.instance.limits.overwritten().iter().find(uses).filter(|_| limited && !engine.instance.outside)?;
        Some(format!(
            "its process {process} has overwritten its environment, as setproctitle does: whether its limits were passed on \
             can't be seen"
        ))
    }
}

impl Engine {
    /// Which program it is: what its metrics show goes before a guess from its command.
    pub fn kind(&self, now: Moment) -> EngineKind {
        let shown = self.load(now).and_then(|load| load.kind);
        Some(self.policy.kind).filter(|kind| *kind != EngineKind::Other).or(shown).unwrap_or_default()
    }

    /// Why nobody can say whether it hangs, unless it answers nothing at all.
    fn unknown_hang(&self, load: Option<&str>, traffic: Option<&str>) -> Option<String> {
        if self.policy.probe_request {
            return None;
        }
        let cure = "probe_request = true may ask it for a token";
        match (load, traffic) {
            (Some(why), _) => Some(format!("no tokens can be counted: {why}; {cure}")),
            (None, Some(why)) => Some(format!("nobody can say whether a client waits: {why}; {cure}")),
            (None, None) => None,
        }
    }
}
