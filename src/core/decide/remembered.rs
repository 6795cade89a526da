//! What must survive a crash of the watchdog: budgets, generations, attempts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{DomainId, EngineName, Hold, Moment};

use super::isolation::Isolation;
use super::overlap::Learnt;

/// The core's memory. Moments are of this boot; the caller drops the memory of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// By domain.
    pub groups: BTreeMap<DomainId, GroupMemory>,
}

/// One group's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// Whole-group starts so far.
    pub generation: u32,
    /// When whole-group restarts were ordered, within the window.
    pub attempts: Vec<Moment>,
    /// An operator's word that nothing is to be done by itself.
    #[serde(default)]
    pub hold: Option<Hold>,
    /// An operator stopped it: it is not started before somebody says so.
    #[serde(default)]
    pub stopped: bool,
    /// The search for the culprit of repeated faults, and who was proven guilty.
    #[serde(default)]
    pub isolation: Isolation,
    /// By engine.
    pub engines: BTreeMap<EngineName, EngineMemory>,
}

/// One engine's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// Starts so far.
    pub incarnation: u32,
    /// When it failed, within the window.
    pub failures: Vec<Moment>,
    /// Why it is not started; `None`: it is.
    #[serde(default)]
    pub rest: Option<Rest>,
    /// How fast it was while it alone had work.
    #[serde(default)]
    pub learnt: Learnt,
}

/// Why an engine is to have no process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// An operator stopped it.
    Stopped,
    /// An operator took it out for good.
    Quarantined,
    /// It failed too often.
    CrashLoop,
    /// It is suspected of its group's repeated faults, and can't run apart from the others.
    Apart,
    /// It was proven guilty of its group's repeated faults.
    Guilty,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_from_before_domains_had_ids_is_still_read() {
        let of = |generation: u32| format!(r#"{{"generation":{generation},"attempts":[],"engines":{{}}}}"#);
        let written = format!(r#"{{"groups":{{"small-llms":{},"small-llms~apart":{}}}}}"#, of(3), of(1));
        let memory: Memory = serde_json::from_str(&written).unwrap();
        let group = "small-llms".into();
        assert_eq!(memory.groups[&DomainId::main(&group)].generation, 3);
        assert_eq!(memory.groups[&DomainId::isolation(&group)].generation, 1);
        assert_eq!(serde_json::from_str::<Memory>(&serde_json::to_string(&memory).unwrap()).unwrap(), memory);
    }
}
