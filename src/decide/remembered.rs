//! What must survive a crash of the watchdog: budgets, generations, attempts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{EngineName, GroupName, Moment};

/// The core's memory. Moments are of this boot; the caller drops the memory of another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// By group.
    pub groups: BTreeMap<GroupName, GroupMemory>,
}

/// One group's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// Whole-group starts so far.
    pub generation: u32,
    /// When whole-group restarts were ordered, within the window.
    pub attempts: Vec<Moment>,
    /// By engine.
    pub engines: BTreeMap<EngineName, EngineMemory>,
}

/// One engine's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineMemory {
    /// Starts so far.
    pub incarnation: u32,
    /// When it failed, within the window.
    pub failures: Vec<Moment>,
    /// It is not started any more.
    pub quarantined: bool,
}
