//! What must survive a crash of the watchdog: budgets, generations, attempts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::evidence::isolation::Isolation;
use crate::decide::facts::remembered::EngineMemory;
use crate::model::{DomainId, EngineName, Hold, Moment};

/// The core's memory. Moments are of this boot; the caller drops the memory of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Memory of the groups by domain.
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
    /// An operator stopped it: it is not started before an operator says so.
    #[serde(default)]
    pub stopped: bool,
    /// The search for the culprit of repeated faults, and who was proven guilty.
    #[serde(default)]
    pub isolation: Isolation,
    /// Memory of the engines by name.
    pub engines: BTreeMap<EngineName, EngineMemory>,
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
