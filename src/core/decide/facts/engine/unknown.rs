//! Why it can't be known whether an engine hangs.

use crate::decide::facts::engine::Engine;
use crate::model::{EngineKind, Moment};

impl Engine {
    /// Which program it is: what its metrics show goes before a guess from its command.
    pub(crate) fn kind(&self, now: Moment) -> EngineKind {
        let shown = self.load(now).and_then(|load| load.kind);
        Some(self.policy.kind).filter(|kind| *kind != EngineKind::Other).or(shown).unwrap_or_default()
    }

    /// Reason why it is not known whether it hangs, unless it answers nothing at all.
    pub(crate) fn unknown_hang(&self, load: Option<&str>, traffic: Option<&str>) -> Option<String> {
        if self.policy.probe_request {
            return None;
        }
        let cure = "probe_request = true may ask it for a token";
        match (load, traffic) {
            (Some(why), _) => Some(format!("no tokens can be counted: {why}; {cure}")),
            (None, Some(why)) => Some(format!("it is not known whether a client waits: {why}; {cure}")),
            (None, None) => None,
        }
    }
}
